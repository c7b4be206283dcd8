package logfile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
)

// The formats of --audit-log-format.
const (
	JSON   = "json"
	Legacy = "legacy"
)

// The values of --audit-log-sync: when a written line survives a power cut. It
// survives the death of the process as soon as WriteEvents returns.
const (
	SyncNever  = "never"  // when the kernel gets to it, as with the API server
	SyncSecond = "1s"     // a second later
	SyncAlways = "always" // when WriteEvents returns
)

// Stdout is the path that means standard output.
const Stdout = "-"

// WriterOptions are what the --audit-log-* flags say, with their meaning.
type WriterOptions struct {
	// Path is the log, or "-".
	Path string
	// MaxSize is at how many MB (1024 * 1024 bytes) the log is rotated, 0 for never.
	// As with the API server, MaxAge, MaxBackups and Compress then have no effect.
	MaxSize int
	// MaxAge is after how many days of 24 hours a rotated file is deleted, by the time
	// in its name, and MaxBackups how many are kept; 0 for no limit.
	MaxAge, MaxBackups int
	// Compress is whether rotated files become .gz files.
	Compress bool
	// Format is JSON or Legacy, "" for JSON.
	Format string
	// Sync is SyncNever, SyncSecond or SyncAlways, "" for SyncNever. It does not concern "-".
	Sync string

	// Out is written instead of standard output if Path is "-".
	Out io.Writer
	// Logger gets what nobody else is told: nil for none. See [Status] too.
	Logger *slog.Logger
	// FS is nil for the real file system.
	FS durable.FS

	maxBytes int64 // MaxSize for tests
}

func (o *WriterOptions) validate() error {
	switch {
	case o.Path == "":
		return errors.New("open audit log: no path")
	case o.MaxSize < 0 || o.MaxAge < 0 || o.MaxBackups < 0:
		return fmt.Errorf("open audit log %s: largest size, age and number of files cannot be negative", o.Path)
	case o.Format != "" && o.Format != JSON && o.Format != Legacy:
		return fmt.Errorf("open audit log %s: format is %q; known are json and legacy", o.Path, o.Format)
	case o.Sync != "" && o.Sync != SyncNever && o.Sync != SyncSecond && o.Sync != SyncAlways:
		return fmt.Errorf("open audit log %s: sync is %q; known are always, 1s and never", o.Path, o.Sync)
	}
	return nil
}

// State is what a [Writer] can do now.
type State string

// The states.
const (
	OK      State = "ok"
	Full    State = "full"    // the disk, or its user's quota, has no room
	Failing State = "failing" // any other error
)

// Status is how a Writer is.
type Status struct {
	State State
	// Since is when the state began, Err its cause unless it is OK.
	Since time.Time
	Err   error
	// Keep is why a rotated file could not be compressed or deleted, or the log not be
	// rotated, the last time that was tried; nil if it could. No event is lost by that.
	Keep error
	// Size is that of the live file in bytes.
	Size int64
	// Events and Bytes were written since Open; Lost events were given back with an error.
	Events, Bytes, Lost uint64
	// Rotations counts the files finished, Reopened how often the log had been deleted
	// or renamed by somebody else.
	Rotations, Reopened uint64
}

// ErrClosed is returned by a Writer after Close.
var ErrClosed = errors.New("log file is closed")

// WriteError is an error of WriteEvents.
type WriteError struct {
	Path string
	// Full is whether there was no room: [Full].
	Full bool
	// Events are those that are not where Sync promises, in their order. After an error
	// of a sync they may be in the file all the same.
	Events []audit.Event
	Err    error
}

func (e *WriteError) Error() string {
	if e.Full {
		return fmt.Sprintf("write %d events to %s: make room on its disk: %v", len(e.Events), e.Path, e.Err)
	}
	return fmt.Sprintf("write %d events to %s: %v", len(e.Events), e.Path, e.Err)
}

// Unwrap is the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// Writer writes one audit log, as the API server does: see [WriterOptions]. It may be used
// from many goroutines; those that come while a write is under way share the next
// one, and its sync.
//
// What it promises: each event is one line of its own. An event that WriteEvents took is in
// the live file or a rotated one, whole, and in no other; neither rotation nor
// compression, nor the death of the process in them, loses a line. A line that was torn (by a
// full disk, or when the process died) is cut off at once if that can be, otherwise ended before
// the next event is written. Errors end nothing: each write tries again.
//
// A log that somebody else deletes or renames is noticed within a second of the next event
// and begun anew; what is written in that time goes where the old one went.
type Writer struct {
	opt WriterOptions
	log *slog.Logger

	// mu is for what waits to be written and for the status. It is never held
	// while something is written.
	mu     sync.Mutex
	next   *group   // to be written, nil if there is none
	spare  []*group // for reuse
	st     Status
	closed bool
	busy   sync.WaitGroup // calls of WriteEvents

	out output
	keep
}

// Open opens the log, and creates it and its directory if need be, with modes 0600 and 0700.
func Open(opt WriterOptions) (*Writer, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	w := &Writer{opt: opt, log: opt.Logger, st: Status{State: OK, Since: time.Now()}}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	o := &w.out
	*o = output{w: w, path: opt.Path, fs: opt.FS, sync: opt.Sync, max: min(int64(opt.MaxSize), math.MaxInt64>>20) << 20}
	if opt.maxBytes > 0 {
		o.max = opt.maxBytes
	}
	if o.fs == nil {
		o.fs = durable.OS{}
	}
	if opt.Path == Stdout {
		out := opt.Out
		if out == nil {
			out = os.Stdout
		}
		o.f, o.stream = stream{out}, true
		return w, nil
	}
	o.path = filepath.Clean(opt.Path)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.open(nil); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	w.st.Size = o.size
	if o.max > 0 && !o.stream {
		w.keep.start(w)
	}
	return w, nil
}

