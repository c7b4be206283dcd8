package store

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sort"
	"sync"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/parquet-go/parquet-go"
	"github.com/zeebo/xxh3"
)

// dedup finds events that are stored already. Two events are the same only if
// their lines are equal to the byte (XXH3, 128 bits). Equal lines have equal
// times, so a line's twin can only be in a row group whose time range covers it,
// and only if that has a row of the very same microsecond. The window is the
// whole store; what is bounded is the memory for hashes that are kept ready.
//
// Clients choose much of a line (user agent, URI, audit ID), and XXH3 is no
// cryptographic hash: whoever knew how lines are hashed could prepare one that
// hides a later event. So each process hashes with a seed of its own, which it
// can keep to itself because hashes are never written.
type dedup struct {
	seed   uint64
	mu     sync.Mutex
	limit  int64
	bytes  int64
	order  *list.List // of *hashSet, most recently used first
	sets   map[groupKey]*list.Element
	ranges map[int64][]timeRange // row groups of a segment, by seq
}

// groupKey names a row group.
type groupKey struct {
	seq   int64
	group int
}

type timeRange struct{ min, max audit.Time }

func newDedup(limit int64) *dedup {
	return &dedup{seed: rand.Uint64(), limit: limit, order: list.New(), sets: map[groupKey]*list.Element{}, ranges: map[int64][]timeRange{}}
}

// hash is that of an event's line.
func (d *dedup) hash(line string) xxh3.Uint128 { return xxh3.HashString128Seed(line, d.seed) }

// hashSet is an open-addressing table of the line hashes of a row group.
type hashSet struct {
	key     groupKey
	table   []xxh3.Uint128
	n       int
	hasZero bool
}

func newHashSet(n int) *hashSet {
	size := 16
	for size < n+n/3 {
		size *= 2
	}
	return &hashSet{table: make([]xxh3.Uint128, size)}
}

// add returns false if h was there already.
func (s *hashSet) add(h xxh3.Uint128) bool {
	if h == (xxh3.Uint128{}) {
		had := s.hasZero
		s.hasZero = true
		return !had
	}
	mask := uint64(len(s.table) - 1)
	for i := h.Lo & mask; ; i = (i + 1) & mask {
		switch s.table[i] {
		case h:
			return false
		case xxh3.Uint128{}:
			s.table[i] = h
			if s.n++; s.n > len(s.table)*7/8 {
				s.grow()
			}
			return true
		}
	}
}

func (s *hashSet) grow() {
	old := s.table
	s.table, s.n = make([]xxh3.Uint128, 2*len(old)), 0
	for _, h := range old {
		if h != (xxh3.Uint128{}) {
			s.add(h)
		}
	}
}

func (s *hashSet) has(h xxh3.Uint128) bool {
	if h == (xxh3.Uint128{}) {
		return s.hasZero
	}
	mask := uint64(len(s.table) - 1)
	for i := h.Lo & mask; ; i = (i + 1) & mask {
		switch s.table[i] {
		case h:
			return true
		case xxh3.Uint128{}:
			return false
		}
	}
}

func (s *hashSet) bytes() int64 { return int64(len(s.table)) * 16 }

func (d *dedup) get(k groupKey) *hashSet {
	d.mu.Lock()
	defer d.mu.Unlock()
	el := d.sets[k]
	if el == nil {
		return nil
	}
	d.order.MoveToFront(el)
	return el.Value.(*hashSet)
}

func (d *dedup) put(k groupKey, s *hashSet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sets[k] != nil {
		return
	}
	s.key = k
	d.sets[k] = d.order.PushFront(s)
	d.bytes += s.bytes()
	for d.bytes > d.limit && d.order.Len() > 1 {
		d.drop(d.order.Back())
	}
}

func (d *dedup) drop(el *list.Element) {
	s := el.Value.(*hashSet)
	d.order.Remove(el)
	delete(d.sets, s.key)
	d.bytes -= s.bytes()
}

// forget drops what is known of segments that are gone.
func (d *dedup) forget(seqs []int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	gone := make(map[int64]bool, len(seqs))
	for _, seq := range seqs {
		gone[seq] = true
		delete(d.ranges, seq)
	}
	for k, el := range d.sets {
		if gone[k.seq] {
			d.drop(el)
		}
	}
}

// candidate is an event that may be stored already.
type candidate struct {
	time audit.Time
	hash xxh3.Uint128
	dup  bool
}

