package query

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// The limits of the tree and the lanes.
const (
	defaultNodes = 200
	maxNodes     = 5000
	defaultLanes = 200
	maxLanes     = 5000
	defaultBins  = 600
	maxBins      = 4000
	// maxMarks is how many marks an answer has; then it is a page. They are about
	// 60 bytes each.
	maxMarks = 1 << 18
)

// objectLevels are the columns that each level of the tree adds.
var objectLevels = [][]string{{"cluster"}, {"namespace"}, {"api_group", "resource"}, {"name"}}

// under is true of events below the first depth levels of k. Requests for no
// object, such as /healthz, are below none.
func (k ObjectKey) under(depth int) (*Filter, error) {
	text := `resource != ""`
	for _, part := range []string{
		" && cluster == " + Quote(k.Cluster),
		" && namespace == " + Quote(k.Namespace),
		" && api_group == " + Quote(k.APIGroup) + " && resource == " + Quote(k.Resource),
	}[:depth] {
		text += part
	}
	return Parse(text)
}

// Objects implements [Questions].
func (g *Engine) Objects(ctx context.Context, q ObjectsQuestion) (ObjectsAnswer, error) {
	scope, err := scoped(q.Scope)
	if err != nil {
		return ObjectsAnswer{}, err
	}
	n, err := limit(q.Limit, defaultNodes, maxNodes)
	if err != nil {
		return ObjectsAnswer{}, err
	}
	f, err := underScope(q.Under, q.Depth, scope)
	if err != nil {
		return ObjectsAnswer{}, err
	}
	if err := checkContains(q.Contains); err != nil {
		return ObjectsAnswer{}, err
	}
	answer := ObjectsAnswer{Filter: f.String(), Nodes: []ObjectNode{}}
	rows, warnings, err := g.src.Group(ctx, GroupRequest{
		Filter: f, Range: q.Range, By: objectLevels[q.Depth], Limit: n + 1, Contains: q.Contains, Writes: true,
	})
	if err != nil {
		return ObjectsAnswer{}, err
	}
	if answer.Warnings = warnings; len(rows) > n {
		rows, answer.More = rows[:n], true
	}
	for _, r := range rows {
		key := q.Under.cut(q.Depth)
		switch q.Depth {
		case 0:
			key.Cluster = r.Keys[0]
		case 1:
			key.Namespace = r.Keys[0]
		case 2:
			key.APIGroup, key.Resource = r.Keys[0], r.Keys[1]
		default:
			key.Name = r.Keys[0]
		}
		answer.Nodes = append(answer.Nodes, ObjectNode{Key: key, Count: r.Count, Writes: r.Writes, Failed: r.Failed, First: r.First, Last: r.Last})
	}
	return answer, nil
}

// cut is k without what is below its first depth levels.
func (k ObjectKey) cut(depth int) ObjectKey {
	switch depth {
	case 0:
		return ObjectKey{}
	case 1:
		return ObjectKey{Cluster: k.Cluster}
	case 2:
		return ObjectKey{Cluster: k.Cluster, Namespace: k.Namespace}
	}
	k.Name = ""
	return k
}

func underScope(k ObjectKey, depth int, scope *Filter) (*Filter, error) {
	if depth < 0 || depth >= len(objectLevels) {
		return nil, usagef("depth %d is not between 0 and %d", depth, len(objectLevels)-1)
	}
	f, err := k.under(depth)
	if err != nil {
		return nil, err
	}
	return And(f, scope), nil
}

// errFull ends the reading of marks when the answer has enough.
var errFull = errors.New("full")

// Lanes implements [Questions].
func (g *Engine) Lanes(ctx context.Context, q LanesQuestion) (LanesAnswer, error) {
	page, err := parseLanesCursor(q.Cursor)
	if err != nil {
		return LanesAnswer{}, err
	}
	if q.Cursor != "" {
		q.Range = page.Range
	}
	scope, err := scopedAt(q.Scope, page.Asked.Std())
	if err != nil {
		return LanesAnswer{}, err
	}
	n, err := limit(q.Limit, defaultLanes, maxLanes)
	if err != nil {
		return LanesAnswer{}, err
	}
	bins, err := limit(q.Bins, defaultBins, maxBins)
	if err != nil {
		return LanesAnswer{}, err
	}
	f, err := underScope(q.Under, q.Depth, scope)
	if err != nil {
		return LanesAnswer{}, err
	}
	answer := LanesAnswer{Filter: f.String(), Range: q.Range, Lanes: []Lane{}}
	r, warnings, err := g.closed(ctx, f, q.Range)
	if err != nil {
		return LanesAnswer{}, err
	}
	answer.Warnings = warnings
	if r.From == 0 {
		answer.Warnings = append(answer.Warnings, Warning{Text: "no event has a time: there is no ruler to put them on"})
	}
	if r.From == 0 || r.From >= r.To {
		return answer, nil
	}
	answer.Range = r
	answer.WidthUS = (int64(r.To-r.From) + int64(bins) - 1) / int64(bins)
	keys, more, warnings, err := g.laneKeys(ctx, q, GroupRequest{
		Filter: f, Range: r, By: slices.Concat(objectLevels...), Skip: page.Skip, Limit: n + 1, CountOnly: true, WritesFirst: true,
	})
	if err != nil {
		return LanesAnswer{}, err
	}
	answer.Warnings = joinWarnings(answer.Warnings, warnings)
	answer.Lanes = make([]Lane, len(keys))
	for i, k := range keys {
		answer.Lanes[i] = Lane{Key: k, Marks: []Mark{}}
	}
	if len(keys) == 0 {
		return answer, nil
	}
	if warnings, err = g.marks(ctx, f, q.Filter == "", keys, &answer); err != nil {
		return LanesAnswer{}, err
	}
	full := len(answer.Lanes)
	if more || full < len(keys) {
		page.Skip += full
		page.Range = r
		answer.Next = page.String()
	}
	answer.Warnings = joinWarnings(answer.Warnings, warnings)
	return answer, nil
}

