// Package querytest holds an in-memory [query.Source] for tests of the packages
// that ask questions. It answers by looking at every event with Filter.Match.
package querytest

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// ErrSQL is what [Source.SQL] answers.
var ErrSQL = errors.New("run sql: unsupported by the in-memory source")

// Source keeps events in memory. The zero value is empty and ready; it may be
// used from many goroutines.
type Source struct {
	// Warn is added to every answer's warnings. Set it before use.
	Warn query.Warnings

	mu     sync.Mutex
	events []audit.Event // by ID
	grown  chan struct{} // closed by Append
}

var _ query.Source = (*Source)(nil)

// New returns a Source that holds events.
func New(events ...audit.Event) *Source {
	s := &Source{}
	s.Append(events...)
	return s
}

// Append adds events, gives those without an ID the next one, and wakes followers.
func (s *Source) Append(events ...audit.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last int64
	if n := len(s.events); n > 0 {
		last = s.events[n-1].ID
	}
	for _, e := range events {
		if e.ID <= last {
			e.ID = last + 1
		}
		last = e.ID
		s.events = append(s.events, e)
	}
	if s.grown != nil {
		close(s.grown)
	}
	s.grown = make(chan struct{})
}

// snapshot is the events there are, and a channel that is closed when there are more.
func (s *Source) snapshot() ([]audit.Event, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grown == nil {
		s.grown = make(chan struct{})
	}
	return s.events[:len(s.events):len(s.events)], s.grown
}

func inRange(r query.Range, e *audit.Event) bool {
	return (r.From == 0 || e.Time >= r.From) && (r.To == 0 || e.Time < r.To)
}

func (s *Source) matching(ctx context.Context, f *query.Filter, r query.Range) ([]*audit.Event, error) {
	events, _ := s.snapshot()
	var out []*audit.Event
	for i := range events {
		if e := &events[i]; inRange(r, e) && f.Match(e) {
			out = append(out, e)
		}
	}
	return out, ctx.Err()
}

// Search implements [query.Source].
func (s *Source) Search(ctx context.Context, r query.SearchRequest, yield func(*audit.Event) error) (query.Warnings, error) {
	found, err := s.matching(ctx, r.Filter, r.Range)
	if err != nil {
		return nil, err
	}
	order := func(a, b *audit.Event) int { return comparePosition(position(a), position(b)) }
	if !r.Ascending {
		order = func(a, b *audit.Event) int { return comparePosition(position(b), position(a)) }
	}
	slices.SortFunc(found, order)
	n := 0
	for _, e := range found {
		if r.After != (query.Position{}) {
			c := comparePosition(position(e), r.After)
			if c == 0 || (c < 0) == r.Ascending {
				continue
			}
		}
		if r.Limit > 0 && n == r.Limit {
			break
		}
		n++
		if err := ctx.Err(); err != nil {
			return s.Warn, err
		}
		lent := *e
		if r.Bare(e) {
			lent.Raw = ""
		}
		if err := yield(&lent); err != nil {
			return s.Warn, err
		}
	}
	return s.Warn, nil
}

func position(e *audit.Event) query.Position { return query.Position{Time: e.Time, ID: e.ID} }

func comparePosition(a, b query.Position) int {
	return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.ID, b.ID))
}

