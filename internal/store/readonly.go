package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/ktrail/ktrail/internal/durable"
)

// watchEvery is how often a read-only store with subscribers looks for commits.
const watchEvery = 200 * time.Millisecond

func (s *Store) openReadOnly() error {
	if _, err := s.fs.Stat(s.path(manifestName)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; import a log into it, or give the right directory with --data", ErrNotFound)
	} else if err != nil {
		return err
	}
	return s.refresh()
}

// refresh reads what another process has added to the MANIFEST. It does nothing
// in a store that writes itself.
func (s *Store) refresh() error {
	if !s.opts.ReadOnly {
		return nil
	}
	s.tailing.Lock()
	defer s.tailing.Unlock()
	info, err := s.openTail()
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	data := make([]byte, max(0, info.Size()-s.tail.whole))
	if len(data) == 0 && s.tail.whole > 0 {
		return nil
	}
	n, err := s.tail.file.ReadAt(data, s.tail.whole)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read manifest: %w", err)
	}
	return s.readOn(data[:n], s.tail.whole)
}

// openTail has the present MANIFEST open in s.tail. It stays open, so that a new
// one cannot have its inode number and be taken for the same.
func (s *Store) openTail() (fs.FileInfo, error) {
	name := s.path(manifestName)
	for {
		info, err := s.fs.Stat(name)
		if err != nil {
			return nil, err
		}
		if s.tail.info != nil && os.SameFile(s.tail.info, info) && info.Size() >= s.tail.whole {
			return info, nil
		}
		f, err := s.fs.Open(name)
		if err != nil {
			return nil, err
		}
		// It may have been replaced before it was opened. (A file in memory is never the same.)
		again, err := s.fs.Stat(name)
		if err != nil || os.SameFile(info, again) || !os.SameFile(again, again) {
			if s.tail.file != nil {
				_ = s.tail.file.Close()
			}
			s.tail.file, s.tail.info, s.tail.whole = f, again, 0
			return again, err
		}
		_ = f.Close()
	}
}

// readOn applies data, the MANIFEST's content from the offset from on.
func (s *Store) readOn(data []byte, from int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.contents
	if from == 0 {
		s.contents = newContents()
	}
	records := 0
	bad, whole, err := scanManifest(data, func(r *record) error {
		records++
		return s.contents.apply(s.dir, r)
	})
	if err == nil && from == 0 && records == 0 {
		err = &DamageError{Damage{File: manifestName, Length: int64(len(data)), Reason: "it has no readable record; restore it from a backup"}}
	}
	if err != nil {
		s.contents = old
		return err
	}
	// A record that only lacks its LF is still being written. With a wrong byte for
	// its LF it is complete.
	if last, spoilt := lastRecord(data[whole:]); spoilt != nil {
		if err := s.contents.apply(s.dir, last); err != nil {
			s.contents = old
			return err
		}
		bad = append(bad, badLine{offset: whole, line: data[whole : len(data)-1], err: spoilt})
		whole = int64(len(data))
	}
	for _, b := range bad {
		s.damage = append(s.damage, Damage{
			File: manifestName, Offset: from + b.offset, Length: int64(len(b.line)) + 1, Reason: "record: " + b.err.Error(),
		})
	}
	for seq, d := range s.hidden {
		if s.live[seq] == nil {
			continue
		}
		s.damage = append(s.damage, d)
		delete(s.live, seq)
	}
	s.tail.whole = from + whole
	return nil
}

// watch tells subscribers of commits by another process.
func (s *Store) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		wanted := len(s.subscribers) > 0
		s.mu.Unlock()
		if !wanted || s.refresh() != nil {
			continue
		}
		s.mu.Lock()
		c := committed{First: s.told + 1, Last: s.nextID - 1}
		s.told = s.nextID - 1
		s.mu.Unlock()
		if c.First <= c.Last {
			s.tell(c)
		}
	}
}

// openSegment opens a segment's file for reading.
func (s *Store) openSegment(g *segment) (durable.Reader, error) {
	r, err := s.fs.Open(g.Path)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	return r, nil
}
