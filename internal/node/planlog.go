package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/node/config"
)

// planLog plans the log's directory and checks that the disk holds what the
// retention flags may fill.
func (n *Node) planLog(ctx context.Context, p *Plan, s flags.Settings, add []config.Mount) error {
	if !s.Log.On() || s.Log.Path == "-" {
		return nil
	}
	if !path.IsAbs(s.Log.Path) {
		p.problem("--%s=%s must be an absolute path, or - for the container's own log", flags.LogPath, s.Log.Path)
		return nil
	}
	where, _ := p.Look.Distribution.onHost(append(slices.Clone(p.Look.Settings.Mounts), add...), s.Log.Path)
	if where == "" {
		// A problem with its own cure already, or a log that dies with its container.
		if len(p.Problems) == 0 {
			p.problem("nothing is mounted at %s: the log would be lost with the container", path.Dir(s.Log.Path))
		}
		return nil
	}
	p.Log = where
	if err := n.planDir(ctx, p, path.Dir(where)); err != nil {
		return err
	}
	if err := n.planOwner(ctx, p, path.Dir(where)); err != nil {
		return err
	}
	return n.planSpace(ctx, p, s, path.Dir(where))
}

// planOwner gives a directory that is made to the API server's user, where that
// is not root (kubeadm's RootlessControlPlane).
func (n *Node) planOwner(ctx context.Context, p *Plan, dir string) error {
	if p.Look.Process == nil || len(p.Dirs) == 0 && len(p.Files) == 0 {
		return nil
	}
	uid, err := n.uid(ctx, p.Look.Process)
	if err != nil || uid == 0 {
		return err
	}
	for i := range p.Dirs {
		if p.Dirs[i].Path == dir {
			p.Dirs[i].UID = uid
		} else {
			p.Dirs[i].Mode = 0o755
		}
	}
	for i := range p.Files {
		if p.Files[i].Path == p.Policy {
			p.Files[i].Mode = 0o644
		}
	}
	return nil
}

// uid is the user that a process runs as.
func (n *Node) uid(ctx context.Context, proc *Process) (int, error) {
	b, ok, err := n.read(ctx, path.Join("/proc", strconv.Itoa(proc.PID), "status"))
	if err != nil || !ok {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Uid:" {
			return strconv.Atoi(f[1])
		}
	}
	return 0, nil
}

const mb = 1 << 20 // as the API server counts --audit-log-maxsize

// planSpace compares what the log may grow to with what is free.
func (n *Node) planSpace(ctx context.Context, p *Plan, s flags.Settings, dir string) error {
	used, err := n.usage(ctx, dir)
	if err != nil {
		return err
	}
	free, _, err := n.Host.Free(ctx, existing(ctx, n, dir))
	if err != nil {
		return fmt.Errorf("find out how much disk is free: %w", err)
	}
	need, bounded := mayUse(s)
	free += used // what is there is part of what it may use
	switch {
	case !bounded:
		p.warn("nothing bounds the log (--audit-log-maxsize and --audit-log-maxbackup): it grows until the disk with its %s free is full", bytesText(free))
	case need > free:
		per := int64(s.Log.RotateAt(s.Version)) * mb
		fits := max(1, free*8/10/per-1)
		p.problem("the log may grow to %s but %s has only %s free for it: keep fewer files: --audit-log-maxbackup=%d", bytesText(need), dir, bytesText(free), fits)
	case need > free/2:
		p.warn("the log may grow to %s, more than half of the %s that %s has free for it", bytesText(need), bytesText(free), dir)
	default:
		p.note("the log may grow to %s; %s has %s free for it", bytesText(need), dir, bytesText(free))
	}
	return nil
}

// mayUse is what the log may grow to in bytes, and whether anything bounds it.
// Compression is left out: it happens after a file was rotated.
func mayUse(s flags.Settings) (int64, bool) {
	size := s.Log.RotateAt(s.Version)
	if size == 0 || s.Log.MaxFiles == 0 {
		return 0, false
	}
	return int64(size) * mb * int64(s.Log.MaxFiles+1), true
}

// usage is the size of the files in a directory.
func (n *Node) usage(ctx context.Context, dir string) (int64, error) {
	list, err := n.Host.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look at the log's directory: %w", err)
	}
	var sum int64
	for _, e := range list {
		if e.Mode.IsRegular() {
			sum += e.Size
		}
	}
	return sum, nil
}

// existing is the nearest directory above name that is there.
func existing(ctx context.Context, n *Node, name string) string {
	for name != "/" {
		if there, err := n.exists(ctx, name); err == nil && there {
			break
		}
		name = path.Dir(name)
	}
	return name
}

// bytesText writes bytes as 1.5 GB.
func bytesText(n int64) string {
	switch f := float64(n); {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", f/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", f/1e6)
	}
	return fmt.Sprintf("%d kB", (n+999)/1000)
}
