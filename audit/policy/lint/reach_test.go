package lint_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/lint"
)

// requests are all requests that a small world can have: what a random policy
// names and what it does not.
func requests() []policy.Attributes {
	var all []policy.Attributes
	callers := []policy.Attributes{{NoUser: true}, {User: "somebody"}, {User: "system:anonymous", Groups: []string{"system:unauthenticated"}}}
	const other, accounts = "other.example.com", "system:serviceaccounts"
	for user, groups := range map[string][]string{
		"somebody": {"system:authenticated"}, "alice": {"system:authenticated"},
		"system:serviceaccount:prod:web": {"system:authenticated", accounts, accounts + ":prod"},
	} {
		for _, more := range [][]string{nil, {"dev"}, {"ops"}, {accounts}, {accounts, accounts + ":prod"}, {"system:authenticated"}} {
			callers = append(callers, policy.Attributes{User: user, Groups: slices.Concat(groups, more)})
		}
	}
	for _, who := range callers {
		for _, r := range []policy.Attributes{
			{Resource: "pods"},
			{Resource: "pods", Subresource: "log"},
			{Resource: "pods", Subresource: "exec"},
			{Resource: "nodes"},
			{Resource: "nodes", Subresource: "status"},
			{APIGroup: "apps", Resource: "deployments"},
			{APIGroup: "apps", Resource: "deployments", Subresource: "status"},
			{APIGroup: other, Resource: "things"},
			{APIGroup: "apps", Resource: "things"},
			{Resource: "things", Subresource: "parts"},
			{Resource: "pods", Subresource: "parts"},
			{Resource: "things", Subresource: "status"},
			{APIGroup: "apps", Resource: "things", Subresource: "status"},
			{APIGroup: other, Resource: "pods"},
			{APIGroup: other, Resource: "pods", Subresource: "log"},
			{APIGroup: other, Resource: "pods", Subresource: "parts"},
			{APIGroup: other, Resource: "nodes"},
			{APIGroup: other, Resource: "things", Subresource: "status"},
		} {
			namespaces := []string{"", "prod", "test", "elsewhere"}
			if r.Resource == "nodes" && r.APIGroup == "" {
				namespaces = namespaces[:1]
			}
			for _, ns := range namespaces {
				for _, v := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"} {
					names := []string{"a", "b"}
					if (v == "create" || v == "deletecollection") && r.Subresource == "" {
						names = []string{""}
					}
					for _, name := range names {
						a := who
						a.Verb, a.APIGroup, a.Resource, a.Subresource, a.Namespace, a.Name = v, r.APIGroup, r.Resource, r.Subresource, ns, name
						all = append(all, a)
					}
				}
			}
		}
		for _, path := range []string{"/healthz", "/healthz/etcd", "/version", "/api", "/elsewhere"} {
			for _, v := range []string{"get", "post", "patch", "options"} {
				a := who
				a.NonResource, a.Path, a.Verb = true, path, v
				all = append(all, a)
			}
		}
	}
	return all
}

var unreached = regexp.MustCompile(`^rule (\d+) (?:never decides|matches no request)`)

