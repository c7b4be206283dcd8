package policy_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/policy"
)

func TestPresetsAreTheFiles(t *testing.T) {
	files, err := fs.Glob(os.DirFS("presets"), "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	presets := policy.Presets()
	if len(files) != len(presets) || len(presets) < 6 {
		t.Fatalf("%d presets, %d files", len(presets), len(files))
	}
	for _, p := range presets {
		if !strings.HasPrefix(string(p.YAML), "# "+p.Name+": "+p.Purpose+"\n") || p.Purpose == "" || len(p.Purpose) > 100 {
			t.Errorf("%s: does not begin with its name and its purpose %q in a line", p.Name, p.Purpose)
		}
		if again, ok := policy.LookupPreset(p.Name); !ok || string(again.YAML) != string(p.YAML) {
			t.Errorf("LookupPreset(%q) is another policy", p.Name)
		}
	}
	for _, name := range []string{"", "Recommended", "../presets/cis", "cis.yaml"} {
		if _, ok := policy.LookupPreset(name); ok {
			t.Errorf("LookupPreset(%q) finds a policy", name)
		}
	}
}
