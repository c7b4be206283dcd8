package app

import (
	"slices"
	"testing"

	"github.com/ktrail/ktrail/internal/collect"
	"github.com/ktrail/ktrail/internal/store"
	"github.com/ktrail/ktrail/internal/web"
)

func TestReadiness(t *testing.T) {
	damage := store.Damage{File: "segments/1.parquet", Offset: 5, Reason: "the checksum differs"}
	source := func(state, why string) []collect.State {
		return []collect.State{{Name: "/a.log", State: state, Error: why}}
	}
	for _, tt := range []struct {
		name    string
		store   store.State
		sources []collect.State
		ready   bool
		reasons []string
	}{
		{"all well", store.State{State: store.StateOK}, source(collect.StateFollowing, ""), true, nil},
		{"no logs", store.State{State: store.StateOK}, nil, true, nil},
		{
			"low disk",
			store.State{State: store.StateLowDisk, Reason: "5 bytes are free"},
			source(collect.StatePaused, "no space"),
			false,
			[]string{"store: low disk: 5 bytes are free", "source /a.log: paused: no space"},
		},
		{"failed without a word", store.State{State: store.StateFailed}, nil, false, []string{"store: failed"}},
		{"a log that is not there", store.State{State: store.StateOK}, source(collect.StateWaiting, ""), true, []string{"source /a.log: waiting for file"}},
		{"catching up", store.State{State: store.StateOK}, source(collect.StateCatchingUp, ""), true, nil},
		{"stopped", store.State{State: store.StateOK}, source(collect.StateStopped, ""), false, []string{"source /a.log: stopped"}},
		{"damage", store.State{State: store.StateOK, Damage: []store.Damage{damage}}, nil, true, []string{damage.String()}},
	} {
		got := statusOf("v", tt.store, tt.sources)
		if got.Ready != tt.ready || !slices.Equal(got.Reasons, tt.reasons) {
			t.Errorf("%s: ready %v, %q; want %v, %q", tt.name, got.Ready, got.Reasons, tt.ready, tt.reasons)
		}
	}
}

// TestGapsAreTold: those of the store and those just found, each once, also of a
// log that is not followed any more.
func TestGapsAreTold(t *testing.T) {
	st := store.State{
		State: store.StateOK,
		Gaps: map[string][]store.Gap{
			"/a.log":   {{Source: "/a.log", From: 1, To: 2, Reason: "removed", At: 10}},
			"/old.log": {{Source: "/old.log", From: 3, To: 4, Reason: "copied", At: 11}},
			"/no.log":  {},
		},
		Quarantined: map[string]int64{"/a.log": 7, "/old.log": 2, "import:x": 3},
	}
	sources := []collect.State{{
		Name: "/a.log", State: collect.StateFollowing, Quarantined: 1,
		Gaps: []collect.Gap{
			{Source: "/a.log", From: 1, To: 2, Reason: "removed", At: 10},
			{Source: "/a.log", From: 5, To: 6, Reason: "removed", At: 12},
		},
	}}
	got := statusOf("v", st, sources)
	want := map[string][]web.Gap{
		"/a.log":   {{From: 1, To: 2, Reason: "removed", At: 10}, {From: 5, To: 6, Reason: "removed", At: 12}},
		"/old.log": {{From: 3, To: 4, Reason: "copied", At: 11}},
	}
	if len(got.Sources) != len(want) || !got.Ready || got.Store.Quarantined != 12 {
		t.Fatalf("got %+v", got)
	}
	for _, s := range got.Sources {
		if !slices.Equal(s.Gaps, want[s.Name]) {
			t.Errorf("%s: gaps %+v, want %+v", s.Name, s.Gaps, want[s.Name])
		}
		if s.Quarantined != st.Quarantined[s.Name] {
			t.Errorf("%s: %d quarantined", s.Name, s.Quarantined)
		}
	}
}
