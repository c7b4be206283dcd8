package pipeline

import (
	"context"
	"errors"
	"sync"

	"github.com/ktrail/ktrail/audit"
)

// Blocking is a [Sink] whose Send waits for the sink below and never fails: what is
// lost is entered in the ledger. It is the API server's mode blocking; without it
// the mode is blocking-strict, and the caller decides.
type Blocking struct {
	next   Sink
	ledger *Ledger
}

// NewBlocking returns a Blocking around next.
func NewBlocking(next Sink, ledger *Ledger) *Blocking { return &Blocking{next, ledger} }

// Send implements [Sink]. It returns nil.
func (b *Blocking) Send(ctx context.Context, events []audit.Event) error {
	b.ledger.Enter(b.next.Send(ctx, events), events)
	return nil
}

// Close implements [Sink].
func (b *Blocking) Close(ctx context.Context) error { return b.next.Close(ctx) }

// FanOut is a [Sink] that hands everything to each of several, in their order: what one
// does not take, the others still have.
type FanOut []Sink

// Send implements [Sink].
func (f FanOut) Send(ctx context.Context, events []audit.Event) error {
	var errs error
	for _, s := range f {
		if err := s.Send(ctx, events); err != nil {
			errs = errors.Join(errs, lossOf("", err, events))
		}
	}
	return errs
}

// Close implements [Sink]. The sinks are closed side by side, so that each has all
// of the time that ctx leaves.
func (f FanOut) Close(ctx context.Context) error {
	errs := make([]error, len(f))
	var wg sync.WaitGroup
	for i, s := range f {
		wg.Go(func() { errs[i] = s.Close(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
