package query

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The limits of facets.
const (
	maxFacets       = 16
	defaultFacet    = 10
	maxFacet        = 1000
	maxFacetChosen  = 200 // values of one condition
	maxContains     = 256 // bytes
	conditionsLimit = 32
)

// Facets implements [Questions]. Rows have a Count, and nothing else: the rest
// would cost several times as much.
func (g *Engine) Facets(ctx context.Context, q FacetsQuestion) (FacetsAnswer, error) {
	scope, err := parsedScope(q.Scope, time.Now())
	if err != nil {
		return FacetsAnswer{}, err
	}
	n, err := q.validate()
	if err != nil {
		return FacetsAnswer{}, err
	}
	q.Conditions = merged(q.Conditions)
	chosen := make([]*Filter, len(q.Conditions))
	for i, c := range q.Conditions {
		if chosen[i], err = c.filter(); err != nil {
			return FacetsAnswer{}, err
		}
	}
	// Whether requests or stages are counted is the same in all facets.
	except := func(column string) *Filter {
		fs := []*Filter{scope}
		for i, c := range q.Conditions {
			if c.Column != column {
				fs = append(fs, chosen[i])
			}
		}
		return And(fs...)
	}
	whole := except("")
	final := WithFinal(whole) != whole
	counted := func(f *Filter) *Filter {
		if final {
			return And(onlyFinal(), f)
		}
		return f
	}
	answer := FacetsAnswer{Filter: counted(whole).String(), Facets: make([]Facet, len(q.Columns))}
	rows := make([][]GroupRow, len(q.Columns))
	var total []GroupRow
	tasks := []groupTask{{GroupRequest{Filter: counted(whole), Range: q.Range, CountOnly: true}, &total}}
	for i, c := range q.Columns {
		tasks = append(tasks, groupTask{GroupRequest{
			Filter: counted(except(c)), Range: q.Range, By: []string{c}, Limit: n + 1, Contains: q.Contains, CountOnly: true,
		}, &rows[i]})
	}
	if answer.Warnings, err = g.groups(ctx, tasks...); err != nil {
		return FacetsAnswer{}, err
	}
	if len(total) > 0 {
		answer.Total = total[0].Count
	}
	// What was chosen is shown however few events have it.
	rare := make([][]GroupRow, len(q.Columns))
	tasks = nil
	for i, column := range q.Columns {
		f := Facet{Column: column, Rows: notNil(rows[i])}
		if len(f.Rows) > n {
			f.Rows, f.More = f.Rows[:n], true
		}
		answer.Facets[i] = f
		if missing := q.missing(f); len(missing) > 0 {
			only, err := FacetCondition{Column: column, Include: missing}.filter()
			if err != nil {
				return FacetsAnswer{}, err
			}
			tasks = append(tasks, groupTask{GroupRequest{
				Filter: counted(And(except(column), only)), Range: q.Range, By: []string{column}, CountOnly: true,
			}, &rare[i]})
		}
	}
	warnings, err := g.groups(ctx, tasks...)
	if err != nil {
		return FacetsAnswer{}, err
	}
	answer.Warnings = joinWarnings(answer.Warnings, warnings)
	for i := range answer.Facets {
		f := &answer.Facets[i]
		missing := q.missing(*f)
		for _, r := range rare[i] { // a list's other members are there too
			if slices.Contains(missing, r.Keys[0]) {
				f.Rows = append(f.Rows, r)
			}
		}
	}
	return answer, nil
}

// merged has one condition a column, ordered by name: the filter that they become
// is the same however they were given.
func merged(conditions []FacetCondition) []FacetCondition {
	var out []FacetCondition
	for _, c := range slices.SortedStableFunc(slices.Values(conditions), func(a, b FacetCondition) int { return strings.Compare(a.Column, b.Column) }) {
		if n := len(out); n > 0 && out[n-1].Column == c.Column {
			out[n-1].Include = slices.Concat(out[n-1].Include, c.Include)
			out[n-1].Exclude = slices.Concat(out[n-1].Exclude, c.Exclude)
		} else {
			out = append(out, c)
		}
	}
	return out
}

