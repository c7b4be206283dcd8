package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

const turns = 5

// rates are events a second from the filters' record until all are written or posted and the back end is closed,
// in batch mode: the fastest of some turns.
func rates(ctx context.Context, w *tabwriter.Writer, events int) error {
	fmt.Fprintf(w, "%d events in batch mode\tupstream\tktrail\tratio\t\n", events)
	var posted atomic.Int64
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		counter := &occurrences{of: []byte(`"auditID":`)}
		_, _ = io.Copy(counter, r.Body)
		posted.Add(counter.n)
	}))
	defer hook.Close()
	for _, row := range []struct{ name, argv string }{
		{"log", "--audit-log-path=DIR/audit.log --audit-log-maxbackup=1 --audit-log-mode=batch --audit-log-batch-max-size=400 --audit-log-batch-max-wait=1s --audit-log-truncate-enabled --audit-log-batch-buffer-size="},
		{"webhook", "--audit-webhook-config-file=DIR/hook.yaml --audit-webhook-batch-throttle-enable=false --audit-webhook-batch-max-wait=1s --audit-webhook-truncate-enabled --audit-webhook-batch-buffer-size="},
	} {
		theirBest, ourBest := time.Hour, time.Hour
		for range turns {
			for _, one := range []struct {
				best *time.Duration
				open func(dir string, argv ...string) (*side, error)
			}{{&theirBest, upstream}, {&ourBest, func(_ string, argv ...string) (*side, error) { return ktrail(ctx, argv...) }}} {
				dir, err := os.MkdirTemp("", "ktrail-bench")
				if err != nil {
					return err
				}
				argv := strings.Fields(strings.ReplaceAll(row.argv, "DIR", dir) + fmt.Sprint(events))
				if err := kubeconfig(dir, hook.URL); err != nil {
					return err
				}
				s, err := one.open(dir, argv...)
				if err != nil {
					return err
				}
				posted.Store(0)
				took, err := all(s, events)
				if err == nil && row.name == "webhook" && posted.Load() != int64(events) {
					err = fmt.Errorf("%d of %d events came to the webhook", posted.Load(), events)
				}
				if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
					return err
				}
				*one.best = min(*one.best, took)
			}
		}
		rate := func(d time.Duration) float64 { return float64(events) / d.Seconds() }
		fmt.Fprintf(w, "%s\t%.0f/s\t%.0f/s\t%.1fx\t\n", row.name, rate(theirBest), rate(ourBest), rate(ourBest)/rate(theirBest))
	}
	return w.Flush()
}

// occurrences counts a text in what is written to it.
type occurrences struct {
	of, rest []byte
	n        int64
}

func (o *occurrences) Write(p []byte) (int, error) {
	text := append(o.rest, p...)
	o.n += int64(bytes.Count(text, o.of))
	o.rest = append(o.rest[:0], text[max(0, len(text)-len(o.of)+1):]...)
	return len(p), nil
}

func all(s *side, events int) (time.Duration, error) {
	runtime.GC()
	start := time.Now()
	for range events {
		if err := s.send(); err != nil {
			return 0, err
		}
	}
	err := s.close()
	return time.Since(start), err
}

func kubeconfig(dir, url string) error {
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: '" + url + "'}}]\nusers: [{name: u, user: {}}]\n"
	return os.WriteFile(filepath.Join(dir, "hook.yaml"), []byte(text), 0o600)
}

// memories measures each side in a process of its own.
func memories(dead time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Printf("a webhook that takes connections and never answers, 10,000 events a second for %v, default flags\n", dead)
	for _, name := range []string{"upstream", "ktrail"} {
		cmd := exec.Command(self, "-memory", name, "-dead", dead.String())
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("measure the memory of %s: %w", name, err)
		}
		fmt.Printf("%10s  %s", name, out)
	}
	return nil
}

// deadWebhook prints what a side's memory is after events went to a webhook that is dead.
func deadWebhook(ctx context.Context, name string, dead time.Duration) error {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0") // nobody accepts: the kernel does
	if err != nil {
		return err
	}
	defer l.Close()
	dir, err := os.MkdirTemp("", "ktrail-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := kubeconfig(dir, "http://"+l.Addr().String()); err != nil {
		return err
	}
	var s *side
	if name == "upstream" {
		s, err = upstream(dir, "--audit-webhook-config-file="+dir+"/hook.yaml")
	} else {
		s, err = ktrail(ctx, "--audit-webhook-config-file="+dir+"/hook.yaml")
	}
	if err != nil {
		return err
	}
	before := heap()
	const each = 100 // events, every hundredth of a second
	tick := time.NewTicker(time.Second / 100)
	defer tick.Stop()
	sent := 0
	for end := time.Now().Add(dead); time.Now().Before(end); <-tick.C {
		for range each {
			if err := s.send(); err != nil {
				return err
			}
			sent++
		}
	}
	fmt.Printf("%d events sent: heap %+.0f MB, largest resident size %s\n", sent, float64(heap()-before)/(1<<20), peak())
	return nil
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // no heap is that large
}

// peak is VmHWM, where there is one.
func peak() string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
