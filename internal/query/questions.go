package query

import (
	"context"

	"github.com/ktrail/ktrail/audit"
)

// Questions is what a person asks. [Engine] answers from a Source in this
// process, web.Client from a running server: the same answers either way.
type Questions interface {
	Search(ctx context.Context, q SearchQuestion, yield func(*audit.Event) error) (SearchAnswer, error)
	Follow(ctx context.Context, q SearchQuestion, yield func(*audit.Event) error) error
	Histogram(ctx context.Context, q HistogramQuestion) (HistogramAnswer, error)
	Top(ctx context.Context, q TopQuestion) (TopAnswer, error)
	History(ctx context.Context, q HistoryQuestion) (HistoryAnswer, error)
	Actor(ctx context.Context, q ActorQuestion) (ActorAnswer, error)
	SQL(ctx context.Context, sql string, yield func(SQLRow) error) (Warnings, error)
}

// Scope is what every question has: a filter in CEL and a range of time.
// If the filter names neither stage nor final, "final" is added to it.
type Scope struct {
	Filter string `json:"filter,omitempty"`
	Range  Range  `json:"range,omitzero"`
}

// SearchQuestion asks for events, newest first. Cursor is SearchAnswer.Next of
// the page before. Limit is in events; 0 means all, streamed with flat memory.
type SearchQuestion struct {
	Scope
	Limit     int    `json:"limit,omitempty"`
	Cursor    string `json:"cursor,omitempty"`
	Ascending bool   `json:"ascending,omitempty"`
	NoRaw     bool   `json:"no_raw,omitempty"`
}

// SearchAnswer closes a search. Next is "" when there is nothing more.
type SearchAnswer struct {
	Filter   string   `json:"filter"` // the CEL that was run
	Next     string   `json:"next,omitempty"`
	Warnings Warnings `json:"warnings,omitempty"`
}

// HistogramQuestion asks for counts over time. WidthUS 0 picks one that gives at
// most Buckets bars (default 60) from round widths.
type HistogramQuestion struct {
	Scope
	WidthUS int64 `json:"width_us,omitempty"`
	Buckets int   `json:"buckets,omitempty"`
}

// HistogramAnswer has every bucket of the range, empty ones too.
type HistogramAnswer struct {
	Filter   string   `json:"filter"`
	Range    Range    `json:"range"` // as asked, or as found where it was open
	WidthUS  int64    `json:"width_us"`
	Buckets  []Bucket `json:"buckets"`
	Total    int64    `json:"total"`
	Warnings Warnings `json:"warnings,omitempty"`
}

// TopQuestion asks for the most frequent values of columns.
type TopQuestion struct {
	Scope
	By    []string `json:"by"`
	Limit int      `json:"limit,omitempty"` // default 10
}

// TopAnswer lists groups, most frequent first; Total counts all that matched.
type TopAnswer struct {
	Filter   string     `json:"filter"`
	By       []string   `json:"by"`
	Rows     []GroupRow `json:"rows"`
	Total    int64      `json:"total"`
	Warnings Warnings   `json:"warnings,omitempty"`
}