// deletingCollections is true of requests that may have deleted objects they do not name.
var deletingCollections = sync.OnceValue(func() *Filter { return fixed(`final && verb == "deletecollection" && name == ""`) })

// marks fills the lanes of an answer and tells what may have ended them. Where
// there is no filter but the range and the place, so together is true, both are
// read at once.
func (g *Engine) marks(ctx context.Context, f *Filter, together bool, keys []ObjectKey, a *LanesAnswer) (Warnings, error) {
	kinds, objects := kindsOf(keys), keys
	if together {
		objects = append(slices.Clone(keys), slices.DeleteFunc(slices.Clone(kinds), func(k ObjectKey) bool { return slices.Contains(keys, k) })...)
	}
	removed := map[ObjectKey][]Mark{}
	remove := func(k ObjectKey, m Mark) {
		if k.Name == "" && m.Class == ClassDelete && m.Outcome == OutcomeOK {
			removed[k] = append(removed[k], m)
		}
	}
	marks, full := 0, len(keys)
	warnings, err := g.src.Lanes(ctx, LanesRequest{Filter: f, Range: a.Range, Objects: objects, Width: a.WidthUS}, func(i int, m Mark) error {
		if together {
			remove(objects[i], m)
		}
		if i >= len(keys) {
			return nil
		}
		if marks >= maxMarks && len(a.Lanes[i].Marks) == 0 {
			full = i
			return errFull
		}
		marks++
		a.Lanes[i].Marks = append(a.Lanes[i].Marks, m)
		return nil
	})
	if err != nil && !errors.Is(err, errFull) {
		return nil, err
	}
	a.Lanes = a.Lanes[:full]
	if !together || full < len(keys) {
		clear(removed)
		w, err := g.src.Lanes(ctx, LanesRequest{Filter: deletingCollections(), Range: a.Range, Objects: kinds, Width: a.WidthUS}, func(i int, m Mark) error {
			remove(kinds[i], m)
			return nil
		})
		if err != nil {
			return nil, err
		}
		warnings = joinWarnings(warnings, w)
	}
	for _, k := range kinds {
		if marks := removed[k]; len(marks) > 0 {
			a.Collections = append(a.Collections, Lane{Key: k, Marks: marks})
		}
	}
	return warnings, nil
}

// kindsOf are the kinds of objects that have a name, as keys without one.
func kindsOf(objects []ObjectKey) []ObjectKey {
	var kinds []ObjectKey
	seen := map[ObjectKey]bool{}
	for _, k := range objects {
		named := k.Name != ""
		if k.Name = ""; named && !seen[k] {
			seen[k] = true
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// laneKeys are the objects of a page, and whether there are more.
func (g *Engine) laneKeys(ctx context.Context, q LanesQuestion, r GroupRequest) (keys []ObjectKey, more bool, _ Warnings, _ error) {
	if len(q.Objects) > 0 {
		if len(q.Objects) > maxLanes {
			return nil, false, nil, usagef("%d objects are named, more than %d", len(q.Objects), maxLanes)
		}
		seen := map[ObjectKey]bool{}
		for _, k := range q.Objects {
			if !seen[k] {
				seen[k] = true
				keys = append(keys, k)
			}
		}
		keys = keys[min(r.Skip, len(keys)):]
		if more = len(keys) >= r.Limit; more {
			keys = keys[:r.Limit-1]
		}
		return keys, more, nil, nil
	}
	// Most pages are of objects that were written: they are found among the writes,
	// which are few, in the order that WritesFirst means.
	writes := r
	writes.Filter, writes.WritesFirst = And(r.Filter, Writes()), false
	rows, warnings, err := g.src.Group(ctx, writes)
	if err == nil && len(rows) < r.Limit {
		var w Warnings
		rows, w, err = g.src.Group(ctx, r)
		warnings = joinWarnings(warnings, w)
	}
	if err != nil {
		return nil, false, nil, err
	}
	if more = len(rows) >= r.Limit; more {
		rows = rows[:r.Limit-1]
	}
	for _, row := range rows {
		k := row.Keys
		keys = append(keys, ObjectKey{Cluster: k[0], Namespace: k[1], APIGroup: k[2], Resource: k[3], Name: k[4]})
	}
	return keys, more, warnings, nil
}

// lanesPage is what a cursor of lanes says, as JSON in base64url: how many rows
// were shown, the range, so that all pages have the same bins, and what now means.
type lanesPage struct {
	Skip  int        `json:"skip"`
	Range Range      `json:"range"`
	Asked audit.Time `json:"asked"`
}

func (p lanesPage) String() string {
	text, err := json.Marshal(p)
	if err != nil {
		return "" // cannot be: numbers only
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func parseLanesCursor(s string) (p lanesPage, err error) {
	if s == "" {
		return lanesPage{Asked: audit.TimeOf(time.Now())}, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil || p.Skip < 0 || p.Range.From >= p.Range.To {
		return lanesPage{}, usagef("cursor %s is damaged; use the next of an answer as it is, or leave it out to begin anew", quoteShort(s))
	}
	return p, nil
}
