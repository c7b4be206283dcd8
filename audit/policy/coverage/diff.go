package coverage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit/policy"
)

// Direction says whether a change records less or more.
type Direction string

// The directions.
const (
	Less  Direction = "less"
	More  Direction = "more"
	Other Direction = "other" // some more and some less
)

// Change is a class of requests that two policies record in different ways.
type Change struct {
	Direction Direction `json:"direction"`
	// Field is what differs: "level", "stages" or "managedFields".
	Field string `json:"field"`
	// From and To are its values, the stages those that are recorded.
	From string `json:"from"`
	To   string `json:"to"`
	// Requests are those that change so. Classes may overlap.
	Requests Requests `json:"requests"`
	// Text is the change in one line.
	Text string `json:"text"`
	// Example is one such request, and the rules that decide about it: indexes, -1 for none.
	Example  policy.Attributes `json:"-"`
	FromRule int               `json:"-"`
	ToRule   int               `json:"-"`
}

// meaning is what a decision amounts to: two decisions with the same meaning
// leave the same events.
type meaning struct {
	level   policy.Level
	stages  policy.Stages // recorded
	managed bool          // managed fields are recorded
}

// meaningOf takes off what has no effect: a level whose stages are all omitted
// is None, and without bodies there are no managed fields.
func meaningOf(p *policy.Policy, rule int) meaning {
	omit, omitManaged, m := p.OmitStages, p.OmitManagedFields, meaning{}
	if rule >= 0 {
		r := &p.Rules[rule]
		m.level = r.Level
		omit |= r.OmitStages
		if r.OmitManagedFields != nil {
			omitManaged = *r.OmitManagedFields
		}
	}
	m.stages = policy.AllStages &^ omit
	if m.level == policy.None || m.stages == 0 {
		return meaning{}
	}
	m.managed = m.level >= policy.Request && !omitManaged
	return m
}

// aspects are what can differ, each by itself, so that a policy that omits one
// more stage differs in one line.
var aspects = []struct {
	field string
	value func(m, other meaning) string // "" where the aspect has no say
}{
	{"level", func(m, _ meaning) string { return m.level.String() }},
	{"stages", func(m, other meaning) string {
		if m.level == policy.None || other.level == policy.None {
			return ""
		}
		return m.stages.String()
	}},
	{"managedFields", func(m, other meaning) string {
		switch {
		case m.level < policy.Request || other.level < policy.Request:
			return ""
		case m.managed:
			return "recorded"
		}
		return "omitted"
	}},
}

// Diff is what changes in meaning from policy a to policy b, less recorded
// first; nothing if every request leaves the same events under both. It is
// exact. The error is ErrTooLarge.
func Diff(a, b *policy.Policy) ([]Change, error) {
	s := newSpace(slices.Concat(rulesOf(a), rulesOf(b)))
	type meanings struct{ from, to meaning }
	var all []meanings
	known := map[meanings]int{}
	whole, err := newDiagram(s, [][]clause{s.clauses(a.Rules), s.clauses(b.Rules)}, func(rules []int) int {
		m := meanings{meaningOf(a, rules[0]), meaningOf(b, rules[1])}
		if _, ok := known[m]; !ok {
			known[m] = len(all)
			all = append(all, m)
		}
		return known[m]
	})
	if err != nil {
		return nil, err
	}
	var changes []Change
	for _, aspect := range aspects {
		type pair struct{ from, to string }
		var pairs []pair
		labels := map[pair]int{}
		d := whole.relabel(func(i int) int {
			p := pair{aspect.value(all[i].from, all[i].to), aspect.value(all[i].to, all[i].from)}
			switch {
			case p.from == "" || p.to == "":
				return anyRegion
			case p.from == p.to:
				return noRegion
			}
			if _, ok := labels[p]; !ok {
				pairs = append(pairs, p)
				labels[p] = len(pairs)
			}
			return labels[p]
		})
		regions, err := d.boxes()
		if err != nil {
			return nil, err
		}
		classes := d.classes()
		for i, p := range pairs {
			chosen, seeds := d.few(regions[i+1], i+1, classes)
			from := len(changes)
			for j, region := range chosen {
				c := Change{Field: aspect.field, From: p.from, To: p.to, Requests: s.requests(region), Example: s.witness(seeds[j])}
				changes = absorb(changes, from, c, func(c *Change) *Requests { return &c.Requests })
			}
		}
	}
	old, now := policy.Compile(a), policy.Compile(b)
	for i := range changes {
		c := &changes[i]
		c.FromRule, c.ToRule = old.Decide(&c.Example).Rule, now.Decide(&c.Example).Rule
		c.word()
	}
	slices.SortStableFunc(changes, func(x, y Change) int {
		return cmp.Or(cmp.Compare(order(x.Direction), order(y.Direction)), strings.Compare(x.From, y.From),
			strings.Compare(x.To, y.To), strings.Compare(x.Text, y.Text))
	})
	return changes, nil
}

func order(d Direction) int { return slices.Index([]Direction{Less, Other, More}, d) }

func rulesOf(p *policy.Policy) []*policy.Rule {
	rules := make([]*policy.Rule, len(p.Rules))
	for i := range p.Rules {
		rules[i] = &p.Rules[i]
	}
	return rules
}

// word fills in the direction and the text.
func (c *Change) word() {
	what := c.Requests.String()
	if c.Field != "level" && what == everyRequest {
		what = "everything that is recorded"
	}
	switch c.Field {
	case "level":
		from, _ := policy.ParseLevel(c.From)
		to, _ := policy.ParseLevel(c.To)
		c.Direction = More
		if to < from {
			c.Direction = Less
		}
		c.Text = fmt.Sprintf("%s: %s → %s", what, c.From, c.To)
	case "stages":
		var lost, won []string
		had, has := strings.Split(c.From, ","), strings.Split(c.To, ",")
		for _, s := range had {
			if !slices.Contains(has, s) {
				lost = append(lost, s)
			}
		}
		for _, s := range has {
			if !slices.Contains(had, s) {
				won = append(won, s)
			}
		}
		var says []string
		if len(lost) > 0 {
			says = append(says, "no longer at stage "+strings.Join(lost, ", "))
		}
		if len(won) > 0 {
			says = append(says, "now also at stage "+strings.Join(won, ", "))
		}
		c.Direction = Other
		switch {
		case len(won) == 0:
			c.Direction = Less
		case len(lost) == 0:
			c.Direction = More
		}
		c.Text = what + ": " + strings.Join(says, " and ")
	case "managedFields":
		c.Direction = More
		if c.To == "omitted" {
			c.Direction = Less
		}
		c.Text = fmt.Sprintf("%s: managedFields %s → %s", what, c.From, c.To)
	}
}
