package store

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/query/querytest"
)

// randomGroups is a few random requests over the same events.
func randomGroups(t *testing.T, rng *rand.Rand, events []audit.Event) []query.GroupRequest {
	t.Helper()
	parse := func(text string) *query.Filter {
		f, err := query.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return f
	}
	var f *query.Filter
	if rng.IntN(4) > 0 {
		f = parse(randomFilter(rng, events, rng.IntN(4)))
	}
	var r query.Range
	at := func() audit.Time { return events[rng.IntN(len(events))].Time + audit.Time(rng.IntN(3)-1) }
	if rng.IntN(3) == 0 {
		r.From = at()
	}
	if rng.IntN(3) == 0 {
		r.To = at()
	}
	names := slices.DeleteFunc(query.ColumnNames(), func(name string) bool { return name == "raw" })
	coded := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !codedColumns()[name] })
	if rng.IntN(5) > 0 {
		names = coded
	}
	rs := make([]query.GroupRequest, 1+rng.IntN(3))
	for i := range rs {
		q := query.GroupRequest{
			Filter: f, Range: r, Limit: rng.IntN(3) * rng.IntN(9), Skip: rng.IntN(2) * rng.IntN(4),
			Writes: rng.IntN(2) == 0, WritesFirst: rng.IntN(3) == 0, CountOnly: rng.IntN(3) == 0, FirstID: rng.IntN(2) == 0,
		}
		rng.Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
		q.By = slices.Clone(names[:rng.IntN(4)])
		if len(q.By) == 0 {
			q.Skip, q.Limit = 0, 0 // one row, whose place nobody asks for
		}
		if rng.IntN(3) == 0 {
			q.Contains = [...]string{"a", "E", "1", "ω", "K", "%", "\x00", "system:"}[rng.IntN(8)]
		}
		for _, name := range q.By {
			if c, _ := query.LookupColumn(name); rng.IntN(4) == 0 && c.Type == query.String {
				q.Having = parse(randomText(rng, name, strings.ToValidUTF8(fmt.Sprint(c.Value(&events[rng.IntN(len(events))])), "")))
			}
		}
		rs[i] = q
	}
	return rs
}

// TestRandomGroups holds random questions against memory, by scans and by the engine.
func TestRandomGroups(t *testing.T) {
	events := sampleEvents(t)
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 3)
	asks := openTestStore(t, t.TempDir())
	fill(t, asks, slices.Clone(events), 3)
	asks.scans = nil
	slices.SortFunc(events, func(a, b audit.Event) int { return cmp.Compare(a.ID, b.ID) })
	mem := querytest.New(events...)
	rng := rand.New(rand.NewPCG(3, 5))
	rounds, rows := 400, 0
	if testing.Short() {
		rounds = 60
	}
	for range rounds {
		rs := randomGroups(t, rng, events)
		want, _, err := mem.Groups(t.Context(), rs)
		if err != nil {
			t.Fatal(err)
		}
		for how, s := range map[string]*Store{"scan": s, "engine": asks} {
			got, warn, err := s.Groups(t.Context(), rs)
			if err != nil || len(warn) > 0 {
				t.Fatalf("%s: %s: %v, %v", how, rs[0].Filter, warn, err)
			}
			for i := range rs {
				if len(rs[i].By) == 0 && len(want[i]) == 0 {
					want[i] = []query.GroupRow{{Keys: []string{}}}
				}
				rows += len(got[i])
				same(t, fmt.Sprintf("%s: %s over %v: %+v", how, rs[i].Filter, rs[i].Range, rs[i]), got[i], want[i])
			}
		}
		q := query.ActivityRequest{Filter: rs[0].Filter, Range: rs[0].Range, Width: 1 + rng.Int64N(1<<rng.IntN(45)), Limit: rng.IntN(2) * rng.IntN(20)}
		activity, _, err := mem.Activity(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for how, s := range map[string]*Store{"scan": s, "engine": asks} {
			got, _, err := s.Activity(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			same(t, fmt.Sprintf("%s: activity %s %+v", how, q.Filter, q), got, activity)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d rows were compared", rows)
}

// TestScanFlippedBytes damages a segment in one place at a time and counts. The
// counts are complete, or lack the segment and say so.
func TestScanFlippedBytes(t *testing.T) {
	t.Parallel()
	events := sampleEvents(t)[:1200]
	rng := rand.New(rand.NewPCG(9, 7))
	set, complete := 0, 0
	for range 60 {
		s := openTestStore(t, t.TempDir())
		fill(t, s, events, 2)
		sn, err := s.acquire(query.Range{})
		if err != nil {
			t.Fatal(err)
		}
		g := sn.Segments[rng.IntN(len(sn.Segments))]
		sn.release()
		data, err := os.ReadFile(g.Path)
		if err != nil {
			t.Fatal(err)
		}
		at := rng.IntN(len(data))
		data[at] ^= 1 << rng.IntN(8)
		if err := os.WriteFile(g.Path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var rs []query.GroupRequest
		for name, ok := range codedColumns() {
			if ok {
				rs = append(rs, query.GroupRequest{By: []string{name}, FirstID: true})
			}
		}
		got, warn, err := s.Groups(t.Context(), rs)
		if err != nil {
			t.Fatalf("byte %d of %d: %v", at, len(data), err)
		}
		left := slices.Clone(events)
		slices.SortFunc(left, func(a, b audit.Event) int { return cmp.Compare(a.ID, b.ID) })
		switch {
		case len(warn) == 0:
			complete++
		case len(warn) == 1 && strings.Contains(warn[0].Text, g.Rel):
			set++
			left = slices.DeleteFunc(left, func(e audit.Event) bool { return e.ID >= g.MinID && e.ID <= g.MaxID })
		default:
			t.Errorf("byte %d of %d: %v", at, len(data), warn)
		}
		want, _, err := querytest.New(left...).Groups(t.Context(), rs)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rs {
			same(t, fmt.Sprintf("byte %d of %d, %v, warnings %v", at, len(data), rs[i].By, warn), got[i], want[i])
		}
	}
	t.Logf("%d segments set aside, %d answers complete", set, complete)
	if set == 0 {
		t.Error("no damage was found")
	}
}
