package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ktrail/ktrail/audit/logfile"
)

// Status is how the back ends are.
type Status struct {
	// Log is the log file's, the zero value if there is none.
	Log logfile.Status
	// Events wait in memory in batch mode, and Bytes are taken by them and by those under way.
	Events int
	Bytes  int64
	// Spooled is how many bytes are on disk until the webhook takes them.
	Spooled int64
}

// Status tells how the back ends are.
func (b *Backend) Status() Status {
	var s Status
	if b.writer != nil {
		s.Log = b.writer.Status()
	}
	for _, h := range b.held {
		events, bytes := h.Held()
		s.Events += events
		s.Bytes += bytes
	}
	if b.spool != nil {
		s.Spooled = b.spool.Backlog()
	}
	return s
}

// Troubles says in a line each what is wrong now; nothing if all is well.
func (s Status) Troubles() []string {
	var out []string
	if s.Log.Err != nil {
		out = append(out, s.Log.Err.Error())
	}
	if s.Spooled > 0 {
		out = append(out, fmt.Sprintf("the webhook is down or behind: %d bytes of events wait on disk", s.Spooled))
	}
	return out
}

// Close implements [pipeline.Sink]: it hands on what is held, until ctx ends. What was lost
// by then is in the ledger and, where the log could still be written, in the log; the
// error is for people and holds no [pipeline.Loss]. A second Close does nothing but return the same.
func (b *Backend) Close(ctx context.Context) error {
	b.closing.Do(func() {
		b.stopRun()
		b.run.Wait()
		if err := b.closeBranches(ctx); err != nil {
			b.closeErr = errors.New(err.Error()) // its losses are entered
		}
	})
	return b.closeErr
}

// closeBranches closes the webhook first, with four fifths of the time, so that the log can
// still tell of what a dead webhook lost.
func (b *Backend) closeBranches(ctx context.Context) error {
	var errs error
	if b.webhook != nil {
		early, cancel := ctx, context.CancelFunc(func() {})
		if end, ok := ctx.Deadline(); ok && b.log != nil {
			early, cancel = context.WithTimeout(ctx, time.Until(end)*4/5)
		}
		b.ledger.Flush(early, b.branches()) // the webhook can be told no later
		err := b.webhook.Close(early)
		cancel()
		b.ledger.Enter(err, nil)
		errs = err
	}
	if b.log != nil {
		b.ledger.Flush(ctx, b.log)
		err := b.log.Close(ctx)
		b.ledger.Enter(err, nil)
		errs = errors.Join(errs, err)
	}
	b.ledger.Flush(ctx, nil)
	return errs
}
