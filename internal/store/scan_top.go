package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/ktrail/ktrail/internal/query"
)

// The groups with most events are few, but to find them all must be counted: a
// store of ten million events has half a million objects that were written. Here
// a group takes some thirty bytes, so that so many fit where [tallies] would not.

// topGroup is about what a group takes, and a third of what a text does beside its bytes.
const topGroup = 32

// numbered gives texts numbers, the same to all scanners of a question.
type numbered struct {
	of    map[string]uint32
	texts []string
	left  *atomic.Int64 // bytes that more may take
}

func (n *numbered) number(text []byte) (uint32, error) {
	k, ok := n.of[string(text)]
	if !ok {
		if n.left.Add(-3*topGroup-int64(len(text))) < 0 {
			return 0, errEngine
		}
		k = uint32(len(n.texts))
		n.texts = append(n.texts, string(text))
		n.of[n.texts[k]] = k
	}
	return k, nil
}

const (
	// topParts is how many parts the groups of a scanner are in, by their keys, so
	// that the processor's cache holds one of them: else each event would wait for memory.
	topParts = 64
	// topWaiting is how many events wait until their part is counted on.
	topWaiting = 4 << 10
	// topWrite is set in the key of an event that is a write.
	topWrite = 1 << 63
	// mostGroups is more than there is memory for: who skips more skips all.
	mostGroups = 1 << 40
)

// topCount is what is counted of a group: so many segments as are scanned have
// fewer events than that.
type topCount struct{ n, writes uint32 }

// topCounts are the counts of one scanner.
type topCounts struct {
	waiting [topParts][]uint64
	counts  [topParts]map[uint64]topCount
}

// topPart is in which part a group is.
func topPart(key uint64) int { return int(key * 0x9E3779B97F4A7C15 >> 58) }

// add counts an event of a group.
func (c *topCounts) add(key uint64, write bool, left *atomic.Int64) error {
	p := topPart(key)
	if write {
		key |= topWrite
	}
	if c.waiting[p] = append(c.waiting[p], key); len(c.waiting[p]) < topWaiting {
		return nil
	}
	return c.count(p, left)
}

// count counts the events that wait.
func (c *topCounts) count(p int, left *atomic.Int64) error {
	if c.counts[p] == nil {
		c.counts[p] = map[uint64]topCount{}
	}
	counts := c.counts[p]
	before := len(counts)
	for _, key := range c.waiting[p] {
		sum := counts[key&^topWrite]
		sum.n++
		sum.writes += uint32(key >> 63)
		counts[key&^topWrite] = sum
	}
	c.waiting[p] = c.waiting[p][:0]
	if left.Add(-topGroup*int64(len(counts)-before)) < 0 {
		return errEngine
	}
	return nil
}

// topScan finds the first groups of a grouping that needs counts alone.
type topScan struct {
	*grouping
	mu sync.Mutex
	// A group's key is two numbers: of the values of all its columns but the last
	// together, and of that of the last, which has most different ones.
	heads, tails numbered
	found        map[*scanner]*topCounts
}

// countable is whether a topScan can answer: there are columns, of texts alone,
// counts alone, and an end.
func (g *grouping) countable() bool {
	return g.CountOnly && g.Limit > 0 && len(g.By) > 0 && haveCodes(g.By) && !slices.ContainsFunc(g.types, func(t query.Type) bool { return t != query.String })
}

// scanTop answers a grouping that is countable without the engine.
func (s *Store) scanTop(ctx context.Context, segments []*segment, g *grouping) ([]query.GroupRow, error) {
	conditions, ok := conditionsOf(query.And(g.Filter, g.Having))
	if !ok {
		return nil, errEngine
	}
	t := topScan{grouping: g, found: map[*scanner]*topCounts{}}
	t.heads.of, t.tails.of = map[string]uint32{}, map[string]uint32{}
	if err := s.scanMatching(ctx, segments, g.Range, conditions, t.count); err != nil {
		return nil, err
	}
	return t.rows()
}

