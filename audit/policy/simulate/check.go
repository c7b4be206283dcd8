package simulate

import (
	"context"
	"hash/maphash"
	"io"
	"strings"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/policy"
)

// Check reads the log a second time to hold suggestions against it: each changed
// policy decides about each event, so that savings are measured and the promise that
// nothing is lost which must not be is a fact, not a hope.
type Check struct {
	a        *Advice
	variants []variant // the policy as it is, then after each suggestion
	seed     maphash.Seed
	shards   []*checker
	one      *checker
}

// variant is a policy after some changes.
type variant struct {
	compiled *policy.Evaluator
	whole    *policy.Policy
	overlay  bool // what no rule matches is as it was recorded
}

func (v *variant) decide(a *policy.Attributes, recorded policy.Level) policy.Decision {
	d := v.compiled.Decide(a)
	if v.overlay {
		if d.Rule < 0 {
			d.Level = recorded
		}
		d.Level = min(d.Level, recorded)
	}
	return d
}

// Check begins a check of a's suggestions by so many goroutines; 0 is 2.
func (a *Advice) Check(workers int) *Check {
	if workers <= 0 {
		workers = 2
	}
	c := &Check{a: a, seed: maphash.MakeSeed()}
	base := a.policy
	if base == nil {
		base = &policy.Policy{}
	}
	var changes []change
	for i := -1; i < len(a.Suggestions); i++ {
		if i >= 0 {
			changes = append(changes, a.Suggestions[i].change)
		}
		p := apply(base, changes)
		c.variants = append(c.variants, variant{policy.Compile(p), p, a.policy == nil})
	}
	for range workers {
		c.shards = append(c.shards, c.shard())
	}
	c.one = c.shards[0]
	return c
}

func (c *Check) shard() *checker {
	return &checker{c: c, kept: make([]tally, len(c.variants)), open: map[uint64]begun{}}
}

// Read takes the events of a stream as [Simulation.Read] does.
func (c *Check) Read(ctx context.Context, name string, r io.Reader) error {
	consumers := make([]consumer, len(c.shards))
	for i, s := range c.shards {
		consumers[i] = s
	}
	_, err := read(ctx, name, r, consumers)
	return err
}

// Add takes one event. Only one goroutine may call it.
func (c *Check) Add(e *audit.Event) { c.one.add(e) }

// tally is what one variant makes of the log.
type tally struct {
	events, bytes int64
	lost, kept    Kept
	raised        int64 // events that would be recorded at a higher level than they are
}

func (k *Kept) plus(o Kept) {
	k.Writes += o.Writes
	k.Denied += o.Denied
	k.Secrets += o.Secrets
}

// less is what there is more of than before, in words.
func (k Kept) less(before Kept) string {
	var parts []string
	for _, x := range []struct {
		n    int64
		noun string
	}{{k.Writes - before.Writes, "writes"}, {k.Denied - before.Denied, "refused requests"}, {k.Secrets - before.Secrets, "requests for secrets or config maps"}} {
		if x.n > 0 {
			parts = append(parts, counted(x.n, x.noun))
		}
	}
	return strings.Join(parts, ", ")
}

// begun is a request that must stay recorded and whose end is not seen yet.
type begun struct {
	n    int32  // beginnings less ends
	gone uint64 // a bit for each variant that does not record the beginning
	what Kept
	at   audit.Time
	long bool
}

// maxOpen bounds how many requests are waited for: clients choose audit IDs.
const maxOpen = 1 << 18

// checker is what one goroutine counts.
type checker struct {
	c     *Check
	kept  []tally
	open  map[uint64]begun
	full  bool // open has no room for more
	last  audit.Time
	spans []span
}

func (s *checker) begin(int) {}

func (s *checker) add(e *audit.Event) {
	a := policy.AttributesOf(e)
	level := levelOf(e.Level)
	stage := stageOf(e.Stage)
	p := parts{line: e.Raw, level: level, levelAt: span{0, len(e.Level) + 2}, patch: e.Verb == "patch", managed: s.spans[:0]}
	if level >= policy.Request && stage != received || e.Truncated {
		p = partsOf(e, s.spans)
	}
	s.last = max(s.last, e.Time)
	must := reasons(e, &a)
	var gone uint64
	had := false
	var first policy.Level
	for i := range s.c.variants {
		d := s.c.variants[i].decide(&a, level)
		t := &s.kept[i]
		if d.Level == policy.None || d.OmitStages&(1<<stage) != 0 {
			if had && e.Final {
				t.lost.plus(must)
			}
			gone |= 1 << i
			continue
		}
		if i == 0 {
			had, first = true, d.Level
		}
		if !had || d.Level > first {
			t.raised++
		}
		t.events++
		t.bytes += p.size(min(d.Level, level), d.OmitManagedFields)
		if had && e.Final {
			t.kept.plus(must)
		}
	}
	if must != (Kept{}) && s.c.a.hasRR && (e.Final && stage != started || stage == received && had) {
		s.pair(e, must, gone)
	}
	if cap(p.managed) > cap(s.spans) {
		s.spans = p.managed
	}
}

