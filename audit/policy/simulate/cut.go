package simulate

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/policy"
)

// span is a part of a line: a member with the comma that goes with it.
type span struct{ from, to int }

func (s span) size() int { return s.to - s.from }

// parts says where in the line of an event stands what a lower level leaves out.
type parts struct {
	line              string
	level             policy.Level
	levelAt           span // the level's name
	request, response span // empty where there is none
	truncated         span // the annotation of a truncated event
	// managed are the managedFields of the bodies that the API server would leave
	// out, ascending; those before response are the request's. Nil until look.
	managed []span
	looked  bool
	patch   bool
}

// partsOf finds the parts of e's line. scratch is memory for them. The line must be
// one that package audit accepts; of any other the parts are of no use, but safe.
func partsOf(e *audit.Event, scratch []span) parts {
	p := parts{line: e.Raw, managed: scratch[:0], patch: e.Verb == "patch", level: levelOf(e.Level)}
	kept := false
	m := members{s: e.Raw, i: open(e.Raw, 0, '{')}
	for m.next() {
		part := m.with(kept)
		switch m.key {
		case "requestObject":
			p.request = part
			continue
		case "responseObject":
			p.response = part
			continue
		case "level":
			p.levelAt = span{m.from, m.to}
		case "annotations":
			if e.Truncated {
				p.truncated = truncation(e.Raw, m.from, part)
			}
		}
		kept = true
	}
	return p
}

// levelOf is the level of that name; what has none has no bodies either.
func levelOf(name string) policy.Level {
	if l, err := policy.ParseLevel(name); err == nil && l != policy.None {
		return l
	}
	return policy.Metadata
}

// truncation is the annotation that the API server sets where it drops bodies, or
// the whole member annotations where it is the only one.
func truncation(s string, from int, all span) span {
	m := members{s: s, i: open(s, from, '{')}
	var found span
	n := 0
	for m.next() {
		if m.key == "audit.k8s.io/truncated" {
			found = m.with(n > 0)
		}
		n++
	}
	if n == 1 && found.size() > 0 {
		return all
	}
	return found
}

// look finds managedFields. It is not done for everybody: it reads the bodies again.
func (p *parts) look() {
	if p.looked {
		return
	}
	p.looked = true
	for i, body := range []span{p.request, p.response} {
		// A patch is recorded as it was sent, managedFields or not.
		if text := p.line[body.from:body.to]; i == 0 && p.patch || !strings.Contains(text, `"managedFields"`) {
			continue
		}
		m := members{s: p.line, i: body.from}
		if m.next() {
			p.managed = managedFields(p.line, m.from, p.managed)
		}
	}
}

// managedFields adds those of the object at i, of its items if it is a list, and of
// the objects of its rows if it is a Table: k8s.io/apiserver/pkg/audit/request.go,
// copyWithoutManagedFields.
func managedFields(s string, i int, to []span) []span {
	m := members{s: s, i: open(s, i, '{')}
	for m.next() {
		switch m.key {
		case "metadata":
			to = inMetadata(s, m.from, to)
		case "items":
			to = inEach(s, m.from, "metadata", to)
		case "rows":
			to = inEach(s, m.from, "object", to)
		}
	}
	return to
}

func inMetadata(s string, i int, to []span) []span {
	m := members{s: s, i: open(s, i, '{')}
	for kept := false; m.next(); {
		if m.key == "managedFields" {
			to = append(to, m.with(kept))
		} else {
			kept = true
		}
	}
	return to
}

// inEach looks into the member of that name of each object of the array at i.
func inEach(s string, i int, name string, to []span) []span {
	if i = open(s, i, '['); i < 0 {
		return to
	}
	for {
		i = space(s, i)
		switch {
		case i >= len(s) || s[i] == ']':
			return to
		case s[i] == ',':
			i++
			continue
		}
		end := skip(s, i)
		if end <= i { // no value begins here
			return to
		}
		m := members{s: s, i: open(s, i, '{')}
		for m.next() {
			switch {
			case m.key != name:
			case name == "metadata":
				to = inMetadata(s, m.from, to)
			default: // the object of a row: only itself
				o := members{s: s, i: open(s, m.from, '{')}
				for o.next() {
					if o.key == "metadata" {
						to = inMetadata(s, o.from, to)
					}
				}
			}
		}
		i = end
	}
}

// size is how many bytes the event takes at a level that is not above its own, with
// its newline.
func (p *parts) size(level policy.Level, omitManaged bool) int64 {
	n := len(p.line) + 1
	cutRequest, cutResponse := p.cuts(level)
	if level < p.level {
		n += len(level.String()) + 2 - p.levelAt.size()
	}
	if cutRequest {
		n -= p.request.size() + p.truncated.size()
	}
	if cutResponse {
		n -= p.response.size()
	}
	if omitManaged && !(cutRequest && cutResponse) {
		p.look()
		for _, m := range p.managed {
			if within(m, p.request) && !cutRequest || within(m, p.response) && !cutResponse {
				n -= m.size()
			}
		}
	}
	return int64(n)
}

func (p *parts) cuts(level policy.Level) (request, response bool) {
	return level < policy.Request && p.level >= policy.Request, level < policy.RequestResponse && p.level == policy.RequestResponse
}

func within(a, b span) bool { return a.from >= b.from && a.to <= b.to }

// append writes the event as it would be at that level, with its newline.
func (p *parts) append(to []byte, level policy.Level, omitManaged bool) []byte {
	type edit struct {
		span
		with string
	}
	var edits []edit
	cutRequest, cutResponse := p.cuts(level)
	if level < p.level {
		edits = append(edits, edit{p.levelAt, `"` + level.String() + `"`})
	}
	if cutRequest {
		edits = append(edits, edit{span: p.request}, edit{span: p.truncated})
	}
	if cutResponse {
		edits = append(edits, edit{span: p.response})
	}
	if omitManaged {
		p.look()
		for _, m := range p.managed {
			edits = append(edits, edit{span: m})
		}
	}
	slices.SortFunc(edits, func(a, b edit) int { return cmp.Or(a.from-b.from, b.size()-a.size()) })
	at := 0
	for _, e := range edits {
		if e.size() > 0 && e.from >= at { // not inside of one that is gone
			to = append(append(to, p.line[at:e.from]...), e.with...)
			at = e.to
		}
	}
	return append(append(to, p.line[at:]...), '\n')
}
