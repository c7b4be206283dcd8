package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// tally is what is counted of a group.
type tally struct {
	keys    []string
	numbers []int64 // keys that are ordered as numbers
	counted
}

// counted is a GroupRow, without keys, and the ID of its last event.
type counted struct {
	query.GroupRow
	LastID int64
}

// tallies are groups by their keys. Those of one question have one purse.
type tallies struct {
	groups map[string]*tally
	left   *atomic.Int64 // bytes that more groups may take
}

// add merges counts into the group of keys.
func (ts tallies) add(keys []string, numbers []int64, n counted) error {
	var buf [256]byte
	id := buf[:0]
	for _, k := range numbers {
		id = binary.AppendVarint(id, k)
	}
	for _, k := range keys {
		id = append(binary.AppendUvarint(id, uint64(len(k))), k...)
	}
	t := ts.groups[string(id)]
	if t == nil {
		if ts.left.Add(-scanGroup-2*int64(len(id))) < 0 {
			return errEngine
		}
		t = &tally{make([]string, len(keys)), slices.Clone(numbers), n}
		for i, k := range keys {
			t.keys[i] = strings.Clone(k)
		}
		ts.groups[string(id)] = t
		return nil
	}
	t.Count += n.Count
	t.Writes += n.Writes
	t.Failed += n.Failed
	if n.First < t.First || n.First == t.First && n.FirstID < t.FirstID {
		t.First, t.FirstID = n.First, n.FirstID
	}
	if n.Last > t.Last || n.Last == t.Last && n.LastID > t.LastID {
		t.Last, t.LastID = n.Last, n.LastID
	}
	return nil
}

// sums says what is counted of the combinations of values in columns.
type sums struct {
	columns []string
	writes  bool
	failed  bool
	times   bool // first and last
	ids     bool // of the first and the last
}

func (s *sums) need(names ...string) {
	for _, name := range names {
		if !slices.Contains(s.columns, name) {
			s.columns = append(s.columns, name)
		}
	}
}

// each counts the matching rows of each combination of values in of.columns, and
// calls fn for each while the scanner's event has them.
func (w *scanner) each(of sums, fn func(counted) error) error {
	writes := query.Writes()
	if of.writes {
		of.need(usedBy(writes)...)
	}
	if of.failed {
		of.need("code")
	}
	codes, n, err := w.fold(of.columns)
	if err != nil {
		return err
	}
	var times, ids []int64
	if of.times {
		if times, err = w.ints("time"); err != nil {
			return err
		}
	}
	if of.ids {
		if ids, err = w.ints("id"); err != nil {
			return err
		}
	}
	// Rows are in the order of time, and then of ID.
	type count struct{ n, first, last int32 }
	counts := make([]count, n)
	for i, row := range w.rows {
		c := &counts[codes[i]]
		if c.n == 0 {
			c.first = row
		}
		c.n++
		c.last = row
	}
	for _, c := range counts {
		if c.n == 0 {
			continue
		}
		w.set(of.columns, c.first)
		var g counted
		g.Count = int64(c.n)
		if of.writes && writes.Match(&w.event) {
			g.Writes = g.Count
		}
		if of.failed && w.event.Code >= 400 {
			g.Failed = g.Count
		}
		if of.times {
			g.First, g.Last = audit.Time(times[c.first]), audit.Time(times[c.last])
		}
		if of.ids {
			g.FirstID, g.LastID = ids[c.first], ids[c.last]
		}
		if err := fn(g); err != nil {
			return err
		}
	}
	return nil
}

// scanMatching scans for the events that meet all conditions, and calls fn with
// those of each row group that has any; left are the bytes that the groups it
// makes of them may take.
func (s *Store) scanMatching(ctx context.Context, segments []*segment, r query.Range, conditions []condition, fn func(w *scanner, left *atomic.Int64) error) error {
	if len(segments) > scanSegments || cap(s.scans) == 0 {
		return errEngine
	}
	select {
	case s.scanning <- struct{}{}:
		defer func() { <-s.scanning }()
	case <-ctx.Done():
		return ctx.Err()
	}
	var left atomic.Int64
	left.Store(cmp.Or(s.opts.MemoryLimit, defaultMemory) / int64(cap(s.scanning)))
	return s.scan(ctx, segments, r, func(w *scanner) error {
		for _, c := range conditions {
			if err := w.filter(c); err != nil {
				return err
			}
		}
		if len(w.rows) == 0 {
			return nil
		}
		return fn(w, &left)
	})
}

