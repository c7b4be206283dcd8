package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/ktrail/ktrail/audit"
)

const (
	// A segment of a commit has at most so many events and bytes of lines; a
	// larger batch becomes several segments in one record.
	commitEvents = 64 << 10
	commitBytes  = 64 << 20
	// A batch of so much is committed without waiting for company.
	promptEvents = 8 << 10
	promptBytes  = 4 << 20
	// lowDiskEvery is how often a full disk is looked at again.
	lowDiskEvery = time.Second
	// A segment ends where no event follows for splitGap and it has splitRows, so
	// that logs of different days, imported side by side, do not make segments
	// that span all of them.
	splitGap  = audit.Time(time.Hour / time.Microsecond)
	splitRows = 4 << 10
)

// errLowDisk is why nothing is committed for now.
var errLowDisk = errors.New("too little space is left on the disk; free some, or retain less")

// request is an Append that waits.
type request struct {
	c     *Commit
	gone  func() error // not nil: its caller has given up
	bytes int64
	taken bool // by the committer: the events are in use
	res   Result
	err   error
	done  chan struct{}
}

// queue holds the requests that wait.
type queue struct {
	mu      sync.Mutex
	waiting []*request
	wake    chan struct{} // holds one token
	closed  bool
}

// Append stores c and returns when all of it is durable and can be asked for, or
// with an error when none of it is. Concurrent calls share a commit. While the
// disk is too full it waits, until there is space or ctx is done.
func (s *Store) Append(ctx context.Context, c Commit) (Result, error) {
	if s.opts.ReadOnly {
		return Result{}, fmt.Errorf("append: %w", ErrReadOnly)
	}
	if c.Cursor != nil && !json.Valid(c.Cursor) {
		return Result{}, fmt.Errorf("append: the cursor of %q is not JSON", c.Source)
	}
	if len(c.Events) == 0 && c.Cursor == nil && len(c.Quarantined) == 0 && len(c.Gaps) == 0 {
		return Result{}, nil
	}
	r := &request{c: &c, gone: ctx.Err, done: make(chan struct{})}
	for i := range c.Events {
		r.bytes += int64(len(c.Events[i].Raw))
	}
	q := &s.queue
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return Result{}, fmt.Errorf("append: %w", ErrClosed)
	}
	q.waiting = append(q.waiting, r)
	q.mu.Unlock()
	q.signal()
	select {
	case <-r.done:
		return r.res, r.err
	case <-ctx.Done():
	}
	q.mu.Lock()
	if !r.taken {
		if i := slices.Index(q.waiting, r); i >= 0 {
			q.waiting = slices.Delete(q.waiting, i, i+1)
			q.mu.Unlock()
			return Result{}, fmt.Errorf("append: %w", ctx.Err())
		}
	}
	q.mu.Unlock()
	<-r.done // the events are in use: a commit is short
	return r.res, r.err
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// weigh tells what waits.
func (q *queue) weigh() (requests, events int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.waiting {
		events += len(r.c.Events)
		bytes += r.bytes
	}
	return len(q.waiting), events, bytes
}

// large tells whether a batch is worth a commit of its own.
func large(events int, bytes int64) bool { return events >= promptEvents || bytes >= promptBytes }

// take removes the requests of the next commit from the queue.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	var n, events int
	var bytes int64
	for n < len(q.waiting) {
		r := q.waiting[n]
		if n > 0 && (events+len(r.c.Events) > commitEvents || bytes+r.bytes > commitBytes) {
			break
		}
		events += len(r.c.Events)
		bytes += r.bytes
		r.taken = true
		n++
	}
	batch := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	return batch
}

// putBack returns requests to the head of the queue, where they may be
// cancelled. Those whose caller gave up meanwhile are refused.
func (q *queue) putBack(batch []*request) {
	q.mu.Lock()
	kept := make([]*request, 0, len(batch)+len(q.waiting))
	for _, r := range batch {
		if err := r.gone(); err != nil {
			r.res, r.err = Result{}, fmt.Errorf("append: %w", err)
			close(r.done)
			continue
		}
		r.taken = false
		kept = append(kept, r)
	}
	q.waiting = append(kept, q.waiting...)
	q.mu.Unlock()
	q.signal()
}

