package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ktrail/ktrail/audit"
)

const (
	// fanIn is how many segments of a level are merged into one of the next.
	// With a commit every 200 ms the levels span 3 s, 50 s, 14 min, 4 h.
	fanIn = 16
	// maxInputs bounds a merge's memory: each open input holds a page of lines.
	maxInputs = 48
	// A segment of so many rows or bytes is not merged again.
	fullRows  = 1 << 20
	fullBytes = 128 << 20
	// lastLevel is that of full segments.
	lastLevel = 9
	// bestLevel is the first that is compressed as well as it goes.
	bestLevel = 2
	bestRows  = 4 << 10
	// freshFor keeps the newest commits as they are: their line hashes are in
	// memory, and the next commit's duplicates are most likely there.
	freshFor = 3 * time.Second

	compactEvery = 2 * time.Second
	// Ingest is busy for busyFor after a large commit. Compaction leaves it the
	// machine, unless more than pileUp commits wait to be merged: each is a file
	// that every query opens.
	busyFor = 3 * time.Second
	pileUp  = 200
)

// packingOf is how a merge of so many rows is compressed. The best way has
// tables of some 100 MB to clear, which is not worth it for few rows.
func packingOf(level int, rows int64) packing {
	if level >= bestLevel && rows >= bestRows {
		return compactPacking()
	}
	return packing{level: zstd.SpeedDefault, raw: zstd.SpeedDefault, rawPage: 2 << 20}
}

// maintain compacts, retains and removes until ctx is done.
func (s *Store) maintain(ctx context.Context) {
	s.retain(ctx)
	var retained time.Time
	var failed string
	for pause(ctx, compactEvery) {
		s.deleteObsolete()
		for {
			group, level := s.due()
			if len(group) == 0 {
				break
			}
			if err := s.merge(ctx, group, level, true); err != nil {
				if ctx.Err() == nil && err.Error() != failed { // not every two seconds
					failed = err.Error()
					s.log.LogAttrs(ctx, slog.LevelWarn, "cannot compact", slog.String("error", err.Error()))
				}
				break
			}
			failed = ""
		}
		if time.Since(retained) >= retainEvery {
			retained = time.Now()
			s.retain(ctx)
		}
	}
}

// Compact merges everything into full segments, as background compaction would
// in the end, and returns when that is durable.
func (s *Store) Compact(ctx context.Context) error {
	if s.opts.ReadOnly {
		return fmt.Errorf("compact: %w", ErrReadOnly)
	}
	for _, group := range s.planAll() {
		if err := s.merge(ctx, group, lastLevel, false); err != nil {
			return err
		}
	}
	s.deleteObsolete()
	return nil
}

// due picks the merge that is to be made now.
func (s *Store) due() (group []*segment, level int) {
	busy := s.busy()
	if busy && !s.piledUp() {
		return nil, 0
	}
	return s.plan(audit.TimeOf(time.Now().Add(-freshFor)), busy)
}

// busy tells whether ingest needs the machine: a large batch waits, or was
// committed a moment ago. Small commits of live traffic leave enough of it.
func (s *Store) busy() bool {
	if _, events, bytes := s.queue.weigh(); large(events, bytes) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.lastLarge.IsZero() && time.Since(s.lastLarge) < busyFor
}

// piledUp tells whether too many commits have not been merged yet.
func (s *Store) piledUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, g := range s.live {
		if g.Level == 0 {
			n++
		}
	}
	return n > pileUp
}

// pace returns what a merge calls after every few megabytes. It ends the merge
// when ctx does. A polite one rests while ingest is busy; if commits pile up, for
// as long as it worked, so that it takes half a core at most.
func (s *Store) pace(ctx context.Context, polite bool) func() error {
	began := time.Now()
	return func() error {
		worked := time.Since(began)
		for polite && s.busy() {
			if s.piledUp() {
				pause(ctx, worked)
				break
			}
			if !pause(ctx, busyFor/10) {
				break
			}
		}
		began = time.Now()
		return ctx.Err()
	}
}

func (g *segment) full() bool { return g.Rows >= fullRows*3/4 || g.Bytes >= fullBytes*3/4 }

// byTime returns the live segments that pass, ascending by time.
func (s *Store) byTime(want func(*segment) bool) []*segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*segment
	for _, seq := range sortedKeys(s.live) {
		if g := s.live[seq]; want(g) {
			list = append(list, g)
		}
	}
	slices.SortStableFunc(list, func(a, b *segment) int { return int(max(-1, min(1, a.MinTime-b.MinTime))) })
	return list
}

// plan picks the next merge: first whatever makes a full segment, then fanIn
// neighbours of the lowest level that has them. Segments that end after fresh
// are left alone, unless there are very many. A cheap merge is no full one, which
// is compressed as well as it goes and takes the longest.
func (s *Store) plan(fresh audit.Time, cheap bool) (group []*segment, level int) {
	small := s.byTime(func(g *segment) bool { return !g.full() })
	if len(small) < 64 {
		small = slices.DeleteFunc(small, func(g *segment) bool { return g.Level == 0 && g.MaxTime > fresh })
	}
	if i, n := fullRun(small); n > 0 && !cheap {
		return small[i : i+n], lastLevel
	}
	for level := range lastLevel - 1 {
		var run []*segment
		for _, g := range small {
			if g.Level != level {
				continue
			}
			if run = append(run, g); len(run) == fanIn {
				return run, level + 1
			}
		}
	}
	return nil, 0
}

