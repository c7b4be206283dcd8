package capture_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit/capture"
)

var loadFor = flag.Duration("load", 0, "how long TestLoad sends 10,000 requests a second (make load: 1m); 0 sends 2,000 requests at once")

// TestLoad sends requests through the library into a log file by way of the buffer of batch mode, and holds
// that nothing is lost: a line for every event. It prints what it saw of time and memory.
func TestLoad(t *testing.T) {
	const perSecond, workers = 10000, 16
	path := filepath.Join(t.TempDir(), "audit.log")
	_, sinks, err := audited(t.Context(), http.NotFoundHandler(), []byte(`{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Metadata"}]}`),
		[]string{"--audit-log-path=" + path, "--audit-log-mode=batch", "--audit-log-batch-max-size=400", "--audit-log-batch-max-wait=1s", "--audit-log-maxsize=0"})
	if err != nil {
		t.Fatal(err)
	}
	h, err := capture.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"Pod"}`)
	}), capture.Options{Policy: level(t, "Metadata"), Identifier: alice, Sink: sinks, Ledger: sinks.Ledger()})
	if err != nil {
		t.Fatal(err)
	}
	total := 2000
	if *loadFor > 0 {
		total = int(loadFor.Seconds() * perSecond)
	}

	var first, last runtime.MemStats
	tokens := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for n := range tokens {
				r := httptest.NewRequest("POST", "/api/v1/namespaces/prod/pods", strings.NewReader(fmt.Sprintf(`{"metadata":{"name":"p%d"}}`, n)))
				h.ServeHTTP(&quiet{http.Header{}}, r)
			}
		})
	}
	began := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for sent := 0; sent < total; {
		due := total
		if *loadFor > 0 {
			now := <-tick.C
			due = min(total, int(now.Sub(began).Seconds()*perSecond))
		}
		for ; sent < due; sent++ {
			tokens <- sent
			if sent == total/10 {
				runtime.GC()
				runtime.ReadMemStats(&first)
			}
		}
	}
	close(tokens)
	wg.Wait()
	took := time.Since(began)
	runtime.GC()
	runtime.ReadMemStats(&last)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if err := sinks.Close(ctx); err != nil {
		t.Error(err)
	}
	if lost := sinks.Ledger().Counts(); len(lost) > 0 {
		t.Errorf("lost: %+v", lost)
	}
	lines := countLines(t, path)
	if lines != 2*total {
		t.Errorf("%d lines of %d requests, want two for each", lines, total)
	}
	t.Logf("%d requests in %v: %.0f a second, %d lines, heap %.1f MB after a tenth and %.1f MB at the end, %.1f MB from the system",
		total, took.Round(time.Millisecond), float64(total)/took.Seconds(), lines, mb(first.HeapAlloc), mb(last.HeapAlloc), mb(last.Sys))
}

func mb(n uint64) float64 { return float64(n) / 1e6 }

func countLines(t *testing.T, path string) (n int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); n++ {
		if !strings.HasSuffix(s.Text(), "}") {
			t.Fatalf("line %d is torn: %s", n+1, s.Text())
		}
	}
	return n
}

// quiet is a ResponseWriter that costs nothing.
type quiet struct{ header http.Header }

func (q *quiet) Header() http.Header         { return q.header }
func (q *quiet) Write(p []byte) (int, error) { return len(p), nil }
func (q *quiet) WriteHeader(int)             {}
