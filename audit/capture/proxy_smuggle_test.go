package capture_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/ktrail/ktrail/audit/capture"
)

// raw sends lines as they are, by HTTP/1.1: a client library does not send such things.
func (s *setup) raw(t *testing.T, cert *tls.Certificate, lines ...string) *http.Response {
	t.Helper()
	c := &tls.Config{RootCAs: s.serverCA, ServerName: "127.0.0.1"}
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	conn, err := tls.Dial("tcp", s.Listener.Addr().String(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// What the API server serves is what was recorded: no request line reads as one thing here and as another there.
func TestNoOtherRequestIsHandedOn(t *testing.T) {
	for _, line := range []string{
		"GET http:HOST/api/v1/secrets",      // opaque: no path here, an absolute address there
		"GET http:http://x/api/v1/secrets",  // likewise
		"GET https:HOST/api/v1/secrets",     //
		"GET x:api/v1/secrets",              //
		"GET /api/v1/pods/../secrets",       // what stands between may resolve it
		"GET /api/v1/pods/%2e%2e/secrets",   //
		"GET /healthz/./../api/v1/secrets",  //
		"GET /api/v1//secrets",              // a resource without a name, or the name secrets of none
		"GET //api/v1/secrets",              //
		"GET /healthz//../../api/v1/x",      //
		"GET /api/v1/nodes/n/proxy/../../x", // also on its way to a node
	} {
		s := stand(t, answers(200, `{}`), nil)
		line = strings.ReplaceAll(line, "HOST", s.api.URL)
		res := s.raw(t, nil, line+" HTTP/1.1", "Host: x", "Authorization: Bearer t-alice")
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: answer %d", line, res.StatusCode)
		}
		for _, r := range s.api.seen {
			t.Errorf("%s: the API server was asked for %q", line, r.RequestURI)
		}
		if ev := s.sink.last(t); ev.Code != 400 || ev.Stage != "ResponseComplete" {
			t.Errorf("%s: event %s", line, ev.Raw)
		}
	}
	for _, path := range []string{"/", "/api/v1/pods/", "/api/v1/namespaces/a/services/b:80/proxy//x/", "/api/v1/namespaces/a/pods/..b", "/api/v1/nodes/n/proxy/a//b", "/readyz/"} {
		s := stand(t, answers(200, `{}`), nil)
		if res := s.raw(t, nil, "GET "+path+" HTTP/1.1", "Host: x", "Authorization: Bearer t-alice"); res.StatusCode != 200 || s.api.last(t).RequestURI != path {
			t.Errorf("%s: answer %d", path, res.StatusCode)
		}
	}
}

// After an upgrade to another HTTP, requests would go past the record: only what carries streams goes on.
func TestNoUpgradeToHTTP2(t *testing.T) {
	for protocol, want := range map[string]string{
		"h2c": "", "websocket, h2c": "", "TLS/1.2": "", "H2C": "", "HTTP/2.0": "",
		"websocket": "websocket", "WebSocket": "WebSocket", "SPDY/3.1": "SPDY/3.1",
	} {
		s := stand(t, answers(200, `{}`), nil)
		res := s.raw(t, nil, "GET /api/v1/pods?watch=1 HTTP/1.1", "Host: x", "Authorization: Bearer t-alice",
			"Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "Upgrade: "+protocol)
		at := s.api.last(t)
		if res.StatusCode != 200 || at.Header.Get("Upgrade") != want || at.Header.Get("Http2-Settings") != "" {
			t.Errorf("%s: answer %d, goes on with %v", protocol, res.StatusCode, at.Header)
		}
	}
}

// A token counts here only where it counts at the API server.
func TestSocketTokenWithoutUpgrade(t *testing.T) {
	s := stand(t, answers(200, `{}`), nil)
	code := base64.RawURLEncoding.EncodeToString([]byte("t-alice"))
	s.raw(t, nil, "GET /api/v1/pods?watch=1 HTTP/1.1", "Host: x", "Upgrade: websocket",
		"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io."+code+", v4.channel.k8s.io")
	at := s.api.last(t)
	if at.Header.Get("Upgrade") != "" || strings.Contains(at.Header.Get("Sec-Websocket-Protocol"), code) {
		t.Errorf("goes on with %v", at.Header)
	}
	if ev := s.sink.last(t); ev.User != "system:anonymous" {
		t.Errorf("the API server saw nobody, the event %s", ev.Raw)
	}
}

// A certificate of the name of nobody is still somebody's: its groups go on, or it does not.
func TestCertificateOfNobody(t *testing.T) {
	s := stand(t, answers(200, `{}`), nil)
	cert := s.clients.issue(t, "system:anonymous", []string{"ops"})
	s.raw(t, &cert, "GET /api/v1/pods HTTP/1.1", "Host: x")
	if at := s.api.last(t); at.Header.Get("X-Remote-User") != "system:anonymous" || at.Header.Get("X-Remote-Group") != "ops" {
		t.Errorf("goes on with %v", at.Header)
	}
}

// An API server ends a connection of HTTP/2 on which nobody signs on (UnauthenticatedHTTP2DOSMitigation).
// That must not be the one on which everybody's requests are.
func TestNobodyEndsNoConnection(t *testing.T) {
	var mu sync.Mutex
	conns := map[string]int{}
	s := stand(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			if r.ProtoMajor == 2 {
				w.Header().Set("Connection", "close")
			}
		} else {
			mu.Lock()
			conns[r.RemoteAddr]++
			mu.Unlock()
		}
		answers(200, `{}`)(w, r)
	}, nil)
	c := s.client(t, nil)
	for range 20 {
		s.get(t, c, podsPath, "Authorization", "Bearer t-alice")
		s.get(t, s.client(t, nil), podsPath)
	}
	if len(conns) != 1 {
		t.Errorf("the requests of one user took %d connections to the API server: %v", len(conns), conns)
	}
}

// A token that a browser hides among subprotocols may hold anything. One that no header can hold is nobody's:
// asked for in the user's own name it would be read as another.
func TestSocketTokenThatIsNoToken(t *testing.T) {
	s := stand(t, answers(200, `{}`), nil)
	for _, token := range []string{"t-alice x", "t-alice\n", " t-alice", "t-alice\x00"} {
		res := s.raw(t, nil, "GET /api/v1/pods?watch=1 HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket",
			"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io."+base64.RawURLEncoding.EncodeToString([]byte(token))+", v4.channel.k8s.io")
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%q: answer %d", token, res.StatusCode)
		}
	}
	if s.api.reviews > 0 {
		t.Errorf("the API server was asked %d times", s.api.reviews)
	}
}

