package webhook

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func packed(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReceive(t *testing.T) {
	want := events(t, 300, 10)
	list := eventList(want)
	for name, send := range map[string]func(http.Handler) *httptest.ResponseRecorder{
		"plain": func(h http.Handler) *httptest.ResponseRecorder { return post(h, list) },
		"with a charset": func(h http.Handler) *httptest.ResponseRecorder {
			return post(h, list, "Content-Type", "application/json; charset=utf-8")
		},
		"packed": func(h http.Handler) *httptest.ResponseRecorder {
			return post(h, packed(t, list), "Content-Encoding", "gzip")
		},
		"packed in parts": func(h http.Handler) *httptest.ResponseRecorder {
			return post(h, packed(t, list[:999])+packed(t, list[999:]), "Content-Encoding", "gzip")
		},
		"twice": func(h http.Handler) *httptest.ResponseRecorder {
			post(h, list)
			return post(h, list)
		},
		"half first": func(h http.Handler) *httptest.ResponseRecorder {
			post(h, list[:len(list)/2])
			return post(h, list)
		},
		"of no known length": func(h http.Handler) *httptest.ResponseRecorder {
			req := httptest.NewRequest(http.MethodPost, "/", iotest.OneByteReader(strings.NewReader(list)))
			req.Header.Set("Content-Type", "application/json")
			req.ContentLength = -1
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			return w
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{}
			r := receiver(t, ReceiverOptions{Append: m.append, Cluster: "prod", Source: "webhook"})
			w := send(r)
			if w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			statusIn(t, w)
			m.holds(t, want)
			if s := r.Stats(); s.InFlight != 0 || s.Events != 300 || s.LastEvent != want[299].Time || s.LastSeen.IsZero() || s.Requests[200] == 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestReceiveInPieces: a long body is handed over piece by piece, in bounded memory.
func TestReceiveInPieces(t *testing.T) {
	want := events(t, 6000, 4000)
	m := &memory{}
	var most int64
	var r *Receiver
	r = receiver(t, ReceiverOptions{Append: func(ctx context.Context, p Piece) (Taken, error) {
		most = max(most, r.Stats().InFlight)
		return m.append(ctx, p)
	}})
	if w := post(r, eventList(want)); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	m.holds(t, want)
	if m.calls < 3 || most == 0 || most > 18<<20 {
		t.Errorf("%d pieces, %d bytes reserved", m.calls, most)
	}
	// A small one is one piece.
	m = &memory{}
	if w := post(r, eventList(events(t, 400, 300))); w.Code != http.StatusOK || m.calls > 1 {
		t.Errorf("%d, %d pieces", w.Code, m.calls)
	}
}

// TestReceiveBadItems: the good ones are stored, the bad ones are named and kept, however often
// the batch comes.
func TestReceiveBadItems(t *testing.T) {
	good := events(t, 3, 10)
	list := strings.Replace(eventList(good), `},{`, "},{\"kind\":\"Pod\u202e\",\"apiVersion\":\"v1\"},5,{", 1)
	m := &memory{}
	r := receiver(t, ReceiverOptions{Append: m.append})
	for range 2 {
		w := post(r, list)
		s := statusIn(t, w)
		if w.Code != http.StatusBadRequest || w.Header().Get(storedHeader) != "3" || !strings.Contains(s.Message, "2 of 5 items") {
			t.Fatalf("%d %q %q", w.Code, w.Header(), s.Message)
		}
		var fields []string
		for _, c := range s.Details.Causes {
			fields = append(fields, c.Field)
			if c.Message == "" || strings.ContainsRune(c.Message, '\u202e') {
				t.Errorf("%q", c.Message)
			}
		}
		if !slices.Equal(fields, []string{"items[1]", "items[2]"}) {
			t.Errorf("causes %q", fields)
		}
		m.holds(t, good)
		if len(m.bad) != 2 {
			t.Errorf("%d bad items are kept", len(m.bad))
		}
		for _, b := range m.bad {
			if !strings.HasPrefix(list[b.Offset:], string(b.Item)) || b.Reason == "" {
				t.Errorf("%+v", b)
			}
		}
	}
}

func TestReceiveRefuses(t *testing.T) {
	list := eventList(events(t, 2, 10))
	items := func(s string) string {
		return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + s + `]}`
	}
	for _, tt := range []struct {
		name, body string
		header     []string
		status     int
		message    string
		stored     int
	}{
		{"pods", `{"kind":"PodList","apiVersion":"v1","items":[{}]}`, nil, 400, `kind is "PodList"`, 0},
		{"core events", `{"kind":"EventList","apiVersion":"v1","items":[{}]}`, nil, 400, `"v1"`, 0},
		{"text", "hello", nil, 400, "no EventList", 0},
		{"nothing", "", nil, 400, "empty", 0},
		{"cut off", list[:len(list)-30], nil, 400, "cut off", 1},
		{"garbage within", strings.Replace(list, "},{", "};{", 1), nil, 400, "unexpected ';'", 1},
		{"too many bad items", strings.Replace(list, "},{", "}"+strings.Repeat(",1", 5000)+",{", 1), nil, 400, "5000 of 5002 items are no audit events, the first 1000 are in quarantine", 2},
		{"too large", items(`{"level":"` + strings.Repeat("x", 1<<20) + `"}`), nil, 413, "1048576 bytes", 0},
		{"too large unpacked", packed(t, items(strings.Repeat(" ", 1<<20))), []string{"Content-Encoding", "gzip"}, 413, "1048576 bytes", 0},
		{"item too large", items(`{"level":"` + strings.Repeat("x", 800<<10) + `"}`), nil, 413, "larger than allowed", 0},
		{"not packed", list, []string{"Content-Encoding", "gzip"}, 400, "not packed with gzip", 0},
		{"packed and cut off", packed(t, list)[:100], []string{"Content-Encoding", "gzip"}, 400, "not packed with gzip", 0},
		{"packed otherwise", list, []string{"Content-Encoding", "zstd"}, 415, "gzip only", 0},
		{"a form", list, []string{"Content-Type", "text/plain"}, 415, "application/json", 0},
		{"protobuf", list, []string{"Content-Type", "application/vnd.kubernetes.protobuf"}, 415, "application/json", 0},
		{"no type", list, []string{"Content-Type", ""}, 415, "application/json", 0},
		{"a page in a browser", list, []string{"Origin", "http://127.0.0.1:9443"}, 403, "browsers", 0},
		{"deep", items(strings.Repeat(`{"a":`, 50_000)), nil, 400, "10000", 0},
	} {
		m := &memory{}
		r := receiver(t, ReceiverOptions{Append: m.append, MaxBytes: 1 << 20, MaxItem: 512 << 10})
		w := post(r, tt.body, tt.header...)
		s := statusIn(t, w)
		if w.Code != tt.status || !strings.Contains(s.Message, tt.message) || len(m.lines) != tt.stored || w.Header().Get(storedHeader) != "" {
			t.Errorf("%s: %d %q, %d stored; want %d %q, %d", tt.name, w.Code, s.Message, len(m.lines), tt.status, tt.message, tt.stored)
		}
		if st := r.Stats(); st.InFlight != 0 || st.Requests[tt.status] != 1 {
			t.Errorf("%s: %+v", tt.name, st)
		}
	}
	r := receiver(t, ReceiverOptions{Append: (&memory{}).append})
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodOptions} {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest(method, "/", http.NoBody))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
}

// TestReceiveBomb: a body that unpacks to much more than it is is stopped.
func TestReceiveBomb(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	zeros := make([]byte, 1<<20)
	for i := range zeros {
		zeros[i] = ' '
	}
	for range 200 {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	r := receiver(t, ReceiverOptions{Append: (&memory{}).append})
	if w := post(r, b.String(), "Content-Encoding", "gzip"); w.Code != http.StatusRequestEntityTooLarge || r.Stats().Bytes > defaultMaxBytes {
		t.Errorf("%d, %+v", w.Code, r.Stats())
	}
}

// TestReceivePressure: what has no room is answered 429 before it is read, and taken later.
func TestReceivePressure(t *testing.T) {
	first, second := events(t, 500, 1000), events(t, 600, 1000)[500:]
	m := &memory{}
	appending, go_on := make(chan struct{}), make(chan struct{})
	r := receiver(t, ReceiverOptions{MaxInFlight: 2 << 20, Append: func(ctx context.Context, p Piece) (Taken, error) {
		appending <- struct{}{}
		<-go_on
		return m.append(ctx, p)
	}})
	answered := make(chan *httptest.ResponseRecorder)
	go func() { answered <- post(r, eventList(first)) }()
	<-appending
	read := &counting{r: strings.NewReader(eventList(second))}
	req := httptest.NewRequest(http.MethodPost, "/", read)
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	if s := statusIn(t, w); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || s.Details.RetryAfterSeconds != 1 || s.Reason != "TooManyRequests" || read.n > 0 {
		t.Errorf("%d %q after %d bytes", w.Code, w.Header(), read.n)
	}
	close(go_on)
	go func() {
		for range appending {
		}
	}()
	if w := <-answered; w.Code != http.StatusOK {
		t.Errorf("%d", w.Code)
	}
	if w := post(r, eventList(second)); w.Code != http.StatusOK {
		t.Errorf("afterwards: %d", w.Code)
	}
	close(appending)
	m.holds(t, append(slices.Clone(first), second...))
	if s := r.Stats(); s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
}

type counting struct {
	r *strings.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// TestReceiveLargeItem: an item larger than a window takes more room, all of it if it is alone.
func TestReceiveLargeItem(t *testing.T) {
	want := events(t, 2, 12<<20)
	m := &memory{}
	r := receiver(t, ReceiverOptions{Append: m.append, MaxInFlight: 24 << 20})
	if w := post(r, eventList(want)); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	m.holds(t, want)
	// With others about, it must wait.
	var held int64
	if !r.reserve(&held, 10<<20) {
		t.Fatal("no room")
	}
	if w := post(r, eventList(want)); w.Code != http.StatusTooManyRequests {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if r.release(held); r.Stats().InFlight != 0 {
		t.Errorf("%+v", r.Stats())
	}
}

// TestReceiveStoreFails: what is not durable is not answered 200.
func TestReceiveStoreFails(t *testing.T) {
	want := events(t, 10, 10)
	secret := errors.New("open /var/lib/ktrail/secret: no such file")
	for name, tt := range map[string]struct {
		m      *memory
		status int
	}{
		"before": {&memory{fail: func(int) error { return secret }}, http.StatusServiceUnavailable},
		"after":  {&memory{after: func(int) error { return secret }}, http.StatusServiceUnavailable},
		"slow":   {&memory{fail: func(int) error { return fmt.Errorf("append: %w", context.DeadlineExceeded) }}, http.StatusTooManyRequests},
	} {
		r := receiver(t, ReceiverOptions{Append: tt.m.append})
		w := post(r, eventList(want))
		body := w.Body.String()
		if w.Code != tt.status || w.Header().Get("Retry-After") != "5" || strings.Contains(body, "/var/lib") {
			t.Errorf("%s: %d %q %s", name, w.Code, w.Header(), body)
		}
		if s := r.Stats(); s.Events != 0 || s.Refused == "" {
			t.Errorf("%s: %+v", name, s)
		}
		tt.m.fail, tt.m.after = nil, nil
		if w := post(r, eventList(want)); w.Code != http.StatusOK {
			t.Errorf("%s, again: %d", name, w.Code)
		}
		tt.m.holds(t, want)
	}
}

// TestReceiveSlowStore: a store that does not answer is given up in time, and the sender's
// leaving changes nothing.
func TestReceiveSlowStore(t *testing.T) {
	list := eventList(events(t, 1, 10))
	synctest.Test(t, func(t *testing.T) {
		r := receiver(t, ReceiverOptions{Append: func(ctx context.Context, _ Piece) (Taken, error) {
			<-ctx.Done()
			return Taken{}, ctx.Err()
		}})
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(list))
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		if w.Code != http.StatusTooManyRequests || time.Since(began) != 20*time.Second {
			t.Errorf("%d after %v", w.Code, time.Since(began))
		}
	})
}

func TestReceiverStops(t *testing.T) {
	r := receiver(t, ReceiverOptions{Append: (&memory{}).append})
	r.Stop()
	if w := post(r, eventList(events(t, 1, 10))); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %q", w.Code, w.Header())
	}
}

// TestSlowBody: who sends too slowly is told so, and what came is kept.
func TestSlowBody(t *testing.T) {
	t.Run("packed", func(t *testing.T) { // one that does not even begin is late, not badly packed
		req := httptest.NewRequest(http.MethodPost, "/", late{})
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Content-Encoding", "gzip")
		w := httptest.NewRecorder()
		if receiver(t, ReceiverOptions{Append: (&memory{}).append}).ServeHTTP(w, req); w.Code != http.StatusRequestTimeout {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	want := events(t, 2, 10)
	list := eventList(want)
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		r := receiver(t, ReceiverOptions{Append: m.append})
		client, server := net.Pipe()
		defer func() { _ = client.Close() }()
		s := &http.Server{Handler: r}
		go func() { _ = s.Serve(&only{server}) }()
		began := time.Now()
		if _, err := fmt.Fprintf(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(list), list[:len(list)-20]); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); res.StatusCode != http.StatusRequestTimeout || d != timeout {
			t.Errorf("%s after %v", res.Status, d)
		}
		m.holds(t, want[:1])
	})
}

type late struct{}

func (late) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func TestTokens(t *testing.T) {
	a, b := strings.Repeat("a", 20), strings.Repeat("b", 32)
	tokens, err := ParseTokens([]byte("# ours\n" + a + "\r\n\n  " + b))
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{}
	r := receiver(t, ReceiverOptions{Append: m.append, Authorize: tokens.Check})
	list := eventList(events(t, 1, 10))
	for header, want := range map[string]int{
		"Bearer " + a: 200, "bearer " + b: 200, "Bearer  " + a: 200,
		"": 401, "Bearer": 401, "Bearer ": 401, "Basic " + a: 401, "Bearer " + a[1:]: 401, "Bearer " + a + "a": 401, "Bearer # ours": 401,
	} {
		if w := post(r, list, "Authorization", header); w.Code != want || want == 401 && w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%q: %d, want %d", header, w.Code, want)
		}
	}
	if s := r.Stats(); s.Refused != "" {
		t.Errorf("who may not post is no trouble of the source: %+v", s)
	}
	for text, want := range map[string]string{
		"": "no token", "# only\n": "no token", "short": "shorter than 16", a + " " + b: "one word", a + "\x00": "one word", a + "ä": "one word",
	} {
		if _, err := ParseTokens([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzReceiver: whatever is posted is answered, 200 only if all of it was stored, and posted
// again changes nothing.
func FuzzReceiver(f *testing.F) {
	list := eventList(events(f, 3, 20))
	for i := 0; i < len(list); i += 60 {
		f.Add([]byte(list[:i]), false)
	}
	f.Add([]byte(list), false)
	f.Add([]byte(packed(f, list)), true)
	f.Add([]byte(strings.Replace(list, "},{", "},5,{\"kind\":\"\xff\"},{", 1)), false)
	f.Fuzz(func(t *testing.T, body []byte, zipped bool) {
		m := &memory{}
		r := receiver(t, ReceiverOptions{Append: m.append, MaxBytes: 1 << 16, MaxItem: 1 << 12})
		var header []string
		if zipped {
			header = []string{"Content-Encoding", "gzip"}
		}
		w := post(r, string(body), header...)
		lines, bad := len(m.lines), len(m.bad)
		s := statusIn(t, w)
		switch w.Code {
		case http.StatusOK:
			if bad > 0 {
				t.Fatalf("200 with %d bad items", bad)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			if s.Message == "" {
				t.Fatal("no message")
			}
		default:
			t.Fatalf("%d %s", w.Code, s.Message)
		}
		for l := range m.lines {
			if strings.ContainsAny(l, "\n\r") {
				t.Fatalf("a line over lines: %q", l)
			}
		}
		again := post(r, string(body), header...)
		if again.Code != w.Code || len(m.lines) != lines || len(m.bad) != bad || r.Stats().InFlight != 0 {
			t.Fatalf("again: %d, %d lines and %d bad items; first %d, %d and %d", again.Code, len(m.lines), len(m.bad), w.Code, lines, bad)
		}
	})
}
