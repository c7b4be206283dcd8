package pipeline

import (
	"context"
	"errors"
	"slices"

	"github.com/ktrail/ktrail/audit"
)

// Truncate is a [Sink] that keeps events and Sends below a size, by the API server's rules
// (k8s.io/apiserver plugin/pkg/audit/truncate): an event over MaxEvent at level Request or
// above loses its bodies and has the annotation audit.k8s.io/truncated "true"; one that is
// still over MaxEvent is lost; events that are over MaxBatch together are handed on in
// several Sends. The line is what the API server would write, byte for byte.
//
// Sizes are of lines with their newlines.
type Truncate struct {
	next Sink
	o    TruncateOptions
}

// TruncateOptions are a Truncate's.
type TruncateOptions struct {
	// MaxEvent and MaxBatch are bytes; MaxBatch is not below MaxEvent.
	MaxEvent, MaxBatch int64
	// Digest leaves in the place of each body that is taken its length, the SHA-256 of its
	// JSON, and its first Head bytes: see [Digest]. They are left out where the event would
	// still be too large. A hash confirms a guess of the body, so a [Redactor] stands in front.
	Digest bool
	Head   int
	// Ledger is told of events that were cut.
	Ledger *Ledger
}

// NewTruncate returns a Truncate in front of next.
func NewTruncate(next Sink, o TruncateOptions) (*Truncate, error) {
	switch {
	case o.MaxEvent <= 0 || o.MaxBatch < o.MaxEvent:
		return nil, errors.New("make truncate: the largest event must be above 0, and the largest batch not below it")
	case o.Head < 0:
		return nil, errors.New("make truncate: the head of a body cannot be negative")
	case o.Ledger == nil:
		return nil, errors.New("make truncate: it needs a ledger")
	}
	return &Truncate{next: next, o: o}, nil
}

// Send implements [Sink].
func (t *Truncate) Send(ctx context.Context, events []audit.Event) error {
	for i := range events {
		if lineSize(&events[i]) > t.o.MaxEvent {
			return t.cut(ctx, events, i)
		}
	}
	return t.split(ctx, events)
}

func lineSize(e *audit.Event) int64 { return int64(len(e.Raw)) + 1 }

// cut is Send for events of which the one at i, and none before it, is too large.
func (t *Truncate) cut(ctx context.Context, events []audit.Event, i int) error {
	kept := slices.Clone(events[:i])
	var errs error
	for ; i < len(events); i++ {
		e := events[i]
		if lineSize(&e) > t.o.MaxEvent {
			err := t.shorten(&e)
			if err != nil || lineSize(&e) > t.o.MaxEvent {
				errs = errors.Join(errs, &Loss{Sink: "truncate", Reason: ReasonTooLarge, Events: events[i : i+1], Err: err})
				continue
			}
			t.o.Ledger.Cut("truncate", e)
		}
		kept = append(kept, e)
	}
	return errors.Join(errs, t.split(ctx, kept))
}

// shorten takes the bodies out of e, where its level has any.
func (t *Truncate) shorten(e *audit.Event) error {
	if e.Level != audit.LevelRequest && e.Level != audit.LevelRequestResponse {
		return nil
	}
	var line []byte
	var err error
	if t.o.Digest {
		if line, err = cutBodies(e.Raw, t.o.digest); err != nil {
			return err
		}
	}
	if line == nil || int64(len(line))+1 > t.o.MaxEvent {
		if line, err = cutBodies(e.Raw, nil); err != nil {
			return err
		}
	}
	return rewrite(e, line)
}

// rewrite makes e the event of line, in memory of its own: columns that point into
// the old line would keep all of it.
func rewrite(e *audit.Event, line []byte) error {
	old := *e
	if err := audit.Decode(line, e); err != nil {
		*e = old
		return err
	}
	e.ID, e.Cluster, e.Source, e.Rule = old.ID, old.Cluster, old.Source, old.Rule
	return nil
}

// split hands events on in Sends of at most MaxBatch bytes.
func (t *Truncate) split(ctx context.Context, events []audit.Event) error {
	var errs error
	start, size := 0, int64(0)
	for i := range events {
		n := lineSize(&events[i])
		if i > start && size+n > t.o.MaxBatch {
			errs = errors.Join(errs, t.hand(ctx, events[start:i]))
			start, size = i, 0
		}
		size += n
	}
	if start < len(events) {
		errs = errors.Join(errs, t.hand(ctx, events[start:]))
	}
	return errs
}

func (t *Truncate) hand(ctx context.Context, events []audit.Event) error {
	return lossOf("", t.next.Send(ctx, events), events)
}

// Close implements [Sink].
func (t *Truncate) Close(ctx context.Context) error { return t.next.Close(ctx) }
