package coverage

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit/policy"
)

//go:embed needs/*.yaml
var needFiles embed.FS

// NeedSets are the names of the needs that ktrail brings along.
func NeedSets() []string { return []string{"cis", "incident-response"} }

// LookupNeeds is the file of needs of that name.
func LookupNeeds(name string) ([]byte, bool) {
	text, err := needFiles.ReadFile("needs/" + name + ".yaml")
	return text, err == nil
}

// Needs are what somebody has to find in an audit log: an investigator, a
// benchmark, a detection rule.
type Needs struct {
	Name  string
	Title string
	Needs []Need
}

// Need is one thing to be found.
type Need struct {
	Name   string
	Reason string
	Source string // where it is demanded, "" if nowhere
	// Level is the least that must be recorded of each of the requests, and
	// Stages are the stages that must leave an event.
	Level  policy.Level
	Stages policy.Stages
	// Requests are those it is about, any of them; Except takes some out again.
	Requests []Pattern
	Except   []Pattern
	Line     int // in the file, from 1
}

// Pattern is a class of requests in the words of a policy's rule, whose level
// and omissions have no say.
type Pattern struct {
	policy.Rule
	// Unauthenticated is for the requests that nobody could be authenticated
	// for: failed logins. All other patterns leave those out.
	Unauthenticated bool
}

// State is whether a policy meets a need.
type State string

// The states.
const (
	Met    State = "met"
	Partly State = "partly"
	NotMet State = "not met"
)

// Result is how far a policy meets a need.
type Result struct {
	Need  *Need
	State State
	// Gaps are the requests that are not recorded as needed. They may overlap.
	Gaps []Gap
}

// Gap is a class of requests that a policy does not record as needed.
type Gap struct {
	Requests Requests `json:"requests"`
	// Rule is the index of the rule that takes them, -1 if none does, and Line
	// where it stands.
	Rule int `json:"-"`
	Line int `json:"-"`
	// Level is what is recorded of them, and Missing the stages that are not.
	Level   policy.Level  `json:"level"`
	Missing policy.Stages `json:"missingStages,omitempty"`
	// Text is the gap in one line.
	Text string `json:"text"`
	// Example is one such request.
	Example policy.Attributes `json:"-"`
}

// Check says which of the needs the policy meets. It is exact. The error is
// ErrTooLarge, or a need that is about no request at all.
func Check(p *policy.Policy, needs *Needs) ([]Result, error) {
	results := make([]Result, 0, len(needs.Needs))
	for i := range needs.Needs {
		r, err := check(p, &needs.Needs[i])
		if err != nil {
			return nil, fmt.Errorf("need %s: %w", needs.Needs[i].Name, err)
		}
		results = append(results, r)
	}
	return results, nil
}

const (
	authenticated   = "system:authenticated"
	unauthenticated = "system:unauthenticated"
)

// check looks at the policy, the need and what requesters there can be side by
// side: three lists of clauses, of which the first that matches decides.
func check(p *policy.Policy, n *Need) (Result, error) {
	rules := rulesOf(p)
	patterns := append(append([]Pattern(nil), n.Except...), n.Requests...)
	for i := range patterns {
		rules = append(rules, &patterns[i].Rule)
	}
	for _, r := range rules {
		if len(r.UserGroups) > 0 || slices.Contains(r.Users, anonymous) { // tell the two groups apart that everybody is in one of
			rules = append(rules, &policy.Rule{UserGroups: []string{authenticated}}, &policy.Rule{UserGroups: []string{unauthenticated}})
			break
		}
	}
	s := newSpace(rules)
	free := clause{sets: make([]set, len(s.size)), rule: -1}
	var wanted []clause
	for i := range patterns {
		for _, sets := range s.pattern(&patterns[i]) {
			wanted = append(wanted, clause{sets: sets, rule: i})
		}
	}
	lists := [][]clause{s.clauses(p.Rules), append(wanted, free), append(s.impossible(), free)}

	var about, met bool
	d, err := newDiagram(s, lists, func(rules []int) int {
		switch {
		case rules[2] >= 0:
			return anyRegion
		case rules[1] < len(n.Except): // excepted, or no request of the need
			return noRegion
		}
		about = true
		if n.meets(meaningOf(p, rules[0])) {
			met = true
			return noRegion
		}
		return rules[0] + 2 // 1 for no rule
	})
	if err != nil {
		return Result{}, err
	}
	if !about {
		return Result{}, fmt.Errorf("line %d: no request is like that", n.Line)
	}
	regions, err := d.boxes()
	if err != nil {
		return Result{}, err
	}
	res := Result{Need: n, State: Met}
	switch {
	case len(regions) > 0 && met:
		res.State = Partly
	case len(regions) > 0:
		res.State = NotMet
	}
	classes := d.classes()
	for label := 1; label <= len(p.Rules)+1; label++ {
		boxes, seeds := d.few(regions[label], label, classes)
		from := len(res.Gaps)
		for i, b := range boxes {
			g := Gap{Requests: s.requests(b), Rule: label - 2, Example: s.witness(seeds[i])}
			res.Gaps = absorb(res.Gaps, from, g, func(g *Gap) *Requests { return &g.Requests })
		}
		for i := from; i < len(res.Gaps); i++ {
			n.word(p, &res.Gaps[i])
		}
	}
	return res, nil
}

