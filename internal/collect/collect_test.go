package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// line is an event as the API server writes it.
func line(seq, size int) string {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC).Add(time.Duration(seq) * time.Second).Format("2006-01-02T15:04:05.000000Z")
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%08d","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/prod/pods/web","verb":"create","user":{"username":"alice","groups":["system:authenticated"]},"sourceIPs":["10.2.0.15"],"objectRef":{"resource":"pods","namespace":"prod","name":"web"},"responseStatus":{"metadata":{},"code":201},"requestObject":{"note":%q},"requestReceivedTimestamp":"%s","stageTimestamp":"%s","annotations":{}}`,
		seq, strings.Repeat("x", size), at, at)
}

func lines(from, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(line(from+i, 10) + "\n")
	}
	return b.String()
}

var errAppend = errors.New("no space left on device")

// memory is a store that keeps equal lines once. It fails as told: before it has
// taken a commit or after.
type memory struct {
	mu      sync.Mutex
	lines   map[string]int
	order   []string
	cursors map[string]json.RawMessage
	bad     []Quarantined
	gaps    []Gap
	commits int
	fail    func() (before, after bool)
	block   chan struct{} // Append waits until it is closed
	added   chan int
}

func newMemory() *memory {
	return &memory{lines: map[string]int{}, cursors: map[string]json.RawMessage{}}
}

func (m *memory) Append(ctx context.Context, c Commit) (Result, error) {
	if m.block != nil {
		select {
		case <-m.block:
		case <-ctx.Done():
			return Result{}, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var before, after bool
	if m.fail != nil {
		before, after = m.fail()
	}
	if before || ctx.Err() != nil {
		return Result{}, errAppend
	}
	var r Result
	m.commits++
	for _, e := range c.Events {
		if e.Source != c.Source {
			return r, fmt.Errorf("event of source %q in a commit of %q", e.Source, c.Source)
		}
		if m.lines[e.Raw] > 0 {
			r.Duplicates++
			continue
		}
		raw := strings.Clone(e.Raw)
		m.lines[raw]++
		m.order = append(m.order, raw)
		r.Added++
	}
	if c.Cursor != nil {
		m.cursors[c.Source] = c.Cursor
	}
	for _, q := range c.Quarantined {
		q.Line = slices.Clone(q.Line)
		m.bad = append(m.bad, q)
	}
	m.gaps = append(m.gaps, c.Gaps...)
	if m.added != nil {
		m.added <- r.Added
	}
	if after {
		return Result{}, errAppend
	}
	return r, nil
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.lines)
}

func (m *memory) saved() map[string]json.RawMessage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.cursors)
}

// flaky makes a failure function of a seed.
func flaky(seed uint64) func() (bool, bool) {
	r := rand.New(rand.NewPCG(seed, 7))
	return func() (bool, bool) { return r.IntN(4) == 0, r.IntN(6) == 0 }
}

func noNotifications() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }

// following runs a Service until the returned function is called.
func following(t *testing.T, o Options) (s *Service, stop func()) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return s, func() { cancel(); done.Wait() }
}

// discard takes everything.
type discard struct{}

func (discard) Append(_ context.Context, c Commit) (Result, error) {
	return Result{Added: len(c.Events)}, nil
}
