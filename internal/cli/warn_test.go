package cli

import (
	"strings"
	"testing"

	"github.com/ktrail/ktrail/internal/query"
)

// What a warning means is in its field, not in its words.
func TestWarn(t *testing.T) {
	for _, tt := range []struct {
		warnings query.Warnings
		damaged  bool
	}{
		{nil, false},
		{query.Warnings{{Text: "the name \"x is damaged at offset 5\" has no creation"}}, false},
		{query.Warnings{{Text: "no creation was found"}, {Text: "events are missing", Damage: true}}, true},
	} {
		var notes strings.Builder
		c := &cmdline{Streams: Streams{Err: &notes}}
		if err := c.warn(tt.warnings); is[*damagedError](err) != tt.damaged {
			t.Errorf("%v: %v, want damage %v", tt.warnings, err, tt.damaged)
		}
		if n := strings.Count(notes.String(), "warning: "); n != len(tt.warnings) {
			t.Errorf("%v: said %q", tt.warnings, notes.String())
		}
	}
}
