package coverage_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/coverage"
	"github.com/ktrail/ktrail/internal/golden"
)

func load(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Load([]byte("apiVersion: audit.k8s.io/v1\nkind: Policy\n" + text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

func preset(t *testing.T, name string) *policy.Policy {
	t.Helper()
	p, ok := policy.LookupPreset(name)
	if !ok {
		t.Fatalf("no preset %s", name)
	}
	return load(t, string(p.YAML))
}

// TestDiffPresets shows the differences between what people have and might take.
func TestDiffPresets(t *testing.T) {
	names := []string{"metadata", "minimal", "cis", "recommended", "gce", "forensic", "stig"}
	var b strings.Builder
	for i, to := range names[1:] {
		fmt.Fprintf(&b, "# %s → %s\n", names[i], to)
		changes, err := coverage.Diff(preset(t, names[i]), preset(t, to))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			fmt.Fprintf(&b, "%s: %s\n", c.Direction, c.Text)
		}
	}
	golden.Check(t, "testdata/diff-presets.txt", b.String())
}

// same is what is recorded of a request, as a text that is equal only if the
// events are.
func same(d policy.Decision) string {
	stages := policy.AllStages &^ d.OmitStages
	if d.Level == policy.None || stages == 0 {
		return "None"
	}
	return fmt.Sprintf("%v at %v, without managed fields %t", d.Level, stages, d.Level < policy.Request || d.OmitManagedFields)
}

// random makes small policies and requests about the same few names, so that
// they meet often.
type random struct{ *rand.Rand }

func (r random) some(of ...string) []string {
	var out []string
	for range r.IntN(3) {
		out = append(out, of[r.IntN(len(of))])
	}
	return out
}

func (r random) one(of ...string) string { return of[r.IntN(len(of))] }

func (r random) stages() policy.Stages {
	if r.IntN(3) > 0 {
		return 0
	}
	return policy.Stages(r.IntN(16))
}

func (r random) rule() policy.Rule {
	rule := policy.Rule{Level: policy.Level(r.IntN(4)), OmitStages: r.stages()}
	if r.IntN(3) == 0 {
		yes := r.IntN(2) == 0
		rule.OmitManagedFields = &yes
	}
	if r.IntN(3) == 0 {
		rule.Users = r.some("alice", "bob", "")
	}
	if r.IntN(3) == 0 {
		rule.UserGroups = r.some("dev", "ops", "sec")
	}
	if r.IntN(2) == 0 {
		rule.Verbs = r.some("get", "list", "create", "delete", "post", "use")
	}
	switch r.IntN(4) {
	case 0:
		rule.NonResourceURLs = r.some("/healthz", "/healthz*", "/api/*", "*", "/apis*", "/", "/a*", "/*")
	case 1, 2:
		if r.IntN(3) == 0 {
			rule.Namespaces = r.some("", "prod", "dev")
		}
		for range r.IntN(3) {
			gr := policy.GroupResources{Group: r.one("", "apps", "*", "batch")}
			gr.Resources = r.some("pods", "pods/log", "pods/*", "*", "*/status", "*/*", "*/log", "deployments", "deployments/status", "pods/", "/log")
			if len(gr.Resources) > 0 && r.IntN(3) == 0 {
				gr.ResourceNames = r.some("", "a", "b")
			}
			rule.Resources = append(rule.Resources, gr)
		}
	}
	return rule
}

func (r random) policy() *policy.Policy {
	p := &policy.Policy{OmitStages: r.stages(), OmitManagedFields: r.IntN(2) == 0}
	for range 1 + r.IntN(6) {
		p.Rules = append(p.Rules, r.rule())
	}
	return p
}

func (r random) request() *policy.Attributes {
	a := &policy.Attributes{
		User: r.one("alice", "bob", "carol", ""), Groups: r.some("dev", "ops", "sec", "hr"),
		Verb: r.one("get", "list", "watch", "create", "delete", "post", "use", "none"),
	}
	if r.IntN(10) == 0 {
		a.User, a.Groups, a.NoUser = "", nil, true
	}
	if r.IntN(3) == 0 {
		a.NonResource = true
		a.Path = r.one("/healthz", "/healthz/x", "/api/", "/api/v1", "/apis", "/apis/apps", "/", "/version", "/a", "/b")
		return a
	}
	a.APIGroup = r.one("", "apps", "batch", "example.com")
	a.Resource = r.one("pods", "deployments", "nodes", "*")
	a.Subresource = r.one("", "log", "status", "scale", "*")
	a.Namespace = r.one("", "prod", "dev", "test")
	a.Name = r.one("", "a", "b", "c")
	return a
}

// TestDiffIsExact holds Diff against Decide: a request differs if and only if a
// change holds it, and the example of every change differs as it says.
func TestDiffIsExact(t *testing.T) {
	r := random{rand.New(rand.NewPCG(1, 2))}
	empty, differ := 0, 0
	for i := range 3000 {
		a := r.policy()
		b := r.policy()
		if r.IntN(2) == 0 { // a small step away
			b = &policy.Policy{OmitStages: a.OmitStages, OmitManagedFields: a.OmitManagedFields, Rules: slices.Clone(a.Rules)}
			switch j := r.IntN(len(b.Rules)); r.IntN(4) {
			case 0:
				b.Rules = slices.Delete(b.Rules, j, j+1)
			case 1:
				b.Rules = slices.Insert(b.Rules, j, r.rule())
			case 2:
				k := r.IntN(len(b.Rules))
				b.Rules[j], b.Rules[k] = b.Rules[k], b.Rules[j]
			case 3:
				b.Rules = slices.Insert(b.Rules, j, b.Rules[j])
			}
		}
		changes, err := coverage.Diff(a, b)
		if err != nil {
			t.Fatal(err)
		}
		ea, eb := policy.Compile(a), policy.Compile(b)
		if len(changes) == 0 {
			empty++
		}
		for _, c := range changes {
			differ++
			if x, y := same(ea.Decide(&c.Example)), same(eb.Decide(&c.Example)); x == y {
				t.Fatalf("policies %d: %q: the example %+v is %s under both\n%+v\n%+v", i, c.Text, c.Example, x, a, b)
			}
			if c.FromRule != ea.Decide(&c.Example).Rule || c.ToRule != eb.Decide(&c.Example).Rule {
				t.Fatalf("policies %d: %q: wrong rules", i, c.Text)
			}
		}
		for range 200 {
			q := r.request()
			x, y := same(ea.Decide(q)), same(eb.Decide(q))
			if x != y && len(changes) == 0 {
				t.Fatalf("policies %d: no change, but %+v is %s and %s\n%+v\n%+v", i, q, x, y, a, b)
			}
		}
	}
	if empty < 100 || differ < 1000 {
		t.Fatalf("%d equal pairs and %d changes: the test tests nothing", empty, differ)
	}
}
