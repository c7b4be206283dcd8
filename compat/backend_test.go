package compat

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	upstreamaudit "k8s.io/apiserver/pkg/audit"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/backend"
)

// openTheirs are the back ends that the API server makes of a command line.
func openTheirs(t testing.TB, argv []string) (upstreamaudit.Backend, error) {
	t.Helper()
	return OpenUpstream(t.TempDir(), argv)
}

// openOurs are ours.
func openOurs(t testing.TB, argv []string) (*backend.Backend, error) {
	t.Helper()
	return Open(t.Context(), argv)
}

// pass sends lines through the back ends of both, n events at a time. Each has files of its own
// in the place of DIR, and a webhook in that of HOOK.
func pass(t *testing.T, argv string, lines []string, n int) (theirs, ours *outcome) {
	t.Helper()
	theirs, ours = newOutcome(t), newOutcome(t)
	up, err := openTheirs(t, theirs.argv(argv))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	if err := up.Run(stop); err != nil {
		t.Fatal(err)
	}
	b, err := openOurs(t, ours.argv(argv))
	if err != nil {
		t.Fatal(err)
	}
	for chunk := range slices.Chunk(lines, n) {
		var a []*auditinternal.Event
		o := make([]audit.Event, len(chunk))
		for i, l := range chunk {
			a = append(a, upstreamEvent(t, l))
			if err := audit.Decode([]byte(l), &o[i]); err != nil {
				t.Fatal(err)
			}
		}
		up.ProcessEvents(a...)
		if err := b.Send(t.Context(), o); err != nil {
			b.Ledger().Enter(err, o)
		}
	}
	close(stop)
	up.Shutdown()
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	return theirs, ours
}

// outcome is what came out of a back end.
type outcome struct {
	dir  string
	hook *httptest.Server

	mu    sync.Mutex
	posts []string
}

func newOutcome(t *testing.T) *outcome {
	o := &outcome{dir: t.TempDir()}
	o.hook = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.posts = append(o.posts, strings.Join([]string{r.Method, r.URL.Path, r.Header.Get("Content-Type"), string(body)}, " "))
	}))
	t.Cleanup(o.hook.Close)
	return o
}

func (o *outcome) argv(text string) []string { return strings.Fields(o.replace(text)) }

// replace puts in the directory and the webhook.
func (o *outcome) replace(text string) string {
	config := filepath.Join(o.dir, "hook.yaml")
	kubeconfig := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: '" + o.hook.URL + "/audit'}}]\nusers: [{name: u, user: {}}]\n"
	if err := os.WriteFile(config, []byte(kubeconfig), 0o600); err != nil {
		panic(err)
	}
	return strings.NewReplacer("DIR", o.dir, "HOOK", config).Replace(text)
}

// log is what all the log's files have, the oldest first.
func (o *outcome) log(t *testing.T) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(o.dir, "a-*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var all strings.Builder
	for _, name := range append(names, filepath.Join(o.dir, "a.log")) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(b) {
			if !isReport(string(line)) {
				all.Write(line)
			}
		}
	}
	return all.String()
}

// isReport is whether text is of the events by which our ledger tells what was lost or cut: the API server has none.
func isReport(text string) bool {
	return strings.Contains(text, `"requestURI":"ktrail:loss"`) || strings.Contains(text, `uri="ktrail:loss"`)
}

// items are the events of all posts, in any order: batches overtake each other.
func (o *outcome) items() []string {
	var all []string
	for _, p := range o.posts {
		_, list, _ := strings.Cut(p, `"items":[{"level":`)
		all = append(all, strings.Split(strings.TrimSuffix(strings.TrimSpace(list), "}]}"), `},{"level":`)...)
	}
	slices.Sort(all)
	return slices.DeleteFunc(all, isReport)
}

// requests are the posts in their order.
func (o *outcome) requests() []string { return slices.DeleteFunc(slices.Clone(o.posts), isReport) }

