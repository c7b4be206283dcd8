package store

import (
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// TestNoRawOf: a search leaves out the lines of those events alone that it is told
// of, and finds the same events.
func TestNoRawOf(t *testing.T) {
	events := sampleEvents(t)
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 5)
	newest := sorted(events)
	for _, limit := range []int{0, 500} {
		got := search(t, s, query.SearchRequest{Limit: limit, NoRawOf: func(e *audit.Event) bool { return e.Verb != "create" }})
		want := newest
		if limit > 0 {
			want = want[:limit]
		}
		if len(got) != len(want) {
			t.Fatalf("%d events, want %d", len(got), len(want))
		}
		lines := 0
		for i := range got {
			e := *want[i]
			if e.Verb != "create" {
				e.Raw = ""
			} else {
				lines++
			}
			if d := differs(&got[i], &e); d != "" {
				t.Fatalf("event %d: %s", e.ID, d)
			}
		}
		if lines == 0 || lines == len(got) {
			t.Fatalf("%d of %d events have their line", lines, len(got))
		}
	}
	for _, e := range search(t, s, query.SearchRequest{NoRaw: true, NoRawOf: func(*audit.Event) bool { return false }}) {
		if e.Raw != "" {
			t.Fatal("NoRaw gave a raw line")
		}
	}
}
