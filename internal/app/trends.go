package app

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/web"
)

const (
	// trendEvery is the time between two samples, and trendSpan how long one is kept.
	trendEvery = 10 * time.Second
	trendSpan  = time.Hour
	// trendSources is how many sources have a past: 1.2 MB at most for all of them.
	trendSources = 100
)

// trends keeps what the sources' lag and rate were, so that a picture of them
// shows the last hour when it is opened.
type trends struct {
	since audit.Time

	mu      sync.Mutex
	samples map[string][]web.TrendSample // the oldest first
}

func newTrends() *trends {
	return &trends{since: audit.TimeOf(time.Now()), samples: map[string][]web.TrendSample{}}
}

// start samples what status tells, at once and from then on. What it returns ends that.
func (t *trends) start(ctx context.Context, status func() web.Status) func(context.Context) error {
	t.take(status().Sources)
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(trendEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				t.take(status().Sources)
			}
		}
	})
	return func(context.Context) error {
		cancel()
		done.Wait()
		return nil
	}
}

func (t *trends) take(sources []web.SourceState) {
	now := time.Now()
	old := audit.TimeOf(now.Add(-trendSpan))
	t.mu.Lock()
	defer t.mu.Unlock()
	// First what is too old: a source that is no more makes room for another.
	for name, list := range t.samples {
		list = slices.DeleteFunc(list, func(s web.TrendSample) bool { return s.At <= old })
		if t.samples[name] = list; len(list) == 0 {
			delete(t.samples, name)
		}
	}
	for i := range sources {
		s := &sources[i]
		if _, known := t.samples[s.Name]; !known && len(t.samples) >= trendSources {
			continue
		}
		t.samples[s.Name] = append(t.samples[s.Name], web.TrendSample{
			At: audit.TimeOf(now), LagBytes: s.LagBytes, LagSeconds: s.LagSeconds, EventsPerSecond: s.EventsPerSecond,
		})
	}
}

// answer is a copy of all that is known.
func (t *trends) answer() web.Trends {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := web.Trends{Now: audit.TimeOf(time.Now()), Since: t.since, Sources: []web.Trend{}}
	for name, list := range t.samples {
		a.Sources = append(a.Sources, web.Trend{Name: name, Samples: slices.Clone(list)})
	}
	slices.SortFunc(a.Sources, func(a, b web.Trend) int { return strings.Compare(a.Name, b.Name) })
	return a
}
