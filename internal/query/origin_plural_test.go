package query

import (
	"strings"
	"testing"
)

// TestOwnersPlural: the plural of a kind that is none of Kubernetes' own is
// guessed, and that is said.
func TestOwnersPlural(t *testing.T) {
	for kind, want := range map[string]string{
		"apps/v1 ReplicaSet":                 "replicasets",
		"networking.k8s.io/v1 NetworkPolicy": "networkpolicies",
		"postgresql.cnpg.io/v1 Cluster":      "clusters guessed",
		"argoproj.io/v1alpha1 Rollout":       "rollouts guessed",
		"security.example.com/v1 Policy":     "policies guessed",
		"example.com/v1 Deployment":          "deployments guessed",
		"example.com/v1 \u202ex":             "\u202exes guessed",
	} {
		version, name, _ := strings.Cut(kind, " ")
		tr := &tracer{cluster: "demo", namespace: "shop"}
		l := tr.controllerOf(map[string]any{"metadata": map[string]any{"ownerReferences": []any{
			map[string]any{"kind": "Custom", "apiVersion": "example.com/v1", "name": "another"},
			map[string]any{"kind": name, "apiVersion": version, "name": "o", "controller": true},
		}}})
		got := l.Resource
		notes := strings.Join(tr.notes, "; ")
		if strings.Contains(notes, "guessed") {
			got += " guessed"
		}
		if got != want || l.Name != "o" || strings.Contains(notes, "\u202e") {
			t.Errorf("%s: got %s %s (%s), want %s", kind, got, l.Name, notes, want)
		}
	}
}
