// Package node owns the life cycle of auditing on a control-plane node: look,
// plan, apply, wait, verify, roll back, and the way back out of every
// interruption.
//
// It promises that a node ends as it was or as it was planned to be, never
// between. What is about to happen stands in a state file on the node before it
// happens; both the old and the new content of every file are in a backup
// directory before the first is touched. So each step can be done again, and
// all of them undone, by another ktrail than the one that began.
//
// Everything on the node is done through a [host.Host], the API server included:
// it is reached by Host.Dial, so that a node over SSH needs no open port.
// Nothing here starts a goroutine: a connection that dies, dies in the caller's hands.
package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"time"

	"github.com/ktrail/ktrail/internal/node/host"
)

// Dir is where ktrail keeps what concerns the node itself.
const Dir = "/var/lib/ktrail/node"

// Options says which node, and who wants to hear of it.
type Options struct {
	Host host.Host
	Log  *slog.Logger
	// Progress is told what is being done; nil means that nobody listens.
	Progress func(Progress)
	// Program and By stand in the record of a change: ktrail's version, and who
	// started it from where.
	Program, By string
	// PID is this process, if it runs on the node itself; 0 over SSH.
	PID int
}

// Progress is what is being done now.
type Progress struct {
	Step   string // look, apply, wait, verify, persist, roll back
	Detail string
	Since  time.Duration // since the operation began
}

// Node is one control-plane node. It is used by one goroutine at a time.
type Node struct {
	Options
	began time.Time
	lock  *nodeLock // while a change is under way
}

// New returns the node behind a host.
func New(o Options) *Node {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	return &Node{Options: o, began: time.Now()}
}

// Name is what people call the node.
func (n *Node) Name() string { return n.Host.Name() }

func (n *Node) progress(step, format string, args ...any) {
	detail := fmt.Sprintf(format, args...)
	n.Progress(Progress{Step: step, Detail: detail, Since: time.Since(n.began)})
}

// poll is how often a change that is awaited is looked for.
const poll = 250 * time.Millisecond

// pause waits, and keeps the lock alive meanwhile.
func (n *Node) pause(ctx context.Context, d time.Duration) error {
	if err := n.lock.renew(ctx); err != nil {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// exists tells whether there is such a file or directory.
func (n *Node) exists(ctx context.Context, name string) (bool, error) {
	_, err := n.Host.Stat(ctx, name)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	}
	return false, err
}

// read is ReadFile where a missing file is no error: there is a file if ok.
func (n *Node) read(ctx context.Context, name string) (data []byte, ok bool, err error) {
	data, err = n.Host.ReadFile(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	return data, err == nil, err
}

// mkdir makes a directory below [Dir] for root alone.
func (n *Node) mkdir(ctx context.Context, name string) error {
	return n.Host.MkdirAll(ctx, path.Clean(name), 0o700)
}

// lost tells whether the node can no longer be reached.
func lost(err error) bool {
	var l *host.LostError
	return errors.As(err, &l)
}
