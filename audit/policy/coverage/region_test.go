package coverage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ktrail/ktrail/audit/policy"
)

// TestRegionsAreExact holds that the few boxes which are put into words hold
// every request of their label and none of another.
func TestRegionsAreExact(t *testing.T) {
	a, b := mustLoad(t, "recommended"), mustLoad(t, "gce")
	s := newSpace(append(rulesOf(a), rulesOf(b)...))
	label := func(rules []int) int {
		x, y := meaningOf(a, rules[0]).level, meaningOf(b, rules[1]).level
		switch {
		case x == y:
			return noRegion
		case x == policy.None && y == policy.Metadata:
			return anyRegion
		}
		return 1 + int(x)*4 + int(y)
	}
	d, err := newDiagram(s, [][]clause{s.clauses(a.Rules), s.clauses(b.Rules)}, label)
	if err != nil {
		t.Fatal(err)
	}
	regions, err := d.boxes()
	if err != nil {
		t.Fatal(err)
	}
	ea, eb := policy.Compile(a), policy.Compile(b)
	labelOf := func(q *policy.Attributes) int { return label([]int{ea.Decide(q).Rule, eb.Decide(q).Rule}) }
	few := map[int][]box{}
	classes := d.classes()
	boxes := 0
	for l, disjoint := range regions {
		few[l], _ = d.few(disjoint, l, classes)
		boxes += len(disjoint) - len(few[l])
	}
	if boxes < 10 {
		t.Errorf("only %d boxes were merged", boxes)
	}
	r := rand.New(rand.NewPCG(3, 4))
	hits := 0
	for range 10000 {
		point := s.point(r, make(box, len(s.size)))
		q := s.witness(point)
		l := labelOf(&q)
		for fl, bs := range few {
			if in := covered(point, bs); in != (l == fl) && !(in && l == anyRegion) {
				t.Fatalf("%+v has label %d, and being in region %d is %t", q, l, fl, in)
			} else if in {
				hits++
			}
		}
	}
	if hits < 500 {
		t.Errorf("only %d requests were in a region", hits)
	}
	// From inside a region, where random points seldom are.
	for l, bs := range few {
		for _, b := range bs {
			for range 50 {
				q := s.witness(s.point(r, b))
				if got := labelOf(&q); got != l && got != anyRegion {
					t.Fatalf("%+v is in region %d but has label %d", q, l, got)
				}
			}
		}
	}
}

// point is one request of a box as a box.
func (s *space) point(r *rand.Rand, b box) box {
	p := make(box, len(s.size))
	for dim, n := range s.size {
		from := b[dim]
		if from == nil {
			from = fullSet(n)
		}
		k := r.IntN(from.len())
		for v := range from.values {
			if k == 0 {
				p[dim] = newSet(n)
				p[dim].add(v)
			}
			k--
		}
	}
	if p[dimUser].has(s.nobody()) { // nobody is in no group, so it is no point of this test
		p[dimUser] = newSet(s.size[dimUser])
		p[dimUser].add(s.nobody() - 1)
		if b[dimUser] != nil && !b[dimUser].has(s.nobody()-1) {
			return s.point(r, b)
		}
	}
	return p
}

func mustLoad(t *testing.T, name string) *policy.Policy {
	t.Helper()
	preset, ok := policy.LookupPreset(name)
	if !ok {
		t.Fatalf("no preset %s", name)
	}
	p, err := policy.Load(preset.YAML)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestLargePolicies holds that thousands of rules are compared, and that rules
// which multiply are refused rather than taken for ever.
func TestLargePolicies(t *testing.T) {
	a := &policy.Policy{}
	for i := range 1000 {
		r := policy.Rule{Level: policy.Level(i % 4), Users: []string{fmt.Sprint("user-", i)}}
		if i%2 == 0 {
			r = policy.Rule{Level: policy.Level(i % 3), Verbs: []string{"get"}, Resources: []policy.GroupResources{{Group: fmt.Sprint("g", i%25), Resources: []string{fmt.Sprint("r", i)}}}}
		}
		a.Rules = append(a.Rules, r)
	}
	b := &policy.Policy{Rules: append([]policy.Rule(nil), a.Rules...)}
	if changes, err := Diff(a, b); err != nil || len(changes) > 0 {
		t.Errorf("the same policy twice: %v, %v", changes, err)
	}
	b.Rules[500].Level = policy.RequestResponse
	changes, err := Diff(a, b)
	if err != nil || len(changes) == 0 {
		t.Errorf("one rule of 1,000 differs: %v, %v", changes, err)
	}
	for _, c := range changes {
		if c.Field != "level" || c.To != "RequestResponse" {
			t.Errorf("changes to %s: %s", c.To, c.Text)
		}
	}
	tangle := &policy.Policy{}
	for i := range 20 {
		for j := range 12 {
			tangle.Rules = append(tangle.Rules, policy.Rule{
				Level: policy.Level(1 + (i+j)%3),
				Users: []string{fmt.Sprint("u", i), fmt.Sprint("u", (i*7+j)%40)}, UserGroups: []string{fmt.Sprint("g", j*i%60)},
				Namespaces: []string{fmt.Sprint("n", j), fmt.Sprint("n", (i+j)%12)},
			})
		}
	}
	if _, err := Diff(tangle, a); err != nil && !errors.Is(err, ErrTooLarge) {
		t.Errorf("a tangle of rules: %v", err)
	}
}
