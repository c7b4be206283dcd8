package query_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/query/querytest"
)

func TestClassAndOutcome(t *testing.T) {
	for _, c := range []struct {
		event   audit.Event
		class   query.Class
		outcome query.Outcome
		write   bool
	}{
		{audit.Event{Verb: "create", Code: 201}, query.ClassCreate, query.OutcomeOK, true},
		{audit.Event{Verb: "patch", Code: 201}, query.ClassCreate, query.OutcomeOK, true}, // server-side apply
		{audit.Event{Verb: "update", Code: 201}, query.ClassCreate, query.OutcomeOK, true},
		{audit.Event{Verb: "patch", Subresource: "status", Code: 201}, query.ClassChange, query.OutcomeOK, true},
		{audit.Event{Verb: "update", Code: 409}, query.ClassChange, query.OutcomeFailed, true},
		{audit.Event{Verb: "patch", Subresource: "status"}, query.ClassChange, query.OutcomeOK, true},
		{audit.Event{Verb: "create", Subresource: "eviction", Code: 429}, query.ClassChange, query.OutcomeFailed, true},
		{audit.Event{Verb: "delete", Code: 500}, query.ClassDelete, query.OutcomeError, true},
		{audit.Event{Verb: "deletecollection", Code: 403}, query.ClassDelete, query.OutcomeDenied, true},
		{audit.Event{Verb: "get", Subresource: "log", Code: 401}, query.ClassRead, query.OutcomeDenied, false},
		{audit.Event{Verb: "list", Code: 399}, query.ClassRead, query.OutcomeOK, false},
		{audit.Event{Verb: "watch", Code: 400}, query.ClassRead, query.OutcomeFailed, false},
		{audit.Event{Verb: "create", Subresource: "exec", Code: 101}, query.ClassExec, query.OutcomeOK, true},
		{audit.Event{Verb: "get", Subresource: "portforward"}, query.ClassExec, query.OutcomeOK, false},
		{audit.Event{Verb: "get", Subresource: "proxy", Code: 503}, query.ClassExec, query.OutcomeError, false},
		{audit.Event{Verb: "create", APIGroup: "authorization.k8s.io", Resource: "subjectaccessreviews"}, query.ClassOther, query.OutcomeOK, false},
		{audit.Event{Verb: "head"}, query.ClassOther, query.OutcomeOK, false},
		{audit.Event{Verb: "delete", Code: 200, URI: "/api/v1/pods/a?dryRun=All"}, query.ClassOther, query.OutcomeOK, true},
		{audit.Event{Verb: "patch", Code: 201, URI: "/api/v1/pods/a?fieldManager=x&dryRun=All&force=true"}, query.ClassOther, query.OutcomeOK, true},
		{audit.Event{Verb: "update", Code: 200, URI: "/api/v1/pods/a?%64%72y%52u%6E=%41%6c%6C"}, query.ClassOther, query.OutcomeOK, true},
		// The API server passes over what it cannot read, and takes the rest as it is.
		{audit.Event{Verb: "delete", Code: 200, URI: "/api/v1/pods/a?dryRun=All;x"}, query.ClassDelete, query.OutcomeOK, true},
		{audit.Event{Verb: "delete", Code: 200, URI: "/api/v1/pods/a?x;dryRun=All"}, query.ClassDelete, query.OutcomeOK, true},
		{audit.Event{Verb: "delete", Code: 200, URI: "/api/v1/pods/a?x=dryRun=All"}, query.ClassDelete, query.OutcomeOK, true},
		{audit.Event{Verb: "delete", Code: 200, URI: "/api/v1/roles/a&dryRun=All"}, query.ClassDelete, query.OutcomeOK, true},
		{audit.Event{Verb: "delete", Code: 200, URI: "/api/v1/roles/a&dryRun=All?x=y"}, query.ClassDelete, query.OutcomeOK, true},
		{audit.Event{Verb: "delete", Code: 200, URI: "/api/v1/pods/a?dryRun="}, query.ClassDelete, query.OutcomeOK, true},
		{audit.Event{Verb: "delete", Code: 200, URI: "/api/v1/pods/a?dryrun=All"}, query.ClassDelete, query.OutcomeOK, true},
	} {
		e := &c.event
		if class, outcome, write := query.ClassOf(e), query.OutcomeOf(e), query.Writes().Match(e); class != c.class || outcome != c.outcome || write != c.write {
			t.Errorf("%s %s %s %d: %s, %s, write %v; want %s, %s, %v", e.Verb, e.APIGroup, e.Subresource, e.Code, class, outcome, write, c.class, c.outcome, c.write)
		}
	}
}

