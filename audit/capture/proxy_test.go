package capture_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/capture"
)

// What is about the way of a request is the proxy's to say, and the rest arrives as it was sent.
func TestHeadersOnTheWay(t *testing.T) {
	s := stand(t, answers(200, `{}`), nil)
	conn, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{RootCAs: s.serverCA, ServerName: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	// By hand: a client library does not send such things.
	if _, err := io.WriteString(conn, strings.ReplaceAll(`GET /api/v1/pods?a=1;b=2&x=%zz&limit=500 HTTP/1.1
Host: evil.test
Authorization: Bearer t-alice
Connection: keep-alive, Authorization, Impersonate-User, X-Custom
Impersonate-User: carol
X-Custom: kept
X-Forwarded-For: 10.1.1.1
X-Forwarded-For: 10.2.2.2
X-Forwarded-Host: evil.test
X-Real-Ip: 10.3.3.3
Forwarded: for=10.4.4.4
Audit-Id: the-clients
Proxy-Authorization: Basic YTpi
User-Agent: me/1

`, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || len(res.Header["Audit-Id"]) != 1 || res.Header.Get("Audit-Id") != "the-clients" {
		t.Errorf("answer %d, %v", res.StatusCode, res.Header)
	}
	at := s.api.last(t)
	if at.Host == "evil.test" || at.RequestURI != "/api/v1/pods?a=1;b=2&x=%zz&limit=500" {
		t.Errorf("the API server was asked for %s at %s", at.RequestURI, at.Host)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer t-alice", "Impersonate-User": "carol", "X-Custom": "kept", "X-Forwarded-For": "10.1.1.1, 10.2.2.2, 127.0.0.1",
		"X-Forwarded-Host": "", "X-Real-Ip": "", "Forwarded": "", "Audit-Id": "the-clients", "Proxy-Authorization": "", "User-Agent": "me/1", "Accept-Encoding": "",
	} {
		if got := strings.Join(at.Header[http.CanonicalHeaderKey(name)], "|"); got != want {
			t.Errorf("%s arrives as %q, want %q", name, got, want)
		}
	}
	ev := s.sink.last(t)
	if ev.AuditID != "the-clients" || ev.URI != "/api/v1/pods?a=1;b=2&x=%zz&limit=500" || ev.User != "alice" {
		t.Errorf("event %s", ev.Raw)
	}
}

// Both sides speak HTTP/2, and bodies arrive byte for byte.
func TestHTTP2(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 200_000)
	s := stand(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Sum", "42")
	}, nil)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+podsPath, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer t-alice") // nobody's requests go by HTTP/1.1
	res, err := s.client(t, nil).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Equal(got, body) {
		t.Fatalf("%d bytes came back, %v; %d were sent", len(got), err, len(body))
	}
	if at := s.api.last(t); res.ProtoMajor != 2 || at.ProtoMajor != 2 || res.Trailer.Get("X-Sum") != "42" {
		t.Errorf("the client spoke %s, the API server %s; trailer %v", res.Proto, at.Proto, res.Trailer)
	}
}

// A watch's events arrive when they are sent, and a client that leaves is no panic.
func TestWatch(t *testing.T) {
	next, gone := make(chan string), make(chan struct{})
	s := stand(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		flush := http.NewResponseController(w)
		_ = flush.Flush()
		for {
			select {
			case line := <-next:
				_, _ = io.WriteString(w, line)
				_ = flush.Flush()
			case <-r.Context().Done():
				return
			}
		}
	}, nil)
	for _, h2 := range []bool{true, false} {
		s.sink.mu.Lock()
		s.sink.events = nil
		s.sink.mu.Unlock()
		c := s.client(t, nil)
		c.Transport.(*http.Transport).ForceAttemptHTTP2 = h2
		ctx, leave := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+podsPath+"?watch=true", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(r) // returns before anything was sent but the headers
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(res.Body)
		for i := range 3 {
			want := fmt.Sprintf(`{"type":"ADDED","object":%d}`+"\n", i)
			next <- want
			if got, err := lines.ReadString('\n'); err != nil || got != want {
				t.Fatalf("read %q, %v; want %q", got, err, want)
			}
		}
		leave()
		<-gone
		gone = make(chan struct{})
		s.sink.wait(t, 3)
		if got := s.sink.stages(); got != "RequestReceived,ResponseStarted,ResponseComplete" {
			t.Errorf("HTTP/2 %v: stages %s", h2, got)
		}
		if ev := s.sink.last(t); ev.Verb != "watch" || ev.Code != 200 || strings.Contains(ev.Raw, capture.CutOffAnnotation) {
			t.Errorf("HTTP/2 %v: event %s", h2, ev.Raw)
		}
	}
}

