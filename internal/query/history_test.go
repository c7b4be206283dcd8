package query_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/golden"
	"github.com/ktrail/ktrail/internal/query"
)

func changes(b *strings.Builder, a query.HistoryAnswer) {
	fmt.Fprintf(b, "%s\n", a.Filter)
	for _, c := range a.Changes {
		e := c.Event
		sub := ""
		if e.Subresource != "" {
			sub = "/" + e.Subresource
		}
		fmt.Fprintf(b, "%s %s%s %s %s %d", e.Time, e.Verb, sub, e.User, e.AsUser, e.Code)
		if c.Note != "" {
			fmt.Fprintf(b, " (%s)", c.Note)
		}
		b.WriteByte('\n')
		for _, f := range c.Fields {
			fmt.Fprintf(b, "    %s: %s -> %s\n", f.Path, f.Old, f.New)
		}
		if c.Patch != nil {
			fmt.Fprintf(b, "    patch %s\n", c.Patch)
		}
	}
	for _, w := range a.Warnings {
		fmt.Fprintf(b, "warning: %s\n", w)
	}
}

func TestHistoryOfSample(t *testing.T) {
	g := engine(sample(t)...)
	var b strings.Builder
	for _, q := range []query.HistoryQuestion{
		{Resource: "deployments", Namespace: "payments", Name: "web", Diff: true, Limit: 12},
		{Resource: "deployments", Namespace: "search", Name: "api", Diff: true, Limit: 12},
		{Resource: "configmaps", Namespace: "payments", Name: "app", Diff: true, Limit: 6},
		{Resource: "ns", Namespace: "search", Name: "search", Diff: true},
		{Resource: "deployments", Namespace: "payments", Name: "web", Diff: true, Noise: true, Limit: 2},
		{Resource: "deployments", APIGroup: "apps", Namespace: "payments", Name: "web", Limit: 5},
	} {
		a, err := g.History(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		changes(&b, a)
		b.WriteByte('\n')
	}
	golden.Check(t, "testdata/history-sample.txt", b.String())
}

// TestHistoryPages holds that the pages of a history, differences across their
// borders too, are the history.
func TestHistoryPages(t *testing.T) {
	g := engine(sample(t)...)
	q := query.HistoryQuestion{Resource: "deployments", Name: "web", Diff: true, Limit: 1000} // three namespaces at once
	whole, err := g.History(t.Context(), q)
	if err != nil || len(whole.Changes) < 60 || whole.Next != "" {
		t.Fatalf("%d changes, %v", len(whole.Changes), err)
	}
	diffs := 0
	for _, c := range whole.Changes {
		if len(c.Fields) > 0 {
			diffs++
		}
		if c.Event.Raw != "" {
			t.Error("a change has its raw line")
		}
	}
	if diffs < 30 {
		t.Errorf("%d differences only", diffs)
	}
	for _, size := range []int{1, 7, 50} {
		q.Limit, q.Cursor = size, ""
		var all []query.Change
		for {
			page, err := g.History(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, page.Changes...)
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		if len(all) != len(whole.Changes) {
			t.Fatalf("pages of %d: %d changes, want %d", size, len(all), len(whole.Changes))
		}
		for i := range all {
			if !reflect.DeepEqual(all[i], whole.Changes[i]) {
				t.Errorf("pages of %d: change %d differs:\n%+v\n%+v", size, i, all[i], whole.Changes[i])
			}
		}
	}
}

// event makes a line and decodes it.
func event(t *testing.T, second int, verb, sub, level string, code int, rest string) audit.Event {
	t.Helper()
	name := `"name":"web",`
	if verb == "deletecollection" {
		name = ""
	}
	uri := "/apis/apps/v1/namespaces/prod/deployments/web"
	if i := strings.Index(rest, "?"); i == 0 {
		query, more, _ := strings.Cut(rest, " ")
		uri, rest = uri+query, more
	}
	line := fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":%q,"auditID":"%d","stage":"ResponseComplete","requestURI":%q,"verb":%q,`+
		`"user":{"username":"alice"},"objectRef":{"resource":"deployments",%s"namespace":"prod","apiGroup":"apps","apiVersion":"v1","subresource":%q},`+
		`"responseStatus":{"code":%d}%s,"requestReceivedTimestamp":"2026-11-22T10:00:%02d.000000Z","stageTimestamp":"2026-11-22T10:00:%02d.000000Z"}`,
		level, second, uri, verb, name, sub, code, rest, second, second)
	var e audit.Event
	if err := audit.Decode([]byte(line), &e); err != nil {
		t.Fatalf("%v\n%s", err, line)
	}
	return e
}

func object(uid, spec string) string {
	return `{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"web","uid":"` + uid + `","resourceVersion":"7"},"spec":` + spec + `}`
}

func TestHistoryCases(t *testing.T) {
	response := func(o string) string { return `,"responseObject":` + o }
	request := func(o string) string { return `,"requestObject":` + o }
	tests := []struct {
		name   string
		events []audit.Event // oldest first
		want   string        // newest first
	}{
		{"fields", []audit.Event{
			event(t, 1, "create", "", "RequestResponse", 201, response(object("u1", `{"replicas":1,"containers":[{"name":"web","image":"a:1","env":[{"name":"X","value":"1"}]},{"name":"log"}],"args":["a"],"drop":{"me":[1]}}`))),
			event(t, 2, "update", "", "RequestResponse", 200, response(object("u1", `{"replicas":3,"containers":[{"name":"new"},{"name":"web","image":"a:2","env":[{"name":"Y","value":null},{"name":"X","value":"2"}]}],"args":["a","b"],"a.b/c":true}`))),
		}, `
update 200
    spec["a.b/c"]: + true
    spec.args: ["a"] > ["a","b"]
    spec.containers[name=new]: + {"name":"new"}
    spec.containers[name=web].env[name=Y]: + {"name":"Y","value":null}
    spec.containers[name=web].env[name=X].value: "1" > "2"
    spec.containers[name=web].image: "a:1" > "a:2"
    spec.containers[name=log]: {"name":"log"} -
    spec.drop: {"me":[1]} -
    spec.replicas: 1 > 3
create 201`},
		{"a status update comes between", []audit.Event{
			event(t, 1, "create", "", "RequestResponse", 201, response(object("u1", `{"replicas":1}`))),
			event(t, 2, "update", "status", "RequestResponse", 200, response(object("u1", `{"replicas":1}`))),
			event(t, 3, "patch", "", "RequestResponse", 200, request(`{"spec":{"replicas":2}}`)+response(object("u1", `{"replicas":2}`))),
		}, `
patch 200
    spec.replicas: 1 > 2
update/status 200 (no field changed but managedFields, resourceVersion or generation)
create 201`},
		{"metadata only", []audit.Event{
			event(t, 1, "update", "", "RequestResponse", 200, response(object("u1", `{"replicas":1}`))),
			event(t, 2, "update", "", "Metadata", 200, ""),
			event(t, 3, "update", "", "RequestResponse", 200, response(object("u1", `{"replicas":3}`))),
		}, `
update 200 (includes 1 earlier change whose objects were not recorded)
    spec.replicas: 1 > 3
update 200 (bodies were not recorded (level Metadata))
update 200 (the object before was not recorded)`},
		{"patch only", []audit.Event{
			event(t, 1, "patch", "", "Request", 200, request(`[{"op":"replace","path":"/spec/replicas","value":4}]`)),
			event(t, 2, "patch", "", "Request", 200, ""),
			event(t, 3, "patch", "scale", "RequestResponse", 200, request(`{"spec":{"replicas":2}}`)+response(`{"kind":"Scale","metadata":{},"spec":{}}`)),
		}, `
patch/scale 200
    patch {"spec":{"replicas":2}}
patch 200 (bodies were not recorded)
patch 200 (only the patch was recorded)
    patch [{"op":"replace","path":"/spec/replicas","value":4}]`},
		{"patch with an answer and nothing before", []audit.Event{
			event(t, 3, "patch", "", "RequestResponse", 200, request(`{"spec":{"replicas":2}}`)+response(object("u1", `{"replicas":2}`))),
		}, `
patch 200 (the object before was not recorded)
    patch {"spec":{"replicas":2}}`},
		{"request level", []audit.Event{
			event(t, 1, "create", "", "Request", 201, request(object("", `{"replicas":1}`))),
			event(t, 2, "update", "", "Request", 200, request(object("", `{"replicas":2}`))),
		}, `
update 200 (the object is as it was sent; the answer was not recorded)
    spec.replicas: 1 > 2
create 201 (the object is as it was sent; the answer was not recorded)`},
		{"what changed nothing", []audit.Event{
			event(t, 1, "create", "", "RequestResponse", 201, response(object("u1", `{"replicas":1}`))),
			event(t, 2, "update", "", "RequestResponse", 409, response(`{"kind":"Status","metadata":{},"code":409}`)),
			event(t, 3, "update", "", "RequestResponse", 200, "?dryRun=All "+response(object("u1", `{"replicas":9}`))),
			event(t, 4, "create", "exec", "RequestResponse", 101, ""),
			event(t, 5, "create", "eviction", "RequestResponse", 201, ""),
			event(t, 6, "update", "", "RequestResponse", 200, response(object("u1", `{"replicas":2}`))),
		}, `
update 200
    spec.replicas: 1 > 2
create/eviction 201
create/exec 101 (a session in the container; the object did not change)
update 200 (a dry run: nothing was changed)
update 409 (failed: nothing was changed)
create 201`},
		{"deleted and made again", []audit.Event{
			event(t, 1, "create", "", "RequestResponse", 201, response(object("u1", `{"replicas":1}`))),
			event(t, 2, "delete", "", "RequestResponse", 200, response(`{"kind":"Status","metadata":{},"status":"Success"}`)),
			event(t, 3, "create", "", "RequestResponse", 201, response(object("u2", `{"replicas":5}`))),
			event(t, 4, "update", "", "RequestResponse", 200, response(object("u2", `{"replicas":6}`))),
			event(t, 5, "delete", "", "RequestResponse", 200, ""),
			event(t, 6, "update", "", "RequestResponse", 200, response(object("u3", `{"replicas":6}`))),
		}, `
update 200 (the object before was deleted)
delete 200
update 200
    spec.replicas: 5 > 6
create 201
delete 200
create 201`},
		{"another UID", []audit.Event{
			event(t, 1, "update", "", "RequestResponse", 200, response(object("u1", `{"replicas":1}`))),
			event(t, 2, "update", "", "RequestResponse", 200, response(object("u2", `{"replicas":5}`))),
		}, `
update 200 (another object of the same name was there before)
update 200 (the object before was not recorded)`},
		{"deletecollection", []audit.Event{
			event(t, 1, "deletecollection", "", "RequestResponse", 200, "?labelSelector=app%3Dweb "),
			event(t, 2, "deletecollection", "", "RequestResponse", 403, ""),
		}, `
deletecollection 403 (failed: nothing was changed)
deletecollection 200 (deleted a collection; the object may have been in it, if labelSelector "app=web" matched)`},
		{"truncated", []audit.Event{
			event(t, 1, "update", "", "RequestResponse", 200, `,"annotations":{"audit.k8s.io/truncated":"true"}`),
		}, `
update 200 (the API server left the bodies out for their size)`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := engine(tt.events...).History(t.Context(), query.HistoryQuestion{Resource: "deploy", Namespace: "prod", Name: "web", Diff: true})
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, c := range a.Changes {
				fmt.Fprintf(&b, "\n%s", c.Event.Verb)
				if c.Event.Subresource != "" {
					b.WriteString("/" + c.Event.Subresource)
				}
				fmt.Fprintf(&b, " %d", c.Event.Code)
				if c.Note != "" {
					fmt.Fprintf(&b, " (%s)", c.Note)
				}
				for _, f := range c.Fields {
					switch {
					case f.Old == nil:
						fmt.Fprintf(&b, "\n    %s: + %s", f.Path, f.New)
					case f.New == nil:
						fmt.Fprintf(&b, "\n    %s: %s -", f.Path, f.Old)
					default:
						fmt.Fprintf(&b, "\n    %s: %s > %s", f.Path, f.Old, f.New)
					}
				}
				if c.Patch != nil {
					fmt.Fprintf(&b, "\n    patch %s", c.Patch)
				}
			}
			if b.String() != tt.want {
				t.Errorf("got:%s\nwant:%s", b.String(), tt.want)
			}
		})
	}
}

