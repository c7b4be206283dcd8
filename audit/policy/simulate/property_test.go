package simulate

import (
	"fmt"
	"hash/fnv"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/policy"
)

const oneRule = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n  - level: RequestResponse\n"

// half is one of two halves of all requests.
func half(e *audit.Event) bool {
	h := fnv.New32a()
	h.Write([]byte(e.AuditID))
	return h.Sum32()&16 == 0
}

// A log of which half was recorded without bodies: what the other half tells of them
// must hold what they really took.
func TestEstimateHoldsTheTruth(t *testing.T) {
	var log []byte
	var truth int64
	for _, e := range sampleEvents(t) {
		p := partsOf(e, nil)
		if e.Truncated || p.level != policy.RequestResponse {
			continue
		}
		truth += p.size(policy.RequestResponse, false)
		level := policy.RequestResponse
		if half(e) {
			level = policy.Metadata
		}
		log = p.append(log, level, false)
	}
	r := simulated(t, Options{Policy: load(t, oneRule)}, log)
	total := r.Policy.Total()
	if f := float64(truth); f < total.Low || f > total.High {
		t.Errorf("%d bytes are not within %+v", truth, total)
	}
	if off := total.Middle/float64(truth) - 1; off < -0.1 || off > 0.1 {
		t.Errorf("the best guess %.0f is off by %.0f%%", total.Middle, 100*off)
	}
	if r.Policy.Bytes >= truth || r.Policy.MoreBytes.High == 0 {
		t.Errorf("nothing was left to guess: %+v", r.Policy)
	}
}

// A log without the stage RequestReceived, or without ResponseStarted.
func TestAbsentStageHoldsTheTruth(t *testing.T) {
	for _, stage := range []int{received, started} {
		var log []byte
		var truth, events int64
		for _, e := range sampleEvents(t) {
			truth += int64(len(e.Raw)) + 1
			events++
			if stageOf(e.Stage) != stage {
				log = append(append(log, e.Raw...), '\n')
			}
		}
		as := "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n  - level: Metadata\n"
		full := simulated(t, Options{Policy: load(t, as)}, sampleLog(t)).Policy
		r := simulated(t, Options{Policy: load(t, as)}, log)
		total := r.Policy.Total()
		if f := float64(full.Bytes); f < total.Low || f > total.High {
			t.Errorf("without %s: %d bytes are not within %+v", stageNames[stage], full.Bytes, total)
		}
		// Watches that have not ended by the end of the log are not known to have begun.
		if n := float64(r.Policy.Events) + r.Policy.MoreEvents.Middle; n < 0.95*float64(events) || n > 1.01*float64(events) {
			t.Errorf("without %s: %.0f events, want about %d", stageNames[stage], n, events)
		}
	}
}

// However many names clients invent, the tables stay small, the totals exact, and who
// costs most stays on top.
func TestFloodOfNames(t *testing.T) {
	s := New(Options{Policy: load(t, oneRule), Baseline: preset(t, "metadata")})
	var bytes, heavy int64
	add := func(user, agent, resource, verb string, padding int) {
		e := audit.Event{
			User: user, Agent: agent, Resource: resource, APIVersion: "v1", Verb: verb, Level: "Metadata", Stage: "ResponseComplete", Final: true,
			Raw: strings.Repeat("x", padding), Groups: []string{user},
		}
		bytes += int64(padding) + 1
		if user == "heavy" {
			heavy += int64(padding) + 1
		}
		s.Add(&e)
	}
	for i := range 150000 {
		n := fmt.Sprint(i)
		add("u"+n, "agent"+n, "r"+n, "v"+n, 100)
		add("one", "agent"+n, "x"+n, "get", 100)
		if i%100 == 0 {
			add("heavy", "agent", "pods", "get", 20000)
		}
	}
	long := strings.Repeat("é", 1<<20)
	add(long, long, long, long, 10)
	for _, sh := range s.shards {
		if len(sh.cells.rows) > maxCells || len(sh.clients.rows) > maxClients || len(sh.kinds.rows) > maxKinds {
			t.Errorf("%d cells, %d clients, %d kinds", len(sh.cells.rows), len(sh.clients.rows), len(sh.kinds.rows))
		}
		for key := range sh.cells.rows {
			if len(key) > 10*maxName {
				t.Errorf("a key of %d bytes", len(key))
			}
		}
	}
	r := s.Report()
	if r.Recorded.Bytes != bytes || r.Policy.Bytes != bytes {
		t.Errorf("recorded %d, policy %d, want %d", r.Recorded.Bytes, r.Policy.Bytes, bytes)
	}
	want := map[string]int64{"heavy": heavy, "one": 150000 * 101}
	for _, c := range r.Clients[:3] {
		if n, ok := want[c.User]; ok && c.Bytes == n {
			delete(want, c.User)
		}
	}
	if len(want) > 0 {
		t.Errorf("%v are not among %+v", want, r.Clients)
	}
	told := false
	for _, n := range r.Notes {
		told = told || n.Name == "approximate"
	}
	if !told {
		t.Errorf("nobody says that the lists are approximate: %v", r.Notes)
	}
}

// Neither do the keys of the tables grow with the groups that clients are in.
func TestFloodOfGroups(t *testing.T) {
	s := New(Options{Policy: load(t, oneRule)})
	groups := make([]string, 32)
	for i := range groups {
		groups[i] = strings.Repeat("g", maxName)
	}
	for i := range 15000 {
		groups[0] = fmt.Sprint(i)
		s.Add(&audit.Event{User: "u", Groups: groups, Verb: "get", Resource: "pods", APIVersion: "v1", Level: "Metadata", Stage: "ResponseComplete", Final: true, Raw: "{}"})
	}
	cells := &s.one.cells
	sum := 0
	for key := range cells.rows {
		sum += len(key)
	}
	if sum != cells.keys || sum > maxKeys+10*maxName {
		t.Errorf("%d bytes of keys, counted as %d", sum, cells.keys)
	}
	if r := s.Report(); r.Policy.Events != 15000 {
		t.Errorf("%d events", r.Policy.Events)
	}
}

