package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strconv"
	"time"

	"github.com/ktrail/ktrail/internal/node/host"
)

// A lock on a node must hold between programs on different machines, and end
// with a program that was killed or cut off. It is a directory, since mkdir is
// what only one can do, with a file in it that its owner renews. A lock that is
// not renewed for lockStale is taken over, and one whose process on the node itself
// is gone at once.
const (
	lockRenew = 5 * time.Second
	lockStale = 30 * time.Second // longer than any one operation of an owner
)

// LockedError says that another ktrail works on the node.
type LockedError struct {
	Host  string
	Owner string
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s: another ktrail is at work here (%s)", e.Host, e.Owner)
}

// Next says what to do.
func (e *LockedError) Next() string {
	return "wait until it has ended; one that was killed is noticed after " + lockStale.String()
}

type lockOwner struct {
	ID    string    `json:"id"`
	By    string    `json:"by"`
	PID   int       `json:"pid,omitempty"` // on the node itself
	Since time.Time `json:"since"`
	Beat  int       `json:"beat"`
}

type nodeLock struct {
	node  *Node
	owner lockOwner
	last  time.Time
}

func lockDir() string   { return path.Join(Dir, "lock") }
func ownerPath() string { return path.Join(lockDir(), "owner.json") }

// acquire takes the lock. It waits for a stale one to show that it is.
func (n *Node) acquire(ctx context.Context) (*nodeLock, error) {
	if err := n.mkdir(ctx, Dir); err != nil {
		return nil, fmt.Errorf("make %s: %w", Dir, err)
	}
	l := &nodeLock{node: n, owner: lockOwner{ID: rand.Text(), By: n.By, PID: n.PID, Since: time.Now().UTC()}}
	var seen string
	var since time.Time
	for {
		r, err := n.Host.Run(ctx, []string{"mkdir", "-m", "0700", lockDir()}, nil)
		if err != nil {
			return nil, fmt.Errorf("lock the node: %w", err)
		}
		if r.Status == 0 {
			if err := l.write(ctx); err != nil {
				// Nobody else takes a lock without an owner for a while: give it back.
				_ = n.Host.Remove(ctx, ownerPath())
				_ = n.Host.Remove(ctx, lockDir())
				return nil, err
			}
			return l, nil
		}
		data, ok, err := n.read(ctx, ownerPath())
		if err != nil {
			return nil, fmt.Errorf("lock the node: %w", err)
		}
		if there, err := n.exists(ctx, lockDir()); err != nil || !there {
			if err != nil {
				return nil, fmt.Errorf("lock the node: %w", err)
			}
			if since.IsZero() { // it may have been given back just now
				since = time.Now()
			} else if time.Since(since) > lockStale {
				return nil, fmt.Errorf("lock the node: mkdir %s: %s", lockDir(), r.Stderr)
			}
			continue
		}
		var owner lockOwner
		if ok {
			_ = json.Unmarshal(data, &owner) // a torn owner is one without a name
		}
		if owner.PID != 0 {
			alive, err := n.exists(ctx, path.Join("/proc", strconv.Itoa(owner.PID)))
			if err != nil {
				return nil, fmt.Errorf("lock the node: %w", err)
			}
			if !alive {
				if err := l.breakLock(ctx, string(data)); err != nil {
					return nil, err
				}
				continue
			}
			// Another process may have its number by now: the beat tells.
		}
		switch {
		case since.IsZero() || string(data) != seen:
			if !since.IsZero() { // it was renewed before our eyes
				return nil, &LockedError{Host: n.Name(), Owner: owner.String()}
			}
			seen, since = string(data), time.Now()
			n.progress("look", "%s holds the lock; waiting up to %s to see whether it is alive", owner.String(), lockStale)
		case time.Since(since) > lockStale:
			if err := l.breakLock(ctx, seen); err != nil {
				return nil, err
			}
			seen, since = "", time.Time{}
			continue
		}
		if err := n.pause(ctx, time.Second); err != nil {
			return nil, err
		}
	}
}

func (o *lockOwner) String() string {
	if o.By == "" {
		return "unknown"
	}
	return fmt.Sprintf("%s, since %s", o.By, o.Since.Format(time.RFC3339))
}

// breakLock takes away a lock whose owner is gone, if it still is the one seen.
func (l *nodeLock) breakLock(ctx context.Context, seen string) error {
	h := l.node.Host
	data, _, err := l.node.read(ctx, ownerPath())
	if err != nil {
		return fmt.Errorf("take over the lock: %w", err)
	}
	if string(data) != seen {
		return nil
	}
	if err := h.Remove(ctx, ownerPath()); err != nil {
		return fmt.Errorf("take over the lock: %w", err)
	}
	if err := h.Remove(ctx, lockDir()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("take over the lock: %w", err)
	}
	return nil
}

func (l *nodeLock) write(ctx context.Context) error {
	l.owner.Beat++
	data, err := json.Marshal(l.owner)
	if err != nil {
		return fmt.Errorf("encode lock: %w", err)
	}
	if err := l.node.Host.WriteFile(ctx, ownerPath(), data, host.WriteOptions{Mode: 0o600}); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	l.last = time.Now()
	return nil
}

// renew shows that the owner is alive, if it is time to.
func (l *nodeLock) renew(ctx context.Context) error {
	if l == nil || time.Since(l.last) < lockRenew {
		return nil
	}
	if err := l.held(ctx); err != nil {
		return err
	}
	err := l.write(ctx)
	if err == nil || lost(err) || ctx.Err() != nil {
		return err
	}
	// A full disk is no reason to leave a node halfway. At worst the lock grows
	// stale and another takes it over, which held tells.
	l.node.Log.WarnContext(ctx, "the lock cannot be renewed", slog.String("host", l.node.Name()), slog.Any("error", err))
	l.last = time.Now()
	return nil
}

// held is an error if the lock was taken over: then another ktrail decides.
func (l *nodeLock) held(ctx context.Context) error {
	data, err := l.node.Host.ReadFile(ctx, ownerPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("check lock: %w", err)
	}
	var owner lockOwner
	if err == nil {
		_ = json.Unmarshal(data, &owner)
	}
	if owner.ID != l.owner.ID {
		return &LockedError{Host: l.node.Name(), Owner: owner.String()}
	}
	return nil
}

// release gives the lock back. What cannot be removed grows stale.
func (l *nodeLock) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if l.held(ctx) != nil {
		return
	}
	if err := l.node.Host.Remove(ctx, ownerPath()); err == nil {
		_ = l.node.Host.Remove(ctx, lockDir())
	}
}
