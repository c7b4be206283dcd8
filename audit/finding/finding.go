// Package finding owns what a check of a policy or of flags has to say: one
// finding each, with its place, its reason and its cure, and the forms in which
// findings are read: text for people, JSON, SARIF 2.1.0, GitHub annotations.
package finding

// Severity is how bad a finding is.
type Severity string

const (
	// Error is what the API server refuses, or what cannot work.
	Error Severity = "error"
	// Warning is what works otherwise than people think, or loses events.
	Warning Severity = "warning"
	// Note is worth knowing and needs no change.
	Note Severity = "note"
)

// Finding is one thing that a check found.
type Finding struct {
	// Name says what kind of finding it is, in kebab-case ("unknown-key"). It is
	// the anchor in the documentation and what a "# ktrail: allow NAME reason"
	// comment silences.
	Name     string   `json:"name"`
	Severity Severity `json:"severity"`
	// File is what was checked, as the person named it; "-" for standard input.
	File string `json:"file,omitempty"`
	// Line and Column count from 1; 0 means that the finding has no place.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Message is one line that says what is wrong.
	Message string `json:"message"`
	// Reason says why it matters, with where that is known from.
	Reason string `json:"reason,omitempty"`
	// Fix is what to write instead, ready to paste; it may have several lines.
	Fix string `json:"fix,omitempty"`
	// Doc is the page and anchor that explain the finding, relative to the
	// repository: docs/policy.md#unknown-key.
	Doc string `json:"doc,omitempty"`
}