// Group implements [query.Source].
func (s *Source) Group(ctx context.Context, r query.GroupRequest) ([]query.GroupRow, query.Warnings, error) {
	found, err := s.matching(ctx, query.And(r.Filter, r.Having), r.Range)
	if err != nil {
		return nil, nil, err
	}
	by := make([]*query.Column, len(r.By))
	for i, name := range r.By {
		if by[i], err = query.LookupColumn(name); err != nil {
			return nil, nil, err
		}
	}
	groups := map[string]*query.GroupRow{}
	for _, e := range found {
		for _, keys := range keysOf(e, by) {
			var id strings.Builder
			for _, k := range keys {
				id.WriteString(strconv.Quote(k))
			}
			g := groups[id.String()]
			if g == nil {
				g = &query.GroupRow{Keys: keys, First: e.Time, Last: e.Time, FirstID: e.ID}
				groups[id.String()] = g
			}
			g.Count++
			if e.Code >= 400 {
				g.Failed++
			}
			if (r.Writes || r.WritesFirst) && query.Writes().Match(e) {
				g.Writes++
			}
			if e.Time < g.First || e.Time == g.First && e.ID < g.FirstID {
				g.First, g.FirstID = e.Time, e.ID
			}
			g.Last = max(g.Last, e.Time)
		}
	}
	rows := make([]query.GroupRow, 0, len(groups))
	part := regexp.MustCompile(query.ContainsPattern(r.Contains))
	for _, g := range groups {
		if n := len(g.Keys); r.Contains != "" && n > 0 && !part.MatchString(g.Keys[n-1]) {
			continue
		}
		if r.CountOnly {
			g = &query.GroupRow{Keys: g.Keys, Count: g.Count, Writes: g.Writes}
		}
		if !r.FirstID {
			g.FirstID = 0
		}
		rows = append(rows, *g)
	}
	slices.SortFunc(rows, func(a, b query.GroupRow) int {
		first, second := cmp.Compare(b.Count, a.Count), 0
		if r.WritesFirst {
			if first, second = cmp.Compare(b.Writes, a.Writes), first; a.Writes > 0 {
				second = 0
			}
		}
		return cmp.Or(first, second, compareKeys(by, a.Keys, b.Keys))
	})
	rows = rows[min(r.Skip, len(rows)):]
	if r.Limit > 0 && len(rows) > r.Limit {
		rows = rows[:r.Limit]
	}
	return rows, s.Warn, nil
}

// Groups implements [query.Source].
func (s *Source) Groups(ctx context.Context, rs []query.GroupRequest) ([][]query.GroupRow, query.Warnings, error) {
	return GroupEach(ctx, s.Group, rs)
}

// GroupEach answers Groups by a Group.
func GroupEach(ctx context.Context, group func(context.Context, query.GroupRequest) ([]query.GroupRow, query.Warnings, error), rs []query.GroupRequest) (out [][]query.GroupRow, w query.Warnings, err error) {
	for _, r := range rs {
		var rows []query.GroupRow
		if rows, w, err = group(ctx, r); err != nil {
			return nil, nil, err
		}
		out = append(out, rows)
	}
	return out, w, nil
}

// compareKeys compares numbers as numbers.
func compareKeys(by []*query.Column, a, b []string) int {
	for i, c := range by {
		order := cmp.Compare(a[i], b[i])
		if c.Type == query.Int {
			x, _ := strconv.ParseInt(a[i], 10, 64) // as keysOf wrote it
			y, _ := strconv.ParseInt(b[i], 10, 64)
			order = cmp.Compare(x, y)
		}
		if order != 0 {
			return order
		}
	}
	return 0
}

// keysOf is every combination of the columns' values: a list gives one for each different member.
func keysOf(e *audit.Event, by []*query.Column) [][]string {
	out := [][]string{{}}
	for _, c := range by {
		var values []string
		switch v := c.Value(e).(type) {
		case string:
			values = []string{v}
		case int64:
			values = []string{strconv.FormatInt(v, 10)}
		case bool:
			values = []string{strconv.FormatBool(v)}
		case audit.Time:
			values = []string{v.String()}
		case []string:
			values = slices.Compact(slices.Sorted(slices.Values(v)))
		}
		var next [][]string
		for _, keys := range out {
			for _, v := range values {
				next = append(next, append(slices.Clone(keys), v))
			}
		}
		out = next
	}
	return out
}

// floor is the beginning of t's bucket.
func floor(t audit.Time, width int64) audit.Time {
	w := audit.Time(width)
	return t - (t%w+w)%w
}

