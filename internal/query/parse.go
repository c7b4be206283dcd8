package query

import (
	"time"

	"github.com/ktrail/ktrail/audit"
)

// Parse checks a filter. "" is true of every event. now in the filter is the
// time of the call. The error is a [*FilterError].
func Parse(text string) (*Filter, error) { return ParseAt(text, time.Now()) }

// ParseAt is [Parse] with a given now.
func ParseAt(text string, now time.Time) (*Filter, error) {
	x := &Const{Value: true}
	return &Filter{text: text, expr: x, match: func(*audit.Event) bool { return true }}, nil
}

func logic(op string, xs ...Expr) Expr { return &Logic{Op: op, X: xs} }
