package web

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// TestAround: the nearest events of both sides, newest first, each once, also
// where several are of the same microsecond and where they are far apart.
func TestAround(t *testing.T) {
	at := sampleTime("2026-11-10T12:00:00.000000Z")
	gaps := []time.Duration{
		-8 * 24 * time.Hour, -6 * 24 * time.Hour, -5 * time.Hour, -time.Minute, -2 * time.Microsecond, 0, 0, 0, time.Second, 30 * time.Minute, 2 * time.Hour, 3 * time.Hour, 4 * time.Hour, 8 * 24 * time.Hour,
	}
	const open = 6 // the second of three at once
	events := make([]audit.Event, 0, len(gaps)+1)
	for i, gap := range gaps {
		events = append(events, audit.Event{
			AuditID: fmt.Sprint(i), Stage: "ResponseComplete", Final: true, Verb: "get", User: "u", Resource: "pods", Namespace: "n", Name: fmt.Sprint(i % 2),
			Time: at + audit.Time(gap.Microseconds()),
		})
	}
	first := events[open]
	first.Stage, first.Final, first.Time = "RequestReceived", false, first.Time-5
	events = append(events, first)
	ts := newTestServer(t, events)
	e, err := ts.inner.event(httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), fmt.Sprint(open+1))
	if err != nil {
		t.Fatal(err)
	}
	a, err := ts.inner.around(t.Context(), e, pageQuery{Verb: "get"})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Stages) != 2 || a.Stages[0].Stage != "RequestReceived" || a.Stages[0].Gap != "−5 µs" || !a.Stages[1].Open {
		t.Errorf("stages %+v", a.Stages)
	}
	for i, want := range [][]string{
		{"+2 h 0 m", "+30 m 0 s", "+1.0 s", "+0 µs", "", "+0 µs", "−2 µs", "−1 m 0 s", "−5 h 0 m"},
		{"+4 h 0 m", "+2 h 0 m", "+1.0 s", "", "−2 µs", "−5 h 0 m"},
	} {
		var got []string
		for _, r := range a.Lists[i].Rows {
			got = append(got, r.Gap)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %q, want %q", a.Lists[i].Title, got, want)
		}
		if a.Lists[i].All == "" || a.Lists[i].Rows[0].URL == "" {
			t.Errorf("%s leads nowhere", a.Lists[i].Title)
		}
	}
	// Events of nobody, of no object and without a time have no neighbours.
	if a, err = ts.inner.around(t.Context(), &audit.Event{}, pageQuery{}); err != nil || len(a.Lists)+len(a.Stages) != 0 {
		t.Errorf("%+v, %v", a, err)
	}
}
