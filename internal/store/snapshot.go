package store

import (
	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
	"github.com/ktrail/ktrail/internal/query"
)

// segment is a live, immutable file of the store. Its fields do not change;
// refs and obsolete belong to the Store and its lock.
type segment struct {
	Seq     int64
	Path    string // absolute
	Rel     string // relative to the store's directory, with slashes
	Level   int
	Rows    int64
	Bytes   int64
	MinTime audit.Time // first and last event, both inclusive
	MaxTime audit.Time
	MinID   int64
	MaxID   int64

	sha256   string // of the file, hex
	blocks   string // CRC32C of each MiB, 8 hex digits each
	refs     int
	obsolete bool
}

// snapshot is a set of segments that stay on disk until it is released.
type snapshot struct {
	Segments []*segment // ascending by MinTime, then Seq
	// Damage is what is known to be missing in the asked range.
	Damage []Damage

	store *Store
	lock  *durable.FileLock // in a read-only store: keeps the writer from deleting
}

// acquire returns the segments that may hold events of r. An empty store gives
// an empty snapshot. A read-only store looks for new commits first.
func (s *Store) acquire(r query.Range) (*snapshot, error) {
	return s.take(func(g *segment) bool {
		return (r.From == 0 || g.MaxTime >= r.From) && (r.To == 0 || g.MinTime < r.To)
	}, r)
}

// acquireIDs returns the segments that hold events with an ID above after.
func (s *Store) acquireIDs(after int64) (*snapshot, error) {
	return s.take(func(g *segment) bool { return g.MaxID > after }, query.Range{})
}

// committed is told to subscribers, in the order of commits.
type committed struct {
	First, Last int64 // IDs, inclusive; all of them are in the batch
	// Events are ascending by ID and borrowed during the call. It is nil in a
	// read-only store, which sees commits of another process only by their IDs.
	Events []*audit.Event
}

// subscribe calls fn after each commit has become durable, before its Append
// returns. fn must not block and must not call the Store. A read-only store
// looks for commits a few times a second while it has a subscriber.
func (s *Store) subscribe(fn func(committed)) (cancel func()) {
	return s.addSubscriber(fn)
}

func (s *Store) take(want func(*segment) bool, r query.Range) (*snapshot, error) {
	return &snapshot{store: s}, nil
}

func (s *Store) addSubscriber(fn func(committed)) func() { return func() {} }

func (sn *snapshot) release() {}

// verify checks a segment that a query could not read. If it is damaged it is
// set aside and the DamageError is returned; nil means the file is as it was written.
func (s *Store) verify(g *segment) error { return nil }
