package query

import (
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/ktrail/ktrail/internal/nearest"
)

func newFilterError(text string, tree *ast.AST, id int64, message string) *FilterError {
	e := &FilterError{Text: text, Line: 1, Column: 1, Message: message}
	if loc := tree.SourceInfo().GetStartLocation(id); loc.Line() >= 1 {
		e.Line, e.Column = loc.Line(), loc.Column()+1
	}
	return e
}

func oneLine(s string) string { return unhide(strings.Join(strings.Fields(printable(s)), " ")) }

// aType names a CEL type for a person.
func aType(t string) string {
	switch t {
	case "string":
		return "a string"
	case "int":
		return "an int"
	case "bool":
		return "true or false"
	case "time", "google.protobuf.Timestamp", "timestamp":
		return "a time"
	case "google.protobuf.Duration", "duration":
		return "a duration"
	case "list(string)", "list of strings":
		return "a list of strings"
	}
	return "a " + t
}

// words are what people write for an operator.
var words = map[string]string{"and": "&&", "or": "||", "not": "!", "AND": "&&", "OR": "||", "NOT": "!", "like": "contains()", "LIKE": "contains()", "IN": "in"}

// syntaxError translates the first complaint of the parser.
func syntaxError(text string, errs []*cel.Error) *FilterError {
	first := errs[0]
	e := &FilterError{Text: text, Line: max(first.Location.Line(), 1), Column: max(first.Location.Column()+1, 1)}
	message := oneLine(first.Message)
	rest := restAt(text, e.Line, e.Column)
	before := wordBefore(text, e.Line, e.Column)
	switch {
	case strings.Contains(message, "recursion"):
		e.Message = fmt.Sprintf("the filter nests more than %d deep", maxFilterDepth)
	case strings.HasPrefix(rest, "=~"), strings.HasPrefix(rest, "~"):
		e.Message = `~ is no operator; write user.matches("...") for a pattern`
	case strings.HasPrefix(rest, "=") && !strings.HasPrefix(rest, "=="):
		e.Message = "= is no operator; write == to compare"
	case words[firstWord(rest)] != "":
		e.Message = fmt.Sprintf("%s is no operator; write %s", firstWord(rest), words[firstWord(rest)])
	case words[before] != "":
		e.Message = fmt.Sprintf("%s is no operator; write %s", before, words[before])
	case rest == "":
		e.Message = "the filter ends too early"
	case strings.HasPrefix(rest, `"`) || strings.HasPrefix(rest, "'"):
		if strings.Contains(message, "token recognition") {
			e.Message = "the text has no closing quote"
			break
		}
		fallthrough
	default:
		message = strings.TrimPrefix(message, "Syntax error: ")
		if i := strings.Index(message, " expecting {"); i > 0 {
			message = message[:i]
		}
		message = strings.TrimSuffix(message, " expecting <EOF>")
		message = strings.ReplaceAll(message, "extraneous input", "unexpected")
		message = strings.ReplaceAll(message, "mismatched input", "unexpected")
		message = strings.ReplaceAll(message, "no viable alternative at input", "unexpected")
		message = strings.ReplaceAll(message, "token recognition error at:", "unexpected")
		e.Message = shorten(strings.ReplaceAll(message, "'<EOF>'", "end"), 200)
	}
	return e
}

func shorten(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}

// restAt is the line from the column on.
func restAt(text string, line, col int) string {
	lines := strings.Split(text, "\n")
	if line > len(lines) {
		return ""
	}
	r := []rune(lines[line-1])
	if col > len(r) {
		return ""
	}
	return string(r[col-1:])
}

var leadingWord = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*`)

func firstWord(s string) string { return leadingWord.FindString(s) }

// wordBefore is the word that ends before the column.
func wordBefore(text string, line, col int) string {
	lines := strings.Split(text, "\n")
	if line > len(lines) {
		return ""
	}
	r := []rune(lines[line-1])
	fields := strings.Fields(string(r[:min(max(col-1, 0), len(r))]))
	if len(fields) == 0 {
		return ""
	}
	return fields[len(fields)-1]
}

// functions are what filters have, for suggestions.
var functions = []string{"startsWith", "endsWith", "contains", "matches", "size", "exists", "all", "timestamp", "duration"}

// alsoFunctions are names that other languages have for them.
var alsoFunctions = map[string]string{
	"hasprefix": "startsWith", "startwith": "startsWith", "starts_with": "startsWith", "prefix": "startsWith",
	"hassuffix": "endsWith", "endwith": "endsWith", "ends_with": "endsWith", "suffix": "endsWith",
	"includes": "contains", "like": "contains", "match": "matches", "regex": "matches", "regexp": "matches",
	"len": "size", "length": "size", "count": "size", "any": "exists", "some": "exists", "every": "all", "time": "timestamp", "date": "timestamp",
}

var (
	undeclared  = regexp.MustCompile(`undeclared reference to '([^']*)'`)
	notExpected = regexp.MustCompile(`expected type '([^']*)' but found '([^']*)'`)
	noOverload  = regexp.MustCompile(`found no matching overload for '([^']*)' applied to '(.*)'`)
)

