package capture_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/capture"
)

const podsPath = "/api/v1/namespaces/default/pods"

// Who a user is, and what the API server behind the proxy is told.
func TestUsers(t *testing.T) {
	s := stand(t, answers(200, `{"kind":"PodList"}`), nil)
	bob := s.clients.issue(t, "bob", []string{"ops", "dev"}, "uid-7")
	noName := s.clients.issue(t, "", []string{"ops"})
	twoUIDs := s.clients.issue(t, "bob", nil, "uid-7", "uid-8")
	front := s.fronts.issue(t, "a-front", nil)
	other := s.fronts.issue(t, "another", nil)
	foreign := newAuthority(t, "clients").issue(t, "bob", nil)
	socket := base64.RawURLEncoding.EncodeToString([]byte("t-alice"))

	for _, test := range []struct {
		name    string
		cert    *tls.Certificate
		headers []string
		user    string // "" for a 401
		token   string // what the API server sees of tokens
		remote  string // and of the user's name
	}{
		{name: "nobody", user: "system:anonymous [system:unauthenticated]"},
		{name: "token", headers: []string{"Authorization", "Bearer t-alice"}, user: "alice/u-alice [dev system:authenticated]", token: "Bearer t-alice"},
		{name: "token, oddly written", headers: []string{"Authorization", "  bearer t-alice rest"}, user: "alice/u-alice [dev system:authenticated]", token: "Bearer t-alice"},
		{name: "bad token", headers: []string{"Authorization", "Bearer nope"}},
		{name: "password", headers: []string{"Authorization", "Basic YTpi"}, user: "system:anonymous [system:unauthenticated]"},
		{name: "certificate", cert: &bob, user: "bob/uid-7 [dev ops system:authenticated]", remote: "bob/uid-7 [dev ops system:authenticated]"},
		{name: "certificate and token", cert: &bob, headers: []string{"Authorization", "Bearer t-alice"}, user: "bob/uid-7 [dev ops system:authenticated]", remote: "bob/uid-7 [dev ops system:authenticated]"},
		{name: "certificate without a name", cert: &noName}, // it is no front proxy's either
		{name: "certificate with two UIDs", cert: &twoUIDs},
		{name: "certificate of somebody else's", cert: &foreign},
		{name: "such a certificate and a token", cert: &foreign, headers: []string{"Authorization", "Bearer t-alice"}, user: "alice/u-alice [dev system:authenticated]", token: "Bearer t-alice"},
		{name: "forged headers", headers: []string{"X-Remote-User", "root", "X-Remote-Group", "system:masters", "X-Remote-Extra-A", "b"}, user: "system:anonymous [system:unauthenticated]"},
		{name: "forged headers beside a certificate", cert: &bob, headers: []string{"X-Remote-User", "root", "X-Remote-Uid", "0", "X-Remote-Group", "system:masters"}, user: "bob/uid-7 [dev ops system:authenticated]", remote: "bob/uid-7 [dev ops system:authenticated]"},
		{name: "forged headers beside a token", headers: []string{"Authorization", "Bearer t-alice", "X-Remote-User", "root"}, user: "alice/u-alice [dev system:authenticated]", token: "Bearer t-alice"},
		{name: "front proxy", cert: &front, headers: []string{"X-Remote-User", "carol", "X-Remote-Group", "a", "X-Remote-Group", "b", "X-Remote-Uid", "forged"}, user: "carol [a b system:authenticated]", remote: "carol [a b system:authenticated]"},
		{name: "front proxy that names nobody", cert: &front},
		{name: "front proxy of another name", cert: &other, headers: []string{"X-Remote-User", "carol"}},
		{name: "user's certificate as front proxy", cert: &bob, headers: []string{"X-Remote-User", "carol"}, user: "bob/uid-7 [dev ops system:authenticated]", remote: "bob/uid-7 [dev ops system:authenticated]"},
		{name: "token of a web socket", headers: []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Protocol", "base64url.bearer.authorization.k8s.io." + socket + ", v4.channel.k8s.io"}, user: "alice/u-alice [dev system:authenticated]"},
		{name: "token of a web socket alone", headers: []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Protocol", "base64url.bearer.authorization.k8s.io." + socket}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(s.api.seen)
			c := s.client(t, test.cert)
			if strings.Contains(test.name, "web socket") { // HTTP/2 has no upgrade
				c.Transport.(*http.Transport).ForceAttemptHTTP2 = false
			}
			res, _ := s.get(t, c, podsPath, test.headers...)
			ev := s.sink.last(t)
			if test.user == "" {
				if res.StatusCode != http.StatusUnauthorized || ev.Code != http.StatusUnauthorized || ev.User != "" || len(s.api.seen) != before {
					t.Fatalf("answer %d, event %s", res.StatusCode, ev.Raw)
				}
				return
			}
			if res.StatusCode != http.StatusOK {
				t.Fatalf("answer %d", res.StatusCode)
			}
			if got := user(ev.User, ev.UserUID, ev.Groups); got != test.user {
				t.Errorf("recorded %s, want %s", got, test.user)
			}
			at := s.api.last(t)
			h := at.Header
			if got := user(h.Get("X-Remote-User"), h.Get("X-Remote-Uid"), h["X-Remote-Group"]); got != test.remote {
				t.Errorf("handed on as %s, want %s", got, test.remote)
			}
			if h.Get("Authorization") != test.token {
				t.Errorf("handed on with token %q, want %q", h.Get("Authorization"), test.token)
			}
			if test.cert == &bob {
				if id := h.Get("X-Remote-Extra-Authentication.kubernetes.io%2fcredential-Id"); !strings.HasPrefix(id, "X509SHA256=") || ev.CredentialID != id {
					t.Errorf("credential %q, recorded %q; headers %v", id, ev.CredentialID, h)
				}
			}
		})
	}
}

