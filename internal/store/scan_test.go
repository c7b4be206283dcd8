package store

import (
	"errors"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// TestScanOrEngine holds which questions a scan answers. That its answers are
// right, the tests of what asks hold.
func TestScanOrEngine(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	fill(t, s, sampleEvents(t), 3)
	sn, err := s.acquire(query.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer sn.release()
	for _, c := range []struct {
		filter, by string
		scan       bool
	}{
		{"", "", true},
		{"", "user", true},
		{"", "final,truncated,code,groups,source_ips,agent", true},
		{`user == "system:apiserver" && name != ""`, "cluster,namespace,api_group,resource,name", true},
		{`"system:masters" in groups || code >= 400`, "verb", true},
		{`!(size(source_ips) == 0) && user != as_user`, "uri,message", true},
		{"", "id", false},
		{"", "time", false},
		{"", "latency_us", false},
		{`audit_id != "x"`, "verb", false},
		{`verb == "get" && latency_us > 5`, "verb", false},
		{"false", "verb", false},
	} {
		f, err := query.Parse(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		r := query.GroupRequest{Filter: f}
		if c.by != "" {
			r.By = strings.Split(c.by, ",")
		}
		g, err := newGrouping(r)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := s.scanGroups(t.Context(), sn.Segments, f, query.Range{}, []grouping{g})
		if c.scan && (err != nil || len(rows[0]) == 0) || !c.scan && !errors.Is(err, errEngine) {
			t.Errorf("%q by %q: scan %v, %v", c.filter, c.by, c.scan, err)
		}
	}
}

// TestScanCombines holds each way of numbering combinations against strings.
func TestScanCombines(t *testing.T) {
	for _, sizes := range [][2]int{{3, 5}, {200, 90}, {3000, 2000}} {
		const n = 2000
		codes, rows, c := make([]int32, n), make([]int32, n), &coded{n: sizes[1]}
		type pair struct{ a, b int32 }
		var want []pair
		for i := range int32(n) {
			rows[i] = i
			codes[i] = i * 7 % int32(sizes[0])
			c.codes = append(c.codes, i*13%int32(sizes[1]))
			want = append(want, pair{codes[i], c.codes[i]})
		}
		count := combine(codes, sizes[0], rows, c)
		code, of := map[pair]int32{}, map[int32]pair{}
		for i, p := range want {
			if codes[i] < 0 || int(codes[i]) >= count {
				t.Fatalf("%v: code %d of %d", sizes, codes[i], count)
			}
			if was, ok := code[p]; ok && was != codes[i] {
				t.Fatalf("%v: %v has codes %d and %d", sizes, p, was, codes[i])
			}
			if was, ok := of[codes[i]]; ok && was != p {
				t.Fatalf("%v: code %d is of %v and %v", sizes, codes[i], was, p)
			}
			code[p], of[codes[i]] = codes[i], p
		}
	}
}

// TestScanTooMany: more groups than a scan holds are counted all the same.
func TestScanTooMany(t *testing.T) {
	ts := tallies{}
	var n counted
	n.Count = 1
	for i := range int64(scanGroups) {
		if err := ts.add(nil, []int64{i}, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := ts.add(nil, []int64{0}, n); err != nil || len(ts) != scanGroups {
		t.Errorf("%d groups, %v", len(ts), err)
	}
	if err := ts.add(nil, []int64{scanGroups}, n); !errors.Is(err, errEngine) {
		t.Errorf("one too many: %v", err)
	}
	// A row group with many rows to count by name.
	s := openTestStore(t, t.TempDir())
	events := make([]audit.Event, scanNamed+1)
	for i := range events {
		events[i] = audit.Event{Time: audit.Time(i + 1), Name: strings.Repeat("n", i%9), Final: true, Raw: `{"n":` + strings.Repeat("1", i%9+1) + strings.Repeat(" ", i) + `}`}
	}
	fill(t, s, events, 1)
	rows, _, err := s.Group(t.Context(), query.GroupRequest{By: []string{"name"}})
	if err != nil || len(rows) != 9 {
		t.Errorf("%d names, %v", len(rows), err)
	}
}

// TestScanConjuncts: the conditions of a filter are the filter.
func TestScanConjuncts(t *testing.T) {
	events := sampleEvents(t)
	for text, parts := range map[string]int{
		"": 0, `verb == "get"`: 1, `verb == "get" && (code == 200 && final)`: 3, `verb == "get" || final`: 1,
		`!(verb == "get" && final) && groups.exists(g, g == "system:masters")`: 2,
	} {
		f, err := query.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		all := f.Conjuncts()
		if len(all) != parts {
			t.Errorf("%s: %d conjuncts, want %d", text, len(all), parts)
		}
		for i := range events {
			e, every := &events[i], true
			var seen audit.Event
			for _, c := range all {
				// It sees the columns that it uses, and no others.
				seen = audit.Event{}
				for _, name := range usedBy(c) {
					copyField(&seen, e, name)
				}
				every = every && c.Match(&seen)
			}
			if every != f.Match(e) {
				t.Fatalf("%s: event %d: %v", text, i, every)
			}
		}
	}
}

func copyField(to, from *audit.Event, name string) {
	switch p := fieldsOf(to)[name].(type) {
	case *string:
		*p = *fieldsOf(from)[name].(*string)
	case *int32:
		*p = *fieldsOf(from)[name].(*int32)
	case *bool:
		*p = *fieldsOf(from)[name].(*bool)
	case *[]string:
		*p = *fieldsOf(from)[name].(*[]string)
	}
}
