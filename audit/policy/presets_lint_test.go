package policy_test

import (
	"testing"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/lint"
)

// TestPresetsAreClean holds that no version of Kubernetes gives the linter
// anything to say about a preset, not even a note.
func TestPresetsAreClean(t *testing.T) {
	for _, p := range policy.Presets() {
		for minor := lint.OldestMinor; minor <= 37; minor++ {
			for _, f := range lint.Check(p.Name, p.YAML, lint.Options{Minor: minor}) {
				t.Errorf("1.%d: %s:%d: %s: %s", minor, f.File, f.Line, f.Name, f.Message)
			}
		}
	}
}
