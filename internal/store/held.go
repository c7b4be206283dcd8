package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/ktrail/ktrail/internal/durable"
)

// heldLines bounds how many quarantined lines are remembered (16 bytes each, and
// room to grow). Beyond it a file that is imported again quarantines again.
const heldLines = 1 << 20

// held knows the lines in quarantine, so that importing a file again, under
// another name or compressed, adds nothing there either. It is the place in the
// uncompressed file and the bytes that count: garbage may well repeat itself. A
// source with a cursor hands nothing over twice, so its lines are always kept:
// holes at the same place of two files of one log are two losses.
// Only the committer uses it.
type held struct {
	seed   uint64
	before int64 // numbers below are of commits that were there at start-up
	seen   *hashSet
}

func (h *held) hash(offset int64, line []byte) xxh3.Uint128 {
	return xxh3.Hash128Seed(line, h.seed^uint64(offset))
}

// has tells whether the line is in quarantine.
func (h *held) has(q *Quarantined) bool { return h.seen.has(h.hash(q.Offset, q.Line)) }

// add remembers lines once they are durable.
func (h *held) add(lines []Quarantined) {
	for i := range lines {
		if h.seen.n < heldLines {
			h.seen.add(h.hash(lines[i].Offset, lines[i].Line))
		}
	}
}

// loadHeld reads what commits before start-up left in quarantine. What failed
// commits left is not looked at: it is no place to keep a line.
func (s *Store) loadHeld() error {
	if s.held.seen != nil {
		return nil
	}
	known := held{seed: s.held.seed, before: s.held.before, seen: newHashSet(16)}
	entries, err := s.fs.ReadDir(s.path(quarantineDir))
	if err != nil {
		return fmt.Errorf("list quarantine: %w", err)
	}
	for _, e := range entries {
		number, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".jsonl"), "lines-")
		seq, err := strconv.ParseInt(number, 10, 64)
		rel := path.Join(quarantineDir, e.Name())
		s.mu.Lock()
		obsolete := s.obsolete[rel] != nil
		s.mu.Unlock()
		if !ok || err != nil || seq >= s.held.before || obsolete {
			continue
		}
		text, err := durable.ReadFile(s.fs, s.path(rel))
		if err != nil {
			return fmt.Errorf("read quarantine: %w", err)
		}
		for line := range bytes.Lines(text) {
			var q Quarantined
			if json.Unmarshal(line, &q) == nil { // a damaged line is not known; it may be kept again
				known.add([]Quarantined{q})
			}
		}
	}
	s.held = known // only now: what could not be read is tried again
	return nil
}
