package audit_test

import (
	"encoding/json"
	"testing"

	"github.com/ktrail/ktrail/audit"
)

func TestTimeJSON(t *testing.T) {
	for in, want := range map[string]string{
		`0`:                             `""`,
		`""`:                            `""`,
		`null`:                          `""`,
		`1795376671014243`:              `"2026-11-22T19:44:31.014243Z"`,
		`"2026-11-22T19:44:31.014243Z"`: `"2026-11-22T19:44:31.014243Z"`,
		`"2026-11-22T20:44:31+01:00"`:   `"2026-11-22T19:44:31.000000Z"`,
	} {
		var at audit.Time
		if err := json.Unmarshal([]byte(in), &at); err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		got, err := json.Marshal(at)
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{`"yesterday"`, `1.5`, `true`, `{}`} {
		var at audit.Time
		if err := json.Unmarshal([]byte(in), &at); err == nil {
			t.Errorf("%s: no error", in)
		}
	}
}
