package query

import (
	"context"

	"github.com/ktrail/ktrail/audit"
)

// Source answers the few primitive questions that every other one is made of.
// internal/store is the first implementation; nothing here knows how it does it.
// Every Answer-like result carries Warnings: what the source knows it cannot see
// (a quarantined segment in the range, for example).
type Source interface {
	// Search calls yield for each matching event in the asked order, at most
	// r.Limit times, until yield returns an error, which it returns.
	// The event and its strings are valid during the call only.
	Search(ctx context.Context, r SearchRequest, yield func(*audit.Event) error) (Warnings, error)
	// Group counts matching events by the values of r.By, most frequent first.
	// A list column counts an event once for each of its members, however often
	// the list has it: a client writes addresses into source_ips as it likes.
	Group(ctx context.Context, r GroupRequest) ([]GroupRow, Warnings, error)
	// Groups answers several requests, each as Group would, which must have the
	// same Filter and Range: to read the events once for all is much cheaper.
	Groups(ctx context.Context, rs []GroupRequest) ([][]GroupRow, Warnings, error)
	// Histogram counts matching events in buckets of equal width.
	Histogram(ctx context.Context, r HistogramRequest) ([]Bucket, Warnings, error)
	// Activity counts matching events by who asked from where with what, in buckets of time.
	Activity(ctx context.Context, r ActivityRequest) ([]ActivityRow, Warnings, error)
	// Lanes counts the matching events of each of r.Objects by bin, class and
	// outcome, and calls yield for each count, in the order of r.Objects and of
	// time, until it returns an error, which it returns.
	Lanes(ctx context.Context, r LanesRequest, yield func(object int, m Mark) error) (Warnings, error)
	// Follow calls yield for each matching event with an ID above r.AfterID in
	// order of ID, each once, those committed later too, until ctx is done.
	Follow(ctx context.Context, r FollowRequest, yield func(*audit.Event) error) error
	// SQL runs one read-only SELECT over the view events.
	SQL(ctx context.Context, sql string, yield func(SQLRow) error) (Warnings, error)
	// Bounds says what there is: number of events, first and last time and ID.
	Bounds(ctx context.Context) (Bounds, error)
}

// Range is [From, To) in event time; zero is unbounded.
type Range struct {
	From audit.Time `json:"from,omitzero"`
	To   audit.Time `json:"to,omitzero"`
}

// SearchRequest asks for events. Filter nil means all of them.
type SearchRequest struct {
	Filter    *Filter
	Range     Range
	Limit     int // rows; 0 means no limit
	Ascending bool
	// After is the position of the last event already seen; zero starts at the beginning.
	After Position
	// NoRaw leaves Event.Raw empty, which is much cheaper.
	NoRaw bool
	// NoRawOf, if there is one, tells the events whose Raw is left empty.
	NoRawOf func(*audit.Event) bool
}

// Bare reports whether e.Raw is left empty.
func (r *SearchRequest) Bare(e *audit.Event) bool {
	return r.NoRaw || r.NoRawOf != nil && r.NoRawOf(e)
}

// Position orders events: by time, then by ID. Newest first is the default order.
type Position struct {
	Time audit.Time `json:"time,omitzero"`
	ID   int64      `json:"id,omitzero"`
}

// GroupRequest counts events by one or more columns.
type GroupRequest struct {
	Filter *Filter
	Range  Range
	// Having is a further condition, on columns of By that are no lists. Groups
	// takes requests that differ in it.
	Having *Filter
	By     []string // column names; none gives one row over all that matches
	Limit  int      // rows; 0 means no limit
	Skip   int      // rows left out before the first
	// Contains keeps the groups whose last key contains it, in any case.
	Contains string
	// Writes counts the writes (see [Writes]) too. WritesFirst does, and puts the
	// groups with most of them first, whatever their count, and those with none behind.
	Writes, WritesFirst bool
	// CountOnly leaves Failed, First and Last zero, which is much cheaper.
	CountOnly bool
	// FirstID asks for the ID of each group's first event. CountOnly leaves it zero.
	FirstID bool
}

// GroupRow is one group: the values of By as text, and what is known of it.
type GroupRow struct {
	Keys   []string   `json:"keys"`
	Count  int64      `json:"count"`
	Failed int64      `json:"failed"` // code >= 400
	First  audit.Time `json:"first"`
	Last   audit.Time `json:"last"`
	Writes int64      `json:"writes,omitempty"` // where they were asked for
	// FirstID is the event at First, the lowest ID of several, where it was asked for.
	FirstID int64 `json:"first_id,omitempty"`
}

// ActivityRequest asks who was active when. Width is as in [HistogramRequest].
type ActivityRequest struct {
	Filter *Filter
	Range  Range
	Width  int64
	Limit  int // rows; 0 means no limit
}

// ActivityRow is what one credential did from one address with one agent in one
// bucket of time. Rows come newest bucket first, then by credential, address and agent.
type ActivityRow struct {
	Start      audit.Time
	Credential string
	Address    string // the first of source_ips: the client's
	Agent      string
	Count      int64
	Writes     int64 // those that [Writes] is true of
	Failed     int64 // code >= 400
	First      audit.Time
	Last       audit.Time
}

// HistogramRequest asks for counts over time. Width is in microseconds; buckets
// are aligned to multiples of Width since 1970 UTC.
type HistogramRequest struct {
	Filter *Filter
	Range  Range
	Width  int64
}

// Bucket is one bar of a histogram. Empty buckets are left out by the Source.
type Bucket struct {
	Start  audit.Time `json:"start"`
	Count  int64      `json:"count"`
	Failed int64      `json:"failed"` // code >= 400
	Denied int64      `json:"denied"` // of those, OutcomeDenied
	Errors int64      `json:"errors"` // of those, OutcomeError
}

// LanesRequest asks for marks. Both ends of Range are set; bins are Width
// microseconds wide and begin at Range.From. Each object is there once.
type LanesRequest struct {
	Filter  *Filter
	Range   Range
	Objects []ObjectKey
	Width   int64
}

// FollowRequest asks for events as they are committed.
type FollowRequest struct {
	Filter  *Filter
	AfterID int64 // the last ID already seen; Bounds gives the newest
}

// SQLRow is one row of an SQL answer. Columns is the same slice for each row.
// Values are nil, bool, int64, uint64, float64, string, []byte, time.Time,
// []any, map[string]any or something that fmt prints.
type SQLRow struct {
	Columns []string
	Values  []any
}

// Bounds is what a source holds.
type Bounds struct {
	Events int64      `json:"events"`
	First  audit.Time `json:"first"`
	Last   audit.Time `json:"last"`
	LastID int64      `json:"last_id"`
}

// Warnings say what an answer may lack.
type Warnings []Warning

// Warning is one sentence for a person.
type Warning struct {
	Text string `json:"text"`
	// Damage is whether stored data is damaged.
	Damage bool `json:"damage,omitempty"`
}

func (w Warning) String() string { return w.Text }
