package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/query/querytest"
)

// TestDayPrimitives holds what Day is made of against the in-memory source, by
// scans and by the engine.
func TestDayPrimitives(t *testing.T) {
	byBoth(t, testDayPrimitives)
}

// byBoth runs a test with a store that scans, and with one that asks the engine
// for all that it is asked.
func byBoth(t *testing.T, test func(t *testing.T, open func(testing.TB) *Store)) {
	t.Run("scan", func(t *testing.T) {
		test(t, func(t testing.TB) *Store { return openTestStore(t, t.TempDir()) })
	})
	t.Run("engine", func(t *testing.T) {
		test(t, func(t testing.TB) *Store {
			s := openTestStore(t, t.TempDir())
			s.scans = nil
			return s
		})
	})
}

func testDayPrimitives(t *testing.T, open func(testing.TB) *Store) {
	events := sampleEvents(t)
	s := open(t)
	fill(t, s, events, 4)
	slices.SortFunc(events, func(a, b audit.Event) int { return cmp.Compare(a.ID, b.ID) })
	mem := querytest.New(events...)
	middle := events[len(events)/2].Time
	f, err := query.Parse(`user.startsWith("system:") && final`)
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, filter := range []*query.Filter{nil, f} {
		for _, r := range []query.Range{{}, {From: middle}, {From: middle - 60e6, To: middle + 60e6}} {
			for _, width := range []int64{1, 1e6, 30 * 60e6, 1 << 50} {
				for _, limit := range []int{0, 7} {
					q := query.ActivityRequest{Filter: filter, Range: r, Width: width, Limit: limit}
					got, _, err := s.Activity(t.Context(), q)
					if err != nil {
						t.Fatal(err)
					}
					want, _, err := mem.Activity(t.Context(), q)
					if err != nil {
						t.Fatal(err)
					}
					rows += len(got)
					same(t, fmt.Sprintf("activity %+v", q), got, want)
				}
			}
			for _, by := range [][]string{{"agent"}, {"source_ips"}, {"verb", "resource"}, {"cluster", "pod"}} {
				q := query.GroupRequest{Filter: filter, Range: r, By: by, FirstID: true}
				got, _, err := s.Group(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				want, _, err := mem.Group(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				rows += len(got)
				same(t, fmt.Sprintf("group %+v", q), got, want)
			}
		}
	}
	if rows < 1000 {
		t.Errorf("only %d rows were compared", rows)
	}
}

// TestGroupsAreGroups: what is asked for at once is what is asked for alone, which
// the in-memory source holds.
func TestGroupsAreGroups(t *testing.T) {
	byBoth(t, testGroupsAreGroups)
}

func testGroupsAreGroups(t *testing.T, open func(testing.TB) *Store) {
	events := sampleEvents(t)
	s := open(t)
	fill(t, s, events, 4)
	slices.SortFunc(events, func(a, b audit.Event) int { return cmp.Compare(a.ID, b.ID) })
	mem := querytest.New(events...)
	parse := func(text string) *query.Filter {
		f, err := query.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	failed := query.GroupRequest{By: []string{"code", "reason", "verb", "resource"}, Having: parse("code >= 400"), Limit: 5}
	system := query.GroupRequest{By: []string{"user"}, Having: parse(`!user.startsWith("system:")`), Writes: true}
	for _, rs := range [][]query.GroupRequest{
		{{CountOnly: true}, {By: []string{"verb"}, Limit: 3, CountOnly: true}, {By: []string{"source_ips"}, Contains: "1", CountOnly: true}, {By: []string{"code"}, CountOnly: true}},
		{{}, {By: []string{"resource", "verb"}, FirstID: true}, failed, {By: []string{"verb", "resource"}, WritesFirst: true, Limit: 7}, system, {By: []string{"groups", "source_ips"}}, {By: []string{"verb", "resource"}}},
		{{By: []string{"truncated", "code"}, Skip: 1}},
		{{}, {CountOnly: true}},
	} {
		for _, f := range []*query.Filter{nil, parse("final && user != \"system:apiserver\""), parse(`user == "nobody"`)} {
			for _, r := range []query.Range{{}, {From: events[len(events)/3].Time}, {To: 1}} {
				for i := range rs {
					rs[i].Filter, rs[i].Range = f, r
				}
				got, _, err := s.Groups(t.Context(), rs)
				if err != nil {
					t.Fatal(err)
				}
				want, _, err := mem.Groups(t.Context(), rs)
				if err != nil || len(got) != len(want) {
					t.Fatalf("%d answers, want %d: %v", len(got), len(want), err)
				}
				for i := range rs {
					if len(rs[i].By) == 0 && len(want[i]) == 0 {
						want[i] = []query.GroupRow{{Keys: []string{}}} // the sum of nothing
					}
					same(t, fmt.Sprintf("%d of %s since %d", i, f.String(), r.From), got[i], want[i])
					alone, _, err := s.Group(t.Context(), rs[i])
					if err != nil {
						t.Fatal(err)
					}
					same(t, fmt.Sprintf("%d alone of %s since %d", i, f.String(), r.From), alone, want[i])
				}
			}
		}
	}
	if rows, _, err := s.Groups(t.Context(), nil); err != nil || len(rows) != 0 {
		t.Errorf("nothing asked: %v, %v", rows, err)
	}
	var usage *query.UsageError
	for _, bad := range []query.GroupRequest{{By: []string{"nosuch"}}, {By: []string{"verb", "verb"}}, {By: []string{"raw"}}} {
		if _, _, err := s.Groups(t.Context(), []query.GroupRequest{{}, bad}); !errors.As(err, &usage) {
			t.Errorf("by %v: %v, want a usage error", bad.By, err)
		}
	}
}

// TestListsCountOnce: an event counts once for a value that its list has twice. A
// client can write X-Forwarded-For as it likes.
func TestListsCountOnce(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	twice := []string{"10.0.0.1", "", "10.0.0.1", "10.0.0.1"}
	events := []audit.Event{
		{Time: 5, AuditID: "a", Raw: "a", Final: true, Code: 403, Verb: "delete", SourceIPs: twice, Groups: []string{"g", "g"}},
		{Time: 4, AuditID: "b", Raw: "b", Final: true, Verb: "get", SourceIPs: []string{"10.0.0.1", "10.0.0.2"}, Groups: []string{"g"}},
		{Time: 3, AuditID: "c", Raw: "c", Final: true, Verb: "get", Groups: []string{"g"}},
	}
	fill(t, s, events, 1)
	slices.SortFunc(events, func(a, b audit.Event) int { return cmp.Compare(a.ID, b.ID) })
	mem := querytest.New(events...)
	for _, r := range []query.GroupRequest{
		{By: []string{"source_ips"}, FirstID: true, Writes: true},
		{By: []string{"source_ips", "groups", "verb"}, WritesFirst: true, Skip: 1},
		{By: []string{"groups"}, CountOnly: true, Contains: "G"},
	} {
		got, _, err := s.Group(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		want, _, err := mem.Group(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprintf("group %+v", r), got, want)
	}
	rows, _, err := s.Group(t.Context(), query.GroupRequest{By: []string{"source_ips"}, CountOnly: true})
	if got, want := fmt.Sprint(rows), "[{[10.0.0.1] 2 0   0 0} {[] 1 0   0 0} {[10.0.0.2] 1 0   0 0}]"; err != nil || got != want {
		t.Errorf("got %s, want %s; %v", got, want, err)
	}
}

// same compares rows of either source by what they print.
func same[T any](t *testing.T, what string, got, want []T) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d rows, want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		if g, w := fmt.Sprintf("%+v", got[i]), fmt.Sprintf("%+v", want[i]); g != w {
			t.Errorf("%s: row %d\n got %s\nwant %s", what, i, g, w)
			return
		}
	}
}

// TestMemoryIsLimited: a question that needs too much says how to ask for less,
// and the next one is answered.
func TestMemoryIsLimited(t *testing.T) {
	s, err := Open(t.Context(), Options{Dir: t.TempDir(), Logger: quiet(), NoBackground: true, MinFree: 1, MemoryLimit: 8 << 20, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var events []audit.Event
	for i := range 60_000 {
		id := fmt.Sprintf("%064d", i)
		events = append(events, audit.Event{Time: audit.Time(i + 1), AuditID: id, Raw: id, Final: true})
	}
	fill(t, s, events, 1)
	_, _, err = s.Group(t.Context(), query.GroupRequest{By: []string{"audit_id", "id"}})
	var usage *query.UsageError
	if !errors.As(err, &usage) || !strings.Contains(usage.Message, "shorter time") || !strings.Contains(usage.Message, "narrower filter") {
		t.Errorf("got %v", err)
	}
	if got, _, err := s.Activity(t.Context(), query.ActivityRequest{Width: 1 << 40}); err != nil || len(got) == 0 {
		t.Errorf("afterwards: %d rows, %v", len(got), err)
	}
}
