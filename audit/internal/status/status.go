// Package status is a Status of the Kubernetes API (meta/v1), with its fields as API servers write them, and in their order.
package status

import (
	"encoding/json"

	"github.com/ktrail/ktrail/audit"
)

// Status is what an API server answers that answers no object, which is nearly every failure.
type Status struct {
	Kind       string   `json:"kind,omitempty"`
	APIVersion string   `json:"apiVersion,omitempty"`
	Metadata   ListMeta `json:"metadata"`
	Status     string   `json:"status,omitempty"`
	Message    string   `json:"message,omitempty"`
	Reason     string   `json:"reason,omitempty"`
	Details    *Details `json:"details,omitempty"`
	Code       int32    `json:"code,omitempty"`
}

// ListMeta says how to go on with a list that failed half-way.
type ListMeta struct {
	ResourceVersion    string `json:"resourceVersion,omitempty"`
	Continue           string `json:"continue,omitempty"`
	RemainingItemCount *int64 `json:"remainingItemCount,omitempty"`
}

// Details are what a failure is about.
type Details struct {
	Name              string  `json:"name,omitempty"`
	Group             string  `json:"group,omitempty"`
	Kind              string  `json:"kind,omitempty"`
	UID               string  `json:"uid,omitempty"`
	Causes            []Cause `json:"causes,omitempty"`
	RetryAfterSeconds int32   `json:"retryAfterSeconds,omitempty"`
}

// Cause is one of several things that are wrong.
type Cause struct {
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	Field   string `json:"field,omitempty"` // items[3]
}

// Failure is the Status of a request that is refused.
func Failure(code int32, reason, message string) Status {
	return Status{Kind: "Status", APIVersion: "v1", Status: "Failure", Message: message, Reason: reason, Code: code}
}

// JSON is s as an API server answers it.
func (s *Status) JSON() []byte { return encode(s) }

// Record is s as an event has it.
func (s *Status) Record() *audit.Status {
	r := &audit.Status{Status: s.Status, Message: s.Message, Reason: s.Reason, Code: s.Code}
	if s.Details != nil {
		r.Details = encode(s.Details)
	}
	return r
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return b
}
