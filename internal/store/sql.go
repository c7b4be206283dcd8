package store

import (
	"encoding/hex"
	"fmt"
	"math"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// This file turns a checked filter into SQL. Values become literals, not
// parameters: DuckDB prunes row groups and asks bloom filters only for values
// that it knows when it plans. No text of a filter reaches the SQL but through
// the quoting functions here; columns are looked up, never copied.

// where is the condition of a filter, a range and more, as SQL after WHERE.
func where(f *query.Filter, r query.Range, more ...string) (string, error) {
	var and []string
	if r.From != 0 {
		and = append(and, "time >= "+quoteTime(r.From))
	}
	if r.To != 0 {
		and = append(and, "time < "+quoteTime(r.To))
	}
	and = append(and, more...)
	if c, ok := f.Expr().(*query.Const); !ok || !c.Value {
		x, err := filterSQL(f.Expr())
		if err != nil {
			return "", err
		}
		and = append(and, x)
	}
	if len(and) == 0 {
		return "true", nil
	}
	return strings.Join(and, " AND "), nil
}

// filterSQL is x as an SQL expression that is never NULL, in parentheses where needed.
func filterSQL(x query.Expr) (string, error) {
	w := &sqlWriter{}
	w.expr(x)
	if w.err != nil {
		return "", fmt.Errorf("translate filter: %w", w.err)
	}
	return w.b.String(), nil
}

type sqlWriter struct {
	b     strings.Builder
	depth int // of lambdas
	err   error
}

func (w *sqlWriter) put(parts ...string) {
	for _, p := range parts {
		w.b.WriteString(p)
	}
}

func (w *sqlWriter) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (w *sqlWriter) expr(x query.Expr) {
	switch x := x.(type) {
	case *query.Const:
		w.put(strconv.FormatBool(x.Value))
	case *query.Not:
		w.put("(NOT ")
		w.expr(x.X)
		w.put(")")
	case *query.Logic:
		op := " AND "
		if x.Op == "||" {
			op = " OR "
		}
		w.put("(")
		for i, y := range x.X {
			if i > 0 {
				w.put(op)
			}
			w.expr(y)
		}
		w.put(")")
	case *query.Flag:
		w.put(w.column(x.Column))
	case *query.Compare:
		w.compare(x)
	case *query.CompareColumns:
		w.put("(", w.column(x.Left), w.op(x.Op), w.column(x.Right), ")")
	case *query.In:
		w.in(x)
	case *query.Text:
		w.text(x)
	case *query.Size:
		// length counts code points, and the members of a list.
		w.put("(length(", w.column(x.Column), ")", w.op(x.Op), quoteInt(x.N), ")")
	case *query.Any:
		w.members(x.Column, x.X, true)
	case *query.All:
		w.members(x.Column, x.X, false)
	default:
		w.fail("unknown node %T", x)
	}
}

func (w *sqlWriter) op(op string) string {
	switch op {
	case "==":
		return " = "
	case "!=":
		return " <> "
	case "<", "<=", ">", ">=":
		return " " + op + " "
	}
	w.fail("unknown operator %q", op)
	return " = "
}

// column is the quoted name, or the parameter of the lambda around for "".
func (w *sqlWriter) column(name string) string {
	if name == "" {
		if w.depth == 0 {
			w.fail("a member stands outside of a list")
		}
		return "m" + strconv.Itoa(w.depth)
	}
	if _, err := query.LookupColumn(name); err != nil {
		w.fail("unknown column %q", name)
		return "false"
	}
	return quoteName(name)
}

func (w *sqlWriter) compare(x *query.Compare) {
	col, op := w.column(x.Column), w.op(x.Op)
	if s, ok := x.Value.(string); ok && !utf8.ValidString(s) {
		// Stored text is valid UTF-8, but may still lie before or after s.
		w.put("(encode(", col, ")", op, quoteBlob(s), ")")
		return
	}
	w.put("(", col, op, w.literal(x.Value), ")")
}

func (w *sqlWriter) in(x *query.In) {
	var values []string
	for _, v := range x.Values {
		if s, ok := v.(string); ok && !utf8.ValidString(s) {
			continue // equal to nothing that is stored
		}
		values = append(values, w.literal(v))
	}
	switch len(values) {
	case 0:
		w.put("false")
	case 1:
		w.put("(", w.column(x.Column), " = ", values[0], ")")
	default:
		w.put("(", w.column(x.Column), " IN (", strings.Join(values, ", "), "))")
	}
}

func (w *sqlWriter) text(x *query.Text) {
	col := w.column(x.Column)
	if !utf8.ValidString(x.Arg) {
		w.fail("the argument of %s is not valid UTF-8", x.Func)
		return
	}
	switch x.Func {
	case "startsWith":
		w.put("starts_with(", col, ", ", quoteText(x.Arg), ")")
	case "endsWith":
		w.put("suffix(", col, ", ", quoteText(x.Arg), ")")
	case "contains":
		w.put("contains(", col, ", ", quoteText(x.Arg), ")")
	case "matches":
		sql, err := matchesSQL(col, x.Arg)
		if err != nil {
			w.fail("%w", err)
			return
		}
		w.put(sql)
	default:
		w.fail("unknown function %q", x.Func)
	}
}

// matchesSQL is whether a text matches a pattern. Go's parser spells classes and
// flags out, so that both engines mean the same whatever their defaults and their
// Unicode tables are.
func matchesSQL(text, pattern string) (string, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", fmt.Errorf("regular expression: %w", err)
	}
	return "regexp_matches(" + text + ", " + quoteText(re.Simplify().String()) + ")", nil
}