// realLogs are the lines of the sample log, and of those in KTRAIL_COMPAT_LOGS.
func realLogs(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{"sample": logSample(t)}
	dir := os.Getenv("KTRAIL_COMPAT_LOGS")
	if dir == "" {
		return all
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.gz"))
	if err != nil || len(files) == 0 {
		t.Fatalf("KTRAIL_COMPAT_LOGS: no .gz files in %s (%v)", dir, err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s := bufio.NewScanner(z)
		s.Buffer(nil, 64<<20)
		for s.Scan() && len(all[name]) < 20_000 {
			all[name] = append(all[name], s.Text())
		}
		if s.Err() != nil {
			t.Fatalf("%s: %v", name, s.Err())
		}
		_ = f.Close()
	}
	return all
}

// TestLogBackend: what --audit-log-* write of real events, byte for byte.
func TestLogBackend(t *testing.T) {
	for name, lines := range realLogs(t) {
		for i, argv := range []string{
			"", "--audit-log-mode=blocking-strict", "--audit-log-format=legacy", "--audit-log-maxsize=0", "--audit-log-maxsize=1 --audit-log-maxbackup=0",
			"--audit-log-truncate-enabled", "--audit-log-truncate-enabled --audit-log-truncate-max-event-size=1500 --audit-log-truncate-max-batch-size=4000",
			"--audit-log-truncate-enabled --audit-log-truncate-max-event-size=700 --audit-log-truncate-max-batch-size=700 --audit-log-format=legacy",
			"--audit-log-mode=batch --audit-log-batch-buffer-size=100000 --audit-log-batch-max-size=1",
			"--audit-log-mode=batch --audit-log-batch-buffer-size=100000 --audit-log-batch-max-size=50 --audit-log-batch-max-wait=1s",
			"--audit-log-mode=batch --audit-log-batch-buffer-size=100000 --audit-log-batch-max-size=400 --audit-log-batch-max-wait=30s --audit-log-batch-throttle-enable --audit-log-batch-throttle-qps=1000 --audit-log-batch-throttle-burst=1 --audit-log-truncate-enabled --audit-log-truncate-max-event-size=2000",
		} {
			part := lines
			if i > 0 && os.Getenv("KTRAIL_COMPAT_LOGS") == "" {
				part = lines[:1500] // in the time that make compat has
			}
			theirs, ours := pass(t, "--audit-log-path=DIR/a.log "+argv, part, 1+i%2*6)
			want, got := theirs.log(t), ours.log(t)
			if len(want) < 20_000 {
				t.Errorf("%s %s: only %d bytes", name, argv, len(want))
			}
			if got != want {
				t.Errorf("%s %q: %s", name, argv, firstDifference(got, want))
			}
		}
	}
}

// TestWebhookBackend: what --audit-webhook-* post of real events. In the modes that block, the
// requests byte for byte; in batch mode, where they overtake each other, the same events.
func TestWebhookBackend(t *testing.T) {
	for name, lines := range realLogs(t) {
		lines = lines[:min(len(lines), 1500)]
		for _, tc := range []struct {
			argv string
			any  bool // in any order
		}{
			{"--audit-webhook-mode=blocking", false},
			{"--audit-webhook-mode=blocking-strict --audit-webhook-truncate-enabled --audit-webhook-truncate-max-event-size=1500 --audit-webhook-truncate-max-batch-size=4000", false},
			{"--audit-webhook-batch-throttle-qps=1000 --audit-webhook-batch-max-wait=1s", true},
			{"--audit-webhook-batch-throttle-enable=false --audit-webhook-batch-max-size=3 --audit-webhook-truncate-enabled --audit-webhook-truncate-max-event-size=1500", true},
		} {
			theirs, ours := pass(t, "--audit-webhook-config-file=HOOK "+tc.argv, lines, 7)
			want, got := theirs.requests(), ours.requests()
			if tc.any {
				want, got = theirs.items(), ours.items()
			}
			if len(want) < 200 {
				t.Errorf("%s %s: only %d posts or events", name, tc.argv, len(want))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s %q: %d, upstream %d; %s", name, tc.argv, len(got), len(want), firstDifference(strings.Join(got, "\n"), strings.Join(want, "\n")))
			}
		}
	}
}

func firstDifference(got, want string) string {
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	at := func(s string) string { return fmt.Sprintf("%q", s[max(0, min(i, len(s))-100):min(len(s), i+100)]) }
	return fmt.Sprintf("%d bytes, upstream %d; from %d on\n    got %s\nupstream %s", len(got), len(want), i, at(got), at(want))
}

// large is an event of level Metadata of n bytes and more.
func large(n int) string {
	line, err := (&audit.Record{
		Level: "Metadata", AuditID: "large", Stage: "ResponseComplete", RequestURI: "/" + strings.Repeat("x", n), Verb: "get",
		Received: 1, Time: 1,
	}).AppendJSON(nil)
	if err != nil {
		panic(err)
	}
	return string(line)
}

// TestBetterBackend: where the API server's back ends fail and ours do not, as docs/capture.md has it.
func TestBetterBackend(t *testing.T) {
	t.Run("an event over maxsize is kept", func(t *testing.T) {
		lines := append(logSample(t)[:3], large(1<<20))
		theirs, ours := pass(t, "--audit-log-path=DIR/a.log --audit-log-maxsize=1", lines, 1)
		if strings.Contains(theirs.log(t), `"large"`) {
			t.Error("the API server keeps it too: take it out of the table")
		}
		if got, want := ours.log(t), strings.Join(lines, "\n")+"\n"; got != want {
			t.Error(firstDifference(got, want))
		}
	})
	t.Run("each back end cuts its own", func(t *testing.T) {
		var lines []string
		for _, l := range logSample(t) {
			if strings.Contains(l, `"requestObject"`) && strings.Contains(l, `"annotations"`) && len(l) > 3000 {
				lines = append(lines, l)
			}
		}
		theirs, ours := pass(t, "--audit-log-path=DIR/a.log --audit-log-truncate-enabled --audit-log-truncate-max-event-size=2500 --audit-webhook-config-file=HOOK --audit-webhook-mode=blocking", lines, 1)
		if theirs.log(t) != ours.log(t) {
			t.Error(firstDifference(ours.log(t), theirs.log(t)))
		}
		posts := ours.requests()
		const cut = `"audit.k8s.io/truncated":"true"`
		for i, l := range lines {
			if !strings.Contains(theirs.posts[i], cut) {
				t.Fatal("the API server's webhook no longer gets the log's annotation: take it out of the table")
			}
			// In a list the items have no kind.
			if whole := strings.TrimPrefix(l, `{"kind":"Event","apiVersion":"audit.k8s.io/v1",`); !strings.Contains(posts[i], whole) {
				t.Fatalf("ours is not whole: %s", posts[i])
			}
		}
	})
	t.Run("a torn line is ended", func(t *testing.T) {
		lines := logSample(t)[:2]
		torn := []byte(`{"kind":"Event","apiV`)
		theirs, ours := newOutcome(t), newOutcome(t)
		for _, o := range []*outcome{theirs, ours} {
			if err := os.WriteFile(filepath.Join(o.dir, "a.log"), torn, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		up, err := openTheirs(t, theirs.argv("--audit-log-path=DIR/a.log"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := openOurs(t, ours.argv("--audit-log-path=DIR/a.log"))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			up.ProcessEvents(upstreamEvent(t, l))
			if err := b.Send(t.Context(), []audit.Event{{Raw: l}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(theirs.log(t), string(torn)+`{"kind"`) {
			t.Error("the API server ends it too: take it out of the table")
		}
		if got := ours.log(t); !bytes.HasSuffix([]byte(got), []byte("\n"+strings.Join(lines, "\n")+"\n")) {
			t.Errorf("got %.200q", got)
		}
	})
}
