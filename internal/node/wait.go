package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit/flags"
)

// CrashError says that the API server does not stay up.
type CrashError struct {
	Starts int
}

func (e *CrashError) Error() string {
	return fmt.Sprintf("the API server was started %d times and ended each time", e.Starts)
}

// NotReadyError says that the API server did not get ready in time.
type NotReadyError struct {
	After time.Duration
	State string
}

func (e *NotReadyError) Error() string {
	return fmt.Sprintf("the API server was not ready after %s: %s", e.After.Round(time.Second), e.State)
}

// wish is the API server that is waited for.
type wish struct {
	args []string // its audit flags
	// not is a process that it must not be, nil if it may be any.
	not *Process
	// settle is how long it must stay what it is.
	settle time.Duration
	// attempts are the containers' starts before; nil does not watch for crashes.
	attempts map[string]int
	timeout  time.Duration
	step     string
	// kill ends the process that it must not be, if that was asked to end and has
	// not after grace; nil where kubelet does so itself.
	kill func(context.Context) error
}

// grace is what kubelet gives the API server, too (terminationGracePeriodSeconds
// of a pod that does not say). Left alone it would end after a minute.
const grace = 30 * time.Second

// outage measures how long the API server was away, by asking it all along.
type outage struct{ since, until time.Time }

func (o *outage) saw(ready bool) {
	now := time.Now()
	switch {
	case !ready && o.since.IsZero():
		o.since = now
	case ready && !o.since.IsZero() && o.until.IsZero():
		o.until = now
	case !ready:
		o.until = time.Time{}
	}
}

// away is how long it was away until it was ready again.
func (o *outage) away() time.Duration {
	if o.since.IsZero() || o.until.IsZero() {
		return 0
	}
	return o.until.Sub(o.since)
}

// await waits until the API server that is wished for is ready.
func (n *Node) await(ctx context.Context, d *Distribution, c *apiClient, w wish, o *outage) (*Process, error) {
	args, err := n.configArgs(ctx, d)
	if err != nil {
		return nil, err
	}
	begun, state := time.Now(), ""
	var good, absent time.Time // since when it is as wished for, or away; zero if it is not
	var last *Process
	for {
		p, missing, err := n.check(ctx, d, c, w, args, o)
		if err != nil {
			return nil, err
		}
		switch {
		case missing != "":
			good = time.Time{}
		case good.IsZero() || !p.same(last):
			good = time.Now()
		}
		if last = p; !good.IsZero() {
			if time.Since(good) >= w.settle {
				return p, nil
			}
			missing = "ready; watching that it stays"
		}
		if missing != state {
			state = missing
			n.progress(w.step, "%s", state)
		}
		switch {
		case p != nil:
			absent = time.Time{}
		case absent.IsZero():
			absent = time.Now()
		}
		starts, err := n.starts(ctx, d, w.attempts)
		if err != nil {
			return nil, err
		}
		if starts > 2 || starts == 2 && !absent.IsZero() && time.Since(absent) > 3*time.Second {
			return nil, &CrashError{Starts: starts}
		}
		if w.kill != nil && p.same(w.not) && time.Since(begun) > grace {
			if err := w.kill(ctx); err != nil {
				return nil, err
			}
			w.kill = nil
		}
		if time.Since(begun) > w.timeout {
			return nil, &NotReadyError{After: time.Since(begun), State: state}
		}
		if err := n.pause(ctx, poll); err != nil {
			return nil, err
		}
	}
}

// check looks once. What is still missing is said in words; "" means that
// nothing is. Errors are only those that end the wait.
func (n *Node) check(ctx context.Context, d *Distribution, c *apiClient, w wish, args []flags.Arg, o *outage) (p *Process, missing string, err error) {
	if p, err = n.running(ctx, d, args); err != nil {
		return nil, "", err
	}
	ready, err := c.ready(ctx)
	if err != nil {
		return nil, "", err
	}
	o.saw(ready)
	switch {
	case p == nil:
		missing = "the API server is away"
	case p.same(w.not):
		missing = fmt.Sprintf("waiting for the old API server (pid %d) to end", p.PID)
	case !slices.Equal(auditArgs(p.Args), w.args):
		missing = fmt.Sprintf("the API server (pid %d) still runs with other flags", p.PID)
	case !ready:
		missing = fmt.Sprintf("the API server (pid %d) is not ready yet", p.PID)
	}
	return p, missing, nil
}

// starts is how often the API server was started since; 0 if nobody counts.
func (n *Node) starts(ctx context.Context, d *Distribution, before map[string]int) (int, error) {
	if before == nil || d.attempts == nil {
		return 0, nil
	}
	now, err := d.attempts(ctx, n)
	if err != nil {
		if lost(err) || ctx.Err() != nil {
			return 0, err
		}
		return 0, nil // a directory that vanishes while it is read
	}
	most := 0
	for dir, last := range now {
		most = max(most, last-before[dir])
	}
	return most, nil
}

// configArgs are the flags in the configuration as it is now.
func (n *Node) configArgs(ctx context.Context, d *Distribution) ([]flags.Arg, error) {
	_, s, err := n.settings(ctx, d)
	if err != nil {
		return nil, err
	}
	return s.Args, nil
}

// why is err for the record, in a line.
func why(ctx context.Context, err error) string {
	if errors.Is(err, context.Canceled) || ctx.Err() != nil {
		return "interrupted"
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
