package store

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// laneMark is a mark with the places of its object, class and outcome.
type laneMark struct {
	object, kind int32 // kind: class times the number of outcomes, and outcome
	count        int64
	bin          int64
	time         audit.Time
	id           int64
}

// laneMarkBytes is what a mark takes: it is appended to others, whose memory grows twofold.
const laneMarkBytes = 2 * 48

// laneScan finds the marks of a question without the engine.
type laneScan struct {
	query.LanesRequest
	classes  []query.Case[query.Class]
	outcomes []query.Case[query.Outcome]
	kinds    []string // the columns that tell class and outcome, but for the URI
	places   map[query.ObjectKey]int32
	dry      *dryRuns
	names    map[string]bool

	mu    sync.Mutex
	marks [][]laneMark // by object
}

// objectColumns name an object.
var objectColumns = []string{"cluster", "namespace", "api_group", "resource", "name"}

// scanLanes gives the marks of each object in order.
func (s *Store) scanLanes(ctx context.Context, segments []*segment, r query.LanesRequest, classes []query.Case[query.Class], outcomes []query.Case[query.Outcome]) ([][]laneMark, error) {
	conditions, ok := conditionsOf(r.Filter)
	if !ok {
		return nil, errEngine
	}
	l := laneScan{LanesRequest: r, dry: &s.dry, marks: make([][]laneMark, len(r.Objects)), classes: classes, outcomes: outcomes, places: map[query.ObjectKey]int32{}, names: map[string]bool{}}
	for i, k := range r.Objects {
		l.places[k], l.names[k.Name] = int32(i), true
	}
	var of sums
	for _, c := range classes {
		of.need(usedBy(c.When)...)
	}
	for _, c := range outcomes {
		of.need(usedBy(c.When)...)
	}
	// URIs are not read with the others: whether they say dryRun is remembered.
	l.kinds = slices.DeleteFunc(of.columns, func(name string) bool { return name == "uri" })
	if !haveCodes(l.kinds) {
		return nil, errEngine
	}
	// Most events are of other objects, as their names or kinds alone tell.
	kindsOf := map[query.ObjectKey]bool{}
	for _, k := range r.Objects {
		k.Name = ""
		kindsOf[k] = true
	}
	conditions = append(conditions,
		condition{objectColumns[4:], func(e *audit.Event) bool { return l.names[e.Name] }},
		condition{objectColumns[:4], func(e *audit.Event) bool {
			return kindsOf[query.ObjectKey{Cluster: e.Cluster, Namespace: e.Namespace, APIGroup: e.APIGroup, Resource: e.Resource}]
		}})
	if err := s.scanMatching(ctx, segments, r.Range, conditions, l.mark); err != nil {
		return nil, err
	}
	return l.merged(), nil
}

// mark makes marks of a row group's matching rows.
func (l *laneScan) mark(w *scanner, left *atomic.Int64) error {
	few, err := w.few(objectColumns[4])
	if err != nil {
		return err
	}
	codes, n, err := w.fold(append(slices.Clone(objectColumns[:4]), few))
	if err != nil {
		return err
	}
	const unknown, other = -2, -1
	places := make([]int32, n)
	for i := range places {
		places[i] = unknown
	}
	objects := make([]int32, 0, len(w.rows)) // of the rows that are kept
	kept := w.rows[:0]
	for i, row := range w.rows {
		p := &places[codes[i]]
		if *p == unknown {
			w.set(objectColumns, row)
			e := &w.event
			*p = other
			if k, ok := l.places[query.ObjectKey{Cluster: e.Cluster, Namespace: e.Namespace, APIGroup: e.APIGroup, Resource: e.Resource, Name: e.Name}]; ok {
				*p = k
			}
		}
		if *p >= 0 {
			objects, kept = append(objects, *p), append(kept, row)
		}
	}
	if w.rows = kept; len(kept) == 0 {
		return nil
	}
	kinds, err := l.kindsOf(w)
	if err != nil {
		return err
	}
	times, err := w.ints("time")
	if err != nil {
		return err
	}
	ids, err := w.ints("id")
	if err != nil {
		return err
	}
	marks := make([]laneMark, 0, len(kept)/2)
	// The last mark of each object and kind, plus one: rows are in order of time,
	// and then of ID.
	open := make([]int32, len(l.Objects)*len(l.classes)*len(l.outcomes))
	for i, row := range kept {
		at := times[row] - int64(l.Range.From)
		bin := at / l.Width
		last := &open[int(objects[i])*len(l.classes)*len(l.outcomes)+int(kinds[i])]
		if *last == 0 || marks[*last-1].bin != bin {
			marks = append(marks, laneMark{object: objects[i], kind: kinds[i], bin: bin})
			*last = int32(len(marks))
		}
		m := &marks[*last-1]
		m.count++
		m.time, m.id = audit.Time(times[row]), ids[row]
	}
	if left.Add(-laneMarkBytes*int64(len(marks))) < 0 {
		return errEngine
	}
	l.mu.Lock()
	for _, m := range marks {
		l.marks[m.object] = append(l.marks[m.object], m)
	}
	l.mu.Unlock()
	return nil
}