// reasons are why a request must stay recorded.
func reasons(e *audit.Event, a *policy.Attributes) Kept {
	var k Kept
	if changes(a) {
		k.Writes = 1
	}
	if e.Code == 401 || e.Code == 403 {
		k.Denied = 1
	}
	if sensitive(a) {
		k.Secrets = 1
	}
	return k
}

// pair looks for requests that begin and never end: whoever leaves their beginning out
// loses them. The goroutine that sees the end may be another.
func (s *checker) pair(e *audit.Event, must Kept, gone uint64) {
	id := maphash.String(s.c.seed, e.AuditID)
	b, ok := s.open[id]
	if !ok && len(s.open) >= maxOpen {
		s.full = true
		return
	}
	if e.Final {
		b.n--
	} else {
		b.n++
		b.gone, b.what, b.at, b.long = gone, must, e.Time, e.Verb == "watch" || connects(e.Subresource)
	}
	if b.n == 0 {
		delete(s.open, id)
	} else {
		s.open[id] = b
	}
}

// A request that begins so shortly before the log ends may just be under way, in
// microseconds: the API server's --request-timeout is a minute, a watch lasts up to
// twice --min-request-timeout, an hour.
const (
	underway     = audit.Time(2 * 60e6)
	underwayLong = audit.Time(65 * 60e6)
)

// maxRounds is how often changes are looked for again.
const maxRounds = 4

// Settle takes what the check found into the advice: savings as measured, suggestions
// that lose something, or save too little, out. It is false if there were such: then what
// is suggested now must be checked again.
func (a *Advice) Settle(c *Check) bool {
	total := c.shard()
	for _, s := range c.shards {
		total.last, total.full = max(total.last, s.last), total.full || s.full
		for i := range s.kept {
			t, o := &total.kept[i], &s.kept[i]
			t.events += o.events
			t.bytes += o.bytes
			t.lost.plus(o.lost)
			t.kept.plus(o.kept)
			t.raised += o.raised
		}
		for id, b := range s.open {
			own := total.open[id]
			if b.at != 0 {
				own.gone, own.what, own.at, own.long = b.gone, b.what, b.at, b.long
			}
			own.n += b.n
			total.open[id] = own
		}
	}
	for _, b := range total.open {
		limit := underway
		if b.long {
			limit = underwayLong
		}
		if b.n <= 0 || b.at > total.last-limit {
			continue
		}
		for i := range total.kept {
			if b.gone&(1<<i) != 0 {
				total.kept[i].lost.plus(b.what)
			}
		}
	}
	first := total.kept[0]
	a.Recorded = Amount{Events: first.events, Bytes: first.bytes}
	a.Recorded.perDay(a.Log.Days)
	if a.failed == nil {
		a.failed = map[string]bool{}
	}
	var good []Suggestion
	for i := range a.Suggestions {
		before, now := total.kept[i], total.kept[i+1]
		s := &a.Suggestions[i]
		s.Saves.Events, s.Saves.Bytes = before.events-now.events, before.bytes-now.bytes
		s.Saves.Share = float64(s.Saves.Bytes) / float64(max(1, first.bytes))
		if a.Log.Days > 0 {
			s.Saves.EventsPerDay = exactly(s.Saves.Events).times(1 / a.Log.Days).round().Middle
			s.Saves.BytesPerDay = exactly(s.Saves.Bytes).times(1 / a.Log.Days).round().Middle
		}
		reason := ""
		switch lost := now.lost; {
		case lost != before.lost:
			reason = "would lose " + lost.less(before.lost)
		case now.raised > before.raised:
			reason = "would record more of some requests than now"
		case s.Saves.Share < least/2:
			reason = "saves next to nothing after the others"
		}
		if reason != "" {
			a.Refused = append(a.Refused, Refusal{s.Name, s.Title, reason})
			a.failed[s.id()] = true
			continue
		}
		good = append(good, *s)
	}
	if len(good) < len(a.Suggestions) {
		// Something else may do instead, but not for ever: each time reads the log.
		if a.rounds++; a.rounds < maxRounds {
			a.plan()
		} else {
			a.Suggestions = append(a.Suggestions[:0], good...)
		}
		return false
	}
	a.place()
	if total.full {
		a.Notes = append(a.Notes, Note{"unpaired", "the log has too many requests with a beginning or an end only: whether each write that begins also ends is not known for all"})
	}
	last := total.kept[len(total.kept)-1]
	a.Kept = last.kept
	a.After = Amount{Events: last.events, Bytes: last.bytes}
	a.After.perDay(a.Log.Days)
	return true
}
