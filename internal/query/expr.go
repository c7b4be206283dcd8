package query

// Expr is a checked filter as a small tree, for the back ends: the matcher in
// this package and the SQL of a Source. Types are already right; a back end
// need not check them.
type Expr interface{ expr() }

// The nodes. Column "" stands for the member of the list inside an Any or All.
// A Value is a string, int64, bool or audit.Time, as the column's type asks.
// Op is one of == != < <= > >=. Strings compare by their UTF-8 bytes.
type (
	// Const is true or false.
	Const struct{ Value bool }
	// Not negates.
	Not struct{ X Expr }
	// Logic joins two or more with Op && or ||.
	Logic struct {
		Op string
		X  []Expr
	}
	// Flag is a bool column taken as it is.
	Flag struct{ Column string }
	// Compare is a column against a literal.
	Compare struct {
		Column string
		Op     string
		Value  any
	}
	// CompareColumns is a column against another of the same type.
	CompareColumns struct{ Left, Op, Right string }
	// In is a column against a list of literals, one at least.
	In struct {
		Column string
		Values []any
	}
	// Text is startsWith, endsWith, contains or matches (RE2, anywhere in the text).
	Text struct{ Column, Func, Arg string }
	// Size compares the number of a list's members, or of a string's code points.
	Size struct {
		Column string
		Op     string
		N      int64
	}
	// Any is true if one member of the list column satisfies X.
	Any struct {
		Column string
		X      Expr
	}
	// All is true if each member of the list column satisfies X.
	All struct {
		Column string
		X      Expr
	}
)

func (*Const) expr()          {}
func (*Not) expr()            {}
func (*Logic) expr()          {}
func (*Flag) expr()           {}
func (*Compare) expr()        {}
func (*CompareColumns) expr() {}
func (*In) expr()             {}
func (*Text) expr()           {}
func (*Size) expr()           {}
func (*Any) expr()            {}
func (*All) expr()            {}
