package backend_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/backend"
	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/pipeline"
)

// hook is a webhook: it takes events, fails, or hangs until its context ends.
type hook struct {
	mu     sync.Mutex
	events []audit.Event
	sends  int
	err    error
	hangs  bool
	closed int
}

func (h *hook) Send(ctx context.Context, events []audit.Event) error {
	h.mu.Lock()
	hangs := h.hangs
	h.sends++
	h.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return &pipeline.Loss{Sink: "webhook", Reason: pipeline.ReasonDown, Events: events, Err: h.err}
	}
	h.events = append(h.events, events...)
	return nil
}

func (h *hook) Close(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed++
	return nil
}

func (h *hook) set(err error, hangs bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err, h.hangs = err, hangs
}

func (h *hook) ids() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return ids(h.events)
}

func ids(events []audit.Event) string {
	var s []string
	for i := range events {
		s = append(s, events[i].AuditID)
	}
	return strings.Join(s, " ")
}

func settings(t *testing.T, argv string) flags.Settings {
	t.Helper()
	s, refusals := flags.Read(flags.Parse(strings.Fields(argv)), flags.Latest)
	if len(refusals) > 0 {
		t.Fatal(refusals[0])
	}
	return s
}

func open(t *testing.T, argv string, h *hook, o backend.Options) *backend.Backend {
	t.Helper()
	if h != nil {
		o.Webhook = func(context.Context, flags.Webhook) (pipeline.Sink, error) { return h, nil }
	}
	b, err := backend.Open(t.Context(), settings(t, argv), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func event(t *testing.T, id string, body string) audit.Event {
	t.Helper()
	r := audit.Record{
		Level: audit.LevelRequest, AuditID: id, Stage: audit.StageResponseComplete, RequestURI: "/", Verb: "create",
		ObjectRef: &audit.ObjectRef{Resource: "secrets", APIVersion: "v1"}, Received: 1, Time: 1, Rule: 3,
	}
	if body != "" {
		r.RequestObject = []byte(body)
	}
	e, err := r.Event()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func send(t *testing.T, b *backend.Backend, names ...string) {
	t.Helper()
	for _, id := range names {
		if err := b.Send(t.Context(), []audit.Event{event(t, id, "")}); err != nil {
			t.Errorf("Send of %s: %v", id, err)
		}
	}
}

func shut(t *testing.T, b *backend.Backend) {
	t.Helper()
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func counts(b *backend.Backend) string {
	var s []string
	for _, c := range b.Ledger().Counts() {
		s = append(s, fmt.Sprintf("%s/%s/%d=%d", c.Sink, c.Reason, c.Rule, c.Events))
	}
	return strings.Join(s, " ")
}

// logged are the events in a log.
func logged(t *testing.T, name string) []audit.Event {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var out []audit.Event
	for line := range strings.Lines(string(text)) {
		var e audit.Event
		if err := audit.Decode([]byte(strings.TrimSuffix(line, "\n")), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		out = append(out, e)
	}
	return out
}

func TestModes(t *testing.T) {
	for _, tc := range []struct {
		argv   string
		strict bool
		// With the webhook down: whether Send fails, and what is counted after Close.
		fails bool
		want  string
	}{
		{"--audit-webhook-config-file=x", false, false, "webhook/down/3=2"},
		{"--audit-webhook-config-file=x --audit-webhook-mode=blocking", false, false, "webhook/down/3=2"},
		{"--audit-webhook-config-file=x --audit-webhook-mode=blocking-strict", true, true, ""},
		{"", false, false, ""},
	} {
		t.Run(tc.argv, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var h hook
				b := open(t, tc.argv, &h, backend.Options{})
				if b.Strict() != tc.strict {
					t.Errorf("strict is %v", b.Strict())
				}
				send(t, b, "a", "b")
				time.Sleep(time.Minute)
				if got := h.ids(); tc.argv != "" && got != "a b" {
					t.Errorf("the webhook has %q", got)
				}
				h.set(errors.New("no route to host"), false)
				for _, id := range []string{"c", "d"} {
					in := []audit.Event{event(t, id, "")}
					err := b.Send(t.Context(), in)
					if tc.fails != (err != nil) {
						t.Errorf("Send gave %v", err)
					}
					if loss := pipeline.Losses(err); tc.fails && (len(loss) != 1 || ids(loss[0].Events) != id) {
						t.Errorf("Send gave %v", err)
					}
				}
				shut(t, b)
				if got := counts(b); got != tc.want {
					t.Errorf("counted %q, want %q", got, tc.want)
				}
				if want := min(1, len(tc.argv)); h.closed != want {
					t.Errorf("the webhook was closed %d times", h.closed)
				}
			})
		})
	}
}

func TestLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log", "audit.log")
	r, err := pipeline.NewRedactor([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, "--audit-log-mode=batch --audit-log-batch-max-size=5 --audit-log-truncate-enabled --audit-log-truncate-max-event-size=1000 --audit-log-path="+name, nil, backend.Options{Redactor: r, Sync: "always"})
	in := []audit.Event{
		event(t, "plain", ""),
		event(t, "secret", `{"data":{"password":"aHVudGVyMg=="}}`),
		event(t, "large", `{"metadata":{"name":"`+strings.Repeat("x", 2000)+`"}}`),
	}
	for i := range in {
		if err := b.Send(t.Context(), in[i:i+1]); err != nil {
			t.Error(err)
		}
	}
	shut(t, b)
	got := logged(t, name)
	// The ledger's report of what was cut comes when it comes: before or behind the others.
	var reports []audit.Event
	kept := got[:0]
	for _, e := range got {
		if pipeline.IsReport(&e) {
			reports = append(reports, e)
		} else {
			kept = append(kept, e)
		}
	}
	if ids(kept) != "plain secret large" || kept[0].Raw != in[0].Raw {
		t.Errorf("the log has %s", ids(kept))
	}
	if strings.Contains(kept[1].Raw, "aHVudGVyMg") || !strings.Contains(kept[1].Raw, "redacted:string:12:") {
		t.Errorf("the secret is not redacted: %s", kept[1].Raw)
	}
	if !kept[2].Truncated || strings.Contains(kept[2].Raw, "requestObject") {
		t.Errorf("the large event became %.200s", kept[2].Raw)
	}
	if len(reports) != 1 || !strings.Contains(reports[0].Raw, `"ktrail/reason":"cut"`) || counts(b) != "truncate/cut/3=1" {
		t.Errorf("%d reports, counted %s", len(reports), counts(b))
	}
	if st := b.Status(); st.Log.Events != 4 || len(st.Troubles()) != 0 {
		t.Errorf("status %+v", st)
	}
}

func TestDigest(t *testing.T) {
	var out bytes.Buffer
	b := open(t, "--audit-log-truncate-enabled --audit-log-truncate-max-event-size=1000 --audit-log-path=-", nil, backend.Options{Out: &out, Digest: 20})
	if err := b.Send(t.Context(), []audit.Event{event(t, "a", `{"kind":"Secret","x":"`+strings.Repeat("x", 2000)+`"}`)}); err != nil {
		t.Error(err)
	}
	shut(t, b)
	if !strings.Contains(out.String(), `"requestObject":{"ktrail/digest":{"bytes":2024,"sha256":"`) || !strings.Contains(out.String(), `"head":"{\"kind\":\"Secret\",\"x\""`) {
		t.Errorf("written was %s", out.String())
	}
}

// A webhook that hangs must not keep the log from being drained, nor its losses from being told there.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "audit.log")
		var text bytes.Buffer
		var h hook
		h.set(nil, true)
		b := open(t, "--audit-log-path="+name+" --audit-log-mode=batch --audit-log-batch-max-size=100 --audit-log-batch-max-wait=1h --audit-webhook-config-file=x --audit-webhook-batch-max-size=2", &h,
			backend.Options{Log: slog.New(slog.NewTextHandler(&text, nil))})
		send(t, b, "a", "b", "c", "d", "e")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		if err := b.Close(ctx); err != nil {
			if len(pipeline.Losses(err)) > 0 {
				t.Error("the error of Close holds losses: they would be counted twice")
			}
		}
		if d := time.Since(start); d != 8*time.Second {
			t.Errorf("Close took %v", d)
		}
		got := logged(t, name)
		if len(got) < 6 || ids(got[:5]) != "a b c d e" {
			t.Fatalf("the log has %s", ids(got))
		}
		var lost int64
		for _, c := range b.Ledger().Counts() {
			if c.Reason != pipeline.ReasonStop {
				t.Errorf("counted %+v", c)
			}
			lost += c.Events
		}
		if lost != 5 {
			t.Errorf("%d events were counted as lost, want 5", lost)
		}
		for _, e := range got[5:] {
			if !pipeline.IsReport(&e) || !strings.Contains(e.Raw, `"ktrail/reason":"stop"`) {
				t.Errorf("the log has %s", e.Raw)
			}
		}
		if !strings.Contains(text.String(), "audit events were lost") {
			t.Errorf("the program's log says %s", text.String())
		}
	})
}

func TestSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "spool")
		const argv = "--audit-webhook-config-file=x --audit-webhook-batch-max-size=3 --audit-webhook-batch-buffer-size=5 --audit-webhook-batch-max-wait=1s"
		var h hook
		h.set(errors.New("no route to host"), false)
		b := open(t, argv, &h, backend.Options{SpoolDir: dir})
		var want []string
		for i := range 100 {
			want = append(want, fmt.Sprint(i))
			send(t, b, fmt.Sprint(i))
		}
		time.Sleep(time.Hour)
		if st := b.Status(); st.Spooled == 0 || st.Events != 0 || len(st.Troubles()) != 1 {
			t.Errorf("status %+v", st)
		}
		shut(t, b)
		if got := counts(b); got != "" {
			t.Errorf("lost: %s", got)
		}
		h.set(nil, false)
		b = open(t, argv, &h, backend.Options{SpoolDir: dir})
		time.Sleep(time.Hour)
		shut(t, b)
		seen := map[string]int{}
		for _, id := range strings.Fields(h.ids()) {
			seen[id]++
		}
		for _, id := range want {
			if seen[id] != 1 {
				t.Errorf("%s came %d times", id, seen[id])
			}
		}
		if st := b.Status(); st.Spooled != 0 {
			t.Errorf("%d bytes are left", st.Spooled)
		}
	})
}