// A rule is said to be unreachable exactly if no request of a small world reaches
// it, for random policies about that world.
func TestReach(t *testing.T) {
	world := requests()
	rng := rand.New(rand.NewPCG(4, 4))
	pick := func(from ...string) string {
		n := 1 + rng.IntN(3)
		var some []string
		for _, i := range rng.Perm(len(from))[:min(n, len(from))] {
			some = append(some, strconv.Quote(from[i]))
		}
		return "[" + strings.Join(some, ", ") + "]"
	}
	said := 0
	for range 600 {
		var b strings.Builder
		b.WriteString("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n")
		rules := 2 + rng.IntN(5)
		for range rules {
			b.WriteString("- level: Metadata\n")
			if rng.IntN(4) == 0 {
				fmt.Fprintf(&b, "  users: %s\n", pick("alice", "system:serviceaccount:prod:web", "system:anonymous", "system:masters", "*"))
			}
			if rng.IntN(4) == 0 {
				fmt.Fprintf(&b, "  userGroups: %s\n", pick("dev", "ops", "system:serviceaccounts", "system:serviceaccounts:prod", "system:authenticated", "system:unauthenticated", "*"))
			}
			if rng.IntN(3) == 0 {
				fmt.Fprintf(&b, "  verbs: %s\n", pick("get", "list", "create", "patch", "post", "*", "exec"))
			}
			switch rng.IntN(4) {
			case 0:
				fmt.Fprintf(&b, "  nonResourceURLs: %s\n", pick("*", "/healthz*", "/version", "/api", "/api/v1/pods"))
			case 1, 2:
				if rng.IntN(3) == 0 {
					fmt.Fprintf(&b, "  namespaces: %s\n", pick("", "prod", "test", "*"))
				}
				fmt.Fprintf(&b, "  resources:\n  - group: %q\n    resources: %s\n", []string{"", "*"}[rng.IntN(2)], pick("pods", "pods/log", "pods/*", "nodes", "*", "*/*", "*/status"))
				if rng.IntN(4) == 0 {
					b.WriteString("    resourceNames: [a]\n")
				}
				if rng.IntN(2) == 0 {
					b.WriteString("  - group: apps\n    resources: [deployments]\n")
				}
			}
		}
		p, err := policy.Load([]byte(b.String()))
		if err != nil {
			t.Fatalf("%v\n%s", err, &b)
		}
		eval, reached := policy.Compile(p), make([]bool, rules)
		for i := range world {
			if d := eval.Decide(&world[i]); d.Rule >= 0 {
				reached[d.Rule] = true
			}
		}
		var out []int
		for _, f := range lint.Check("p", []byte(b.String()), lint.Options{}) {
			if m := unreached.FindStringSubmatch(f.Message); m != nil {
				n, _ := strconv.Atoi(m[1])
				out = append(out, n-1)
			}
		}
		said += len(out)
		for i := range rules {
			if reached[i] == slices.Contains(out, i) {
				t.Fatalf("rule %d is reached: %v; said to be unreachable: %v\n%s", i+1, reached[i], slices.Contains(out, i), &b)
			}
		}
	}
	if said < 200 {
		t.Errorf("only %d rules were unreachable: the policies test nothing", said)
	}
}

// Comments about the same lines: the closest silences, the others are of no use.
func TestAllowsInEachOther(t *testing.T) {
	found := lint.Check("p", []byte(`apiVersion: audit.k8s.io/v1
kind: Policy
rules:
# ktrail: allow unknown-key of the rule
# ktrail: allow unknown-key of the rule, again
- level: None
  verb: [get]
  verbs: [get]
  user: [a] # ktrail: allow unknown-key of the line
- level: Metadata
`), lint.Options{})
	if len(found) != 1 || found[0].Name != "unused-allow" || found[0].Line != 4 {
		t.Errorf("%+v", found)
	}
}

// A watch is recorded with bodies wherever it is: in one namespace only, too.
func TestWatchesOfANamespace(t *testing.T) {
	found := lint.Check("p", []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None\n  resources:\n  - group: \"\"\n    resources: [secrets, configmaps]\n- level: Request\n  namespaces: [prod]\n- level: Metadata\n"), lint.Options{})
	if !slices.ContainsFunc(found, func(f finding.Finding) bool { return f.Name == "watch-bodies" && f.Line == 8 }) {
		t.Errorf("%+v", found)
	}
}

// A policy that is too large to find out about says so, and of no rule that it is
// shadowed by one that was not asked.
func TestTooLargeForReach(t *testing.T) {
	names := func(prefix string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%s%d,", prefix, i)
		}
		return b.String()
	}
	const head, first = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n", "- {level: Metadata, verbs: [get, list, watch, create, update, patch, delete, deletecollection]}\n"
	rule := func(users, names string) string {
		return "- {level: None, users: [" + users + "], resources: [{group: \"\", resources: [pods], resourceNames: [" + names + "]}], verbs: [get]}\n"
	}
	for name, c := range map[string]struct{ text, want string }{
		"a rule":   {first + rule(names("u", 500), names("n", 401)), "note: rule 2 is not checked for requests that earlier rules leave it: it is too large"},
		"a policy": {first + strings.Repeat(rule(names("u", 400), names("n", 500)), 16), "note: the rules from 16 on are not checked for requests that earlier rules leave them: the policy is too large"},
		"neither":  {first + rule(names("u", 500), names("n", 400)), ""},
	} {
		got := ""
		for _, f := range lint.Check("p", []byte(head+c.text), lint.Options{}) {
			if f.Name == "shadowed" && f.Severity == finding.Note {
				got = fmt.Sprintf("%s%s: %s", got, f.Severity, f.Message)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
