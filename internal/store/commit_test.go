package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
)

// normal makes nil and empty lists the same.
func normal(e audit.Event) audit.Event {
	for _, l := range []*[]string{&e.Groups, &e.AsGroups, &e.SourceIPs} {
		if len(*l) == 0 {
			*l = nil
		}
	}
	e.Version = ""
	return e
}

func TestEveryColumnComesBack(t *testing.T) {
	events := makeEvents(t, 0, 300)
	full := events[17]
	full.Raw += " "
	full.Cluster, full.Source, full.UserUID, full.AsUser, full.AsGroups = "prod", "a.log", "uid", "root", []string{"", "x", "y"}
	full.Agent, full.APIGroup, full.Subresource, full.ObjectUID = "kubectl", "apps", "status", "o-1"
	full.Code, full.Reason, full.Message, full.Decision, full.DecisionReason = -7, "Forbidden", "no\x00\xff", "forbid", "r"
	full.CredentialID, full.Pod, full.Truncated, full.Final = "c", "p", true, false
	events = append(events, full, audit.Event{Raw: "{}"})
	s := mustOpen(t, durable.NewMemFS())
	mustAppend(t, s, Commit{Source: "a", Events: events})
	check := func(what string) {
		t.Helper()
		var got []audit.Event
		for _, g := range s.byTime(func(*segment) bool { return true }) {
			list := rows(t, s, g)
			if int64(len(list)) != g.Rows || list[0].Time != g.MinTime || list[len(list)-1].Time != g.MaxTime {
				t.Errorf("%s: segment %+v does not describe its rows", what, g)
			}
			got = append(got, list...)
		}
		if len(got) != len(events) {
			t.Fatalf("%s: %d rows, want %d", what, len(got), len(events))
		}
		slices.SortFunc(events, func(a, b audit.Event) int { return int(a.ID - b.ID) })
		slices.SortFunc(got, func(a, b audit.Event) int { return int(a.ID - b.ID) })
		for i := range events {
			want := normal(events[i])
			if want.ID != int64(i+1) {
				t.Fatalf("%s: event %d has the ID %d", what, i, want.ID)
			}
			want.Message = strings.ToValidUTF8(want.Message, "\uFFFD") // through JSON in this test
			if !reflect.DeepEqual(normal(got[i]), want) {
				t.Fatalf("%s: event %d\n got %+v\nwant %+v", what, i, got[i], want)
			}
		}
	}
	check("committed")
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.State().Segments; n != 1 {
		t.Errorf("%d segments after compaction, want 1", n)
	}
	check("compacted")
}

func TestDuplicatesAreExact(t *testing.T) {
	s := mustOpen(t, durable.NewMemFS(), func(o *Options) { o.DedupMemory = 1 })
	first := makeEvents(t, 0, 100)
	twice := append(makeEvents(t, 0, 100), makeEvents(t, 0, 50)...)
	if r := mustAppend(t, s, Commit{Source: "a", Events: twice}); r != (Result{100, 50}) {
		t.Fatalf("in one batch: %+v", r)
	}
	for i := range 20 { // other segments, so that the hashes of the first are forgotten
		mustAppend(t, s, Commit{Source: "a", Events: makeEvents(t, 100+10*i, 110+10*i)})
	}
	other := makeEvents(t, 40, 60)
	for i := range other {
		other[i].Raw += " " // the same event and time, another line
	}
	for _, step := range []string{"committed", "compacted", "opened again"} {
		if r := mustAppend(t, s, Commit{Source: "b", Events: makeEvents(t, 30, 310)}); r != (Result{10, 270}) && step == "committed" {
			t.Fatalf("%s: %+v", step, r)
		} else if step != "committed" && r != (Result{0, 280}) {
			t.Fatalf("%s: %+v", step, r)
		}
		switch step {
		case "committed":
			if r := mustAppend(t, s, Commit{Source: "b", Events: other}); r != (Result{20, 0}) {
				t.Fatalf("lines that differ in a byte: %+v", r)
			}
			if err := s.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
		case "compacted":
			fsys := s.fs
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, fsys)
		}
	}
	sameLines(t, "all", lines(t, s), rawLines(first, makeEvents(t, 100, 310), other))
}

func TestConcurrentAppendsShareCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := openMem(t, durable.NewMemFS(), func(o *Options) { o.CommitEvery = 0 })
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var told []int64
		cancel := s.subscribe(func(c committed) {
			for i, e := range c.Events {
				if e.ID != c.First+int64(i) {
					t.Errorf("event %d of the commit %d..%d has the ID %d", i, c.First, c.Last, e.ID)
				}
				told = append(told, e.ID)
			}
		})
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				c := Commit{Source: fmt.Sprint(i % 4), Events: makeEvents(t, 10*i, 10*i+10), Cursor: json.RawMessage(fmt.Sprint(i))}
				if r, err := s.Append(t.Context(), c); err != nil || r.Added != 10 {
					t.Errorf("append %d: %+v, %v", i, r, err)
				}
			})
		}
		wg.Wait()
		cancel()
		if d := time.Since(began); d > time.Second {
			t.Errorf("appends took %v of the clock, a second at most is promised", d)
		}
		st := s.State()
		if st.Events != 400 || st.Segments > 3 || len(told) != 400 || !slices.IsSorted(told) {
			t.Errorf("%d events in %d segments, %d told", st.Events, st.Segments, len(told))
		}
		if c := s.Cursors(); len(c) != 4 {
			t.Errorf("cursors: %v", c)
		}
	})
}

func TestCommitWithoutEvents(t *testing.T) {
	fsys := durable.NewMemFS()
	s := mustOpen(t, fsys)
	mustAppend(t, s, Commit{Source: "a", Cursor: json.RawMessage(`{"at": 1}`)})
	mustAppend(t, s, Commit{
		Source:      "a",
		Quarantined: []Quarantined{{File: "f", Offset: 7, Reason: "torn", Line: []byte("\xff\x00{")}},
		Gaps:        []Gap{{From: 1, To: 2, Reason: "file is gone"}},
	})
	if _, err := s.Append(t.Context(), Commit{Source: "a", Cursor: json.RawMessage(`{`)}); err == nil {
		t.Error("a cursor that is not JSON was taken")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), Commit{Source: "a", Cursor: json.RawMessage(`1`)}); !errors.Is(err, ErrClosed) {
		t.Errorf("append to a closed store: %v", err)
	}
	s = mustOpen(t, fsys)
	st := s.State()
	if got := string(s.Cursors()["a"]); got != `{"at":1}` || st.Quarantined["a"] != 1 || len(st.Gaps["a"]) != 1 || st.Gaps["a"][0].To != 2 {
		t.Errorf("cursor %s, state %+v", got, st)
	}
	b, err := durable.ReadFile(fsys, "/data/quarantine/lines-000000000002.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var q Quarantined
	if err := json.Unmarshal(b, &q); err != nil || string(q.Line) != "\xff\x00{" || q.Source != "a" || q.Offset != 7 {
		t.Errorf("quarantined %+v, %v", q, err)
	}
}

func TestLogsOfDifferentDaysMakeNarrowSegments(t *testing.T) {
	s := mustOpen(t, durable.NewMemFS())
	day := 24 * 3600
	events := append(makeEvents(t, 0, splitRows), makeEvents(t, 5*day, 5*day+splitRows)...)
	mustAppend(t, s, Commit{Source: "a", Events: events})
	list := s.byTime(func(*segment) bool { return true })
	if len(list) != 2 || list[0].MaxTime >= list[1].MinTime || !strings.Contains(list[1].Rel, "2026/11/27/") {
		t.Errorf("segments: %+v", list)
	}
}

func TestAppendWaitsForSpace(t *testing.T) {
	fsys := durable.NewMemFS()
	synctest.Test(t, func(t *testing.T) {
		s, err := openMem(t, fsys, func(o *Options) { o.MinFree = 1 })
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		mustAppend(t, s, Commit{Source: "a", Events: makeEvents(t, 0, 10)})
		// Room for a part of the next segment only: ENOSPC comes in its middle.
		fsys.SetCapacity(used(fsys) + 3000)
		results := make(chan error, 1)
		go func() {
			_, err := s.Append(t.Context(), Commit{Source: "a", Events: makeEvents(t, 10, 500), Cursor: json.RawMessage(`500`)})
			results <- err
		}()
		ctx, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error, 1)
		go func() {
			_, err := s.Append(ctx, Commit{Source: "b", Events: makeEvents(t, 900, 910)})
			gaveUp <- err
		}()
		time.Sleep(10 * time.Second) // of synctest's clock
		synctest.Wait()
		if st := s.State(); st.State != StateLowDisk || st.Events != 10 || st.Reason == "" {
			t.Errorf("state with a full disk: %+v", st)
		}
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("append that was given up: %v", err)
		}
		select {
		case err := <-results:
			t.Fatalf("append returned with a full disk: %v", err)
		default:
		}
		fsys.SetCapacity(0)
		if err := <-results; err != nil {
			t.Fatal(err)
		}
		if st := s.State(); st.State != StateOK || st.Events != 500 || string(s.Cursors()["a"]) != "500" {
			t.Errorf("state with space again: %+v", st)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, f := range filesBelow(fsys, "/data/segments") {
			if strings.HasSuffix(f, tmpSuffix) {
				t.Errorf("%s was left behind", f)
			}
		}
	})
	// Outside, for decoders of zstd are shared and may not leave a bubble.
	sameLines(t, "all", lines(t, mustOpen(t, fsys)), rawLines(makeEvents(t, 0, 500)))
}

