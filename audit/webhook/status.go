package webhook

import "encoding/json"

// maxAnswer is how much of an answer is read, and maxBad how many bad items of a body are kept and
// named in it. The API server sends 400 items at a time.
const (
	maxAnswer = 1 << 20
	maxBad    = 1000
)

// storedHeader is how many events of a batch a ktrail receiver has stored although it
// answers 400: all but those that the answer's causes name.
const storedHeader = "Ktrail-Events-Stored"

// status is a Status of Kubernetes' (metav1.Status): what its clients show.
type status struct {
	Kind       string         `json:"kind"`
	APIVersion string         `json:"apiVersion"`
	Metadata   struct{}       `json:"metadata"`
	Status     string         `json:"status"`
	Message    string         `json:"message,omitempty"`
	Reason     string         `json:"reason,omitempty"`
	Details    *statusDetails `json:"details,omitempty"`
	Code       int            `json:"code"`
}

type statusDetails struct {
	Group             string  `json:"group,omitempty"`
	Kind              string  `json:"kind,omitempty"`
	Causes            []cause `json:"causes,omitempty"`
	RetryAfterSeconds int     `json:"retryAfterSeconds,omitempty"`
}

type cause struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Field   string `json:"field"` // items[3]
}

func parseStatus(text []byte) (*status, error) {
	s := &status{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, err
	}
	return s, nil
}
