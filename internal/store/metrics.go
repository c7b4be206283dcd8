package store

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the store's, all named ktrail_store_*.
type metrics struct {
	store *Store
	reg   prometheus.Registerer

	events, duplicates *prometheus.CounterVec
	quarantined        *prometheus.CounterVec
	bytes              prometheus.Counter
	failures           prometheus.Counter
	dropped            prometheus.Counter
	compactions        prometheus.Counter
	scrubs             prometheus.Counter
	commitSeconds      prometheus.Histogram
	compactSeconds     prometheus.Histogram

	stored, segments, segmentBytes, free, damage, gaps, ready, pending *prometheus.Desc
}

func newMetrics(s *Store, reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "ktrail_store_" + name, Help: help})
	}
	vec := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ktrail_store_" + name, Help: help}, []string{"source"})
	}
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ktrail_store_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		})
	}
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("ktrail_store_"+name, help, nil, nil)
	}
	m := &metrics{
		store: s, reg: reg,
		events:         vec("events_added_total", "Events stored since start."),
		duplicates:     vec("events_duplicate_total", "Events not stored because an equal line was there."),
		quarantined:    vec("lines_quarantined_total", "Lines that could not be decoded, since start."),
		bytes:          counter("raw_bytes_added_total", "Bytes of the lines given to the store, duplicates too."),
		failures:       counter("commit_failures_total", "Commits that failed for another reason than a full disk."),
		dropped:        counter("events_dropped_total", "Events dropped by retention."),
		compactions:    counter("compactions_total", "Merges of segments."),
		scrubs:         counter("scrubs_total", "Complete checks of all segments."),
		commitSeconds:  seconds("commit_seconds", "Time of a commit until it was durable."),
		compactSeconds: seconds("compaction_seconds", "Time of a merge."),
		stored:         desc("events", "Events in the store."),
		segments:       desc("segments", "Live segments."),
		segmentBytes:   desc("bytes", "Bytes of the live segments."),
		free:           desc("free_bytes", "Bytes free on the store's volume."),
		damage:         desc("damaged", "Damaged segments and records found."),
		gaps:           desc("gaps", "Known gaps of all sources that are kept."),
		ready:          desc("accepting", "1 if events are taken, 0 if the disk is too full or the last commit failed."),
		pending:        desc("obsolete_files", "Replaced files that wait for their readers to be removed."),
	}
	if reg == nil {
		return m, nil
	}
	if err := reg.Register(m); err != nil {
		return nil, fmt.Errorf("register the store's metrics: %w", err)
	}
	return m, nil
}

func (m *metrics) unregister() {
	if m != nil && m.reg != nil {
		m.reg.Unregister(m)
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.events, m.duplicates, m.quarantined, m.bytes, m.failures, m.dropped,
		m.compactions, m.scrubs, m.commitSeconds, m.compactSeconds,
	}
}

// Describe implements [prometheus.Collector].
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{m.stored, m.segments, m.segmentBytes, m.free, m.damage, m.gaps, m.ready, m.pending} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
	st := m.store.State()
	gaps, ready := 0, 0.0
	for _, l := range st.Gaps {
		gaps += len(l)
	}
	if st.State == StateOK {
		ready = 1
	}
	m.store.mu.Lock()
	pending := len(m.store.obsolete)
	m.store.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	gauge(m.stored, float64(st.Events))
	gauge(m.segments, float64(st.Segments))
	gauge(m.segmentBytes, float64(st.Bytes))
	gauge(m.free, float64(st.FreeBytes))
	gauge(m.damage, float64(len(st.Damage)))
	gauge(m.gaps, float64(gaps))
	gauge(m.ready, ready)
	gauge(m.pending, float64(pending))
}

// sourceLabel is a source as a label. Imports are one: each file is a source of
// its own, and there is no end of them.
func sourceLabel(source string) string {
	if strings.HasPrefix(source, "import:") {
		return "import"
	}
	return strings.ToValidUTF8(source, "\uFFFD") // a label that is not would panic
}

// added counts a commit.
func (m *metrics) added(batch []*request, quarantined map[string]int64) {
	for _, r := range batch {
		source := sourceLabel(r.c.Source)
		m.bytes.Add(float64(r.bytes))
		if n := r.res.Added; n > 0 {
			m.events.WithLabelValues(source).Add(float64(n))
		}
		if n := r.res.Duplicates; n > 0 {
			m.duplicates.WithLabelValues(source).Add(float64(n))
		}
	}
	for source, n := range quarantined {
		m.quarantined.WithLabelValues(sourceLabel(source)).Add(float64(n))
	}
}
