package query

import (
	"context"

	"github.com/ktrail/ktrail/audit"
)

// accountPrefix begins the names of service accounts; namespace and name follow.
const accountPrefix = "system:serviceaccount:"

// Origin is one pod that a service account's token was bound to, and who is
// behind it: each step is an event of the trail.
type Origin struct {
	Cluster   string `json:"cluster,omitempty"`
	Pod       string `json:"pod"` // "" for tokens that are bound to no pod
	Namespace string `json:"namespace"`
	Node      string `json:"node,omitempty"`
	Count     int64  `json:"count"`
	// Sentence says it all: this request was made by pod P, which came from
	// deployment D, last changed by alice.
	Sentence string       `json:"sentence"`
	Steps    []OriginStep `json:"steps,omitempty"`
	// Note says where the trail ends and why.
	Note string `json:"note,omitempty"`
}

// OriginStep is "pod P was created by U", "replica set R was created by U",
// "deployment D was last changed by alice".
type OriginStep struct {
	Object ObjectKey `json:"object"`
	// Guess is whether the object is known by the name of the one before only,
	// for no body with its owner was recorded.
	Guess bool `json:"guess,omitempty"`
	// Verb, User, Time and ID are those of the event; ID 0 if the trail has none.
	Verb string     `json:"verb,omitempty"`
	User string     `json:"user,omitempty"`
	Time audit.Time `json:"time,omitzero"`
	ID   int64      `json:"id,omitempty"`
}

func (g *Engine) origins(ctx context.Context, q DayQuestion, f *Filter, n int, a *DayAnswer) (Warnings, error) {
	return nil, nil
}
