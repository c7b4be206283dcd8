package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/ktrail/ktrail/internal/node/host"
)

// apply makes every directory and file what the operation wants it to be. It may
// be done again after any interruption.
func (n *Node) apply(ctx context.Context, s *State) error {
	for _, d := range s.Dirs {
		if err := n.makeDir(ctx, d); err != nil {
			return err
		}
	}
	for _, f := range s.Files {
		if err := n.lock.held(ctx); err != nil {
			return err
		}
		now, err := n.hashOf(ctx, f.Path)
		if err != nil {
			return err
		}
		switch now {
		case f.New:
			continue
		case f.Old:
		default:
			return fmt.Errorf("write %s: somebody else changed it meanwhile", f.Path)
		}
		n.progress(stepApply, "writing %s", f.Path)
		data, err := n.backed(ctx, s, "new", f.Backup, f.New)
		if err != nil {
			return err
		}
		if err := n.Host.WriteFile(ctx, f.Path, data, host.WriteOptions{Mode: f.Mode, Temp: f.Temp}); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) makeDir(ctx context.Context, d DirChange) error {
	if err := n.Host.MkdirAll(ctx, d.Path, d.Mode); err != nil {
		return fmt.Errorf("make %s: %w", d.Path, err)
	}
	if d.UID == 0 || !d.Made {
		return nil
	}
	r, err := n.Host.Run(ctx, []string{"chown", strconv.Itoa(d.UID), d.Path}, nil)
	if err != nil {
		return fmt.Errorf("give %s to the API server's user: %w", d.Path, err)
	}
	if r.Status != 0 {
		return fmt.Errorf("give %s to the API server's user: %s", d.Path, r.Stderr)
	}
	return nil
}

// hashOf is the hash of a file's content, "" if there is no file.
func (n *Node) hashOf(ctx context.Context, name string) (string, error) {
	data, ok, err := n.read(ctx, name)
	if err != nil || !ok {
		return "", err
	}
	return hash(data), nil
}

// undo makes every file and directory what it was, in an order in which the API
// server never has an old manifest with a new policy, nor a manifest whose
// policy is gone: first what was there before, then what was not is removed. It
// may be done again after any interruption. It tells whether it changed what the
// API server reads.
func (n *Node) undo(ctx context.Context, s *State) (changed bool, err error) {
	for _, f := range s.Files {
		if f.Old == "" && f.Path != s.Config {
			continue
		}
		now, err := n.hashOf(ctx, f.Path)
		if err != nil {
			return changed, err
		}
		if now == f.Old {
			continue
		}
		if err := n.spare(ctx, s, f, now); err != nil {
			return changed, err
		}
		if f.Old == "" { // a configuration that was not there must not be read again
			if err := n.Host.Remove(ctx, f.Path); err != nil {
				return changed, fmt.Errorf("remove %s: %w", f.Path, err)
			}
			changed = true
			continue
		}
		n.progress(stepBack, "writing the old %s", f.Path)
		data, err := n.backed(ctx, s, "old", f.Backup, f.Old)
		if err != nil {
			return changed, err
		}
		if err := n.Host.WriteFile(ctx, f.Path, data, host.WriteOptions{Mode: f.OldMode, Temp: f.Temp}); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

// spare keeps a file that is neither as it was nor as it was planned: somebody
// else's work is not thrown away.
func (n *Node) spare(ctx context.Context, s *State, f FileChange, now string) error {
	if now == f.New || now == "" {
		return nil
	}
	data, err := n.Host.ReadFile(ctx, f.Path)
	if err != nil {
		return err
	}
	found := path.Join(s.Backup, "found")
	if err := n.mkdir(ctx, found); err != nil {
		return err
	}
	n.Log.WarnContext(ctx, "a file was changed by somebody else; it is kept",
		slog.String("host", n.Name()), slog.String("file", f.Path), slog.String("copy", path.Join(found, f.Backup)))
	return n.Host.WriteFile(ctx, path.Join(found, f.Backup), data, host.WriteOptions{Mode: 0o600})
}

// sweep removes what was not there before, once nothing needs it.
func (n *Node) sweep(ctx context.Context, s *State) error {
	for _, f := range s.Files {
		if f.Old != "" {
			continue
		}
		now, err := n.hashOf(ctx, f.Path)
		if err != nil {
			return err
		}
		if now == "" {
			continue
		}
		if err := n.spare(ctx, s, f, now); err != nil {
			return err
		}
		if err := n.Host.Remove(ctx, f.Path); err != nil {
			return fmt.Errorf("remove %s: %w", f.Path, err)
		}
	}
	for _, d := range slices.Backward(s.Dirs) {
		if !d.Made {
			continue
		}
		list, err := n.Host.ReadDir(ctx, d.Path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(list) > 0 {
			continue // a log that has begun is evidence
		}
		if err != nil {
			return err
		}
		if err := n.Host.Remove(ctx, d.Path); err != nil {
			return fmt.Errorf("remove %s: %w", d.Path, err)
		}
	}
	return nil
}

// restart ends the API server where nothing else does, so that it reads its
// configuration anew. The process to end is written down first: once that is
// gone it is not done again.
func (n *Node) restart(ctx context.Context, s *State, d *Distribution) error {
	args, err := n.configArgs(ctx, d)
	if err != nil {
		return err
	}
	p, err := n.running(ctx, d, args)
	if err != nil {
		return err
	}
	if s.Stop == nil {
		if p == nil {
			return nil // it is not running: the wait will see what comes
		}
		s.Stop = p
		if err := n.save(ctx, s); err != nil {
			return err
		}
	}
	if !p.same(s.Stop) {
		return nil
	}
	n.progress(s.Step, "restarting the API server (pid %d)", p.PID)
	return d.restart(ctx, n, p)
}

// settle is how long a rolled back API server is watched before it is
// believed: kubelet may not have noticed the last change yet.
const settle = 5 * time.Second
