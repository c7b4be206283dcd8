package query

import "github.com/ktrail/ktrail/audit"

// DayQuestion asks for what a user did in a range, in sessions, against what
// the user did in the 30 days before.
type DayQuestion struct {
	Scope
	User  string `json:"user"`
	Limit int    `json:"limit,omitempty"` // rows a list, default 100
}

// DayAnswer is a user's range.
type DayAnswer struct {
	Filter   string    `json:"filter"`
	User     string    `json:"user"`
	Sessions []Session `json:"sessions"` // newest first
	// Heat is verbs by resource: keys resource (with group and subresource) and verb.
	Heat []GroupRow `json:"heat"`
	// News are values that the 30 days before the range did not have, oldest first.
	News []News `json:"news"`
	// Before is whether the store reaches back 30 days before the range; if not,
	// Since is from when on it does.
	Before bool       `json:"before"`
	Since  audit.Time `json:"since,omitzero"`
	// Origin is where a service account's requests came from, as far as the trail tells.
	Origin   []Origin `json:"origin,omitempty"`
	Warnings Warnings `json:"warnings,omitempty"`
}

// Session is requests with one credential from one address without a pause of
// over 30 minutes.
type Session struct {
	Credential string     `json:"credential,omitempty"`
	Address    string     `json:"address"`
	Agent      string     `json:"agent"` // the most frequent
	First      audit.Time `json:"first"`
	Last       audit.Time `json:"last"`
	Count      int64      `json:"count"`
	Writes     int64      `json:"writes"`
	Failed     int64      `json:"failed"`
}

// News is something seen for the first time.
type News struct {
	Kind  string     `json:"kind"` // address, agent, action (verb on resource)
	Value string     `json:"value"`
	First audit.Time `json:"first"`
	ID    int64      `json:"id"` // of the event
	Count int64      `json:"count"`
}

// Origin is one pod that a service account's token was bound to, and who is
// behind it: each step is an event of the trail.
type Origin struct {
	Pod       string       `json:"pod"`
	Namespace string       `json:"namespace"`
	Node      string       `json:"node,omitempty"`
	Count     int64        `json:"count"`
	Steps     []OriginStep `json:"steps,omitempty"`
	// Note says where the trail ends and why.
	Note string `json:"note,omitempty"`
}

// OriginStep is "pod P was created by U", "replica set R was created by U",
// "deployment D was last changed by alice".
type OriginStep struct {
	Object ObjectKey  `json:"object"`
	Verb   string     `json:"verb"`
	User   string     `json:"user"`
	Time   audit.Time `json:"time"`
	ID     int64      `json:"id"`
}
