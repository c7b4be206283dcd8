package store

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// Group counts events by columns; see query.Source.
func (s *Store) Group(ctx context.Context, r query.GroupRequest) ([]query.GroupRow, query.Warnings, error) {
	rows, warn, err := s.Groups(ctx, []query.GroupRequest{r})
	if err != nil {
		return nil, warn, err
	}
	return rows[0], warn, nil
}

// Groups counts events by several sets of columns; see query.Source. The events
// are read once. What a scan cannot count, the engine does, the same way; but for
// columns with about as many values as events: each of those takes the memory of
// a question, and has one for itself.
func (s *Store) Groups(ctx context.Context, rs []query.GroupRequest) ([][]query.GroupRow, query.Warnings, error) {
	if len(rs) == 0 {
		return nil, nil, nil
	}
	b, err := newGroupings(rs)
	if err != nil {
		return nil, nil, err
	}
	var out [][]query.GroupRow
	warn, err := s.answer(ctx, rs[0].Range, func(sn *snapshot) (err error) {
		out = make([][]query.GroupRow, len(rs))
		if len(sn.Segments) == 0 {
			return nil
		}
		if len(rs) == 1 && b.all[0].countable() {
			out[0], err = s.scanTop(ctx, sn.Segments, &b.all[0])
		} else {
			var scanned [][]query.GroupRow
			if scanned, err = s.scanGroups(ctx, sn.Segments, rs[0].Filter, rs[0].Range, b.all); err == nil {
				out = scanned
			}
		}
		if !errors.Is(err, errEngine) {
			return err
		}
		var together groupings
		var at []int
		for i, g := range b.all {
			if !manyValues(g.By) && len(rs) > 1 {
				together.add(g)
				at = append(at, i)
			} else if out[i], err = s.queryGroup(ctx, sn, g); err != nil {
				return err
			}
		}
		if len(at) == 0 {
			return nil
		}
		rows, err := s.queryGroups(ctx, sn, together)
		for k, i := range at {
			out[i] = rows[k]
		}
		return err
	})
	if err != nil {
		return nil, warn, err
	}
	for i, g := range b.all {
		out[i] = g.notNone(out[i])
	}
	return out, warn, nil
}

// manyValues is whether one of columns may have about as many values as there are events.
func manyValues(columns []string) bool {
	return slices.ContainsFunc(columns, func(name string) bool {
		return slices.Contains([]string{"id", "time", "received", "audit_id", "uri", "name", "object_uid", "message", "latency_us"}, name)
	})
}

// queryGroup asks the engine for one grouping.
func (s *Store) queryGroup(ctx context.Context, sn *snapshot, g grouping) (rows []query.GroupRow, err error) {
	cond, err := where(query.And(g.Filter, g.Having), g.Range)
	if err != nil {
		return nil, err
	}
	sql := "SELECT " + strings.Join(append(slices.Clone(g.keys), g.sums.ofEvents()), ", ") + " FROM read_parquet(" + filesSQL(sn.Segments) + ") WHERE " + cond
	if len(g.keys) > 0 {
		sql += " GROUP BY " + strings.Join(g.keys, ", ")
	}
	err = s.eng.query(ctx, g.top(sql, g.sums), func(c *chunk) error {
		rows = slices.Grow(rows, c.n)
		for i := range c.n {
			rows = append(rows, g.row(c, i, func(k int) int { return k }, len(g.keys), g.sums))
		}
		return nil
	})
	return rows, err
}

// queryGroups asks the engine for groupings over the same events. It reads them
// once, and counts by each set of columns as they come.
func (s *Store) queryGroups(ctx context.Context, sn *snapshot, b groupings) ([][]query.GroupRow, error) {
	out := make([][]query.GroupRow, len(b.all))
	cond, err := where(b.all[0].Filter, b.all[0].Range)
	if err != nil {
		return out, err
	}
	err = s.eng.query(ctx, b.sql(" FROM read_parquet("+filesSQL(sn.Segments)+") WHERE "+cond), func(c *chunk) error {
		const first = 2 // after the request's number and the row's
		for i := range c.n {
			q := c.integer(0, i)
			g := b.all[q]
			out[q] = append(out[q], g.row(c, i, func(k int) int { return first + slices.Index(b.keys, g.keys[k]) }, first+len(b.keys), b.sums))
		}
		return nil
	})
	return out, err
}

