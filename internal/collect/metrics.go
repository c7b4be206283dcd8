package collect

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of all sources; the label is the source's name.
type metrics struct {
	lines, events, quarantined, gaps, retries *prometheus.CounterVec
	lag                                       *prometheus.GaugeVec
}

type sourceMetrics struct {
	lines, added, duplicates, quarantined, gaps, retries prometheus.Counter
	lag                                                  prometheus.Gauge
	linesSeen                                            int64
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "ktrail", Subsystem: "collect", Name: name, Help: help}, append([]string{"source"}, labels...))
	}
	m := &metrics{
		lines:       counter("lines_total", "Lines read from audit logs."),
		events:      counter("events_total", "Events stored, by whether the store had them already.", "result"),
		quarantined: counter("quarantined_total", "Pieces of logs that are no audit event, kept in quarantine."),
		gaps:        counter("gaps_total", "Times that events may have been lost before they were read."),
		retries:     counter("append_retries_total", "Times that the store refused a batch, which is tried again."),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "ktrail", Subsystem: "collect", Name: "lag_bytes",
			Help: "Bytes written to audit logs and not yet durable in the store.",
		}, []string{"source"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.lines, m.events, m.quarantined, m.gaps, m.retries, m.lag} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of collect: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) source(name string) *sourceMetrics {
	return &sourceMetrics{
		lines: m.lines.WithLabelValues(name), added: m.events.WithLabelValues(name, "added"), duplicates: m.events.WithLabelValues(name, "duplicate"),
		quarantined: m.quarantined.WithLabelValues(name), gaps: m.gaps.WithLabelValues(name), retries: m.retries.WithLabelValues(name),
		lag: m.lag.WithLabelValues(name),
	}
}
