package simulate

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ktrail/ktrail/audit/policy"
)

// Suggestion is one change of a policy that makes less be recorded, and what that costs.
// It never drops the last event of a request that changes something, that was refused
// (401, 403), or that is for a secret or config map: a [Check] holds it against the log.
type Suggestion struct {
	// Name says what kind of change it is, in kebab-case.
	Name  string `json:"name"`
	Title string `json:"title"`
	// YAML is what to add to the policy, ready to paste.
	YAML string `json:"yaml"`
	// Where says where to put it, in words; BeforeRule is the number of the rule of the
	// policy as it is, from 1, and Line where that begins: 0 if there is none.
	Where      string `json:"where"`
	BeforeRule int    `json:"before_rule,omitempty"`
	Line       int    `json:"line,omitempty"`
	GivesUp    string `json:"gives_up"`
	// Saves is what this change saves after all those before it. Share is of the bytes
	// that are recorded without any of them.
	Saves struct {
		Events       int64   `json:"events"`
		Bytes        int64   `json:"bytes"`
		EventsPerDay float64 `json:"events_per_day,omitempty"`
		BytesPerDay  float64 `json:"bytes_per_day,omitempty"`
		Share        float64 `json:"share"`
	} `json:"saves"`

	change change
}

// change is an edit of a policy: fields of the whole, or a rule before another.
type change struct {
	omitStages  policy.Stages
	omitManaged bool
	rule        *policy.Rule
	before      int // of the policy as it was
}

// Advice is a list of suggestions, to be applied in their order.
type Advice struct {
	Log Log `json:"log"`
	// Inferred is whether there was no policy, so that what is in the log counts as
	// what is recorded.
	Inferred bool `json:"inferred"`
	// Recorded is what the policy, or the log, has; After what all suggestions leave.
	Recorded Amount `json:"recorded"`
	After    Amount `json:"after"`
	// Kept counts the requests that had to stay recorded and do, as the check found.
	Kept        Kept         `json:"kept"`
	Suggestions []Suggestion `json:"suggestions"`
	// Refused are changes that would have saved something but failed the check.
	Refused []Refusal `json:"refused"`
	Notes   []Note    `json:"notes"`

	policy *policy.Policy
	totals *totals
	limit  int
	hasRR  bool            // the log has beginnings of requests
	failed map[string]bool // the changes that a check refused
	rounds int
}

// Kept counts requests by why they must stay recorded; one may count more than once.
type Kept struct {
	Writes  int64 `json:"writes"`
	Denied  int64 `json:"denied"`
	Secrets int64 `json:"secrets"`
}

// Refusal is a change that was not suggested.
type Refusal struct {
	Name   string `json:"name"`
	Title  string `json:"title"`
	Reason string `json:"reason"`
}

// least is the share of all bytes that a change must save to be worth reading about.
const least = 0.01

// Suggest looks for the changes of o.Policy, or of whatever recorded the log, that save
// most: at most limit of them, best first, each after those before it. Their savings are
// about right until a [Check] has measured them. The simulation needs Options.Suggest.
func (s *Simulation) Suggest(limit int) *Advice {
	t := s.totals()
	a := &Advice{
		Log:      Log{ReadStats: s.log, First: t.span.first, Last: t.span.last, Days: t.span.days(), QuietHours: t.span.quiet()},
		Inferred: s.opt.Policy == nil, policy: s.opt.Policy, hasRR: t.seen[received] > 0,
		Suggestions: []Suggestion{}, Refused: []Refusal{}, totals: t, limit: min(limit, maxSuggestions),
	}
	a.plan()
	for _, n := range t.notes(&Report{Log: a.Log}, Options{}) {
		if n.Name != "left-out" {
			a.Notes = append(a.Notes, n)
		}
	}
	return a
}

// plan picks changes that no check has refused.
func (a *Advice) plan() {
	g := newGreedy(a.policy, a.totals)
	all := slices.DeleteFunc(g.candidates(), func(c candidate) bool { return a.failed[c.id()] })
	a.Suggestions = a.Suggestions[:0]
	for len(a.Suggestions) < a.limit {
		best, most := -1, int64(0)
		for i := range all {
			if gain := g.gain(&all[i]); gain > most {
				best, most = i, gain
			}
		}
		if best < 0 || float64(most) < least*float64(g.total) {
			break
		}
		g.take(&all[best])
		a.Suggestions = append(a.Suggestions, all[best].Suggestion)
		all = slices.Delete(all, best, best+1)
	}
}

// id tells changes apart.
func (s *Suggestion) id() string { return fmt.Sprint(s.change.before, s.YAML) }

// maxSuggestions is how many there may be: a check has a bit for each.
const maxSuggestions = 50

// greedy looks for the best changes on the cells, without reading the log again.
type greedy struct {
	policy *policy.Policy // nil if it is not known
	cells  []*cell
	states []state
	// what was taken for the whole policy
	omit    policy.Stages
	managed bool
	total   int64 // bytes without any change
}

// state is what the changes taken so far make of a cell.
type state struct {
	level policy.Level // at most
	omit  policy.Stages
	taken bool // a new rule decides
}

func newGreedy(p *policy.Policy, t *totals) *greedy {
	g := &greedy{policy: p}
	for _, key := range sortedKeys(t.cells.rows) {
		if c := t.cells.rows[key]; c.now.sum() > 0 {
			g.cells = append(g.cells, c)
			g.states = append(g.states, state{level: policy.RequestResponse})
			g.total += c.now.sum()
		}
	}
	return g
}

