package pipeline

import (
	"errors"
	"strings"

	"github.com/ktrail/ktrail/audit"
)

// group is the lines of Sends that share a write and its sync: of those that came while
// the write before was under way.
type group struct {
	text []byte
	done chan struct{} // closed when err is known
	err  error
}

// store puts events on disk, and returns when they are safe.
func (s *Spool) store(events []audit.Event) error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return &Loss{Sink: spoolName, Reason: ReasonStop, Events: events}
	}
	n, size := s.room(events)
	var full error
	if n < len(events) {
		full = &Loss{Sink: spoolName, Reason: ReasonFull, Events: events[n:]}
	}
	if n == 0 {
		s.mu.Unlock()
		return full
	}
	g := s.gathers
	leads := g == nil
	if leads {
		g = &group{done: make(chan struct{})}
		s.gathers = g
	}
	for i := range events[:n] {
		g.text = append(g.text, strings.ReplaceAll(events[i].Raw, "\n", " ")...) // between two tokens: space is space
		g.text = append(g.text, '\n')
	}
	s.queued += size
	s.wg.Add(1)
	defer s.wg.Done()
	s.mu.Unlock()
	if leads {
		s.commit(g)
	} else {
		<-g.done
	}
	if g.err != nil {
		return errors.Join(&Loss{Sink: spoolName, Reason: ReasonDisk, Events: events[:n], Err: g.err}, full)
	}
	return full
}

// room is how many of events there is room for, and their size.
func (s *Spool) room(events []audit.Event) (n int, size int64) {
	for ; n < len(events); n++ {
		line := lineSize(&events[n])
		if s.bytes+s.queued+size+line > s.o.MaxBytes {
			break
		}
		size += line
	}
	return n, size
}

// commit writes g, of which the caller is the leader: it waits for its turn, and whoever
// comes meanwhile joins.
func (s *Spool) commit(g *group) {
	s.disk <- struct{}{}
	defer func() { <-s.disk }()
	s.mu.Lock()
	s.gathers = nil // whoever comes now leads the next one
	s.mu.Unlock()
	g.err = s.write(g.text)
	s.mu.Lock()
	s.queued -= int64(len(g.text))
	s.endTail() // it is not the last any more
	s.mu.Unlock()
	if g.err == nil {
		s.signal()
	}
	close(g.done)
}

// write appends text to the last segment, or to a new one, and syncs it. The caller has the disk.
func (s *Spool) write(text []byte) error {
	if s.active != nil && s.last.size >= s.o.SegmentBytes {
		s.seal()
	}
	fresh := s.active == nil
	if fresh {
		s.newest++
		f, err := s.o.FS.Create(s.path(s.newest))
		if err != nil {
			return err
		}
		s.active, s.last = f, &segment{number: s.newest}
	}
	_, err := s.active.Write(text)
	if err == nil {
		err = s.active.Sync()
	}
	if err == nil && fresh {
		err = s.o.FS.SyncDir(s.o.Dir)
	}
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.last.size += int64(len(text))
		s.bytes += int64(len(text))
		if fresh {
			s.segments = append(s.segments, s.last)
		}
		return nil
	}
	// The caller takes the events as lost, so they should not come after all, and the next ones
	// must not continue half a line. A file that failed to sync is not to be trusted: no more goes into it.
	if s.active.Truncate(s.last.size) == nil {
		_ = s.active.Sync()
	}
	s.seal()
	if fresh {
		_ = s.o.FS.Remove(s.path(s.newest))
	}
	return err
}

// seal ends the segment that is written. What is in it was synced. The caller has the disk.
func (s *Spool) seal() {
	if s.active != nil {
		_ = s.active.Close()
		s.active = nil
	}
}
