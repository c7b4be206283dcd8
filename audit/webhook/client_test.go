package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/pipeline"
)

// TestBody: what is sent is what kube-apiserver sends; compat/ compares with the real one.
func TestBody(t *testing.T) {
	for _, n := range []int{1, 2, 50} {
		e := events(t, n, 10)
		b := newBody(e)
		want := eventList(e)
		got, err := io.ReadAll(iotest.OneByteReader(b.reader()))
		if err != nil || string(got) != want || b.size != int64(len(want)) {
			t.Errorf("%d events: %v\n got %s\nwant %s", n, err, got, want)
		}
		sum := sha256.Sum256([]byte(want))
		if b.sum != hex.EncodeToString(sum[:]) {
			t.Errorf("%d events: sum %s", n, b.sum)
		}
		if err := iotest.TestReader(b.reader(), []byte(want)); err != nil {
			t.Error(err)
		}
	}
	// A line that begins otherwise goes as it is.
	odd := audit.Event{Raw: `{"apiVersion":"audit.k8s.io/v1","kind":"Event"}`}
	if got, err := io.ReadAll(newBody([]audit.Event{odd}).reader()); err != nil || string(got) != listHead+odd.Raw+listTail {
		t.Errorf("%s %v", got, err)
	}
}

// TestSend: through the receiver, over a real connection, with the credentials of the kubeconfig.
func TestSend(t *testing.T) {
	m := &memory{}
	token := strings.Repeat("t", 20)
	tokens, err := ParseTokens([]byte(token))
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	r := receiver(t, ReceiverOptions{Append: m.append, Authorize: tokens.Check})
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		keys = append(keys, req.Header.Get(keyHeader))
		if req.URL.RequestURI() != "/audit?cluster=a" || req.ContentLength < 0 || req.UserAgent() != "ktrail" {
			t.Errorf("%s %d %s", req.URL, req.ContentLength, req.UserAgent())
		}
		r.ServeHTTP(w, req)
	}))
	defer s.Close()
	want := events(t, 500, 100)
	c := clientOf(t, fmt.Sprintf("{server: %q, certificate-authority-data: %s}", s.URL+"/audit?cluster=a", authority(s)), "token: "+token)
	defer func() {
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if err := errors.Join(c.Send(t.Context(), nil), c.Send(t.Context(), want[:400]), c.Send(t.Context(), want[400:]), c.Send(t.Context(), want[:400])); err != nil {
		t.Fatal(err)
	}
	m.holds(t, want)
	if len(keys) != 3 || keys[0] != keys[2] || keys[0] == keys[1] || len(keys[0]) != 2*sha256.Size+2 {
		t.Errorf("keys %q", keys)
	}
}

// TestRetry: five tries, with waits that grow as the API server's do.
func TestRetry(t *testing.T) {
	want := events(t, 3, 10)
	for name, answer := range map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"400": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400) },
		"401": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) },
		"404": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.test/", http.StatusTemporaryRedirect)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			var at []time.Duration
			began := time.Now()
			c := client(t, "https://receiver.test").handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Host != "receiver.test" {
					t.Errorf("%s: followed to %s", name, r.URL)
				}
				at = append(at, time.Since(began))
				answer(w, r)
			}))
			err := c.Send(t.Context(), want)
			losses := pipeline.Losses(err)
			if len(losses) != 1 || losses[0].Reason != pipeline.ReasonDown || losses[0].Sink != "webhook" || len(losses[0].Events) != 3 {
				t.Fatalf("%s: %v", name, err)
			}
			if name == "400" {
				at = at[:len(at)-1] // an empty list, to learn whether it is the events: it is not
			}
			if len(at) != tries {
				t.Fatalf("%s: %d tries", name, len(at))
			}
			wait := 10 * time.Second
			for i := 1; i < tries; i++ {
				if got := at[i] - at[i-1]; got < wait || got > wait+wait/5 {
					t.Errorf("%s: wait %d is %v, want %v and a fifth at most", name, i, got, wait)
				}
				wait = wait * 3 / 2
			}
		})
	}
}

// TestRetryUntilTaken: what was stored though the answer was lost is stored once.
func TestRetryUntilTaken(t *testing.T) {
	want := events(t, 5, 10)
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		r := receiver(t, ReceiverOptions{Append: m.append})
		var keys []string
		c := client(t, "https://receiver.test")
		n := 0
		c.http.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
			keys = append(keys, req.Header.Get(keyHeader))
			w := httptest.NewRecorder()
			r.ServeHTTP(w, req)
			switch n++; n {
			case 1:
				return nil, errors.New("connection reset by peer")
			case 2: // no answer at all: the client gives up after 30 s
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return w.Result(), nil
		})
		began := time.Now()
		if err := c.Send(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		m.holds(t, want)
		if len(keys) != 3 || keys[0] != keys[1] || keys[1] != keys[2] {
			t.Errorf("keys %q", keys)
		}
		if d := time.Since(began); d < 55*time.Second || d > 60*time.Second {
			t.Errorf("it took %v: 10 s, 30 s and 15 s and their jitter", d)
		}
	})
}

