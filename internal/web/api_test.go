package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/query/querytest"
)

// TestClientGone: a client that leaves is no failure of the server's.
func TestClientGone(t *testing.T) {
	s := newTestServer(t, nil)
	for _, err := range []error{
		context.Canceled,
		fmt.Errorf("stream: %w", &net.OpError{Op: "write", Net: "tcp", Err: syscall.ECONNRESET}),
		&net.OpError{Op: "write", Net: "tcp", Err: os.ErrDeadlineExceeded},
	} {
		if we := s.inner.wire(err); we.Code != codeCanceled {
			t.Errorf("%v is %+v", err, we)
		}
	}
	if we := s.inner.wire(&net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}); we.Code == codeCanceled {
		t.Errorf("an upload that stands still is %+v", we)
	}
}

// fetch is a request without a browser.
func fetch(t *testing.T, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

func TestErrors(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t)[:50])
	for _, c := range []struct {
		method, path, body string
		status             int
		code               Code
		says               string
	}{
		{"GET", "/api/v1/events?filter=verbb+%3D%3D+%22get%22", "", 400, CodeFilter, "verbb"},
		{"GET", "/api/v1/events?fliter=x", "", 400, CodeUsage, `no parameter "fliter"`},
		{"GET", "/api/v1/events?limit=0", "", 400, CodeUsage, "from 1 to 10000"},
		{"GET", "/api/v1/events?limit=10001", "", 400, CodeUsage, "from 1 to 10000"},
		{"GET", "/api/v1/events?since=2h&from=5", "", 400, CodeUsage, "give one"},
		{"GET", "/api/v1/events?since=soon", "", 400, CodeUsage, "soon"},
		{"GET", "/api/v1/events?raw=perhaps", "", 400, CodeUsage, "true or false"},
		{"GET", "/api/v1/events?filter=a&filter=b", "", 400, CodeUsage, "given 2 times"},
		{"GET", "/api/v1/events?cursor=!!", "", 400, CodeUsage, "cursor"},
		{"GET", "/api/v1/events/abc", "", 400, CodeUsage, "not the number"},
		{"GET", "/api/v1/events/99999999", "", 404, CodeNotFound, "no event 99999999"},
		{"GET", "/api/v1/events/follow?filter=1", "", 400, CodeFilter, ""},
		{"GET", "/api/v1/top", "", 400, CodeUsage, "by"},
		{"GET", "/api/v1/top?by=usr", "", 400, CodeUsage, "user"},
		{"GET", "/api/v1/history?name=web", "", 400, CodeUsage, "resource is missing"},
		{"GET", "/api/v1/actor", "", 400, CodeUsage, "user is missing"},
		{"GET", "/api/v1/nothing", "", 404, CodeNotFound, "openapi.json"},
		{"POST", "/api/v1/events", "", 405, CodeMethod, "takes GET"},
		{"POST", "/api/v1/sql", `{"sql":""}`, 400, CodeUsage, "empty"},
		{"POST", "/api/v1/sql", `{"sqll":""}`, 400, CodeUsage, "sqll"},
		{"POST", "/api/v1/sql", `{"sql":"DROP TABLE events"}`, 400, CodeUsage, "SELECT"},
		{"POST", "/api/v1/sql", `{"sql":"` + strings.Repeat("x", maxSQLBody) + `"}`, 413, CodeTooLarge, "too large"},
		{"POST", "/api/v1/import", "", 400, CodeUsage, "name is missing"},
		{"POST", "/api/v1/import?name=%FF", "x", 400, CodeUsage, "name is not UTF-8"},
		{"POST", "/api/v1/import?name=a&cluster=%FF", "x", 400, CodeUsage, "cluster is not UTF-8"},
		{"GET", "/api/v1/actor?user=%FF", "", 400, CodeUsage, "user is not UTF-8"},
		{"POST", "/api/v1/import?name=bad", "x", 400, CodeUsage, "offset 0"},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			resp, body := fetch(t, c.method, ts.URL+c.path, c.body, "Content-Type", typeJSON)
			var a errorAnswer
			if err := json.Unmarshal([]byte(body), &a); err != nil {
				t.Fatalf("%v in %q", err, body)
			}
			if resp.StatusCode != c.status || a.Error.Code != c.code || !strings.Contains(a.Error.Message, c.says) {
				t.Errorf("got %d %+v, want %d %s with %q", resp.StatusCode, a.Error, c.status, c.code, c.says)
			}
			if c.code == CodeFilter && (a.Error.Position == nil || a.Error.Position.Column < 1) {
				t.Errorf("the error has no position: %+v", a.Error)
			}
		})
	}
}