// markStored sets dup of each candidate that the store has. They are ascending by time.
func (s *Store) markStored(ctx context.Context, cs []candidate) error {
	if len(cs) == 0 {
		return nil
	}
	r := query.Range{From: cs[0].time, To: cs[len(cs)-1].time + 1}
	sn, err := s.acquire(r)
	if err != nil {
		return err
	}
	defer sn.release()
	for _, g := range sn.Segments {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(within(cs, timeRange{g.MinTime, g.MaxTime})) == 0 {
			continue
		}
		err := s.markIn(g, cs)
		if err == nil {
			continue
		}
		var damage *DamageError
		if verr := s.verify(g); errors.As(verr, &damage) {
			continue // it is set aside: what it held counts as lost, and may be stored again
		}
		return fmt.Errorf("look for duplicates in %s: %w", g.Rel, err)
	}
	return nil
}

// within returns the candidates of a time range.
func within(cs []candidate, r timeRange) []candidate {
	i := sort.Search(len(cs), func(i int) bool { return cs[i].time >= r.min })
	j := sort.Search(len(cs), func(i int) bool { return cs[i].time > r.max })
	if i >= j {
		return nil
	}
	return cs[i:j]
}

func (s *Store) markIn(g *segment, cs []candidate) (err error) {
	var file *parquet.File // opened if it is needed
	var reader io.Closer
	open := func() error {
		if file != nil {
			return nil
		}
		r, err := s.openSegment(g)
		if err != nil {
			return err
		}
		file, err = parquet.OpenFile(r, r.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
		if err != nil {
			_ = r.Close()
			return fmt.Errorf("open segment: %w", err)
		}
		reader = r
		return nil
	}
	defer func() {
		if reader != nil {
			_ = reader.Close()
		}
	}()
	ranges, err := s.rowGroups(g, func() (*parquet.File, error) { err := open(); return file, err })
	if err != nil {
		return err
	}
	for i, tr := range ranges {
		part := within(cs, tr)
		if len(part) == 0 {
			continue
		}
		k := groupKey{g.Seq, i}
		set := s.dedup.get(k)
		if set == nil {
			if err := open(); err != nil {
				return err
			}
			group := file.RowGroups()[i]
			var hit bool
			hit, err = sameTimes(group, part)
			if err != nil {
				return err
			}
			if !hit {
				continue
			}
			if set, err = s.dedup.hashRaw(group); err != nil {
				return err
			}
			s.dedup.put(k, set)
		}
		for j := range part {
			part[j].dup = part[j].dup || set.has(part[j].hash)
		}
	}
	return nil
}

// rowGroups returns the time ranges of a segment's row groups.
func (s *Store) rowGroups(g *segment, open func() (*parquet.File, error)) ([]timeRange, error) {
	if g.Rows <= rowGroupRows {
		return []timeRange{{g.MinTime, g.MaxTime}}, nil
	}
	s.dedup.mu.Lock()
	known := s.dedup.ranges[g.Seq]
	s.dedup.mu.Unlock()
	if known != nil {
		return known, nil
	}
	file, err := open()
	if err != nil {
		return nil, err
	}
	var list []timeRange
	for _, rg := range file.Metadata().RowGroups {
		st := rg.Columns[colTime].MetaData.Statistics
		if len(st.MinValue) != 8 || len(st.MaxValue) != 8 {
			return nil, errors.New("a row group has no time range")
		}
		list = append(list, timeRange{
			audit.Time(parquet.Int64.Value(st.MinValue).Int64()), audit.Time(parquet.Int64.Value(st.MaxValue).Int64()),
		})
	}
	s.dedup.mu.Lock()
	s.dedup.ranges[g.Seq] = list
	s.dedup.mu.Unlock()
	return list, nil
}

// sameTimes tells whether a row of the group has the time of a candidate.
func sameTimes(group parquet.RowGroup, cs []candidate) (bool, error) {
	hit, i := false, 0
	err := eachPage(group, colTime, func(p parquet.Page) {
		data := p.Data()
		for _, t := range data.Int64() { // ascending, as are the candidates
			for i < len(cs) && cs[i].time < audit.Time(t) {
				i++
			}
			if i < len(cs) && cs[i].time == audit.Time(t) {
				hit = true
				return
			}
		}
	})
	return hit, err
}

// hashRaw hashes the lines of a row group.
func (d *dedup) hashRaw(group parquet.RowGroup) (*hashSet, error) {
	set := newHashSet(int(group.NumRows()))
	err := eachPage(group, len(group.ColumnChunks())-1, func(p parquet.Page) {
		values := p.Data()
		data, offsets := values.ByteArray()
		for i := 1; i < len(offsets); i++ {
			set.add(xxh3.Hash128Seed(data[offsets[i-1]:offsets[i]], d.seed))
		}
	})
	return set, err
}

func eachPage(group parquet.RowGroup, col int, fn func(parquet.Page)) error {
	pages := group.ColumnChunks()[col].Pages()
	defer func() { _ = pages.Close() }()
	for {
		p, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read page: %w", err)
		}
		fn(p)
		parquet.Release(p)
	}
}
