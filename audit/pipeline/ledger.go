package pipeline

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// Ledger counts what was lost or cut on the way, by sink, reason and rule. Nothing
// that a pipeline gives up goes uncounted, and nothing is counted twice: see [Sink].
//
// [Ledger.Run] tells of it, at most once in a while however much was lost: in the
// program's log, and by an audit event of its own (see [IsReport]).
//
// A Ledger may be used by many goroutines at once.
type Ledger struct {
	log   *slog.Logger
	every time.Duration

	mu     sync.Mutex
	counts map[key]*tally
	dirty  bool          // something was not told yet
	wake   chan struct{} // holds one token while dirty is set
}

// LedgerOptions are a Ledger's.
type LedgerOptions struct {
	// Log is told of losses; nil is silent.
	Log *slog.Logger
	// Every is the least time between two reports; 0 is a minute.
	Every time.Duration
}

// Count is how many events were lost, or cut, in one way since the start.
type Count struct {
	Sink   string
	Reason Reason
	// Rule is the policy's rule that asked for them, from 1; 0 if unknown.
	Rule   int32
	Events int64
}

type key struct {
	sink   string
	reason Reason
	rule   int32
}

type tally struct {
	total, told int64
	since       time.Time // of what was not told yet
	cause       string    // the last one, as text: an error may hold the events
}

// NewLedger returns an empty ledger.
func NewLedger(o LedgerOptions) *Ledger {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Every <= 0 {
		o.Every = time.Minute
	}
	return &Ledger{log: o.Log, every: o.Every, counts: map[key]*tally{}, wake: make(chan struct{}, 1)}
}

// Enter enters the losses in err: those that its [Loss]es tell, or all of events if
// it has none. A nil error enters nothing.
func (l *Ledger) Enter(err error, events []audit.Event) {
	for _, loss := range Losses(lossOf("", err, events)) {
		l.enter(loss.Sink, loss.Reason, loss.Events, loss.Err)
	}
}

// Cut enters events of which sink left out the bodies. They are not lost.
func (l *Ledger) Cut(sink string, events ...audit.Event) { l.enter(sink, ReasonCut, events, nil) }

func (l *Ledger) enter(sink string, reason Reason, events []audit.Event, cause error) {
	if len(events) == 0 {
		return
	}
	text := ""
	if cause != nil {
		text = cause.Error()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range events {
		if IsReport(&events[i]) {
			// Its totals are in the next one. It is no record of a request, and counting it
			// would have a dead sink lose one more each minute for ever.
			l.setDirty()
			continue
		}
		k := key{sink, reason, events[i].Rule}
		t := l.counts[k]
		if t == nil {
			t = &tally{}
			l.counts[k] = t
		}
		if t.total == t.told {
			t.since = time.Now()
			l.setDirty()
		}
		t.total++
		t.cause = text
	}
}

func (l *Ledger) setDirty() {
	if !l.dirty {
		l.dirty = true
		l.wake <- struct{}{}
	}
}

// Counts returns what was lost and cut since the start, sorted by sink, reason and rule.
func (l *Ledger) Counts() []Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Count, 0, len(l.counts))
	for k, t := range l.counts {
		out = append(out, Count{Sink: k.sink, Reason: k.reason, Rule: k.rule, Events: t.total})
	}
	slices.SortFunc(out, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Sink, b.Sink), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Rule, b.Rule))
	})
	return out
}

// Run reports losses until ctx ends: the first at once, those that follow at most
// once in Every. It sleeps while nothing is lost. to takes the audit event that each
// report is; nil for none.
func (l *Ledger) Run(ctx context.Context, to Sink) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		l.report(ctx, to)
		select {
		case <-ctx.Done():
			return
		case <-time.After(l.every):
		}
	}
}

// Flush reports what was lost since the last report, and returns when to has taken it. It is
// for the end, when [Ledger.Run] has returned.
func (l *Ledger) Flush(ctx context.Context, to Sink) {
	select {
	case <-l.wake:
		l.report(ctx, to)
	default:
	}
}

// report tells of everything that was not told, if the caller has the token of wake.
func (l *Ledger) report(ctx context.Context, to Sink) {
	reports := l.take()
	for _, r := range reports {
		if r.lost == 0 {
			continue // an event of before did not get through, and is made up for
		}
		attrs := []slog.Attr{
			slog.String("sink", r.sink), slog.String("reason", string(r.reason)),
			slog.Int64("events", r.lost), slog.Int64("total", r.total), slog.Time("since", r.since),
		}
		if r.rules != "" {
			attrs = append(attrs, slog.String("rules", r.rules))
		}
		if r.cause != "" {
			attrs = append(attrs, slog.String("error", r.cause))
		}
		if r.reason == ReasonCut {
			l.log.LogAttrs(ctx, slog.LevelWarn, "audit events were cut", attrs...)
		} else {
			l.log.LogAttrs(ctx, slog.LevelError, "audit events were lost", attrs...)
		}
	}
	if to == nil || len(reports) == 0 {
		return
	}
	events := make([]audit.Event, 0, len(reports))
	var bad error
	for _, r := range reports {
		ev, err := r.event(time.Now())
		bad = errors.Join(bad, err)
		if err == nil {
			events = append(events, ev)
		}
	}
	if bad != nil {
		l.log.LogAttrs(ctx, slog.LevelError, "the loss of audit events left no audit event", slog.String("error", bad.Error()))
	}
	if err := to.Send(ctx, events); err != nil {
		l.Enter(err, events)
	}
}