// A suggestion's saving is what the changed policy, loaded from the text as a person
// pastes it, does to the log; and it records no request at a higher level than before.
func TestSuggestionsDoAsTheySay(t *testing.T) {
	log := sampleLog(t)
	for _, pre := range policy.Presets() {
		t.Run(pre.Name, func(t *testing.T) {
			a := advised(t, load(t, string(pre.YAML)), log)
			text := string(pre.YAML)
			before := simulated(t, Options{Policy: load(t, text)}, log)
			if a.Recorded.Bytes != before.Policy.Bytes || a.Recorded.Events != before.Policy.Events {
				t.Fatalf("recorded %+v, simulate says %+v", a.Recorded, before.Policy)
			}
			// From the last rule to the first, so that lines stay where they are; of those
			// before one rule as their places say, which is the order of their levels.
			var rules []change
			for _, s := range a.Suggestions {
				rules = append(rules, s.change)
			}
			rules = ordered(rules)
			p := load(t, text)
			lines := strings.SplitAfter(text, "\n")
			for i := len(rules) - 1; i >= 0; i-- {
				for _, s := range a.Suggestions {
					if s.change.rule != rules[i].rule {
						continue
					}
					at := p.Rules[s.BeforeRule-1].Line - 1
					if s.Line != at+1 {
						t.Errorf("%s: line %d, want %d", s.Name, s.Line, at+1)
					}
					lines = append(lines[:at:at], append([]string{s.YAML}, lines[at:]...)...)
				}
			}
			text = strings.Join(lines, "")
			for _, s := range a.Suggestions {
				if s.change.rule == nil {
					text += s.YAML
				}
			}
			after := load(t, text)
			r := simulated(t, Options{Policy: after, Baseline: load(t, string(pre.YAML))}, log)
			if r.Policy.Bytes != a.After.Bytes || r.Policy.Events != a.After.Events {
				t.Errorf("the policy with all suggestions keeps %+v, promised %+v\n%s", r.Policy, a.After, text)
			}
			if l := r.Lost.Loss; l.Writes+l.Denied+l.Secrets+l.Outcomes != 0 {
				t.Errorf("lost %+v", l)
			}
			now, was := newDecider(after), newDecider(load(t, string(pre.YAML)))
			for _, e := range eventsOf(t, string(log)) {
				at := policy.AttributesOf(e)
				if n, w := now.decide(&at, 0), was.decide(&at, 0); n.Level > w.Level || w.OmitStages&^n.OmitStages != 0 && n.Level != policy.None {
					t.Fatalf("records %v but %v, was %v but %v: %s", n.Level, n.OmitStages, w.Level, w.OmitStages, e.Raw)
				}
			}
			var saved int64
			for _, s := range a.Suggestions {
				saved += s.Saves.Bytes
			}
			if saved != a.Recorded.Bytes-a.After.Bytes {
				t.Errorf("savings add up to %d, not %d", saved, a.Recorded.Bytes-a.After.Bytes)
			}
		})
	}
}

// What a client asks for goes into rules: a resource that is called as policies call
// all of them must not make a rule that hides those that the log happens not to have.
func TestSuggestionsTakeNoWildcardFromTheLog(t *testing.T) {
	for _, object := range []string{
		`"resource":"*"`, `"resource":"pods","subresource":"*"`, `"resource":"*","subresource":"status"`, `"resource":"things","apiGroup":"*"`,
	} {
		line := `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%d","stage":"ResponseComplete","requestURI":"/x","verb":"get",` +
			`"user":{"username":"system:serviceaccount:x:y","groups":["system:authenticated"]},"objectRef":{"apiVersion":"v1",%s},"responseStatus":{"code":%d}}` + "\n"
		var log []byte
		for i := range 100 {
			log = fmt.Appendf(log, line, i, object, 404)
			log = fmt.Appendf(log, line, 100+i, `"resource":"pods"`, 200)
		}
		a := advised(t, load(t, oneRule), log)
		if len(a.Suggestions) == 0 {
			t.Errorf("%s: nothing is suggested about the pods", object)
		}
		for _, s := range a.Suggestions {
			if strings.Contains(s.YAML, "*") {
				t.Errorf("%s: suggests\n%s", object, s.YAML)
			}
		}
	}
}

// A log with more beginnings without an end than are kept apart says so.
func TestTooManyBeginnings(t *testing.T) {
	s := New(Options{Suggest: true})
	e := audit.Event{User: "u", Verb: "create", Resource: "pods", APIVersion: "v1", Level: "Metadata", Stage: "RequestReceived", Raw: "{}"}
	s.Add(&e)
	a := s.Suggest(1)
	c := a.Check(1)
	for i := range maxOpen + 10 {
		e.AuditID = fmt.Sprint(i)
		c.Add(&e)
	}
	for !a.Settle(c) {
		c = a.Check(1)
		for i := range maxOpen + 10 {
			e.AuditID = fmt.Sprint(i)
			c.Add(&e)
		}
	}
	if n := len(a.Notes); n == 0 || a.Notes[n-1].Name != "unpaired" {
		t.Errorf("notes %v", a.Notes)
	}
}