func TestSecurityHeaders(t *testing.T) {
	ts := newTestServer(t, nil)
	for _, path := range []string{"/", "/api/v1/sources", "/nothing", "/metrics", ts.inner.assetURL(t, "css/app.css")} {
		resp, _ := fetch(t, "GET", ts.URL+path, "")
		csp := resp.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'; script-src 'self'; style-src 'self';") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
		for header, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := resp.Header.Get(header); got != want {
				t.Errorf("%s: %s is %q", path, header, got)
			}
		}
	}
}

func (s *server) assetURL(t *testing.T, name string) string {
	t.Helper()
	u, err := s.assets.url(name)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestAssetsAreCached(t *testing.T) {
	ts := newTestServer(t, nil)
	url := ts.inner.assetURL(t, "js/main.js")
	resp, body := fetch(t, "GET", ts.URL+url, "")
	if resp.StatusCode != 200 || !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/javascript") || body == "" {
		t.Errorf("got %d %v", resp.StatusCode, resp.Header)
	}
	resp, _ = fetch(t, "GET", ts.URL+url, "", "If-None-Match", resp.Header.Get("ETag"))
	if resp.StatusCode != http.StatusNotModified {
		t.Errorf("with its ETag: %d", resp.StatusCode)
	}
	resp, _ = fetch(t, "GET", ts.URL+strings.Replace(url, ts.inner.assets.hash, "0000000000000000", 1), "")
	if resp.StatusCode != 200 || strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("another version's address: %d %s", resp.StatusCode, resp.Header.Get("Cache-Control"))
	}
}

func TestOtherHostsAreRefused(t *testing.T) {
	ts := newTestServer(t, nil)
	for host, want := range map[string]int{
		"127.0.0.1:7433": 200, "localhost": 200, "LOCALHOST:1": 200, "[::1]:7433": 200, "127.0.0.2": 200,
		"evil.example": 403, "localhost.evil.example:7433": 403, "10.0.0.1": 403, "[::ffff:10.0.0.1]": 403, "127.0.0.1.evil.example": 403,
	} {
		resp, body := fetch(t, "GET", ts.URL+"/api/v1/sources", "", "Host", host)
		if resp.StatusCode != want {
			t.Errorf("host %s: %d %s", host, resp.StatusCode, body)
		}
	}
	for header, want := range map[string]int{"cross-site": 403, "same-site": 403, "same-origin": 200, "none": 200} {
		resp, body := fetch(t, "POST", ts.URL+"/api/v1/import?name=x", "", "Sec-Fetch-Site", header)
		if resp.StatusCode != want {
			t.Errorf("a %s POST: %d %s", header, resp.StatusCode, body)
		}
	}
	if resp, _ := fetch(t, "POST", ts.URL+"/api/v1/sql", `{"sql":"SELECT 1"}`, "Content-Type", "text/plain"); resp.StatusCode != 400 {
		t.Errorf("a form could send SQL: %d", resp.StatusCode)
	}
}

func TestCheckLoopback(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:7433", "127.9.9.9:0", "[::1]:7433", "localhost:7433"} {
		if err := CheckLoopback(addr); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for addr, says := range map[string]string{
		":7433": "every address", "0.0.0.0:7433": "not a loopback", "[::]:7433": "not a loopback", "10.0.0.1:80": "not a loopback",
		"7433": "not host:port", "no.such.host.invalid:80": "no.such.host.invalid",
	} {
		err := CheckLoopback(addr)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", addr, err, says)
		}
	}
	if _, err := New(Options{Questions: query.NewEngine(nil), Status: func() Status { return Status{} }, Logger: discard(), Address: "0.0.0.0:80"}); err == nil {
		t.Error("New takes an address that is not loopback")
	}
}