// fullRun finds neighbours that together make a full segment.
func fullRun(small []*segment) (at, n int) {
	var rows, bytes int64
	for i, g := range small {
		rows += g.Rows
		bytes += g.Bytes
		n++
		if rows >= fullRows || bytes >= fullBytes {
			return i + 1 - n, n
		}
		if n == maxInputs {
			rows, bytes, n = 0, 0, 0
		}
	}
	return 0, 0
}

// planAll groups all that is not full into merges. A segment that stands alone
// is rewritten if it is not yet compressed well.
func (s *Store) planAll() [][]*segment {
	small := s.byTime(func(g *segment) bool { return !g.full() || g.Level < bestLevel })
	var groups [][]*segment
	var group []*segment
	var rows, bytes int64
	flush := func() {
		if len(group) > 1 || len(group) == 1 && group[0].Level < bestLevel {
			groups = append(groups, group)
		}
		group, rows, bytes = nil, 0, 0
	}
	for _, g := range small {
		if len(group) == maxInputs || len(group) > 0 && (rows+g.Rows > fullRows || bytes+g.Bytes > fullBytes) {
			flush()
		}
		group = append(group, g)
		rows += g.Rows
		bytes += g.Bytes
	}
	flush()
	return groups
}

// merge replaces segments by ones sorted over all of them. Each is checked
// first, so that damage does not spread; a damaged one is set aside instead.
// A polite one makes way for ingest.
func (s *Store) merge(ctx context.Context, group []*segment, level int, polite bool) error {
	s.compacting.Lock()
	defer s.compacting.Unlock()
	began := time.Now()
	pace := s.pace(ctx, polite)
	group, done := s.hold(group)
	defer done()
	sound := make([]*segment, 0, len(group))
	var size int64
	for _, g := range group {
		var damage *DamageError
		switch err := s.verifySlowly(g, func(int) error { return pace() }); {
		case errors.As(err, &damage):
			continue
		case err != nil:
			return err
		}
		sound = append(sound, g)
		size += g.Bytes
	}
	if len(sound) == 0 {
		return nil
	}
	if free, total, err := s.fs.Free(s.dir); err != nil || free < s.minFree(total)/2+2*size {
		return fmt.Errorf("compact: %w", errors.Join(err, errLowDisk))
	}
	parts, err := s.writeMerged(sound, level, pace)
	defer s.removeTemps(parts)
	if err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	rec := &record{Type: recordReplace}
	for _, g := range sound {
		rec.Removed = append(rec.Removed, g.Seq)
	}
	if err := s.replace(parts, rec); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	s.dedup.forget(rec.Removed)
	s.metrics.compactions.Add(1)
	s.metrics.compactSeconds.Observe(time.Since(began).Seconds())
	return nil
}

// hold keeps segments that are still live from being deleted.
func (s *Store) hold(group []*segment) ([]*segment, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var held []*segment
	for _, g := range group {
		if s.live[g.Seq] == g {
			g.refs++
			held = append(held, g)
		}
	}
	return held, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, g := range held {
			g.refs--
		}
	}
}

// writeMerged writes the rows of all inputs, sorted, as new segments under temporary names.
func (s *Store) writeMerged(group []*segment, level int, pace func() error) ([]*draft, error) {
	inputs, err := s.openInputs(group)
	if err != nil {
		return nil, err
	}
	defer closeInputs(inputs)
	runs, times, err := order(inputs)
	if err != nil {
		return nil, err
	}
	var want, minID, maxID int64
	for i, g := range group {
		want += g.Rows
		if i == 0 || g.MinID < minID {
			minID = g.MinID
		}
		maxID = max(maxID, g.MaxID)
	}
	if int64(len(times)) != want {
		return nil, fmt.Errorf("merge segments: %d rows found, %d expected", len(times), want)
	}
	w := newSegmentWriter(packingOf(level, want))
	var parts []*draft
	for len(times) > 0 {
		n := outputRows(times)
		var front []run
		front, runs = cutRuns(runs, n)
		p, err := s.writePart(w, func(w *segmentWriter) error {
			for left := n; left > 0; {
				k := min(left, rowGroupRows)
				var rows []run
				rows, front = cutRuns(front, k)
				if err := w.writeRuns(inputs, rows, pace); err != nil {
					return err
				}
				left -= k
			}
			return nil
		})
		if p != nil {
			parts = append(parts, p)
		}
		if err != nil {
			return parts, err
		}
		// The IDs of a part are somewhere between those of all inputs.
		p.Level, p.Rows, p.MinTime, p.MaxTime, p.MinID, p.MaxID = level, int64(n), times[0], times[n-1], minID, maxID
		times = times[n:]
	}
	return parts, nil
}

// outputRows tells how many of the rows become the next segment.
func outputRows(times []audit.Time) int {
	n := len(times)
	if n > fullRows*3/2 {
		n = fullRows
	}
	for i := rowGroupRows; i < n; i++ {
		if times[i]-times[i-1] > splitGap {
			return i
		}
	}
	return n
}

// replace installs parts in the place of rec.Removed, unless one of those is gone.
func (s *Store) replace(parts []*draft, rec *record) error {
	s.mu.Lock()
	for _, seq := range rec.Removed {
		if s.live[seq] == nil {
			s.mu.Unlock()
			return fmt.Errorf("segment %d went away meanwhile", seq)
		}
	}
	s.mu.Unlock()
	return s.install(parts, rec, nil)
}
