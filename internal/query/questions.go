package query

import (
	"context"
	"encoding/json"

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
	Day(ctx context.Context, q DayQuestion) (DayAnswer, error)
	Facets(ctx context.Context, q FacetsQuestion) (FacetsAnswer, error)
	Objects(ctx context.Context, q ObjectsQuestion) (ObjectsAnswer, error)
	Lanes(ctx context.Context, q LanesQuestion) (LanesAnswer, error)
	SQL(ctx context.Context, sql string, yield func(SQLRow) error) (Warnings, error)
}

// Scope is what every question has: a filter in CEL and a range of time.
// If the filter names neither stage nor final, "final" is added to it. now in
// the filter is when the question is asked; on a later page, when the first was.
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
	// AfterID is where Follow begins, the ID of the last event already seen;
	// 0 follows what is committed from now on, FollowAll all there is. Search ignores it.
	AfterID int64 `json:"after_id,omitempty"`
}

// FollowAll is an AfterID: no event was seen yet.
const FollowAll = -1

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
	// Writes asks for each row's number of writes too. WritesFirst does, and puts
	// the rows with most of them first.
	Writes      bool `json:"writes,omitempty"`
	WritesFirst bool `json:"writes_first,omitempty"`
}

// TopAnswer lists groups, most frequent first; Total counts all that matched.
type TopAnswer struct {
	Filter   string     `json:"filter"`
	By       []string   `json:"by"`
	Rows     []GroupRow `json:"rows"`
	Total    int64      `json:"total"`
	Warnings Warnings   `json:"warnings,omitempty"`
}

// HistoryQuestion asks for the changes of one object: every write to it and to
// its subresources, newest first, and deletecollection requests that may have
// met it. Resource is the plural ("deployments"); Namespace "" means any.
type HistoryQuestion struct {
	Scope
	Resource  string `json:"resource"`
	APIGroup  string `json:"api_group,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Limit     int    `json:"limit,omitempty"` // default 50
	Cursor    string `json:"cursor,omitempty"`
	// Diff asks for the fields that changed between successive recorded objects.
	Diff bool `json:"diff,omitempty"`
	// Noise keeps managedFields, resourceVersion and generation in the diff.
	Noise bool `json:"noise,omitempty"`
}

// HistoryAnswer lists the changes, newest first.
type HistoryAnswer struct {
	Filter   string   `json:"filter"`
	Changes  []Change `json:"changes"`
	Next     string   `json:"next,omitempty"`
	Warnings Warnings `json:"warnings,omitempty"`
}

// Change is one write to an object. Event.Raw is empty.
type Change struct {
	Event audit.Event `json:"event"`
	// Fields are the differences to the object's state before, if both were recorded.
	Fields []FieldChange `json:"fields,omitempty"`
	// Patch is the request's patch where no full object was recorded.
	Patch json.RawMessage `json:"patch,omitempty"`
	// Note says why there is no diff, or what else to know.
	Note string `json:"note,omitempty"`
}

// FieldChange is one field: Old nil means added, New nil removed.
type FieldChange struct {
	Path string          `json:"path"` // spec.template.spec.containers[0].image
	Old  json.RawMessage `json:"old,omitempty"`
	New  json.RawMessage `json:"new,omitempty"`
}

// ActorQuestion asks what is known of one user.
type ActorQuestion struct {
	Scope
	User  string `json:"user"`
	Limit int    `json:"limit,omitempty"` // rows a list, default 20
}

// ActorAnswer is a user's trail. The lists are most frequent first.
type ActorAnswer struct {
	Filter         string     `json:"filter"`
	User           string     `json:"user"`
	Requests       int64      `json:"requests"`
	Failed         int64      `json:"failed"`
	First          audit.Time `json:"first,omitzero"`
	Last           audit.Time `json:"last,omitzero"`
	Addresses      []GroupRow `json:"addresses"`       // keys: source_ips
	Agents         []GroupRow `json:"agents"`          // keys: agent
	Credentials    []GroupRow `json:"credentials"`     // keys: credential_id
	Verbs          []GroupRow `json:"verbs"`           // keys: api_group, resource, subresource, verb
	Failures       []GroupRow `json:"failures"`        // keys: code, reason, verb, resource
	ActedAs        []GroupRow `json:"acted_as"`        // keys: as_user; this user impersonating
	ImpersonatedBy []GroupRow `json:"impersonated_by"` // keys: user; others impersonating this one
	Warnings       Warnings   `json:"warnings,omitempty"`
}
