package compat

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	auditpolicy "k8s.io/apiserver/pkg/audit/policy"

	"github.com/ktrail/ktrail/audit/policy"
)

// hold fails if the two evaluators differ about a request, and returns the decision.
func hold(t *testing.T, p *policy.Policy, requests []*policy.Attributes) []policy.Decision {
	t.Helper()
	up := auditpolicy.NewPolicyRuleEvaluator(ToUpstream(p))
	ours := policy.Compile(p)
	var all []policy.Decision
	for _, a := range requests {
		want := up.EvaluatePolicyRule(Attributes(a))
		for how, got := range map[string]policy.Decision{"Decide": ours.Decide(a), "Explain": p.Explain(a).Decision} {
			if got.Level.String() != string(want.Level) || got.OmitManagedFields != want.OmitManagedFields || !SameStages(got.OmitStages, want.OmitStages) {
				t.Fatalf("%s: got %+v, upstream %+v\nfor %+v\nby %+v", how, got, want, a, p.Rules)
			}
		}
		all = append(all, ours.Decide(a))
	}
	return all
}

// The vocabulary is small so that rules and requests meet, and has in it what the
// matching treats in a way of its own, and what it might.
var (
	names  = []string{"", "*", "alice", "system:node:a", "system:nodes", "*alice", "ali*", "ünï☸", "a\x00b", "\xff"}
	verbs  = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "proxy", "*", "", "GET"}
	groups = []string{"", "apps", "*", "rbac.authorization.k8s.io", "*.k8s.io", "ünï"}
	kinds  = []string{"pods", "pods/log", "pods/*", "*/log", "*", "*/*", "/", "/*", "*/", "pods/", "/log", "pods/log/x", "pods/log/*", "secrets", "secrets*", "sec*", "", "*pods", "pöds", "*/*/*", "//"}
	res    = []string{"pods", "secrets", "", "*", "pods/log", "pöds", "pods/*", "*/log", "/", "deployments"}
	subs   = []string{"", "", "", "log", "*", "log/x", "status", "/", "lög"}
	spaces = []string{"", "default", "kube-system", "*", "kube-*"}
	urls   = []string{"*", "/*", "/healthz", "/healthz*", "/healthz/*", "/h*", "/", "", "healthz", "/healthz**", "/heal*hz", "/ü*", "/healthz/ping*"}
	hits   = []string{"/healthz", "/healthz/ping", "/healthzx", "/", "", "/h", "/ü☸", "*", "/healthz*", "/metrics"}
)

type random struct{ *rand.Rand }

func (r random) one(from []string) string { return from[r.IntN(len(from))] }

// list is nil, empty or short, and may have a value twice.
func (r random) list(from []string, odds int) []string {
	if r.IntN(odds) > 0 {
		return nil
	}
	list := []string{}
	for range r.IntN(4) {
		list = append(list, r.one(from))
	}
	return list
}

func (r random) policy(rules int) *policy.Policy {
	p := &policy.Policy{OmitStages: policy.Stages(r.IntN(16)), OmitManagedFields: r.IntN(2) == 0}
	odds := 1 + r.IntN(4)
	for range rules {
		rule := policy.Rule{
			Level: policy.Level(r.IntN(4)), OmitStages: policy.Stages(r.IntN(16)),
			Users: r.list(names, odds), UserGroups: r.list(names, odds), Verbs: r.list(verbs, odds),
		}
		switch r.IntN(8) {
		case 0:
			rule.NonResourceURLs = r.list(urls, 1)
		case 1: // refused by the validation, but it has a meaning
			rule.NonResourceURLs, rule.Namespaces = r.list(urls, 1), r.list(spaces, 1)
		case 2:
			rule.Namespaces = r.list(spaces, 1)
		default:
			rule.Namespaces = r.list(spaces, 4)
			for range r.IntN(4) {
				rule.Resources = append(rule.Resources, policy.GroupResources{Group: r.one(groups), Resources: r.list(kinds, 1), ResourceNames: r.list(names, 3)})
			}
		}
		if r.IntN(3) == 0 {
			omit := r.IntN(2) == 0
			rule.OmitManagedFields = &omit
		}
		p.Rules = append(p.Rules, rule)
	}
	return p
}

func (r random) request() *policy.Attributes {
	return &policy.Attributes{
		User: r.one(names), Groups: r.list(names, 1), NoUser: r.IntN(10) == 0, Verb: r.one(verbs),
		Resource: r.one(res), APIGroup: r.one(groups), Subresource: r.one(subs), Namespace: r.one(spaces), Name: r.one(names),
		Path: r.one(hits), NonResource: r.IntN(3) == 0,
	}
}

