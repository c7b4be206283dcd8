package simulate

import (
	"fmt"
	"strings"

	"github.com/ktrail/ktrail/audit/policy"
)

// estimate is what a policy that decides d keeps of a cell, by stage: what was counted
// and on top of it what the log cannot tell. tell is whether the notes shall know.
func (t *totals) estimate(c *cell, s *side, d policy.Decision, tell bool) [stageCount]Amount {
	var out [stageCount]Amount
	for i := range out {
		out[i] = Amount{Events: s.kept[i], Bytes: s.bytes[i]}
	}
	if d.Level == policy.None {
		return out
	}
	last := &out[complete]
	for failed := range 2 {
		if n := s.requests[failed]; n > 0 {
			last.MoreBytes = last.MoreBytes.plus(t.body(c, failed, n, true, tell))
		}
		if n := s.responses[failed]; n > 0 {
			last.MoreBytes = last.MoreBytes.plus(t.body(c, failed, n, false, tell))
		}
	}
	if t.managed == 0 && t.bodies >= enough && s.whole > 0 {
		last.MoreBytes = last.MoreBytes.plus(managedShare.times(float64(s.whole)))
		if tell {
			t.whole += s.whole
		}
	}
	t.absent(c, d, &out, tell)
	return out
}

// body is the bytes of n bodies.
func (t *totals) body(c *cell, failed int, n int64, request, tell bool) Range {
	of := func(k *kind) *histogram {
		switch {
		case k == nil:
			return nil
		case request:
			return &k.request
		}
		return &k.response
	}
	source, size := fromTypical, typical(c.verb, failed, request)
	if h := of(t.kinds.rows[string(appendKind(nil, c.group, c.resource, c.subresource, c.verb, failed))]); h != nil && h.n >= enough && c.folded < 2 {
		source, size = fromKind, h.size()
	} else if h := of(t.verb(c.verb, failed)); h != nil && h.n >= enough {
		source, size = fromVerb, h.size()
	}
	if tell {
		t.sources[source] += n
	}
	return size.times(float64(n))
}

// verb is all kinds with that verb as one.
func (t *totals) verb(verb string, failed int) *kind {
	key := "verb\xff" + verb + string(rune('0'+failed))
	if t.verbs == nil {
		t.verbs = map[string]*kind{}
		for _, k := range t.kinds.rows {
			own := "verb\xff" + k.verb + string(rune('0'+k.failed))
			if t.verbs[own] == nil {
				t.verbs[own] = &kind{verb: k.verb, failed: k.failed}
			}
			t.verbs[own].merge(k)
		}
	}
	return t.verbs[key]
}

// memberName is what the name of a body takes: ,"requestObject": .
const memberName = 17

func typical(verb string, failed int, request bool) Range {
	size, ok := typicalResponse[verb]
	if request {
		size, ok = typicalRequest[verb]
	}
	switch {
	case failed == 1 && !request:
		size = typicalFailure
	case !ok:
		size = typicalOther
	}
	return size.plus(exactly(memberName))
}

// fewest is how many requests must lack a stage before it counts as left out: the
// first and last requests of a log lack some by chance.
const fewest = 3

// absent adds the stages that requests must have had and that the log has none of,
// because the policy under which it was recorded left them out.
func (t *totals) absent(c *cell, d policy.Decision, out *[stageCount]Amount, tell bool) {
	ends := c.seen[complete] + c.seen[panicked]
	long := c.verb == "watch" || c.subresource == "log" || connects(c.subresource)
	wants := func(stage int) bool { return d.OmitStages&(1<<stage) == 0 }
	missing := func(stage int, n int64) bool {
		return c.seen[stage] == 0 && n > 0 && (n >= fewest || t.seen[stage] == 0)
	}
	add := func(stage int, n int64, each Range) {
		out[stage].MoreEvents = out[stage].MoreEvents.plus(exactly(n))
		out[stage].MoreBytes = out[stage].MoreBytes.plus(each.times(float64(n)))
		if tell {
			t.stages[stage] += n
		}
	}
	if ends > 0 && c.finals > 0 && wants(received) && missing(received, ends) {
		add(received, ends, scaled(receivedShare, exactly(c.metadata/c.finals)))
	}
	// Those that have not ended yet have begun too.
	if n := max(ends, c.seen[received]); long && wants(started) && missing(started, n) {
		each := exactly(c.metadata / max(1, c.finals))
		if c.finals == 0 {
			each = scaled(completeShare, exactly(c.bytes[received]/n))
		}
		add(started, n, scaled(startedShare, each))
	}
	if ends > 0 {
		return
	}
	// Watches that go on when the log ends have no end either, for up to an hour.
	if n := c.seen[received]; n > 0 && !long && wants(complete) && t.seen[complete] == 0 {
		each := scaled(completeShare, exactly(c.bytes[received]/n))
		if d.Level >= policy.Request && hasRequestBody(c.verb, c.subresource) {
			each = each.plus(t.body(c, 0, 1, true, false))
		}
		if d.Level == policy.RequestResponse && hasResponseBody(c.verb, c.subresource) && c.resource != "" {
			each = each.plus(t.body(c, 0, 1, false, false))
		}
		add(complete, n, each)
	}
}

