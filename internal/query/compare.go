package query

import (
	"slices"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/ktrail/ktrail/audit"
)

// operand is one side of a comparison.
type operand struct {
	literal ref.Val // not nil for a constant
	column  string  // "" is the member of a list
	typ     Type    // of the column
	size    bool    // size(column)
	boolean Expr    // a condition that is more than a column
}

func (c *converter) operand(e ast.Expr, s *scope) (operand, error) {
	if c.constant(e, s, nil) {
		v, err := c.fold(e, s)
		return operand{literal: v}, err
	}
	if e.Kind() == ast.IdentKind {
		name := e.AsIdent()
		if s.find(name) != nil {
			return operand{typ: String}, nil
		}
		col := column(unhide(name))
		return operand{column: col.Name, typ: col.Type}, nil
	}
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == "size" {
		of := e.AsCall().Target()
		if !e.AsCall().IsMemberFunction() {
			of = e.AsCall().Args()[0]
		}
		o, err := c.operand(of, s)
		if err == nil && (o.literal != nil || o.size || o.boolean != nil || o.typ != String && o.typ != Strings) {
			err = c.fail(e, "size() needs a column")
		}
		o.size = true
		return o, err
	}
	if c.tree.GetType(e.ID()).String() == "bool" {
		x, err := c.boolean(e, s)
		return operand{boolean: x}, err
	}
	if e.Kind() == ast.CallKind {
		return operand{}, c.unsupported(e, e.AsCall().FunctionName())
	}
	return operand{}, c.fail(e, "a column or a constant is needed here")
}

func (c *converter) compare(e ast.Expr, op string, a, b ast.Expr, s *scope) (Expr, error) {
	left, err := c.operand(a, s)
	if err != nil {
		return nil, err
	}
	right, err := c.operand(b, s)
	if err != nil {
		return nil, err
	}
	return c.compareOperands(e, op, left, right)
}

func (c *converter) compareOperands(e ast.Expr, op string, left, right operand) (Expr, error) {
	if left.literal != nil {
		left, right, op = right, left, swapped[op]
	}
	isBool := func(o operand) bool { return o.boolean != nil || !o.size && o.literal == nil && o.typ == Bool }
	switch {
	case left.literal != nil: // both are
		return nil, c.fail(e, "constants of these types cannot be compared")
	case isBool(left) && right.literal != nil:
		return c.compareBool(e, op, left, right.literal)
	case left.boolean != nil || right.boolean != nil:
		return nil, c.fail(e, "two conditions cannot be compared; write a && b || !a && !b")
	case left.size && right.literal != nil:
		n, ok := right.literal.(types.Int)
		if !ok {
			return nil, c.fail(e, "size() is compared with a whole number")
		}
		return &Size{Column: left.column, Op: op, N: int64(n)}, nil
	case left.size || right.size:
		return nil, c.fail(e, "size() is compared with a whole number only")
	case left.typ == Strings:
		return nil, c.fail(e, "lists cannot be compared; write \"x\" in %[1]s, %[1]s.all(x, ...) or size(%[1]s) == 0", left.column)
	case right.literal != nil:
		return c.compareLiteral(e, op, left, right.literal)
	case left.typ != right.typ:
		return nil, c.fail(e, "%s and %s cannot be compared", left.typ, right.typ)
	case left.column == right.column:
		return &Const{Value: holds(0, op)}, nil
	}
	return &CompareColumns{Left: left.column, Op: op, Right: right.column}, nil
}

// compareBool tries both values, so that back ends never compare a bool.
func (c *converter) compareBool(e ast.Expr, op string, o operand, literal ref.Val) (Expr, error) {
	want, ok := literal.(types.Bool)
	if !ok {
		return nil, c.fail(e, "true or false is needed here")
	}
	x := o.boolean
	if x == nil {
		x = &Flag{Column: o.column}
	}
	ifTrue := holds(compareInts(1, bit(bool(want))), op)
	ifFalse := holds(compareInts(0, bit(bool(want))), op)
	switch {
	case ifTrue == ifFalse:
		return &Const{Value: ifTrue}, nil
	case ifTrue:
		return x, nil
	}
	return not(x), nil
}

