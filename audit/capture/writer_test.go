package capture_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/capture"
)

// serve serves h on a real connection, by HTTP/2 if two is set.
func serve(t *testing.T, h http.Handler, two bool) (*httptest.Server, *http.Client) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = two
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, s.Client()
}

// both runs f over HTTP/1 and HTTP/2.
func both(t *testing.T, f func(t *testing.T, two bool)) {
	t.Run("HTTP1", func(t *testing.T) { f(t, false) })
	t.Run("HTTP2", func(t *testing.T) { f(t, true) })
}

// The events of a watch: ResponseStarted is made before the client has a byte, and what the
// handler flushes arrives while it runs.
func TestWatchEvents(t *testing.T) {
	both(t, func(t *testing.T, two bool) {
		more := make(chan bool)
		h, sink := around(t, func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor == 2 != two {
				t.Errorf("protocol %s", r.Proto)
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			for range more {
				_, _ = io.WriteString(w, "{\"kind\":\"Status\"}\n")
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Error(err)
				}
			}
		}, nil)
		s, c := serve(t, h, two)
		resp, err := c.Get(s.URL + "/api/v1/pods?watch=1")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got := sink.stages(); got != "RequestReceived,ResponseStarted" {
			t.Errorf("with the header, stages %s", got)
		}
		lines := bufio.NewScanner(resp.Body)
		for range 3 {
			more <- true
			if !lines.Scan() {
				t.Fatal("no line", lines.Err())
			}
		}
		close(more)
		if lines.Scan() {
			t.Error("a line too many")
		}
		waitFor(t, sink, "RequestReceived,ResponseStarted,ResponseComplete")
		hasNot(t, sink.last(t), "responseObject", "Failure")
	})
}

// waitFor waits until the sink has these stages: the client may have its answer first.
func waitFor(t *testing.T, m *memory, stages string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for m.stages() != stages {
		select {
		case <-ctx.Done():
			t.Fatalf("stages %s, want %s", m.stages(), stages)
		case <-tick.C:
		}
	}
}