// typeError translates the first complaint of the type checker.
func typeError(text string, tree *ast.AST, errs []*cel.Error) *FilterError {
	first := errs[0]
	message := oneLine(first.Message)
	e := newFilterError(text, tree, first.ExprID, message)
	if first.ExprID == 0 || tree.SourceInfo().GetStartLocation(first.ExprID).Line() < 1 {
		e.Line, e.Column = max(first.Location.Line(), 1), max(first.Location.Column()+1, 1)
	}
	node, path := locate(tree, first.ExprID)
	switch {
	case strings.Contains(message, "recursion"):
		e.Message = fmt.Sprintf("the filter nests more than %d deep", maxFilterDepth)
	case strings.Contains(message, "does not support field selection"):
		e.Message = fmt.Sprintf("columns have no fields: %s", quoteShort(path))
		e.Suggest = suggestColumn(path)
		if at := chainStart(tree, first.ExprID); at != 0 {
			loc := newFilterError(text, tree, at, "")
			e.Line, e.Column = loc.Line, loc.Column
		}
	case undeclared.MatchString(message):
		name := unhide(undeclared.FindStringSubmatch(message)[1])
		if node != nil && node.Kind() == ast.CallKind {
			e.Message = fmt.Sprintf("no function %s", quoteShort(name))
			if e.Suggest = alsoFunctions[strings.ToLower(name)]; e.Suggest == "" {
				e.Suggest = nearest.Name(name, functions)
			}
			if before := wordBefore(text, e.Line, e.Column); strings.HasSuffix(before, name) {
				e.Column -= len(name) // from the parenthesis to the name
			}
			break
		}
		if path == "" {
			path = name
		}
		e.Message = fmt.Sprintf("no column %s", quoteShort(path))
		if e.Suggest = suggestColumn(path); e.Suggest == "" {
			e.Suggest = suggestColumn(name)
		}
		switch {
		case name == "raw":
			e.Message, e.Suggest = "raw cannot be filtered by; use the columns", ""
		case e.Suggest == "" && path == name:
			e.Message += "; a text needs quotes"
		}
	case noOverload.MatchString(message) && node != nil && node.Kind() == ast.CallKind:
		m := noOverload.FindStringSubmatch(message)
		e.Message = overloadMessage(node.AsCall(), m[2])
		if at := firstArg(node.AsCall()); at != nil {
			loc := newFilterError(text, tree, at.ID(), "")
			e.Line, e.Column = loc.Line, loc.Column
		}
	case notExpected.MatchString(message) && node != nil:
		m := notExpected.FindStringSubmatch(message)
		what := "this"
		if s := sourceName(node); s != "" {
			what = s
		}
		e.Message = fmt.Sprintf("%s is %s, %s is needed here", what, aType(m[2]), aType(m[1]))
	}
	e.Message = shorten(e.Message, 300)
	return e
}

// locate finds a node, and the dotted path that it is a part of ("" if none).
func locate(tree *ast.AST, id int64) (node ast.Expr, path string) {
	ast.PreOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.ID() == id {
			node = e
		}
		if e.Kind() == ast.SelectKind {
			if p, has := dotted(e, id); has && len(p) > len(path) {
				path = p
			}
		}
	}))
	return node, unhide(path)
}

// dotted is a.b.c of a select over an identifier, and whether id is in it.
func dotted(e ast.Expr, id int64) (string, bool) {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent(), e.ID() == id
	case ast.SelectKind:
		p, has := dotted(e.AsSelect().Operand(), id)
		return p + "." + e.AsSelect().FieldName(), has || e.ID() == id
	}
	return "", false
}

// firstArg is the operand that stands first, if its place is its beginning.
func firstArg(call ast.CallExpr) ast.Expr {
	e := call.Target()
	if !call.IsMemberFunction() {
		if len(call.Args()) == 0 {
			return nil
		}
		e = call.Args()[0]
	}
	if e.Kind() != ast.IdentKind && e.Kind() != ast.LiteralKind {
		return nil
	}
	return e
}

