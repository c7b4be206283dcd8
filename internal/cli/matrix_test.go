package cli

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/coverage"
)

var rewriteMatrix = flag.Bool("rewrite", false, "write the goldens in testdata/matrix anew")

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
			if textWidth(strings.TrimSuffix(line, "\n")) > 80 {
				t.Errorf("%s: wider than 80 columns: %s", c.preset, line)
			}
		}
		if strings.Contains(out.String(), "\x1b") {
			t.Errorf("%s: an escape sequence came through", c.preset)
		}
		path := filepath.Join("testdata", "matrix", c.preset+clean(c.who.Namespace)+".txt")
		if *rewriteMatrix {
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil || out.String() != string(want) {
			t.Errorf("%s differs (%v); run go test -rewrite and review the difference\ngot:\n%s", path, err, &out)
		}
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
