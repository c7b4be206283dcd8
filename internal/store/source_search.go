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

const (
	// searchPage is how many rows one query of a search sorts at most, and how
	// many are held for a reader: some megabytes.
	searchPage = 4 << 10
	// firstWindow is how many rows the first query of a search looks at, about:
	// a row group's, the least that can be read of a column.
	firstWindow = rowGroupRows
	// readSegments is of how many segments one query reads rows: each has its
	// readers of all columns, which take memory.
	readSegments = 16
	// lastWindow is how far windows grow: a search that finds little pays for few queries.
	lastWindow = 1 << 40
)

// Search calls yield for the matching events in order; see query.Source.
//
// It walks through time in windows, each one query of bounded size, so that
// memory is flat however long the answer is, and the newest hundred events of a
// large store are found in its newest segments alone. Windows grow while they
// find little. They find where events are: all columns are read for a page of
// them, at once, and raw lines afterwards, one page of a segment at a time.
func (s *Store) Search(ctx context.Context, r query.SearchRequest, yield func(*audit.Event) error) (query.Warnings, error) {
	var warn query.Warnings
	found, want := 0, int64(firstWindow)
	var caller error
	each := func(e *audit.Event) error {
		found++
		r.After = query.Position{Time: e.Time, ID: e.ID}
		if caller = yield(e); caller != nil {
			return caller
		}
		return nil
	}
	w, err := s.answer(ctx, r.Range, func(sn *snapshot) error {
		rd := newRawReader()
		defer rd.close()
		var page []place
		ahead := r // After is that of the last place
		for edge, more := edgeOf(r), true; more; {
			var win window
			win, more = nextWindow(sn.Segments, edge, want, r.Ascending)
			limit := searchPage - len(page)
			if r.Limit > 0 {
				limit = min(limit, r.Limit-found-len(page))
			}
			places, err := s.searchWindow(ctx, ahead, win, limit)
			if err != nil {
				return err
			}
			n := len(places)
			if page = append(page, places...); n > 0 {
				ahead.After = places[n-1].Position
			}
			if n < limit {
				if n <= limit/4 {
					want = min(want*16, lastWindow)
				}
				edge = win.next
				continue
			}
			if err := s.readEvents(ctx, page, r, rd, each); err != nil || r.Limit > 0 && found >= r.Limit {
				return err
			}
			// The window is not exhausted: go on behind the last row.
			page, edge, more = page[:0], edgeOf(ahead), true
			want = max(want/2, firstWindow)
		}
		return s.readEvents(ctx, page, r, rd, each)
	})
	warn = append(warn, w...)
	if caller != nil {
		return warn, caller // as it came
	}
	return warn, err
}

// edgeOf is where a search goes on: the time of the first event that it may find.
func edgeOf(r query.SearchRequest) *audit.Time {
	var t audit.Time
	switch {
	case r.After != (query.Position{}):
		t = r.After.Time
	case r.Ascending && r.Range.From != 0:
		t = r.Range.From
	case !r.Ascending && r.Range.To != 0:
		t = r.Range.To
	default:
		return nil
	}
	return &t
}

// window is a part of time, both ends inclusive, and the segments in it.
type window struct {
	from, to audit.Time
	segments []*segment
	next     *audit.Time // where the next one begins
}

