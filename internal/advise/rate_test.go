package advise_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/internal/advise"
)

func event(at time.Time, more string) string {
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete","requestURI":"/x%s","verb":"get","user":{"username":"u"},"stageTimestamp":"%s"}`+"\n",
		more, at.UTC().Format("2006-01-02T15:04:05.000000Z"))
}

func TestRate(t *testing.T) {
	start := time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)
	var log strings.Builder
	total := 0
	add := func(at time.Duration, n int, more string) {
		for range n {
			total += len(event(start.Add(at), more))
			log.WriteString(event(start.Add(at), more))
		}
	}
	add(0, 10, "")
	add(30*time.Second, 40, "")
	add(30*time.Second+900*time.Millisecond, 5, strings.Repeat("y", 1000))
	log.WriteString("not an event\n{\"kind\":\n\n")
	add(70*time.Second, 20, "")
	add(100*time.Second, 25, "")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(log.String())); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"plain": log.String(), "gzip": packed.String()} {
		var m advise.Meter
		if err := m.Read(strings.NewReader(text)); err != nil {
			t.Fatal(name, err)
		}
		r, err := m.Rate()
		if err != nil {
			t.Fatal(name, err)
		}
		if r.PerSecond != 1 || r.BusiestSecond != 45 || r.BusiestMinute != 55 || r.EventBytes != int64(total/100) || r.LargestEvent != int64(len(event(start, strings.Repeat("y", 1000)))) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// A log of months takes no more memory than one of hours, and its busiest second
// is found all the same.
func TestRateFolds(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var log strings.Builder
	for i := range 40_000 {
		log.WriteString(event(start.Add(time.Duration(i)*3*time.Second), ""))
		if i == 5 {
			log.WriteString(strings.Repeat(event(start.Add(15*time.Second), ""), 99))
		}
	}
	var m advise.Meter
	if err := m.Read(strings.NewReader(log.String())); err != nil {
		t.Fatal(err)
	}
	r, err := m.Rate()
	if err != nil || r.BusiestSecond != 100 || r.BusiestMinute != 119 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestNoRate(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "holds no audit event",
		"hello\n":                  "holds no audit event",
		event(time.Unix(0, 0), ""): "covers less than a second: too little for a rate",
	} {
		var m advise.Meter
		if err := m.Read(strings.NewReader(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if _, err := m.Rate(); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestRateOfSample(t *testing.T) {
	f, err := os.Open("../../testdata/audit-sample.log.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var m advise.Meter
	if err := m.Read(f); err != nil {
		t.Fatal(err)
	}
	r, err := m.Rate()
	if err != nil || m.Events() != 3802 || r.EventBytes < 1000 || r.BusiestSecond < int64(r.PerSecond) {
		t.Errorf("%d events, %+v, %v", m.Events(), r, err)
	}
}

func BenchmarkMeter(b *testing.B) {
	var log strings.Builder
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 10_000 {
		log.WriteString(event(start.Add(time.Duration(i)*time.Millisecond), strings.Repeat("z", 1900)))
	}
	b.SetBytes(int64(log.Len()))
	for b.Loop() {
		var m advise.Meter
		if err := m.Read(strings.NewReader(log.String())); err != nil {
			b.Fatal(err)
		}
	}
}