func user(name, uid string, groups []string) string {
	if uid != "" {
		name += "/" + uid
	}
	if len(groups) > 0 {
		name += " " + fmt.Sprint(groups)
	}
	return name
}

// A certificate may hold what a header cannot: a space before a group would be gone, and with it the difference.
func TestNamesThatHeadersChange(t *testing.T) {
	s := stand(t, answers(200, `{}`), nil)
	for _, cert := range []tls.Certificate{
		s.clients.issue(t, " root", nil),
		s.clients.issue(t, "mallory", []string{" system:masters"}),
		s.clients.issue(t, "mallory", []string{"system:masters\t"}),
		s.clients.issue(t, "mallory\r\nX-Remote-Group: system:masters", nil),
	} {
		res, text := s.get(t, s.client(t, &cert), podsPath)
		if res.StatusCode != http.StatusForbidden || len(s.api.seen) != 0 || s.sink.last(t).Code != http.StatusForbidden {
			t.Errorf("%q: answer %d %s", cert.Leaf.Subject, res.StatusCode, text)
		}
	}
}

// Without Anonymous, a request without credentials is refused, and recorded.
func TestNoAnonymous(t *testing.T) {
	s := stand(t, answers(200, `{}`), func(_ *setup, a *capture.AuthOptions, _ *capture.ProxyOptions, _ *capture.Options) {
		a.Anonymous = false
	})
	res, _ := s.get(t, s.client(t, nil), podsPath)
	if ev := s.sink.last(t); res.StatusCode != http.StatusUnauthorized || ev.Stage != audit.StageResponseStarted {
		t.Errorf("answer %d, event %s", res.StatusCode, ev.Raw)
	}
}

// Without a certificate that the API server believes, nobody is handed on by name.
func TestNoFrontProxy(t *testing.T) {
	s := stand(t, answers(200, `{}`), func(_ *setup, _ *capture.AuthOptions, p *capture.ProxyOptions, _ *capture.Options) {
		p.FrontProxy = nil
	})
	bob := s.clients.issue(t, "bob", nil)
	res, text := s.get(t, s.client(t, &bob), podsPath)
	if res.StatusCode != http.StatusForbidden || !strings.Contains(text, "--proxy-client-cert-file") || len(s.api.seen) != 0 {
		t.Errorf("answer %d %s", res.StatusCode, text)
	}
}

