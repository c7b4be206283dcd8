package capture_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/capture"
)

// impersonating is the event of a request with headers (pairs) by user, where allowed decides.
func impersonating(t *testing.T, user audit.UserInfo, o capture.ImpersonationOptions, headers ...string) string {
	t.Helper()
	sink := &memory{}
	h, err := capture.Handler(capture.Impersonation(answers(200, `{}`), o), capture.Options{
		Policy: level(t, "Metadata"), Sink: sink,
		Identifier: capture.IdentifierFunc(func(*http.Request) (capture.Identity, error) { return capture.Identity{User: user}, nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, podsPath+"/web", http.NoBody)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	h.ServeHTTP(httptest.NewRecorder(), r)
	if first := sink.taken()[0].Raw; strings.Contains(first, "impersonatedUser") {
		t.Errorf("RequestReceived has the impersonated user already: %s", first)
	}
	return sink.last(t).Raw
}

// may allows the questions "verb group/resource/subresource/namespace/name" that stand in it.
func may(list ...string) func(context.Context, capture.Access) (bool, error) {
	return func(_ context.Context, a capture.Access) (bool, error) {
		q := a.Verb + " " + strings.Join([]string{a.Group, a.Resource, a.Subresource, a.Namespace, a.Name}, "/")
		return slices.Contains(list, q), nil
	}
}

func TestImpersonation(t *testing.T) {
	alice := audit.UserInfo{Username: "alice", Groups: []string{"ops", "system:authenticated"}}
	agent := audit.UserInfo{Username: "system:serviceaccount:kube-system:agent", Extra: map[string][]string{"authentication.kubernetes.io/node-name": {"n1"}}}
	yes := func(context.Context) bool { return true }
	for _, test := range []struct {
		name        string
		user        audit.UserInfo
		constrained bool
		allowed     []string
		headers     []string
		want        string // "" if nobody is recorded
	}{
		{"not asked for", alice, false, nil, nil, ""},
		{
			"allowed", alice, false,
			[]string{"impersonate /users///bob"},
			[]string{"Impersonate-User", "bob"},
			`"impersonatedUser":{"username":"bob","groups":["system:authenticated"]}`,
		},
		{"denied", alice, false, nil, []string{"Impersonate-User", "bob"}, ""},
		{"a group is denied", alice, false, []string{"impersonate /users///bob"}, []string{"Impersonate-User", "bob", "Impersonate-Group", "system:masters"}, ""},
		{
			"groups", alice, false,
			[]string{"impersonate /users///bob", "impersonate /groups///dev", "impersonate /groups///qa"},
			[]string{"Impersonate-User", "bob", "Impersonate-Group", "dev", "Impersonate-Group", "qa"},
			`"impersonatedUser":{"username":"bob","groups":["dev","qa","system:authenticated"]}`,
		},
		{
			"uid and extra", alice, false,
			[]string{"impersonate /users///bob", "impersonate authentication.k8s.io/uids///7", "impersonate authentication.k8s.io/userextras/acme.com/project//x"},
			[]string{"Impersonate-User", "bob", "Impersonate-Uid", "7", "Impersonate-Extra-Acme.com%2fproject", "x"},
			`"impersonatedUser":{"username":"bob","uid":"7","groups":["system:authenticated"],"extra":{"acme.com/project":["x"]}}`,
		},
		{
			"nobody", alice, false,
			[]string{"impersonate /users///system:anonymous"},
			[]string{"Impersonate-User", "system:anonymous"},
			`"impersonatedUser":{"username":"system:anonymous","groups":["system:unauthenticated"]}`,
		},
		{
			"a service account", alice, false,
			[]string{"impersonate /serviceaccounts//prod/deployer"},
			[]string{"Impersonate-User", "system:serviceaccount:prod:deployer"},
			`"impersonatedUser":{"username":"system:serviceaccount:prod:deployer","groups":["system:serviceaccounts","system:serviceaccounts:prod","system:authenticated"]}`,
		},
		{
			"what is no service account", alice, false,
			[]string{"impersonate /users///system:serviceaccount:Prod:x"},
			[]string{"Impersonate-User", "system:serviceaccount:Prod:x"},
			`"impersonatedUser":{"username":"system:serviceaccount:Prod:x","groups":["system:authenticated"]}`,
		},
		{"groups without a user", alice, false, []string{"impersonate /groups///dev"}, []string{"Impersonate-Group", "dev"}, ""},
		{
			"constrained", alice, true,
			[]string{"impersonate-on:user-info:get /pods//default/web", "impersonate:user-info authentication.k8s.io/users///bob"},
			[]string{"Impersonate-User", "bob"},
			`"impersonatedUser":{"username":"bob","groups":["system:authenticated"]}`,
		},
		{"constrained, another request", alice, true, []string{"impersonate-on:user-info:list /pods//default/", "impersonate:user-info authentication.k8s.io/users///bob"}, []string{"Impersonate-User", "bob"}, ""},
		{
			"constrained, but by the old verb", alice, true,
			[]string{"impersonate /users///bob"},
			[]string{"Impersonate-User", "bob"},
			`"impersonatedUser":{"username":"bob","groups":["system:authenticated"]}`,
		},
		{
			"its own node", agent, true,
			[]string{"impersonate-on:associated-node:get /pods//default/web", "impersonate:associated-node authentication.k8s.io/nodes///*"},
			[]string{"Impersonate-User", "system:node:n1"},
			`"impersonatedUser":{"username":"system:node:n1","groups":["system:nodes","system:authenticated"]}`,
		},
		{"another node", agent, true, []string{"impersonate-on:associated-node:get /pods//default/web", "impersonate:associated-node authentication.k8s.io/nodes///*"}, []string{"Impersonate-User", "system:node:n2"}, ""},
	} {
		o := capture.ImpersonationOptions{Allowed: may(test.allowed...)}
		if test.constrained {
			o.Constrained = yes
		}
		line := impersonating(t, test.user, o, test.headers...)
		if got := strings.Contains(line, "impersonatedUser"); got != (test.want != "") || !strings.Contains(line, test.want) {
			t.Errorf("%s: %s", test.name, line)
		}
		constraint := strings.HasPrefix(test.name, "constrained") && len(test.allowed) == 2 || test.user.Username == agent.Username
		if got := strings.Contains(line, `"impersonationConstraint":"impersonate:`); got != (constraint && test.want != "") {
			t.Errorf("%s: constraint recorded: %v: %s", test.name, got, line)
		}
	}
}

// If the authorizer cannot be asked, the record says so and names nobody as impersonated.
func TestImpersonationUnverified(t *testing.T) {
	line := impersonating(t, audit.UserInfo{Username: "alice"}, capture.ImpersonationOptions{
		Allowed: func(context.Context, capture.Access) (bool, error) {
			return false, &capture.AskError{Kind: "SubjectAccessReview", Err: errors.New("down")}
		},
	}, "Impersonate-User", "bob")
	if strings.Contains(line, "impersonatedUser") || !strings.Contains(line, `"`+capture.UnverifiedAnnotation+`":"bob"`) {
		t.Error(line)
	}
}

// An answer of the authorizer holds for ten seconds.
func TestImpersonationIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		h, err := capture.Handler(capture.Impersonation(answers(200, `{}`), capture.ImpersonationOptions{
			Allowed: func(context.Context, capture.Access) (bool, error) { asked++; return true, nil },
		}), capture.Options{Policy: level(t, "Metadata"), Sink: &memory{}, Identifier: alice})
		if err != nil {
			t.Fatal(err)
		}
		for _, wait := range []time.Duration{0, 9 * time.Second, 2 * time.Second} {
			time.Sleep(wait)
			r := httptest.NewRequest(http.MethodGet, podsPath, http.NoBody)
			r.Header.Set("Impersonate-User", "bob")
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
		if asked != 2 {
			t.Errorf("asked %d times, want 2", asked)
		}
	})
}

// Through the whole proxy: the API server is asked in the user's own name.
func TestImpersonationByProxy(t *testing.T) {
	s := stand(t, answers(200, `{}`), nil)
	s.api.allowed = func(user, verb, what string) bool {
		return verb == "impersonate" && (user == "alice" || user == "bob") && what == "users//carol"
	}
	bob := s.clients.issue(t, "bob", nil)
	mallory := s.clients.issue(t, "mallory", nil)
	s.get(t, s.client(t, nil), podsPath, "Authorization", "Bearer t-alice", "Impersonate-User", "carol")
	if ev := s.sink.last(t); ev.User != "alice" || ev.AsUser != "carol" || s.api.last(t).Header.Get("Impersonate-User") != "carol" {
		t.Errorf("with a token: %s", ev.Raw)
	}
	s.get(t, s.client(t, &bob), podsPath, "Impersonate-User", "carol")
	if ev := s.sink.last(t); ev.User != "bob" || ev.AsUser != "carol" || s.api.last(t).Header.Get("X-Remote-User") != "bob" {
		t.Errorf("with a certificate: %s", ev.Raw)
	}
	for _, as := range []string{"carol", "root"} {
		s.get(t, s.client(t, &mallory), podsPath, "Impersonate-User", as)
		if ev := s.sink.last(t); ev.User != "mallory" || ev.AsUser != "" {
			t.Errorf("not allowed: %s", ev.Raw)
		}
	}
}

// What is not recorded is not asked for.
func TestImpersonationWithoutRecord(t *testing.T) {
	asked := capture.ImpersonationOptions{Allowed: func(context.Context, capture.Access) (bool, error) {
		t.Error("the authorizer was asked")
		return true, nil
	}}
	h, err := capture.Handler(capture.Impersonation(answers(200, `{}`), asked), capture.Options{
		Policy: level(t, "None"), Sink: &memory{},
		Identifier: capture.IdentifierFunc(func(*http.Request) (capture.Identity, error) {
			return capture.Identity{User: audit.UserInfo{Username: "alice"}}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, podsPath, http.NoBody)
	r.Header.Set("Impersonate-User", "carol")
	h.ServeHTTP(httptest.NewRecorder(), r)
}

// An authorizer that does not answer holds a request up for ten seconds, not for as long for each question.
func TestImpersonationIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := func(ctx context.Context, _ capture.Access) (bool, error) {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			<-ctx.Done()
			return false, ctx.Err()
		}
		start := time.Now()
		got := impersonating(t, audit.UserInfo{Username: "alice"}, capture.ImpersonationOptions{
			Allowed: hangs, Constrained: func(context.Context) bool { return true },
		}, "Impersonate-User", "system:node:n1")
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("it took %s", took)
		}
		if !strings.Contains(got, `"`+capture.UnverifiedAnnotation+`":"system:node:n1"`) || strings.Contains(got, "impersonatedUser") {
			t.Errorf("event %s", got)
		}
	})
}