// The parts of a list of unknown length go on although it is not flushed part by part, and no length is made up.
func TestListInParts(t *testing.T) {
	more := make(chan struct{})
	s := stand(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-more:
			_, _ = io.WriteString(w, "second\n")
		case <-r.Context().Done():
		}
	}, nil)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+podsPath, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.client(t, nil).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewReader(res.Body)
	if got, err := lines.ReadString('\n'); err != nil || got != "first\n" {
		t.Fatalf("read %q, %v before the list is over", got, err)
	}
	close(more)
	if rest, err := io.ReadAll(lines); err != nil || string(rest) != "second\n" {
		t.Errorf("the list ends with %q, %v", rest, err)
	}
	if res.ContentLength != -1 || len(res.Header["Content-Length"]) > 0 {
		t.Errorf("length %d, header %q", res.ContentLength, res.Header["Content-Length"])
	}
}

// When the server stops, a watch ends as if the API server had ended it.
func TestWatchEndsWithTheServer(t *testing.T) {
	s := stand(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "{}\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, nil)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+podsPath+"?watch=true", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.client(t, nil).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(res.Body)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	s.stop()
	if rest, err := io.ReadAll(lines); err != nil || len(rest) != 0 {
		t.Errorf("the watch ends with %q, %v", rest, err)
	}
	s.sink.wait(t, 3)
	if got := s.sink.stages(); got != "RequestReceived,ResponseStarted,ResponseComplete" {
		t.Errorf("stages %s", got)
	}
}

// An upgraded connection carries bytes both ways: as a web socket and as kubectl's SPDY.
func TestUpgrade(t *testing.T) {
	s := stand(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.EqualFold(r.Header.Get("Connection"), "upgrade") {
			http.Error(w, "no upgrade", http.StatusBadRequest)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer func() { _ = conn.Close() }()
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nAudit-Id: theirs\r\n\r\n", r.Header.Get("Upgrade"))
		_ = rw.Flush()
		_, _ = io.Copy(conn, rw) // an echo
	}, nil)
	for _, protocol := range []string{"websocket", "SPDY/3.1"} {
		s.sink.mu.Lock()
		s.sink.events = nil
		s.sink.mu.Unlock()
		conn, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{RootCAs: s.serverCA, ServerName: "127.0.0.1", NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := fmt.Fprintf(conn, "POST %s/web/exec?command=sh HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t-alice\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: 0\r\n\r\n", podsPath, protocol); err != nil {
			t.Fatal(err)
		}
		from := bufio.NewReader(conn)
		res, err := http.ReadResponse(from, &http.Request{Method: http.MethodPost})
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Upgrade") != protocol {
			t.Fatalf("%s: answer %v, %v", protocol, res, err)
		}
		sent := bytes.Repeat([]byte("\x00\x01ktrail\xff"), 10_000)
		go func() { _, _ = conn.Write(sent) }()
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(from, got); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%s: the echo differs, %v", protocol, err)
		}
		if at := s.api.last(t); at.Header.Get("Authorization") != "Bearer t-alice" || at.ProtoMajor != 1 {
			t.Errorf("%s: the API server was asked by %s with %v", protocol, at.Proto, at.Header)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		s.sink.wait(t, 3)
		if got := s.sink.stages(); got != "RequestReceived,ResponseStarted,ResponseComplete" {
			t.Errorf("%s: stages %s", protocol, got)
		}
		if ev := s.sink.last(t); ev.Code != 101 || ev.Subresource != "exec" || ev.User != "alice" {
			t.Errorf("%s: event %s", protocol, ev.Raw)
		}
	}
}

// An upstream that fails is a 502 in the API's own words, and is recorded.
func TestUpstreamAway(t *testing.T) {
	s := stand(t, answers(200, `{}`), nil)
	s.api.Close()
	res, text := s.get(t, s.client(t, nil), podsPath)
	if res.StatusCode != http.StatusBadGateway || !strings.HasPrefix(text, `{"kind":"Status","apiVersion":"v1"`) || strings.Contains(text, s.api.Listener.Addr().String()) {
		t.Errorf("answer %d %s", res.StatusCode, text)
	}
	if ev := s.sink.last(t); ev.Code != 502 || ev.Stage != audit.StageResponseComplete || !strings.Contains(ev.Raw, "cannot be reached") {
		t.Errorf("event %s", ev.Raw)
	}
	// Whose token it is cannot be asked: that is not the user's fault.
	res, text = s.get(t, s.client(t, nil), podsPath, "Authorization", "Bearer t-alice")
	if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "credentials") {
		t.Errorf("answer %d %s", res.StatusCode, text)
	}
	if ev := s.sink.last(t); ev.Code != http.StatusServiceUnavailable || ev.User != "" {
		t.Errorf("event %s", ev.Raw)
	}
}