// With credentials of its own the proxy asks by TokenReview and SubjectAccessReview; an answer
// that is none is no user.
func TestReviews(t *testing.T) {
	s := stand(t, answers(200, `{}`), nil)
	s.api.allowed = func(user, verb, what string) bool { return user == "alice" && verb == "get" && what == "pods//web" }
	at, err := url.Parse(s.api.URL)
	if err != nil {
		t.Fatal(err)
	}
	signOn := func(token string) *http.Client {
		return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			r.Header.Set("Authorization", "Bearer "+token)
			return s.api.Client().Transport.RoundTrip(r)
		})}
	}
	v := &capture.Reviews{Server: at, Client: signOn("t-proxy")}
	ctx := t.Context()
	if u, err := v.Token(ctx, "t-alice"); err != nil || u.Username != "alice" || u.UID != "u-alice" || len(u.Groups) != 2 {
		t.Errorf("alice's token: %+v, %v", u, err)
	}
	bad := (*capture.TokenError)(nil)
	if u, err := v.Token(ctx, "nope"); !errors.As(err, &bad) {
		t.Errorf("a bad token: %+v, %v", u, err)
	}
	for user, want := range map[string]bool{"alice": true, "bob": false} {
		a := capture.Access{User: audit.UserInfo{Username: user}, Verb: "get", Resource: "pods", Name: "web"}
		if ok, err := v.Allowed(ctx, a); err != nil || ok != want {
			t.Errorf("%s: %v, %v", user, ok, err)
		}
	}
	unknown := (*capture.AskError)(nil)
	// The proxy's own token is not taken: that says nothing of the user's.
	if _, err := (&capture.Reviews{Server: at, Client: signOn("expired")}).Token(ctx, "t-alice"); !errors.As(err, &unknown) {
		t.Errorf("with bad credentials of its own: %v", err)
	}
	odd := httptest.NewServer(answers(200, `{"status":{"authenticated":true,"user":{}}}`))
	defer odd.Close()
	if at, err = url.Parse(odd.URL); err != nil {
		t.Fatal(err)
	}
	if u, err := (&capture.Reviews{Server: at, Client: odd.Client()}).Token(ctx, "t"); !errors.As(err, &unknown) {
		t.Errorf("an answer without a name: %+v, %v", u, err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A token is asked for once in ten seconds, a bad one once in two, however many ask at once.
func TestTokensAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		a := capture.NewAuthenticator(capture.AuthOptions{Token: func(_ context.Context, token string) (audit.UserInfo, error) {
			asked.Add(1)
			time.Sleep(100 * time.Millisecond) // of the bubble: no time passes
			switch token {
			case "good":
				return audit.UserInfo{Username: "alice"}, nil
			case "bad":
				return audit.UserInfo{}, &capture.TokenError{}
			}
			return audit.UserInfo{}, &capture.AskError{Kind: "TokenReview", Err: errors.New("down")}
		}})
		identify := func(token string) error {
			r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			r.Header.Set("Authorization", "Bearer "+token)
			_, err := a.Identify(r)
			return err
		}
		expect := func(want int64, what string) {
			t.Helper()
			if got := asked.Swap(0); got != want {
				t.Errorf("%s: asked %d times, want %d", what, got, want)
			}
		}
		many := func(token string) {
			for range 50 {
				go func() { _ = identify(token) }()
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		many("good")
		expect(1, "fifty at once")
		time.Sleep(8 * time.Second)
		if err := identify("good"); err != nil {
			t.Error(err)
		}
		expect(0, "after nine seconds")
		time.Sleep(2 * time.Second)
		many("good")
		expect(1, "after eleven")
		many("bad")
		expect(1, "fifty bad ones at once")
		time.Sleep(2 * time.Second)
		bad := (*capture.TokenError)(nil)
		if err := identify("bad"); !errors.As(err, &bad) {
			t.Errorf("a bad token: %v", err)
		}
		expect(1, "a bad one after two seconds")
		for range 3 {
			_ = identify("unknown")
		}
		expect(3, "what could not be asked is asked again")

		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set("Authorization", "Bearer good")
		many("good")
		a.Forget(r)
		expect(0, "before it was refused")
		many("good")
		expect(1, "after it was refused")
	})
}

// Clients choose what is remembered: it stays bounded.
func TestTokensAreBounded(t *testing.T) {
	a := capture.NewAuthenticator(capture.AuthOptions{Token: func(context.Context, string) (audit.UserInfo, error) {
		return audit.UserInfo{}, &capture.TokenError{}
	}})
	for i := range 100_000 {
		r := &http.Request{Header: http.Header{"Authorization": {fmt.Sprintf("Bearer %d", i)}}}
		if _, err := a.Identify(r); err == nil {
			t.Fatal("a bad token was taken")
		}
		if n := a.Remembered(); n > 32<<10 {
			t.Fatalf("%d tokens are remembered", n)
		}
	}
}
