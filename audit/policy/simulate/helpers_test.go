package simulate

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
)

// sampleLog is the repository's sample, plain.
func sampleLog(t testing.TB) []byte {
	t.Helper()
	f, err := os.Open("../../../testdata/audit-sample.log.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sampleEvents(t testing.TB) []*audit.Event { return eventsOf(t, string(sampleLog(t))) }

// eventsOf are the events of a text, a line each; empty lines do not count.
func eventsOf(t testing.TB, text string) []*audit.Event {
	t.Helper()
	var all []*audit.Event
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		e := &audit.Event{}
		if err := audit.Decode(bytes.TrimSpace([]byte(line)), e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, e)
	}
	return all
}