// validate gives the number of values a column.
func (q *FacetsQuestion) validate() (int, error) {
	if len(q.Columns) == 0 || len(q.Columns) > maxFacets {
		return 0, usagef("facets needs 1 to %d columns, such as user or verb", maxFacets)
	}
	for i, name := range q.Columns {
		if err := facetColumn(name); err != nil {
			return 0, err
		}
		if slices.Contains(q.Columns[:i], name) {
			return 0, usagef("column %s is given twice", name)
		}
	}
	if len(q.Conditions) > conditionsLimit {
		return 0, usagef("more than %d conditions; write a filter", conditionsLimit)
	}
	if err := checkContains(q.Contains); err != nil {
		return 0, err
	}
	return limit(q.Limit, defaultFacet, maxFacet)
}

func checkContains(s string) error {
	if len(s) > maxContains {
		return usagef("the text to look for is %d bytes long, more than %d", len(s), maxContains)
	}
	return nil
}

// facetColumn refuses columns whose values say nothing in a list.
func facetColumn(name string) error {
	c, err := LookupColumn(name)
	switch {
	case err != nil:
		return err
	case !c.Filterable || c.Type == Time || name == "id":
		return usagef("%s has no facet: nearly every event has its own", name)
	}
	return nil
}

// missing is what was included in a facet's column and is not among its rows.
func (q *FacetsQuestion) missing(f Facet) []string {
	var out []string
	for _, c := range q.Conditions {
		if c.Column != f.Column {
			continue
		}
		for _, v := range append(slices.Clone(c.Include), c.Exclude...) {
			if !slices.Contains(out, v) && !slices.ContainsFunc(f.Rows, func(r GroupRow) bool { return r.Keys[0] == v }) {
				out = append(out, v)
			}
		}
	}
	return out
}

// CEL is the condition as a filter, "" if nothing was chosen.
func (c FacetCondition) CEL() (string, error) {
	if err := facetColumn(c.Column); err != nil {
		return "", err
	}
	if len(c.Include)+len(c.Exclude) > maxFacetChosen {
		return "", usagef("more than %d values of %s are chosen; write a filter", maxFacetChosen, c.Column)
	}
	var parts []string
	include, err := c.either(c.Include, false)
	if err == nil && include != "" {
		parts = append(parts, include)
	}
	exclude, err2 := c.either(c.Exclude, true)
	if err == nil {
		err = err2
	}
	if exclude != "" {
		parts = append(parts, exclude)
	}
	return strings.Join(parts, " && "), err
}

// either is true of events that have one of the values, or none of them.
func (c FacetCondition) either(values []string, not bool) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	col := column(c.Column)
	texts := make([]string, len(values))
	for i, v := range values {
		switch col.Type {
		case Int:
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return "", usagef("%s %s is no number", c.Column, quoteShort(v))
			}
			texts[i] = strconv.FormatInt(n, 10)
		case Bool:
			switch v {
			case "true":
				texts[i] = c.Column
			case "false":
				texts[i] = "!" + c.Column
			default:
				return "", usagef("%s %s is neither true nor false", c.Column, quoteShort(v))
			}
		case Strings:
			texts[i] = Quote(v) + " in " + c.Column
		default:
			texts[i] = Quote(v)
		}
	}
	if col.Type == Bool || col.Type == Strings {
		s := strings.Join(texts, " || ")
		switch {
		case not:
			return "!(" + s + ")", nil
		case len(texts) > 1:
			return "(" + s + ")", nil
		}
		return s, nil
	}
	switch {
	case len(texts) > 1 && not:
		return "!(" + c.Column + " in [" + strings.Join(texts, ", ") + "])", nil
	case len(texts) > 1:
		return c.Column + " in [" + strings.Join(texts, ", ") + "]", nil
	case not:
		return c.Column + " != " + texts[0], nil
	}
	return c.Column + " == " + texts[0], nil
}

func (c FacetCondition) filter() (*Filter, error) {
	text, err := c.CEL()
	if err != nil {
		return nil, err
	}
	return Parse(text)
}