func TestHealth(t *testing.T) {
	ts := newTestServer(t, nil)
	if resp, body := fetch(t, "GET", ts.URL+"/livez", ""); resp.StatusCode != 200 || body != "ok\n" {
		t.Errorf("livez: %d %s", resp.StatusCode, body)
	}
	if resp, body := fetch(t, "GET", ts.URL+"/readyz", ""); resp.StatusCode != 200 || body != "ready\n" {
		t.Errorf("readyz: %d %s", resp.StatusCode, body)
	}
	ts.status = troubledStatus()
	resp, body := fetch(t, "GET", ts.URL+"/readyz?verbose", "")
	if resp.StatusCode != 503 {
		t.Errorf("readyz: %d", resp.StatusCode)
	}
	for _, want := range []string{"not ready\n- low disk: 512 MiB", "- gap in /var/log/<b>/audit.log: events between 2026-11-22T03:00:00.000000Z and", "was deleted before it was read", "damage: segments/", "catching up, 50331648 bytes behind", "permission denied"} {
		if !strings.Contains(body, want) {
			t.Errorf("readyz?verbose lacks %q:\n%s", want, body)
		}
	}
	fetch(t, "GET", ts.URL+"/api/v1/events/7777", "")
	if _, body = fetch(t, "GET", ts.URL+"/metrics", ""); !strings.Contains(body, `ktrail_http_requests_total{route="/api/v1/events/{id}",status="404"} 1`) {
		t.Errorf("metrics:\n%s", body)
	}
}

// slowSource never answers before its context ends, and says that it ended.
type slowSource struct {
	query.Source
	asked, ended chan struct{}
}

func (s slowSource) Search(ctx context.Context, _ query.SearchRequest, _ func(*audit.Event) error) (query.Warnings, error) {
	close(s.asked)
	<-ctx.Done()
	close(s.ended)
	return nil, fmt.Errorf("search: %w", ctx.Err())
}

func TestDroppedRequestStopsItsQuery(t *testing.T) {
	src := slowSource{asked: make(chan struct{}), ended: make(chan struct{})}
	ts := newTestServer(t, nil, func(o *Options) { o.Questions = query.NewEngine(src) })
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-src.asked
		cancel()
	}()
	if _, err := ts.client.Search(ctx, query.SearchQuestion{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("the client says %v", err)
	}
	<-src.ended // hangs if the query goes on
}

func TestQueryLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := slowSource{asked: make(chan struct{}), ended: make(chan struct{})}
		s, err := newServer(Options{Questions: query.NewEngine(src), Status: func() Status { return Status{} }, Logger: discard()})
		if err != nil {
			t.Fatal(err)
		}
		rec := httptest.NewRecorder()
		began := time.Now()
		r := httptest.NewRequest("GET", "http://127.0.0.1/api/v1/events", nil)
		s.handler().ServeHTTP(rec, r)
		if rec.Code != 504 || !strings.Contains(rec.Body.String(), "narrow the range of time") || time.Since(began) != 30*time.Second {
			t.Errorf("after %v: %d %s", time.Since(began), rec.Code, rec.Body)
		}
	})
}

// brokenSource fails after some events.
type brokenSource struct {
	query.Source
	after int
	err   error
}

func (s brokenSource) Search(ctx context.Context, r query.SearchRequest, yield func(*audit.Event) error) (query.Warnings, error) {
	r.Limit = s.after
	if s.after > 0 {
		if _, err := s.Source.Search(ctx, r, yield); err != nil {
			return nil, err
		}
	}
	return nil, s.err
}