// commits runs until ctx is done: one commit after the other.
func (s *Store) commits(ctx context.Context) {
	defer s.endCommits(ctx)
	var last time.Time
	for {
		select {
		case <-s.queue.wake:
		case <-ctx.Done():
			return
		}
		for {
			n, events, bytes := s.queue.weigh()
			if n == 0 {
				break
			}
			if ctx.Err() != nil {
				return // endCommits commits what is there, and takes no more
			}
			if wait := s.opts.CommitEvery - time.Since(last); wait > 0 && !large(events, bytes) && !last.IsZero() {
				t := time.NewTimer(wait)
				select {
				case <-t.C:
				case <-s.queue.wake:
					t.Stop()
					continue
				case <-ctx.Done():
					t.Stop()
					return
				}
			}
			if !s.commitNext(context.WithoutCancel(ctx)) { // one that has begun is finished
				if !pause(ctx, s.opts.lowDiskEvery) {
					return
				}
			}
			last = time.Now()
		}
	}
}

// pause waits for d; false if ctx was done first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// endCommits commits what still waits, if it can, and refuses the rest.
func (s *Store) endCommits(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	s.queue.mu.Lock()
	s.queue.closed = true
	s.queue.mu.Unlock()
	for {
		if n, _, _ := s.queue.weigh(); n == 0 || !s.commitNext(ctx) {
			break
		}
	}
	for _, r := range s.queue.take() {
		r.err = fmt.Errorf("append: %w", ErrClosed)
		close(r.done)
	}
	if n, _, _ := s.queue.weigh(); n > 0 {
		s.endCommits(ctx)
	}
}

// commitNext commits what waits. It returns false if the disk is too full: the
// requests wait on.
func (s *Store) commitNext(ctx context.Context) bool {
	batch := s.queue.take()
	if len(batch) == 0 {
		return true
	}
	began := time.Now()
	err := s.checkSpace()
	if err == nil {
		err = s.commit(ctx, batch)
	}
	if full(err) {
		s.setState(ctx, StateLowDisk, err.Error())
		s.queue.putBack(batch)
		return false
	}
	if err != nil {
		s.metrics.failures.Add(1)
		s.setState(ctx, StateFailed, err.Error())
	} else {
		s.metrics.commitSeconds.Observe(time.Since(began).Seconds())
		s.setState(ctx, StateOK, "")
	}
	for _, r := range batch {
		if err != nil {
			r.res, r.err = Result{}, fmt.Errorf("append: %w", err)
		}
		close(r.done)
	}
	return true
}

