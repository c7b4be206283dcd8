package query_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/query/querytest"
)

const (
	minuteUS = audit.Time(60_000_000)
	hourUS   = 60 * minuteUS
	dayUS    = 24 * hourUS
)

// did is an event of alice's.
func did(at audit.Time, credential, address, agent, verb, resource string, code int32) audit.Event {
	e := audit.Event{
		Time: at, Received: at, Stage: audit.StageResponseComplete, Final: true, User: "alice", Verb: verb, Resource: resource,
		CredentialID: credential, Agent: agent, Code: code,
	}
	if address != "" {
		e.SourceIPs = []string{address, "10.0.0.1"} // a proxy behind the client
	}
	return e
}

func TestSessions(t *testing.T) {
	const t0 = 100 * dayUS
	g := engine(
		did(t0, "A", "1.1.1.1", "kubectl", "get", "pods", 200),
		did(t0+30*minuteUS, "A", "1.1.1.1", "kubectl", "delete", "pods", 403), // exactly the pause: still the same
		did(t0+60*minuteUS+1, "A", "1.1.1.1", "curl", "get", "pods", 200),     // a microsecond over it
		did(t0+61*minuteUS, "A", "1.1.1.1", "helm", "create", "pods", 201),
		did(t0+61*minuteUS, "A", "1.1.1.1", "helm", "patch", "pods", 200),
		did(t0+5*minuteUS, "A", "2.2.2.2", "kubectl", "get", "pods", 200), // another address
		did(t0+5*minuteUS, "B", "1.1.1.1", "kubectl", "get", "pods", 200), // another credential
		did(t0+6*minuteUS, "", "", "", "get", "", 200),
	)
	a, err := g.Day(t.Context(), query.DayQuestion{User: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range a.Sessions {
		got = append(got, fmt.Sprintf("%s %s %s/%d +%d..%d: %d requests, %d writes, %d failed", s.Credential, s.Address, s.Agent, s.Agents, (s.First-t0)/minuteUS, (s.Last-t0)/minuteUS, s.Count, s.Writes, s.Failed))
	}
	want := []string{
		"A 1.1.1.1 helm/2 +60..61: 3 requests, 2 writes, 0 failed",
		"A 1.1.1.1 kubectl/1 +0..30: 2 requests, 1 writes, 1 failed",
		"  /1 +6..6: 1 requests, 0 writes, 0 failed",
		"A 2.2.2.2 kubectl/1 +5..5: 1 requests, 0 writes, 0 failed",
		"B 1.1.1.1 kubectl/1 +5..5: 1 requests, 0 writes, 0 failed",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if a.Before || len(a.News) != 0 || a.Since != t0 {
		t.Errorf("without a beginning of the range nothing was before: %+v", a)
	}
	few, err := g.Day(t.Context(), query.DayQuestion{User: "alice", Limit: 2})
	if err != nil || len(few.Sessions) != 2 || !few.MoreSessions || few.Sessions[0] != a.Sessions[0] {
		t.Errorf("limit 2: %+v, %v", few, err)
	}
}

// TestSessionsExactly holds the joining of buckets against walking through every event.
func TestSessionsExactly(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 200 {
		var events []audit.Event
		for range 1 + r.IntN(60) {
			events = append(events, did(dayUS+audit.Time(r.Int64N(int64(12*hourUS))), string('A'+rune(r.IntN(2))), "1.1.1.1", string('x'+rune(r.IntN(2))), "get", "pods", 200))
		}
		a, err := engine(events...).Day(t.Context(), query.DayQuestion{User: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(events, func(a, b audit.Event) int { return int(a.Time - b.Time) })
		want := map[string]int64{}
		for _, credential := range []string{"A", "B"} {
			var first, last audit.Time
			var n int64
			end := func() {
				if n > 0 {
					want[fmt.Sprint(credential, first, last)] = n
				}
				n = 0
			}
			for _, e := range events {
				if e.CredentialID != credential {
					continue
				}
				if n > 0 && e.Time-last > 30*minuteUS {
					end()
				}
				if n == 0 {
					first = e.Time
				}
				last = e.Time
				n++
			}
			end()
		}
		for _, s := range a.Sessions {
			if k := fmt.Sprint(s.Credential, s.First, s.Last); want[k] != s.Count {
				t.Fatalf("round %d: %+v, want %d", round, s, want[k])
			}
		}
		if len(a.Sessions) != len(want) {
			t.Fatalf("round %d: %d sessions, want %d", round, len(a.Sessions), len(want))
		}
	}
}

func TestNews(t *testing.T) {
	const t0 = 100 * dayUS // the beginning of the range
	before := []audit.Event{
		did(t0-31*dayUS, "A", "9.9.9.9", "old", "delete", "secrets", 200), // too long ago to be known
		did(t0-29*dayUS, "A", "1.1.1.1", "kubectl", "get", "pods", 200),
	}
	within := []audit.Event{
		did(t0, "A", "1.1.1.1", "kubectl", "get", "pods", 200),
		did(t0+1, "A", "9.9.9.9", "old", "delete", "secrets", 200),
		did(t0+2, "A", "9.9.9.9", "curl", "get", "pods", 200),
		did(t0+3, "A", "9.9.9.9", "curl", "get", "pods", 200),
	}
	other := did(t0-20*dayUS, "A", "9.9.9.9", "curl", "delete", "secrets", 200)
	other.User = "bob" // what others did makes nothing known
	within[1].APIGroup, within[1].Subresource = "apps", "scale"
	g := engine(append(append([]audit.Event{other}, before...), within...)...)
	day := query.Scope{Range: query.Range{From: t0, To: t0 + dayUS}}
	for _, tt := range []struct {
		name, filter string
		want         []string
	}{
		{"all", "", []string{"action delete secrets.apps/scale +1 #5 x1", "address 9.9.9.9 +1 #5 x3", "agent curl +2 #6 x2", "agent old +1 #5 x1"}},
		// get pods is known, whatever the filter leaves of it.
		{"filtered", `verb == "get"`, []string{"address 9.9.9.9 +2 #6 x2", "agent curl +2 #6 x2"}},
		{"nothing", `verb == "none"`, nil},
	} {
		a, err := g.Day(t.Context(), query.DayQuestion{User: "alice", Scope: query.Scope{Filter: tt.filter, Range: day.Range}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range a.News {
			got = append(got, fmt.Sprintf("%s %s +%d #%d x%d", n.Kind, n.Value, n.First-t0, n.ID, n.Count))
		}
		slices.Sort(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
		}
		if !a.Before || a.Since != 0 {
			t.Errorf("%s: the source reaches back 31 days: %+v", tt.name, a)
		}
	}
	// A source that does not reach back says so.
	for _, tt := range []struct {
		first  audit.Time
		before bool
		news   bool
	}{{t0 - 30*dayUS, true, true}, {t0 - 30*dayUS + 1, false, true}, {t0 - 1, false, true}, {t0, false, false}} {
		a, err := engine(append([]audit.Event{did(tt.first, "A", "8.8.8.8", "x", "get", "nodes", 200)}, within...)...).Day(t.Context(), query.DayQuestion{User: "alice", Scope: day})
		if err != nil {
			t.Fatal(err)
		}
		if a.Before != tt.before || (a.Since == tt.first) == tt.before || (len(a.News) > 0) != tt.news {
			t.Errorf("first event %d before: %v, since %v, %d news", t0-tt.first, a.Before, a.Since, len(a.News))
		}
	}
}

func TestHeat(t *testing.T) {
	a, err := engine(
		did(dayUS, "", "1.1.1.1", "", "get", "pods", 200), did(dayUS, "", "1.1.1.1", "", "get", "pods", 403), did(dayUS, "", "1.1.1.1", "", "get", "", 200),
	).Day(t.Context(), query.DayQuestion{User: "alice"})
	if err != nil || len(a.Heat) != 2 || !slices.Equal(a.Heat[0].Keys, []string{"", "pods", "", "get"}) || a.Heat[0].Count != 2 || a.Heat[0].Failed != 1 {
		t.Errorf("got %+v, %v", a.Heat, err)
	}
}

func TestDayErrors(t *testing.T) {
	g := engine(sample(t)[:50]...)
	for _, tt := range []struct {
		q    query.DayQuestion
		want string
	}{
		{query.DayQuestion{}, "name a user"},
		{query.DayQuestion{User: "a", Limit: 1001}, "1000"},
		{query.DayQuestion{User: "a", Limit: -1}, "1000"},
		{query.DayQuestion{User: "a", Scope: query.Scope{Filter: "usr == 1"}}, "did you mean user"},
		{query.DayQuestion{User: "a", Scope: query.Scope{Range: query.Range{From: 5, To: 5}}}, "empty"},
	} {
		_, err := g.Day(t.Context(), tt.q)
		usage(t, err, tt.want)
	}
	// Each primitive question fails once.
	pod := byPod(t, []audit.Event{{Time: dayUS}}, "prod:app", "web-0", "")
	for n := 1; ; n++ {
		src := &failsAt{Source: querytest.New(pod, pod), n: n}
		_, err := query.NewEngine(src).Day(t.Context(), query.DayQuestion{User: pod.User, Scope: query.Scope{Range: query.Range{From: pod.Time}}})
		if src.n > 0 {
			if n < 6 {
				t.Errorf("a day is made of %d questions only", n-1)
			}
			break
		}
		if !errors.Is(err, errFails) {
			t.Errorf("question %d failed, and the answer is %v", n, err)
		}
	}
}

var errFails = errors.New("disk on fire")

// failsAt is a Source whose n-th question fails. n counts down.
type failsAt struct {
	*querytest.Source
	mu sync.Mutex
	n  int
}

func (f *failsAt) fails() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n--; f.n == 0 {
		return errFails
	}
	return nil
}

func (f *failsAt) Group(ctx context.Context, r query.GroupRequest) ([]query.GroupRow, query.Warnings, error) {
	if err := f.fails(); err != nil {
		return nil, nil, err
	}
	return f.Source.Group(ctx, r)
}

func (f *failsAt) Groups(ctx context.Context, rs []query.GroupRequest) ([][]query.GroupRow, query.Warnings, error) {
	return querytest.GroupEach(ctx, f.Group, rs)
}

func (f *failsAt) Activity(ctx context.Context, r query.ActivityRequest) ([]query.ActivityRow, query.Warnings, error) {
	if err := f.fails(); err != nil {
		return nil, nil, err
	}
	return f.Source.Activity(ctx, r)
}

func (f *failsAt) Search(ctx context.Context, r query.SearchRequest, yield func(*audit.Event) error) (query.Warnings, error) {
	if err := f.fails(); err != nil {
		return nil, err
	}
	return f.Source.Search(ctx, r, yield)
}

// byPod is a request with a pod's token, after all events of the sample.
func byPod(t *testing.T, events []audit.Event, account, pod, extra string) audit.Event {
	t.Helper()
	var last audit.Time
	for i := range events {
		last = max(last, events[i].Time)
	}
	at := (last + minuteUS).String()
	fields := ""
	if pod != "" {
		fields = fmt.Sprintf(`"authentication.kubernetes.io/pod-name":[%q],"authentication.kubernetes.io/node-name":["worker-1"]`, pod)
	}
	if extra != "" && fields != "" {
		fields += ","
	}
	line := fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"p","stage":"ResponseComplete","requestURI":"/api/v1/secrets","verb":"list",`+
		`"user":{"username":%q,"extra":{%s%s}},"objectRef":{"resource":"secrets","apiVersion":"v1"},"responseStatus":{"code":200},"requestReceivedTimestamp":%q,"stageTimestamp":%q}`,
		"system:serviceaccount:"+account, fields, extra, at, at)
	var e audit.Event
	if err := audit.Decode([]byte(line), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// bare is events as a policy of level Metadata records them.
func bare(t *testing.T, events []audit.Event) []audit.Event {
	t.Helper()
	var out []audit.Event
	for _, e := range events {
		var line map[string]json.RawMessage
		if err := json.Unmarshal([]byte(e.Raw), &line); err != nil {
			t.Fatal(err)
		}
		delete(line, "requestObject")
		delete(line, "responseObject")
		line["level"] = json.RawMessage(`"Metadata"`)
		text, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		var b audit.Event
		if err := audit.Decode(text, &b); err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// TestOrigin: this request was made by pod P, which came from deployment D, last
// changed by alice.
// TestBeforeOfNoTime: an event without a time is no proof of thirty days of trail.
func TestBeforeOfNoTime(t *testing.T) {
	const t0 = 100 * dayUS
	undated := did(0, "A", "1.1.1.1", "kubectl", "get", "pods", 200)
	day := query.DayQuestion{User: "alice", Scope: query.Scope{Range: query.Range{From: t0, To: t0 + dayUS}}}
	for _, first := range []audit.Time{t0 - 1, t0} {
		a, err := engine(undated, did(first, "A", "8.8.8.8", "x", "get", "nodes", 200), did(first+1, "A", "9.9.9.9", "y", "get", "pods", 200)).Day(t.Context(), day)
		if err != nil {
			t.Fatal(err)
		}
		if a.Before || a.Since != first || len(a.News) > 0 != (first == t0-1) {
			t.Errorf("first event %d: before %v, since %d, news %+v", first, a.Before, a.Since, a.News)
		}
	}
	a, err := engine(undated).Day(t.Context(), day)
	if err != nil || a.Before || a.Since != 0 {
		t.Errorf("nothing has a time: %+v, %v", a, err)
	}
}

func TestOrigin(t *testing.T) {
	events := sample(t)
	// A pod of the sample, by its creation, whose event has no name of its own.
	pod, namespace := "", ""
	for i := range events {
		e := &events[i]
		if e.Verb != "create" || e.Resource != "pods" || e.Namespace != "payments" || e.Name != "" {
			continue
		}
		var body struct {
			Object struct {
				Metadata struct{ Name string }
			} `json:"responseObject"`
		}
		if err := json.Unmarshal([]byte(e.Raw), &body); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(body.Object.Metadata.Name, "web-587d9fff56-") {
			pod, namespace = body.Object.Metadata.Name, e.Namespace
		}
	}
	if pod == "" {
		t.Fatal("the sample has no such pod any more")
	}
	ask := func(events []audit.Event) query.Origin {
		t.Helper()
		a, err := engine(events...).Day(t.Context(), query.DayQuestion{User: events[len(events)-1].User})
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Origin) != 1 {
			t.Fatalf("got %+v", a.Origin)
		}
		return a.Origin[0]
	}
	steps := func(o query.Origin) string {
		var b strings.Builder
		for _, s := range o.Steps {
			fmt.Fprintf(&b, "%s %s guess=%v %s by %s known=%v\n", s.Object.Resource, s.Object.Name, s.Guess, s.Verb, s.User, s.ID != 0)
		}
		return b.String()
	}
	t.Run("with bodies", func(t *testing.T) {
		o := ask(append(slices.Clone(events), byPod(t, events, namespace+":default", pod, "")))
		want := "1 request was made by pod " + pod + " on node worker-1, which came from deployment web, last changed by kubernetes-super-admin as system:serviceaccount:payments:deployer"
		if o.Sentence != want || o.Note != "" || o.Node != "worker-1" || o.Count != 1 {
			t.Errorf("got  %s (%s)\nwant %s", o.Sentence, o.Note, want)
		}
		const controllers = "system:serviceaccount:kube-system:"
		if got, want := steps(o), "pods "+pod+" guess=false create by "+controllers+"replicaset-controller known=true\n"+
			"replicasets web-587d9fff56 guess=false create by "+controllers+"deployment-controller known=true\n"+
			"deployments web guess=false patch by kubernetes-super-admin known=true\n"; got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		if !(o.Steps[2].Time <= o.Steps[1].Time && o.Steps[1].Time <= o.Steps[0].Time) {
			t.Errorf("a change after the pod was made did not make it: %+v", o.Steps)
		}
	})
	t.Run("without bodies", func(t *testing.T) {
		less := bare(t, events)
		o := ask(append(less, byPod(t, events, namespace+":default", pod, "")))
		want := "1 request was made by pod " + pod + " on node worker-1, which by its name came from deployment web, last changed by kubernetes-super-admin"
		if o.Sentence != want {
			t.Errorf("got  %s\nwant %s", o.Sentence, want)
		}
		for _, says := range []string{"who created pod " + pod + " is not in the trail", "guessed from its name", "level RequestResponse", "replica set web-587d9fff56 belongs to deployment web"} {
			if !strings.Contains(o.Note, says) {
				t.Errorf("the note does not say %q: %s", says, o.Note)
			}
		}
		if got, want := steps(o), "pods "+pod+" guess=false  by  known=false\n"+
			"replicasets web-587d9fff56 guess=true create by system:serviceaccount:kube-system:deployment-controller known=true\n"+
			"deployments web guess=true patch by kubernetes-super-admin known=true\n"; got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	})
	t.Run("nothing before", func(t *testing.T) {
		o := ask([]audit.Event{byPod(t, events, "payments:default", pod, "")})
		if want := "1 request was made by pod " + pod + " on node worker-1, which by its name came from deployment web"; o.Sentence != want {
			t.Errorf("got  %s\nwant %s", o.Sentence, want)
		}
		for _, says := range []string{"the trail has no event about it", "no creation of replica set web-587d9fff56", "no change of deployment web", "begins at 2026-11-22"} {
			if !strings.Contains(o.Note, says) {
				t.Errorf("the note does not say %q: %s", says, o.Note)
			}
		}
	})
	t.Run("a token of no pod", func(t *testing.T) {
		const credential = `"authentication.kubernetes.io/credential-id":["JTI=4c6ba82a-b256-4260-b634-c65b91776c29"]`
		o := ask(append(slices.Clone(events), byPod(t, events, "kube-system:namespace-controller", "", credential)))
		if want := "requests were made with a token that is bound to no pod, the newest asked for by system:kube-controller-manager"; !strings.HasSuffix(o.Sentence, want) || o.Note != "" {
			t.Errorf("got %s (%s)\nwant %s", o.Sentence, o.Note, want)
		}
		o = ask(append(slices.Clone(events), byPod(t, events, "kube-system:namespace-controller", "", strings.Replace(credential, "4c6b", "0000", 1))))
		if !strings.Contains(o.Note, "does not tell who asked") {
			t.Errorf("got %s (%s)", o.Sentence, o.Note)
		}
		o = ask(append(slices.Clone(events), byPod(t, events, "kube-system:namespace-controller", "", "")))
		if !strings.Contains(o.Note, "has no ID") {
			t.Errorf("got %s (%s)", o.Sentence, o.Note)
		}
	})
	t.Run("no service account", func(t *testing.T) {
		for _, user := range []string{"kubernetes-super-admin", "system:serviceaccount:x", "system:serviceaccount::x"} {
			a, err := engine(events...).Day(t.Context(), query.DayQuestion{User: user})
			if err != nil || a.Origin != nil {
				t.Errorf("%s: %+v, %v", user, a.Origin, err)
			}
		}
	})
}

// TestOriginByName tries names as controllers make them, and hostile ones.
func TestOriginByName(t *testing.T) {
	change := func(resource, group, name, user, verb string) audit.Event {
		return audit.Event{
			Time: dayUS, Stage: audit.StageResponseComplete, Final: true, User: user, Verb: verb, Resource: resource, APIGroup: group,
			Namespace: "prod", Name: name, Code: 200, Level: audit.LevelMetadata, Raw: "{}",
		}
	}
	for _, tt := range []struct {
		pod    string
		events []audit.Event
		want   string
		note   string
	}{
		{"db-0", []audit.Event{change("statefulsets", "apps", "db", "alice", "update")}, "which by its name came from stateful set db, last changed by alice", "guessed"},
		{"db-0", nil, "by pod db-0 on node worker-1", "is not known"},
		{"agent-x7k2p", []audit.Event{change("daemonsets", "apps", "agent", "bob", "create")}, "which by its name came from daemon set agent, created by bob", "guessed"},
		{"report-29012345-x7k2p", []audit.Event{
			change("jobs", "batch", "report-29012345", "system:serviceaccount:kube-system:cronjob-controller", "create"), change("cronjobs", "batch", "report", "carol", "patch"),
		}, "which by its name came from cron job report, last changed by carol", "job report-29012345 belongs to cron job report"},
		{"web-7d4b9c8f6d-x7k2p", []audit.Event{change("deployments", "apps", "web", "system:serviceaccount:argocd:argocd", "patch")}, "which by its name came from deployment web, last changed by system:serviceaccount:argocd:argocd", "no person changed deployment web"},
		{"web-7d4b9c8f6d-x7k2p", []audit.Event{change("deployments", "apps", "web", "system:serviceaccount:kube-system:deployment-controller", "update")}, "which by its name came from deployment web", "no change of deployment web"},
		{"web-7d4b9c8f6d-x7k2p", []audit.Event{
			change("deployments", "apps", "web", "alice", "patch"), change("deployments", "apps", "web", "system:serviceaccount:argocd:argocd", "patch"),
			change("deployments", "apps", "web", "system:serviceaccount:kube-system:deployment-controller", "update"),
		}, "which by its name came from deployment web, changed by alice, last changed by system:serviceaccount:argocd:argocd", "guessed"},
		{"web-7d4b9c8f6d-x7k2p", []audit.Event{
			change("deployments", "apps", "web", "alice", "create"), change("deployments", "apps", "web", "system:serviceaccount:argocd:argocd", "patch"),
		}, "which by its name came from deployment web, created by alice, last changed by system:serviceaccount:argocd:argocd", "guessed"},
		{"debug", []audit.Event{change("pods", "", "debug", "alice", "create")}, "by pod debug on node worker-1, created by alice", "what pod debug belongs to is not known: the policy recorded no bodies"},
		{`"; x <b>-0`, nil, `by pod "\"; x <b>-0" on node worker-1`, "is not known"},
		{"-0", nil, "by pod -0", "is not known"},
		{"-", nil, "by pod -", "is not known"},
	} {
		for i := range tt.events {
			tt.events[i].Time += audit.Time(i - len(tt.events))
		}
		all := append(slices.Clone(tt.events), byPod(t, []audit.Event{{Time: dayUS}}, "prod:app", tt.pod, ""))
		a, err := engine(all...).Day(t.Context(), query.DayQuestion{User: "system:serviceaccount:prod:app"})
		if err != nil {
			t.Fatal(err)
		}
		if o := a.Origin[0]; !strings.HasSuffix(o.Sentence, tt.want) && !strings.Contains(o.Sentence, tt.want+" ") || !strings.Contains(o.Note, tt.note) {
			t.Errorf("%s: got %s (%s), want ... %s", tt.pod, o.Sentence, o.Note, tt.want)
		}
	}
}