// What the flags of a dead webhook allow is not what memory has: bodies of 100 KB in 10,000
// places and 10 batches of 400.
func TestDeadWebhookMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h hook
		h.set(nil, true)
		const bound = 4 << 20
		b := open(t, "--audit-webhook-config-file=x --audit-webhook-batch-throttle-enable=false", &h, backend.Options{BufferBytes: bound})
		body := `{"x":"` + strings.Repeat("x", 100_000) + `"}`
		for i := range 2000 {
			if err := b.Send(t.Context(), []audit.Event{event(t, fmt.Sprint(i), body)}); err != nil {
				t.Error(err)
			}
			if st := b.Status(); st.Bytes > bound {
				t.Fatalf("after %d events %d bytes are held", i, st.Bytes)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = b.Close(ctx) // what it lost is in the ledger
		var lost int64
		for _, c := range b.Ledger().Counts() {
			lost += c.Events
		}
		if lost != 2000 {
			t.Errorf("%d events were counted as lost, want 2000", lost)
		}
	})
}

// Nothing may be left running or open when Open fails: in a bubble a goroutine that
// is left is a failure.
func TestOpenFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ argv, want string }{
		{"--audit-log-path=" + file + "/audit.log", "log: "},
		{"--audit-log-path=" + file + " --audit-log-mode=fast", `log: mode "fast"`},
		{"--audit-log-path=" + file + " --audit-log-version=v1beta1", "version"},
		{"--audit-log-path=" + file + " --audit-log-mode=batch --audit-log-batch-buffer-size=0", "batch"},
		{"--audit-log-path=" + file + " --audit-log-mode=batch --audit-log-batch-throttle-enable", "throttle"},
		{"--audit-log-path=" + file + " --audit-log-mode=batch --audit-log-truncate-enabled --audit-log-truncate-max-batch-size=1", "truncate"},
		{"--audit-log-path=" + file + " --audit-webhook-config-file=x --audit-webhook-mode=fast", `webhook: mode "fast"`},
		{"--audit-log-path=" + file + " --audit-webhook-config-file=x --audit-webhook-truncate-enabled --audit-webhook-truncate-max-event-size=0", "webhook: "},
	} {
		t.Run(tc.argv, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var h hook
				_, err := backend.Open(t.Context(), settings(t, tc.argv), backend.Options{
					Webhook: func(context.Context, flags.Webhook) (pipeline.Sink, error) { return &h, nil }, SpoolDir: filepath.Join(t.TempDir(), "spool"),
				})
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %s", err, tc.want)
				}
				if strings.Contains(tc.argv, "webhook") && h.closed != 1 {
					t.Errorf("the webhook was closed %d times", h.closed)
				}
			})
		})
	}
}