// A token that the API server refuses is asked for again, also a web socket's.
func TestRefusedTokenIsForgotten(t *testing.T) {
	s := stand(t, answers(http.StatusUnauthorized, `{}`), func(s *setup, _ *capture.AuthOptions, po *capture.ProxyOptions, _ *capture.Options) {
		po.Refused = func(r *http.Request) { s.auth.Forget(r) }
	})
	code := base64.RawURLEncoding.EncodeToString([]byte("t-alice"))
	for want := 1; want <= 2; want++ {
		s.raw(t, nil, "GET /api/v1/pods?watch=1 HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket",
			"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io."+code+", v4.channel.k8s.io")
		if s.api.reviews != want {
			t.Errorf("after %d refusals the API server was asked %d times", want, s.api.reviews)
		}
	}
}

// Who signs on by a cookie, at a server that knows such a thing, would be recorded as nobody. On its
// way through the API server to what it is in front of, a cookie is another's business.
func TestCookies(t *testing.T) {
	s := stand(t, answers(200, `{}`), nil)
	for path, want := range map[string]string{podsPath: "", "/api/v1/namespaces/a/services/b/proxy/login": "session=1"} {
		s.get(t, s.client(t, nil), path, "Cookie", "session=1")
		if got := s.api.last(t).Header.Get("Cookie"); got != want {
			t.Errorf("%s: the cookie %q goes on, want %q", path, got, want)
		}
	}
}

// Nobody names users to the API server but the proxy, in whatever spelling.
func TestNoRemoteHeaderGoesOn(t *testing.T) {
	s := stand(t, answers(200, `{}`), nil)
	cert := s.clients.issue(t, "bob", nil)
	s.raw(t, &cert, "GET /api/v1/pods HTTP/1.1", "Host: x", "X_Remote_User: admin", "X-Remote_Group: system:masters", "x-remote-group: system:masters",
		"x-rEMOTE-extra-scopes: all", "X-Remote-Uid: 0", "X-Remote-Anything: x", "X-Remoteness: far")
	for name, values := range s.api.last(t).Header {
		if v := strings.Join(values, "|"); strings.Contains(v, "admin") || strings.Contains(v, "masters") || v == "all" || v == "0" || v == "x" {
			t.Errorf("goes on: %s: %s", name, v)
		}
	}
	if got := s.api.last(t).Header.Get("X-Remoteness"); got != "far" {
		t.Errorf("X-Remoteness: %q", got)
	}
}