func scaled(share, of Range) Range {
	return Range{share.Low * of.Low, share.Middle * of.Middle, share.High * of.High}
}

// notes say what the numbers rest on.
func (t *totals) notes(r *Report, o Options) []Note {
	notes := []Note{}
	note := func(name, format string, args ...any) {
		notes = append(notes, Note{name, fmt.Sprintf(format, args...)})
	}
	if n := t.sources[fromKind]; n > 0 {
		note("bodies-of-log", "%s not recorded; their sizes are taken from the same resource and verb elsewhere in this log (tenth percentile, mean, ninetieth)", bodyCount(n))
	}
	if n := t.sources[fromVerb]; n > 0 {
		note("bodies-of-verb", "%s not recorded, nor any of the same resource; their sizes are taken from the same verb elsewhere in this log", bodyCount(n))
	}
	if n := t.sources[fromTypical]; n > 0 {
		note("bodies-typical", "%s not recorded, and the log has none like them; their sizes are typical ones of a small cluster, which yours may differ from by a lot", bodyCount(n))
	}
	for i, n := range t.stages {
		if n > 0 {
			note("stage-absent", "the log has no %s event of %s, its policy must have left them out; what they would take is estimated from the events that are there", stageNames[i], counted(n, "requests"))
		}
	}
	if t.whole > 0 {
		note("managed-fields", "no body in the log has managedFields, which its policy must have left out and this one would record: estimated at a third to once more the bodies' size")
	}
	if o.Policy != nil {
		note("left-out", "requests that the log's own policy left out entirely are not in the log: what this policy would record of them is not in these numbers%s", t.without())
	}
	switch {
	case r.Log.Days == 0 && r.Log.Events > 0:
		note("no-time", "the log spans no time, so there are no numbers for a day")
	case r.Log.Days > 0 && r.Log.Days < 1:
		note("short", "the log covers less than a day: numbers for a day assume that all of it is like these %s", lasting(r.Log.Days))
	}
	if n := r.Log.QuietHours; n > 0 {
		note("quiet", "the log has %s without any event: if a part of it is missing there, a day has more than this says", counted(n, "hours"))
	}
	if r.Log.Bad > 0 {
		note("bad-lines", "not counted: %s, as no audit event can be read there", counted(r.Log.Bad, "lines"))
	}
	if t.cells.folded+t.clients.folded+t.kinds.folded > 0 {
		note("approximate", "the log has more different users, resources or verbs than are kept apart: totals are exact, lists of the costliest are approximate, the rest stands under %s", others)
	}
	return notes
}

func bodyCount(n int64) string {
	if n == 1 {
		return "1 body was"
	}
	return counted(n, "bodies") + " were"
}

// counted is "1 write", "2 writes".
func counted(n int64, nouns string) string {
	if n == 1 {
		nouns = strings.Replace(nouns, "requests", "request", 1)
		if !strings.HasPrefix(nouns, "request") && !strings.HasPrefix(nouns, "refused") {
			nouns = strings.TrimSuffix(nouns, "s")
		}
	}
	return fmt.Sprintf("%d %s", n, nouns)
}

func lasting(days float64) string {
	minutes := days * 24 * 60
	switch {
	case minutes < 1:
		return fmt.Sprintf("%.0f seconds", minutes*60)
	case minutes < 10:
		return fmt.Sprintf("%.1f minutes", minutes)
	case minutes < 120:
		return fmt.Sprintf("%.0f minutes", minutes)
	}
	return fmt.Sprintf("%.1f hours", minutes/60)
}

// without names traffic that every cluster has and this log has not.
func (t *totals) without() string {
	reads, watches, leases, probes := false, false, false, false
	for _, c := range t.cells.rows {
		reads = reads || c.resource != "" && (c.verb == "get" || c.verb == "list")
		watches = watches || c.verb == "watch"
		leases = leases || c.resource == "leases" && c.verb == "update"
		probes = probes || isProbe(c.path)
	}
	var none []string
	for _, x := range []struct {
		has  bool
		name string
	}{{reads, "reads (get, list)"}, {watches, "watches"}, {leases, "lease updates"}, {probes, "health probes"}} {
		if !x.has {
			none = append(none, x.name)
		}
	}
	if len(none) == 0 {
		return ""
	}
	return "; it has no " + strings.Join(none, ", no ") + ", which every cluster has"
}

func isProbe(path string) bool {
	for _, p := range []string{"/healthz", "/livez", "/readyz"} {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}
