package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
)

// Spool is a [Sink] that keeps events on disk while the sink below it is down, and
// hands them on in their order when it is back, by this process or the next one.
//
//	DIR/
//	  LOCK            one process
//	  0000000007.log  a segment: lines as in an audit log, synced before Send returns
//	  cursor.json     {"segment":7,"offset":51200}: what is before that was taken
//	  quarantine/     segments with lines that could not be read
//
// What is promised, however the process or the machine stops:
//   - An event for which Send returned nil was taken by the sink below or is on disk;
//     one on disk stays there until the sink has taken it.
//   - It is handed over twice only where nobody can know that it was taken: the sink had it
//     and its answer was lost, or came after Patience; or the machine stopped between the
//     answer and the cursor; or it was taken before one that stands in front of it, which was
//     then not taken until the end. Then at most BatchEvents for each of Workers are, or one Send,
//     and their lines are equal to the byte, so that a receiver can tell.
//   - An event for which Send returned a [Loss] is not handed over later, but where the
//     disk failed in such a way that it could not even be cut back.
type Spool struct {
	next Sink
	o    SpoolOptions
	lock io.Closer

	mu       sync.Mutex
	segments []*segment    // that are not empty, oldest first
	bytes    int64         // of them
	gathers  *group        // for the next write, nil if nobody waits for one
	queued   int64         // bytes in groups: they take room, but are not on disk yet
	tail     chan struct{} // closed when the last of what is on disk was taken, or not taken; nil unless it is under way
	up       bool          // the sink below took the last it was sent from the disk, and what came directly since
	stopped  bool

	disk   chan struct{} // one token, held by who writes; before mu
	active durable.File  // of the segment that is written, nil for none
	last   *segment      // the same
	newest uint64        // number of a segment

	cursor cursor        // the drain's
	width  int           // the drain's: how many batches are to be under way
	wake   chan struct{} // one token: there are segments
	stop   chan struct{} // closed by Close

	ctx    context.Context // of the drain's Sends
	cancel context.CancelFunc
	wg     sync.WaitGroup // of the drain and of those who write
}

// SpoolOptions are a Spool's.
type SpoolOptions struct {
	// Dir is made if need be.
	Dir string
	// MaxBytes is how much may be on disk, 1 GiB if 0; what has no room is lost. A segment is
	// removed when all of it was taken, and begun anew at SegmentBytes, 16 MiB if 0.
	MaxBytes, SegmentBytes int64
	// Patience is how long a Send waits for the sink below before it turns to the disk; 5 s if 0.
	Patience time.Duration
	// BatchEvents and BatchBytes are how much of the disk is handed over at once; 400 and 1 MiB if 0.
	BatchEvents int
	BatchBytes  int64
	// Workers is how many batches from the disk may be under way at once while the sink below
	// takes them; 0 is 1, which keeps the order. After a failure it begins with one.
	Workers int
	// FS is the disk; nil is the system's.
	FS durable.FS
	// Log is told when the spool begins and ends to be used, and of what could not be read; nil is silent.
	Log *slog.Logger
	// Ledger is told of events that the sink below refused when they came from the disk.
	Ledger *Ledger
}

