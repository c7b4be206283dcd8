package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
)

// errPower is what every operation gets after the power was cut.
var errPower = errors.New("the power is off")

const workSteps = 6

// step is the workload's batch number i: some events, a cursor, sometimes a
// line that cannot be decoded and a gap.
func step(t testing.TB, i int) Commit {
	c := Commit{Source: "a", Events: makeEvents(t, 7*i, 7*i+7), Cursor: json.RawMessage(strconv.Itoa(i + 1))}
	if i%4 == 1 {
		c.Quarantined = []Quarantined{{File: "f", Offset: int64(i), Reason: "torn", Line: []byte("x")}}
		c.Gaps = []Gap{{From: 1, To: 2, Reason: "gone"}}
	}
	return c
}

// work resumes at the cursor and appends what is missing, compacting and
// dropping old files now and then. It returns how many steps were acknowledged,
// and the first error.
func work(t testing.TB, fsys durable.FS) (acked int, err error) {
	s, err := openMem(t, fsys)
	if err != nil {
		return 0, err
	}
	defer func() {
		if cerr := s.Close(); err == nil {
			err = cerr
		}
	}()
	if c := s.Cursors()["a"]; c != nil {
		if acked, err = strconv.Atoi(string(c)); err != nil {
			return 0, err
		}
	}
	for i := acked; i < workSteps; i++ {
		if _, err := s.Append(t.Context(), step(t, i)); err != nil {
			return acked, err
		}
		acked = i + 1
		if i%3 == 2 {
			if err := s.Compact(t.Context()); err != nil {
				return acked, err
			}
		}
		if i == 4 { // as if the MANIFEST had grown large
			s.writing.Lock()
			err := s.rewriteManifest()
			s.writing.Unlock()
			if err != nil {
				return acked, err
			}
		}
	}
	return acked, nil
}

func workLines(t testing.TB, steps int) []string {
	var all [][]audit.Event
	for i := range steps {
		all = append(all, step(t, i).Events)
	}
	return rawLines(all...)
}

// countOps tells how many operations the workload has.
func countOps(t *testing.T) int {
	f := &durable.FaultFS{FS: durable.NewMemFS(), Decide: func(int, string, string) durable.Fault { return durable.Fault{} }}
	if n, err := work(t, f); err != nil || n != workSteps {
		t.Fatalf("the workload without a fault: %d steps, %v", n, err)
	}
	if f.Ops() < 80 {
		t.Fatalf("the workload has %d operations only", f.Ops())
	}
	return f.Ops()
}

// TestCrashAtEveryOperation cuts the power after each operation in turn. What
// comes up has every acknowledged event once, and what was under way whole or not at all.
func TestCrashAtEveryOperation(t *testing.T) {
	t.Parallel()
	for k := range countOps(t) {
		k++
		for seed := range uint64(2) {
			mem := durable.NewMemFS()
			f := &durable.FaultFS{FS: mem, Decide: func(n int, _, _ string) durable.Fault {
				if n > k {
					return durable.Fault{Err: errPower}
				}
				return durable.Fault{}
			}}
			acked, _ := work(t, f)
			var rnd *rand.Rand
			if seed > 0 {
				rnd = rand.New(rand.NewPCG(seed, uint64(k)))
			}
			checkAfter(t, fmt.Sprintf("crash after operation %d, seed %d", k, seed), mem.Crash(rnd), acked)
		}
	}
}

