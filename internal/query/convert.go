package query

import (
	"fmt"
	"slices"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
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
