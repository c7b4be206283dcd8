package query

// Filter is a checked CEL expression over the columns.
type Filter struct {
	text string
	expr Expr
}

// String is the CEL.
func (f *Filter) String() string { return f.text }

// Expr is the checked tree. A nil Filter is true of every event.
func (f *Filter) Expr() Expr {
	if f == nil {
		return &Const{Value: true}
	}
	return f.expr
}