// Histogram implements [query.Source].
func (s *Source) Histogram(ctx context.Context, r query.HistogramRequest) ([]query.Bucket, query.Warnings, error) {
	if r.Width <= 0 {
		return nil, nil, errors.New("make histogram: width is not positive")
	}
	found, err := s.matching(ctx, r.Filter, r.Range)
	if err != nil {
		return nil, nil, err
	}
	buckets := map[audit.Time]*query.Bucket{}
	for _, e := range found {
		start := floor(e.Time, r.Width)
		b := buckets[start]
		if b == nil {
			b = &query.Bucket{Start: start}
			buckets[start] = b
		}
		b.Count++
		if e.Code >= 400 {
			b.Failed++
		}
		switch query.OutcomeOf(e) {
		case query.OutcomeDenied:
			b.Denied++
		case query.OutcomeError:
			b.Errors++
		}
	}
	out := make([]query.Bucket, 0, len(buckets))
	for _, b := range buckets {
		out = append(out, *b)
	}
	slices.SortFunc(out, func(a, b query.Bucket) int { return cmp.Compare(a.Start, b.Start) })
	return out, s.Warn, nil
}

// Activity implements [query.Source].
func (s *Source) Activity(ctx context.Context, r query.ActivityRequest) ([]query.ActivityRow, query.Warnings, error) {
	if r.Width <= 0 {
		return nil, nil, errors.New("list activity: width is not positive")
	}
	found, err := s.matching(ctx, r.Filter, r.Range)
	if err != nil {
		return nil, nil, err
	}
	type key struct {
		start                      audit.Time
		credential, address, agent string
	}
	rows := map[key]*query.ActivityRow{}
	for _, e := range found {
		k := key{start: floor(e.Time, r.Width), credential: e.CredentialID, agent: e.Agent}
		if len(e.SourceIPs) > 0 {
			k.address = e.SourceIPs[0]
		}
		a := rows[k]
		if a == nil {
			a = &query.ActivityRow{Start: k.start, Credential: k.credential, Address: k.address, Agent: k.agent, First: e.Time, Last: e.Time}
			rows[k] = a
		}
		a.Count++
		if query.Writes().Match(e) {
			a.Writes++
		}
		if e.Code >= 400 {
			a.Failed++
		}
		a.First, a.Last = min(a.First, e.Time), max(a.Last, e.Time)
	}
	out := make([]query.ActivityRow, 0, len(rows))
	for _, a := range rows {
		out = append(out, *a)
	}
	slices.SortFunc(out, func(a, b query.ActivityRow) int {
		return cmp.Or(cmp.Compare(b.Start, a.Start), cmp.Compare(a.Credential, b.Credential), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Agent, b.Agent))
	})
	if r.Limit > 0 && len(out) > r.Limit {
		out = out[:r.Limit]
	}
	return out, s.Warn, nil
}

// Follow implements [query.Source].
func (s *Source) Follow(ctx context.Context, r query.FollowRequest, yield func(*audit.Event) error) error {
	last := r.AfterID
	for {
		events, grown := s.snapshot()
		from, _ := slices.BinarySearchFunc(events, last+1, func(e audit.Event, id int64) int { return cmp.Compare(e.ID, id) })
		for i := from; i < len(events); i++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			last = events[i].ID
			if !r.Filter.Match(&events[i]) {
				continue
			}
			lent := events[i]
			if err := yield(&lent); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
		}
	}
}

// SQL implements [query.Source]: it answers [ErrSQL].
func (s *Source) SQL(context.Context, string, func(query.SQLRow) error) (query.Warnings, error) {
	return nil, ErrSQL
}

// Bounds implements [query.Source].
func (s *Source) Bounds(context.Context) (query.Bounds, error) {
	events, _ := s.snapshot()
	b := query.Bounds{Events: int64(len(events))}
	for i := range events {
		e := &events[i]
		if i == 0 || e.Time < b.First {
			b.First = e.Time
		}
		b.Last, b.LastID = max(b.Last, e.Time), max(b.LastID, e.ID)
	}
	return b, nil
}