// count counts a row group's matching rows.
func (t *topScan) count(w *scanner, left *atomic.Int64) error {
	var writes []bool
	if t.sums.writes != "" {
		f := query.Writes()
		var err error
		if writes, err = w.asked(condition{usedBy(f), f.Match}); err != nil {
			return err
		}
	}
	last := len(t.By) - 1
	tail, err := w.column(t.By[last])
	if err != nil {
		return err
	}
	codes, n, err := w.fold(t.By[:last])
	if err != nil {
		return err
	}
	const none = 1 << 32
	heads, tails := make([]uint64, n), make([]uint64, tail.n)
	for _, of := range [][]uint64{heads, tails} {
		for i := range of {
			of[i] = none
		}
	}
	t.mu.Lock()
	counts := t.found[w]
	if counts == nil {
		counts = &topCounts{}
		t.found[w] = counts
	}
	t.heads.left, t.tails.left = left, left
	err = t.name(w, codes, heads, tail, tails)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	for i, row := range w.rows {
		if err := counts.add(heads[codes[i]]<<32|tails[tail.codes[row]], writes != nil && writes[i], left); err != nil {
			return err
		}
	}
	return nil
}

// name numbers the values that the matching rows have.
func (t *topScan) name(w *scanner, codes []int32, heads []uint64, tail *coded, tails []uint64) error {
	const none = 1 << 32
	last := len(t.By) - 1
	var text []byte
	for i, row := range w.rows {
		if heads[codes[i]] == none {
			w.set(t.By[:last], row)
			text = text[:0]
			for _, name := range t.By[:last] {
				v := *w.field[name].(*string)
				text = append(binary.AppendUvarint(text, uint64(len(v))), v...)
			}
			k, err := t.heads.number(text)
			if err != nil {
				return err
			}
			heads[codes[i]] = uint64(k)
		}
		if code := tail.codes[row]; tails[code] == none {
			tail.set(code)
			text = append(text[:0], *w.field[t.By[last]].(*string)...)
			k, err := t.tails.number(text)
			if err != nil {
				return err
			}
			tails[code] = uint64(k)
		}
	}
	return nil
}

// keys are a group's values.
func (t *topScan) keys(k uint64) []string {
	keys := make([]string, 0, len(t.By))
	for head := t.heads.texts[k>>32]; head != ""; {
		n, size := binary.Uvarint([]byte(head[:min(len(head), binary.MaxVarintLen64)]))
		keys = append(keys, head[size:size+int(n)])
		head = head[size+int(n):]
	}
	return append(keys, t.tails.texts[uint32(k)])
}

// rows are the groups that were asked for.
func (t *topScan) rows() ([]query.GroupRow, error) {
	contains := func(uint32) bool { return true }
	if t.Contains != "" {
		contains = func(uint32) bool { return false }
		if utf8.ValidString(t.Contains) {
			re := regexp.MustCompile(query.ContainsPattern(t.Contains))
			has := make([]bool, len(t.tails.texts))
			for i, text := range t.tails.texts {
				has[i] = re.MatchString(text)
			}
			contains = func(tail uint32) bool { return has[tail] }
		}
	}
	type group struct {
		key uint64
		topCount
	}
	first := func(a, b group) int {
		if t.WritesFirst {
			if c := cmp.Compare(b.writes, a.writes); c != 0 || a.writes > 0 {
				return c
			}
		}
		return cmp.Compare(b.n, a.n)
	}
	order := func(a, b group) int {
		if c := first(a, b); c != 0 {
			return c
		}
		return slices.Compare(t.keys(a.key), t.keys(b.key))
	}
	// Those that may be among the asked: what is behind them is cut off now and then.
	want := min(t.Skip, mostGroups) + t.Limit
	var top []group
	sorted := 0
	for p := range topParts {
		all := map[uint64]topCount{}
		for _, c := range t.found {
			if err := c.count(p, t.tails.left); err != nil {
				return nil, err
			}
			if len(all) == 0 {
				all = c.counts[p]
				continue
			}
			for k, n := range c.counts[p] {
				sum := all[k]
				all[k] = topCount{sum.n + n.n, sum.writes + n.writes}
			}
		}
		for k, c := range all {
			g := group{k, c}
			if !contains(uint32(k)) || sorted >= want && first(g, top[want-1]) > 0 {
				continue
			}
			if top = append(top, g); len(top) >= 2*want+1024 {
				slices.SortFunc(top, order)
				top, sorted = top[:want], want
			}
		}
	}
	slices.SortFunc(top, order)
	top = top[min(t.Skip, len(top)):min(want, len(top))]
	var rows []query.GroupRow
	for _, g := range top {
		row := query.GroupRow{Keys: t.keys(g.key), Count: int64(g.n)}
		if t.sums.writes != "" {
			row.Writes = int64(g.writes)
		}
		rows = append(rows, row)
	}
	return rows, nil
}
