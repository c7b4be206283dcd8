package web

import (
	"math"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// TestMeters: parts follow each other, never leave the bar, and what there is at all is seen.
func TestMeters(t *testing.T) {
	for name, amounts := range map[string][]amount{
		"usual":     {{10, "a"}, {60, "b"}, {30, "c"}},
		"tiny":      {{1, "a"}, {0, "b"}, {99_999, "c"}},
		"too much":  {{200_000, "a"}, {5, "b"}},
		"negative":  {{-5, "a"}, {50, "b"}},
		"many tiny": {{1, "a"}, {1, "b"}, {1, "c"}, {99_997, "d"}},
	} {
		whole := int64(100_000)
		if name == "usual" || name == "negative" {
			whole = 100
		}
		x := 0.0
		for i, p := range newMeter("", whole, amounts...).Parts {
			if math.Abs(p.X-x) > 1e-9 || p.Width < 0 || p.X+p.Width > 100+1e-9 {
				t.Errorf("%s: part %d is %+v behind %g", name, i, p, x)
			}
			if amounts[i].n > 0 && p.Width < 0.5 {
				t.Errorf("%s: part %d is not seen", name, i)
			}
			x += p.Width
		}
	}
	if newMeter("", 0, amount{1, "a"}) != nil {
		t.Error("a meter of nothing")
	}
}

func TestSourcesData(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	d := newSourcesData(Status{Store: StoreState{
		Bytes: 5 << 30, FreeBytes: 20 << 30, DiskBytes: 100 << 30, MinFreeBytes: 1 << 30, RetainSeconds: 30 * 86400, RetainBytes: 10 << 30,
		First: audit.TimeOf(now.AddDate(0, 0, -12)), Last: audit.TimeOf(now),
	}})
	for got, want := range map[string]string{
		d.Disk.Label: "5.0 GiB of events, 75.0 GiB of others, 20.0 GiB free, of which 1.0 GiB must stay free",
		d.Age.Label:  "12 days of at most 30 days",
		d.Size.Label: "5.0 GiB of at most 10.0 GiB",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if d := newSourcesData(Status{}); d.Disk != nil || d.Age != nil || d.Size != nil {
		t.Error("a store without limits has meters")
	}
	for seconds, want := range map[float64]string{0.25: "0.2 s", 9.96: "10.0 s", 60: "60 seconds", 754: "12 minutes", 8000: "2 hours", 300_000: "3 days"} {
		if got := lagText(seconds); got != want {
			t.Errorf("lagText(%g) = %q, want %q", seconds, got, want)
		}
	}
}

// TestWebhookSource: a webhook that listens is well, whatever was not posted yet; one whose last
// batch was refused is not.
func TestWebhookSource(t *testing.T) {
	src := SourceState{Name: "webhook", State: "listening"}
	v := newStatusView(Status{Ready: true, Store: StoreState{State: "ok"}, Sources: []SourceState{src}})
	if v.Level != "ok" || v.Sources[0].Level != "ok" || !v.Sources[0].Webhook || v.Sources[0].Behind != "" {
		t.Errorf("%+v", v)
	}
	src.Error = "the body is over 104857600 bytes"
	if v := newStatusView(Status{Ready: true, Store: StoreState{State: "ok"}, Sources: []SourceState{src}}); v.Level != "warn" || v.Sources[0].Level != "bad" {
		t.Errorf("%+v", v)
	}
}
