package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// TestSearchManySegments finds a page of events that lie in many segments, with
// little memory.
func TestSearchManySegments(t *testing.T) {
	s, err := Open(t.Context(), Options{Dir: t.TempDir(), Logger: quiet(), NoBackground: true, MinFree: 1, MemoryLimit: 24 << 20, Threads: 1, CommitEvery: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const n = 150
	events := make([]audit.Event, n)
	for i := range events {
		events[i] = audit.Event{Time: audit.Time(i + 1), AuditID: fmt.Sprint(i), Raw: fmt.Sprint(i), Final: true}
	}
	fill(t, s, events, n)
	for _, ascending := range []bool{false, true} {
		found := 0
		var last audit.Time
		_, err = s.Search(t.Context(), query.SearchRequest{Ascending: ascending}, func(e *audit.Event) error {
			if found++; found > 1 && ascending != (e.Time > last) {
				t.Errorf("%d after %d", e.Time, last)
			}
			last = e.Time
			if e.Raw != fmt.Sprint(int64(e.Time-1)) {
				t.Errorf("at %d: %s", e.Time, e.Raw)
			}
			return nil
		})
		if err != nil || found != n {
			t.Errorf("%d events, %v", found, err)
		}
	}
}
