package store

import (
	"testing"

	"github.com/ktrail/ktrail/internal/durable"
	"github.com/prometheus/client_golang/prometheus"
)

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	with := func(o *Options) { o.Registerer = reg }
	fsys := durable.NewMemFS()
	s := mustOpen(t, fsys, with)
	mustAppend(t, s, step(t, 1))
	mustAppend(t, s, step(t, 1))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"events_added_total": 7, "events_duplicate_total": 7, "lines_quarantined_total": 2, "events": 7,
		"segments": 1, "gaps": 2, "accepting": 1, "commit_seconds": 2, "damaged": 0,
	} {
		if v, ok := got["ktrail_store_"+name]; !ok || v != want {
			t.Errorf("%s: %v, want %v", name, v, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, fsys, with) // the names are free again
}

// Labels are few, and never text that would make Prometheus panic.
func TestSourceLabel(t *testing.T) {
	for source, want := range map[string]string{
		"/var/log/audit.log": "/var/log/audit.log", "import:audit-2026.log": "import", "import:\xff": "import", "/a\xff.log": "/a\uFFFD.log",
	} {
		if got := sourceLabel(source); got != want {
			t.Errorf("%q became %q, want %q", source, got, want)
		}
	}
}
