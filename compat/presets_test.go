package compat

import (
	"math/rand/v2"
	"testing"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/coverage"
)

// TestPresets holds that the API server loads every preset and takes it as ktrail does.
func TestPresets(t *testing.T) {
	for _, preset := range policy.Presets() {
		if !holdLoad(t, preset.YAML) {
			t.Errorf("%s is refused", preset.Name)
		}
		p, err := policy.Load(preset.YAML)
		if err != nil {
			t.Fatal(err)
		}
		requests := sample(t)
		for seed := range uint64(20) {
			r := random{rand.New(rand.NewPCG(seed, 11))}
			for range 100 {
				requests = append(requests, requestFor(r, p))
			}
		}
		hold(t, p, requests)
	}
}

// TestDiffExamples holds that the API server's evaluator tells apart what Diff
// says is told apart: the example of each change.
func TestDiffExamples(t *testing.T) {
	presets := policy.Presets()
	for i := range presets {
		a, err := policy.Load(presets[i].YAML)
		if err != nil {
			t.Fatal(err)
		}
		b, err := policy.Load(presets[(i+1)%len(presets)].YAML)
		if err != nil {
			t.Fatal(err)
		}
		changes, err := coverage.Diff(a, b)
		if err != nil || len(changes) == 0 {
			t.Fatalf("%s and %s: %d changes, %v", presets[i].Name, presets[(i+1)%len(presets)].Name, len(changes), err)
		}
		for _, c := range changes {
			before := hold(t, a, []*policy.Attributes{&c.Example})[0]
			after := hold(t, b, []*policy.Attributes{&c.Example})[0]
			if c.Field == "level" && (before.Level.String() != c.From || after.Level.String() != c.To) {
				t.Errorf("%s: %v and %v", c.Text, before.Level, after.Level)
			}
		}
	}
}
