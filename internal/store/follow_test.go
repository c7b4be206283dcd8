package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// TestFollow reads what is stored and what is committed meanwhile, each event
// once and in order, also when the follower is so slow that its buffer overflows.
func TestFollow(t *testing.T) {
	all := sampleEvents(t)
	stored, later := all[:len(all)/2], all[len(all)/2:]
	filter, err := query.Parse(`verb != "get"`)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*query.Filter{nil, filter} {
		for _, slow := range []bool{false, true} {
			t.Run(fmt.Sprintf("filter %v slow %v", f != nil, slow), func(t *testing.T) {
				s := openTestStore(t, t.TempDir())
				fill(t, s, slices.Clone(stored), 3)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				got := make(chan int64, len(all))
				release := make(chan struct{})
				done := make(chan error, 1)
				go func() {
					done <- s.Follow(ctx, query.FollowRequest{Filter: f}, func(e *audit.Event) error {
						if slow {
							<-release
						}
						if e.Raw == "" || !f.Match(e) {
							return fmt.Errorf("event %d should not come like this: %+v", e.ID, e)
						}
						got <- e.ID
						return nil
					})
				}()
				more := slices.Clone(later)
				for len(more) > 0 {
					n := min(len(more), 500)
					if _, err := s.Append(t.Context(), Commit{Source: "later", Events: more[:n]}); err != nil {
						t.Fatal(err)
					}
					more = more[n:]
				}
				close(release)
				want := 0
				for i := range all {
					if f.Match(&all[i]) {
						want++
					}
				}
				var ids []int64
				for len(ids) < want {
					select {
					case id := <-got:
						if n := len(ids); n > 0 && ids[n-1] >= id {
							t.Fatalf("id %d came after %d", id, ids[n-1])
						}
						ids = append(ids, id)
					case err := <-done:
						t.Fatalf("ended after %d of %d events: %v", len(ids), want, err)
					}
				}
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				if len(got) > 0 {
					t.Errorf("%d events too many", len(got))
				}
			})
		}
	}
}

// TestFollowQueue drives the buffer alone: what it drops, it says.
func TestFollowQueue(t *testing.T) {
	q := &followQueue{wake: make(chan struct{}, 1)}
	event := func(id int64, size int) *audit.Event { return &audit.Event{ID: id, Raw: string(make([]byte, size))} }
	q.commit(committed{First: 1, Last: 2, Events: []*audit.Event{event(1, 10), event(2, 10)}})
	if e, newest := q.take(0); len(e) != 2 || newest != 2 || q.taken != 2 {
		t.Errorf("take: %d events, newest %d, taken %d", len(e), newest, q.taken)
	}
	q.commit(committed{First: 3, Last: 3, Events: []*audit.Event{event(3, followBuffer)}})
	if e, newest := q.take(2); len(e) != 0 || newest != 3 || q.taken != 0 {
		t.Errorf("after an overflow: %d events, newest %d, taken %d", len(e), newest, q.taken)
	}
	q.commit(committed{First: 5, Last: 5, Events: []*audit.Event{event(5, 10)}})
	if e, newest := q.take(3); len(e) != 0 || newest != 5 || q.taken != 0 {
		t.Errorf("with a hole: %d events, newest %d, taken %d", len(e), newest, q.taken)
	}
	q.commit(committed{First: 6, Last: 6})
	if e, newest := q.take(5); len(e) != 0 || newest != 6 || q.taken != 0 {
		t.Errorf("a commit of another process: %d events, newest %d, taken %d", len(e), newest, q.taken)
	}
	q.commit(committed{First: 7, Last: 7, Events: []*audit.Event{event(7, 10)}})
	if e, newest := q.take(7); newest != 7 || len(e) == 1 && e[0].ID > 7 {
		t.Errorf("seen already: %d events, newest %d", len(e), newest)
	}
}
