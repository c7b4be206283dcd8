package query

import (
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
)

// The limits of a filter. They keep a hostile one from costing more than it should.
const (
	maxFilterLen   = 64 << 10 // bytes
	maxFilterDepth = 200      // nesting
	maxFilterNodes = 20_000   // of the tree, after lists were unrolled
	maxFoldCost    = 100_000  // of evaluating what is constant, in CEL's cost units
)

// Parse checks a filter. "" is true of every event. now in the filter is the
// time of the call. The error is a [*FilterError].
func Parse(text string) (*Filter, error) { return ParseAt(text, time.Now()) }

// ParseAt is [Parse] with a given now.
func ParseAt(text string, now time.Time) (*Filter, error) {
	if strings.TrimSpace(text) == "" {
		x := &Const{Value: true}
		return &Filter{expr: x, match: compile(x)}, nil
	}
	if len(text) > maxFilterLen {
		return nil, &FilterError{
			Text: text, Line: 1, Column: 1,
			Message: fmt.Sprintf("the filter is %d bytes long, more than %d", len(text), maxFilterLen),
		}
	}
	if !utf8.ValidString(text) {
		return nil, &FilterError{Text: text, Line: 1, Column: 1, Message: "the filter is not valid UTF-8"}
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("set up the filter language: %w", err)
	}
	parsed, issues := env.Parse(hide(text))
	if issues.Err() != nil {
		return nil, syntaxError(text, issues.Errors())
	}
	tree := parsed.NativeRep()
	if h := ast.Heights(tree)[tree.Expr().ID()]; h > maxFilterDepth {
		return nil, &FilterError{
			Text: text, Line: 1, Column: 1,
			Message: fmt.Sprintf("the filter nests %d deep, more than %d", h, maxFilterDepth),
		}
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, typeError(text, tree, issues.Errors())
	}
	c := &converter{text: text, env: env, tree: checked.NativeRep(), now: now, uses: map[string]bool{}}
	root := c.tree.Expr()
	if t := c.tree.GetType(root.ID()); t.String() != "bool" {
		return nil, c.fail(root, "a filter is true or false, this is %s", aType(t.String()))
	}
	c.mentioned(root)
	x, err := c.boolean(root, nil)
	if err != nil {
		return nil, err
	}
	return &Filter{text: text, expr: x, match: compile(x), uses: c.uses, loose: bindsLoose(root) && !enclosed(text)}, nil
}

// bindsLoose reports whether an expression must stand in parentheses beside &&.
func bindsLoose(e ast.Expr) bool {
	if e.Kind() != ast.CallKind {
		return false
	}
	name := e.AsCall().FunctionName()
	return name == opOr || name == opTernary
}

// enclosed reports whether one pair of parentheses stands around all of s. Where
// that is hard to tell it says no: parentheses too many do no harm.
func enclosed(s string) bool {
	s = strings.TrimSpace(s)
	if strings.ContainsAny(s, `\/`) { // escapes, raw strings that end in one, comments
		return false
	}
	depth := 0
	for i := 0; i < len(s); {
		switch s[i] {
		case '"', '\'':
			i = skipString(s, i, false)
			continue
		case '(':
			depth++
		case ')':
			depth--
		}
		i++
		if depth == 0 {
			return i == len(s) && s[0] == '('
		}
	}
	return false
}

// environment is built once: it costs a millisecond and is safe for concurrent use.
var environment = sync.OnceValues(newEnvironment)

func newEnvironment() (*cel.Env, error) {
	opts := []cel.EnvOption{
		cel.ParserRecursionLimit(maxFilterDepth),
		cel.ParserExpressionSizeLimit(maxFilterLen),
		cel.ParserErrorRecoveryLimit(1),
		cel.ExpressionNodeLimit(maxFilterLen),
		cel.Variable("now", cel.TimestampType),
	}
	for i := range columns {
		if c := &columns[i]; c.Filterable {
			opts = append(opts, cel.Variable(hide(c.Name), celType(c.Type)))
		}
	}
	return cel.NewEnv(opts...)
}

func celType(t Type) *cel.Type {
	switch t {
	case Int:
		return cel.IntType
	case Bool:
		return cel.BoolType
	case Time:
		return cel.TimestampType
	case Strings:
		return cel.ListType(cel.StringType)
	default:
		return cel.StringType
	}
}

// namespace is the name of a column and a reserved word of CEL. So in what CEL
// sees it is another word of the same length, and places stay what they are.
const (
	reserved = "namespace"
	standIn  = "namespac_"
)

// unhide is for text that comes back from CEL.
func unhide(s string) string { return strings.ReplaceAll(s, standIn, reserved) }

// hide swaps the two words outside of strings and comments.
func hide(s string) string {
	if !strings.Contains(s, reserved) && !strings.Contains(s, standIn) {
		return s
	}
	b := []byte(s)
	for i := 0; i < len(b); {
		switch c := b[i]; {
		case c == '/' && strings.HasPrefix(s[i:], "//"):
			for i < len(b) && b[i] != '\n' {
				i++
			}
		case c == '"' || c == '\'':
			i = skipString(s, i, false)
		case isWordByte(c):
			start := i
			for i < len(b) && isWordByte(b[i]) {
				i++
			}
			switch s[start:i] {
			case reserved:
				copy(b[start:], standIn)
			case standIn:
				copy(b[start:], reserved)
			case "r", "R", "b", "B", "br", "bR", "Br", "BR", "rb", "rB", "Rb", "RB":
				if i < len(b) && (b[i] == '"' || b[i] == '\'') {
					i = skipString(s, i, strings.ContainsAny(s[start:i], "rR"))
				}
			}
		default:
			i++
		}
	}
	return string(b)
}

func isWordByte(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// skipString is the index after the string literal that begins at i with its quote.
func skipString(s string, i int, raw bool) int {
	quote := s[i : i+1]
	if three := strings.Repeat(quote, 3); strings.HasPrefix(s[i:], three) {
		quote = three
	}
	i += len(quote)
	for i < len(s) {
		switch {
		case strings.HasPrefix(s[i:], quote):
			return i + len(quote)
		case s[i] == '\\' && !raw:
			i += 2
		case s[i] == '\n' && len(quote) == 1:
			return i // unterminated: CEL will complain
		default:
			i++
		}
	}
	return len(s)
}