// group is lines that are written together.
type group struct {
	buf   []byte
	ends  []int         // of each line in buf
	users atomic.Int32  // calls of WriteEvents that are not done with it
	done  chan struct{} // closed when it is written, nil if nobody waits for that
	taken int           // lines that are where they should be
	err   error
}

// WriteEvents appends the events, each as a line, and returns when they are where Sync
// promises. The error is a *[WriteError], or ErrClosed. ctx is looked at once only:
// nobody can call a write back.
func (w *Writer) WriteEvents(ctx context.Context, events []audit.Event) error {
	if len(events) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return w.lost(events, err)
	}
	if w.opt.Format != Legacy {
		for i := range events {
			if events[i].Raw == "" {
				return w.lost(events, fmt.Errorf("event %d of %d (audit ID %q) has no line: encode it first", i+1, len(events), events[i].AuditID))
			}
		}
	}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return w.lost(events, ErrClosed)
	}
	w.busy.Add(1)
	defer w.busy.Done()
	g := w.next
	leads := g == nil
	if leads {
		g = w.group()
		w.next = g
	} else if g.done == nil {
		g.done = make(chan struct{})
	}
	g.users.Add(1)
	first := len(g.ends)
	for i := range events {
		g.add(&events[i], w.opt.Format)
	}
	w.mu.Unlock()
	if leads {
		w.commit(g)
	} else {
		<-g.done
	}
	return w.leave(g, first, events)
}

// group returns an empty group. The caller holds w.mu.
func (w *Writer) group() *group {
	n := len(w.spare)
	if n == 0 {
		return &group{}
	}
	g := w.spare[n-1]
	w.spare = w.spare[:n-1]
	return g
}

// commit writes g, of which the caller is the leader.
func (w *Writer) commit(g *group) {
	w.out.mu.Lock()
	w.mu.Lock()
	w.next = nil // whoever comes now leads the next group
	w.mu.Unlock()
	w.out.write(g)
	size, unsynced := w.out.size, w.out.unsynced
	w.out.mu.Unlock()
	bytes := 0
	if g.taken > 0 {
		bytes = g.ends[g.taken-1]
	}
	err := cmp.Or(g.err, unsynced)
	w.mu.Lock()
	w.st.Events += uint64(g.taken)
	w.st.Lost += uint64(len(g.ends) - g.taken)
	w.st.Bytes += uint64(bytes)
	w.st.Size = size
	same := w.st.State == OK && err == nil
	w.mu.Unlock()
	if !same {
		w.enter(err)
	}
	if g.done != nil {
		close(g.done)
	}
}

// leave returns the error for the events that are the lines of g from first.
func (w *Writer) leave(g *group, first int, events []audit.Event) error {
	var err error
	if taken := min(max(g.taken-first, 0), len(events)); taken < len(events) {
		err = w.lost(events[taken:], g.err)
	}
	if g.users.Add(-1) == 0 {
		g.reset()
		w.mu.Lock()
		if len(w.spare) < 2 { // one is written while another gathers
			w.spare = append(w.spare, g)
		}
		w.mu.Unlock()
	}
	return err
}

// add appends the line of e.
func (g *group) add(e *audit.Event, format string) {
	if format == Legacy {
		g.buf = AppendLegacy(g.buf, e)
	} else {
		n := len(g.buf)
		g.buf = append(g.buf, e.Raw...)
		if strings.IndexByte(e.Raw, '\n') >= 0 {
			// An item of an indented EventList. Within JSON a line end is white space.
			for i, c := range g.buf[n:] {
				if c == '\n' || c == '\r' {
					g.buf[n+i] = ' '
				}
			}
		}
	}
	g.buf = append(g.buf, '\n')
	g.ends = append(g.ends, len(g.buf))
}

// reset empties g, and gives up what a large event left.
func (g *group) reset() {
	if cap(g.buf) > 1<<20 {
		g.buf = nil
	}
	g.buf, g.ends, g.done, g.taken, g.err = g.buf[:0], g.ends[:0], nil, 0, nil
}

func (w *Writer) lost(events []audit.Event, err error) error {
	return &WriteError{Path: w.opt.Path, Full: isFull(err), Events: append([]audit.Event(nil), events...), Err: err}
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// enter sets the state by the error of the last write or sync, and tells of a change.
func (w *Writer) enter(err error) {
	state := OK
	if err != nil {
		if state = Failing; isFull(err) {
			state = Full
		}
	}
	w.mu.Lock()
	was := w.st
	w.st.Err = err
	if state != was.State {
		w.st.State, w.st.Since = state, time.Now()
	}
	w.mu.Unlock()
	switch state {
	case was.State:
	case OK:
		w.log.Info("audit log is written again", slog.String("file", w.opt.Path), slog.Duration("after", time.Since(was.Since)), slog.Uint64("lost", was.Lost))
	default:
		w.log.Error("audit log cannot be written", slog.String("file", w.opt.Path), slog.String("state", string(state)), slog.Any("error", err))
	}
}

// Status tells how the writer is. It does not wait for a write.
func (w *Writer) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.st
}

// Close waits for the writes under way, makes their lines durable unless Sync is
// SyncNever, and closes the log. A compression that is under way is given up: the next
// Writer begins it again. Calling it again does nothing.
func (w *Writer) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	w.mu.Unlock()
	w.busy.Wait()
	w.keep.finish()
	if err := w.out.close(); err != nil {
		return fmt.Errorf("close audit log: %w", err)
	}
	return nil
}