// filesBelow returns the files below dir.
func filesBelow(fsys durable.FS, dir string) []string {
	entries, _ := fsys.ReadDir(dir)
	var out []string
	for _, e := range entries {
		if name := dir + "/" + e.Name(); e.IsDir() {
			out = append(out, filesBelow(fsys, name)...)
		} else {
			out = append(out, name)
		}
	}
	return out
}

func used(fsys durable.FS) int64 {
	var n int64
	for _, f := range filesBelow(fsys, "/data") {
		if st, err := fsys.Stat(f); err == nil {
			n += st.Size()
		}
	}
	return n
}

func TestLineHashesCannotBeForeseen(t *testing.T) {
	a, b := newDedup(1), newDedup(1)
	if a.hash("line") == b.hash("line") {
		t.Error("two stores hash a line alike, so anyone can look for one that collides")
	}
	if line := []byte("line"); a.hash("line") != a.hash(string(line)) {
		t.Error("a store does not know its own hashes")
	}
}

// TestTimesOfAnyYear stores events whose times are in years that RFC 3339 has no
// form for: an offset takes them beyond 9999 or before 0.
func TestTimesOfAnyYear(t *testing.T) {
	fsys := durable.NewMemFS()
	s := mustOpen(t, fsys)
	var batch audit.Batch
	for _, at := range []string{"9999-12-31T23:59:59-12:00", "0000-01-01T00:00:00+12:00", "2026-11-22T10:00:00Z"} {
		line := `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a","stage":"Panic","stageTimestamp":"` + at + `"}`
		if err := batch.Add([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range batch.Events {
		mustAppend(t, s, Commit{Source: "a", Events: batch.Events[i : i+1]})
	}
	want := rawLines(batch.Events)
	sameLines(t, "committed", lines(t, s), want)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, fsys)
	if d := s.State().Damage; len(d) > 0 {
		t.Errorf("damage: %v", d)
	}
	sameLines(t, "opened again", lines(t, s), want)
}

// TestAppendIsGivenUpDuringACommit cancels an Append while a commit has its
// events, which then meets a full disk: it returns though there is no space.
func TestAppendIsGivenUpDuringACommit(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	fsys := &durable.FaultFS{FS: durable.NewMemFS()}
	armed := false
	fsys.Decide = func(_ int, op, name string) durable.Fault {
		if armed && op == "sync" && strings.HasSuffix(name, tmpSuffix) {
			cancel()
			return durable.Fault{Err: syscall.ENOSPC}
		}
		return durable.Fault{}
	}
	synctest.Test(t, func(t *testing.T) {
		s, err := openMem(t, fsys)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		armed = true
		began := time.Now()
		if _, err := s.Append(ctx, step(t, 0)); !errors.Is(err, context.Canceled) {
			t.Errorf("append: %v", err)
		}
		if d := time.Since(began); d > time.Minute {
			t.Errorf("append returned after %v", d)
		}
		if st := s.State(); st.State != StateLowDisk || st.Events > 0 {
			t.Errorf("state %+v", st)
		}
	})
}

// TestIDsAreNotGivenTwice fails a commit after its record is written, where a
// reader beside the store finds it.
func TestIDsAreNotGivenTwice(t *testing.T) {
	mem := durable.NewMemFS()
	armed := false
	fsys := &durable.FaultFS{FS: mem, Decide: func(_ int, op, name string) durable.Fault {
		if armed && op == "sync" && name == "/data/"+manifestName {
			armed = false
			return durable.Fault{Err: syscall.EIO, Done: true}
		}
		return durable.Fault{}
	}}
	s := mustOpen(t, fsys)
	armed = true
	if _, err := s.Append(t.Context(), step(t, 0)); err == nil {
		t.Fatal("the commit did not fail")
	}
	seen := mustOpen(t, mem, readOnly).State().LastID
	mustAppend(t, s, step(t, 1))
	g := s.byTime(func(*segment) bool { return true })
	if seen != 7 || len(g) != 1 || g[0].MinID <= seen {
		t.Errorf("a reader saw IDs up to %d, other events have %d to %d", seen, g[0].MinID, g[0].MaxID)
	}
}