// checkAfter opens what a crash or a fault left and holds it against what was acknowledged.
func checkAfter(t *testing.T, what string, fsys *durable.MemFS, acked int) {
	t.Helper()
	s, err := openMem(t, fsys)
	if err != nil {
		t.Fatalf("%s: open: %v", what, err)
	}
	st := s.State()
	cursor := 0
	if c := s.Cursors()["a"]; c != nil {
		if cursor, err = strconv.Atoi(string(c)); err != nil {
			t.Fatal(err)
		}
	}
	if cursor < acked || cursor > acked+1 {
		t.Fatalf("%s: %d steps acknowledged, the cursor says %d", what, acked, cursor)
	}
	if len(st.Damage) > 0 {
		t.Fatalf("%s: damage: %v", what, st.Damage)
	}
	sameLines(t, what, lines(t, s), workLines(t, cursor))
	if want := int64((cursor + 2) / 4); st.Quarantined["a"] != want || int64(len(st.Gaps["a"])) != want {
		t.Fatalf("%s: %d steps, %d lines quarantined, %d gaps, want %d", what, cursor, st.Quarantined["a"], len(st.Gaps["a"]), want)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("%s: close: %v", what, err)
	}
	for _, name := range filesBelow(fsys, "/data/quarantine") {
		if !strings.Contains(name, "/lines-") {
			t.Fatalf("%s: %s was moved aside", what, name)
		}
	}
	// And it goes on from there.
	if n, err := work(t, fsys); err != nil || n != workSteps {
		t.Fatalf("%s: going on: %d steps, %v", what, n, err)
	}
	s, err = openMem(t, fsys)
	if err != nil {
		t.Fatalf("%s: open again: %v", what, err)
	}
	defer func() { _ = s.Close() }()
	sameLines(t, what+", going on", lines(t, s), workLines(t, workSteps))
	live := map[string]bool{}
	for _, g := range s.byTime(func(*segment) bool { return true }) {
		live[g.Path] = true
	}
	for _, name := range filesBelow(fsys, "/data/segments") {
		if !live[name] {
			t.Fatalf("%s: %s is left over", what, name)
		}
	}
}

// TestEveryWriteFails lets each operation fail in turn, without and after having
// been done, once and for a full disk. A step that failed is tried again in the
// same process; nothing may be lost or stored twice, then and after opening again.
func TestEveryWriteFails(t *testing.T) {
	for _, fault := range []durable.Fault{
		{Err: syscall.EIO}, {Err: syscall.EIO, Done: true}, {Err: syscall.ENOSPC}, {Err: syscall.ENOSPC, Done: true},
	} {
		t.Run(fmt.Sprintf("%v, done %v", fault.Err, fault.Done), func(t *testing.T) {
			t.Parallel()
			everyWriteFails(t, fault)
		})
	}
}

func everyWriteFails(t *testing.T, fault durable.Fault) {
	for k := range countOps(t) {
		k++
		what := fmt.Sprintf("operation %d fails", k)
		mem := durable.NewMemFS()
		f := &durable.FaultFS{FS: mem, Decide: func(n int, op, name string) durable.Fault {
			if n == k {
				what += " " + op + " " + name
				return fault
			}
			return durable.Fault{}
		}}
		quick := func(o *Options) { o.lowDiskEvery = time.Microsecond }
		s, err := openMem(t, f, quick)
		for try := 0; err != nil && try < 2; try++ {
			s, err = openMem(t, f, quick)
		}
		if err != nil {
			t.Fatalf("%s: open: %v", what, err)
		}
		for i := range workSteps {
			_, err := s.Append(t.Context(), step(t, i))
			if err != nil {
				if errors.Is(fault.Err, syscall.ENOSPC) {
					t.Fatalf("%s: an Append did not wait for space: %v", what, err)
				}
				if st := s.State(); st.State != StateFailed || st.Reason == "" {
					t.Fatalf("%s: state %+v after %v", what, st, err)
				}
				if _, err = s.Append(t.Context(), step(t, i)); err != nil {
					t.Fatalf("%s: second try of step %d: %v", what, i, err)
				}
			}
			if st := s.State(); st.State != StateOK {
				t.Fatalf("%s: state %+v after a commit", what, st)
			}
			if i%3 == 2 {
				if err := s.Compact(t.Context()); err != nil {
					if err = s.Compact(t.Context()); err != nil {
						t.Fatalf("%s: second try of compaction: %v", what, err)
					}
				}
			}
		}
		sameLines(t, what, lines(t, s), workLines(t, workSteps))
		// The power may go at once: all was acknowledged.
		checkAfter(t, what, mem.Crash(nil), workSteps)
		_ = s.Close()
		checkAfter(t, what, mem.Crash(nil), workSteps)
	}
}
