package query

// Conjuncts are filters that are all true of the events that f is true of, and
// no others: the operands of f's outermost &&, in order. A filter that is true of
// all events has none.
func (f *Filter) Conjuncts() []*Filter {
	if f == nil {
		return nil
	}
	parts := []Expr{f.expr}
	switch x := f.expr.(type) {
	case *Const:
		if x.Value {
			return nil
		}
	case *Logic:
		if x.Op == "&&" {
			parts = x.X
		}
	}
	out := make([]*Filter, len(parts))
	for i, x := range parts {
		out[i] = &Filter{expr: x, match: compile(x), uses: map[string]bool{}}
		mentions(x, out[i].uses)
	}
	return out
}

// mentions adds the columns of x.
func mentions(x Expr, to map[string]bool) {
	switch x := x.(type) {
	case *Not:
		mentions(x.X, to)
	case *Logic:
		for _, part := range x.X {
			mentions(part, to)
		}
	case *Flag:
		to[x.Column] = true
	case *Compare:
		to[x.Column] = true
	case *CompareColumns:
		to[x.Left], to[x.Right] = true, true
	case *In:
		to[x.Column] = true
	case *Text:
		to[x.Column] = true
	case *Size:
		to[x.Column] = true
	case *Any:
		to[x.Column] = true
	case *All:
		to[x.Column] = true
	}
}