// candidate is a suggestion and the cells that its rule takes over.
type candidate struct {
	Suggestion
	cells []int
}

// after is the state of a cell once the rule of c is there: of two new rules the one
// that records less stands first.
func (c *candidate) after(s state) state {
	if r := c.change.rule; !s.taken || r.Level < s.level {
		return state{r.Level, r.OmitStages, true}
	}
	return s
}

func (g *greedy) gain(c *candidate) int64 {
	var sum int64
	if c.change.rule == nil {
		for i, s := range g.states {
			sum += g.cost(i, s, g.omit, g.managed) - g.cost(i, s, g.omit|c.change.omitStages, g.managed || c.change.omitManaged)
		}
		return sum
	}
	for _, i := range c.cells {
		sum += g.cost(i, g.states[i], g.omit, g.managed) - g.cost(i, c.after(g.states[i]), g.omit, g.managed)
	}
	return sum
}

func (g *greedy) take(c *candidate) {
	g.omit |= c.change.omitStages
	g.managed = g.managed || c.change.omitManaged
	for _, i := range c.cells {
		g.states[i] = c.after(g.states[i])
	}
}

// cost is about the bytes of what is kept of a cell.
func (g *greedy) cost(i int, s state, omit policy.Stages, managed bool) int64 {
	c := g.cells[i]
	if r := g.rule(int(c.rule)); r.OmitManagedFields != nil && !*r.OmitManagedFields {
		managed = false // whatever the policy says
	}
	return c.cost(s.level, s.omit|omit, managed)
}

// rule is the rule of that index. Without a policy, and where none matched, it is one
// that says "as it is".
func (g *greedy) rule(i int) *policy.Rule {
	if g.policy == nil || i < 0 {
		return &policy.Rule{Level: policy.RequestResponse}
	}
	return &g.policy.Rules[i]
}

// ordered are the rules to insert in the order in which they are tried: by place, and
// at one place the one that records less first.
func ordered(changes []change) []change {
	var rules []change
	for _, c := range changes {
		if c.rule != nil {
			rules = append(rules, c)
		}
	}
	slices.SortStableFunc(rules, func(a, b change) int {
		return cmp.Or(a.before-b.before, int(a.rule.Level)-int(b.rule.Level))
	})
	return rules
}

// attributes are those of the cell's requests, but for namespaces and names.
func (c *cell) attributes() policy.Attributes {
	return policy.Attributes{
		User: c.user, NoUser: c.noUser, Groups: groupsOf(c.groups), Verb: c.verb,
		Resource: c.resource, APIGroup: c.group, Subresource: c.subresource,
		Path: c.path, NonResource: c.resource == "",
	}
}

// cost is the bytes of what is kept of the cell at a level that may be lower than now.
func (c *cell) cost(level policy.Level, omit policy.Stages, withoutManaged bool) int64 {
	if level == policy.None {
		return 0
	}
	var n int64
	for i, bytes := range c.now.bytes {
		if omit&(1<<i) == 0 {
			n += bytes
		}
	}
	b := c.bodies
	if level < policy.Request {
		n -= b.request
		b.requestManaged = 0
	}
	if level < policy.RequestResponse {
		n -= b.response
		b.responseManaged = 0
	}
	if withoutManaged {
		n -= b.requestManaged + b.responseManaged
	}
	return max(n, 0)
}

// place says where each change goes, when those before it are applied.
func (a *Advice) place() {
	var applied []change
	for n := range a.Suggestions {
		s := &a.Suggestions[n]
		applied = append(applied, s.change)
		switch before := s.change.before; {
		case s.change.rule == nil:
			s.Where = "at the top level, beside rules:"
			if a.policy != nil && s.change.omitStages != 0 && a.policy.OmitStages != 0 {
				s.Where = "at the top level, in place of omitStages:"
			}
			continue
		case a.policy != nil:
			s.BeforeRule, s.Line = before+1, a.policy.Rules[before].Line
			s.Where = fmt.Sprintf("right before rule %d (line %d)", s.BeforeRule, s.Line)
		case s.change.rule.Level == policy.None:
			s.Where = "first of the rules"
		default:
			s.Where = "after every rule that records less than " + s.change.rule.Level.String() + ", before those that record more"
		}
		rules := ordered(applied)
		at := slices.IndexFunc(rules, func(c change) bool { return c.rule == s.change.rule })
		neighbour := func(i int, side string) {
			if i < 0 || i >= len(rules) || rules[i].before != s.change.before {
				return
			}
			k := slices.IndexFunc(a.Suggestions, func(e Suggestion) bool { return e.change.rule == rules[i].rule })
			s.Where += fmt.Sprintf(", %s the rule of suggestion %d", side, k+1)
		}
		neighbour(at-1, "below")
		neighbour(at+1, "above")
	}
}

// apply is the policy with changes. What it returns shares rules with p.
func apply(p *policy.Policy, changes []change) *policy.Policy {
	q := &policy.Policy{OmitStages: p.OmitStages, OmitManagedFields: p.OmitManagedFields}
	rules := ordered(changes)
	for i := 0; i <= len(p.Rules); i++ {
		for len(rules) > 0 && rules[0].before == i {
			q.Rules = append(q.Rules, *rules[0].rule)
			rules = rules[1:]
		}
		if i < len(p.Rules) {
			q.Rules = append(q.Rules, p.Rules[i])
		}
	}
	for _, c := range changes {
		q.OmitStages |= c.omitStages
		q.OmitManagedFields = q.OmitManagedFields || c.omitManaged
	}
	return q
}