// kindsOf are the kinds of the scanner's rows.
func (l *laneScan) kindsOf(w *scanner) ([]int32, error) {
	codes, n, err := w.fold(l.kinds)
	if err != nil {
		return nil, err
	}
	type kind struct{ known, dry, wet int32 }
	of := make([]kind, n)
	kinds := make([]int32, len(w.rows))
	type doubt struct {
		at  int   // in w.rows
		dry int32 // its kind if it is a dry run
	}
	var undecided []doubt
	for i, row := range w.rows {
		k := &of[codes[i]]
		if k.known == 0 {
			w.set(l.kinds, row)
			tell := func(uri string) int32 {
				w.event.URI = uri
				return int32(caseOf(l.classes, &w.event)*len(l.outcomes) + caseOf(l.outcomes, &w.event))
			}
			*k = kind{1, tell(dryURI), tell("")}
		}
		if kinds[i] = k.wet; k.wet != k.dry {
			undecided = append(undecided, doubt{i, k.dry})
		}
	}
	if len(undecided) == 0 {
		return kinds, nil
	}
	dry, err := l.dry.of(w)
	if err != nil || len(dry) == 0 {
		return kinds, err
	}
	for _, d := range undecided {
		if row := w.rows[d.at]; dry[row/8]>>(row%8)&1 != 0 {
			kinds[d.at] = d.dry
		}
	}
	return kinds, nil
}

// dryURI is a URI that query.DryRun is true of. The classes ask nothing else of
// URIs: a test holds it.
const dryURI = "/?dryRun=All"

// caseOf is the place of the first case that applies; if none does, of the last.
func caseOf[T ~string](cases []query.Case[T], e *audit.Event) int {
	for i, c := range cases {
		if c.When.Match(e) {
			return i
		}
	}
	return len(cases) - 1
}

// few makes a column of the values that the matching rows have in another, so
// that there are few of them, and gives its name.
func (w *scanner) few(name string) (string, error) {
	c, err := w.column(name)
	if err != nil {
		return "", err
	}
	number := make([]int32, c.n) // 1 + the value's
	to := &coded{codes: slices.Grow(w.codes(), len(c.codes))[:len(c.codes)]}
	for _, row := range w.rows {
		k := &number[c.codes[row]]
		if *k == 0 {
			to.n++
			*k = int32(to.n)
		}
		to.codes[row] = *k - 1
	}
	w.coded["few of "+name] = to
	return "few of " + name, nil
}

// merged puts the marks of each object in order: a bin may be in several row groups.
func (l *laneScan) merged() [][]laneMark {
	for i, marks := range l.marks {
		slices.SortFunc(marks, func(a, b laneMark) int {
			return cmp.Or(cmp.Compare(a.bin, b.bin), cmp.Compare(a.kind, b.kind))
		})
		all := marks[:0]
		for _, m := range marks {
			if k := len(all) - 1; k >= 0 && all[k].bin == m.bin && all[k].kind == m.kind {
				last := &all[k]
				last.count += m.count
				if m.time > last.time || m.time == last.time && m.id > last.id {
					last.time, last.id = m.time, m.id
				}
				continue
			}
			all = append(all, m)
		}
		l.marks[i] = all
	}
	return l.marks
}
