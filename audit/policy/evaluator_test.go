package policy_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ktrail/ktrail/audit/policy"
)

// words are few, so that rules and requests meet, and have what is special in them.
var words = []string{"", "*", "*/*", "*/x", "x", "x/*", "x/y", "x/y/z", "y", "y/z", "/", "/*", "*/", "z", "pods", "pods/log", "pods/*", "*/log", "log", "ü/ß", "a-long-name-of-more-than-sixteen", "a-long-name-of-more-than-SIXTEEN"}

var paths = []string{"*", "/", "/*", "/healthz", "/healthz*", "/health*", "/healthz/etcd", "/h", "/healthz/**", "", "x*", "/a-long-path/of-more-than-thirty-two-bytes*", "/a-long-path/of-more-than-thirty-two-bytes/x"}

func some(r *rand.Rand, from []string, most int) []string {
	if r.IntN(2) == 0 {
		return nil
	}
	list := make([]string, r.IntN(most+1))
	for i := range list {
		list[i] = from[r.IntN(len(from))]
	}
	return list
}

// randomPolicy makes policies that the API server would refuse too: they have a meaning.
func randomPolicy(r *rand.Rand, rules int) *policy.Policy {
	p := &policy.Policy{OmitStages: policy.Stages(r.IntN(16)), OmitManagedFields: r.IntN(2) == 0}
	picky := r.IntN(2) == 0 // so that requests get past the first rules
	for range rules {
		rule := policy.Rule{Level: policy.Level(r.IntN(4)), OmitStages: policy.Stages(r.IntN(16)), Users: some(r, words, 2), UserGroups: some(r, words, 3), Verbs: some(r, words[:8], 3)}
		if r.IntN(3) > 0 {
			rule.Namespaces = some(r, words, 3)
			for range r.IntN(4) {
				rule.Resources = append(rule.Resources, policy.GroupResources{Group: words[r.IntN(6)], Resources: some(r, words, 4), ResourceNames: some(r, words, 2)})
			}
		}
		if r.IntN(3) == 0 {
			rule.NonResourceURLs = some(r, paths, 3)
		}
		if r.IntN(3) == 0 {
			omit := r.IntN(2) == 0
			rule.OmitManagedFields = &omit
		}
		if picky {
			rule.Users, rule.Verbs = append(rule.Users, words[r.IntN(len(words))]), append(rule.Verbs, words[r.IntN(len(words))])
		}
		p.Rules = append(p.Rules, rule)
	}
	return p
}

func randomRequest(r *rand.Rand) *policy.Attributes {
	one := func() string { return words[r.IntN(len(words))] }
	return &policy.Attributes{
		User: one(), Groups: some(r, words, 20), NoUser: r.IntN(8) == 0, Verb: words[r.IntN(8)],
		Resource: one(), APIGroup: words[r.IntN(6)], Subresource: words[r.IntN(len(words))*r.IntN(2)], Namespace: one(), Name: one(),
		Path: paths[r.IntN(len(paths))], NonResource: r.IntN(4) == 0,
	}
}

// The compiled form against the one that is written to be read.
func TestDecideAsExplained(t *testing.T) {
	var levels [policy.RequestResponse + 1]int
	late := 0
	for seed := range uint64(1500) {
		r := rand.New(rand.NewPCG(seed, 1))
		n := []int{0, 1, 3, 20, 63, 64, 65, 300, 5000}[seed%9]
		if n == 5000 && seed > 50 {
			n = 40
		}
		p := randomPolicy(r, n)
		e := policy.Compile(p)
		for range 60 {
			a := randomRequest(r)
			got, want := e.Decide(a), p.Explain(a)
			if got != want.Decision {
				t.Fatalf("seed %d: %d rules: got %+v, want %+v\nfor %+v\nby %+v", seed, n, got, want.Decision, a, want.Steps)
			}
			levels[got.Level]++
			if got.Rule > 64 {
				late++
			}
		}
	}
	if late < 500 {
		t.Errorf("only %d decisions by a rule after the 64th", late)
	}
	for level, n := range levels {
		if n == 0 {
			t.Errorf("no decision was %v", policy.Level(level))
		}
	}
}

func FuzzDecide(f *testing.F) {
	f.Add(uint64(1), uint64(2), uint16(3), "get", "x", "y", "/healthz", "alice", "g")
	f.Add(uint64(1), uint64(2), uint16(70), "*", "pods", "log", "*", "", "")
	f.Fuzz(func(t *testing.T, s1, s2 uint64, rules uint16, verb, resource, sub, path, user, group string) {
		r := rand.New(rand.NewPCG(s1, s2))
		p := randomPolicy(r, int(rules%200))
		for i := range p.Rules {
			if rule := &p.Rules[i]; r.IntN(2) == 0 {
				rule.Verbs, rule.Users = append(rule.Verbs, verb), append(rule.Users, user)
				rule.Resources = append(rule.Resources, policy.GroupResources{Group: group, Resources: []string{resource, sub, resource + "/" + sub}})
				rule.NonResourceURLs = append(rule.NonResourceURLs, path, path+"*")
			}
		}
		e := policy.Compile(p)
		for range 20 {
			a := randomRequest(r)
			if r.IntN(2) == 0 {
				a.Verb, a.User, a.Resource, a.Subresource, a.Path = verb, user, resource, sub, path+"x"
				a.APIGroup, a.Groups = group, append(a.Groups, group)
			}
			if got, want := e.Decide(a), p.Explain(a).Decision; got != want {
				t.Fatalf("got %+v, want %+v\nfor %+v\nby %+v", got, want, a, p.Rules)
			}
		}
	})
}

func TestDecideAllocatesNothing(t *testing.T) {
	for _, n := range []int{20, 2000} {
		r := rand.New(rand.NewPCG(7, 7))
		e := policy.Compile(randomPolicy(r, n))
		var requests []*policy.Attributes
		for range 200 {
			requests = append(requests, randomRequest(r))
		}
		if got := testing.AllocsPerRun(5, func() {
			for _, a := range requests {
				e.Decide(a)
			}
		}); got != 0 {
			t.Errorf("%d rules: %v allocations", n, got)
		}
	}
}

// Prefixes and groups beyond the room that is kept for them count too.
func TestDecideManyGroupsAndPrefixes(t *testing.T) {
	p := &policy.Policy{}
	a := &policy.Attributes{Verb: "get"}
	path := ""
	for i := range 130 {
		group := fmt.Sprintf("group-%d", i)
		path += "/x"
		p.Rules = append(p.Rules, policy.Rule{Level: policy.Request, UserGroups: []string{group, "all"}, NonResourceURLs: []string{path + "*"}})
		a.Groups = append(a.Groups, group)
	}
	e := policy.Compile(p)
	for n := range 131 {
		for _, nonResource := range []bool{true, false} {
			b := *a
			b.Groups, b.Path, b.NonResource = append(a.Groups[:n:n], "others"), path, nonResource
			if n%2 == 1 {
				b.Groups = a.Groups[n:]
			}
			if got, want := e.Decide(&b), p.Explain(&b).Decision; got != want {
				t.Errorf("%d groups: got %+v, want %+v", n, got, want)
			}
		}
	}
}
