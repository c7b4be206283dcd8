package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ktrail/ktrail/internal/durable"
)

// QuarantineRequest asks for the newest lines in quarantine. Source "" means of
// all sources.
type QuarantineRequest struct {
	Source string
	Limit  int // lines, above 0
	// LineBytes cuts longer lines.
	LineBytes int
}

// QuarantinedLine is a line in quarantine, perhaps its beginning only.
type QuarantinedLine struct {
	Quarantined
	Bytes int // of the whole line
}

// Quarantine lists lines that could not be decoded, newest commit first and
// within one the last line first, and whether there are more. A damaged file of
// quarantine hides nothing but its damaged lines.
func (s *Store) Quarantine(ctx context.Context, r QuarantineRequest) (lines []QuarantinedLine, more bool, err error) {
	if r.Limit <= 0 || r.LineBytes <= 0 {
		return nil, false, errors.New("list quarantine: a limit is not above 0")
	}
	s.tryRefresh()
	entries, err := s.fs.ReadDir(s.path(quarantineDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("list quarantine: %w", err)
	}
	for _, e := range slices.Backward(entries) { // names sort as their numbers
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		rel := path.Join(quarantineDir, e.Name())
		if !s.isQuarantine(e.Name(), rel) {
			continue
		}
		room := r.Limit + 1 - len(lines)
		found, err := s.lastQuarantined(ctx, rel, r, room)
		if errors.Is(err, fs.ErrNotExist) {
			continue // dropped meanwhile
		}
		if err != nil {
			return nil, false, fmt.Errorf("read quarantine %s: %w", rel, err)
		}
		slices.Reverse(found)
		if lines = append(lines, found...); len(lines) > r.Limit {
			return lines[:r.Limit], true, nil
		}
	}
	return lines, false, nil
}

// isQuarantine tells whether a file holds the lines of a commit that succeeded.
func (s *Store) isQuarantine(name, rel string) bool {
	number, ok := strings.CutPrefix(strings.TrimSuffix(name, ".jsonl"), "lines-")
	seq, err := strconv.ParseInt(number, 10, 64)
	s.mu.Lock()
	defer s.mu.Unlock()
	return ok && err == nil && strings.HasSuffix(name, ".jsonl") && seq < s.nextSeq && s.obsolete[rel] == nil
}

// lastQuarantined gives the last n lines of a file that are of the source, in order.
func (s *Store) lastQuarantined(ctx context.Context, rel string, r QuarantineRequest, n int) ([]QuarantinedLine, error) {
	f, err := s.fs.Open(s.path(rel))
	if err != nil {
		return nil, err
	}
	defer func(f durable.Reader) { _ = f.Close() }(f)
	var last []QuarantinedLine
	in := bufio.NewReaderSize(io.NewSectionReader(f, 0, f.Size()), 64<<10)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		text, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		var q Quarantined
		if len(text) > 0 && json.Unmarshal(text, &q) == nil && (r.Source == "" || q.Source == r.Source) {
			l := QuarantinedLine{Quarantined: q, Bytes: len(q.Line)}
			l.Line = bytes.Clone(q.Line[:min(len(q.Line), r.LineBytes)])
			if last = append(last, l); len(last) >= 2*n { // the last n are wanted
				last = append(last[:0], last[len(last)-n:]...)
			}
		}
		if err != nil {
			return last[max(0, len(last)-n):], nil
		}
	}
}
