package capture_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/capture"
	"github.com/ktrail/ktrail/audit/pipeline"
)

// strictly is next in the mode blocking-strict, with a sink that refuses a stage.
func strictly(t *testing.T, refuse string, next http.HandlerFunc) (http.Handler, *memory, *pipeline.Ledger) {
	ledger := pipeline.NewLedger(pipeline.LedgerOptions{})
	h, sink := around(t, next, func(o *capture.Options) { o.Strict, o.Ledger = true, ledger })
	sink.refuse = map[string]bool{refuse: true}
	return h, sink, ledger
}

// Whatever the size and the form of an answer, a client whose request was not recorded either
// has a clean 500 or notices that the answer is broken off. It never has a whole answer.
func TestStrictComplete(t *testing.T) {
	big := strings.Repeat("0123456789", 20000)
	length := func(w http.ResponseWriter, n int) { w.Header().Set("Content-Length", strconv.Itoa(n)) }
	for name, c := range map[string]struct {
		target string
		h      http.HandlerFunc
		clean  bool // a 500, not an answer broken off
	}{
		"small":      {pods, answers(200, `{"secret":1}`), true},
		"nothing":    {pods, func(http.ResponseWriter, *http.Request) {}, true},
		"no content": {pods, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204); w.(http.Flusher).Flush() }, true},
		"empty, flushed": {pods, func(w http.ResponseWriter, _ *http.Request) {
			length(w, 0)
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
		}, true},
		"with length": {pods, func(w http.ResponseWriter, _ *http.Request) { length(w, 6); _, _ = io.WriteString(w, "secret") }, true},
		"flushed": {pods, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "secret")
			w.(http.Flusher).Flush()
		}, false},
		"length, flushed": {pods, func(w http.ResponseWriter, _ *http.Request) {
			length(w, 6)
			_, _ = io.WriteString(w, "secret")
			w.(http.Flusher).Flush()
		}, false},
		"big": {pods, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, big) }, false},
		"big, length": {pods, func(w http.ResponseWriter, _ *http.Request) {
			length(w, len(big))
			_, _ = io.Copy(w, strings.NewReader(big))
		}, false},
		"big, slowly": {pods, func(w http.ResponseWriter, _ *http.Request) {
			length(w, len(big))
			for i := 0; i < len(big); i += 1000 {
				_, _ = io.WriteString(w, big[i:i+1000])
				if i%7000 == 0 {
					w.(http.Flusher).Flush()
				}
			}
		}, false},
		"log":         {pods + "/p/log", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") }, false},
		"log, length": {pods + "/p/log", func(w http.ResponseWriter, _ *http.Request) { length(w, 6); _, _ = io.WriteString(w, "secret") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, two bool) {
				h, sink, ledger := strictly(t, audit.StageResponseComplete, c.h)
				s, client := serve(t, h, two)
				resp, err := client.Get(s.URL + c.target)
				var body []byte
				code := 0
				if err == nil {
					defer resp.Body.Close()
					code = resp.StatusCode
					body, err = io.ReadAll(resp.Body)
				}
				if clean := err == nil && code == 500 && strings.Contains(string(body), "failed to store audit event") && resp.Header.Get("Audit-ID") != ""; clean != c.clean || !clean && err == nil {
					t.Errorf("%d %.60q, %v", code, body, err)
				}
				if c := ledger.Counts(); len(c) != 1 || c[0].Events != 1 {
					t.Errorf("ledger %+v", c)
				}
				// The same request, once the sink is back, has the whole answer.
				sink.mu.Lock()
				sink.refuse = nil
				sink.mu.Unlock()
				resp, err = client.Get(s.URL + c.target)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err = io.ReadAll(resp.Body)
				plain := httptest.NewRecorder()
				c.h(plain, httptest.NewRequest("GET", c.target, nil))
				if err != nil || string(body) != plain.Body.String() || resp.StatusCode != plain.Code {
					t.Errorf("recorded: %d %.60q, %v", resp.StatusCode, body, err)
				}
			})
		})
	}
}

// A client of HEAD has the whole answer with the header, so that waits, whatever the handler writes.
func TestStrictHead(t *testing.T) {
	both(t, func(t *testing.T, two bool) {
		h, sink, _ := strictly(t, audit.StageResponseComplete, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Secret", "x")
			w.Header().Set("Content-Length", "200000")
			_, _ = io.WriteString(w, strings.Repeat("0123456789", 20000))
			w.(http.Flusher).Flush()
		})
		s, c := serve(t, h, two)
		for _, want := range []int{500, 200} {
			resp, err := c.Head(s.URL + pods)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != want || resp.Header.Get("Secret") == "x" != (want == 200) {
				t.Errorf("%d %v, want %d", resp.StatusCode, resp.Header, want)
			}
			sink.mu.Lock()
			sink.refuse = nil
			sink.mu.Unlock()
		}
	})
}

func TestStrictReceived(t *testing.T) {
	h, _, ledger := strictly(t, audit.StageRequestReceived, func(http.ResponseWriter, *http.Request) { t.Error("the handler was reached") })
	w := ask(h, "GET", "/api/v1/pods?a=<b>", "", "")
	if w.Code != 500 || w.Body.String() != "Internal Server Error: \"/api/v1/pods?a=&lt;b&gt;\": failed to store audit event\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if c := ledger.Counts(); len(c) != 1 || c[0].Events != 1 {
		t.Errorf("ledger %+v", c)
	}
}

