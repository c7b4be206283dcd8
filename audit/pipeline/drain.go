package pipeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return nil
	}
	if len(s.segments) == 1 {
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
		events, end, bad, err := s.read(seg, offset)
		if err != nil {
			s.o.Log.LogAttrs(s.ctx, slog.LevelError, "spool: a segment cannot be read", slog.String("file", s.path(seg.number)),
				slog.Int64("offset", offset), slog.Int("try", tries), slog.String("error", err.Error()))
			if tries == readTries {
				return false, true
			}
			tries++
			if !s.pause(lastPause) {
				return false, false
			}
			continue
		}
		tries = 1
		clean = clean && !bad
		if !s.hand(events) {
			return clean, false
		}
		offset = end
		s.cursor = cursor{seg.number, end}
		text, err := json.Marshal(s.cursor)
		if err == nil {
			err = durable.WriteFile(s.o.FS, filepath.Join(s.o.Dir, cursorFile), text)
		}
		if err != nil {
			s.o.Log.LogAttrs(s.ctx, slog.LevelError, "spool: the cursor cannot be written: events may be handed on twice after a crash", slog.String("error", err.Error()))
		}
		select {
		case <-s.stop:
			return clean, offset >= seg.size
		default:
		}
	}
	return clean, true
}

// read reads events from offset on: so many as are handed on at once. end is the
// offset behind them; bad is whether there was a line among them that is no event.
func (s *Spool) read(seg *segment, offset int64) (events []audit.Event, end int64, bad bool, err error) {
	f, err := s.o.FS.Open(s.path(seg.number))
	if err != nil {
		return nil, 0, false, err
	}
	defer func() { _ = f.Close() }()
	text := make([]byte, min(s.o.BatchBytes, seg.size-offset))
	for {
		n, err := f.ReadAt(text, offset)
		if err != nil && (!errors.Is(err, io.EOF) || n == 0) {
			return nil, 0, false, err
		}
		text = text[:n]
		if whole := bytes.LastIndexByte(text, '\n') + 1; whole > 0 {
			text = text[:whole]
			break
		}
		if int64(n) == seg.size-offset {
			break // the last line is torn
		}
		text = make([]byte, min(2*int64(len(text)), seg.size-offset)) // a line larger than a batch
	}
	end = offset
	for len(text) > 0 && len(events) < s.o.BatchEvents {
		line, rest, whole := bytes.Cut(text, []byte{'\n'})
		var e audit.Event
		err := audit.Decode(line, &e)
		if !whole || err != nil {
			reason := "the line is torn: the process that wrote it was stopped, and had not taken it yet"
			if whole {
				reason = err.Error()
			}
			s.o.Log.LogAttrs(s.ctx, slog.LevelError, "spool: a line is no audit event; its segment goes to quarantine", slog.String("file", s.path(seg.number)),
				slog.Int64("offset", end), slog.Int("bytes", len(line)), slog.String("reason", reason))
			bad = true
		} else {
			events = append(events, e)
		}
		end += int64(len(text) - len(rest))
		text = rest
	}
	return events, end, bad, nil
}

// hand hands events on until all are taken or refused; false if the spool was closed first.
func (s *Spool) hand(events []audit.Event) bool {
	for pause := firstPause; len(events) > 0; pause = min(2*pause, lastPause) {
		err := s.next.Send(s.ctx, events)
		left, refused := again(err, events)
		s.o.Ledger.Enter(refused, nil)
		if events = left; len(events) > 0 && !s.pause(pause) {
			return false
		}
	}
	return true
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
	if len(s.segments) == 0 {
		s.o.Log.LogAttrs(s.ctx, slog.LevelInfo, "spool: everything that was on disk has been handed on")
	}
}
