package capture_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/capture"
	"github.com/ktrail/ktrail/audit/policy"
)

// memory is a sink that keeps events, and does not take those of the stages in refuse.
type memory struct {
	mu     sync.Mutex
	events []audit.Event
	refuse map[string]bool
	// before runs before an event is taken.
	before func(ev *audit.Event)
}

var errDown = errors.New("the sink is down")

func (m *memory) Send(ctx context.Context, events []audit.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range events {
		if m.before != nil {
			m.before(&events[i])
		}
		if m.refuse[events[i].Stage] {
			return errDown
		}
		m.events = append(m.events, events[i])
	}
	return nil
}

func (m *memory) Close(context.Context) error { return nil }

func (m *memory) taken() []audit.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]audit.Event(nil), m.events...)
}

// stages are the stages that were taken, with commas.
func (m *memory) stages() string {
	var s []string
	for _, ev := range m.taken() {
		s = append(s, ev.Stage)
	}
	return strings.Join(s, ",")
}

func (m *memory) last(t *testing.T) audit.Event {
	t.Helper()
	events := m.taken()
	if len(events) == 0 {
		t.Fatal("no event was taken")
	}
	return events[len(events)-1]
}

func rules(t testing.TB, text string) func() *policy.Evaluator {
	t.Helper()
	p, err := policy.Load([]byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n" + text))
	if err != nil {
		t.Fatal(err)
	}
	return capture.Fixed(policy.Compile(p))
}

func level(t testing.TB, name string) func() *policy.Evaluator {
	return rules(t, "- level: "+name+"\n")
}

// alice is everybody.
var alice = capture.IdentifierFunc(func(*http.Request) (capture.Identity, error) {
	return capture.Identity{User: audit.UserInfo{Username: "alice", Groups: []string{"dev", "system:authenticated"}}}, nil
})

// around is next with everything recorded in a memory; change may change the options.
func around(t testing.TB, next http.HandlerFunc, change func(*capture.Options)) (http.Handler, *memory) {
	t.Helper()
	sink := &memory{}
	o := capture.Options{Policy: level(t, "RequestResponse"), Sink: sink, Identifier: alice}
	if change != nil {
		change(&o)
	}
	h, err := capture.Handler(next, o)
	if err != nil {
		t.Fatal(err)
	}
	return h, sink
}

// ask has h answer a request without a network.
func ask(h http.Handler, method, target, contentType, body string) *httptest.ResponseRecorder {
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, in)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// answers is a handler that reads its request and answers code and JSON.
func answers(code int, body string) http.HandlerFunc {
	return answersAs(code, "application/json", body)
}

func answersAs(code int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}
