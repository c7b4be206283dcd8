package compat

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	upstreamaudit "k8s.io/apiserver/pkg/audit"
	upstream "k8s.io/apiserver/plugin/pkg/audit/webhook"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/pipeline"
	"github.com/ktrail/ktrail/audit/webhook"
)

// webhookEvents are the sample's first events: as ours, and as the API server has them.
func webhookEvents(t *testing.T, n int) ([]audit.Event, []*auditinternal.Event) {
	t.Helper()
	f, err := os.Open("../testdata/audit-sample.log.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var b audit.Batch
	var theirs []*auditinternal.Event
	decoder := upstreamaudit.Codecs.UniversalDecoder(auditinternal.SchemeGroupVersion)
	for line := range bytes.Lines(text) {
		if len(theirs) == n {
			break
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		if err := b.Add(line); err != nil {
			t.Fatal(err)
		}
		var e auditinternal.Event
		if err := runtime.DecodeInto(decoder, line, &e); err != nil {
			t.Fatal(err)
		}
		theirs = append(theirs, &e)
	}
	if len(theirs) != n {
		t.Fatalf("the sample has %d events", len(theirs))
	}
	return b.Events, theirs
}

func webhookConfig(t *testing.T, s *httptest.Server) string {
	t.Helper()
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: \"" + s.URL + "/audit\", certificate-authority-data: " + ca +
		"}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: secret}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// upstreamWebhook is the API server's client, with its tries and short waits.
func upstreamWebhook(t *testing.T, s *httptest.Server) upstreamaudit.Backend {
	t.Helper()
	b, err := upstream.NewBackend(webhookConfig(t, s), auditv1.SchemeGroupVersion, wait.Backoff{Duration: time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWebhookBody: what our client posts is what the API server's posts, to the byte, and so
// is what both say about it.
func TestWebhookBody(t *testing.T) {
	ours, theirs := webhookEvents(t, 400)
	type request struct{ method, path, kind, accept, authorization, body string }
	var got []request
	s := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = append(got, request{r.Method, r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("Accept"), r.Header.Get("Authorization"), string(body)})
	}))
	defer s.Close()
	client, err := webhook.NewClient(webhook.ClientOptions{Kubeconfig: webhookConfig(t, s)})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 400} {
		got = nil
		if !upstreamWebhook(t, s).ProcessEvents(theirs[:n]...) {
			t.Fatal("the API server's client failed")
		}
		if err := client.Send(t.Context(), ours[:n]); err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || got[0] != got[1] {
			t.Errorf("%d events: %d requests; the API server posts\n%.600v\nours\n%.600v", n, len(got), got[0], got[1])
		}
	}
}

// TestWebhookReceiver: the API server's client and our receiver: what it does with each answer,
// and that each event is stored once whatever is lost on the way.
func TestWebhookReceiver(t *testing.T) {
	ours, theirs := webhookEvents(t, 10)
	for _, tt := range []struct {
		name string
		// fault says what becomes of a post: "" is handled, "lost" handled with its answer lost,
		// "down" not handled, "busy" refused with 429.
		fault func(post int) string
		taken bool
		posts int
	}{
		{"at once", func(int) string { return "" }, true, 1},
		{"answer lost", func(post int) string { return map[bool]string{true: "lost"}[post <= 3] }, true, 4},
		{"down and back", func(post int) string { return map[bool]string{true: "down"}[post <= 4] }, true, 5},
		{"down", func(int) string { return "down" }, false, 5},
		// Retry-After is obeyed ten times within one try.
		{"busy for long", func(post int) string { return map[bool]string{true: "busy"}[post <= 20] }, true, 21},
	} {
		var mu sync.Mutex
		lines := map[string]int{}
		r, err := webhook.NewReceiver(webhook.ReceiverOptions{Append: func(_ context.Context, p webhook.Piece) (webhook.Taken, error) {
			mu.Lock()
			defer mu.Unlock()
			for i := range p.Events {
				lines[strings.Clone(p.Events[i].Raw)]++
			}
			return webhook.Taken{Added: len(p.Events)}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		posts := 0
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			posts++
			switch tt.fault(posts) {
			case "lost":
				r.ServeHTTP(httptest.NewRecorder(), req)
				panic(http.ErrAbortHandler)
			case "down":
				panic(http.ErrAbortHandler)
			case "busy":
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(http.StatusTooManyRequests)
			default:
				r.ServeHTTP(w, req)
			}
		}))
		if got := upstreamWebhook(t, s).ProcessEvents(theirs...); got != tt.taken || posts != tt.posts {
			t.Errorf("%s: taken %v after %d posts, want %v after %d", tt.name, got, posts, tt.taken, tt.posts)
		}
		s.Close()
		// A line as the log has it: that is how the store knows what it has already.
		for i := range ours {
			if tt.taken != (lines[ours[i].Raw] > 0) {
				t.Fatalf("%s: event %d came %d times", tt.name, i, lines[ours[i].Raw])
			}
		}
		if len(lines) > len(ours) {
			t.Errorf("%s: %d different lines of %d events", tt.name, len(lines), len(ours))
		}
	}
}

// TestWebhookRefusal: a batch that our receiver answers 400 is posted four more times by the API
// server, which then drops it; our own client gives up the bad items alone, at once.
func TestWebhookRefusal(t *testing.T) {
	ours, theirs := webhookEvents(t, 3)
	posts := 0
	r, err := webhook.NewReceiver(webhook.ReceiverOptions{Append: func(context.Context, webhook.Piece) (webhook.Taken, error) { return webhook.Taken{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		posts++
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		req.Body = io.NopCloser(bytes.NewReader(bytes.Replace(body, []byte(`"verb":"delete"`), []byte(`"verb":5`), 1)))
		req.ContentLength = -1
		r.ServeHTTP(w, req)
	}))
	defer s.Close()
	if upstreamWebhook(t, s).ProcessEvents(theirs...) || posts != 5 {
		t.Errorf("%d posts by the API server", posts)
	}
	posts = 0
	client, err := webhook.NewClient(webhook.ClientOptions{Kubeconfig: webhookConfig(t, s)})
	if err != nil {
		t.Fatal(err)
	}
	losses := pipeline.Losses(client.Send(t.Context(), ours))
	if len(losses) != 1 || losses[0].Reason != pipeline.ReasonRefused || len(losses[0].Events) != 1 || posts != 1 {
		t.Errorf("%d posts, %v", posts, losses)
	}
}
