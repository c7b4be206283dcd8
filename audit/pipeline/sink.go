// Package pipeline owns what happens to audit events between the request and the
// file, the webhook or the store: [Sink] and its decorators, each alone, and the
// [Ledger] of what was lost or cut on the way.
//
// A loss is counted once, memory is bounded in bytes as well as in events, and a
// pipeline that has nothing to do sleeps.
package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/ktrail/ktrail/audit"
)

// Sink takes audit events. Decorators are Sinks around a Sink; at the end stands
// one that writes a file, posts to a webhook or appends to a store.
//
// Send takes events in their order, from many goroutines at once. nil means that
// every one of them is where the sink promises: in the buffer of a batch, in the
// file, in the answer of the webhook. Otherwise the error holds a [Loss] for
// those that are not ([Losses] finds them); an error without any means all of them.
//
// The slice is the caller's again when Send returns, and no sink changes its
// elements. What they point to (lines, strings, lists) is never changed nor used
// again by anybody, so a sink may keep events without copying their text.
//
// A sink that gives events up says so in its error, and does not count them:
// whoever has nobody left to hand an error to enters it in the [Ledger]. So a
// loss is counted once.
//
// Close hands on what is held, waits for it until ctx ends, and releases what the
// sink owns, the sinks below it included. Send must not be called after Close.
//
// Send gives up soon after its context has ended. Where it cannot (a write to a pipe that
// nobody reads) it holds up the Close of the sinks above: none of them leaves one behind
// that still writes.
type Sink interface {
	Send(ctx context.Context, events []audit.Event) error
	Close(ctx context.Context) error
}

// Loss is an error that tells which events a sink did not take, and why.
type Loss struct {
	// Sink is the name of the sink that gave them up: log, webhook, buffer, ...
	Sink   string
	Reason Reason
	Events []audit.Event
	// Err is the cause, nil where the reason says it all.
	Err error
}

// Error says how many events were lost where and why.
func (l *Loss) Error() string {
	s := fmt.Sprintf("%s: %d events lost: %s", l.Sink, len(l.Events), l.Reason)
	if l.Err != nil {
		s += ": " + l.Err.Error()
	}
	return s
}

// Unwrap is the cause.
func (l *Loss) Unwrap() error { return l.Err }

// Losses returns every [Loss] in err and the errors that it wraps or joins.
func Losses(err error) []*Loss {
	if err == nil {
		return nil
	}
	if l, ok := err.(*Loss); ok { //nolint:errorlint // the tree is walked here
		return []*Loss{l}
	}
	var out []*Loss
	switch w := err.(type) { //nolint:errorlint // the tree is walked here
	case interface{ Unwrap() error }:
		out = Losses(w.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range w.Unwrap() {
			out = append(out, Losses(e)...)
		}
	}
	return out
}

// lossOf is err as the losses that it stands for: itself where it tells them, and
// otherwise all of events.
func lossOf(sink string, err error, events []audit.Event) error {
	if err == nil || len(Losses(err)) > 0 {
		return err
	}
	reason := ReasonError
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		reason = ReasonStop
	}
	return &Loss{Sink: sink, Reason: reason, Events: events, Err: err}
}

// Reason is why an event was dropped or cut. It is a label of metrics and stands in
// the audit event of a loss: a word, never text from outside.
type Reason string

// The reasons.
const (
	ReasonFull     Reason = "full"      // the buffer, or the disk of a spool, had no room
	ReasonTooLarge Reason = "too_large" // over the largest event allowed, bodies left out
	ReasonCut      Reason = "cut"       // nothing lost but bodies: the event was over the largest allowed
	ReasonThrottle Reason = "throttle"  // over the allowed rate
	ReasonDown     Reason = "down"      // the webhook did not take it, after all tries
	ReasonRefused  Reason = "refused"   // the webhook will not take it, however often it is tried
	ReasonDisk     Reason = "disk"      // the file could not be written
	ReasonStop     Reason = "stop"      // still held when the time to stop was over
	ReasonRedact   Reason = "redact"    // its secrets could not be taken out
	ReasonError    Reason = "error"     // anything else
)
