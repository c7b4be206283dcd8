package query

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ktrail/ktrail/audit"
)

// predicate is a compiled expression; member is the member of the list inside
// an Any or All, "" elsewhere.
type predicate func(e *audit.Event, member string) bool

// compile turns a checked tree into closures, once, so that matching neither
// looks anything up nor allocates.
func compile(x Expr) func(*audit.Event) bool {
	p := compilePredicate(x)
	return func(e *audit.Event) bool { return p(e, "") }
}

func compilePredicate(x Expr) predicate {
	switch x := x.(type) {
	case *Const:
		v := x.Value
		return func(*audit.Event, string) bool { return v }
	case *Not:
		p := compilePredicate(x.X)
		return func(e *audit.Event, m string) bool { return !p(e, m) }
	case *Logic:
		return compileLogic(x)
	case *Flag:
		return asPredicate(column(x.Column).flag)
	case *Compare:
		return compileCompare(x)
	case *CompareColumns:
		return compileColumns(x)
	case *In:
		return compileIn(x)
	case *Text:
		return compileText(x)
	case *Size:
		return compileSize(x)
	case *Any:
		return compileMembers(x.Column, x.X, true)
	case *All:
		return compileMembers(x.Column, x.X, false)
	}
	panic("query: unknown node") // Expr is sealed
}

func asPredicate(get func(*audit.Event) bool) predicate {
	return func(e *audit.Event, _ string) bool { return get(e) }
}

func compileLogic(x *Logic) predicate {
	ps := make([]predicate, len(x.X))
	for i := range x.X {
		ps[i] = compilePredicate(x.X[i])
	}
	stop := x.Op == "||"
	if len(ps) == 2 {
		a, b := ps[0], ps[1]
		if stop {
			return func(e *audit.Event, m string) bool { return a(e, m) || b(e, m) }
		}
		return func(e *audit.Event, m string) bool { return a(e, m) && b(e, m) }
	}
	return func(e *audit.Event, m string) bool {
		for _, p := range ps {
			if p(e, m) == stop {
				return stop
			}
		}
		return !stop
	}
}

func compileMembers(name string, x Expr, stop bool) predicate {
	get, p := column(name).list, compilePredicate(x)
	return func(e *audit.Event, _ string) bool {
		for _, m := range get(e) {
			if p(e, m) == stop {
				return stop
			}
		}
		return !stop
	}
}

// text is how to get a string column, or the member for "".
func textOf(name string) func(*audit.Event, string) string {
	if name == "" {
		return func(_ *audit.Event, m string) string { return m }
	}
	get := column(name).text
	return func(e *audit.Event, _ string) string { return get(e) }
}

// number is how to get an int or a time column.
func numberOf(name string) func(*audit.Event) int64 {
	c := column(name)
	if c.Type == Time {
		return func(e *audit.Event) int64 { return int64(c.time(e)) }
	}
	return c.integer
}

func typeOf(name string) Type {
	if name == "" {
		return String
	}
	return column(name).Type
}

func asNumber(v any) int64 {
	if t, ok := v.(audit.Time); ok {
		return int64(t)
	}
	return v.(int64)
}

func compileCompare(x *Compare) predicate {
	op := x.Op
	if typeOf(x.Column) == String {
		get, v := textOf(x.Column), x.Value.(string)
		switch op {
		case "==":
			return func(e *audit.Event, m string) bool { return get(e, m) == v }
		case "!=":
			return func(e *audit.Event, m string) bool { return get(e, m) != v }
		}
		return func(e *audit.Event, m string) bool { return holds(strings.Compare(get(e, m), v), op) }
	}
	get, v := numberOf(x.Column), asNumber(x.Value)
	switch op {
	case "==":
		return func(e *audit.Event, _ string) bool { return get(e) == v }
	case "!=":
		return func(e *audit.Event, _ string) bool { return get(e) != v }
	case "<":
		return func(e *audit.Event, _ string) bool { return get(e) < v }
	case "<=":
		return func(e *audit.Event, _ string) bool { return get(e) <= v }
	case ">":
		return func(e *audit.Event, _ string) bool { return get(e) > v }
	default:
		return func(e *audit.Event, _ string) bool { return get(e) >= v }
	}
}

// holds reports whether a comparison's result satisfies op.
func holds(cmp int, op string) bool {
	switch op {
	case "==":
		return cmp == 0
	case "!=":
		return cmp != 0
	case "<":
		return cmp < 0
	case "<=":
		return cmp <= 0
	case ">":
		return cmp > 0
	default:
		return cmp >= 0
	}
}

func compareInts(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func compileColumns(x *CompareColumns) predicate {
	op := x.Op
	switch typeOf(x.Left) {
	case String:
		a, b := textOf(x.Left), textOf(x.Right)
		return func(e *audit.Event, m string) bool { return holds(strings.Compare(a(e, m), b(e, m)), op) }
	case Bool:
		a, b := column(x.Left).flag, column(x.Right).flag
		return func(e *audit.Event, _ string) bool { return holds(compareInts(bit(a(e)), bit(b(e))), op) }
	}
	a, b := numberOf(x.Left), numberOf(x.Right)
	return func(e *audit.Event, _ string) bool { return holds(compareInts(a(e), b(e)), op) }
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// fewValues is how long a list is searched one by one; a map is faster above.
const fewValues = 8

func compileIn(x *In) predicate {
	if typeOf(x.Column) == String {
		get := textOf(x.Column)
		values := make([]string, len(x.Values))
		set := make(map[string]struct{}, len(x.Values))
		for i, v := range x.Values {
			values[i] = v.(string)
			set[values[i]] = struct{}{}
		}
		if len(values) <= fewValues {
			return func(e *audit.Event, m string) bool { return slices.Contains(values, get(e, m)) }
		}
		return func(e *audit.Event, m string) bool { _, ok := set[get(e, m)]; return ok }
	}
	get := numberOf(x.Column)
	set := make(map[int64]struct{}, len(x.Values))
	for _, v := range x.Values {
		set[asNumber(v)] = struct{}{}
	}
	return func(e *audit.Event, _ string) bool { _, ok := set[get(e)]; return ok }
}

func compileText(x *Text) predicate {
	get, arg := textOf(x.Column), x.Arg
	switch x.Func {
	case "startsWith":
		return func(e *audit.Event, m string) bool { return strings.HasPrefix(get(e, m), arg) }
	case "endsWith":
		return func(e *audit.Event, m string) bool { return strings.HasSuffix(get(e, m), arg) }
	case "contains":
		return func(e *audit.Event, m string) bool { return strings.Contains(get(e, m), arg) }
	}
	re := regexp.MustCompile(arg) // Parse has compiled it before
	return func(e *audit.Event, m string) bool { return re.MatchString(get(e, m)) }
}

func compileSize(x *Size) predicate {
	op, n := x.Op, x.N
	if typeOf(x.Column) == Strings {
		get := column(x.Column).list
		return func(e *audit.Event, _ string) bool { return holds(compareInts(int64(len(get(e))), n), op) }
	}
	get := textOf(x.Column)
	return func(e *audit.Event, m string) bool {
		return holds(compareInts(int64(utf8.RuneCountInString(get(e, m))), n), op)
	}
}