func (n *Need) meets(m meaning) bool {
	return m.level >= n.Level && (n.Level == policy.None || m.stages.Has(n.Stages))
}

// word fills in what is recorded, and the text.
func (n *Need) word(p *policy.Policy, g *Gap) {
	m := meaningOf(p, g.Rule)
	g.Level = m.level
	if m.level > policy.None {
		g.Missing = n.Stages &^ m.stages
	}
	var what []string
	if m.level < n.Level {
		what = append(what, m.level.String())
	}
	if g.Missing != 0 {
		what = append(what, "without stage "+strings.Join(g.Missing.Names(), ", "))
	}
	by := "since no rule matches"
	if g.Rule >= 0 {
		g.Line = p.Rules[g.Rule].Line
		by = fmt.Sprintf("by rule %d (line %d)", g.Rule+1, g.Line)
	}
	g.Text = fmt.Sprintf("%s: %s %s", g.Requests.String(), strings.Join(what, ", "), by)
}

// pattern are the requests of a pattern as products of sets.
func (s *space) pattern(p *Pattern) [][]set {
	products := s.rule(&p.Rule)
	for _, sets := range products {
		if p.Unauthenticated {
			sets[dimUser] = newSet(len(s.users))
			sets[dimUser].add(s.nobody())
			for i := range s.groups {
				sets[dimGroups+i] = newSet(2)
				sets[dimGroups+i].add(noMember)
			}
			continue
		}
		if sets[dimUser] == nil {
			sets[dimUser] = fullSet(len(s.users))
		}
		sets[dimUser].remove(s.nobody())
	}
	return products
}

// anonymous is the user that the API server makes of a request without
// credentials. He is in the group system:unauthenticated and in no other, and
// everybody else is in system:authenticated.
const anonymous = "system:anonymous"

// impossible are requesters that there are not: nobody who is in a group, and
// whom what is said of anonymous rules out.
func (s *space) impossible() []clause {
	var cs []clause
	add := func(sets map[int]set) {
		c := clause{sets: make([]set, len(s.size))}
		for dim, values := range sets {
			c.sets[dim] = values
		}
		cs = append(cs, c)
	}
	yes, no := newSet(2), newSet(2)
	yes.add(member)
	no.add(noMember)
	nobody := newSet(len(s.users))
	nobody.add(s.nobody())
	somebody := fullSet(len(s.users)).minus(nobody)

	in, out := -1, -1
	for i, class := range s.groups {
		add(map[int]set{dimUser: nobody, dimGroups + i: yes})
		switch class[0] {
		case authenticated:
			in = dimGroups + i
		case unauthenticated:
			out = dimGroups + i
		}
	}
	if in < 0 || out < 0 {
		return cs
	}
	for i := range s.groups {
		if dimGroups+i != out {
			add(map[int]set{out: yes, dimGroups + i: yes})
		}
	}
	add(map[int]set{dimUser: somebody, in: no, out: no})
	if i := slices.Index(s.users, anonymous); i >= 0 {
		is := newSet(len(s.users))
		is.add(i)
		add(map[int]set{dimUser: is, out: no})
		add(map[int]set{dimUser: somebody.minus(is), out: yes})
	} else {
		named := slices.Clone(somebody)
		named.remove(s.nobody() - 1) // any other, of whom he is one
		add(map[int]set{dimUser: named, out: yes})
	}
	return cs
}
