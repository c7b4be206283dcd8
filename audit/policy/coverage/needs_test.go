package coverage_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/coverage"
	"github.com/ktrail/ktrail/internal/golden"
)

func loadNeeds(t *testing.T, name string) *coverage.Needs {
	t.Helper()
	text, ok := coverage.LookupNeeds(name)
	if !ok {
		t.Fatalf("no needs %s", name)
	}
	needs, err := coverage.LoadNeeds(text)
	if err != nil {
		t.Fatal(err)
	}
	return needs
}

// TestPresetsMeetNeeds shows what of the needs each preset meets.
func TestPresetsMeetNeeds(t *testing.T) {
	var b strings.Builder
	for _, set := range coverage.NeedSets() {
		needs := loadNeeds(t, set)
		if needs.Name != set || needs.Title == "" {
			t.Errorf("%s: name %q, title %q", set, needs.Name, needs.Title)
		}
		for _, p := range policy.Presets() {
			results, err := coverage.Check(preset(t, p.Name), needs)
			if err != nil {
				t.Fatal(err)
			}
			met := 0
			for _, r := range results {
				if r.State == coverage.Met {
					met++
				}
			}
			fmt.Fprintf(&b, "# %s: the preset %s meets %d of %d\n", set, p.Name, met, len(results))
			for _, r := range results {
				if r.State == coverage.Met {
					continue
				}
				fmt.Fprintf(&b, "%s: %s\n", r.Need.Name, r.State)
				for _, g := range r.Gaps {
					fmt.Fprintf(&b, "  %s\n", g.Text)
				}
				if p.Name == "recommended" {
					t.Errorf("recommended does not meet %s of %s", r.Need.Name, set)
				}
				if p.Name == "cis" && set == "cis" {
					t.Errorf("cis does not meet its own %s", r.Need.Name)
				}
			}
		}
	}
	golden.Check(t, "testdata/needs-presets.txt", b.String())
}

const needHead = "apiVersion: ktrail/v1\nkind: AuditNeeds\nneeds:\n- name: n\n  reason: r\n  level: Metadata\n"