// The losses of the last minute are told to the webhook too, where there is no log.
func TestShutdownTellsTheWebhook(t *testing.T) {
	for _, mode := range []string{"batch", "blocking"} {
		synctest.Test(t, func(t *testing.T) {
			var h hook
			b := open(t, "--audit-webhook-config-file=x --audit-webhook-truncate-enabled --audit-webhook-truncate-max-event-size=1000 --audit-webhook-mode="+mode, &h, backend.Options{})
			large := strings.Repeat("x", 1000) // without a body to take out
			for range 2 {
				send(t, b, large)
				time.Sleep(time.Second)
			}
			shut(t, b)
			if n := len(h.events); n != 2 || !strings.Contains(h.events[1].Raw, `"ktrail/total":"2"`) {
				t.Errorf("in mode %s the webhook has %d reports: %s", mode, n, h.ids())
			}
			if got := counts(b); got != "truncate/too_large/3=2" {
				t.Errorf("counted %s", got)
			}
		})
	}
}

// Whoever embeds this defers a Close and has another on the way out.
func TestCloseTwice(t *testing.T) {
	var h hook
	name := filepath.Join(t.TempDir(), "audit.log")
	b := open(t, "--audit-log-mode=batch --audit-webhook-config-file=x --audit-log-path="+name, &h, backend.Options{SpoolDir: filepath.Join(t.TempDir(), "spool")})
	send(t, b, "a")
	shut(t, b)
	shut(t, b)
	if got := ids(logged(t, name)); got != "a" || h.ids() != "a" || h.closed != 1 {
		t.Errorf("the log has %q, the webhook %q and was closed %d times", got, h.ids(), h.closed)
	}
}

// TestSendAllocates: an event on its way to the log takes no memory but its line.
func TestSendAllocates(t *testing.T) {
	b := open(t, "--audit-log-truncate-enabled --audit-log-path="+filepath.Join(t.TempDir(), "audit.log"), nil, backend.Options{})
	events := []audit.Event{event(t, "a", "")}
	var err error
	if n := testing.AllocsPerRun(100, func() { err = errors.Join(err, b.Send(t.Context(), events)) }); n != 0 || err != nil {
		t.Errorf("Send allocates %v times: %v", n, err)
	}
	shut(t, b)
}
