package query_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/internal/query"
)

func TestParseTime(t *testing.T) {
	rome := time.FixedZone("Rome", 2*3600)
	now := time.Date(2026, 11, 22, 12, 30, 0, 0, time.UTC)
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"now", "2026-11-22T12:30:00.000000Z"},
		{"2h", "2026-11-22T10:30:00.000000Z"},
		{"2h ago", "2026-11-22T10:30:00.000000Z"},
		{"-90s", "2026-11-22T12:28:30.000000Z"},
		{"1d12h", "2026-11-21T00:30:00.000000Z"},
		{"7d", "2026-11-15T12:30:00.000000Z"},
		{"2w", "2026-11-08T12:30:00.000000Z"},
		{"today", "2026-11-21T22:00:00.000000Z"},
		{"Yesterday", "2026-11-20T22:00:00.000000Z"},
		{"2026-11-22", "2026-11-21T22:00:00.000000Z"},
		{"2026-11-22T10:00", "2026-11-22T08:00:00.000000Z"},
		{"2026-11-22 10:00", "2026-11-22T08:00:00.000000Z"},
		{"2026-11-22T10:00:01.5", "2026-11-22T08:00:01.500000Z"},
		{"2026-11-22T10:00:00Z", "2026-11-22T10:00:00.000000Z"},
		{"2026-11-22T10:00:00.123456789Z", "2026-11-22T10:00:00.123456Z"},
		{"2026-11-22T10:00:00+09:00", "2026-11-22T01:00:00.000000Z"},
		{"2026-11-22T10:00Z", "2026-11-22T10:00:00.000000Z"},
	} {
		got, err := query.ParseTime(tt.in, now, rome)
		if err != nil || got.String() != tt.want {
			t.Errorf("%q: got %s, %v, want %s", tt.in, got, err, tt.want)
		}
	}
	for _, in := range []string{"2", "h", "2y", "1.5h", "tomorrow", "2026-13-01", "22.11.2026", "99999999999h", "300000000s300000000000m", "1969-01-01", "2h\n", "ago", "-"} {
		if in == "2h\n" { // white space around is cut
			continue
		}
		_, err := query.ParseTime(in, now, rome)
		usage(t, err, "time ")
		if err != nil && (!strings.Contains(err.Error(), "write 2h") && !strings.Contains(err.Error(), "1970") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%q: %v", in, err)
		}
	}
	r, err := query.NewRange("2h", "now", now, rome)
	if err != nil || r.To-r.From != 7200e6 {
		t.Errorf("%+v, %v", r, err)
	}
	_, err = query.NewRange("1h", "2h", now, rome)
	usage(t, err, "empty")
}