// full tells whether err means that the disk has no room.
func full(err error) bool {
	return errors.Is(err, errLowDisk) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// checkSpace returns errLowDisk if less than MinFree is left.
func (s *Store) checkSpace() error {
	free, total, err := s.fs.Free(s.dir)
	if err != nil {
		return fmt.Errorf("look for free space: %w", err)
	}
	if least := s.minFree(total); free < least {
		return fmt.Errorf("%w (%d bytes are free, %d must be)", errLowDisk, free, least)
	}
	return nil
}

func (s *Store) minFree(total int64) int64 {
	if s.opts.MinFree > 0 {
		return s.opts.MinFree
	}
	return min(1<<30, total/20)
}

// entry is an event on its way into a commit.
type entry struct {
	event *audit.Event
	req   *request
}

// commit stores a batch: everything or, with an error, nothing.
func (s *Store) commit(ctx context.Context, batch []*request) error {
	entries, cands, err := s.fresh(ctx, batch)
	if err != nil {
		return err
	}
	rec := &record{Type: recordAdd, Cursors: map[string]json.RawMessage{}, Quarantined: map[string]int64{}}
	var lines []Quarantined
	var now held // what of lines may come again in this very commit
	var bytes int64
	for _, r := range batch {
		bytes += r.bytes
		if r.c.Cursor != nil {
			rec.Cursors[r.c.Source] = r.c.Cursor
		}
		for _, q := range r.c.Quarantined {
			if err := s.loadHeld(); err != nil {
				return err
			}
			if r.c.Cursor == nil {
				if now.seen == nil {
					now = held{seed: s.held.seed, seen: newHashSet(16)}
				}
				if s.held.has(&q) || now.has(&q) {
					continue
				}
				now.add([]Quarantined{q})
			}
			if q.Source == "" {
				q.Source = r.c.Source
			}
			rec.Quarantined[q.Source]++
			lines = append(lines, q)
		}
		for _, g := range r.c.Gaps {
			if g.Source == "" {
				g.Source = r.c.Source
			}
			rec.Gaps = append(rec.Gaps, g)
		}
	}
	for _, e := range entries {
		e.req.res.Added++
	}
	for _, r := range batch {
		r.res.Duplicates = len(r.c.Events) - r.res.Added
	}
	if len(entries) == 0 && len(rec.Cursors)+len(lines)+len(rec.Gaps) == 0 {
		s.metrics.added(batch, rec.Quarantined)
		return nil // nothing but duplicates
	}
	s.mu.Lock()
	id := s.nextID
	s.mu.Unlock()
	events := make([]*audit.Event, len(entries))
	for i, e := range entries {
		events[i] = e.event
		events[i].ID = id + int64(i)
	}
	parts, err := s.writeParts(events)
	defer s.removeTemps(parts)
	if err != nil {
		return err
	}
	if err := s.install(parts, rec, lines); err != nil {
		return err
	}
	s.held.add(lines)
	if large(len(events), bytes) {
		s.mu.Lock()
		s.lastLarge = time.Now()
		s.mu.Unlock()
	}
	at := 0
	for _, p := range parts {
		if p.Rows <= rowGroupRows {
			set := newHashSet(int(p.Rows))
			for _, c := range cands[at : at+int(p.Rows)] {
				set.add(c.hash)
			}
			s.dedup.put(groupKey{p.Seq, 0}, set)
		}
		at += int(p.Rows)
	}
	s.metrics.added(batch, rec.Quarantined)
	if len(events) > 0 {
		s.tell(committed{First: id, Last: id + int64(len(events)) - 1, Events: events})
	}
	return nil
}

// fresh returns the events of a batch that are not stored yet, by time, and
// beside each its hash. Of equal ones in the batch the first counts.
func (s *Store) fresh(ctx context.Context, batch []*request) ([]entry, []candidate, error) {
	n := 0
	for _, r := range batch {
		r.res = Result{}
		n += len(r.c.Events)
	}
	if n == 0 {
		return nil, nil, nil
	}
	entries := make([]entry, 0, n)
	for _, r := range batch {
		for i := range r.c.Events {
			entries = append(entries, entry{&r.c.Events[i], r})
		}
	}
	byTime := func(a, b entry) int { return cmp.Compare(a.event.Time, b.event.Time) }
	if !slices.IsSortedFunc(entries, byTime) {
		slices.SortStableFunc(entries, byTime)
	}
	seen := newHashSet(n)
	cands := make([]candidate, n)
	for i, e := range entries {
		h := s.dedup.hash(e.event.Raw)
		cands[i] = candidate{time: e.event.Time, hash: h, dup: !seen.add(h)}
	}
	if err := s.markStored(ctx, cands); err != nil {
		return nil, nil, err
	}
	k := 0
	for i := range entries {
		if !cands[i].dup {
			entries[k], cands[k] = entries[i], cands[i]
			k++
		}
	}
	return entries[:k], cands[:k], nil
}

// draft is a segment that is written but has no name yet.
type draft struct {
	segment
	tmp string // path of the file until it is installed
}

// writeParts writes events, sorted, as segments under temporary names.
// It returns those that were begun even with an error.
func (s *Store) writeParts(events []*audit.Event) ([]*draft, error) {
	var parts []*draft
	for len(events) > 0 {
		n, bytes := 0, 0
		for n < len(events) && n < commitEvents && bytes < commitBytes {
			if n >= splitRows && events[n].Time-events[n-1].Time > splitGap {
				break
			}
			bytes += len(events[n].Raw)
			n++
		}
		if s.writer == nil {
			s.writer = newSegmentWriter(commitPacking())
		}
		chunk := events[:n]
		p, err := s.writePart(s.writer, func(w *segmentWriter) error { return w.writeEvents(chunk) })
		if p != nil {
			parts = append(parts, p)
		}
		if err != nil {
			s.writer = nil // what it holds is of no use
			return parts, err
		}
		p.MinTime, p.MaxTime = chunk[0].Time, chunk[n-1].Time
		p.MinID, p.MaxID = chunk[0].ID, chunk[n-1].ID
		p.Rows = int64(n)
		events = events[n:]
	}
	return parts, nil
}

// writePart writes and syncs one segment under a temporary name.
func (s *Store) writePart(w *segmentWriter, fill func(*segmentWriter) error) (*draft, error) {
	p := &draft{tmp: s.path(path.Join(segmentsDir, fmt.Sprintf("%d%s", s.tmp.Add(1), tmpSuffix)))}
	f, err := s.fs.Create(p.tmp)
	if err != nil {
		return nil, fmt.Errorf("write segment: %w", err)
	}
	w.begin(f)
	if err = fill(w); err == nil {
		err = w.end()
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return p, fmt.Errorf("write segment: %w", err)
	}
	p.Bytes = w.sum.n
	p.sha256, p.blocks = w.sum.sums()
	return p, nil
}

// removeTemps removes the files of parts that were not installed.
func (s *Store) removeTemps(parts []*draft) {
	for _, p := range parts {
		if p.tmp != "" {
			_ = s.fs.Remove(p.tmp) // start-up removes it otherwise
		}
	}
}

// install gives parts their names and numbers, makes rec durable with them and
// lets them be asked for.
func (s *Store) install(parts []*draft, rec *record, lines []Quarantined) (err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.readyManifest(); err != nil {
		return err
	}
	s.mu.Lock()
	seq := s.nextSeq
	s.nextSeq += int64(max(1, len(parts)))
	s.mu.Unlock()
	rec.NextSeq = seq + int64(max(1, len(parts)))
	defer func() {
		if err == nil {
			return
		}
		// The files may be there, and the record too. The next MANIFEST says that they go.
		s.dirty = true
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, p := range parts {
			// A reader beside us may have seen the record: its IDs are not given to other events.
			s.nextID = max(s.nextID, p.MaxID+1)
			if p.Rel != "" {
				s.obsolete[p.Rel] = &segment{Rel: p.Rel, Path: p.Path, obsolete: true}
			}
		}
		if len(lines) > 0 {
			rel := quarantinePath(seq)
			s.obsolete[rel] = &segment{Rel: rel, Path: s.path(rel), obsolete: true}
		}
	}()
	if len(lines) > 0 {
		if err := s.writeQuarantine(seq, lines); err != nil {
			return err
		}
	}
	dirs := map[string]bool{}
	for i, p := range parts {
		p.Seq = seq + int64(i)
		rel := segmentPath(p.Seq, p.MinTime)
		dir := s.path(path.Dir(rel))
		if !dirs[dir] {
			if err := s.fs.MkdirAll(dir); err != nil {
				return fmt.Errorf("write segment: %w", err)
			}
			dirs[dir] = true
		}
		p.Rel, p.Path = rel, s.path(rel)
		if err := s.fs.Rename(p.tmp, p.Path); err != nil {
			return fmt.Errorf("write segment: %w", err)
		}
		p.tmp = ""
		rec.Segments = append(rec.Segments, p.record())
	}
	for _, dir := range sortedKeys(dirs) {
		if err := s.fs.SyncDir(dir); err != nil {
			return fmt.Errorf("write segment: %w", err)
		}
	}
	if err := s.appendRecord(rec); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.contents.apply(s.dir, rec)
}