// nextWindow cuts about want rows off the segments, from edge on (nil is the
// very beginning) in the direction of the search, taking the events of a
// segment as spread evenly. more is false if it is the last one.
func nextWindow(all []*segment, edge *audit.Time, want int64, ascending bool) (w window, more bool) {
	// Work in a time that grows in the direction of the search.
	sign := audit.Time(-1)
	if ascending {
		sign = 1
	}
	type span struct {
		lo, hi audit.Time
		g      *segment
	}
	var spans []span
	for _, g := range all {
		sp := span{g.MinTime, g.MaxTime, g}
		if !ascending {
			sp.lo, sp.hi = -g.MaxTime, -g.MinTime
		}
		if edge == nil || sp.hi >= sign**edge {
			spans = append(spans, sp)
		}
	}
	if len(spans) == 0 {
		return window{}, false
	}
	slices.SortFunc(spans, func(a, b span) int { return compareTimes(a.lo, b.lo) })
	start := spans[0].lo
	if edge != nil {
		start = max(start, sign**edge)
	}
	// Try the ends of the spans as the end of the window until enough rows are in.
	last := start
	for _, sp := range spans {
		last = max(last, sp.hi)
	}
	rows := func(end audit.Time) int64 {
		var n float64
		for _, sp := range spans {
			if sp.lo > end {
				break
			}
			length := float64(sp.hi-sp.lo) + 1
			n += float64(sp.g.Rows) * (float64(min(sp.hi, end)-max(sp.lo, start)) + 1) / length
		}
		return int64(n)
	}
	end := last
	if rows(last) > want+want/2 {
		lo, hi := start, last // bisect: rows grows with its argument
		for hi-lo > 1 {
			mid := lo + (hi-lo)/2
			if n := rows(mid); n > want {
				hi = mid
			} else {
				lo = mid
			}
			if n := rows(hi); n <= want+want/8 {
				break
			}
		}
		end = hi
	}
	for _, sp := range spans {
		if sp.lo <= end {
			w.segments = append(w.segments, sp.g)
		}
	}
	w.from, w.to = start, end
	if !ascending {
		w.from, w.to = -end, -start
	}
	next := sign * (end + 1)
	w.next = &next
	return w, end < last
}

func compareTimes(a, b audit.Time) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// place is where an event is.
type place struct {
	query.Position
	segment *segment
	row     int64
}

// searchWindow finds up to limit events of a window, behind r.After, by the
// columns of the filter alone.
func (s *Store) searchWindow(ctx context.Context, r query.SearchRequest, w window, limit int) (found []place, err error) {
	if len(w.segments) == 0 || limit <= 0 {
		return nil, nil
	}
	more := []string{"time >= " + quoteTime(w.from), "time <= " + quoteTime(w.to)}
	op := "<"
	if r.Ascending {
		op = ">"
	}
	if r.After != (query.Position{}) {
		// The first half prunes, the second decides.
		t := quoteTime(r.After.Time)
		more = append(more, "time "+op+"= "+t, "(time "+op+" "+t+" OR id "+op+" "+quoteInt(r.After.ID)+")")
	}
	cond, err := where(r.Filter, r.Range, more...)
	if err != nil {
		return nil, err
	}
	sql := "SELECT time, id, file_index, file_row_number FROM read_parquet(" + filesSQL(w.segments) + ") WHERE " + cond + orderOf(r) + " LIMIT " + strconv.Itoa(limit)
	err = s.eng.query(ctx, sql, func(c *chunk) error {
		for i := range c.n {
			file := c.integer(2, i)
			if file < 0 || file >= int64(len(w.segments)) {
				return errFile
			}
			found = append(found, place{query.Position{Time: audit.Time(c.integer(0, i)), ID: c.integer(1, i)}, w.segments[file], c.integer(3, i)})
		}
		return nil
	})
	return found, err
}

var errFile = errors.New("search: the engine named a file that it was not given")

func orderOf(r query.SearchRequest) string {
	if r.Ascending {
		return " ORDER BY time, id"
	}
	return " ORDER BY time DESC, id DESC"
}

// readEvents yields the events at places, which are in order. Rows are named by
// their numbers, so that the engine skips what is between them: by any other
// condition, the filter for one, it would read much more of most columns.
func (s *Store) readEvents(ctx context.Context, places []place, r query.SearchRequest, rd *rawReader, yield func(*audit.Event) error) error {
	for len(places) > 0 {
		var segments []*segment
		var rows [][]byte
		n := 0
		for ; n < len(places); n++ {
			p := places[n]
			i := slices.Index(segments, p.segment)
			if i < 0 {
				if i = len(segments); i == readSegments {
					break
				}
				segments, rows = append(segments, p.segment), append(rows, nil)
			} else {
				rows[i] = append(rows[i], ", "...)
			}
			rows[i] = strconv.AppendInt(rows[i], p.row, 10)
		}
		places = places[n:]
		parts := make([]string, len(segments))
		for i := range segments {
			parts[i] = "SELECT " + eventColumns + ", CAST(" + strconv.Itoa(i) + " AS BIGINT) AS file_index, file_row_number FROM read_parquet(" +
				filesSQL(segments[i:i+1]) + ") WHERE file_row_number IN (" + string(rows[i]) + ")"
		}
		if err := s.scanEvents(ctx, "SELECT * FROM ("+strings.Join(parts, " UNION ALL ")+")"+orderOf(r), segments, r.Bare, rd, yield); err != nil {
			return err
		}
	}
	return nil
}