// TestOutcomesExclude: a source counts each outcome by its own condition.
func TestOutcomesExclude(t *testing.T) {
	for code := int32(-1); code < 1000; code++ {
		n := 0
		for _, c := range query.Outcomes() {
			if c.When.Match(&audit.Event{Code: code}) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("code %d has %d outcomes", code, n)
		}
	}
}

func TestMarkJSON(t *testing.T) {
	m := query.Mark{Bin: 12, Class: query.ClassChange, Outcome: query.OutcomeDenied, Count: 3, ID: 4711, Time: 1795463071014243}
	text, err := json.Marshal(m)
	if err != nil || string(text) != `[12,"change","denied",3,4711,1795463071014243]` {
		t.Fatalf("%s, %v", text, err)
	}
	var back query.Mark
	if err := json.Unmarshal(text, &back); err != nil || back != m {
		t.Errorf("%+v, %v", back, err)
	}
	for _, bad := range []string{`[]`, `{}`, `[1,2,3,4,5,6]`, `[1,"a","b",1,1]`, `[1,"a","b","x",1,1]`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// made is one final event; when is in seconds.
func made(id, when int64, verb, user, namespace, name string) audit.Event {
	return audit.Event{
		ID: id, Time: audit.Time(when * 1e6), Final: true, Verb: verb, User: user, Cluster: "c", Namespace: namespace,
		APIGroup: "apps", Resource: "deployments", Name: name, Stage: audit.StageResponseComplete, Code: 200,
	}
}

func TestFacets(t *testing.T) {
	events := []audit.Event{
		made(1, 1, "get", "alice", "a", "x"), made(2, 2, "get", "bob", "a", "x"), made(3, 3, "delete", "alice", "b", "x"),
		made(4, 4, "get", "carol", "a", "y"), made(5, 5, "get", "carol", "a", "y"), made(6, 6, "get", "bob", "a", "y"),
		{ID: 7, Time: 7e6, Verb: "get", User: "bob", Stage: audit.StageRequestReceived},
	}
	show := func(a query.FacetsAnswer) string {
		var b strings.Builder
		b.WriteString(a.Filter)
		for _, f := range a.Facets {
			b.WriteString("; " + f.Column)
			for _, r := range f.Rows {
				b.WriteString(" " + r.Keys[0] + "=" + string(rune('0'+r.Count)))
			}
			if f.More {
				b.WriteString(" ...")
			}
		}
		return b.String()
	}
	g := engine(events...)
	for _, c := range []struct {
		q    query.FacetsQuestion
		want string
	}{
		{query.FacetsQuestion{Columns: []string{"user", "verb"}}, "final; user alice=2 bob=2 carol=2; verb get=5 delete=1"},
		{query.FacetsQuestion{Columns: []string{"user"}, Limit: 1}, "final; user alice=2 ..."},
		{query.FacetsQuestion{Columns: []string{"user"}, Contains: "AL"}, "final; user alice=2"},
		{
			query.FacetsQuestion{Columns: []string{"user", "verb"}, Conditions: []query.FacetCondition{{Column: "user", Include: []string{"alice"}}}},
			`final && user == "alice"; user alice=2 bob=2 carol=2; verb delete=1 get=1`,
		},
		{ // what was chosen is shown however rare; an exclusion leaves its own column whole
			query.FacetsQuestion{Columns: []string{"user", "verb"}, Limit: 1, Conditions: []query.FacetCondition{
				{Column: "user", Include: []string{"carol", "nobody"}}, {Column: "verb", Exclude: []string{"delete"}},
			}},
			`final && user in ["carol", "nobody"] && verb != "delete"; user bob=2 carol=2 ...; verb get=2`,
		},
		{ // a choice of stages counts stages everywhere
			query.FacetsQuestion{Columns: []string{"stage", "user"}, Conditions: []query.FacetCondition{{Column: "stage", Include: []string{"RequestReceived"}}}},
			`stage == "RequestReceived"; stage ResponseComplete=6 RequestReceived=1; user bob=1`,
		},
	} {
		a, err := g.Facets(t.Context(), c.q)
		if err != nil {
			t.Errorf("%+v: %v", c.q, err)
			continue
		}
		if got := show(a); got != c.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", c.q, got, c.want)
		}
	}
	for _, c := range []struct {
		q    query.FacetsQuestion
		want string
	}{
		{query.FacetsQuestion{}, "1 to 16 columns"},
		{query.FacetsQuestion{Columns: []string{"usr"}}, "usr"},
		{query.FacetsQuestion{Columns: []string{"time"}}, "has no facet"},
		{query.FacetsQuestion{Columns: []string{"raw"}}, "has no facet"},
		{query.FacetsQuestion{Columns: []string{"user", "user"}}, "twice"},
		{query.FacetsQuestion{Columns: []string{"user"}, Contains: strings.Repeat("x", 257)}, "257 bytes"},
		{query.FacetsQuestion{Columns: []string{"user"}, Limit: -1}, "limit -1"},
		{query.FacetsQuestion{Columns: []string{"user"}, Conditions: []query.FacetCondition{{Column: "code", Include: []string{"x"}}}}, "is no number"},
		{query.FacetsQuestion{Columns: []string{"user"}, Conditions: []query.FacetCondition{{Column: "final", Include: []string{"x"}}}}, "neither true nor false"},
	} {
		_, err := g.Facets(t.Context(), c.q)
		usage(t, err, c.want)
	}
}

func TestLanes(t *testing.T) {
	events := []audit.Event{
		made(1, 100, "get", "alice", "a", "read"), made(2, 100, "get", "alice", "a", "read"), made(3, 199, "list", "alice", "a", ""),
		made(4, 150, "patch", "bob", "a", "changed"), made(5, 151, "patch", "bob", "a", "changed"), made(6, 198, "deletecollection", "bob", "a", ""),
		{ID: 7, Time: 120e6, Final: true, Verb: "get", URI: "/healthz"},
		made(8, 160, "create", "bob", "b", "other"),
	}
	g := engine(events...)
	q := query.LanesQuestion{Under: query.ObjectKey{Cluster: "c", Namespace: "a"}, Depth: 2, Bins: 10}
	a, err := g.Lanes(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	// The range is the whole store's; the object without a name is there, /healthz is not.
	key := func(name string) query.ObjectKey {
		return query.ObjectKey{Cluster: "c", Namespace: "a", APIGroup: "apps", Resource: "deployments", Name: name}
	}
	want := []query.Lane{
		{Key: key("changed"), Marks: []query.Mark{{Bin: 5, Class: query.ClassChange, Outcome: query.OutcomeOK, Count: 2, ID: 5, Time: 151e6}}},
		{Key: key(""), Marks: []query.Mark{
			{Bin: 9, Class: query.ClassRead, Outcome: query.OutcomeOK, Count: 1, ID: 3, Time: 199e6},
			{Bin: 9, Class: query.ClassDelete, Outcome: query.OutcomeOK, Count: 1, ID: 6, Time: 198e6},
		}},
		{Key: key("read"), Marks: []query.Mark{{Bin: 0, Class: query.ClassRead, Outcome: query.OutcomeOK, Count: 2, ID: 2, Time: 100e6}}},
	}
	if !reflect.DeepEqual(a.Lanes, want) || a.Range != (query.Range{From: 100e6, To: 199e6 + 1}) || a.WidthUS != 9900001 || a.Next != "" {
		t.Errorf("got %+v", a)
	}
	// Pages have the same bins though events come in between.
	src := querytest.New(events...)
	g = query.NewEngine(src)
	q.Limit = 1
	var keys []string
	for range 5 {
		p, err := g.Lanes(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if p.Range != a.Range || p.WidthUS != a.WidthUS || len(p.Lanes) != 1 {
			t.Errorf("page %+v", p)
		}
		keys = append(keys, p.Lanes[0].Key.Name)
		src.Append(made(0, 500, "delete", "bob", "a", "late"))
		if q.Cursor = p.Next; q.Cursor == "" {
			break
		}
	}
	if !slices.Equal(keys, []string{"changed", "", "read"}) {
		t.Errorf("pages have %q", keys)
	}
	for _, c := range []struct {
		q    query.LanesQuestion
		want string
	}{
		{query.LanesQuestion{Bins: 4001}, "4001"},
		{query.LanesQuestion{Limit: 5001}, "5001"},
		{query.LanesQuestion{Depth: 4}, "depth 4"},
		{query.LanesQuestion{Cursor: "x"}, "damaged"},
		{query.LanesQuestion{Cursor: "e30"}, "damaged"},
	} {
		_, err := g.Lanes(t.Context(), c.q)
		usage(t, err, c.want)
	}
	if a, err := engine().Lanes(t.Context(), query.LanesQuestion{}); err != nil || len(a.Lanes) != 0 {
		t.Errorf("an empty store: %+v, %v", a, err)
	}
}

// TestLanesTellOfCollections: a deletion of a collection names no object, and may have ended each of its kind, whatever the filter shows.
func TestLanesTellOfCollections(t *testing.T) {
	failed, denied, dry := made(5, 160, "deletecollection", "carol", "a", ""), made(6, 161, "deletecollection", "carol", "a", ""), made(7, 162, "deletecollection", "carol", "a", "")
	failed.Code, denied.Code, dry.URI = 500, 403, "/apis/apps/v1/namespaces/a/deployments?dryRun=All"
	begun := made(8, 163, "deletecollection", "carol", "a", "")
	begun.Final = false
	g := engine(
		made(1, 100, "create", "alice", "a", "one"), made(2, 101, "create", "alice", "b", "other"),
		made(3, 150, "deletecollection", "carol", "a", ""), made(4, 190, "deletecollection", "carol", "elsewhere", ""),
		failed, denied, dry, begun,
	)
	want := []query.Lane{{
		Key:   query.ObjectKey{Cluster: "c", Namespace: "a", APIGroup: "apps", Resource: "deployments"},
		Marks: []query.Mark{{Bin: 5, Class: query.ClassDelete, Outcome: query.OutcomeOK, Count: 1, ID: 3, Time: 150e6}},
	}}
	for filter, lanes := range map[string]int{"": 4, `user == "alice"`: 2} {
		a, err := g.Lanes(t.Context(), query.LanesQuestion{Scope: query.Scope{Filter: filter, Range: query.Range{From: 100e6, To: 200e6}}, Bins: 10})
		if err != nil || len(a.Lanes) != lanes {
			t.Fatalf("%q: %+v, %v", filter, a, err)
		}
		if !reflect.DeepEqual(a.Collections, want) {
			t.Errorf("%q: got %+v", filter, a.Collections)
		}
	}
}

// TestLanesPageIsBounded: a page with very many marks ends early, and the pages
// together have all of them.
// TestLanesOfNoTime: events without a time have no place, which is no fault of the question.
func TestLanesOfNoTime(t *testing.T) {
	a, err := engine(made(1, 0, "create", "u", "n", "o")).Lanes(t.Context(), query.LanesQuestion{})
	if err != nil || len(a.Lanes) != 0 || len(a.Warnings) != 1 {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestLanesPageIsBounded(t *testing.T) {
	var events []audit.Event
	const objects, bins = 70, 4000
	for i := range int64(objects * bins) {
		events = append(events, made(i+1, i/objects, "get", "u", "n", "o"+string(rune('A'+i%objects))))
	}
	events = append(events, made(objects*bins+1, 5, "deletecollection", "u", "n", ""))
	g := engine(events...)
	q := query.LanesQuestion{Bins: bins, Limit: objects, Scope: query.Scope{Range: query.Range{From: 1, To: bins * 1e6}}}
	marks, lanes, pages := 0, 0, 0
	for {
		a, err := g.Lanes(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, l := range a.Lanes {
			if l.Key.Name != "" {
				n += len(l.Marks)
			}
		}
		// A page that is full before its end tells of them too.
		if len(a.Collections) != 1 {
			t.Errorf("page %d tells of %d collections", pages+1, len(a.Collections))
		}
		if n > 1<<18+bins {
			t.Fatalf("%d marks on a page", n)
		}
		marks, lanes, pages = marks+n, lanes+len(a.Lanes), pages+1
		if q.Cursor = a.Next; q.Cursor == "" || pages > 10 {
			break
		}
	}
	if lanes != objects+1 || pages != 2 || marks < objects*(bins-1) {
		t.Errorf("%d lanes and %d marks on %d pages", lanes, marks, pages)
	}
}
