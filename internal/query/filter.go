package query

import (
	"strings"

	"github.com/ktrail/ktrail/audit"
)

// Filter is a checked CEL expression over the columns. It is immutable and may
// be used from many goroutines. A nil Filter is true of every event.
type Filter struct {
	text  string
	expr  Expr
	match func(*audit.Event) bool
	uses  map[string]bool // columns that the text mentions
	loose bool            // the text binds looser than &&
}

// String is the CEL; "" for a filter that is true of every event.
func (f *Filter) String() string {
	if f == nil {
		return ""
	}
	return f.text
}

// Expr is the checked tree. A nil Filter is true of every event.
func (f *Filter) Expr() Expr {
	if f == nil {
		return &Const{Value: true}
	}
	return f.expr
}

// Match reports whether the filter is true of e. It does not allocate.
func (f *Filter) Match(e *audit.Event) bool {
	return f == nil || f.match(e)
}

// Uses reports whether the filter's text mentions the column.
func (f *Filter) Uses(column string) bool { return f != nil && f.uses[column] }

// And joins filters with &&. Nil and empty ones are left out; the result of
// none is nil.
func And(filters ...*Filter) *Filter {
	var in []*Filter
	for _, f := range filters {
		if f != nil && f.text != "" {
			in = append(in, f)
		}
	}
	switch len(in) {
	case 0:
		return nil
	case 1:
		return in[0]
	}
	var texts []string
	var exprs []Expr
	uses := map[string]bool{}
	for _, f := range in {
		texts = append(texts, f.operand())
		exprs = append(exprs, f.expr)
		for c := range f.uses {
			uses[c] = true
		}
	}
	x := logic("&&", exprs...)
	return &Filter{text: strings.Join(texts, " && "), expr: x, match: compile(x), uses: uses}
}

// operand is the text as it may stand beside &&. A comment would swallow what
// follows, so a text that may have one ends its line.
func (f *Filter) operand() string {
	switch {
	case strings.Contains(f.text, "//"):
		return "(" + f.text + "\n)"
	case f.loose:
		return "(" + f.text + ")"
	}
	return f.text
}

// WithFinal adds "final" to a filter that mentions neither stage nor final, so
// that what is counted is requests, not stages.
func WithFinal(f *Filter) *Filter {
	if f.Uses("final") || f.Uses("stage") {
		return f
	}
	return And(onlyFinal(), f)
}

func onlyFinal() *Filter {
	x := &Flag{Column: "final"}
	return &Filter{text: "final", expr: x, match: compile(x), uses: map[string]bool{"final": true}}
}
