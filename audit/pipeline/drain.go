package pipeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
)

// The pauses between tries to hand on what is on disk: the first, and the longest.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// readTries is how often a segment that cannot be read is tried before it is put aside.
const readTries = 5

// drain hands on what is on disk, until Close. It sleeps while there is nothing.
func (s *Spool) drain() {
	for {
		select {
		case <-s.stop:
			return
		default:
		}
		seg := s.oldest()
		if seg == nil {
			select {
			case <-s.wake:
			case <-s.stop:
			}
			continue
		}
		clean, done := s.drainSegment(seg)
		if !done {
			return
		}
		s.drop(seg, clean)
	}
}

// oldest is the first segment, sealed: nobody writes to it any more.
func (s *Spool) oldest() *segment {
	s.disk <- struct{}{}
	defer func() { <-s.disk }()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return nil
	}
	if s.segments[0] == s.last {
		s.seal()
	}
	return s.segments[0]
}

// drainSegment hands on what is left of a segment. clean is whether all of it could be
// read, done is false if the spool was closed first.
func (s *Spool) drainSegment(seg *segment) (clean, done bool) {
	clean = true
	offset := int64(0)
	if s.cursor.Segment == seg.number {
		offset = s.cursor.Offset
	}
	for tries := 1; offset < seg.size; {
		runs, err := s.readRuns(seg, offset)
		if err != nil {
			s.o.Log.LogAttrs(s.ctx, slog.LevelError, "spool: a segment cannot be read", slog.String("file", s.path(seg.number)),
				slog.Int64("offset", offset), slog.Int("try", tries), slog.String("error", err.Error()))
			if tries == readTries {
				s.damaged(fmt.Errorf("%s cannot be read from offset %d on, with at least this event: %w", s.path(seg.number), offset, err))
				return false, true
			}
			tries++
			if !s.pause(lastPause) {
				return false, false
			}
			continue
		}
		tries = 1
		offset = runs[len(runs)-1].end
		clean = clean && !slices.ContainsFunc(runs, func(r run) bool { return r.bad })
		if !s.handAll(seg, runs) {
			return clean, false
		}
		s.settle(cursor{seg.number, offset})
		select {
		case <-s.stop:
			return clean, offset >= seg.size
		default:
		}
	}
	return clean, true
}

// readRuns reads so many runs of events as are to be under way at once, one at least.
func (s *Spool) readRuns(seg *segment, offset int64) ([]run, error) {
	var runs []run
	for len(runs) < s.width && offset < seg.size {
		r, err := s.read(seg, offset)
		if err != nil && len(runs) > 0 {
			break // it will come again
		}
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
		offset = r.end
	}
	return runs, nil
}

// handAll hands runs on side by side until all are taken or refused; false if the spool was
// closed first.
func (s *Spool) handAll(seg *segment, runs []run) bool {
	s.mu.Lock()
	if s.up && len(s.segments) == 1 && s.queued == 0 && runs[len(runs)-1].end == seg.size {
		s.tail = make(chan struct{})
	}
	s.mu.Unlock()
	var stopped, failed atomic.Bool
	var wg sync.WaitGroup
	for i, r := range runs {
		wg.Go(func() {
			left := func(left int64) {
				failed.Store(true)
				if i == 0 && left > 0 { // a part was taken: not again after a stop
					s.settle(cursor{seg.number, left})
				}
			}
			if !s.hand(r, left) {
				stopped.Store(true)
			}
		})
	}
	wg.Wait()
	s.mu.Lock()
	s.up = !stopped.Load()
	s.mu.Unlock()
	if s.width = min(2*s.width, s.o.Workers); failed.Load() {
		s.width = 1
	}
	return !stopped.Load()
}

// settle notes that what is before c was taken.
func (s *Spool) settle(c cursor) {
	s.cursor = c
	text, err := json.Marshal(c)
	if err == nil {
		err = durable.WriteFile(s.o.FS, filepath.Join(s.o.Dir, cursorFile), text)
	}
	if err != nil {
		s.o.Log.LogAttrs(s.ctx, slog.LevelError, "spool: the cursor cannot be written: events may be handed on twice after a crash", slog.String("error", err.Error()))
	}
}

// damaged enters an event that was on disk and cannot be read any more.
func (s *Spool) damaged(err error) {
	s.o.Ledger.Enter(&Loss{Sink: spoolName, Reason: ReasonDisk, Events: make([]audit.Event, 1), Err: err}, nil)
}

