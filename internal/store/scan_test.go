package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
	var left atomic.Int64
	left.Store(1000 * (scanGroup + 2*2))
	ts := newTallies(1, &left)[0]
	var n counted
	n.Count = 1
	for i := range int64(1000) {
		if err := ts.add(nil, []int64{100 + i}, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := ts.add(nil, []int64{100}, n); err != nil || len(ts.groups) != 1000 {
		t.Errorf("%d groups, %v", len(ts.groups), err)
	}
	if err := ts.add(nil, []int64{-100}, n); !errors.Is(err, errEngine) {
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

// TestScanMemory: long texts are for the engine, whose memory is limited, and so
// are more groups than fit.
func TestScanMemory(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	var events []audit.Event
	for i := range 3000 {
		id := fmt.Sprintf("%08d", i)
		uri := "/" + id + strings.Repeat("x", 8<<10)
		events = append(events, audit.Event{Time: audit.Time(i + 1), AuditID: id, Raw: id, Final: true, URI: uri, Agent: uri[:2000], Verb: "get"})
	}
	fill(t, s, events, 1)
	sn, err := s.acquire(query.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer sn.release()
	for by, scan := range map[string]bool{"verb": true, "agent": true, "uri": false} {
		g, err := newGrouping(query.GroupRequest{By: []string{by}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.scanGroups(t.Context(), sn.Segments, nil, query.Range{}, []grouping{g})
		if scan && err != nil || !scan && !errors.Is(err, errEngine) {
			t.Errorf("by %s: scan %v, %v", by, scan, err)
		}
	}
	rows, _, err := s.Group(t.Context(), query.GroupRequest{By: []string{"uri"}, Limit: 3})
	if err != nil || len(rows) != 3 || rows[0].Keys[0] != events[0].URI {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

// TestScanRows: a footer that tells other rows than the MANIFEST is not believed.
func TestScanRows(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	fill(t, s, sampleEvents(t)[:50], 1)
	sn, err := s.acquire(query.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer sn.release()
	for more, wrong := range map[int64]bool{-1: true, 0: false, 1: true} {
		other := *sn.Segments[0]
		other.Rows += more
		_, err := s.scanGroups(t.Context(), []*segment{&other}, nil, query.Range{}, make([]grouping, 1))
		var unreadable *engineError
		if errors.As(err, &unreadable) != wrong {
			t.Errorf("%d rows more: %v", more, err)
		}
	}
}

// TestScanEnds: a question that nobody waits for any more reads nothing, and
// leaves its turn and no file open.
func TestScanEnds(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	fill(t, s, sampleEvents(t), 3)
	files := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(list)
	}
	r := query.GroupRequest{By: []string{"verb"}}
	if _, _, err := s.Group(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	before := files()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		if _, _, err := s.Group(ctx, r); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	// All turns are taken, and nobody gives one back.
	for range cap(s.scans) {
		s.scans <- struct{}{}
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, _, err := s.Group(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	for range cap(s.scans) {
		<-s.scans
	}
	if after := files(); after > before {
		t.Errorf("%d files are open, %d before", after, before)
	}
	if rows, _, err := s.Group(t.Context(), r); err != nil || len(rows) == 0 || len(s.scans) != 0 || len(s.scanning) != 0 {
		t.Errorf("afterwards: %d rows, %v, %d turns taken", len(rows), err, len(s.scans)+len(s.scanning))
	}
}
