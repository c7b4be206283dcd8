package collect

import (
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
)

func TestRate(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	var r Rate
	if got := r.PerSecond(start); got != 0 {
		t.Errorf("before anything: %v", got)
	}
	for i := range 120 {
		r.Add(start.Add(time.Duration(i)*time.Second), 10)
	}
	for _, c := range []struct {
		at   int
		want float64
	}{{119, 10}, {149, 5}, {178, 10. / 60}, {179, 0}, {100_000, 0}} {
		if got := r.PerSecond(start.Add(time.Duration(c.at) * time.Second)); got != c.want {
			t.Errorf("after %d s: %v, want %v", c.at, got, c.want)
		}
	}
	var fresh Rate
	fresh.Add(start, 30)
	fresh.Add(start.Add(2*time.Second), 30)
	if got := fresh.PerSecond(start.Add(3 * time.Second)); got != 20 {
		t.Errorf("three seconds after the first: %v, want 20", got)
	}
}

func TestLagInTime(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	ago := func(d time.Duration) audit.Time { return audit.TimeOf(now.Add(-d)) }
	for _, c := range []struct {
		name     string
		bytes    int64
		last     audit.Time
		caughtUp time.Duration // ago; 0 is never
		want     time.Duration
	}{
		{"nothing is behind", 0, ago(time.Hour), time.Hour, 0},
		{"nothing was stored yet", 5, 0, 0, 0},
		{"an old log is read", 5, ago(48 * time.Hour), 0, 48 * time.Hour},
		{"a burst after an hour of rest", 5, ago(time.Hour), time.Second, time.Second},
		{"a steady stream", 5, ago(2 * time.Second), time.Minute, 2 * time.Second},
		{"a clock that is ahead", 5, ago(-time.Hour), time.Minute, 0},
	} {
		s := &source{state: State{LagBytes: c.bytes, LastEvent: c.last}}
		if c.caughtUp != 0 {
			s.caughtUp = now.Add(-c.caughtUp)
		}
		if got := s.lag(now); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
