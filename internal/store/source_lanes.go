package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// Lanes counts what happened to objects over time; see query.Source.
func (s *Store) Lanes(ctx context.Context, r query.LanesRequest, yield func(int, query.Mark) error) (query.Warnings, error) {
	if r.Width <= 0 || r.Range.From == 0 || r.Range.To == 0 {
		return nil, &query.UsageError{Message: fmt.Sprintf("lanes: the range is open, or width %d µs is not above 0", r.Width)}
	}
	classes, outcomes := query.Classes(), query.Outcomes()
	build, err := lanesSQL(r, classes, outcomes)
	if err != nil {
		return nil, err
	}
	var caller error
	warn, err := s.answer(ctx, r.Range, func(sn *snapshot) error {
		if len(sn.Segments) == 0 || len(r.Objects) == 0 {
			return nil
		}
		// All segments are read before the first mark comes: a second try, without a
		// damaged one, repeats nothing.
		marks, err := s.scanLanes(ctx, sn.Segments, r, classes, outcomes)
		if !errors.Is(err, errEngine) {
			if err == nil {
				err = yieldMarks(ctx, marks, func(i int, m *laneMark) error {
					caller = yield(i, query.Mark{
						Bin: m.bin, Class: classes[int(m.kind)/len(outcomes)].Value, Outcome: outcomes[int(m.kind)%len(outcomes)].Value,
						Count: m.count, Time: m.time, ID: m.id,
					})
					return caller
				})
			}
			return err
		}
		return s.eng.query(ctx, build(sn.Segments), func(c *chunk) error {
			for i := range c.n {
				caller = yield(int(c.number(0, i)), query.Mark{
					Bin: c.integer(1, i), Class: classes[c.number(2, i)].Value, Outcome: outcomes[c.number(3, i)].Value,
					Count: c.integer(4, i), Time: r.Range.From + audit.Time(c.integer(1, i)*r.Width+c.integer(5, i)), ID: c.integer(6, i),
				})
				if caller != nil {
					return caller
				}
			}
			return nil
		})
	})
	if caller != nil {
		return warn, caller
	}
	return warn, err
}

func yieldMarks(ctx context.Context, marks [][]laneMark, yield func(int, *laneMark) error) error {
	for i, lane := range marks {
		for k := range lane {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := yield(i, &lane[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

// lanesSQL is the question over segments. Events are counted by the columns that
// tell class and outcome, and those of the few groups are told afterwards; of URIs
// there are too many, and of them only matters whether they say dryRun. Two columns of an object's five differ so seldom that they are compared after the
// join. The last event of a bin is found in one number: its place in the bin times
// a number above all IDs, and its ID.
func lanesSQL(r query.LanesRequest, classes []query.Case[query.Class], outcomes []query.Case[query.Outcome]) (func([]*segment) string, error) {
	cond, err := where(r.Filter, r.Range)
	if err != nil {
		return nil, err
	}
	class, err := caseSQL(classes)
	if err != nil {
		return nil, err
	}
	outcome, err := caseSQL(outcomes)
	if err != nil {
		return nil, err
	}
	dry, err := filterSQL(query.DryRun().Expr())
	if err != nil {
		return nil, err
	}
	objects, err := objectsSQL(r.Objects)
	if err != nil {
		return nil, err
	}
	width := strconv.FormatInt(r.Width, 10)
	at := "(epoch_us(time) - " + quoteInt(int64(r.Range.From)) + ")"
	return func(segments []*segment) string {
		ids := int64(1)
		for _, g := range segments {
			ids = max(ids, g.MaxID+1)
		}
		place := at + " % " + width
		if r.Width > math.MaxInt64/ids-1 {
			place = "CAST(" + place + " AS HUGEINT)"
		}
		above := strconv.FormatInt(ids, 10)
		return "SELECT i, b, " + class + " AS c, " + outcome + " AS x, CAST(sum(n) AS BIGINT), CAST(max(v) // " + above + " AS BIGINT), CAST(max(v) % " + above + " AS BIGINT) " +
			"FROM (SELECT o.i AS i, " + at + " // " + width + " AS b, verb, subresource, e.api_group AS api_group, code, CASE WHEN " + dry + " THEN " + quoteText(dryURI) + " ELSE '' END AS uri, count(*) AS n, max(" + place + " * " + above + " + id) AS v " +
			"FROM (SELECT * FROM read_parquet(" + filesSQL(segments) + ") WHERE " + cond + ") e JOIN " + objects + " USING (namespace, resource, name) " +
			"WHERE CASE WHEN e.cluster = o.cluster AND e.api_group = o.api_group THEN true ELSE false END GROUP BY ALL) GROUP BY ALL ORDER BY i, b, c, x"
	}, nil
}

// caseSQL is the place of the first case that applies.
func caseSQL[T ~string](cases []query.Case[T]) (string, error) {
	var b strings.Builder
	b.WriteString("CASE")
	for i, c := range cases {
		when, err := filterSQL(c.When.Expr())
		if err != nil {
			return "", err
		}
		if i == len(cases)-1 {
			when = "true"
		}
		b.WriteString(" WHEN " + when + " THEN " + strconv.Itoa(i))
	}
	return b.String() + " END", nil
}

// outcomeSQL is whether an event has an outcome.
func outcomeSQL(o query.Outcome) (string, error) {
	i := slices.IndexFunc(query.Outcomes(), func(c query.Case[query.Outcome]) bool { return c.Value == o })
	return filterSQL(query.Outcomes()[i].When.Expr())
}

// objectsSQL is a table of objects with their places.
func objectsSQL(keys []query.ObjectKey) (string, error) {
	var b strings.Builder
	b.WriteString("(VALUES ")
	for i, k := range keys {
		if i > 0 {
			b.WriteString(", ")
		}
		parts := []string{k.Cluster, k.Namespace, k.APIGroup, k.Resource, k.Name}
		for _, p := range parts {
			if !utf8.ValidString(p) {
				return "", &query.UsageError{Message: fmt.Sprintf("object %.80q is not valid UTF-8", p)}
			}
		}
		b.WriteString("(" + strconv.Itoa(i) + ", " + quoteAll(parts) + ")")
	}
	return b.String() + ") AS o(i, cluster, namespace, api_group, resource, name)", nil
}
