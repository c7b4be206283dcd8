package capture

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/ktrail/ktrail/audit"
)

// apiStatus is a Status of the API (meta/v1), with its fields in the order in which the API server writes them.
type apiStatus struct {
	Kind       string         `json:"kind,omitempty"`
	APIVersion string         `json:"apiVersion,omitempty"`
	Metadata   struct{}       `json:"metadata"`
	Status     string         `json:"status,omitempty"`
	Message    string         `json:"message,omitempty"`
	Reason     string         `json:"reason,omitempty"`
	Details    *statusDetails `json:"details,omitempty"`
	Code       int32          `json:"code,omitempty"`
}

type statusDetails struct {
	Name              string        `json:"name,omitempty"`
	Group             string        `json:"group,omitempty"`
	Kind              string        `json:"kind,omitempty"`
	UID               string        `json:"uid,omitempty"`
	Causes            []statusCause `json:"causes,omitempty"`
	RetryAfterSeconds int32         `json:"retryAfterSeconds,omitempty"`
}

type statusCause struct {
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	Field   string `json:"field,omitempty"`
}

// failure is the Status of a request that the Handler itself refuses.
func failure(code int32, reason, message string) apiStatus {
	return apiStatus{Kind: "Status", APIVersion: "v1", Status: "Failure", Message: message, Reason: reason, Code: code}
}

// json is s as an API server answers it.
func (s *apiStatus) json() []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return b
}

// record is s as an event has it.
func (s *apiStatus) record() *audit.Status {
	r := &audit.Status{Status: s.Status, Message: s.Message, Reason: s.Reason, Code: s.Code}
	if s.Details != nil {
		d, err := json.Marshal(s.Details)
		if err != nil {
			panic(err) // strings and numbers only
		}
		r.Details = d
	}
	return r
}

// statusOfJSON reads a Status; false if b is anything else.
func statusOfJSON(b []byte) (s apiStatus, ok bool) {
	if kindOf(b) != "Status" || json.Unmarshal(b, &s) != nil {
		return s, false
	}
	return s, s.Kind == "Status" && s.APIVersion == "v1"
}

// How the answers begin that are a Status, as API servers write them.
var (
	statusJSON     = []byte(`{"kind":"Status"`)
	statusProtobuf = []byte("k8s\x00\n\x0c\n\x02v1\x12\x06Status")
	statusCBOR     = []byte("\x44kind\x46Status")
)

// mayBeStatus is whether an answer that begins with b may be a Status although it tells of no failure.
func mayBeStatus(b []byte, f format) bool {
	switch f {
	case formatJSON:
		return bytes.HasPrefix(b, statusJSON)
	case formatProtobuf:
		return bytes.HasPrefix(b, statusProtobuf)
	case formatCBOR: // in no order
		return len(b) < 4096 && bytes.Contains(b, statusCBOR)
	}
	return false
}

// answer writes s as the answer to a request that goes no further.
func (s *apiStatus) answer(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-cache, private")
	header.Set("Content-Type", "application/json")
	if s.Code == http.StatusUnauthorized && r.ProtoMajor == 2 {
		header.Set("Connection", "close") // whoever is not known may not keep a connection of HTTP/2 open
	}
	w.WriteHeader(int(s.Code))
	_, _ = w.Write(append(s.json(), '\n')) // the client may be gone
}
