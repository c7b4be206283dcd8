package store

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

const (
	// followIDs is how many IDs one query of a follower looks at: IDs are unique,
	// so that is how many rows it sorts at most.
	followIDs = 16 << 10
	// followBuffer is how many bytes of matching events wait for a slow follower.
	// Beyond that it reads them from the segments.
	followBuffer = 1 << 20
)

// Follow calls yield for each matching event above r.AfterID, in order of ID,
// those committed later too; see query.Source.
//
// What is stored already is read from the segments. New commits come from the
// writer's memory, already matched; if the caller is slower than they come, the
// buffer is dropped and the segments are read again from where the caller is.
func (s *Store) Follow(ctx context.Context, r query.FollowRequest, yield func(*audit.Event) error) error {
	q := &followQueue{filter: r.Filter, wake: make(chan struct{}, 1)}
	cancel := s.subscribe(q.commit)
	defer cancel()
	b, err := s.Bounds(ctx)
	if err != nil {
		return err
	}
	last := r.AfterID
	for target := b.LastID; ; {
		if target > last {
			if err := s.catchUp(ctx, r.Filter, last, target, yield); err != nil {
				return err
			}
			last = target
		}
		batch, newest := q.take(last)
		for _, e := range batch {
			if e.ID <= last {
				continue
			}
			if err := yield(e); err != nil {
				return err
			}
		}
		last = max(last, q.taken)
		if target = newest; target > last {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-q.wake:
		}
	}
}

// catchUp yields the matching events with after < ID <= upTo from the segments.
func (s *Store) catchUp(ctx context.Context, f *query.Filter, after, upTo int64, yield func(*audit.Event) error) error {
	var caller error
	each := func(e *audit.Event) error {
		if caller = yield(e); caller == nil {
			after = e.ID
		}
		return caller
	}
	// If a segment is damaged, this runs again from where after stands then.
	acquire := func() (*snapshot, error) { return s.acquireIDs(after) }
	_, err := s.answerFrom(ctx, acquire, func(sn *snapshot) error {
		rd := newRawReader()
		defer rd.close()
		segments := slices.Clone(sn.Segments)
		slices.SortFunc(segments, func(a, b *segment) int { return cmp.Compare(a.MinID, b.MinID) })
		for after < upTo {
			to := min(after+followIDs, upTo)
			var in []*segment
			for _, g := range segments {
				if g.MinID <= to && g.MaxID > after {
					in = append(in, g)
				}
			}
			if len(in) == 0 {
				next := upTo // jump over IDs that retention took
				for _, g := range segments {
					if g.MinID > to {
						next = min(next, g.MinID-1)
						break
					}
				}
				after = next
				continue
			}
			cond, err := where(f, query.Range{}, "id > "+quoteInt(after), "id <= "+quoteInt(to))
			if err != nil {
				return err
			}
			if err := s.scanEvents(ctx, eventsSQL(in)+" WHERE "+cond+" ORDER BY id", in, func(*audit.Event) bool { return false }, rd, each); err != nil {
				return err
			}
			after = to
		}
		return nil
	})
	if caller != nil {
		return caller
	}
	return err
}

// followQueue holds the newest commits for one follower.
type followQueue struct {
	filter *query.Filter
	wake   chan struct{}

	mu     sync.Mutex
	events []*audit.Event // own copies, matching, ascending
	bytes  int
	first  int64 // first ID that the events cover; 0 if none are held
	newest int64 // newest ID that was committed
	taken  int64 // follower's: what the last take covered
}

// commit is called by the writer and must be quick.
func (q *followQueue) commit(c committed) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case c.Events == nil || q.bytes > followBuffer || q.first != 0 && c.First != q.newest+1:
		q.drop()
	default:
		if q.first == 0 {
			q.first = c.First
		}
		for _, e := range c.Events {
			if q.filter.Match(e) {
				q.events = append(q.events, cloneFollowed(e))
				q.bytes += len(e.Raw) + 512
			}
		}
		if q.bytes > followBuffer {
			q.drop()
		}
	}
	q.newest = max(q.newest, c.Last)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// drop forgets what is held: the follower finds it in the segments.
func (q *followQueue) drop() { q.events, q.bytes, q.first = nil, 0, 0 }

// take returns the events that follow last without a hole, and the newest ID
// that there is. If that is above q.taken and nothing is returned, the follower
// has to read the segments.
func (q *followQueue) take(last int64) (events []*audit.Event, newest int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = 0
	if q.first != 0 && q.first <= last+1 {
		events, q.taken = q.events, q.newest
		q.drop()
	} else if q.first != 0 {
		q.drop()
	}
	return events, q.newest
}

// cloneFollowed copies an event out of memory that is lent for a call.
func cloneFollowed(e *audit.Event) *audit.Event {
	c := *e
	for _, s := range []*string{
		&c.Cluster, &c.Source, &c.AuditID, &c.Stage, &c.Level, &c.Verb, &c.User, &c.UserUID, &c.AsUser, &c.Agent, &c.URI,
		&c.APIGroup, &c.APIVersion, &c.Resource, &c.Subresource, &c.Namespace, &c.Name, &c.ObjectUID, &c.Reason, &c.Message,
		&c.Decision, &c.DecisionReason, &c.CredentialID, &c.Pod, &c.Raw, &c.Version,
	} {
		*s = strings.Clone(*s)
	}
	for _, l := range []*[]string{&c.Groups, &c.AsGroups, &c.SourceIPs} {
		*l = slices.Clone(*l)
		for i := range *l {
			(*l)[i] = strings.Clone((*l)[i])
		}
	}
	return &c
}
