package query

import "github.com/ktrail/ktrail/audit"

// ObjectKey names an object as events do. Empty trailing fields make it a group
// of objects: a cluster, one of its namespaces, a kind there.
type ObjectKey struct {
	Cluster   string `json:"cluster"`
	Namespace string `json:"namespace"` // "" for cluster-scoped objects
	APIGroup  string `json:"api_group"`
	Resource  string `json:"resource"`
	Name      string `json:"name"`
}

// ObjectsQuestion asks for one level of the tree cluster, namespace, kind, name.
type ObjectsQuestion struct {
	Scope
	// Under is the node whose children are asked for: nothing, a cluster, a
	// cluster and namespace, or those and a kind. Depth is how many of the levels
	// it fixes, 0 to 3 (a namespace may be "", so its text does not tell).
	Under    ObjectKey `json:"under"`
	Depth    int       `json:"depth"`
	Contains string    `json:"contains,omitempty"` // in the child's own name, in any case
	Limit    int       `json:"limit,omitempty"`    // default 200
}

// ObjectsAnswer lists the children, those with most events first.
type ObjectsAnswer struct {
	Filter   string       `json:"filter"`
	Nodes    []ObjectNode `json:"nodes"`
	More     bool         `json:"more,omitempty"`
	Warnings Warnings     `json:"warnings,omitempty"`
}

// ObjectNode is one child: its key, its events, when they were.
type ObjectNode struct {
	Key    ObjectKey  `json:"key"`
	Count  int64      `json:"count"`
	Writes int64      `json:"writes"`
	Failed int64      `json:"failed"`
	First  audit.Time `json:"first"`
	Last   audit.Time `json:"last"`
}

// LanesQuestion asks what happened to objects over time, binned: a row an
// object, at most Bins bins over the range. Objects are named, or those with
// the most writes and then events that match are taken.
type LanesQuestion struct {
	Scope
	Objects []ObjectKey `json:"objects,omitempty"`
	Under   ObjectKey   `json:"under"`
	Depth   int         `json:"depth"`
	Bins    int         `json:"bins,omitempty"`  // default 600, at most 4000
	Limit   int         `json:"limit,omitempty"` // rows, default 200, at most 5000
	Cursor  string      `json:"cursor,omitempty"`
}

// LanesAnswer has a lane an object.
type LanesAnswer struct {
	Filter   string   `json:"filter"`
	Range    Range    `json:"range"` // as asked, or as found where it was open
	WidthUS  int64    `json:"width_us"`
	Lanes    []Lane   `json:"lanes"`
	Next     string   `json:"next,omitempty"`
	Warnings Warnings `json:"warnings,omitempty"`
}

// Lane is one object's marks in order of time, and its life as far as the range tells.
type Lane struct {
	Key   ObjectKey `json:"key"`
	Marks []Mark    `json:"marks"`
}

// Mark is what happened in one bin to one object, of one class with one outcome.
type Mark struct {
	Bin     int64   `json:"bin"` // from the range's beginning, in widths
	Class   Class   `json:"class"`
	Outcome Outcome `json:"outcome"`
	Count   int64   `json:"count"`
	// ID and Time are those of the last event in the mark.
	ID   int64      `json:"id"`
	Time audit.Time `json:"time"`
}

// Class is what a verb does to an object.
type Class string

// The classes. Exec is exec, attach, portforward and proxy, whatever the verb.
const (
	ClassCreate Class = "create"
	ClassChange Class = "change" // update, patch, and writes to subresources
	ClassDelete Class = "delete" // delete, deletecollection
	ClassRead   Class = "read"
	ClassExec   Class = "exec"
	ClassOther  Class = "other"
)

// Outcome is how a request ended.
type Outcome string

// The outcomes.
const (
	OutcomeOK     Outcome = "ok"     // code below 400, or none
	OutcomeDenied Outcome = "denied" // 401, 403
	OutcomeFailed Outcome = "failed" // other 4xx
	OutcomeError  Outcome = "error"  // 5xx, or a panic
)
