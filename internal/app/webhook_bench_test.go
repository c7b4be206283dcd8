package app

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/webhook"
)

// BenchmarkWebhook posts batches as large as the API server's, 400 events, ten at a time, over
// loopback into a server with its store. It prints events a second until they were answered:
// durable; and events a CPU second, the senders' share included.
func BenchmarkWebhook(b *testing.B) {
	const batches, size, senders = 100, 400, 10
	lines := sampleOf(b)
	o := Options{
		Store:  StoreOptions{Dir: b.TempDir(), MinFree: 1 << 20},
		Listen: "127.0.0.1:0", Version: "test", Logger: slog.New(slog.DiscardHandler), Webhook: WebhookOptions{Listen: "127.0.0.1:0"},
	}
	a, err := New(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	a.Start(b.Context())
	defer func() {
		if err := a.Stop(b.Context()); err != nil {
			b.Error(err)
		}
	}()
	clients := make([]*webhook.Client, senders)
	for i := range clients {
		clients[i] = plainPoster(b, a.WebhookURL())
	}
	n := 0
	var bytes int64
	var cpu, wall time.Duration
	for b.Loop() {
		b.StopTimer()
		all := make([]audit.Batch, batches)
		for i := range all {
			for range size {
				l := lines[n%len(lines)]
				n++
				at := strings.Index(l, `"auditID":"`) + len(`"auditID":"`)
				line := fmt.Sprintf("%s%08d%s", l[:at], n, l[at+8:])
				if err := all[i].Add([]byte(line)); err != nil {
					b.Fatal(err)
				}
				bytes += int64(len(line))
			}
		}
		before, began := cpuTime(b), time.Now()
		b.StartTimer()
		work := make(chan []audit.Event)
		var running sync.WaitGroup
		for _, c := range clients {
			running.Go(func() {
				for batch := range work {
					if err := c.Send(b.Context(), batch); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for i := range all {
			work <- all[i].Events
		}
		close(work)
		running.Wait()
		wall += time.Since(began)
		cpu += cpuTime(b) - before
	}
	if a.Events() != int64(n) {
		b.Fatalf("%d of %d events are stored", a.Events(), n)
	}
	b.ReportMetric(float64(n)/wall.Seconds(), "events/s")
	b.ReportMetric(float64(n)/cpu.Seconds(), "events/cpu-s")
	b.ReportMetric(float64(bytes)/float64(n), "bytes/event")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func sampleOf(b *testing.B) (lines []string) {
	f, err := os.Open("../../testdata/audit-sample.log.gz")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		b.Fatal(err)
	}
	scan := bufio.NewScanner(z)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		lines = append(lines, scan.Text())
	}
	if scan.Err() != nil || len(lines) < 3000 {
		b.Fatalf("%d lines, %v", len(lines), scan.Err())
	}
	return lines
}
