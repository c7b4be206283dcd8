package query

import (
	"context"
	"fmt"

	"github.com/ktrail/ktrail/audit"
)

const (
	millisecond = int64(1000)
	second      = 1000 * millisecond
	minute      = 60 * second
	hour        = 60 * minute
	day         = 24 * hour
)

// roundWidths are the widths that a histogram chooses from, in microseconds.
var roundWidths = []int64{
	1, 2, 5, 10, 20, 50, 100, 200, 500,
	millisecond, 2 * millisecond, 5 * millisecond, 10 * millisecond, 20 * millisecond, 50 * millisecond,
	100 * millisecond, 200 * millisecond, 500 * millisecond,
	second, 2 * second, 5 * second, 10 * second, 15 * second, 30 * second,
	minute, 2 * minute, 5 * minute, 10 * minute, 15 * minute, 30 * minute,
	hour, 2 * hour, 3 * hour, 6 * hour, 12 * hour,
	day, 2 * day, 7 * day, 14 * day, 30 * day, 90 * day, 365 * day,
}

// Histogram implements [Questions]. Where the range is open it ends with the
// first or last event that the source holds.
func (g *Engine) Histogram(ctx context.Context, q HistogramQuestion) (HistogramAnswer, error) {
	f, err := scoped(q.Scope)
	if err != nil {
		return HistogramAnswer{}, err
	}
	buckets, err := limit(q.Buckets, defaultBuckets, maxBuckets)
	if err != nil {
		return HistogramAnswer{}, err
	}
	if q.WidthUS < 0 {
		return HistogramAnswer{}, usagef("width %d is negative", q.WidthUS)
	}
	answer := HistogramAnswer{Filter: f.String(), Range: q.Range, WidthUS: q.WidthUS, Buckets: []Bucket{}}
	r, warnings, err := g.closed(ctx, f, q.Range)
	if err != nil {
		return HistogramAnswer{}, err
	}
	if answer.Warnings = warnings; r.From >= r.To {
		return answer, nil
	}
	width := q.WidthUS
	if width == 0 {
		width = chooseWidth(r, int64(buckets))
	}
	n := bucketCount(r, width)
	if n > maxBuckets {
		return HistogramAnswer{}, usagef("the range has %d bars of this width, more than %d; take a wider bar or a shorter range", n, maxBuckets)
	}
	found, more, err := g.src.Histogram(ctx, HistogramRequest{Filter: f, Range: r, Width: width})
	if err != nil {
		return HistogramAnswer{}, err
	}
	answer.Range, answer.WidthUS, answer.Warnings = r, width, joinWarnings(answer.Warnings, more)
	first := floorDiv(int64(r.From), width)
	answer.Buckets = make([]Bucket, n)
	for i := range answer.Buckets {
		answer.Buckets[i].Start = audit.Time((first + int64(i)) * width)
	}
	for _, b := range found {
		if i := floorDiv(int64(b.Start), width) - first; i >= 0 && i < n {
			answer.Buckets[i].Count += b.Count
			answer.Buckets[i].Failed += b.Failed
			answer.Buckets[i].Denied += b.Denied
			answer.Buckets[i].Errors += b.Errors
			answer.Total += b.Count
		}
	}
	return answer, nil
}

// closed is r with both ends: where it is open it ends with the first or last event
// that the source holds. It is empty if all there is lies outside of the half that
// was given.
func (g *Engine) closed(ctx context.Context, f *Filter, r Range) (Range, Warnings, error) {
	if r.From != 0 && r.To != 0 {
		return r, nil, nil
	}
	b, err := g.src.Bounds(ctx)
	if err != nil || b.Events == 0 {
		return Range{}, nil, err
	}
	var warnings Warnings
	if r.From == 0 {
		if r.From, warnings, err = g.firstTime(ctx, f, b); err != nil {
			return Range{}, nil, err
		}
	}
	if r.To == 0 {
		r.To = b.Last + 1
	}
	return r, warnings, nil
}

// firstTime is where the bars of an open range begin: with the first event that
// has a time. One without would put 1970 on the axis and all others in one bar.
func (g *Engine) firstTime(ctx context.Context, f *Filter, b Bounds) (audit.Time, Warnings, error) {
	if b.First > 0 {
		return b.First, nil, nil
	}
	first, warnings, err := g.firstDated(ctx, b)
	if err != nil || first == 0 {
		return 0, warnings, err
	}
	rows, more, err := g.src.Group(ctx, GroupRequest{Filter: f, Range: Range{To: dated}})
	if err == nil && len(rows) > 0 && rows[0].Count > 0 {
		more = append(more, Warning{Text: fmt.Sprintf("%s without a time, or before 1970: not in the bars", plural(int(rows[0].Count), "event"))})
	}
	warnings = joinWarnings(warnings, more)
	return first, warnings, err
}

// dated is the least time that an event with one has.
const dated = audit.Time(1)

// firstDated is when the first event was that has a time, 0 if none has.
func (g *Engine) firstDated(ctx context.Context, b Bounds) (first audit.Time, _ Warnings, _ error) {
	if b.First > 0 {
		return b.First, nil, nil
	}
	r := SearchRequest{Range: Range{From: dated}, Limit: 1, Ascending: true, NoRaw: true}
	warnings, err := g.src.Search(ctx, r, func(e *audit.Event) error {
		first = e.Time
		return nil
	})
	return first, warnings, err
}

// chooseWidth is the narrowest round width that gives at most n bars.
func chooseWidth(r Range, n int64) int64 {
	for _, w := range roundWidths {
		if bucketCount(r, w) <= n {
			return w
		}
	}
	w := 365 * day
	for bucketCount(r, w) > n {
		w *= 2
	}
	return w
}

// bucketCount is the number of buckets, aligned to multiples of width, that [From, To) touches.
func bucketCount(r Range, width int64) int64 {
	return floorDiv(int64(r.To)-1, width) - floorDiv(int64(r.From), width) + 1
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
