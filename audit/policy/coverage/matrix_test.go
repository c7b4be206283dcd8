package coverage_test

import (
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/coverage"
)

// TestOf holds single cells of the matrix: resource or path, verb, level, offered.
func TestOf(t *testing.T) {
	p := load(t, `rules:
- {level: None, users: [bob], verbs: [delete]}
- {level: Request, userGroups: [dev], namespaces: [prod]}
- {level: RequestResponse, resources: [{group: "", resources: [pods], resourceNames: [db]}]}
- {level: None, nonResourceURLs: ["/metrics", "/debug/*"]}
- {level: Request, resources: [{group: "", resources: ["pods/*"]}], omitStages: [RequestReceived, ResponseStarted, ResponseComplete, Panic]}
- {level: Metadata, userGroups: ["system:authenticated", dev]}
`)
	anyone, bob := coverage.Requester{}, coverage.Requester{User: "bob", Groups: []string{"dev"}, Namespace: "prod"}
	for _, c := range []struct {
		who             coverage.Requester
		row, verb, want string
	}{
		{anyone, "secrets", "get", "Metadata by 6"},
		{anyone, "pods", "get", "None by 5"},
		{anyone, "pods/exec", "create", "None by 5"},
		{anyone, "pods/exec", "list", "None by 5, not offered"},
		{anyone, "deployments.apps/scale", "patch", "Metadata by 6"},
		{anyone, "custom resources", "delete", "Metadata by 6"},
		{anyone, "/metrics", "get", "None by 4"},
		{anyone, "/debug/*", "get", "None by 4"},
		{anyone, "other URLs", "post", "Metadata by 6"},
		{bob, "secrets", "get", "Request by 2"},
		{bob, "secrets", "delete", "None by 1"},
		{bob, "nodes", "get", "Metadata by 6"}, // in no namespace
		{bob, "/version", "get", "Metadata by 6"},
	} {
		m := coverage.Of(p, c.who, policy.BuiltIn())
		got := ""
		for _, r := range append(m.Resources, m.Paths...) {
			for _, cell := range r.Cells {
				if r.Name == c.row && cell.Verb == c.verb {
					got += cell.Level.String() + " by " + string(rune('1'+cell.Rule))
					if !cell.Offered {
						got += ", not offered"
					}
				}
			}
		}
		if got != c.want {
			t.Errorf("%s %s by %q: %s, want %s", c.verb, c.row, c.who.User, got, c.want)
		}
		if len(m.Apart) != 4 || len(m.Resources) < 100 {
			t.Fatalf("rules %v tell requesters apart, %d resources", m.Apart, len(m.Resources))
		}
	}
	var names []string
	for _, same := range coverage.Fold(coverage.Of(p, anyone, policy.BuiltIn()).Resources) {
		names = append(names, same[0].Name)
	}
	if len(names) != 2 || !strings.HasPrefix(names[1], "pods") {
		t.Errorf("rows that differ: %v", names)
	}
}