func (o *SpoolOptions) validate() error {
	if o.Dir == "" || o.Ledger == nil {
		return errors.New("open spool: it needs a directory and a ledger")
	}
	if o.MaxBytes < 0 || o.SegmentBytes < 0 || o.Patience < 0 || o.BatchEvents < 0 || o.BatchBytes < 0 || o.Workers < 0 {
		return errors.New("open spool: nothing may be negative")
	}
	for _, d := range []struct {
		value *int64
		usual int64
	}{{&o.MaxBytes, 1 << 30}, {&o.SegmentBytes, 16 << 20}, {&o.BatchBytes, 1 << 20}, {(*int64)(&o.Patience), int64(5 * time.Second)}} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	if o.BatchEvents == 0 {
		o.BatchEvents = 400
	}
	o.Workers = max(1, o.Workers)
	if o.FS == nil {
		o.FS = durable.OS{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// segment is a file of lines.
type segment struct {
	number uint64
	size   int64 // of what is safely on disk
}

// cursor is where the drain is: what stands before offset in segment, and all that
// is in segments before it, was taken.
type cursor struct {
	Segment uint64 `json:"segment"`
	Offset  int64  `json:"offset"`
}

const (
	segmentExt    = ".log"
	cursorFile    = "cursor.json"
	quarantineDir = "quarantine"
	spoolName     = "spool"
)

func (s *Spool) path(number uint64) string {
	return filepath.Join(s.o.Dir, fmt.Sprintf("%010d%s", number, segmentExt))
}

// OpenSpool opens the spool in o.Dir in front of next, and begins to hand on what is
// there. It works until Close, also after ctx has ended.
func OpenSpool(ctx context.Context, next Sink, o SpoolOptions) (*Spool, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Spool{next: next, o: o, width: 1, disk: make(chan struct{}, 1), wake: make(chan struct{}, 1), stop: make(chan struct{})}
	if err := o.FS.MkdirAll(o.Dir); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	var err error
	if s.lock, err = o.FS.Lock(filepath.Join(o.Dir, "LOCK"), true); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := s.load(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open spool %s: %w", o.Dir, err), s.lock.Close())
	}
	if s.bytes > 0 {
		o.Log.LogAttrs(ctx, slog.LevelInfo, "spool: events are left from before and are handed on first", slog.String("dir", o.Dir), slog.Int64("bytes", s.bytes))
		s.signal()
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.wg.Go(s.drain)
	return s, nil
}

// load finds the segments and the cursor.
func (s *Spool) load(ctx context.Context) error {
	text, err := durable.ReadFile(s.o.FS, filepath.Join(s.o.Dir, cursorFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(text, &s.cursor); err != nil {
			s.cursor = cursor{}
			s.o.Log.LogAttrs(ctx, slog.LevelWarn, "spool: the cursor cannot be read: what is on disk is handed on from its beginning",
				slog.String("file", filepath.Join(s.o.Dir, cursorFile)), slog.String("error", err.Error()))
		}
	}
	s.newest = s.cursor.Segment
	entries, err := s.o.FS.ReadDir(s.o.Dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		number, err := strconv.ParseUint(strings.TrimSuffix(entry.Name(), segmentExt), 10, 63)
		if err != nil || entry.Name() != filepath.Base(s.path(number)) {
			continue // not ours
		}
		s.newest = max(s.newest, number)
		if !entry.Type().IsRegular() {
			continue // nor this, but the name is taken
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if number < s.cursor.Segment || number == s.cursor.Segment && info.Size() <= s.cursor.Offset || info.Size() == 0 {
			if err := s.o.FS.Remove(s.path(number)); err != nil {
				return err
			}
			continue
		}
		s.segments = append(s.segments, &segment{number, info.Size()})
		s.bytes += info.Size()
	}
	slices.SortFunc(s.segments, func(a, b *segment) int { return cmp.Compare(a.number, b.number) }) // the longer name is not the later one
	return nil
}

// Send implements [Sink].
func (s *Spool) Send(ctx context.Context, events []audit.Event) error {
	patient, cancel := context.WithTimeout(ctx, s.o.Patience)
	defer cancel()
	if s.awaitTail(patient); s.behind() {
		return s.store(events) // behind those that came before
	}
	err := s.next.Send(patient, events)
	left, refused := again(err, events)
	if len(left) == 0 {
		return refused
	}
	s.fails()
	if s.behind() {
		return errors.Join(refused, s.store(left))
	}
	s.o.Log.LogAttrs(ctx, slog.LevelWarn, "spool: events go to disk until they are taken", slog.String("dir", s.o.Dir), slog.String("error", err.Error()))
	return errors.Join(refused, s.store(left))
}

// again is what of events may be taken another time after err, and err for those
// that will not be.
func again(err error, events []audit.Event) (left []audit.Event, refused error) {
	for _, loss := range Losses(lossOf("", err, events)) {
		switch loss.Reason {
		case ReasonTooLarge, ReasonRefused, ReasonRedact:
			refused = errors.Join(refused, loss)
		default:
			left = append(left, loss.Events...)
		}
	}
	return left, refused
}

// Overflow is a [Sink] that puts events on disk without trying the sink below. Closing
// it does nothing.
func (s *Spool) Overflow() Sink { return overflow{s} }

type overflow struct{ s *Spool }

func (o overflow) Send(_ context.Context, events []audit.Event) error { return o.s.store(events) }
func (o overflow) Close(context.Context) error                        { return nil }

// behind is whether there are events on disk, or on their way there.
func (s *Spool) behind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.segments) > 0 || s.queued > 0
}

// awaitTail waits while the last of what is on disk is under way: else, with events that keep
// coming, the disk would never be empty.
func (s *Spool) awaitTail(ctx context.Context) {
	s.mu.Lock()
	tail := s.tail
	s.mu.Unlock()
	if tail != nil {
		select {
		case <-tail:
		case <-ctx.Done():
		}
	}
}

// fails notes that the sink below did not take something.
func (s *Spool) fails() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = false
	s.endTail()
}

// endTail lets those go on who wait for the tail. The caller holds s.mu.
func (s *Spool) endTail() {
	if s.tail != nil {
		close(s.tail)
		s.tail = nil
	}
}

func (s *Spool) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Backlog is how much is on disk.
func (s *Spool) Backlog() (bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// Close implements [Sink]. What is on disk stays there for the next time; it waits for a
// Send that is under way until ctx ends. A second Close does nothing.
func (s *Spool) Close(ctx context.Context) error {
	s.mu.Lock()
	again := s.stopped
	s.stopped = true
	s.mu.Unlock()
	if again {
		return nil
	}
	close(s.stop)
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	s.cancel()
	<-done
	s.disk <- struct{}{}
	s.seal()
	<-s.disk
	return errors.Join(s.next.Close(ctx), s.lock.Close())
}
