package query

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/ktrail/ktrail/audit"
)

const (
	opOr      = operators.LogicalOr
	opTernary = operators.Conditional
)

// comparisons are CEL's comparing functions as operators of [Expr].
var comparisons = map[string]string{
	operators.Equals: "==", operators.NotEquals: "!=",
	operators.Less: "<", operators.LessEquals: "<=",
	operators.Greater: ">", operators.GreaterEquals: ">=",
}

// swapped is op with its sides exchanged.
var swapped = map[string]string{"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

// converter turns a checked CEL tree into an [Expr], or says what cannot be.
type converter struct {
	text  string
	env   *cel.Env
	tree  *ast.AST
	now   time.Time
	uses  map[string]bool
	nodes int
	// pattern is the size of all patterns.
	pattern int
}

// scope is a variable of exists or all: the member of a list column, or, when a
// literal list is unrolled, a value.
type scope struct {
	name  string
	value ref.Val // nil for the member of a list column
	outer *scope
}

func (s *scope) find(name string) *scope {
	for ; s != nil; s = s.outer {
		if s.name == name {
			return s
		}
	}
	return nil
}

// inMembers reports whether s is inside an Any or All.
func (s *scope) inMembers() bool {
	for ; s != nil; s = s.outer {
		if s.value == nil {
			return true
		}
	}
	return false
}

func (c *converter) fail(e ast.Expr, format string, args ...any) *FilterError {
	return newFilterError(c.text, c.tree, e.ID(), fmt.Sprintf(format, args...))
}

// mentioned notes the columns that the text names, whatever folding leaves of them.
func (c *converter) mentioned(root ast.Expr) {
	ast.PreOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.IdentKind {
			if name := unhide(e.AsIdent()); column(name) != nil {
				c.uses[name] = true
			}
		}
	}))
}

// constant reports whether e needs no event. bound are the variables of
// comprehensions inside e.
func (c *converter) constant(e ast.Expr, s *scope, bound []string) bool {
	switch e.Kind() {
	case ast.LiteralKind:
		return true
	case ast.IdentKind:
		name := e.AsIdent()
		if slices.Contains(bound, name) {
			return true
		}
		if v := s.find(name); v != nil {
			return v.value != nil
		}
		return column(unhide(name)) == nil
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() && !c.constant(call.Target(), s, bound) {
			return false
		}
		return !slices.ContainsFunc(call.Args(), func(a ast.Expr) bool { return !c.constant(a, s, bound) })
	case ast.ListKind:
		return !slices.ContainsFunc(e.AsList().Elements(), func(a ast.Expr) bool { return !c.constant(a, s, bound) })
	case ast.SelectKind:
		return c.constant(e.AsSelect().Operand(), s, bound)
	case ast.ComprehensionKind:
		x := e.AsComprehension()
		inner := append(slices.Clone(bound), x.IterVar(), x.AccuVar())
		return c.constant(x.IterRange(), s, bound) && c.constant(x.AccuInit(), s, bound) &&
			c.constant(x.LoopCondition(), s, inner) && c.constant(x.LoopStep(), s, inner) && c.constant(x.Result(), s, inner)
	}
	return false // maps and messages: refused where they are used
}

// fold evaluates what is constant.
func (c *converter) fold(e ast.Expr, s *scope) (ref.Val, error) {
	if e.Kind() == ast.LiteralKind {
		return e.AsLiteral(), nil
	}
	part := ast.NewCheckedAST(ast.NewAST(e, c.tree.SourceInfo()), c.tree.TypeMap(), c.tree.ReferenceMap())
	program, err := c.env.PlanProgram(part, cel.CostLimit(maxFoldCost))
	if err != nil {
		return nil, c.fail(e, "%s", oneLine(err.Error()))
	}
	vars := map[string]any{"now": c.now}
	for ; s != nil; s = s.outer {
		if _, ok := vars[s.name]; !ok && s.value != nil {
			vars[s.name] = s.value
		}
	}
	v, _, err := program.Eval(vars)
	if err != nil {
		return nil, c.fail(e, "%s", oneLine(err.Error()))
	}
	return v, nil
}

