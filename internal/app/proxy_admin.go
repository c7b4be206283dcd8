package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ktrail/ktrail/audit/pipeline"
	"github.com/ktrail/ktrail/internal/web"
)

// adminHandler answers /livez, /readyz and /metrics, on an address of their own: on
// the proxy's these paths are the API server's. A page in a browser whose name was made to
// resolve to loopback (DNS rebinding) gives itself away by that name.
func (p *Proxy) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", live)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { p.ready(w, r, true) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !web.LocalHost(r.Host) {
			plainText(w, http.StatusForbidden, "ask for localhost or 127.0.0.1\n")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// healthHandler answers /livez and /readyz in a word, to anybody: a kubelet asks for them
// at the address of the pod.
func (p *Proxy) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", live)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { p.ready(w, r, false) })
	return mux
}

func live(w http.ResponseWriter, _ *http.Request) { plainText(w, http.StatusOK, "ok\n") }

// reach is whether the upstream answers, asked once a second however many ask for it.
type reach struct {
	mu    sync.Mutex
	until time.Time
	err   error
}

func (c *reach) get(ask func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().After(c.until) {
		c.err = ask()
		c.until = time.Now().Add(time.Second)
	}
	return c.err
}

// ready answers 200 if requests are answered and recorded. What is refused or lost does not
// make the proxy unready, it serves on, but where reasons are given it is always said.
func (p *Proxy) ready(w http.ResponseWriter, r *http.Request, reasons bool) {
	var not, but []string
	if p.stopping.Err() != nil {
		not = append(not, "the proxy is stopping")
	} else {
		err := p.reach.get(func() error {
			// The answer is everybody's: who asked may go away.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 2*time.Second)
			defer cancel()
			return p.files.reachable(ctx, &p.o)
		})
		if err != nil {
			not = append(not, "the API server cannot be reached: "+err.Error())
		}
	}
	for _, s := range p.sinks.Status().Troubles() {
		if p.sinks.Strict() {
			not = append(not, s)
		} else {
			but = append(but, s)
		}
	}
	but = append(but, p.parts.refused()...)
	for _, c := range p.sinks.Ledger().Counts() {
		if c.Reason != pipeline.ReasonCut {
			but = append(but, fmt.Sprintf("%d events lost by %s: %s", c.Events, c.Sink, c.Reason))
		}
	}
	status, word := http.StatusOK, "ready"
	if len(not) > 0 {
		status, word = http.StatusServiceUnavailable, "not ready"
	}
	var b strings.Builder
	b.WriteString(word + "\n")
	if !reasons {
		not, but = nil, nil
	}
	for _, line := range append(not, but...) {
		// Errors name files and may quote what others sent.
		fmt.Fprintf(&b, "- %s\n", strings.Trim(fmt.Sprintf("%+q", line), `"`))
	}
	plainText(w, status, b.String())
}

func plainText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // whoever asked is gone
}

// ledgerCollector shows a ledger as metrics.
type ledgerCollector struct{ ledger *pipeline.Ledger }

func (c *ledgerCollector) lost() *prometheus.Desc {
	return prometheus.NewDesc("ktrail_audit_events_lost_total", "Audit events that were lost, or cut (reason cut), since the start.", []string{"sink", "reason", "rule"}, nil)
}

// Describe implements [prometheus.Collector].
func (c *ledgerCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.lost() }

// Collect implements [prometheus.Collector].
func (c *ledgerCollector) Collect(ch chan<- prometheus.Metric) {
	for _, n := range c.ledger.Counts() {
		ch <- prometheus.MustNewConstMetric(c.lost(), prometheus.CounterValue, float64(n.Events), n.Sink, string(n.Reason), fmt.Sprint(n.Rule))
	}
}
