package store

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"slices"

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
	lock  io.Closer // in a read-only store: keeps the writer from deleting
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
	sn := &snapshot{store: s}
	if s.opts.ReadOnly {
		// Before the MANIFEST is read: what it lists then is not deleted while the lock is held.
		sn.lock = s.lockReaders()
		if err := s.refresh(); err != nil {
			sn.release()
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.live {
		if want(g) {
			g.refs++
			sn.Segments = append(sn.Segments, g)
		}
	}
	slices.SortFunc(sn.Segments, func(a, b *segment) int {
		return cmp.Or(cmp.Compare(a.MinTime, b.MinTime), cmp.Compare(a.Seq, b.Seq))
	})
	for _, d := range s.damage {
		if d.Seq == 0 || (r.From == 0 || d.To >= r.From) && (r.To == 0 || d.From < r.To) {
			sn.Damage = append(sn.Damage, d)
		}
	}
	return sn, nil
}

// lockReaders keeps the writer, if there is one, from deleting files.
func (s *Store) lockReaders() io.Closer {
	if !onDisk(s.fs) {
		l, err := s.fs.Lock(s.path(readersName), false)
		if err != nil {
			return nil
		}
		return l
	}
	l, err := durable.LockShared(s.path(readersName))
	if err != nil {
		return nil // no such file: nobody writes here
	}
	return l
}

// release lets go of the segments. It may be called more than once.
func (sn *snapshot) release() {
	if sn.store == nil {
		return
	}
	s := sn.store
	sn.store = nil
	s.mu.Lock()
	for _, g := range sn.Segments {
		g.refs--
	}
	s.mu.Unlock()
	if sn.lock != nil {
		_ = sn.lock.Close()
	}
}

func (s *Store) addSubscriber(fn func(committed)) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.subscribers) == 0 {
		s.told = s.nextID - 1
	}
	s.lastSub++
	n := s.lastSub
	s.subscribers[n] = fn
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subscribers, n)
	}
}

// tell passes a commit on to subscribers.
func (s *Store) tell(c committed) {
	s.mu.Lock()
	keys := sortedKeys(s.subscribers)
	fns := make([]func(committed), 0, len(keys))
	for _, k := range keys {
		fns = append(fns, s.subscribers[k])
	}
	s.mu.Unlock()
	for _, fn := range fns {
		fn(c)
	}
}

// deleteObsolete removes the files that compaction and retention have replaced
// and that no query reads, in this process or another.
func (s *Store) deleteObsolete() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.deleteObsoleteLocked()
}

func (s *Store) deleteObsoleteLocked() {
	s.mu.Lock()
	n := len(s.obsolete)
	s.mu.Unlock()
	if n == 0 {
		return
	}
	// After a failed write the MANIFEST on disk may still list such a file.
	if s.dirty && s.rewriteManifest() != nil {
		return
	}
	readers, err := s.fs.Lock(s.path(readersName), true)
	if err != nil {
		return // another process reads: later
	}
	defer func() { _ = readers.Close() }()
	s.mu.Lock()
	var files []*segment
	for _, rel := range sortedKeys(s.obsolete) {
		if g := s.obsolete[rel]; g.refs == 0 {
			files = append(files, g)
		}
	}
	s.mu.Unlock()
	for _, g := range files {
		if err := s.fs.Remove(g.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("cannot remove a file that is no longer needed", slog.String("file", g.Rel), slog.String("error", err.Error()))
			continue
		}
		s.mu.Lock()
		delete(s.obsolete, g.Rel)
		s.mu.Unlock()
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