// TestRetryAfter: who asks for patience gets it, ten times in each try.
func TestRetryAfter(t *testing.T) {
	want := events(t, 1, 10)
	for header, wait := range map[string]time.Duration{"0": 0, "7": 7 * time.Second, "999999999": longest} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			began := time.Now()
			c := client(t, "https://receiver.test").handle(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if n++; n < 4 {
					w.Header().Set("Retry-After", header)
					w.WriteHeader([]int{429, 503, 500}[n-1])
				}
			}))
			if err := c.Send(t.Context(), want); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(began); d != 3*wait {
				t.Errorf("%s: %v, want three times %v", header, d, wait)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		n := 0
		c := client(t, "https://receiver.test").handle(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			n++
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(429)
		}))
		if err := c.Send(t.Context(), want); len(pipeline.Losses(err)) != 1 || n != tries*(1+again) {
			t.Errorf("%d posts, %v", n, err)
		}
	})
	// A 400 with Retry-After is no reason to hurry, nor is what is no number.
	synctest.Test(t, func(t *testing.T) {
		n := 0
		c := client(t, "https://receiver.test").handle(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			n++
			w.Header().Set("Retry-After", []string{"1", "tomorrow", "-5"}[n%3])
			w.WriteHeader([]int{400, 429, 429}[n%3])
		}))
		if err := c.Send(t.Context(), want); len(pipeline.Losses(err)) != 1 || n != tries {
			t.Errorf("%d posts, %v", n, err)
		}
	})
}

