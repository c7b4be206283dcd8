package query

import "github.com/ktrail/ktrail/audit"

// Part is a piece of a sentence. Column is the column that Value stands in, so
// that a page can link it; both are "" for the words between.
// Text and Value are hostile.
type Part struct {
	Text   string `json:"text"`
	Column string `json:"column,omitempty"`
	Value  string `json:"value,omitempty"`
}

// Sentence tells e in one line. Control characters in it are replaced.
func Sentence(e *audit.Event) string {
	var s []byte
	for _, p := range Parts(e) {
		s = append(s, p.Text...)
	}
	return string(s)
}

// Parts is [Sentence] in pieces.
func Parts(e *audit.Event) []Part { return nil }