func TestErrorsAfterTheFirstEvent(t *testing.T) {
	src := brokenSource{Source: querytest.New(sampleEvents(t)...), after: 1000, err: errTestUnavailable}
	ts := newTestServer(t, nil, func(o *Options) { o.Questions = query.NewEngine(src) })
	// One document is broken off, so that nobody takes a part for the whole.
	resp, err := http.Get(ts.URL + "/api/v1/events")
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("a document that could not be finished looks finished")
	}
	// One that was not sent yet gets its status.
	few := newTestServer(t, nil, func(o *Options) {
		o.Questions = query.NewEngine(brokenSource{Source: src.Source, after: 2, err: errTestUnavailable})
	})
	if resp, body := fetch(t, "GET", few.URL+"/api/v1/events?raw=false", ""); resp.StatusCode != 503 || !strings.HasPrefix(body, `{"error":`) {
		t.Errorf("an error before anything was sent: %d %s", resp.StatusCode, body)
	}
	// A stream says why it ends.
	n := 0
	_, err = ts.client.Search(context.Background(), query.SearchQuestion{}, func(*audit.Event) error { n++; return nil })
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeUnavailable || e.Message != errTestUnavailable.Error() || n != 1000 {
		t.Errorf("after %d events the client says %v", n, err)
	}
}

func TestSlowFollowerIsNotBuffered(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t)[:100])
	resp, err := http.Get(ts.URL + "/api/v1/events/follow?after=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != typeSSE {
		t.Fatalf("type %s", got)
	}
	r := bufio.NewScanner(resp.Body)
	r.Buffer(nil, 1<<20)
	var seen []string
	for len(seen) < 3 && r.Scan() {
		if id, ok := strings.CutPrefix(r.Text(), "id: "); ok {
			seen = append(seen, id)
		}
	}
	if len(seen) != 3 || seen[0] == "1" {
		t.Errorf("followed %v", seen)
	}
	// The same place again by the header that browsers send.
	_, body := fetchSome(t, ts.URL+"/api/v1/events/follow", 2, "Last-Event-ID", seen[0])
	if !strings.Contains(body, "id: "+seen[1]+"\n") || strings.Contains(body, "id: "+seen[0]+"\n") {
		t.Errorf("resumed after %s with %s", seen[0], body)
	}
}

// fetchSome reads a stream until it has n events.
func fetchSome(t *testing.T, url string, n int, header ...string) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	r := bufio.NewReader(resp.Body)
	for n > 0 {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", b.String(), err)
		}
		b.WriteString(line)
		if strings.HasPrefix(line, "id: ") {
			n--
		}
	}
	return resp, b.String()
}

func TestHeartbeats(t *testing.T) {
	ts := newTestServer(t, nil, func(o *Options) { o.Heartbeat = time.Millisecond })
	resp, err := http.Get(ts.URL + "/api/v1/events/follow")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	for beats := 0; beats < 3; {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == ": alive\n" {
			beats++
		}
	}
}

// TestStreamsAreFew: clients that do not read cannot hold memory without end.
func TestStreamsAreFew(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t)[:50])
	var open []*http.Response
	for range maxStreams {
		resp, err := http.Get(ts.URL + "/api/v1/events/follow")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", resp, err)
		}
		defer resp.Body.Close()
		open = append(open, resp)
	}
	for _, path := range []string{"/api/v1/events/follow", "/page/follow", "/api/v1/events"} {
		resp, body := fetch(t, "GET", ts.URL+path, "", "Accept", typeLines)
		if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "streams are open") {
			t.Errorf("%s, one too many: %d %s", path, resp.StatusCode, body)
		}
	}
	if resp, body := fetch(t, "GET", ts.URL+"/api/v1/events", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("a question beside them: %d %s", resp.StatusCode, body)
	}
	open[0].Body.Close()
	ts.inner.streams <- struct{}{} // waits until its place is free
	<-ts.inner.streams
	if resp, body := fetch(t, "GET", ts.URL+"/api/v1/events", "", "Accept", typeLines); resp.StatusCode != http.StatusOK {
		t.Errorf("with a place free: %d %s", resp.StatusCode, body)
	}
}
