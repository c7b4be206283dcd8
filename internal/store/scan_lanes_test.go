package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/query/querytest"
)

// threeWays are the same events in memory, in a store that scans, and in one that
// always asks the engine.
func threeWays(t *testing.T) (events []audit.Event, sources map[string]query.Source) {
	t.Helper()
	events = sampleEvents(t)
	for i := range events {
		if ends := [...]string{"", "?dryRun=All", "?dryRun=", "?x=dryRun=All", "?a=b&dr%79Run=Al%6C&c", "&dryRun=All", "?dryRun=All;x", "?\ndryRun=All\n"}; i%3 == 0 {
			events[i].URI += ends[i/3%len(ends)]
		}
	}
	scans, asks := openTestStore(t, t.TempDir()), openTestStore(t, t.TempDir())
	fill(t, asks, slices.Clone(events), 5) // in the same parts, so that the IDs are the same
	fill(t, scans, events, 5)
	asks.scans = nil
	slices.SortFunc(events, func(a, b audit.Event) int { return cmp.Compare(a.ID, b.ID) })
	return events, map[string]query.Source{"memory": querytest.New(events...), "scan": scans, "engine": asks}
}

// TestRandomLanes holds the marks of random objects against memory, by scans and
// by the engine.
func TestRandomLanes(t *testing.T) {
	events, sources := threeWays(t)
	rng := rand.New(rand.NewPCG(11, 4))
	rounds, marks := 80, 0
	dry := false
	for i := range events {
		dry = dry || query.DryRun().Match(&events[i]) && events[i].Verb == "update"
	}
	if !dry {
		t.Fatal("the sample has no dry run")
	}
	if testing.Short() {
		rounds = 20
	}
	for range rounds {
		var r query.LanesRequest
		if rng.IntN(4) > 0 {
			r.Filter = parse(t, randomFilter(rng, events, rng.IntN(3)))
		}
		at := func() audit.Time { return max(1, events[rng.IntN(len(events))].Time) }
		r.Range.From = at()
		r.Range.To = max(at(), r.Range.From+1)
		r.Width = 1 + rng.Int64N(1<<rng.IntN(45))
		for range 1 + rng.IntN(40) {
			k := keyOf(&events[rng.IntN(len(events))])
			switch rng.IntN(8) {
			case 0:
				k.Name = keyOf(&events[rng.IntN(len(events))]).Name // of another kind
			case 1:
				k.Cluster = "none"
			}
			if !slices.Contains(r.Objects, k) {
				r.Objects = append(r.Objects, k)
			}
		}
		ask := func(s query.Source) (all []string) {
			_, err := s.Lanes(t.Context(), r, func(i int, m query.Mark) error {
				all = append(all, fmt.Sprintf("%d %+v", i, m))
				return nil
			})
			if err != nil {
				t.Fatalf("%s: %v", r.Filter, err)
			}
			return all
		}
		want := ask(sources["memory"])
		marks += len(want)
		for _, how := range []string{"scan", "engine"} {
			same(t, fmt.Sprintf("%s: %s over %v, width %d, %+v", how, r.Filter, r.Range, r.Width, r.Objects), ask(sources[how]), want)
		}
		if t.Failed() {
			return
		}
	}
	if t.Logf("%d marks were compared", marks); marks == 0 {
		t.Error("nothing was compared")
	}
}