// run is a part of a segment: events that are handed on at once.
type run struct {
	events []audit.Event
	starts []int64 // where their lines begin
	end    int64   // of the last line
	bad    bool    // there was a line among them that is no event
}

// read reads events from offset on: so many as are handed on at once.
func (s *Spool) read(seg *segment, offset int64) (run, error) {
	f, err := s.o.FS.Open(s.path(seg.number))
	if err != nil {
		return run{}, err
	}
	defer func() { _ = f.Close() }()
	text := make([]byte, min(s.o.BatchBytes, seg.size-offset))
	for {
		n, err := f.ReadAt(text, offset)
		if err != nil && (!errors.Is(err, io.EOF) || n == 0) {
			return run{}, err
		}
		text = text[:n]
		if whole := bytes.LastIndexByte(text, '\n') + 1; whole > 0 {
			text = text[:whole]
			break
		}
		if err != nil || int64(n) == seg.size-offset {
			break // the last line is torn
		}
		text = make([]byte, min(2*int64(len(text)), seg.size-offset)) // a line larger than a batch
	}
	b := run{end: offset}
	for len(text) > 0 && len(b.events) < s.o.BatchEvents {
		line, rest, whole := bytes.Cut(text, []byte{'\n'})
		var e audit.Event
		err := audit.Decode(line, &e)
		if whole && err == nil {
			b.events = append(b.events, e)
			b.starts = append(b.starts, b.end)
		} else {
			b.bad = true
			s.unreadable(seg, b.end, line, whole, err)
		}
		b.end += int64(len(text) - len(rest))
		text = rest
	}
	return b, nil
}

// unreadable tells of a line that is no event.
func (s *Spool) unreadable(seg *segment, offset int64, line []byte, whole bool, err error) {
	reason := "the line is torn: the process that wrote it was stopped, and had not taken it yet"
	if whole {
		reason = err.Error()
		s.damaged(fmt.Errorf("%s at offset %d: %w", s.path(seg.number), offset, err))
	}
	s.o.Log.LogAttrs(s.ctx, slog.LevelError, "spool: a line is no audit event; its segment goes to quarantine", slog.String("file", s.path(seg.number)),
		slog.Int64("offset", offset), slog.Int("bytes", len(line)), slog.String("reason", reason))
}

// hand hands events on until all are taken or refused; false if the spool was closed first.
// failed is told after each failure where the first of those that are left begins, 0 if that is not known.
func (s *Spool) hand(r run, failed func(start int64)) bool {
	if len(r.events) == 0 {
		return true // none of its lines could be read
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := s.next.Send(s.ctx, r.events)
		left, refused := again(err, r.events)
		s.o.Ledger.Enter(refused, nil)
		if len(left) == 0 {
			return true
		}
		s.fails()
		failed(r.keep(left))
		if !s.pause(pause) {
			return false
		}
	}
}

// keep leaves left in r, which are events of r in their order, and returns where they begin;
// 0 if that is not known.
func (r *run) keep(left []audit.Event) int64 {
	k := 0
	for i := range r.starts {
		if k < len(left) && r.events[i].Raw == left[k].Raw {
			r.starts[k] = r.starts[i]
			k++
		}
	}
	if r.events = left; k < len(left) {
		k = 0
	}
	if r.starts = r.starts[:k]; k == 0 {
		return 0
	}
	return r.starts[0]
}

// pause waits, and reports false if the spool was closed.
func (s *Spool) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.stop:
		return false
	}
}

// drop takes a segment away of which everything was handed on: what could be read.
func (s *Spool) drop(seg *segment, clean bool) {
	name := s.path(seg.number)
	var err error
	if clean {
		err = s.o.FS.Remove(name)
	} else {
		dir := filepath.Join(s.o.Dir, quarantineDir)
		if err = s.o.FS.MkdirAll(dir); err == nil {
			err = s.o.FS.Rename(name, filepath.Join(dir, filepath.Base(name)))
		}
		if err == nil {
			err = s.o.FS.SyncDir(dir)
		}
	}
	if err == nil {
		err = s.o.FS.SyncDir(s.o.Dir)
	}
	if err != nil { // the cursor is behind it: it is not read again
		s.o.Log.LogAttrs(s.ctx, slog.LevelError, "spool: a segment that was handed on cannot be taken away", slog.String("file", name), slog.String("error", err.Error()))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments = s.segments[1:]
	s.bytes -= seg.size
	s.endTail()
	if len(s.segments) == 0 {
		s.o.Log.LogAttrs(s.ctx, slog.LevelInfo, "spool: everything that was on disk has been handed on")
	}
}