// TestCheck holds the states and what is said of gaps.
func TestCheck(t *testing.T) {
	secrets := needHead + "  requests:\n  - resources: [{group: \"\", resources: [secrets]}]\n"
	logins := needHead + "  stages: [ResponseStarted]\n  requests:\n  - unauthenticated: true\n    nonResourceURLs: [/api]\n"
	for _, c := range []struct{ name, policy, needs, want string }{
		{"met", "rules: [{level: Metadata}]", secrets, "met"},
		{"more than needed", "rules: [{level: RequestResponse}]", secrets, "met"},
		{"nothing", "rules: [{level: None}]", secrets, "not met; requests for secrets: None by rule 1 (line 3)"},
		{"no rule", "rules: [{level: Metadata, verbs: [get]}]", secrets, "partly; all but get of secrets: None since no rule matches"},
		{"shadowed for a user", "rules: [{level: None, users: [bob]}, {level: Metadata}]", secrets, "partly; requests for secrets by bob: None by rule 1 (line 3)"},
		{"everybody is authenticated or anonymous", "rules: [{level: Metadata, userGroups: [\"system:authenticated\", \"system:unauthenticated\"]}]", secrets, "met"},
		{"but not authenticated alone", "rules: [{level: Metadata, userGroups: [\"system:authenticated\"]}]", secrets, "partly; requests for secrets by anyone in system:unauthenticated: None since no rule matches"},
		{"failed logins are nobody's", "rules: [{level: Metadata, userGroups: [\"system:authenticated\", \"system:unauthenticated\"]}]", logins, "not met; requests for /api by nobody (failed logins): None since no rule matches"},
		{"stage omitted", "omitStages: [ResponseStarted]\nrules: [{level: Metadata}]", logins, "not met; requests for /api by nobody (failed logins): without stage ResponseStarted by rule 1 (line 4)"},
		{"all stages omitted", "rules: [{level: Metadata, omitStages: [RequestReceived, ResponseStarted, ResponseComplete, Panic]}]", secrets, "not met; requests for secrets: None by rule 1 (line 3)"},
	} {
		needs, err := coverage.LoadNeeds([]byte(c.needs))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		results, err := coverage.Check(load(t, c.policy), needs)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got := string(results[0].State)
		for _, g := range results[0].Gaps {
			got += "; " + g.Text
		}
		if got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
}

// TestCheckIsExact holds Check against Decide with random policies: the example
// of a gap is recorded as the gap says, and where there is none no request is missing.
func TestCheckIsExact(t *testing.T) {
	r := random{rand.New(rand.NewPCG(5, 6))}
	states := map[coverage.State]int{}
	for i := range 2000 {
		p := r.policy()
		need := coverage.Need{Name: "n", Reason: "r", Level: policy.Level(1 + r.IntN(3)), Stages: policy.ResponseComplete, Requests: []coverage.Pattern{{Rule: r.rule()}}}
		if r.IntN(3) == 0 {
			need.Except = []coverage.Pattern{{Rule: r.rule()}}
		}
		results, err := coverage.Check(p, &coverage.Needs{Needs: []coverage.Need{need}})
		if err != nil {
			continue // its pattern matches no request
		}
		res := results[0]
		states[res.State]++
		e := policy.Compile(p)
		// The same classes of requests as policies of one rule each.
		wants := policy.Compile(&policy.Policy{Rules: append(rules(need.Except, policy.None), rules(need.Requests, policy.Metadata)...)})
		meets := func(d policy.Decision) bool {
			return d.Level >= need.Level && !d.OmitStages.Has(policy.ResponseComplete)
		}
		for _, g := range res.Gaps {
			q := g.Example
			if d := e.Decide(&q); meets(d) || d.Rule != g.Rule || wants.Decide(&q).Level == policy.None {
				t.Fatalf("policy %d: %s: the example %+v is %+v", i, g.Text, q, d)
			}
		}
		for range 100 {
			q := r.request()
			if q.NoUser || wants.Decide(q).Level == policy.None {
				continue
			}
			switch ok := meets(e.Decide(q)); {
			case !ok && res.State == coverage.Met:
				t.Fatalf("policy %d: met, but %+v is not recorded\n%+v\n%+v", i, q, p, need)
			case ok && res.State == coverage.NotMet:
				t.Fatalf("policy %d: not met, but %+v is recorded", i, q)
			}
		}
	}
	for _, s := range []coverage.State{coverage.Met, coverage.Partly, coverage.NotMet} {
		if states[s] < 50 {
			t.Errorf("only %d times %s", states[s], s)
		}
	}
}

func rules(ps []coverage.Pattern, level policy.Level) []policy.Rule {
	var rs []policy.Rule
	for _, p := range ps {
		r := p.Rule
		r.Level, r.OmitStages = level, 0
		rs = append(rs, r)
	}
	return rs
}

// TestLoadNeedsRefuses holds what a person who mistyped is told.
func TestLoadNeedsRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "is empty: it must have apiVersion ktrail/v1 and kind AuditNeeds"},
		{"a: [", "is no YAML: line 1: did not find expected node content"},
		{"- a", "line 1: is no file of needs: it must have apiVersion ktrail/v1 and kind AuditNeeds"},
		{"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []", "line 1: is no file of needs: it must have apiVersion ktrail/v1 and kind AuditNeeds"},
		{"apiVersion: ktrail/v1\nkind: AuditNeeds\n", "line 1: holds no needs"},
		{"apiVersion: ktrail/v1\nkind: AuditNeeds\nneeds: [{name: a}]", "line 3: need a must have a reason"},
		{"apiVersion: ktrail/v1\nkind: AuditNeeds\nneeds: [{name: a, reason: b, level: Meta}]", "line 3: need a must have a level: Metadata, Request or RequestResponse"},
		{needHead, "line 4: need n must have requests"},
		{needHead + "  stage: [Panic]", `line 7: a need has no "stage": did you mean "stages"?`},
		{needHead + "  requests: [{}]\n  stages: [Done]", `line 4: need n: "Done" is no stage: it is one of RequestReceived, ResponseStarted, ResponseComplete, Panic`},
		{needHead + "  requests: [{verb: [get]}]", `line 7: a request has no "verb": did you mean "verbs"?`},
		{needHead + "  requests: [{verbs: get}]", "line 7: must be a list"},
		{needHead + "  requests: &r [{}]\n  except: *r", "line 8: must be a list: write out what the alias *r stands for"},
		{needHead + "  requests: [{users: [a], unauthenticated: true}]", "line 7: who is unauthenticated is no user and in no group"},
		{needHead + "  requests: [{unauthenticated: maybe}]", "line 7: unauthenticated must be true or false"},
		{needHead + "  requests: [{nonResourceURLs: [/a], namespaces: [b]}]", "line 7: a request is for a resource or for a non-resource URL: write two entries"},
		{needHead + "  requests: [{}]\n  name: n", `line 8: a need has "name" twice`},
		{needHead + "  requests: [{}]\n- {name: n, reason: r, level: Request, requests: [{}]}", `line 8: need "n" is there already, in line 4`},
		{needHead + "  requests: [{}]\n---\n{}", "holds several documents: write one file for each"},
		{strings.Repeat("#", 2<<20), "is 2 MiB large: that is no file of needs"},
	} {
		_, err := coverage.LoadNeeds([]byte(c.text))
		if err == nil || err.Error() != c.want {
			t.Errorf("%.200q: %v\nwant %s", c.text, err, c.want)
		}
	}
	needs, err := coverage.LoadNeeds([]byte(needHead + "  requests: [{resources: [{group: \"\", resources: [\"pods/\"]}]}]"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := coverage.Check(load(t, "rules: [{level: Metadata}]"), needs); err == nil || err.Error() != "need n: line 4: no request is like that" {
		t.Errorf("a need of nothing: %v", err)
	}
}

func FuzzLoadNeeds(f *testing.F) {
	for _, name := range coverage.NeedSets() {
		text, _ := coverage.LookupNeeds(name)
		f.Add(text)
	}
	f.Add([]byte(needHead))
	f.Add([]byte("a: &a [*a]\nneeds: *a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		needs, err := coverage.LoadNeeds(data)
		if (needs == nil) == (err == nil) {
			t.Fatalf("%v, %v", needs, err)
		}
	})
}