// grouping is a GroupRequest as SQL.
type grouping struct {
	query.GroupRequest
	types    []query.Type
	keys     []string // quoted
	lists    []string // those of keys that are lists
	sums     groupSums
	contains string // the condition on groups, "" for none
	having   string
}

func newGrouping(r query.GroupRequest) (g grouping, err error) {
	g = grouping{GroupRequest: r, having: "true"}
	for i, name := range r.By {
		col, err := query.LookupColumn(name)
		if err != nil {
			return g, err
		}
		if slices.Contains(r.By[:i], name) {
			return g, &query.UsageError{Message: "column " + name + " is given twice"}
		}
		if name == "raw" {
			return g, &query.UsageError{Message: "cannot group by raw; choose another column"}
		}
		g.types, g.keys = append(g.types, col.Type), append(g.keys, quoteName(name))
		if col.Type == query.Strings {
			g.lists = append(g.lists, quoteName(name))
		}
	}
	if r.Writes || r.WritesFirst {
		if g.sums.writes, err = filterSQL(query.Writes().Expr()); err != nil {
			return g, err
		}
	}
	g.sums.all, g.sums.first = !r.CountOnly, r.FirstID && !r.CountOnly
	if r.Contains != "" && len(g.keys) > 0 {
		if g.contains, err = containsSQL("CAST("+g.keys[len(g.keys)-1]+" AS VARCHAR)", r.Contains); err != nil {
			return g, err
		}
	}
	if r.Having != nil {
		g.having, err = filterSQL(r.Having.Expr())
	}
	return g, err
}

// groupSums is what is known of a group beside its count.
type groupSums struct {
	writes string // the condition of a write, "" if they are not counted
	all    bool   // failures, first and last
	first  bool   // the ID of the first event
}

// ofEvents are sums of events, of which top makes sums of groups where it must.
func (s groupSums) ofEvents() string {
	sql := "count(*) AS n"
	if s.writes != "" {
		sql += ", count(*) FILTER (" + s.writes + ") AS w"
	}
	if s.all {
		sql += ", count(*) FILTER (code >= 400) AS f, min(time) AS a, max(time) AS z"
	}
	if s.first {
		sql += ", min(ROW(time, id)) AS x"
	}
	return sql
}

func (s groupSums) ofGroups() string {
	sql := "CAST(sum(n) AS BIGINT) AS n"
	if s.writes != "" {
		sql += ", CAST(sum(w) AS BIGINT) AS w"
	}
	if s.all {
		sql += ", CAST(sum(f) AS BIGINT) AS f, min(a) AS a, max(z) AS z"
	}
	if s.first {
		sql += ", min(x) AS x"
	}
	return sql
}

// names are the sums' names; that of the first event's ID is a pair until top has it.
func (s groupSums) names() []string {
	names := []string{"n"}
	if s.writes != "" {
		names = append(names, "w")
	}
	if s.all {
		names = append(names, "f", "a", "z")
	}
	if s.first {
		names = append(names, "x")
	}
	return names
}

// order is that of the groups; every group has its place.
func (g *grouping) order() string {
	order := "n DESC"
	if g.WritesFirst {
		order = "w DESC, CASE WHEN w = 0 THEN n END DESC"
	}
	return " ORDER BY " + strings.Join(append([]string{order}, g.keys...), ", ")
}

// top makes the request's rows of groups.
func (g *grouping) top(groups string, sums groupSums) string {
	list, names := strings.Join(g.keys, ", "), strings.Join(slices.Concat(g.keys, sums.names()), ", ")
	if sums.first {
		names += "[2] AS x"
	}
	sql := groups
	// A member counts once, however often an event has it: that is much cheaper to
	// find in the few different lists. One list after the other gives all pairs.
	for _, k := range g.lists {
		sql = "SELECT * REPLACE (unnest(list_distinct(" + k + ")) AS " + k + ") FROM (" + sql + ")"
	}
	if len(g.lists) > 0 {
		sql = "SELECT " + list + ", " + sums.ofGroups() + " FROM (" + sql + ") GROUP BY " + list
	}
	sql = "SELECT " + names + " FROM (" + sql + ")" // so that order means the sums
	if g.contains != "" {                           // after the grouping: there are fewer groups than events
		sql = "WITH g AS MATERIALIZED (" + sql + ") SELECT * FROM g WHERE " + g.contains
	}
	sql += g.order()
	if g.Limit > 0 {
		sql += " LIMIT " + strconv.Itoa(g.Limit)
	}
	if g.Skip > 0 {
		sql += " OFFSET " + strconv.Itoa(g.Skip)
	}
	return sql
}

