package store

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
)

// TestCompactionMakesWayForIngest commits in bulk, then in small batches.
func TestCompactionMakesWayForIngest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := openMem(t, durable.NewMemFS())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		start := audit.TimeOf(time.Now().Add(-time.Hour)) // of synctest's clock, as all times here
		event := func(i int) []audit.Event {
			events := makeEvents(t, i, i+1)
			events[0].Time = start + audit.Time(i)
			return events
		}
		for i := range fanIn {
			mustAppend(t, s, Commit{Source: "a", Events: event(i)})
		}
		if group, level := s.due(); len(group) != fanIn || level != 1 {
			t.Fatalf("after small commits %d segments are due", len(group))
		}
		bulk := event(1000)
		bulk[0].Raw += strings.Repeat(" ", promptBytes)
		mustAppend(t, s, Commit{Source: "a", Events: bulk})
		if group, _ := s.due(); len(group) != 0 {
			t.Errorf("%d segments are to be merged during an import", len(group))
		}
		rested := make(chan time.Duration, 1)
		began := time.Now()
		pace := s.pace(t.Context(), true)
		go func() {
			if err := pace(); err != nil {
				t.Error(err)
			}
			rested <- time.Since(began)
		}()
		if d := <-rested; d < busyFor || d > 2*busyFor {
			t.Errorf("a merge under way rested for %v", d)
		}
		if group, _ := s.due(); len(group) != fanIn {
			t.Errorf("%d segments are due after the import", len(group))
		}
		for i := range pileUp + 1 {
			mustAppend(t, s, Commit{Source: "a", Events: event(2000 + i)})
		}
		bulk[0].Raw += " "
		mustAppend(t, s, Commit{Source: "a", Events: bulk})
		if group, level := s.due(); len(group) != fanIn || level != 1 || !s.busy() {
			t.Errorf("%d of very many segments are due during an import", len(group))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began = time.Now()
		if err := s.pace(ctx, true)(); !errors.Is(err, context.Canceled) || time.Since(began) > 0 {
			t.Errorf("a merge that is to end: %v after %v", err, time.Since(began))
		}
	})
}

// TestMergeEndsAtOnce stops a merge at each of its steps: none is longer than a
// page, nothing is left over and nothing is lost.
func TestMergeEndsAtOnce(t *testing.T) {
	fsys := durable.NewMemFS()
	s := mustOpen(t, fsys)
	const pages = 2
	var want []string
	for i := range 2 * pages {
		events := makeEvents(t, i, i+1)
		events[0].Raw += strings.Repeat(" ", packingOf(1, 1).rawPage/2)
		want = append(want, events[0].Raw)
		mustAppend(t, s, Commit{Source: "a", Events: events})
	}
	group := s.byTime(func(*segment) bool { return true })
	steps := 0
	parts, err := s.writeMerged(group, 1, func() error { steps++; return nil })
	s.removeTemps(parts)
	if err != nil || steps < len(columns())+pages-1 {
		t.Fatalf("%d steps: %v", steps, err)
	}
	errStop := errors.New("stop")
	for at := 1; at <= steps; at++ {
		n := 0
		parts, err := s.writeMerged(group, 1, func() error {
			if n++; n == at {
				return errStop
			}
			return nil
		})
		s.removeTemps(parts)
		if !errors.Is(err, errStop) || n != at {
			t.Fatalf("stopped at step %d: %d steps, %v", at, n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.merge(ctx, group, 1, true); !errors.Is(err, context.Canceled) {
		t.Errorf("merge without time: %v", err)
	}
	if n := len(filesBelow(fsys, "/data/segments")); n != len(group) {
		t.Errorf("%d files for %d segments", n, len(group))
	}
	if err := s.merge(t.Context(), group, 1, true); err != nil {
		t.Fatal(err)
	}
	sameLines(t, "merged in the end", lines(t, s), want)
}