// TestHistoryBounds holds that large objects do not make a large answer.
func TestHistoryBounds(t *testing.T) {
	big := func(v string, n int) string {
		var b strings.Builder
		b.WriteString(`{"data":{"long":"` + strings.Repeat(v, 100_000) + `"`)
		for i := range n {
			fmt.Fprintf(&b, `,"k%d":"%s"`, i, v)
		}
		return b.String() + "}}"
	}
	events := []audit.Event{
		event(t, 1, "create", "", "RequestResponse", 201, `,"responseObject":`+object("u", big("a", 1000))),
		event(t, 2, "patch", "", "RequestResponse", 200, `,"responseObject":`+object("u", big("b", 1000))),
		event(t, 3, "patch", "", "Request", 200, `,"requestObject":`+big("c", 10)),
	}
	a, err := engine(events...).History(t.Context(), query.HistoryQuestion{Resource: "deployments", Name: "web", Diff: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(a.Changes[0].Patch); len(got) > 40 || !strings.Contains(got, "bytes") {
		t.Errorf("patch is %d bytes: %.50s", len(got), got)
	}
	c := a.Changes[1]
	if len(c.Fields) != 300 || c.Note != "and 701 more fields" {
		t.Errorf("%d fields, %s", len(c.Fields), c.Note)
	}
	for _, f := range c.Fields {
		if len(f.New) > 5000 {
			t.Errorf("%s is %d bytes", f.Path, len(f.New))
		}
	}
}

func TestHistoryErrors(t *testing.T) {
	g := engine()
	for _, tt := range []struct {
		q    query.HistoryQuestion
		want string
	}{
		{query.HistoryQuestion{}, "deployments/web"},
		{query.HistoryQuestion{Resource: "pods"}, "deployments/web"},
		{query.HistoryQuestion{Resource: "pods", Name: "x", Limit: 1001}, "limit"},
		{query.HistoryQuestion{Resource: "pods", Name: "x", Cursor: "!"}, "damaged"},
	} {
		_, err := g.History(t.Context(), tt.q)
		usage(t, err, tt.want)
	}
	a, err := g.History(t.Context(), query.HistoryQuestion{Resource: "pods", Name: `" || true || "`})
	if err != nil || a.Changes == nil || len(a.Changes) != 0 {
		t.Errorf("%+v, %v", a, err)
	}
}
