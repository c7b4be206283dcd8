package query

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/ktrail/ktrail/audit"
)

// ObjectKey names an object as events do. Empty trailing fields make it a group
// of objects: a cluster, one of its namespaces, a kind there. A request without a
// name, such as a list or a deletecollection, belongs to the object "" of its kind.
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
// object, at most Bins bins over the range. Objects are named, or those with the
// most writes that match below Under, of which Depth is 0 to 3, are taken, then
// those without writes that have the most events. An answer may have fewer lanes
// than Limit where they are full; its Next goes on behind the last one, with the
// same range and bins.
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
	Filter  string `json:"filter"`
	Range   Range  `json:"range"` // as asked, or as found where it was open
	WidthUS int64  `json:"width_us"`
	Lanes   []Lane `json:"lanes"`
	// Collections are the deletions of collections that objects of these lanes may
	// have been in, by whomever: their keys have no name. The filter is not asked
	// of them, for what it leaves out may have ended an object all the same.
	Collections []Lane   `json:"collections,omitempty"`
	Next        string   `json:"next,omitempty"`
	Warnings    Warnings `json:"warnings,omitempty"`
}

// Lane is one object's marks in order of time, and its life as far as the range tells.
type Lane struct {
	Key   ObjectKey `json:"key"`
	Marks []Mark    `json:"marks"`
}

// Mark is what happened in one bin to one object, of one class with one outcome.
// In JSON it is a list, for an answer has many: [bin, class, outcome, count, id,
// time in microseconds].
type Mark struct {
	Bin     int64 // from the range's beginning, in widths
	Class   Class
	Outcome Outcome
	Count   int64
	// ID and Time are those of the last event in the mark.
	ID   int64
	Time audit.Time
}

// MarshalJSON implements [json.Marshaler].
func (m Mark) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 64)
	b = strconv.AppendInt(append(b, '['), m.Bin, 10)
	b = append(append(b, `,"`...), m.Class...)
	b = append(append(b, `","`...), m.Outcome...)
	b = strconv.AppendInt(append(b, `",`...), m.Count, 10)
	b = strconv.AppendInt(append(b, ','), m.ID, 10)
	b = strconv.AppendInt(append(b, ','), int64(m.Time), 10)
	return append(b, ']'), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (m *Mark) UnmarshalJSON(b []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	fields := []any{&m.Bin, &m.Class, &m.Outcome, &m.Count, &m.ID, &m.Time}
	if len(parts) != len(fields) {
		return fmt.Errorf("decode mark: %d values, want %d", len(parts), len(fields))
	}
	for i, f := range fields {
		if err := json.Unmarshal(parts[i], f); err != nil {
			return fmt.Errorf("decode mark: %w", err)
		}
	}
	return nil
}
