package query_test

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/golden"
	"github.com/ktrail/ktrail/internal/query"
)

// sample is the sample log. IDs are in the order of the file.
func sample(tb testing.TB) []audit.Event {
	tb.Helper()
	events, err := readSample()
	if err != nil || len(events) < 3000 {
		tb.Fatalf("%d events, %v", len(events), err)
	}
	return slices.Clone(events)
}

var readSample = sync.OnceValues(func() ([]audit.Event, error) {
	f, err := os.Open("../../testdata/audit-sample.log.gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	in := bufio.NewScanner(z)
	in.Buffer(nil, 16<<20)
	var events []audit.Event
	for in.Scan() {
		var e audit.Event
		if err := audit.Decode([]byte(in.Text()), &e); err != nil {
			return nil, err
		}
		e.ID = int64(len(events) + 1)
		e.Source = "sample"
		events = append(events, e)
	}
	return events, in.Err()
})

func TestSentence(t *testing.T) {
	at := audit.TimeOf(at)
	base := audit.Event{
		Time: at, Stage: audit.StageResponseComplete, Level: audit.LevelMetadata, User: "alice@example.com", SourceIPs: []string{"10.2.0.15", "10.0.0.1"},
		Code: 200, Decision: "allow", DecisionReason: `RBAC: allowed by RoleBinding "dev/prod" of Role "dev" to User "dev-admin"`, Final: true,
	}
	with := func(change func(*audit.Event)) audit.Event {
		e := base
		change(&e)
		return e
	}
	on := func(verb, group, resource, sub, ns, name string) audit.Event {
		return with(func(e *audit.Event) {
			e.Verb, e.APIGroup, e.Resource, e.Subresource, e.Namespace, e.Name = verb, group, resource, sub, ns, name
			e.DecisionReason = ""
		})
	}
	events := []audit.Event{
		with(func(e *audit.Event) {
			e.AsUser, e.Verb, e.APIGroup, e.Resource, e.Namespace, e.Name = "dev-admin", "patch", "apps", "deployments", "prod", "web"
		}),
		on("get", "", "secrets", "", "prod", "db"),
		on("list", "", "secrets", "", "prod", ""),
		on("list", "", "secrets", "", "", ""),
		on("watch", "", "nodes", "", "", ""),
		on("create", "", "pods", "", "prod", ""),
		on("create", "networking.k8s.io", "ingresses", "", "prod", ""),
		on("create", "", "namespaces", "", "prod", "prod"),
		on("update", "example.com", "widgets", "", "prod", "w"),
		on("delete", "rbac.authorization.k8s.io", "clusterrolebindings", "", "", "root"),
		on("create", "", "pods", "eviction", "prod", "web-1"),
		on("create", "", "pods", "binding", "prod", "web-1"),
		on("get", "", "pods", "log", "prod", "web-1"),
		on("create", "", "pods", "attach", "prod", "web-1"),
		on("create", "", "pods", "portforward", "prod", "web-1"),
		on("create", "", "serviceaccounts", "token", "prod", "bot"),
		on("patch", "apps", "deployments", "scale", "prod", "web"),
		on("get", "apps", "deployments", "scale", "prod", "web"),
		on("update", "apps", "deployments", "status", "prod", "web"),
		on("get", "", "nodes", "proxy", "", "n1"),
		on("update", "certificates.k8s.io", "certificatesigningrequests", "approval", "", "csr-1"),
		on("patch", "", "pods", "ephemeralcontainers", "prod", "web-1"),
		on("update", "", "namespaces", "finalize", "prod", "prod"),
		on("create", "authentication.k8s.io", "tokenreviews", "", "", ""),
		on("create", "authorization.k8s.io", "selfsubjectaccessreviews", "", "", ""),
		on("bump", "", "pods", "", "prod", "web-1"),
		with(func(e *audit.Event) {
			e.Verb, e.Resource, e.Subresource, e.Namespace, e.Name = "create", "pods", "exec", "prod", "web-1"
			e.URI = "/api/v1/namespaces/prod/pods/web-1/exec?command=sh&command=-c&command=cat+%2Fetc%2Fshadow&container=web&stdin=true"
			e.Code = 101
		}),
		with(func(e *audit.Event) {
			e.Verb, e.Resource, e.Namespace, e.URI = "deletecollection", "pods", "prod", "/api/v1/namespaces/prod/pods?labelSelector=app%3Dweb"
		}),
		with(func(e *audit.Event) {
			e.Verb, e.Resource, e.Namespace, e.Name, e.URI = "delete", "pods", "prod", "web-1", "/api/v1/namespaces/prod/pods/web-1?dryRun=All"
		}),
		with(func(e *audit.Event) { e.Verb, e.URI = "get", "/healthz?verbose" }),
		with(func(e *audit.Event) { e.Verb, e.URI, e.Decision, e.DecisionReason = "post", "/metrics", "", "" }),
		with(func(e *audit.Event) {
			e.Verb, e.Resource, e.Namespace, e.Name, e.Code, e.Reason = "get", "secrets", "prod", "db", 403, "Forbidden"
			e.Decision, e.DecisionReason, e.Message = "forbid", "", `secrets "db" is forbidden`
		}),
		with(func(e *audit.Event) {
			e.Verb, e.Resource, e.Namespace, e.Name, e.Code, e.Reason, e.Message = "get", "pods", "prod", "x", 404, "NotFound", `pods "x" not found`
		}),
		with(func(e *audit.Event) {
			*e = audit.Event{Time: at, Stage: audit.StageResponseStarted, Verb: "list", URI: "/api/v1/pods", Resource: "pods", Code: 401, Reason: "Unauthorized", Message: "Unauthorized", SourceIPs: []string{"203.0.113.7"}, Final: true}
		}),
		with(func(e *audit.Event) {
			e.Stage, e.Final, e.Verb, e.Resource, e.Code, e.Decision = audit.StageRequestReceived, false, "delete", "nodes", 0, ""
			e.Name = "n1"
		}),
		with(func(e *audit.Event) {
			e.Stage, e.Final, e.Verb, e.Resource = audit.StageResponseStarted, false, "watch", "pods"
		}),
		with(func(e *audit.Event) {
			e.Stage, e.Verb, e.Resource, e.Namespace, e.Name, e.Code, e.Reason = audit.StagePanic, "get", "pods", "prod", "web", 500, "InternalError"
		}),
		with(func(e *audit.Event) {
			e.User, e.Verb, e.Resource, e.Name = "alice, as root, deleted\nsecret \x1b[31mx", "get", "pods", "a\u202eb"
			e.Namespace = "prod in kube-system"
		}),
		with(func(e *audit.Event) {
			e.User, e.Verb, e.URI = strings.Repeat("u", 5000), "get", "/"+strings.Repeat("☃", 5000)
		}),
		{},
	}
	var b strings.Builder
	for i := range events {
		s := query.Sentence(&events[i])
		if strings.ContainsAny(s, "\n\x1b\u202e") || len(s) > 3000 {
			t.Errorf("hostile: %q", s)
		}
		b.WriteString(s + "\n")
	}
	golden.Check(t, "testdata/sentences.txt", b.String())
}

// TestSentencesOfSample tells one event of each kind in the sample.
func TestSentencesOfSample(t *testing.T) {
	var b strings.Builder
	seen := map[string]bool{}
	for _, e := range sample(t) {
		kind := fmt.Sprint(e.Stage, e.Verb, e.APIGroup, e.Resource, e.Subresource, e.Code, e.AsUser != "", e.Decision)
		if !e.Final || seen[kind] {
			continue
		}
		seen[kind] = true
		b.WriteString(query.Sentence(&e) + "\n")
	}
	golden.Check(t, "testdata/sentences-sample.txt", b.String())
}

func TestPartsLink(t *testing.T) {
	e := audit.Event{User: "a b", Verb: "get", Resource: "pods", Namespace: "prod", Name: "web", Code: 404, SourceIPs: []string{"::1"}, Stage: audit.StageResponseComplete, Final: true}
	got := map[string]string{}
	for _, p := range query.Parts(&e) {
		if p.Column != "" {
			got[p.Column] = p.Value
			if c, err := query.LookupColumn(p.Column); err != nil || c.Text(&e) != p.Value {
				t.Errorf("%+v is not in its column", p)
			}
		}
	}
	for _, c := range []string{"user", "verb", "resource", "namespace", "name", "code", "source_ips"} {
		if _, ok := got[c]; !ok {
			t.Errorf("no part for %s", c)
		}
	}
}