// eventsSQL selects events without their raw lines, and where those are.
func eventsSQL(segments []*segment) string {
	return "SELECT " + eventColumns + ", file_index, file_row_number FROM read_parquet(" + filesSQL(segments) + ")"
}

// eventColumns are the columns that scanEvents reads, in its order.
const eventColumns = `id, "time", received, cluster, "source", audit_id, stage, "level", verb, "user", user_uid, "groups", ` +
	`as_user, as_groups, source_ips, agent, uri, api_group, api_version, resource, subresource, namespace, "name", object_uid, ` +
	`code, reason, message, decision, decision_reason, latency_us, credential_id, pod, truncated, final`

// scanned is an event without its raw line, and where that is.
type scanned struct {
	audit.Event
	file, row int64
}

// scanEvents runs a query that begins as eventsSQL does. The event and its
// strings are valid during the call of yield. The query is over before the first
// call: a reader who takes their time keeps neither its memory nor its place.
func (s *Store) scanEvents(ctx context.Context, sql string, segments []*segment, bare func(*audit.Event) bool, rd *rawReader, yield func(*audit.Event) error) error {
	page, err := s.scanPage(ctx, sql)
	if err != nil {
		return err
	}
	for i := range page {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := &page[i]
		if !bare(&e.Event) {
			if e.file < 0 || e.file >= int64(len(segments)) {
				return errFile
			}
			raw, err := rd.line(segments[e.file], e.row)
			if err != nil {
				return err
			}
			e.Raw = raw
		}
		if err := yield(&e.Event); err != nil {
			return err
		}
		*e = scanned{} // a page that is read need not stay as a whole
	}
	return nil
}

func (s *Store) scanPage(ctx context.Context, sql string) (page []scanned, err error) {
	var e audit.Event
	var lists []string // members of the event's lists
	err = s.eng.query(ctx, sql, func(c *chunk) error {
		for i := range c.n {
			e = audit.Event{
				ID: c.integer(0, i), Time: audit.Time(c.integer(1, i)), Received: audit.Time(c.integer(2, i)),
				Cluster: c.text(3, i), Source: c.text(4, i), AuditID: c.text(5, i), Stage: c.text(6, i), Level: c.text(7, i),
				Verb: c.text(8, i), User: c.text(9, i), UserUID: c.text(10, i), AsUser: c.text(12, i),
				Agent: c.text(15, i), URI: c.text(16, i), APIGroup: c.text(17, i), APIVersion: c.text(18, i),
				Resource: c.text(19, i), Subresource: c.text(20, i), Namespace: c.text(21, i), Name: c.text(22, i), ObjectUID: c.text(23, i),
				Code: c.int32(24, i), Reason: c.text(25, i), Message: c.text(26, i), Decision: c.text(27, i), DecisionReason: c.text(28, i),
				LatencyUS: c.integer(29, i), CredentialID: c.text(30, i), Pod: c.text(31, i), Truncated: c.flag(32, i), Final: c.flag(33, i),
			}
			lists = c.texts(11, i, lists[:0])
			groups := len(lists)
			lists = c.texts(13, i, lists)
			asGroups := len(lists)
			lists = c.texts(14, i, lists)
			e.Groups, e.AsGroups, e.SourceIPs = part(lists, 0, groups), part(lists, groups, asGroups), part(lists, asGroups, len(lists))
			page = append(page, scanned{Event: *cloneFollowed(&e), file: c.integer(34, i), row: c.integer(35, i)})
		}
		return nil
	})
	return page, err
}

// part is list[from:to], nil if that is empty, as decoding gives it.
func part(list []string, from, to int) []string {
	if from == to {
		return nil
	}
	return list[from:to:to]
}
