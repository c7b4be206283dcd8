package webhook

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/internal/status"
)

// events makes n events with n different lines of about size bytes.
func events(t testing.TB, n, size int) []audit.Event {
	t.Helper()
	var b audit.Batch
	for i := range n {
		line := fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%08d","stage":"ResponseComplete","requestURI":"/api/%s","verb":"get","user":{"username":"alice"},"stageTimestamp":"2026-11-22T19:44:31.%06dZ"}`,
			i, strings.Repeat("x", size), i%1_000_000)
		if err := b.Add([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	return b.Events
}

// eventList is what kube-apiserver 1.37 posts for events.
func eventList(events []audit.Event) string {
	items := make([]string, len(events))
	for i := range events {
		items[i] = "{" + strings.TrimPrefix(events[i].Raw, `{"kind":"Event","apiVersion":"audit.k8s.io/v1",`)
	}
	return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + strings.Join(items, ",") + "]}\n"
}

// memory is a store as a receiver needs one: equal lines are kept once, and so are bad items
// at the same place.
type memory struct {
	mu     sync.Mutex
	lines  map[string]int
	bad    map[string]Bad
	calls  int
	pieces []int
	fail   func(call int) error // before anything is stored
	after  func(call int) error // when all is
}

func (m *memory) append(_ context.Context, p Piece) (Taken, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	if m.fail != nil {
		if err := m.fail(m.calls); err != nil {
			return Taken{}, err
		}
	}
	if m.lines == nil {
		m.lines, m.bad = map[string]int{}, map[string]Bad{}
	}
	var t Taken
	for i := range p.Events {
		line := strings.Clone(p.Events[i].Raw)
		if m.lines[line] > 0 {
			t.Duplicates++
			continue
		}
		m.lines[line]++
		t.Added++
	}
	for _, b := range p.Bad {
		b.Item = []byte(string(b.Item))
		m.bad[fmt.Sprint(b.Offset, string(b.Item))] = b
	}
	m.pieces = append(m.pieces, len(p.Events)+len(p.Bad))
	if m.after != nil {
		if err := m.after(m.calls); err != nil {
			return Taken{}, err
		}
	}
	return t, nil
}

func (m *memory) holds(t *testing.T, events []audit.Event) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.lines) != len(events) {
		t.Errorf("%d lines are stored, want %d", len(m.lines), len(events))
	}
	for i := range events {
		if m.lines[events[i].Raw] != 1 {
			t.Fatalf("event %d is stored %d times", i, m.lines[events[i].Raw])
		}
	}
}

func receiver(t testing.TB, o ReceiverOptions) *Receiver {
	t.Helper()
	r, err := NewReceiver(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// post hands a body to a receiver.
func post(r http.Handler, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "/any/path", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w
}

func statusIn(t *testing.T, w *httptest.ResponseRecorder) *status.Status {
	t.Helper()
	var s status.Status
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		t.Fatal(err)
	}
	if s.Kind != "Status" || s.APIVersion != "v1" || int(s.Code) != w.Code || (s.Status == "Success") != (w.Code == http.StatusOK) {
		t.Errorf("answer %d is %+v", w.Code, s)
	}
	return &s
}

// client makes a client for a server.
func client(t testing.TB, server string, user ...string) *Client {
	t.Helper()
	return clientOf(t, fmt.Sprintf("{server: %q}", server), user...)
}

// clientOf makes a client for a cluster of a kubeconfig.
func clientOf(t testing.TB, cluster string, user ...string) *Client {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("current-context: c\nclusters: [{name: c, cluster: %s}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {%s}}]\n", cluster, strings.Join(user, ","))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(ClientOptions{Kubeconfig: file})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// handle has a client's posts answered by h, without a network.
func (c *Client) handle(h http.Handler) *Client {
	c.http.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		in := r.Clone(r.Context())
		in.Body = r.Body
		h.ServeHTTP(w, in)
		return w.Result(), r.Context().Err()
	})
	return c
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// authority is a server's certificate as it stands in a kubeconfig.
func authority(s *httptest.Server) string {
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}
