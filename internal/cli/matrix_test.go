package cli

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/coverage"
	"github.com/ktrail/ktrail/internal/golden"
	"github.com/ktrail/ktrail/internal/visible"
)

// TestMatrixLooks shows the matrix of each preset for the requesters that differ most.
func TestMatrixLooks(t *testing.T) {
	for _, c := range []struct {
		preset string
		who    coverage.Requester
	}{
		{"recommended", coverage.Requester{}},
		{"recommended", coverage.Requester{User: "system:node:n1", Groups: []string{"system:nodes"}, Namespace: "kube-node-lease"}},
		{"metadata", coverage.Requester{}},
		{"gce", coverage.Requester{}},
		{"stig", coverage.Requester{User: "a\x1b[2J"}},
	} {
		preset, err := policy.Load(mustPreset(t, c.preset))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		cmd := &cmdline{Streams: Streams{Out: &out, Err: &out}, name: "ktrail"}
		p := cmd.page(&output{format: formatText})
		if err := errors.Join(p.printMatrix(coverage.Of(preset, c.who, policy.BuiltIn()), false), p.flush()); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if visible.Width(strings.TrimSuffix(line, "\n")) > 80 {
				t.Errorf("%s: wider than 80 columns: %s", c.preset, line)
			}
		}
		if strings.Contains(out.String(), "\x1b") {
			t.Errorf("%s: an escape sequence came through", c.preset)
		}
		golden.Check(t, filepath.Join("testdata", "matrix", c.preset+c.who.Namespace+".txt"), out.Bytes())
	}
}

func mustPreset(t *testing.T, name string) []byte {
	t.Helper()
	p, ok := policy.LookupPreset(name)
	if !ok {
		t.Fatalf("no preset %s", name)
	}
	return p.YAML
}
