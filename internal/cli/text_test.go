package cli

import (
	"testing"
	"time"
)

func TestBar(t *testing.T) {
	for _, tt := range []struct {
		done, total, events int64
		spent               time.Duration
		width               int
		want                string
	}{
		{500, 1000, 12, 2 * time.Second, 80, "███████████████░░░░░░░░░░░░░░░  50%  250 B/s  12 events  2s left"},
		{50_000_000, 0, 1, 10 * time.Second, 80, "50.0 MB  5.0 MB/s  1 event"},
		{1_000_000_000, 1_000_000_000, 2_345_678, 100 * time.Second, 40, "100%  10.0 MB/s  2,345,678 events  0s l…"},
		{0, 1000, 0, time.Second, 80, "░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░   0%  0 B/s"},
	} {
		if got := bar(tt.done, tt.total, tt.events, tt.spent, tt.width); got != tt.want {
			t.Errorf("bar(%d of %d) = %q, want %q", tt.done, tt.total, got, tt.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234", -123: "-123"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_960: "1.0 MB", 2_390_000_000: "2.4 GB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", 59 * time.Second: "59s", 190 * time.Second: "3m10s", 2*time.Hour + 5*time.Minute: "2h05m", 49 * time.Hour: "2d01h"} {
		if got := short(d); got != want {
			t.Errorf("short(%v) = %q, want %q", d, got, want)
		}
	}
	for us, want := range map[int64]string{0: "", 12: "12µs", 1500: "1.5ms", 2_500_000: "2.5s", 61_000_000: "1m01s"} {
		if got := latency(us); got != want {
			t.Errorf("latency(%d) = %q, want %q", us, got, want)
		}
	}
}
