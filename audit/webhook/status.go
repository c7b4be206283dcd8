package webhook

import (
	"encoding/json"

	"github.com/ktrail/ktrail/audit/internal/status"
)

// maxAnswer is how much of an answer is read, and maxBad how many bad items of a body are kept and
// named in it. The API server sends 400 items at a time.
const (
	maxAnswer = 1 << 20
	maxBad    = 1000
)

// storedHeader is how many events of a batch a ktrail receiver has stored although it
// answers 400: all but those that the answer's causes name.
const storedHeader = "Ktrail-Events-Stored"

func parseStatus(text []byte) (*status.Status, error) {
	s := &status.Status{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, err
	}
	return s, nil
}