// The reason why a watch is refused is in the very event that tells of it.
func TestRefusedWatch(t *testing.T) {
	const status = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"no","reason":"Forbidden","code":403}`
	for name, h := range map[string]http.HandlerFunc{
		"at once": answers(403, status),
		"in two parts": func(w http.ResponseWriter, r *http.Request) {
			answers(403, status[:30])(w, r)
			_, _ = io.WriteString(w, status[30:])
		},
		"flushed": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(403)
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, status)
		},
		"empty": answers(403, ""),
	} {
		t.Run(name, func(t *testing.T) {
			h, sink := around(t, h, nil)
			s, c := serve(t, h, false)
			resp, err := c.Get(s.URL + "/api/v1/pods?watch=1")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if want := map[bool]string{true: "", false: status}[name == "empty"]; err != nil || resp.StatusCode != 403 || string(body) != want {
				t.Errorf("%d %s, %v", resp.StatusCode, body, err)
			}
			waitFor(t, sink, "RequestReceived,ResponseStarted,ResponseComplete")
			started, last := sink.taken()[1], sink.last(t)
			if started.Code != 403 || started.Reason == "Forbidden" != (name == "at once") {
				t.Errorf("started: %s", started.Raw)
			}
			if name != "empty" {
				has(t, last, `"message":"no","reason":"Forbidden","code":403}`, `"responseObject":`+status)
			}
			hasNot(t, started, "left out")
		})
	}
}

func TestHijack(t *testing.T) {
	h, sink := around(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
		_ = rw.Flush()
		_, _ = io.Copy(conn, io.LimitReader(rw, 5))
	}, nil)
	s := httptest.NewServer(h)
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s/p/exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nhello", pods)
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(answer), "\r\n\r\nhello") {
		t.Errorf("answer %q, %v", answer, err)
	}
	waitFor(t, sink, "RequestReceived,ResponseStarted,ResponseComplete")
	if ev := sink.last(t); ev.Code != 101 {
		t.Errorf("code %d", ev.Code)
	}
}

// A handler finds on the writer what the server's has, and nothing else.
func TestLook(t *testing.T) {
	both(t, func(t *testing.T, two bool) {
		h, _ := around(t, func(w http.ResponseWriter, _ *http.Request) {
			_, flushes := w.(http.Flusher)
			_, hijacks := w.(http.Hijacker)
			_, reads := w.(io.ReaderFrom)
			notifier, notifies := w.(interface{ CloseNotify() <-chan bool })
			if !flushes || hijacks == two || reads == two || !notifies {
				t.Errorf("flushes %v, hijacks %v, reads %v, tells that the client left %v", flushes, hijacks, reads, notifies)
				return
			}
			select {
			case <-notifier.CloseNotify():
				t.Error("the client has not left")
			default:
			}
			rc := http.NewResponseController(w)
			if err := rc.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Error(err)
			}
			if err := rc.EnableFullDuplex(); err != nil && !two {
				t.Error(err)
			}
			if two {
				if _, _, err := rc.Hijack(); !errors.Is(err, http.ErrNotSupported) {
					t.Errorf("hijack: %v", err)
				}
			}
			_, _ = io.Copy(w, strings.NewReader("hello"))
		}, nil)
		s, c := serve(t, h, two)
		resp, err := c.Get(s.URL + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); string(body) != "hello" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
	})
	// A plain writer has nothing, and one that wraps has what is inside.
	type plain struct{ http.ResponseWriter }
	h, _ := around(t, func(w http.ResponseWriter, _ *http.Request) {
		if _, ok := w.(http.Flusher); ok {
			t.Error("a plain writer flushes")
		}
	}, nil)
	h.ServeHTTP(plain{httptest.NewRecorder()}, httptest.NewRequest("GET", "/", nil))
	h, _ = around(t, func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() }, nil)
	rec := httptest.NewRecorder()
	h.ServeHTTP(wraps{rec}, httptest.NewRequest("GET", "/", nil))
	if !rec.Flushed {
		t.Error("not flushed through a writer that wraps")
	}
}

// Handlers of the API server learn from CloseNotify that the client left.
func TestCloseNotify(t *testing.T) {
	started, left := make(chan bool), make(chan bool)
	h, _ := around(t, func(w http.ResponseWriter, _ *http.Request) {
		gone := w.(interface{ CloseNotify() <-chan bool }).CloseNotify()
		close(started)
		left <- <-gone
	}, nil)
	s, c := serve(t, h, false)
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-started
		leave()
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/api/v1/pods?watch=1", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := c.Do(r); err == nil {
		resp.Body.Close()
	}
	if !<-left {
		t.Error("false instead of true")
	}
}

type wraps struct{ inner http.ResponseWriter }

func (w wraps) Header() http.Header         { return w.inner.Header() }
func (w wraps) Write(p []byte) (int, error) { return w.inner.Write(p) }
func (w wraps) WriteHeader(code int)        { w.inner.WriteHeader(code) }
func (w wraps) Unwrap() http.ResponseWriter { return w.inner }

// Informational answers go through and are not the answer; trailers come at the end.
func TestInformationalAndTrailers(t *testing.T) {
	for _, strict := range []bool{false, true} {
		both(t, func(t *testing.T, two bool) {
			h, sink := around(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Link", "</x>")
				w.WriteHeader(http.StatusEarlyHints)
				w.Header().Set("Trailer", "Sum")
				w.WriteHeader(http.StatusAccepted)
				w.WriteHeader(http.StatusTeapot) // superfluous
				_, _ = io.WriteString(w, "body")
				w.Header().Set("Sum", "42")
			}, func(o *capture.Options) { o.Strict = strict })
			s, c := serve(t, h, two)
			hints := 0
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
				hints = code
				return nil
			}})
			req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/api/v1/pods", nil)
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || string(body) != "body" || resp.StatusCode != 202 || hints != 103 || resp.Trailer.Get("Sum") != "42" {
				t.Errorf("strict %v: %d after %d, %q, trailer %q, %v", strict, resp.StatusCode, hints, body, resp.Trailer, err)
			}
			waitFor(t, sink, "RequestReceived,ResponseComplete")
			if ev := sink.last(t); ev.Code != 202 {
				t.Errorf("code %d", ev.Code)
			}
		})
	}
}

// An aborted handler cuts the answer off, and is recorded as the panic that it is.
func TestAbort(t *testing.T) {
	both(t, func(t *testing.T, two bool) {
		h, sink := around(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("x", 10000))
			panic(http.ErrAbortHandler)
		}, nil)
		s, c := serve(t, h, two)
		resp, err := c.Get(s.URL + "/api/v1/pods")
		if err == nil {
			defer resp.Body.Close()
			_, err = io.ReadAll(resp.Body)
		}
		if err == nil {
			t.Error("the client took the answer for whole")
		}
		waitFor(t, sink, "RequestReceived,Panic")
	})
}

func TestManyAtOnce(t *testing.T) {
	h, sink := around(t, func(w http.ResponseWriter, r *http.Request) {
		done := make(chan bool)
		go func() {
			capture.Annotate(r.Context(), "from", "elsewhere")
			close(done)
		}()
		_, _ = io.Copy(w, r.Body)
		<-done
	}, nil)
	s, c := serve(t, h, true)
	const n = 50
	errs := make(chan error, n)
	for i := range n {
		go func() {
			resp, err := c.Post(fmt.Sprintf("%s/api/v1/namespaces/a/pods?n=%d", s.URL, i), "application/json", strings.NewReader(fmt.Sprintf(`{"metadata":{"name":"p%d"}}`, i)))
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	s.Close() // waits for the handlers
	seen := map[string]bool{}
	for _, ev := range sink.taken() {
		if ev.Stage == audit.StageResponseComplete {
			if seen[ev.Name] || !strings.HasSuffix(ev.URI, "n="+strings.TrimPrefix(ev.Name, "p")) {
				t.Errorf("event %s", ev.Raw)
			}
			seen[ev.Name] = true
		}
	}
	if len(seen) != n {
		t.Errorf("%d requests recorded, want %d", len(seen), n)
	}
}