// A fifth of a million random requests under two thousand random policies.
func TestDecideRandom(t *testing.T) {
	var levels [policy.RequestResponse + 1]int
	matched, last, cases := 0, 0, 0
	for seed := range uint64(2000) {
		r := random{rand.New(rand.NewPCG(seed, 42))}
		n := []int{0, 1, 2, 5, 20, 70}[seed%6]
		if seed%100 == 0 {
			n = 700
		}
		p := r.policy(n)
		var requests []*policy.Attributes
		for range 100 {
			requests = append(requests, r.request())
		}
		for _, d := range hold(t, p, requests) {
			levels[d.Level]++
			cases++
			if d.Rule >= 0 {
				matched++
				last = max(last, d.Rule)
			}
		}
	}
	t.Logf("%d decisions, %d by a rule, the last by rule %d, by level %v", cases, matched, last, levels)
	if cases != 200_000 || matched < cases/4 || last < 64 || slices.Contains(levels[:], 0) {
		t.Error("the random cases are too much alike to prove anything")
	}
}

func FuzzDecide(f *testing.F) {
	f.Add(uint64(1), "get", "pods", "log", "alice", "system:nodes", "/healthz", "default", "apps", false)
	f.Add(uint64(2), "*", "*", "", "", "", "*", "", "*", true)
	f.Fuzz(func(t *testing.T, seed uint64, verb, resource, sub, user, group, path, namespace, apiGroup string, nonResource bool) {
		r := random{rand.New(rand.NewPCG(seed, 1))}
		p := r.policy(r.IntN(100))
		mine := policy.GroupResources{Group: apiGroup, Resources: []string{r.one([]string{resource, resource + "/" + sub, resource + "/*", "*/" + sub, sub})}}
		for i := range p.Rules {
			if rule := &p.Rules[i]; r.IntN(3) == 0 {
				rule.Verbs, rule.Users, rule.UserGroups = append(rule.Verbs, verb), append(rule.Users, user), append(rule.UserGroups, group)
				rule.Resources, rule.Namespaces = append(rule.Resources, mine), append(rule.Namespaces, namespace)
			} else if r.IntN(3) == 0 {
				rule.NonResourceURLs = append(rule.NonResourceURLs, path, path+"*")
			}
		}
		requests := []*policy.Attributes{{
			User: user, Groups: []string{group}, Verb: verb, Resource: resource, Subresource: sub,
			APIGroup: apiGroup, Namespace: namespace, Name: user, Path: path + r.one(subs), NonResource: nonResource,
		}}
		for range 20 {
			a := r.request()
			if r.IntN(2) == 0 {
				a.Verb, a.Resource, a.Subresource, a.APIGroup = verb, resource, sub, apiGroup
			}
			if r.IntN(2) == 0 {
				a.User, a.Path, a.Namespace = user, path, namespace
			}
			requests = append(requests, a)
		}
		hold(t, p, requests)
	})
}

// sample are the requests of the project's own audit log.
func sample(t testing.TB) []*policy.Attributes {
	t.Helper()
	f, err := os.Open("../testdata/audit-sample.log.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	requests, err := ReadRequests(f)
	if err != nil {
		t.Fatal(err)
	}
	return requests
}

func TestDecideGCE(t *testing.T) {
	text, err := GCEPolicy()
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(text)
	if err != nil {
		t.Fatal(err)
	}
	requests := sample(t)
	for seed := range uint64(200) {
		r := random{rand.New(rand.NewPCG(seed, 3))}
		for range 100 {
			requests = append(requests, requestFor(r, p))
		}
	}
	decided := make([]int, len(p.Rules)+1)
	for _, d := range hold(t, p, requests) {
		decided[d.Rule+1]++
	}
	if n := slices.Index(decided[1:], 0); n >= 0 {
		t.Errorf("no request met rule %d of the GCE policy: %v", n+1, decided)
	}
}

// requestFor is a request that some rule of p is likely to match.
func requestFor(r random, p *policy.Policy) *policy.Attributes {
	a := r.request()
	rule := &p.Rules[r.IntN(len(p.Rules))]
	if len(rule.Users) > 0 {
		a.User = r.one(rule.Users)
	}
	if len(rule.UserGroups) > 0 {
		a.Groups = []string{r.one(rule.UserGroups)}
	}
	if len(rule.Verbs) > 0 {
		a.Verb = r.one(rule.Verbs)
	}
	if len(rule.Namespaces) > 0 {
		a.Namespace = r.one(rule.Namespaces)
	}
	if len(rule.NonResourceURLs) > 0 {
		a.NonResource, a.Path = true, r.one(rule.NonResourceURLs)
	}
	if len(rule.Resources) > 0 {
		gr := rule.Resources[r.IntN(len(rule.Resources))]
		a.NonResource, a.APIGroup = false, gr.Group
		if len(gr.Resources) > 0 {
			a.Resource, a.Subresource, _ = strings.Cut(r.one(gr.Resources), "/")
		}
	}
	return a
}

func TestDecideLarge(t *testing.T) {
	for _, n := range []int{30, 300, 3000} {
		p, requests := LargePolicy(n)
		met := map[int]bool{}
		for _, d := range hold(t, p, append(requests, sample(t)[:200]...)) {
			met[d.Rule] = true
		}
		if len(met) < min(n, 1000) {
			t.Errorf("%d rules: only %d were met", n, len(met))
		}
	}
}