// TestSendStops: the end of the context is the end of the tries.
func TestSendStops(t *testing.T) {
	want := events(t, 2, 10)
	synctest.Test(t, func(t *testing.T) {
		c := client(t, "https://receiver.test").handle(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		began := time.Now()
		losses := pipeline.Losses(c.Send(ctx, want))
		if len(losses) != 1 || losses[0].Reason != pipeline.ReasonStop || len(losses[0].Events) != 2 || time.Since(began) != 15*time.Second {
			t.Errorf("%v after %v", losses, time.Since(began))
		}
	})
}

// TestSendRefused: only what a receiver will never take is given up at once, and only that.
func TestSendRefused(t *testing.T) {
	want := events(t, 4, 10)
	bad := audit.Event{Raw: `{"kind":"Event","apiVersion":"audit.k8s.io/v1","stage":5}`}
	mixed := []audit.Event{want[0], bad, want[1], want[2], bad, want[3]}
	m := &memory{}
	r := receiver(t, ReceiverOptions{Append: m.append})
	losses := pipeline.Losses(client(t, "https://receiver.test").handle(r).Send(t.Context(), mixed))
	if len(losses) != 1 || losses[0].Reason != pipeline.ReasonRefused || len(losses[0].Events) != 2 || losses[0].Events[0].Raw != bad.Raw {
		t.Errorf("%v", losses)
	}
	m.holds(t, want)

	// Another receiver's 400, even if it looks alike, is tried again.
	for name, body := range map[string]string{
		"not a status": "x",
		"no causes":    `{"kind":"Status"}`,
		"odd causes":   `{"details":{"causes":[{"field":"items[9]"},{"field":"items[0]"}]}}`,
		"twice":        `{"details":{"causes":[{"field":"items[0]"},{"field":"items[0]"}]}}`,
		"too few":      `{"details":{"causes":[{"field":"items[0]"}]}}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			c := client(t, "https://receiver.test").handle(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if n++; n == 1 {
					w.Header().Set(storedHeader, "2")
					w.WriteHeader(400)
					_, _ = io.WriteString(w, body)
				}
			}))
			if err := c.Send(t.Context(), want); err != nil || n != 2 {
				t.Errorf("%s: %d tries, %v", name, n, err)
			}
		})
	}
}

// TestSendPoison: a webhook that refuses an event, and its whole list for it, takes the others;
// the one must not hold them up for ever. One that refuses everything is configured wrongly.
func TestSendPoison(t *testing.T) {
	for _, tc := range []struct {
		name   string
		bad    []int // of the 20
		reason pipeline.Reason
		lost   int
	}{
		{"one", []int{13}, pipeline.ReasonRefused, 1},
		{"some", []int{0, 1, 7, 19}, pipeline.ReasonRefused, 4},
		{"all", nil, pipeline.ReasonDown, 20},
	} {
		synctest.Test(t, func(t *testing.T) {
			want := events(t, 20, 10)
			took, posts := map[string]int{}, 0
			c := client(t, "https://receiver.test").handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				posts++
				text, _ := io.ReadAll(r.Body)
				var list struct{ Items []struct{ AuditID string } }
				if err := json.Unmarshal(text, &list); err != nil {
					t.Error(err)
				}
				refuse := tc.bad == nil
				for _, i := range tc.bad {
					refuse = refuse || strings.Contains(string(text), `"`+want[i].AuditID+`"`)
				}
				if refuse {
					w.WriteHeader(http.StatusUnprocessableEntity)
					return
				}
				for _, item := range list.Items {
					took[item.AuditID]++
				}
			}))
			losses := pipeline.Losses(c.Send(t.Context(), want))
			lost := 0
			for _, l := range losses {
				lost += len(l.Events)
				if l.Reason != tc.reason {
					t.Errorf("%s: %v", tc.name, l)
				}
			}
			if lost != tc.lost {
				t.Errorf("%s: %d events lost, want %d", tc.name, lost, tc.lost)
			}
			for i, e := range want {
				if n := took[e.AuditID]; n > 1 || n == 0 && tc.bad != nil && !slices.Contains(tc.bad, i) {
					t.Errorf("%s: event %d came %d times", tc.name, i, n)
				}
			}
			if posts > 40 {
				t.Errorf("%s: %d posts", tc.name, posts)
			}
		})
	}
}

// TestSendTooLarge: a list that is too large goes in halves; an event that is too large alone is lost alone.
func TestSendTooLarge(t *testing.T) {
	want := events(t, 33, 1000)
	huge := events(t, 1, 50_000)
	m := &memory{}
	r := receiver(t, ReceiverOptions{Append: m.append, MaxBytes: 8000})
	losses := pipeline.Losses(client(t, "https://receiver.test").handle(r).Send(t.Context(), slices.Concat(want[:20], huge, want[20:])))
	if len(losses) != 1 || losses[0].Reason != pipeline.ReasonRefused || len(losses[0].Events) != 1 || losses[0].Events[0].Raw != huge[0].Raw {
		t.Errorf("%v", losses)
	}
	m.holds(t, want)
}

// TestSendError: an error says where and what, on one line, without the address's secrets.
func TestSendError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(t, "https://receiver.test/?key=hunter2").handle(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(503)
			_, _ = io.WriteString(w, "no\x1b[31m\n"+strings.Repeat("long ", 1000))
		}))
		err := c.Send(t.Context(), events(t, 1, 1))
		if err == nil || strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 600 || !strings.Contains(err.Error(), "503 Service Unavailable: no") {
			t.Errorf("%v", err)
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c := client(t, "http://"+addr+"/?key=hunter2")
	if err := c.post(t.Context(), newBody(events(t, 1, 1))); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), addr) {
		t.Errorf("%v", err)
	}
}

// TestEndlessAnswer: of an answer only so much is read.
func TestEndlessAnswer(t *testing.T) {
	c := client(t, "https://receiver.test")
	body := &endless{}
	c.http.Transport = roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 500, Status: "500", Header: http.Header{}, Body: body}, nil
	})
	if err := c.post(t.Context(), newBody(events(t, 1, 1))); err == nil || body.n > 2*maxAnswer || !body.closed {
		t.Errorf("%d bytes, closed %v, %v", body.n, body.closed, err)
	}
}

type endless struct {
	n      int
	closed bool
}

func (e *endless) Read(p []byte) (int, error) { e.n += len(p); return len(p), nil }
func (e *endless) Close() error               { e.closed = true; return nil }

func TestNewClientRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	for text, want := range map[string]string{
		"": "current-context",
		"current-context: c\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: secret}}]":    "credentials for http://127.0.0.1",
		"current-context: c\nclusters: [{name: c, cluster: {server: 'https://a.test'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {exec: {command: x}}}]": "exec",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewClient(ClientOptions{Kubeconfig: file}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%v", err)
		}
	}
	if _, err := NewClient(ClientOptions{}); err == nil {
		t.Error("no kubeconfig")
	}
	if _, err := NewClient(ClientOptions{Kubeconfig: file, InitialBackoff: -1}); err == nil {
		t.Error("a negative backoff")
	}
}

// BenchmarkSend posts batches as large as the API server's through both ends.
func BenchmarkSend(b *testing.B) {
	r := receiver(b, ReceiverOptions{Append: func(_ context.Context, p Piece) (Taken, error) { return Taken{Added: len(p.Events)}, nil }})
	s := httptest.NewServer(r)
	defer s.Close()
	batch := events(b, 400, 2000)
	c := client(b, s.URL)
	b.SetBytes(newBody(batch).size)
	for b.Loop() {
		if err := c.Send(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(batch))/b.Elapsed().Seconds(), "events/s")
}

// TestBusyIsHeard: a large body that is refused before it is read is a 429 with its Retry-After
// to its sender, not a broken connection.
func TestBusyIsHeard(t *testing.T) {
	r := receiver(t, ReceiverOptions{Append: (&memory{}).append})
	var held int64
	if !r.reserve(&held, r.o.MaxInFlight) {
		t.Fatal("no room")
	}
	large := newBody(events(t, 10, 1<<20))
	for _, h2 := range []bool{false, true} {
		s := httptest.NewUnstartedServer(r)
		s.EnableHTTP2 = h2
		s.StartTLS()
		c := clientOf(t, fmt.Sprintf("{server: %q, certificate-authority-data: %s}", s.URL, authority(s)))
		for range 5 {
			e := (*answerError)(nil)
			if err := c.post(t.Context(), large); !errors.As(err, &e) || e.code != http.StatusTooManyRequests || e.retryAfter != retryBusy {
				t.Errorf("HTTP/2 %v: %v", h2, err)
			}
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		s.Close()
	}
}
