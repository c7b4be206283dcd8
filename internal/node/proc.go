package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit/flags"
)

// Process is a running API server.
type Process struct {
	PID int `json:"pid"`
	// Start is when it began, in clock ticks after the node's boot. A PID may be
	// used again, both together are not.
	Start uint64      `json:"start"`
	Args  []flags.Arg `json:"-"`
	cpu   uint64      // clock ticks spent
}

// same tells whether p and q are one process.
func (p *Process) same(q *Process) bool {
	return p != nil && q != nil && p.PID == q.PID && p.Start == q.Start
}

// ticks are Linux's clock ticks a second as /proc tells them (USER_HZ): 100 on
// every architecture that runs Kubernetes.
const ticks = 100

// processes finds the processes of that name, oldest first.
func (n *Node) processes(ctx context.Context, name string) ([]Process, error) {
	pids, err := n.pids(ctx, name)
	if err != nil {
		return nil, err
	}
	var all []Process
	for _, pid := range pids {
		p, err := n.process(ctx, pid)
		switch {
		case lost(err) || ctx.Err() != nil:
			return nil, err
		case err != nil: // it ended meanwhile
			continue
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Process) int { return int(int64(a.Start) - int64(b.Start)) })
	return all, nil
}

// pids asks pgrep, which is one round trip; without it /proc is read.
func (n *Node) pids(ctx context.Context, name string) ([]int, error) {
	r, err := n.Host.Run(ctx, []string{"pgrep", "-x", name}, nil)
	switch {
	case lost(err) || ctx.Err() != nil:
		return nil, err
	case err == nil && r.Status == 0 || err == nil && r.Status == 1:
		var pids []int
		for _, f := range strings.Fields(string(r.Stdout)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
		return pids, nil
	}
	list, err := n.Host.ReadDir(ctx, "/proc")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("find %s among the processes: %w", name, err)
	}
	var pids []int
	for _, e := range list {
		pid, err := strconv.Atoi(e.Name)
		if err != nil {
			continue
		}
		comm, err := n.Host.ReadFile(ctx, path.Join("/proc", e.Name, "comm"))
		switch {
		case lost(err) || ctx.Err() != nil:
			return nil, err
		case err == nil && strings.TrimSpace(string(comm)) == name:
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func (n *Node) process(ctx context.Context, pid int) (Process, error) {
	dir := path.Join("/proc", strconv.Itoa(pid))
	stat, err := n.Host.ReadFile(ctx, path.Join(dir, "stat"))
	if err != nil {
		return Process{}, err
	}
	p, err := parseStat(stat)
	if err != nil {
		return Process{}, fmt.Errorf("read %s/stat: %w", dir, err)
	}
	line, err := n.Host.ReadFile(ctx, path.Join(dir, "cmdline"))
	if err != nil {
		return Process{}, err
	}
	if len(line) == 0 { // a zombie
		return Process{}, fs.ErrNotExist
	}
	p.PID, p.Args = pid, parseCmdline(line)
	return p, nil
}

// parseStat reads /proc/PID/stat (proc(5)). The name in it may hold anything,
// closing parentheses too.
func parseStat(b []byte) (p Process, err error) {
	i := bytes.LastIndexByte(b, ')')
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 {
		return p, errors.New("too few fields")
	}
	user, err1 := strconv.ParseUint(f[11], 10, 64)
	system, err2 := strconv.ParseUint(f[12], 10, 64)
	start, err3 := strconv.ParseUint(f[19], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return p, err
	}
	return Process{Start: start, cpu: user + system}, nil
}

// parseCmdline reads the flags of /proc/PID/cmdline.
func parseCmdline(b []byte) []flags.Arg {
	words := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	return flags.Parse(words[1:])
}

// auditArgs are the --audit-* flags that count, as name=value in the order of
// their names.
func auditArgs(args []flags.Arg) []string {
	var out []string
	for _, a := range flags.Audit(args) {
		if last, _ := flags.Last(args, a.Name); !slices.Contains(out, a.Name+"="+last.Value) {
			out = append(out, a.Name+"="+last.Value)
		}
	}
	slices.Sort(out)
	return out
}

// started is when a process began, by the node's clock.
func (n *Node) started(ctx context.Context, p *Process) (time.Time, error) {
	b, err := n.Host.ReadFile(ctx, "/proc/stat")
	if err != nil {
		return time.Time{}, err
	}
	for line := range strings.Lines(string(b)) {
		if s, ok := strings.CutPrefix(line, "btime "); ok {
			boot, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
			if err != nil {
				return time.Time{}, fmt.Errorf("read /proc/stat: %w", err)
			}
			return time.Unix(boot, 0).Add(time.Duration(p.Start) * time.Second / ticks), nil
		}
	}
	return time.Time{}, errors.New("read /proc/stat: no btime")
}