// chainStart is the identifier that a.b.c begins with.
func chainStart(tree *ast.AST, id int64) int64 {
	e, _ := locate(tree, id)
	for e != nil && e.Kind() == ast.SelectKind {
		e = e.AsSelect().Operand()
	}
	if e == nil {
		return 0
	}
	return e.ID()
}

// symbols are the operators as people write them.
var symbols = map[string]string{
	operators.LogicalAnd: "&&", operators.LogicalOr: "||", operators.LogicalNot: "!", operators.In: "in",
	operators.Add: "+", operators.Subtract: "-", operators.Multiply: "*", operators.Divide: "/", operators.Modulo: "%", operators.Negate: "-",
}

// overloadMessage explains a function that has no meaning for its arguments' types.
func overloadMessage(call ast.CallExpr, applied string) string {
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]ast.Expr{call.Target()}, args...)
	}
	kinds := splitTypes(applied)
	if len(kinds) != len(args) {
		kinds = nil
	}
	name := call.FunctionName()
	op, compares := comparisons[name]
	if kinds == nil {
		return fmt.Sprintf("%s cannot be used on %s", displayName(name), unhide(applied))
	}
	named := func(i int) string {
		if s := sourceName(args[i]); s != "" {
			return fmt.Sprintf("%s (%s)", s, aType(kinds[i]))
		}
		return aType(kinds[i])
	}
	switch {
	case compares && len(kinds) == 2:
		return fmt.Sprintf("%s and %s cannot be compared by %s%s", named(0), named(1), op, compareHint(args, kinds))
	case name == operators.LogicalAnd || name == operators.LogicalOr:
		for i := range kinds {
			if kinds[i] != "bool" {
				return fmt.Sprintf("%s needs a condition on both sides, not %s", symbols[name], named(i))
			}
		}
	case name == operators.LogicalNot:
		return fmt.Sprintf("! needs a condition, not %s", named(0))
	case name == operators.In:
		return fmt.Sprintf("%s cannot be in %s", named(0), named(1))
	case len(kinds) > 0 && call.IsMemberFunction() && strings.HasPrefix(kinds[0], "list("):
		if s := sourceName(args[0]); s != "" {
			return fmt.Sprintf("%s is a list; write %s.exists(x, x.%s(...))", s, s, name)
		}
	}
	all := make([]string, len(kinds))
	for i := range kinds {
		all[i] = named(i)
	}
	return fmt.Sprintf("%s cannot be used on %s", displayName(name), strings.Join(all, " and "))
}

func displayName(name string) string {
	if s := symbols[name]; s != "" {
		return s
	}
	return quoteShort(unhide(name))
}

// compareHint says what to write when a literal has the wrong type.
func compareHint(args []ast.Expr, kinds []string) string {
	for i := range kinds {
		other := kinds[1-i]
		if args[i].Kind() != ast.LiteralKind {
			continue
		}
		lit := sourceName(args[i])
		switch {
		case other == "int" && kinds[i] == "string":
			return "; write the number without quotes"
		case other == "string" && kinds[i] == "int":
			return fmt.Sprintf("; write \"%s\" in quotes", lit)
		case strings.HasSuffix(strings.ToLower(other), "timestamp"):
			return `; write timestamp("2026-11-22T10:00:00Z") or now - duration("2h")`
		case strings.HasPrefix(other, "list("):
			if name := sourceName(args[1-i]); name != "" {
				return fmt.Sprintf("; write %s in %s", lit, name)
			}
		}
	}
	return ""
}

// sourceName is an identifier or a short literal as it was written.
func sourceName(e ast.Expr) string {
	switch e.Kind() {
	case ast.IdentKind:
		return unhide(e.AsIdent())
	case ast.LiteralKind:
		switch v := e.AsLiteral().Value().(type) {
		case string:
			return quoteShort(v)
		case int64, uint64, float64, bool:
			return fmt.Sprint(v)
		}
	}
	return ""
}

// splitTypes splits "(string, list(string))" at its outer commas.
func splitTypes(s string) []string {
	// A member function's target stands before: "string.(string)".
	if i := strings.Index(s, ".("); i > 0 && !strings.HasPrefix(s, "(") {
		s = "(" + s[:i] + ", " + s[i+2:]
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "("), ")")
	var out []string
	depth, start := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				out = append(out, strings.TrimSpace(s[start:i]))
				start = i + 1
			}
		}
	}
	if t := strings.TrimSpace(s[start:]); t != "" {
		out = append(out, t)
	}
	return out
}
