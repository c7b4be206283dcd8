package web

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/internal/query"
)

// TestClientAnswersFacetsObjectsLanes: over HTTP the answers and the errors are
// those of the engine in the process.
func TestClientAnswersFacetsObjectsLanes(t *testing.T) {
	ts := newTestServer(t, append(sampleEvents(t), decoded(t, hostile)))
	ts.source.Warn = query.Warnings{{Text: "a segment is damaged", Damage: true}}
	ctx := t.Context()
	scopes := []query.Scope{{}, {Filter: `code >= 400`}, {Filter: `verbb == "get"`}, {Range: query.Range{From: sampleTime("2026-11-22T19:44:31.000000Z")}}}
	for _, scope := range scopes {
		for _, q := range []query.FacetsQuestion{
			{Scope: scope, Columns: []string{"user", "verb", "code", "source_ips", "final"}, Limit: 3},
			{Scope: scope, Columns: []string{"user"}, Contains: "SYSTEM:"},
			{Scope: scope, Columns: []string{"verb", "namespace"}, Conditions: []query.FacetCondition{
				{Column: "verb", Exclude: []string{"get"}}, {Column: "namespace", Include: []string{"", "payments", "a=b,c&d"}}, {Column: "verb", Include: []string{"list"}},
			}},
			{Scope: scope},
			{Scope: scope, Columns: []string{"time"}},
			{Scope: scope, Columns: []string{"usr"}},
		} {
			want, wantErr := ts.engine.Facets(ctx, q)
			got, gotErr := ts.client.Facets(ctx, q)
			same(t, "facets", got, want, gotErr, wantErr)
		}
		top, err := ts.engine.Objects(ctx, query.ObjectsQuestion{})
		if err != nil || len(top.Nodes) == 0 {
			t.Fatalf("%+v, %v", top, err)
		}
		cluster := top.Nodes[0].Key.Cluster
		for _, q := range []query.ObjectsQuestion{
			{Scope: scope},
			{Scope: scope, Under: query.ObjectKey{Cluster: cluster}, Depth: 1, Contains: "PAY"},
			{Scope: scope, Under: query.ObjectKey{Cluster: cluster}, Depth: 2, Limit: 2},
			{Scope: scope, Under: query.ObjectKey{Cluster: cluster, Namespace: "payments", APIGroup: "apps", Resource: "deployments"}, Depth: 3},
		} {
			want, wantErr := ts.engine.Objects(ctx, q)
			got, gotErr := ts.client.Objects(ctx, q)
			same(t, "objects", got, want, gotErr, wantErr)
		}
		for _, q := range []query.LanesQuestion{
			{Scope: scope, Bins: 50},
			{Scope: scope, Limit: 2, Under: query.ObjectKey{Cluster: cluster, Namespace: "payments"}, Depth: 2},
			{Scope: scope, Objects: []query.ObjectKey{{Cluster: cluster, Namespace: "payments", APIGroup: "apps", Resource: "deployments", Name: "web"}, {Name: `"],[/&=`}}},
			{Scope: scope, Cursor: "nonsense"},
			{Scope: scope, Bins: 5000},
		} {
			for page := 0; page < 3; page++ {
				want, wantErr := ts.engine.Lanes(ctx, q)
				got, gotErr := ts.client.Lanes(ctx, q)
				q.Cursor = want.Next
				if (want.Next == "") != (got.Next == "") {
					t.Errorf("next is %q, want %q", got.Next, want.Next)
				}
				want.Next, got.Next = "", ""
				same(t, "lanes", got, want, gotErr, wantErr)
				if q.Cursor == "" {
					break
				}
			}
		}
	}
}

func TestLanesParameters(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t))
	for path, want := range map[string]string{
		"/api/v1/facets": "columns",
		"/api/v1/facets?columns=user&include=user":          "write column=value",
		"/api/v1/facets?columns=user&include=usr%3Da":       "usr",
		"/api/v1/facets?columns=user&contains=a&contains=b": "2 times",
		"/api/v1/objects?depth=4":                           "from 0 to 3",
		"/api/v1/objects?cluster=a":                         "needs depth 1",
		"/api/v1/objects?depth=2&resource=pods":             "needs depth 3",
		"/api/v1/lanes?object=[1]":                          "parameter object",
		"/api/v1/lanes?bins=-1":                             "parameter bins",
	} {
		resp, body := fetch(t, http.MethodGet, ts.URL+path, "")
		if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want 400 with %q", path, resp.StatusCode, body, want)
		}
	}
}