// Leaving out the first stage does not turn the mode off, as it does in the API server.
func TestStrictWithoutReceived(t *testing.T) {
	h, sink := around(t, answers(200, "{}"), func(o *capture.Options) {
		o.Strict, o.Policy = true, rules(t, "- level: Metadata\n  omitStages: [RequestReceived]\n")
	})
	sink.refuse = map[string]bool{audit.StageResponseComplete: true}
	if w := ask(h, "GET", pods, "", ""); w.Code != 500 || strings.Contains(w.Body.String(), "{}") {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func TestStrictStarted(t *testing.T) {
	for name, next := range map[string]http.HandlerFunc{
		"stream": func(w http.ResponseWriter, _ *http.Request) { write(t, w, "secret") },
		"refused": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(403)
			write(t, w, `{"secret":1}`)
		},
		"flush": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Secret", "x")
			if err := http.NewResponseController(w).Flush(); err == nil {
				t.Error("flushed")
			}
		},
		"upgrade": func(w http.ResponseWriter, _ *http.Request) {
			if _, _, err := http.NewResponseController(w).Hijack(); err == nil {
				t.Error("hijacked")
			}
			w.WriteHeader(502)
			write(t, w, "secret")
		},
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"aborts": func(w http.ResponseWriter, _ *http.Request) {
			write(t, w, "secret")
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, sink, _ := strictly(t, audit.StageResponseStarted, next)
			s, c := serve(t, h, false)
			resp, err := c.Get(s.URL + pods + "/p/log?follow=1")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 500 || strings.Contains(string(body), "secret") || resp.Header.Get("Secret") != "" {
				t.Errorf("%d %q, %v", resp.StatusCode, body, err)
			}
			s.Close()
			if ev := sink.last(t); ev.Code != 500 || strings.Contains(ev.Raw, "secret") {
				t.Errorf("event %s", ev.Raw)
			}
		})
	}
}

// write writes what must not be taken.
func write(t *testing.T, w io.Writer, s string) {
	if _, err := io.WriteString(w, s); err == nil {
		t.Error("the writer took the answer")
	}
}

func TestStrictRefusedBeforeAuthentication(t *testing.T) {
	h, sink := around(t, nil, func(o *capture.Options) {
		o.Strict = true
		o.Identifier = capture.IdentifierFunc(func(*http.Request) (capture.Identity, error) { return capture.Identity{}, errors.New("no") })
	})
	sink.refuse = map[string]bool{audit.StageResponseStarted: true}
	if w := ask(h, "GET", pods, "", ""); w.Code != 500 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// In strict mode the event is the sink's before the client has its answer.
func TestStrictOrder(t *testing.T) {
	h, sink := around(t, answers(200, "{}"), func(o *capture.Options) { o.Strict = true })
	rec := httptest.NewRecorder()
	sink.before = func(ev *audit.Event) {
		if ev.Stage == audit.StageResponseComplete && rec.Body.Len() > 0 {
			t.Error("the client had its answer before the event was taken")
		}
	}
	h.ServeHTTP(rec, httptest.NewRequest("GET", pods, nil))
	if rec.Body.String() != "{}" {
		t.Errorf("answered %q", rec.Body)
	}
}

// A handler that writes a body where none may be does not have the header handed on for it.
func TestStrictNoBody(t *testing.T) {
	both(t, func(t *testing.T, two bool) {
		h, _, _ := strictly(t, audit.StageResponseComplete, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(204)
			if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Errorf("write: %v", err)
			}
		})
		s, client := serve(t, h, two)
		resp, err := client.Get(s.URL + pods)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != 500 {
			t.Errorf("status %d", resp.StatusCode)
		}
	})
}

// An answer that comes in parts, with or without a length, is held back as one that comes at once:
// if it is not recorded the client has a clean 500, not a part.
func TestStrictHoldsWhatComesSlowly(t *testing.T) {
	for _, length := range []int64{-1, 20} {
		synctest.Test(t, func(t *testing.T) {
			upstream := roundTrip(func(r *http.Request) (*http.Response, error) {
				body, part := io.Pipe()
				go func() {
					_, _ = io.WriteString(part, `{"kind":"P`)
					time.Sleep(time.Second) // of the bubble: no time passes
					_, _ = io.WriteString(part, `odList"}  `)
					_ = part.Close()
				}()
				return &http.Response{
					StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: body, ContentLength: length, Request: r,
				}, nil
			})
			proxy, err := capture.Proxy(capture.ProxyOptions{Upstream: &url.URL{Scheme: "https", Host: "api"}, Transport: upstream})
			if err != nil {
				t.Fatal(err)
			}
			sink := &memory{refuse: map[string]bool{audit.StageResponseComplete: true}}
			h, err := capture.Handler(proxy, capture.Options{Policy: level(t, "Metadata"), Sink: sink, Strict: true})
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, podsPath, http.NoBody))
			if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "kind") {
				t.Errorf("length %d: answer %d %s", length, w.Code, w.Body)
			}
		})
	}
}
