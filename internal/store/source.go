package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

var _ query.Source = (*Store)(nil)

// startEngine makes the store able to answer. The engine may read the segments'
// directory and nothing else.
func (s *Store) startEngine() error {
	dir, err := filepath.Abs(filepath.Join(s.dir, "segments"))
	if err != nil {
		return err
	}
	s.sql = make(chan struct{}, sqlQueries)
	s.scans, s.scanning = make(chan struct{}, cmp.Or(s.opts.Threads, defaultThreads())), make(chan struct{}, defaultQueries)
	s.eng, err = openEngine(engineOptions{Dirs: []string{dir}, MemoryLimit: s.opts.MemoryLimit, Threads: s.opts.Threads})
	return err
}

// Bounds says what there is. It reads no segment.
func (s *Store) Bounds(context.Context) (query.Bounds, error) {
	sn, err := s.acquire(query.Range{})
	if err != nil {
		return query.Bounds{}, err
	}
	defer sn.release()
	var b query.Bounds
	for i, g := range sn.Segments {
		if i == 0 || g.MinTime < b.First {
			b.First = g.MinTime
		}
		if i == 0 || g.MaxTime > b.Last {
			b.Last = g.MaxTime
		}
		b.LastID = max(b.LastID, g.MaxID)
		b.Events += g.Rows
	}
	return b, nil
}

// Histogram counts events over time; see query.Source.
func (s *Store) Histogram(ctx context.Context, r query.HistogramRequest) ([]query.Bucket, query.Warnings, error) {
	if r.Width <= 0 {
		return nil, nil, &query.UsageError{Message: fmt.Sprintf("histogram: width %d µs; must be above 0", r.Width)}
	}
	cond, err := where(r.Filter, r.Range)
	if err != nil {
		return nil, nil, err
	}
	denied, err := outcomeSQL(query.OutcomeDenied)
	if err != nil {
		return nil, nil, err
	}
	failed, err := outcomeSQL(query.OutcomeError)
	if err != nil {
		return nil, nil, err
	}
	var buckets []query.Bucket
	warn, err := s.answer(ctx, r.Range, func(sn *snapshot) error {
		buckets = nil
		if len(sn.Segments) == 0 {
			return nil
		}
		sql := "SELECT " + bucketSQL(sn.Segments, r.Width) + " AS b, count(*), count(*) FILTER (code >= 400), count(*) FILTER (" + denied + "), count(*) FILTER (" + failed + ") FROM read_parquet(" +
			filesSQL(sn.Segments) + ") WHERE " + cond + " GROUP BY b ORDER BY b"
		return s.eng.query(ctx, sql, func(c *chunk) error {
			for i := range c.n {
				buckets = append(buckets, query.Bucket{Start: audit.Time(c.integer(0, i) * r.Width), Count: c.integer(1, i), Failed: c.integer(2, i), Denied: c.integer(3, i), Errors: c.integer(4, i)})
			}
			return nil
		})
	})
	return buckets, warn, err
}

// bucketSQL is the number of an event's bucket of time.
func bucketSQL(segments []*segment, us int64) string {
	width := strconv.FormatInt(us, 10)
	for _, g := range segments {
		if g.MinTime < 0 { // before 1970 division must round down, not towards zero
			return "(epoch_us(time) - ((epoch_us(time) % " + width + ") + " + width + ") % " + width + ") // " + width
		}
	}
	return "epoch_us(time) // " + width
}

// answer runs fn over the segments of a range. If it fails because a segment
// cannot be read, the damaged ones are set aside and fn runs once more without
// them; the warnings say what is missing.
func (s *Store) answer(ctx context.Context, r query.Range, fn func(*snapshot) error) (query.Warnings, error) {
	return s.answerFrom(ctx, func() (*snapshot, error) { return s.acquire(r) }, fn)
}

func (s *Store) answerFrom(ctx context.Context, acquire func() (*snapshot, error), fn func(*snapshot) error) (query.Warnings, error) {
	for try := 0; ; try++ {
		sn, err := acquire()
		if err != nil {
			return nil, err
		}
		warn := warnings(sn.Damage)
		err = fn(sn)
		var unreadable *engineError
		if err == nil || try > 0 || !errors.As(err, &unreadable) {
			sn.release()
			return warn, err
		}
		damaged := s.setAside(ctx, sn.Segments, unreadable)
		sn.release()
		if !damaged {
			return warn, err
		}
	}
}

// setAside checks the segments of a query that failed, first the one that the
// message names, and reports whether it found damage.
func (s *Store) setAside(ctx context.Context, segments []*segment, cause *engineError) bool {
	found := false
	check := func(g *segment) {
		var d *DamageError
		if err := s.verify(g); errors.As(err, &d) {
			found = true
		} else if err != nil {
			s.log.WarnContext(ctx, "cannot check segment", slog.String("file", g.Rel), slog.String("error", err.Error()))
		}
	}
	for _, g := range segments {
		if strings.Contains(cause.msg, g.Path) {
			check(g)
		}
	}
	if found {
		return true
	}
	for _, g := range segments {
		if ctx.Err() != nil {
			return found
		}
		check(g)
	}
	return found
}

func warnings(list []Damage) query.Warnings {
	var w query.Warnings
	for _, d := range list {
		w = append(w, query.Warning{Text: d.String(), Damage: true})
	}
	return w
}

// filesSQL is the list of the segments' files. They are named one by one:
// what else lies in the directory is none of the store's.
func filesSQL(segments []*segment) string {
	var b strings.Builder
	b.Grow(len(segments) * 64)
	b.WriteByte('[')
	for i, g := range segments {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quoteText(g.Path))
	}
	b.WriteByte(']')
	return b.String()
}
