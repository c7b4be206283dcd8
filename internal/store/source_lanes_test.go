package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/query/querytest"
)

// bothEngines answer from the store and from memory, over the same events.
func bothEngines(t *testing.T) (stored, memory *query.Engine, events []audit.Event) {
	t.Helper()
	events = sampleEvents(t)
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 4)
	slices.SortFunc(events, func(a, b audit.Event) int { return cmp.Compare(a.ID, b.ID) })
	return query.NewEngine(s), query.NewEngine(querytest.New(events...)), events
}

// agreeing asks both and compares their answers; it gives the answer.
func agreeing[Q, A any](t *testing.T, stored, memory *query.Engine, ask func(*query.Engine, context.Context, Q) (A, error), q Q) A {
	t.Helper()
	got, err := ask(stored, t.Context(), q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	want, err := ask(memory, t.Context(), q)
	if err != nil {
		t.Fatalf("%+v in memory: %v", q, err)
	}
	if !reflect.DeepEqual(got, want) {
		g, _ := json.Marshal(got)
		w, _ := json.Marshal(want)
		at := 0
		for at < min(len(g), len(w)) && g[at] == w[at] {
			at++
		}
		t.Errorf("%+v: the answers differ at byte %d: stored ...%.300s\nin memory ...%.300s", q, at, g[max(0, at-60):], w[max(0, at-60):])
	}
	return got
}

// someScopes have filters and ranges of every kind.
func someScopes(events []audit.Event) []query.Scope {
	middle := query.Range{From: events[len(events)/4].Time, To: events[len(events)/2].Time + 1}
	return []query.Scope{
		{},
		{Filter: "final || !final"},
		{Range: middle},
		{Range: query.Range{From: middle.From}},
		{Range: query.Range{To: middle.To}},
		{Filter: `verb != "get" || code >= 400`, Range: middle},
		{Filter: `verb == "none"`},
		{Filter: `code >= 400`},
	}
}

func TestHistogramAgrees(t *testing.T) {
	stored, memory, events := bothEngines(t)
	var denied, failed int64
	for _, scope := range someScopes(events) {
		a := agreeing(t, stored, memory, (*query.Engine).Histogram, query.HistogramQuestion{Scope: scope})
		for _, b := range a.Buckets {
			denied += b.Denied
			failed += b.Errors
		}
	}
	if denied == 0 || failed == 0 {
		t.Errorf("%d denied, %d errors: the sample proves nothing", denied, failed)
	}
}

func TestFacetsAgree(t *testing.T) {
	stored, memory, events := bothEngines(t)
	var columns []string
	for _, c := range query.Columns() {
		if c.Filterable && c.Type != query.Time && c.Name != "id" {
			columns = append(columns, c.Name)
		}
	}
	conditions := [][]query.FacetCondition{
		nil,
		{{Column: "verb", Include: []string{"get", "list"}}, {Column: "user", Exclude: []string{"system:apiserver"}}},
		{{Column: "code", Include: []string{"404"}}, {Column: "source_ips", Exclude: []string{"127.0.0.1"}}, {Column: "final", Include: []string{"true"}}},
		{{Column: "groups", Include: []string{"system:masters", "no such group"}}, {Column: "truncated", Exclude: []string{"true"}}},
		{{Column: "stage", Include: []string{audit.StageRequestReceived}}},
	}
	for _, s := range hostileTexts() {
		conditions = append(conditions, []query.FacetCondition{{Column: "user", Include: []string{s}, Exclude: []string{"'", `"`}}})
	}
	for _, scope := range someScopes(events) {
		for part := range slices.Chunk(columns, 12) {
			agreeing(t, stored, memory, (*query.Engine).Facets, query.FacetsQuestion{Scope: scope, Columns: part, Limit: 7})
		}
	}
	for _, c := range conditions {
		agreeing(t, stored, memory, (*query.Engine).Facets, query.FacetsQuestion{
			Conditions: c, Columns: []string{"user", "source_ips", "stage", "final"}, Limit: 3,
		})
	}
	for _, s := range hostileTexts() {
		if len(s) > 200 {
			continue
		}
		agreeing(t, stored, memory, (*query.Engine).Facets, query.FacetsQuestion{Contains: s, Columns: []string{"user", "code", "groups"}, Limit: 1000})
	}
}

func TestObjectsAgree(t *testing.T) {
	stored, memory, events := bothEngines(t)
	for _, scope := range someScopes(events) {
		var walk func(under query.ObjectKey, depth int) int64
		walk = func(under query.ObjectKey, depth int) (n int64) {
			a := agreeing(t, stored, memory, (*query.Engine).Objects, query.ObjectsQuestion{Scope: scope, Under: under, Depth: depth, Limit: 1000})
			for i, node := range a.Nodes {
				n += node.Count
				if depth < 3 && i < 2 {
					if below := walk(node.Key, depth+1); below != node.Count && depth == 2 {
						t.Errorf("%+v has %d events, its children %d", node.Key, node.Count, below)
					}
				}
			}
			return n
		}
		walk(query.ObjectKey{}, 0)
	}
	for _, s := range hostileTexts() {
		if len(s) > 200 {
			continue
		}
		agreeing(t, stored, memory, (*query.Engine).Objects, query.ObjectsQuestion{Contains: s})
		agreeing(t, stored, memory, (*query.Engine).Objects, query.ObjectsQuestion{Under: query.ObjectKey{Cluster: s, Namespace: s}, Depth: 2, Contains: "S"})
	}
}

func TestLanesAgree(t *testing.T) {
	stored, memory, events := bothEngines(t)
	classes, outcomes := map[query.Class]bool{}, map[query.Outcome]bool{}
	// Cursors say when they were asked, which differs.
	next := ""
	lanes := func(g *query.Engine, ctx context.Context, q query.LanesQuestion) (query.LanesAnswer, error) {
		a, err := g.Lanes(ctx, q)
		if a.Next != "" {
			next, a.Next = a.Next, "more"
		}
		return a, err
	}
	for _, scope := range someScopes(events) {
		for _, limit := range []int{1, 37, 5000} {
			q := query.LanesQuestion{Scope: scope, Limit: limit, Bins: 100}
			q.Range.From = max(q.Range.From, 1) // the hostile events before 1970 make one bin of all
			seen := map[query.ObjectKey]bool{}
			for page := 0; page < 4; page++ {
				a := agreeing(t, stored, memory, lanes, q)
				for _, l := range a.Lanes {
					if seen[l.Key] {
						t.Errorf("%+v is on two pages", l.Key)
					}
					seen[l.Key] = true
					for _, m := range l.Marks {
						classes[m.Class], outcomes[m.Outcome] = true, true
						if m.Bin < 0 || m.Bin >= 100 {
							t.Fatalf("bin %d of 100", m.Bin)
						}
					}
				}
				if a.Next == "" {
					break
				}
				q.Cursor = next
			}
		}
	}
	if len(classes) != 6 || len(outcomes) != 4 {
		t.Errorf("the sample has only %v and %v", classes, outcomes)
	}
	var named []query.ObjectKey
	for _, e := range events {
		named = append(named, keyOf(&e))
	}
	named = append(named[len(named)-60:], query.ObjectKey{Name: "none"})
	a := agreeing(t, stored, memory, lanes, query.LanesQuestion{Objects: named, Bins: 1})
	if last := a.Lanes[len(a.Lanes)-1]; last.Key.Name != "none" || len(last.Marks) != 0 {
		t.Errorf("an object without events: %+v", last)
	}
}

func TestLanesCancelled(t *testing.T) {
	events := sampleEvents(t)
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 2)
	r := query.LanesRequest{Range: query.Range{From: 1, To: events[0].Time + 1e12}, Width: 1000}
	for i := range events {
		if k := keyOf(&events[i]); !slices.Contains(r.Objects, k) {
			r.Objects = append(r.Objects, k)
		}
	}
	enough := errors.New("enough")
	if _, err := s.Lanes(t.Context(), r, func(int, query.Mark) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the caller's error comes back as %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	if _, err := s.Lanes(ctx, r, func(int, query.Mark) error { n++; return nil }); err != nil || n <= 2048 {
		t.Fatalf("%d marks, %v", n, err)
	}
	all := n
	n = 0
	_, err := s.Lanes(ctx, r, func(int, query.Mark) error { n++; cancel(); return nil })
	if !errors.Is(err, context.Canceled) || n == all {
		t.Errorf("%v after %d of %d marks", err, n, all)
	}
}

func keyOf(e *audit.Event) query.ObjectKey {
	return query.ObjectKey{Cluster: e.Cluster, Namespace: e.Namespace, APIGroup: e.APIGroup, Resource: e.Resource, Name: e.Name}
}