// TestRandomTops holds the first groups of counts alone against memory.
func TestRandomTops(t *testing.T) {
	events, sources := threeWays(t)
	texts := slices.DeleteFunc(query.ColumnNames(), func(name string) bool {
		c, _ := query.LookupColumn(name)
		return c.Type != query.String || !codedColumns()[name]
	})
	rng := rand.New(rand.NewPCG(6, 28))
	rounds, rows := 80, 0
	if testing.Short() {
		rounds = 20
	}
	for i := range rounds {
		r := query.GroupRequest{CountOnly: true, Limit: 1 + rng.IntN(40), Skip: rng.IntN(2) * rng.IntN(9), Writes: rng.IntN(2) == 0, WritesFirst: rng.IntN(2) == 0}
		if rng.IntN(3) > 0 {
			r.Filter = parse(t, randomFilter(rng, events, rng.IntN(3)))
		}
		if rng.IntN(3) == 0 {
			r.Range.From = events[rng.IntN(len(events))].Time
		}
		rng.Shuffle(len(texts), func(i, k int) { texts[i], texts[k] = texts[k], texts[i] })
		r.By = slices.Clone(texts[:1+rng.IntN(5)])
		if i%3 == 0 {
			r.By = slices.Clone(objectColumns)
		}
		if rng.IntN(3) == 0 {
			r.Contains = [...]string{"a", "E", "1", "ω", "K", "%", "\x00", "system:"}[rng.IntN(8)]
		}
		if rng.IntN(4) == 0 {
			r.Having = parse(t, r.By[0]+` != ""`)
		}
		want, _, err := sources["memory"].Group(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		rows += len(want)
		for _, how := range []string{"scan", "engine"} {
			got, _, err := sources[how].Group(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			same(t, fmt.Sprintf("%s: %s over %v: %+v", how, r.Filter, r.Range, r), got, want)
		}
		if t.Failed() {
			return
		}
	}
	if t.Logf("%d rows were compared", rows); rows == 0 {
		t.Error("nothing was compared")
	}
}

// TestTopsBehindTheLast holds that pages far behind the last group are empty: how
// many groups to skip is told by whoever holds a cursor.
func TestTopsBehindTheLast(t *testing.T) {
	_, sources := threeWays(t)
	for _, skip := range []int{1 << 20, math.MaxInt/2 - 1, math.MaxInt} {
		for how, s := range sources {
			r := query.GroupRequest{CountOnly: true, WritesFirst: true, By: objectColumns, Limit: 20, Skip: skip}
			if rows, _, err := s.Group(t.Context(), r); err != nil || len(rows) > 0 {
				t.Errorf("%s: %d rows behind %d, %v", how, len(rows), skip, err)
			}
		}
	}
}

// TestClassesAskURIsForDryRuns holds what scans take for granted: that two URIs of
// which both or none say dryRun make no difference to class and outcome.
func TestClassesAskURIsForDryRuns(t *testing.T) {
	if e := (audit.Event{URI: dryURI}); !query.DryRun().Match(&e) {
		t.Errorf("%s is no dry run", dryURI)
	}
	events, _ := threeWays(t)
	for _, e := range events {
		bare := e
		if bare.URI = ""; query.DryRun().Match(&e) {
			bare.URI = dryURI
		}
		if query.ClassOf(&e) != query.ClassOf(&bare) || query.OutcomeOf(&e) != query.OutcomeOf(&bare) {
			t.Fatalf("%s %s is %s, and with URI %q %s", e.Verb, e.URI, query.ClassOf(&e), bare.URI, query.ClassOf(&bare))
		}
	}
}

// TestScansOfLanes holds that the timeline is answered without the engine, and by
// the engine where the groups or marks would take too much memory.
func TestScansOfLanes(t *testing.T) {
	events := sampleEvents(t)
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 2)
	sn, err := s.acquire(query.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer sn.release()
	g, err := newGrouping(query.GroupRequest{By: objectColumns, Limit: 20, CountOnly: true, WritesFirst: true})
	if err != nil {
		t.Fatal(err)
	}
	r := query.LanesRequest{Range: query.Range{From: 1, To: events[0].Time + 1e15}, Width: 1e6}
	for i := range events {
		if k := keyOf(&events[i]); !slices.Contains(r.Objects, k) {
			r.Objects = append(r.Objects, k)
		}
	}
	both := func(ctx context.Context) (tops, lanes error) {
		_, tops = s.scanTop(ctx, sn.Segments, &g)
		_, lanes = s.scanLanes(ctx, sn.Segments, r, query.Classes(), query.Outcomes())
		return tops, lanes
	}
	if tops, lanes := both(t.Context()); tops != nil || lanes != nil {
		t.Errorf("asked the engine: %v, %v", tops, lanes)
	}
	s.opts.MemoryLimit = 4 << 10
	if tops, lanes := both(t.Context()); !errors.Is(tops, errEngine) || !errors.Is(lanes, errEngine) {
		t.Errorf("with 4 KiB: %v, %v", tops, lanes)
	}
}
