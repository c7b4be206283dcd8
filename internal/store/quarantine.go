package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"syscall"

	"github.com/ktrail/ktrail/internal/durable"
)

// writeQuarantine makes lines that could not be decoded durable, one JSON object
// a line. The file has the number of the commit: one that is tried again, or
// made anew after a crash, replaces what the first try left.
func (s *Store) writeQuarantine(seq int64, lines []Quarantined) error {
	var out []byte
	for i := range lines {
		b, err := json.Marshal(&lines[i])
		if err != nil {
			return fmt.Errorf("write quarantine: %w", err)
		}
		out = append(append(out, b...), '\n')
	}
	return durable.WriteFile(s.fs, s.path(quarantinePath(seq)), out)
}

// quarantinePath is where the undecodable lines of a commit are.
func quarantinePath(seq int64) string {
	return path.Join(quarantineDir, fmt.Sprintf("lines-%012d.jsonl", seq))
}

// verify checks a segment that could not be read. If it is damaged it is set
// aside and the DamageError is returned; nil means that the file is as it was written.
func (s *Store) verify(g *segment) error {
	return s.verifySlowly(g, func(int) error { return nil })
}

// verifySlowly is verify for work that must not be in the way: paced is called
// after each block with its length, and its error ends the check.
func (s *Store) verifySlowly(g *segment, paced func(int) error) error {
	s.mu.Lock()
	known := s.live[g.Seq] == g
	for _, d := range s.damage {
		if d.Seq == g.Seq {
			s.mu.Unlock()
			return &DamageError{d}
		}
	}
	s.mu.Unlock()
	d, err := s.check(g, paced)
	if err != nil || d == nil {
		return err
	}
	if !known {
		return nil // replaced meanwhile
	}
	return s.setDamaged(g, *d)
}

// check reads a segment and compares it with what was written: the blocks' CRCs
// tell where it is damaged, the SHA-256 what they cannot see. nil, nil means
// that it is whole.
func (s *Store) check(g *segment, paced func(int) error) (*Damage, error) {
	r, err := s.fs.Open(g.Path)
	if errors.Is(err, fs.ErrNotExist) {
		d := s.segmentDamage(g, 0, "the file is missing")
		return &d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("check segment: %w", err)
	}
	defer func() { _ = r.Close() }()
	var first, end int64 = -1, 0
	reason := ""
	bad := func(offset, length int64, why string) {
		if first < 0 {
			first, reason = offset, why
		}
		end = offset + length
	}
	buf := make([]byte, min(blockSize, g.Bytes))
	sum := sha256.New()
	table := castagnoli()
	for i, offset := 0, int64(0); offset < g.Bytes; i, offset = i+1, offset+blockSize {
		b := buf[:min(blockSize, g.Bytes-offset)]
		n, err := r.ReadAt(b, offset)
		sum.Write(b[:n])
		switch {
		case n == len(b):
			if fmt.Sprintf("%08x", crc32.Checksum(b, table)) != g.blocks[8*i:8*i+8] {
				bad(offset, int64(n), "checksum of the block does not match")
			}
		case errors.Is(err, io.EOF):
			bad(offset+int64(n), int64(len(b)-n), "the file is cut short")
		case errors.Is(err, syscall.EIO):
			bad(offset, int64(len(b)), "the disk cannot read it")
		default:
			return nil, fmt.Errorf("check segment %s: %w", g.Rel, err)
		}
		if err := paced(n); err != nil {
			return nil, err
		}
	}
	if first < 0 && r.Size() != g.Bytes {
		bad(g.Bytes, r.Size()-g.Bytes, "bytes were added to the file")
	}
	if first < 0 && hex.EncodeToString(sum.Sum(nil)) != g.sha256 {
		bad(0, g.Bytes, "its SHA-256 does not match")
	}
	if first < 0 {
		return nil, nil
	}
	d := s.segmentDamage(g, first, reason)
	d.Length = end - first
	return &d, nil
}

// setDamaged takes a segment out of what is live and keeps its bytes. It
// returns the DamageError, or why that could not be done.
func (s *Store) setDamaged(g *segment, d Damage) error {
	if s.opts.ReadOnly {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.live[g.Seq] != nil {
			delete(s.live, g.Seq)
			s.hidden[g.Seq] = d
			s.noteDamage(d)
		}
		return &DamageError{d}
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	gone := s.live[g.Seq] != g
	s.mu.Unlock()
	if gone { // someone was faster
		return &DamageError{d}
	}
	if _, err := s.fs.Stat(g.Path); err == nil {
		d.Moved = s.freeQuarantineName(path.Base(g.Rel))
	}
	// The record first: if the machine stops now, start-up moves the file.
	if err := s.appendRecord(&record{Type: recordDamage, Damage: []Damage{d}}); err != nil {
		return fmt.Errorf("%s; and it cannot be set aside: %w", d, err)
	}
	if d.Moved != "" {
		if _, err := s.moveAside(g.Rel); err != nil {
			s.log.Warn("cannot move a damaged segment", slog.String("file", g.Rel), slog.String("error", err.Error()))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, g.Seq)
	s.noteDamage(d)
	s.dedup.forget([]int64{g.Seq})
	return &DamageError{d}
}
