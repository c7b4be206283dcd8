package querytest

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/ktrail/ktrail/internal/query"
)

// Lanes implements [query.Source].
func (s *Source) Lanes(ctx context.Context, r query.LanesRequest, yield func(int, query.Mark) error) (query.Warnings, error) {
	if r.Width <= 0 || r.Range.From == 0 || r.Range.To == 0 {
		return nil, errors.New("make lanes: the range is open or the width is not positive")
	}
	found, err := s.matching(ctx, r.Filter, r.Range)
	if err != nil {
		return nil, err
	}
	type place struct {
		object, class, outcome int
		bin                    int64
	}
	objects := map[query.ObjectKey]int{}
	for i, k := range r.Objects {
		objects[k] = i
	}
	marks := map[place]query.Mark{}
	for _, e := range found {
		i, ok := objects[query.ObjectKey{Cluster: e.Cluster, Namespace: e.Namespace, APIGroup: e.APIGroup, Resource: e.Resource, Name: e.Name}]
		if !ok {
			continue
		}
		class, outcome := query.ClassOf(e), query.OutcomeOf(e)
		p := place{
			object: i, bin: int64(e.Time-r.Range.From) / r.Width,
			class:   slices.IndexFunc(query.Classes(), func(c query.Case[query.Class]) bool { return c.Value == class }),
			outcome: slices.IndexFunc(query.Outcomes(), func(c query.Case[query.Outcome]) bool { return c.Value == outcome }),
		}
		m, seen := marks[p]
		if !seen {
			m = query.Mark{Bin: p.bin, Class: class, Outcome: outcome}
		}
		m.Count++
		if last := (query.Position{Time: m.Time, ID: m.ID}); !seen || comparePosition(position(e), last) > 0 {
			m.Time, m.ID = e.Time, e.ID
		}
		marks[p] = m
	}
	places := make([]place, 0, len(marks))
	for p := range marks {
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.object, b.object), cmp.Compare(a.bin, b.bin), cmp.Compare(a.class, b.class), cmp.Compare(a.outcome, b.outcome))
	})
	for _, p := range places {
		if err := ctx.Err(); err != nil {
			return s.Warn, err
		}
		if err := yield(p.object, marks[p]); err != nil {
			return s.Warn, err
		}
	}
	return s.Warn, nil
}