// containsSQL is whether a text contains another in any case.
func containsSQL(text, part string) (string, error) {
	if !utf8.ValidString(part) {
		return "false", nil
	}
	return matchesSQL(text, query.ContainsPattern(part))
}

// members is Any or All. Equality, the common case, has a function of its own;
// the rest filters the list. An empty list has no member that satisfies or fails x.
func (w *sqlWriter) members(name string, x query.Expr, some bool) {
	col := w.column(name)
	if c, ok := x.(*query.Compare); ok && c.Column == "" {
		s, _ := c.Value.(string)
		switch {
		case some && c.Op == "==" && utf8.ValidString(s):
			w.put("list_contains(", col, ", ", quoteText(s), ")")
			return
		case !some && c.Op == "!=" && utf8.ValidString(s):
			w.put("(NOT list_contains(", col, ", ", quoteText(s), "))")
			return
		}
	}
	w.depth++
	w.put("(len(list_filter(", col, ", lambda m", strconv.Itoa(w.depth), ": ")
	if !some {
		w.put("NOT ")
	}
	w.expr(x)
	w.depth--
	if some {
		w.put(")) > 0)")
	} else {
		w.put(")) = 0)")
	}
}

func (w *sqlWriter) literal(v any) string {
	switch v := v.(type) {
	case string:
		return quoteText(v)
	case int64:
		return quoteInt(v)
	case bool:
		return strconv.FormatBool(v)
	case audit.Time:
		return quoteTime(v)
	}
	w.fail("literal of type %T", v)
	return "false"
}

// quoteName quotes an identifier.
func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// quoteText is s as a constant VARCHAR. A NUL, which would end the statement,
// is written as a function. s must be valid UTF-8.
func quoteText(s string) string {
	q := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.IndexByte(q, 0) < 0 {
		return q
	}
	return "(" + strings.ReplaceAll(q, "\x00", "' || chr(0) || '") + ")"
}

func quoteAll(list []string) string {
	var b strings.Builder
	for i, s := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quoteText(s))
	}
	return b.String()
}

func quoteBlob(s string) string {
	h := hex.EncodeToString([]byte(s))
	return "unhex('" + h + "')"
}

func quoteInt(n int64) string {
	if n == math.MinInt64 { // its absolute value is no BIGINT
		return "(-9223372036854775807 - 1)"
	}
	return strconv.FormatInt(n, 10)
}

// quoteTime is t as a constant. The ends of the range stand for infinity in
// DuckDB; no event is there.
func quoteTime(t audit.Time) string {
	const limit = audit.Time(math.MaxInt64 - 1)
	return "make_timestamptz(" + strconv.FormatInt(int64(min(max(t, -limit), limit)), 10) + ")"
}