func TestParseResource(t *testing.T) {
	for _, tt := range []struct {
		in   string // arguments separated by a space
		want query.Resource
	}{
		{"deploy/web", query.Resource{Resource: "deployments", APIGroup: "apps", Name: "web", Known: true, Namespaced: true}},
		{"deploy web", query.Resource{Resource: "deployments", APIGroup: "apps", Name: "web", Known: true, Namespaced: true}},
		{"Deployment/web", query.Resource{Resource: "deployments", APIGroup: "apps", Name: "web", Known: true, Namespaced: true}},
		{"deployments.apps/web", query.Resource{Resource: "deployments", APIGroup: "apps", Name: "web", Known: true, Namespaced: true, GroupGiven: true}},
		{"deployments.v1.apps/web", query.Resource{Resource: "deployments", APIGroup: "apps", Version: "v1", Name: "web", Known: true, Namespaced: true, GroupGiven: true}},
		{"pods/web/log", query.Resource{Resource: "pods", Name: "web", Subresource: "log", Known: true, Namespaced: true}},
		{"po", query.Resource{Resource: "pods", Known: true, Namespaced: true}},
		{"no/n1", query.Resource{Resource: "nodes", Name: "n1", Known: true}},
		{"ns/prod", query.Resource{Resource: "namespaces", Name: "prod", Known: true}},
		{"clusterrole/system:node", query.Resource{Resource: "clusterroles", APIGroup: "rbac.authorization.k8s.io", Name: "system:node", Known: true}},
		{"ing.networking.k8s.io/x", query.Resource{Resource: "ingresses", APIGroup: "networking.k8s.io", Name: "x", Known: true, Namespaced: true, GroupGiven: true}},
		{"events.events.k8s.io", query.Resource{Resource: "events", APIGroup: "events.k8s.io", Known: true, Namespaced: true, GroupGiven: true}},
		{"widgets.example.com/w", query.Resource{Resource: "widgets", APIGroup: "example.com", Name: "w", GroupGiven: true}},
		{"widgets.v1beta1.example.com/w", query.Resource{Resource: "widgets", APIGroup: "example.com", Version: "v1beta1", Name: "w", GroupGiven: true}},
		{"services.serving.knative.dev/w", query.Resource{Resource: "services", APIGroup: "serving.knative.dev", Name: "w", GroupGiven: true}},
		{"deplyments/web", query.Resource{Resource: "deplyments", Name: "web", Suggest: "deployments"}},
		{"serviceacount/web", query.Resource{Resource: "serviceacount", Name: "web", Suggest: "serviceaccounts"}},
		{"gizmos/web", query.Resource{Resource: "gizmos", Name: "web"}},
	} {
		got, err := query.ParseResource(strings.Split(tt.in, " ")...)
		if err != nil || got != tt.want {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", tt.in, got, err, tt.want)
		}
	}
	for _, in := range [][]string{nil, {""}, {"/web"}, {"deploy/"}, {"a/b/c/d"}, {"a", "b", "c"}, {"pods,svc"}, {"po*"}} {
		_, err := query.ParseResource(in...)
		usage(t, err, "")
	}
	names := query.ResourceNames()
	if len(names) < 60 || !slices.Contains(names, "pods") {
		t.Errorf("%d names", len(names))
	}
	for i, n := range names {
		if slices.Contains(names[:i], n) {
			t.Errorf("%s twice", n)
		}
		if r, err := query.ParseResource(n); err != nil || r.Resource != n || !r.Known {
			t.Errorf("%s is %+v, %v", n, r, err)
		}
	}
}

// TestSampleResourcesAreKnown holds the table against what a real API server wrote.
func TestSampleResourcesAreKnown(t *testing.T) {
	for _, e := range sample(t) {
		if e.Resource == "" {
			continue
		}
		word := e.Resource
		if e.APIGroup != "" {
			word += "." + e.APIGroup
		}
		r, err := query.ParseResource(word)
		if err != nil || !r.Known {
			t.Errorf("%s is not known", word)
			continue
		}
		if e.Namespace != "" && !r.Namespaced && e.Resource != "namespaces" {
			t.Errorf("%s is in namespace %s", word, e.Namespace)
		}
	}
}

func TestCaretOfLongLine(t *testing.T) {
	text := strings.Repeat(`verb == "get" || `, 40) + "usr == 1 || " + strings.Repeat("final || ", 40) + "final"
	_, err := query.Parse(text)
	var bad *query.FilterError
	if !errors.As(err, &bad) {
		t.Fatal(err)
	}
	lines := strings.Split(bad.Caret(), "\n")
	if len(lines) != 2 || len(lines[0]) > 100 {
		t.Fatalf("%q", lines)
	}
	if at := strings.IndexByte(lines[1], '^'); !strings.HasPrefix(lines[0][at:], "usr == 1") {
		t.Errorf("\n%s", bad.Caret())
	}
}

func TestFixed(t *testing.T) {
	for in, want := range map[string]string{
		`usr == "x"`:                     `user == "x"`,
		`usr.startsWith("x")`:            `user.startsWith("x")`,
		`user.hasPrefix("x")`:            `user.startsWith("x")`,
		`len(groups) > 2`:                `size(groups) > 2`,
		`objectRef.name == "ünï"`:        `name == "ünï"`,
		`user.username.startsWith("x")`:  `user.startsWith("x")`,
		"final &&\n  nmespace == \"x\" ": "final &&\n  namespace == \"x\" ",
		`final && "ünï" == usr`:          `final && "ünï" == user`,
		`quux_zzz == 1`:                  "",
		`verb = "x"`:                     "",
	} {
		_, err := query.Parse(in)
		var bad *query.FilterError
		if !errors.As(err, &bad) {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := bad.Fixed(); got != want {
			t.Errorf("%s: got %s, want %s (%v)", in, got, want, err)
		}
		if want != "" {
			if _, err := query.Parse(want); err != nil {
				t.Error(err)
			}
		}
	}
}
