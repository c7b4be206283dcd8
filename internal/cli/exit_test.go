package cli

import (
	"bytes"
	"fmt"
	"testing"
)

// What has been printed already is not printed again, also with the name of a
// node around it, and keeps its status: monitors depend on that.
func TestQuietEnds(t *testing.T) {
	for err, want := range map[error]int{&unprovenError{}: exitUnavailable, &findingsError{}: exitNothing} {
		var out bytes.Buffer
		c := &cmdline{Streams: Streams{Err: &out}}
		if got := report(t.Context(), c, "ktrail", fmt.Errorf("root@10.0.0.1: %w", err)); got != want || out.Len() > 0 {
			t.Errorf("%T: status %d, want %d, and says %q", err, got, want, &out)
		}
	}
}