// boolean converts an expression of type bool.
func (c *converter) boolean(e ast.Expr, s *scope) (Expr, error) {
	if c.nodes++; c.nodes > maxFilterNodes {
		return nil, c.fail(e, "the filter has more than %d parts", maxFilterNodes)
	}
	if c.constant(e, s, nil) {
		v, err := c.fold(e, s)
		if err != nil {
			return nil, err
		}
		b, ok := v.(types.Bool)
		if !ok {
			return nil, c.fail(e, "true or false is needed here")
		}
		return &Const{Value: bool(b)}, nil
	}
	switch e.Kind() {
	case ast.IdentKind:
		if col := column(unhide(e.AsIdent())); col != nil && col.Type == Bool {
			return &Flag{Column: col.Name}, nil
		}
	case ast.CallKind:
		return c.call(e, s)
	case ast.ComprehensionKind:
		return c.quantifier(e, s)
	case ast.SelectKind:
		return nil, c.fail(e, "has() and fields are not supported: a column that the event does not have is empty; compare it with \"\"")
	}
	return nil, c.fail(e, "true or false is needed here")
}

func (c *converter) call(e ast.Expr, s *scope) (Expr, error) {
	call := e.AsCall()
	name, args := call.FunctionName(), call.Args()
	if op, ok := comparisons[name]; ok {
		return c.compare(e, op, args[0], args[1], s)
	}
	switch name {
	case operators.LogicalAnd, operators.LogicalOr:
		op := "&&"
		if name == operators.LogicalOr {
			op = "||"
		}
		xs := make([]Expr, len(args))
		for i, a := range args {
			x, err := c.boolean(a, s)
			if err != nil {
				return nil, err
			}
			xs[i] = x
		}
		return logic(op, xs...), nil
	case operators.LogicalNot:
		x, err := c.boolean(args[0], s)
		if err != nil {
			return nil, err
		}
		return not(x), nil
	case operators.In:
		return c.in(e, args[0], args[1], s)
	case "startsWith", "endsWith", "contains", "matches":
		if call.IsMemberFunction() {
			args = append([]ast.Expr{call.Target()}, args...)
		}
		return c.textCall(name, args[0], args[1], s)
	case operators.Conditional:
		return nil, c.fail(e, "a ? b : c is not supported; write a && b || !a && c")
	}
	return nil, c.unsupported(e, name)
}

// unsupported says what to write instead of a function that CEL has and filters do not.
func (c *converter) unsupported(e ast.Expr, name string) error {
	switch name {
	case operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo, operators.Negate:
		return c.fail(e, "a column cannot be computed with; move the arithmetic to the constant's side, as in time > now - duration(\"1h\"); latency_us has the time that a request took")
	case operators.Index, operators.OptIndex:
		return c.fail(e, "members of a list have no index here; write \"x\" in groups or groups.exists(g, g.startsWith(\"x\"))")
	case "string", "int", "uint", "double", "dyn", "bytes", "type", "bool":
		return c.fail(e, "%s() of a column is not supported; compare the column as it is", name)
	case "timestamp", "duration":
		return c.fail(e, "%s() needs a text, not a column", name)
	}
	return c.fail(e, "%s of a column is not supported; filters have == != < <= > >= in && || ! startsWith endsWith contains matches size exists all", unhide(name))
}

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

func (c *converter) textCall(name string, target, arg ast.Expr, s *scope) (Expr, error) {
	o, err := c.operand(target, s)
	if err != nil {
		return nil, err
	}
	if o.literal != nil || o.typ != String || o.size {
		return nil, c.fail(target, "%s needs a string column before it", name)
	}
	if !c.constant(arg, s, nil) {
		return nil, c.fail(arg, "%s needs a constant text, not a column", name)
	}
	v, err := c.fold(arg, s)
	if err != nil {
		return nil, err
	}
	text, ok := v.(types.String)
	if !ok {
		return nil, c.fail(arg, "%s needs a text in quotes", name)
	}
	if name == "matches" {
		size, err := checkPattern(string(text))
		if err != nil {
			return nil, c.fail(arg, "%s", oneLine(err.Error()))
		}
		if c.pattern += size; c.pattern > maxPattern {
			return nil, c.fail(arg, "the patterns are too large: their repetitions make %d characters, more than %d", c.pattern, maxPattern)
		}
	}
	return &Text{Column: o.column, Func: name, Arg: string(text)}, nil
}