// tallied scans for the events that meet all conditions, and gives the n tallies
// that count makes of them.
func (s *Store) tallied(ctx context.Context, segments []*segment, r query.Range, conditions []condition, n int, count func(*scanner, []tallies) error) ([]tallies, error) {
	var mu sync.Mutex
	found := map[*scanner][]tallies{}
	err := s.scanMatching(ctx, segments, r, conditions, func(w *scanner, left *atomic.Int64) error {
		mu.Lock()
		mine := found[w]
		if mine == nil {
			mine = newTallies(n, left)
			found[w] = mine
		}
		mu.Unlock()
		return count(w, mine)
	})
	if err != nil {
		return nil, err
	}
	var all []tallies
	for _, mine := range found {
		if all == nil {
			all = mine
			continue
		}
		for i := range all {
			for _, t := range mine[i].groups {
				if err := all[i].add(t.keys, t.numbers, t.counted); err != nil {
					return nil, err
				}
			}
		}
	}
	if all == nil {
		all = newTallies(n, nil)
	}
	return all, nil
}

func newTallies(n int, left *atomic.Int64) []tallies {
	all := make([]tallies, n)
	for i := range all {
		all[i] = tallies{map[string]*tally{}, left}
	}
	return all
}

// scanGroups answers groupings over the same events without the engine.
func (s *Store) scanGroups(ctx context.Context, segments []*segment, f *query.Filter, r query.Range, groupings []grouping) ([][]query.GroupRow, error) {
	conditions, ok := conditionsOf(f)
	for _, g := range groupings {
		ok = ok && haveCodes(g.By)
	}
	if !ok {
		return nil, errEngine
	}
	found, err := s.tallied(ctx, segments, r, conditions, len(groupings), func(w *scanner, to []tallies) error {
		for i := range groupings {
			if err := groupings[i].tally(w, to[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([][]query.GroupRow, len(groupings))
	for i := range groupings {
		out[i] = groupings[i].rows(found[i])
	}
	return out, nil
}

// tally counts a row group's matching rows.
func (g *grouping) tally(w *scanner, to tallies) error {
	by := make([]*query.Column, len(g.By))
	for i, name := range g.By {
		var err error
		if by[i], err = query.LookupColumn(name); err != nil {
			return err
		}
	}
	if len(w.rows) > scanNamed && manyValues(g.By) {
		return errEngine
	}
	keys, numbers := make([]string, len(by)), make([]int64, 0, len(by))
	of := sums{columns: slices.Clone(g.By), writes: g.sums.writes != "", failed: g.sums.all, times: g.sums.all, ids: g.sums.first}
	return w.each(of, func(n counted) error {
		if !g.Having.Match(&w.event) {
			return nil
		}
		return eachKey(&w.event, by, keys, numbers, func(numbers []int64) error { return to.add(keys, numbers, n) })
	})
}

// eachKey calls fn with keys set to each combination of the columns' values: a
// list gives one for each of its different members.
func eachKey(e *audit.Event, by []*query.Column, keys []string, numbers []int64, fn func(numbers []int64) error) error {
	if len(by) == 0 {
		return fn(numbers)
	}
	next := func(key string, numbers []int64) error {
		keys[0] = key
		return eachKey(e, by[1:], keys[1:], numbers, fn)
	}
	switch v := by[0].Value(e).(type) {
	case []string:
		for i, member := range v {
			if slices.Contains(v[:i], member) {
				continue
			}
			if err := next(member, numbers); err != nil {
				return err
			}
		}
		return nil
	case int64:
		return next(strconv.FormatInt(v, 10), append(numbers, v))
	case bool:
		return next(strconv.FormatBool(v), numbers)
	case string:
		return next(v, numbers)
	}
	return errEngine
}

// rows are the groups as they were asked for.
func (g *grouping) rows(ts tallies) []query.GroupRow {
	contains := func(string) bool { return true }
	if g.Contains != "" && len(g.By) > 0 {
		contains = func(string) bool { return false }
		if utf8.ValidString(g.Contains) {
			contains = regexp.MustCompile(query.ContainsPattern(g.Contains)).MatchString
		}
	}
	var all []*tally
	for _, t := range ts.groups {
		if len(t.keys) == 0 || contains(t.keys[len(t.keys)-1]) {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b *tally) int {
		first, second := cmp.Compare(b.Count, a.Count), 0
		if g.WritesFirst {
			if first, second = cmp.Compare(b.Writes, a.Writes), first; a.Writes > 0 {
				second = 0
			}
		}
		return cmp.Or(first, second, g.compare(a, b))
	})
	all = all[min(g.Skip, len(all)):]
	if g.Limit > 0 {
		all = all[:min(g.Limit, len(all))]
	}
	var rows []query.GroupRow
	for _, t := range all {
		t.Keys = t.keys
		if !g.sums.first {
			t.FirstID = 0
		}
		rows = append(rows, t.GroupRow)
	}
	return g.notNone(rows)
}

// compare orders keys, numbers as numbers.
func (g *grouping) compare(a, b *tally) int {
	k := 0
	for i, t := range g.types {
		order := cmp.Compare(a.keys[i], b.keys[i])
		if t == query.Int {
			order = cmp.Compare(a.numbers[k], b.numbers[k])
			k++
		}
		if order != 0 {
			return order
		}
	}
	return 0
}
