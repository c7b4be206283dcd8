package pipeline

import (
	"context"
	"errors"
	"slices"

	"github.com/ktrail/ktrail/audit"
)

// Redact is a [Sink] that takes the secrets out of events before it hands them on. An
// event whose secrets cannot be taken out is lost.
type Redact struct {
	next Sink
	r    *Redactor
}

// NewRedact returns a Redact in front of next.
func NewRedact(next Sink, r *Redactor) *Redact { return &Redact{next, r} }

// Send implements [Sink].
func (s *Redact) Send(ctx context.Context, events []audit.Event) error {
	out := events
	mine := false // out is a copy
	var errs error
	for i := range events {
		line, err := s.r.edit(&events[i])
		e := events[i]
		if err == nil && line != nil {
			err = rewrite(&e, line)
		}
		if err == nil && line == nil {
			if mine {
				out = append(out, e)
			}
			continue
		}
		if !mine {
			out, mine = slices.Clone(events[:i]), true
		}
		if err != nil {
			errs = errors.Join(errs, &Loss{Sink: "redact", Reason: ReasonRedact, Events: events[i : i+1], Err: err})
			continue
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		return errs
	}
	return errors.Join(errs, lossOf("", s.next.Send(ctx, out), out))
}

// Close implements [Sink].
func (s *Redact) Close(ctx context.Context) error { return s.next.Close(ctx) }
