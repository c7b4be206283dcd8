package app

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/web"
)

// TestTrends: a sample of each source every ten seconds, of the last hour and no more.
func TestTrends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		sources := []web.SourceState{{Name: "b"}, {Name: "a"}}
		asked := int64(0)
		status := func() web.Status {
			mu.Lock()
			defer mu.Unlock()
			asked++
			sources[0].LagBytes, sources[0].EventsPerSecond = asked, float64(asked)/2
			return web.Status{Sources: slices.Clone(sources)}
		}
		tr := newTrends()
		began := audit.TimeOf(time.Now())
		stop := tr.start(t.Context(), status)
		if a := tr.answer(); a.Since != began || a.Now != began || len(a.Sources) != 2 || a.Sources[0].Name != "a" || len(a.Sources[1].Samples) != 1 {
			t.Fatalf("at once: %+v", a)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		got := tr.answer().Sources[1].Samples
		if len(got) != 7 || got[0].At != began || got[6].At != began+audit.Time(time.Minute.Microseconds()) || got[6].LagBytes != 7 || got[6].EventsPerSecond != 3.5 {
			t.Errorf("after a minute: %+v", got)
		}

		// The past is an hour, however long the server runs, and a source that is no more goes with it.
		mu.Lock()
		sources = sources[:1]
		mu.Unlock()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		a := tr.answer()
		if len(a.Sources) != 1 || len(a.Sources[0].Samples) != int(trendSpan/trendEvery) {
			t.Fatalf("after two hours: %d sources, %d samples", len(a.Sources), len(a.Sources[0].Samples))
		}
		if first := a.Sources[0].Samples[0].At; a.Now-first != audit.Time((trendSpan-trendEvery).Microseconds()) || a.Since != began {
			t.Errorf("the first is of %v, now is %v", first, a.Now)
		}

		// What was given is the caller's.
		a.Sources[0].Samples[0].LagBytes = -1
		if tr.answer().Sources[0].Samples[0].LagBytes == -1 {
			t.Error("an answer is not a copy")
		}

		// However many sources there are, so many have a past; the first of them keep theirs.
		mu.Lock()
		for i := range 3 * trendSources {
			sources = append(sources, web.SourceState{Name: fmt.Sprint("more", i)})
		}
		mu.Unlock()
		time.Sleep(trendEvery)
		synctest.Wait()
		if a = tr.answer(); len(a.Sources) != trendSources || len(a.Sources[0].Samples) != int(trendSpan/trendEvery) {
			t.Errorf("%d sources are kept, of the first %d samples", len(a.Sources), len(a.Sources[0].Samples))
		}

		if err := stop(t.Context()); err != nil {
			t.Error(err)
		}
		before := asked
		time.Sleep(time.Hour)
		if asked != before {
			t.Error("it is sampled after the end")
		}
	})
}

// TestTrendsNeedSources: a server that collects has a first sample when it has
// started; one that collects nothing samples nothing.
func TestTrendsNeedSources(t *testing.T) {
	for listen, want := range map[string]int{"127.0.0.1:0": 1, "": 0} {
		o := options(t)
		o.Logs, o.Webhook.Listen = nil, listen
		a, err := New(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		a.Start(t.Context())
		if got := a.trends.answer(); len(got.Sources) != want {
			t.Errorf("webhook at %q: %+v", listen, got)
		}
		if err := a.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
