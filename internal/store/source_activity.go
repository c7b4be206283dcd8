package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// Activity counts events by credential, address and agent over time; see query.Source.
func (s *Store) Activity(ctx context.Context, r query.ActivityRequest) ([]query.ActivityRow, query.Warnings, error) {
	if r.Width <= 0 {
		return nil, nil, &query.UsageError{Message: fmt.Sprintf("activity: width %d µs; must be above 0", r.Width)}
	}
	cond, err := where(r.Filter, r.Range)
	if err != nil {
		return nil, nil, err
	}
	writes, err := filterSQL(query.Writes().Expr())
	if err != nil {
		return nil, nil, err
	}
	var rows []query.ActivityRow
	warn, err := s.answer(ctx, r.Range, func(sn *snapshot) (err error) {
		rows = nil
		if len(sn.Segments) == 0 {
			return nil
		}
		if rows, err = s.scanActivity(ctx, sn.Segments, r); !errors.Is(err, errEngine) {
			return err
		}
		rows = nil
		sql := "SELECT " + bucketSQL(sn.Segments, r.Width) + ` AS b, credential_id AS c, coalesce(source_ips[1], '') AS a, agent AS g, count(*), ` +
			"count(*) FILTER (" + writes + "), count(*) FILTER (code >= 400), min(time), max(time) FROM read_parquet(" + filesSQL(sn.Segments) + ") WHERE " + cond + " GROUP BY b, c, a, g ORDER BY b DESC, c, a, g"
		if r.Limit > 0 {
			sql += " LIMIT " + strconv.Itoa(r.Limit)
		}
		return s.eng.query(ctx, sql, func(c *chunk) error {
			for i := range c.n {
				rows = append(rows, query.ActivityRow{
					Start: audit.Time(c.integer(0, i) * r.Width), Credential: strings.Clone(c.text(1, i)), Address: strings.Clone(c.text(2, i)),
					Agent: strings.Clone(c.text(3, i)), Count: c.integer(4, i), Writes: c.integer(5, i), Failed: c.integer(6, i),
					First: audit.Time(c.integer(7, i)), Last: audit.Time(c.integer(8, i)),
				})
			}
			return nil
		})
	})
	return rows, warn, err
}

// scanActivity counts without the engine.
func (s *Store) scanActivity(ctx context.Context, segments []*segment, r query.ActivityRequest) ([]query.ActivityRow, error) {
	conditions, ok := conditionsOf(r.Filter)
	if !ok {
		return nil, errEngine
	}
	found, err := s.tallied(ctx, segments, r.Range, conditions, 1, func(w *scanner, to []tallies) error {
		if err := w.buckets("bucket", 0, r.Width); err != nil {
			return err
		}
		of := sums{columns: []string{"bucket", "credential_id", "source_ips", "agent"}, writes: true, failed: true, times: true}
		return w.each(of, func(n counted) error {
			address := ""
			if ips := w.event.SourceIPs; len(ips) > 0 {
				address = ips[0]
			}
			return to[0].add([]string{w.event.CredentialID, address, w.event.Agent}, []int64{w.bucket}, n)
		})
	})
	if err != nil {
		return nil, err
	}
	var rows []query.ActivityRow
	for _, t := range found[0].groups {
		rows = append(rows, query.ActivityRow{
			Start: audit.Time(t.numbers[0] * r.Width), Credential: t.keys[0], Address: t.keys[1], Agent: t.keys[2],
			Count: t.Count, Writes: t.Writes, Failed: t.Failed, First: t.First, Last: t.Last,
		})
	}
	slices.SortFunc(rows, func(a, b query.ActivityRow) int {
		return cmp.Or(cmp.Compare(b.Start, a.Start), cmp.Compare(a.Credential, b.Credential), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Agent, b.Agent))
	})
	if r.Limit > 0 && len(rows) > r.Limit {
		rows = rows[:r.Limit]
	}
	return rows, nil
}