// row reads a row: at tells the place of a key, sum that of the first sum.
func (g *grouping) row(c *chunk, i int, at func(key int) int, sum int, sums groupSums) query.GroupRow {
	row := query.GroupRow{Keys: make([]string, len(g.keys)), Count: c.integer(sum, i)}
	for k, t := range g.types {
		row.Keys[k] = keyText(c, t, at(k), i)
	}
	if sums.writes != "" {
		if sum++; g.sums.writes != "" {
			row.Writes = c.integer(sum, i)
		}
	}
	if row.Count > 0 && g.sums.all { // else NULL
		row.Failed = c.integer(sum+1, i)
		row.First, row.Last = audit.Time(c.integer(sum+2, i)), audit.Time(c.integer(sum+3, i))
		if g.sums.first {
			row.FirstID = c.integer(sum+4, i)
		}
	}
	return row
}

// notNone adds the one row that there is always where all are one group.
func (g *grouping) notNone(rows []query.GroupRow) []query.GroupRow {
	if len(g.keys) == 0 && len(rows) == 0 {
		return []query.GroupRow{{Keys: []string{}}}
	}
	return rows
}

// groupings are several requests over the same events.
type groupings struct {
	all  []grouping
	keys []string // of all of them
	sums groupSums
}

func newGroupings(rs []query.GroupRequest) (b groupings, err error) {
	for _, r := range rs {
		g, err := newGrouping(r)
		if err != nil {
			return b, err
		}
		b.add(g)
	}
	return b, nil
}

func (b *groupings) add(g grouping) {
	for _, k := range g.keys {
		if !slices.Contains(b.keys, k) {
			b.keys = append(b.keys, k)
		}
	}
	b.sums.all, b.sums.first = b.sums.all || g.sums.all, b.sums.first || g.sums.first
	if g.sums.writes != "" {
		b.sums.writes = g.sums.writes
	}
	b.all = append(b.all, g)
}

// sql gives the rows of all requests: the number of the request, of the row, and
// all keys, NULL where they are not the request's, then the sums.
func (b *groupings) sql(from string) string {
	var sets, parts []string
	for q, g := range b.all {
		id := 0 // as grouping_id tells it: a bit for each key that is not in the set
		var set []string
		columns := []string{"CAST(" + strconv.Itoa(q) + " AS BIGINT) AS q", "row_number() OVER (" + g.order() + ") AS r"}
		for _, k := range b.keys {
			id <<= 1
			if slices.Contains(g.keys, k) {
				set = append(set, k)
			} else {
				id |= 1
				k = "NULL AS " + k
			}
			columns = append(columns, k)
		}
		if text := "(" + strings.Join(set, ", ") + ")"; !slices.Contains(sets, text) {
			sets = append(sets, text)
		}
		rows := g.top("SELECT * FROM sets WHERE s = "+strconv.Itoa(id)+" AND "+g.having, b.sums)
		parts = append(parts, "SELECT "+strings.Join(append(columns, b.sums.names()...), ", ")+" FROM ("+rows+")")
	}
	groups, by := "SELECT 0 AS s, "+b.sums.ofEvents()+from, ""
	if len(b.keys) > 0 {
		list := strings.Join(b.keys, ", ")
		groups = "SELECT grouping_id(" + list + ") AS s, " + list + ", " + b.sums.ofEvents() + from
		by = " GROUP BY GROUPING SETS (" + strings.Join(sets, ", ") + ")"
	}
	return "WITH sets AS MATERIALIZED (" + groups + by + ") SELECT * FROM (" + strings.Join(parts, " UNION ALL ") + ") ORDER BY q, r"
}

// keyText is a group's key for a person: as query.Column's Text, but a number
// or a time that is zero is a value here.
func keyText(c *chunk, t query.Type, col, row int) string {
	switch t {
	case query.Int:
		return strconv.FormatInt(c.number(col, row), 10)
	case query.Bool:
		return strconv.FormatBool(c.flag(col, row))
	case query.Time:
		return audit.Time(c.integer(col, row)).String()
	default:
		return strings.Clone(c.text(col, row))
	}
}
