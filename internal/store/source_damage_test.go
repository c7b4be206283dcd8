package store

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// TestFlippedBytes damages a segment in one place at a time and asks for every
// column of every event. The answer is complete, or it lacks the segment and
// says so; a wrong value never comes.
func TestFlippedBytes(t *testing.T) {
	t.Parallel()
	events := sampleEvents(t)[:1500]
	rng := rand.New(rand.NewPCG(7, 7))
	var set, complete int
	for range 25 {
		dir := t.TempDir()
		s := openTestStore(t, dir)
		fill(t, s, events, 3)
		byID := map[int64]*audit.Event{}
		for i := range events {
			byID[events[i].ID] = &events[i]
		}
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
		got := map[int64]bool{}
		warn, err := s.Search(t.Context(), query.SearchRequest{}, func(e *audit.Event) error {
			want := byID[e.ID]
			if want == nil {
				t.Fatalf("byte %d of %d: an event with the unknown id %d", at, len(data), e.ID)
			}
			if d := differs(e, want); d != "" {
				t.Fatalf("byte %d of %d: id %d: %s", at, len(data), e.ID, d)
			}
			if got[e.ID] {
				t.Fatalf("byte %d of %d: id %d came twice", at, len(data), e.ID)
			}
			got[e.ID] = true
			return nil
		})
		if err != nil {
			t.Fatalf("byte %d of %d: %v", at, len(data), err)
		}
		switch {
		case len(got) == len(events) && len(warn) == 0:
			complete++
		case len(warn) == 1 && strings.Contains(warn[0].Text, g.Rel) && strings.Contains(warn[0].Text, "offset"):
			set++
			for id, e := range byID {
				if inside := e.ID >= g.MinID && e.ID <= g.MaxID; !inside && !got[id] {
					t.Errorf("byte %d of %d: event %d of a sound segment is missing", at, len(data), id)
				}
			}
			// Every later answer over that time says so too, SQL as well.
			w, err := s.SQL(t.Context(), "SELECT count(*) FROM events", func(query.SQLRow) error { return nil })
			if err != nil || len(w) != 1 {
				t.Errorf("byte %d of %d: SQL afterwards: %q, %v", at, len(data), w, err)
			}
			_, w, err = s.Group(t.Context(), query.GroupRequest{Range: query.Range{From: g.MinTime, To: g.MinTime + 1}})
			if err != nil || len(w) != 1 {
				t.Errorf("byte %d of %d: group afterwards: %q, %v", at, len(data), w, err)
			}
		default:
			t.Errorf("byte %d of %d: %d of %d events, warnings %q", at, len(data), len(got), len(events), warn)
		}
	}
	t.Logf("%d segments set aside, %d answers complete", set, complete)
	if set == 0 {
		t.Error("no damage was found")
	}
}

// TestMissingSegment asks a store that lost a file.
func TestMissingSegment(t *testing.T) {
	events := sampleEvents(t)
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 3)
	sn, err := s.acquire(query.Range{})
	if err != nil {
		t.Fatal(err)
	}
	g := sn.Segments[1]
	sn.release()
	if err := os.Remove(g.Path); err != nil {
		t.Fatal(err)
	}
	rows, warn, err := s.Group(t.Context(), query.GroupRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(len(events)) - g.Rows; rows[0].Count != want || len(warn) != 1 || !strings.Contains(warn[0].Text, g.Rel) {
		t.Errorf("%d events, warnings %q; want %d and one warning", rows[0].Count, warn, want)
	}
}