// maxPattern is the most that a filter's patterns may become when their
// repetitions are written out, in characters and ranges. It keeps the memory of
// both back ends small.
const maxPattern = 10_000

// checkPattern is the size of a pattern, or what is wrong with it.
func checkPattern(p string) (int, error) {
	re, err := syntax.Parse(p, syntax.Perl)
	if err != nil {
		return 0, err
	}
	size := patternSize(re)
	if size > maxPattern {
		return size, nil // is refused, and never compiled
	}
	_, err = regexp.Compile(p)
	return size, err
}

func patternSize(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += patternSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Max, re.Min, 1)
	}
	return min(n, 1<<30)
}

func (c *converter) quantifier(e ast.Expr, s *scope) (Expr, error) {
	x := e.AsComprehension()
	start, ok := x.AccuInit().AsLiteral().(types.Bool)
	if !ok || x.HasIterVar2() {
		return nil, c.fail(e, "only exists(x, ...) and all(x, ...) work on a list")
	}
	body := x.LoopStep().AsCall().Args()[1]
	r := x.IterRange()
	if c.constant(r, s, nil) || r.Kind() == ast.ListKind {
		return c.unroll(e, bool(start), body, s)
	}
	var col *Column
	if r.Kind() == ast.IdentKind && s.find(r.AsIdent()) == nil {
		col = column(unhide(r.AsIdent()))
	}
	if col == nil || col.Type != Strings {
		return nil, c.fail(e, "exists and all need a list column: groups, as_groups or source_ips")
	}
	if s.inMembers() {
		return nil, c.fail(e, "exists or all inside another is not supported; write the two conditions beside each other")
	}
	inner, err := c.boolean(body, &scope{name: x.IterVar(), outer: s})
	if err != nil {
		return nil, err
	}
	if bool(start) {
		return &All{Column: col.Name, X: inner}, nil
	}
	return &Any{Column: col.Name, X: inner}, nil
}

// unroll writes ["a", "b"].exists(x, user.startsWith(x)) out.
func (c *converter) unroll(e ast.Expr, all bool, body ast.Expr, s *scope) (Expr, error) {
	x := e.AsComprehension()
	if !c.constant(x.IterRange(), s, nil) {
		return nil, c.fail(e, "exists and all need a list column or a list of constants")
	}
	v, err := c.fold(x.IterRange(), s)
	if err != nil {
		return nil, err
	}
	members, ok := listOf(v)
	if !ok {
		return nil, c.fail(e, "exists and all need a list")
	}
	xs := make([]Expr, len(members))
	for i, m := range members {
		if xs[i], err = c.boolean(body, &scope{name: x.IterVar(), value: m, outer: s}); err != nil {
			return nil, err
		}
	}
	if all {
		return logic("&&", xs...), nil
	}
	return logic("||", xs...), nil
}

// logic joins with && or ||: constants are folded away and equal operators flattened.
func logic(op string, xs ...Expr) Expr {
	var in []Expr
	stop := op == "||"
	for _, x := range xs {
		switch x := x.(type) {
		case *Const:
			if x.Value == stop {
				return &Const{Value: stop}
			}
		case *Logic:
			if x.Op == op {
				in = append(in, x.X...)
			} else {
				in = append(in, x)
			}
		default:
			in = append(in, x)
		}
	}
	switch len(in) {
	case 0:
		return &Const{Value: !stop}
	case 1:
		return in[0]
	}
	return &Logic{Op: op, X: in}
}

func not(x Expr) Expr {
	switch x := x.(type) {
	case *Const:
		return &Const{Value: !x.Value}
	case *Not:
		return x.X
	}
	return &Not{X: x}
}