// An answer that the upstream broke off is broken off, not ended.
func TestAnswerCutOff(t *testing.T) {
	for _, length := range []string{"", "1000"} {
		s := stand(t, func(w http.ResponseWriter, _ *http.Request) {
			if length != "" {
				w.Header().Set("Content-Length", length)
			}
			_, _ = io.WriteString(w, `{"kind":"PodList","items":[`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, nil)
		for _, h2 := range []bool{true, false} {
			c := s.client(t, nil)
			c.Transport.(*http.Transport).ForceAttemptHTTP2 = h2
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+podsPath, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			res, err := c.Do(r)
			if err == nil {
				_, err = io.ReadAll(res.Body)
			}
			if err == nil {
				t.Errorf("length %q, HTTP/2 %v: the client takes a part of the answer for the whole", length, h2)
			}
			s.sink.wait(t, 2)
			if ev := s.sink.last(t); ev.Stage != audit.StagePanic || !strings.Contains(ev.Raw, capture.CutOffAnnotation) {
				t.Errorf("length %q, HTTP/2 %v: event %s", length, h2, ev.Raw)
			}
			s.sink.mu.Lock()
			s.sink.events = nil
			s.sink.mu.Unlock()
		}
	}
}

// A sink that is slow or dead never harms an answer, unless the mode is strict.
func TestSinks(t *testing.T) {
	const answer = `{"kind":"PodList","items":["` + "0123456789" + `"]}`
	s := stand(t, answers(200, answer), nil)
	c := s.client(t, nil)
	s.sink.refuse = map[string]bool{audit.StageRequestReceived: true, audit.StageResponseComplete: true}
	if res, text := s.get(t, c, podsPath); res.StatusCode != 200 || text != answer {
		t.Errorf("a dead sink: answer %d %s", res.StatusCode, text)
	}
	hold := make(chan struct{})
	s.sink.mu.Lock()
	s.sink.refuse, s.sink.before = nil, func(*audit.Event) { <-hold }
	s.sink.mu.Unlock()
	time.AfterFunc(50*time.Millisecond, func() { close(hold) })
	if res, text := s.get(t, c, podsPath); res.StatusCode != 200 || text != answer {
		t.Errorf("a slow sink: answer %d %s", res.StatusCode, text)
	}

	for _, stage := range []string{audit.StageRequestReceived, audit.StageResponseComplete} {
		s := stand(t, answers(200, answer), func(_ *setup, _ *capture.AuthOptions, _ *capture.ProxyOptions, o *capture.Options) { o.Strict = true })
		s.sink.refuse = map[string]bool{stage: true}
		res, text := s.get(t, s.client(t, nil), podsPath)
		if res.StatusCode != http.StatusInternalServerError || strings.Contains(text, "PodList") {
			t.Errorf("strict, a sink that refuses %s: answer %d %s", stage, res.StatusCode, text)
		}
		if reached := len(s.api.seen) > 0; reached != (stage == audit.StageResponseComplete) {
			t.Errorf("strict, a sink that refuses %s: the API server was asked: %v", stage, reached)
		}
	}
}

// An interim answer of the upstream does not take the Audit-ID with it.
func TestInterimAnswer(t *testing.T) {
	s := stand(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusOK)
	}, nil)
	res, _ := s.get(t, s.client(t, nil), podsPath)
	if ev := s.sink.last(t); len(res.Header["Audit-Id"]) != 1 || res.Header.Get("Audit-Id") != ev.AuditID || ev.Code != 200 {
		t.Errorf("Audit-Id %q; event %s", res.Header["Audit-Id"], ev.Raw)
	}
}

func TestConnectIsRefused(t *testing.T) {
	s := stand(t, answers(200, `{}`), nil)
	conn, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{RootCAs: s.serverCA, ServerName: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "CONNECT 10.0.0.1:22 HTTP/1.1\r\nHost: 10.0.0.1:22\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != http.StatusMethodNotAllowed || len(s.api.seen) != 0 {
		t.Errorf("answer %v, %v", res, err)
	}
}

// wait waits until n events were taken.
func (m *memory) wait(t testing.TB, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for len(m.taken()) < n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d events, want %d", len(m.taken()), n)
		}
	}
}