func (c *converter) compareLiteral(e ast.Expr, op string, o operand, literal ref.Val) (Expr, error) {
	switch v := literal.(type) {
	case types.String:
		if o.typ == String {
			return &Compare{Column: o.column, Op: op, Value: string(v)}, nil
		}
	case types.Int:
		if o.typ == Int {
			return &Compare{Column: o.column, Op: op, Value: int64(v)}, nil
		}
	case types.Timestamp:
		if o.typ == Time {
			return compareTime(o.column, op, v.Time), nil
		}
	case types.Double, types.Uint:
		return nil, c.fail(e, "%s is compared with a whole number, such as 404", o.column)
	}
	return nil, c.fail(e, "%s is %s and cannot be compared with %s", o.column, aType(o.typ.String()), aType(literal.Type().TypeName()))
}

// compareTime compares with a literal that may be finer than the column's
// microseconds: then nothing equals it, and < and > mean the microsecond below.
func compareTime(name, op string, t time.Time) Expr {
	us := audit.TimeOf(t) // rounds down
	if !us.Std().Equal(t) {
		switch op {
		case "==":
			return &Const{Value: false}
		case "!=":
			return &Const{Value: true}
		case "<":
			op = "<="
		case ">=":
			op = ">"
		}
	}
	return &Compare{Column: name, Op: op, Value: us}
}

func (c *converter) in(e, item, list ast.Expr, s *scope) (Expr, error) {
	if list.Kind() == ast.IdentKind && !c.constant(list, s, nil) {
		col := column(unhide(list.AsIdent()))
		if col == nil || col.Type != Strings || s.find(list.AsIdent()) != nil {
			return nil, c.fail(e, "in needs a list")
		}
		if s.inMembers() {
			return nil, c.fail(e, "a list inside exists or all is not supported; write the two conditions beside each other")
		}
		o, err := c.operand(item, s)
		if err != nil {
			return nil, err
		}
		x, err := c.compareOperands(e, "==", operand{typ: String}, o)
		if err != nil {
			return nil, err
		}
		return &Any{Column: col.Name, X: x}, nil
	}
	var values []operand
	switch {
	case list.Kind() == ast.ListKind:
		for _, m := range list.AsList().Elements() {
			o, err := c.operand(m, s)
			if err != nil {
				return nil, err
			}
			values = append(values, o)
		}
	case c.constant(list, s, nil):
		v, err := c.fold(list, s)
		if err != nil {
			return nil, err
		}
		members, ok := listOf(v)
		if !ok {
			return nil, c.fail(e, "in needs a list")
		}
		for _, m := range members {
			values = append(values, operand{literal: m})
		}
	default:
		return nil, c.fail(e, "in needs a list of constants or a list column")
	}
	if c.nodes += len(values); c.nodes > maxFilterNodes {
		return nil, c.fail(e, "the filter has more than %d parts", maxFilterNodes)
	}
	o, err := c.operand(item, s)
	if err != nil {
		return nil, err
	}
	xs := make([]Expr, len(values))
	for i, v := range values {
		if o.literal != nil && v.literal != nil {
			xs[i] = &Const{Value: o.literal.Equal(v.literal) == types.True}
		} else if xs[i], err = c.compareOperands(e, "==", o, v); err != nil {
			return nil, err
		}
	}
	return anyOf(xs), nil
}

// anyOf is the || of comparisons; those of one column with constants become an In.
func anyOf(xs []Expr) Expr {
	var in In
	for _, x := range xs {
		c, ok := x.(*Compare)
		if !ok || len(in.Values) > 0 && c.Column != in.Column {
			return logic("||", xs...)
		}
		in.Column = c.Column
		if len(in.Values) == 0 || !slices.Contains(in.Values, c.Value) {
			in.Values = append(in.Values, c.Value)
		}
	}
	if len(in.Values) < 2 {
		return logic("||", xs[:min(1, len(xs))]...)
	}
	return &in
}

func listOf(v ref.Val) ([]ref.Val, bool) {
	l, ok := v.(interface {
		Size() ref.Val
		Get(ref.Val) ref.Val
	})
	if !ok {
		return nil, false
	}
	n, ok := l.Size().(types.Int)
	if _, isList := v.Type().(*types.Type); !ok || !isList || v.Type().TypeName() != "list" {
		return nil, false
	}
	out := make([]ref.Val, 0, n)
	for i := types.Int(0); i < n; i++ {
		out = append(out, l.Get(i))
	}
	return out, true
}
