// Package store owns the embedded lake: the segments, the MANIFEST that lists
// them, and the query engine over them.
//
// A commit is a Parquet file and one MANIFEST record that names it together
// with the sources' new cursors, so an event is stored exactly once whenever the
// process stops. Append returns when its events are durable and can be asked for.
// What is damaged is named, set aside and never spread; the rest stays readable.
// Every byte on disk is drawn in docs/formats.md.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ktrail/ktrail/internal/durable"
)

// The names in a data directory.
const (
	lockName      = "LOCK"
	readersName   = "READERS"
	segmentsDir   = "segments"
	quarantineDir = "quarantine"
	tmpSuffix     = ".tmp"
)

// Store is an open data directory. All methods may be called from many goroutines.
type Store struct {
	opts Options
	dir  string // absolute
	fs   durable.FS
	log  *slog.Logger
	eng  *engine       // nil when the files are not on the real file system
	sql  chan struct{} // one for each statement of a person that runs
	// scans has room for the row groups that are scanned at a time.
	scans chan struct{}
	// scanning has room for the questions that are scanned for at a time.
	scanning chan struct{}
	dry      dryRuns

	// mu guards what the store contains. It is never held during I/O.
	mu sync.Mutex
	contents
	state       string
	reason      string
	subscribers map[int]func(committed)
	lastSub     int
	lastLarge   time.Time // when a large batch was committed
	told        int64     // read-only: the last ID that subscribers know
	closed      bool
	// hidden are segments that a read-only store found damaged.
	hidden map[int64]Damage

	// writing orders changes of the MANIFEST: one at a time.
	writing  sync.Mutex
	manifest durable.File
	size     int64 // of the MANIFEST
	base     int64 // its size when it was last rewritten
	// dirty means that it is not known what the MANIFEST's end is like after a
	// write failed. It is rewritten before anything else.
	dirty bool
	// untrusted means that a record of the MANIFEST was damaged when it was opened.
	untrusted bool

	lock    io.Closer
	queue   queue
	writer  *segmentWriter // of commits
	dedup   *dedup
	held    held
	metrics *metrics
	tmp     atomic.Int64 // numbers temporary files

	stop       context.CancelFunc
	background sync.WaitGroup
	compacting sync.Mutex

	// tail is how far a read-only store has read the MANIFEST.
	tailing sync.Mutex
	tail    struct {
		file  durable.Reader
		info  fs.FileInfo
		whole int64
	}
}

// Open opens the store in o.Dir, which a writer creates if need be. A read-only
// store works beside a running writer. ctx ends background work, as Close does.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", o.Dir, err)
	}
	s := &Store{
		opts: o, dir: dir, fs: o.FS, log: o.Logger, state: StateOK,
		contents: newContents(), subscribers: map[int]func(committed){}, hidden: map[int64]Damage{}, dedup: newDedup(o.DedupMemory),
	}
	s.queue.wake = make(chan struct{}, 1)
	if o.ReadOnly {
		err = s.openReadOnly()
	} else {
		err = s.openWriter()
	}
	if err == nil && onDisk(o.FS) {
		err = s.startEngine()
	}
	if err == nil {
		s.metrics, err = newMetrics(s, o.Registerer)
	}
	if err != nil {
		_ = s.release()
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s.held.seed, s.held.before = s.dedup.seed, s.nextSeq
	ctx, s.stop = context.WithCancel(ctx)
	if o.ReadOnly {
		s.background.Go(func() { s.watch(ctx) })
		return s, nil
	}
	s.background.Go(func() { s.commits(ctx) })
	if !o.NoBackground {
		s.background.Go(func() { s.maintain(ctx) })
		s.background.Go(func() { s.scrubDaily(ctx) })
	}
	return s, nil
}

// onDisk tells whether the query engine sees the files of fsys.
func onDisk(fsys durable.FS) bool {
	if f, ok := fsys.(*durable.FaultFS); ok {
		fsys = f.FS
	}
	_, ok := fsys.(durable.OS)
	return ok
}

// Close ends background work, commits what is queued if the disk has room, and
// gives the lock back. Appends that come later get ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.background.Wait()
	if !s.opts.ReadOnly {
		s.deleteObsolete()
	}
	s.metrics.unregister()
	return s.release()
}

// release gives back what Open took.
func (s *Store) release() error {
	var errs []error
	if s.eng != nil {
		s.eng.close()
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.manifest != nil {
		errs = append(errs, s.manifest.Close())
		s.manifest = nil
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	s.tailing.Lock()
	defer s.tailing.Unlock()
	if s.tail.file != nil {
		errs = append(errs, s.tail.file.Close())
		s.tail.file, s.tail.info = nil, nil
	}
	return errors.Join(errs...)
}

func (s *Store) path(rel string) string { return filepath.Join(s.dir, filepath.FromSlash(rel)) }

// setState tells how the store is, and logs when that changes.
func (s *Store) setState(ctx context.Context, state, reason string) {
	s.mu.Lock()
	changed := s.state != state
	s.state, s.reason = state, reason
	s.mu.Unlock()
	if !changed {
		return
	}
	level := slog.LevelInfo
	if state != StateOK {
		level = slog.LevelWarn
	}
	s.log.LogAttrs(ctx, level, "store state changed", slog.String("state", state), slog.String("reason", reason))
}
