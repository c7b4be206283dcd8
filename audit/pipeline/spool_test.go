package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/pipeline"
	"github.com/ktrail/ktrail/internal/durable"
)

var errDown = errors.New("connection refused")

func spool(t *testing.T, next pipeline.Sink, o pipeline.SpoolOptions) *pipeline.Spool {
	t.Helper()
	if o.Dir == "" {
		o.Dir = "/spool"
	}
	if o.Ledger == nil {
		o.Ledger = pipeline.NewLedger(pipeline.LedgerOptions{})
	}
	s, err := pipeline.OpenSpool(t.Context(), next, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func send(t *testing.T, s pipeline.Sink, spec string) {
	t.Helper()
	if err := s.Send(t.Context(), events(t, spec)); err != nil {
		t.Errorf("Send of %s: %v", spec, err)
	}
}

func closed1(t *testing.T, s pipeline.Sink) {
	t.Helper()
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// files are the segments in dir.
func files(t *testing.T, fsys durable.FS, dir string) string {
	t.Helper()
	list, err := fsys.ReadDir(dir)
	if err != nil {
		return ""
	}
	var out []string
	for _, e := range list {
		if strings.HasSuffix(e.Name(), ".log") {
			out = append(out, e.Name())
		}
	}
	return strings.Join(out, " ")
}

func TestSpoolPassesThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to take
		fsys := durable.NewMemFS()
		s := spool(t, &to, pipeline.SpoolOptions{FS: fsys})
		send(t, s, "a b")
		send(t, s, "c")
		if got := ids(to.all()); got != "a b c" || files(t, fsys, "/spool") != "" || s.Backlog() != 0 {
			t.Errorf("the sink has %q, the disk %q", got, files(t, fsys, "/spool"))
		}
		time.Sleep(24 * time.Hour) // asleep: time passes
		closed1(t, s)
	})
}

func TestSpoolOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to take
		to.fail(errDown)
		fsys := durable.NewMemFS()
		s := spool(t, &to, pipeline.SpoolOptions{FS: fsys, SegmentBytes: 1000, BatchEvents: 3})
		for i := range 40 {
			send(t, s, fmt.Sprintf("%02d", i))
			time.Sleep(time.Second)
		}
		if files(t, fsys, "/spool") == "" || s.Backlog() == 0 {
			t.Error("nothing is on disk")
		}
		to.fail(nil)
		for i := 40; i < 50; i++ {
			send(t, s, fmt.Sprintf("%02d", i)) // behind those on disk
		}
		time.Sleep(time.Minute)
		var want []string
		for i := range 50 {
			want = append(want, fmt.Sprintf("%02d", i))
		}
		if got := ids(to.all()); got != strings.Join(want, " ") {
			t.Errorf("the sink has %s", got)
		}
		if got := files(t, fsys, "/spool"); got != "" || s.Backlog() != 0 {
			t.Errorf("left on disk: %s, %d bytes", got, s.Backlog())
		}
		send(t, s, "direct")
		if got := len(to.sends[len(to.sends)-1]); got != 1 || s.Backlog() != 0 {
			t.Error("it does not send directly again")
		}
		closed1(t, s)
	})
}

func TestSpoolPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{start: time.Now(), open: make(chan struct{})}
		s := spool(t, g, pipeline.SpoolOptions{FS: durable.NewMemFS(), Patience: 3 * time.Second})
		send(t, s, "a")
		if d := time.Since(g.start); d != 3*time.Second {
			t.Errorf("Send waited %v", d)
		}
		send(t, s, "b")
		if d := time.Since(g.start); d != 3*time.Second {
			t.Errorf("the second Send waited too: %v", d)
		}
		close(g.open)
		time.Sleep(time.Minute)
		if got := ids(g.all()); got != "a b" {
			t.Errorf("the sink has %q", got)
		}
		closed1(t, s)
	})
}

// picky is a Sink that refuses events called bad for good, and late ones while it is down.
type picky struct {
	take
	down atomic.Bool
}

func (p *picky) Send(ctx context.Context, in []audit.Event) error {
	var errs error
	var good []audit.Event
	for i, e := range in {
		switch {
		case strings.HasPrefix(e.AuditID, "bad"):
			errs = errors.Join(errs, &pipeline.Loss{Sink: "webhook", Reason: pipeline.ReasonRefused, Events: in[i : i+1]})
		case p.down.Load() && strings.HasPrefix(e.AuditID, "late"):
			errs = errors.Join(errs, &pipeline.Loss{Sink: "webhook", Reason: pipeline.ReasonDown, Events: in[i : i+1]})
		default:
			good = append(good, e)
		}
	}
	return errors.Join(errs, p.take.Send(ctx, good))
}

// What is refused for good must not be tried for ever; what was taken must not be sent again
// with what was not.
func TestSpoolRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p picky
		p.down.Store(true)
		l := pipeline.NewLedger(pipeline.LedgerOptions{})
		s := spool(t, &p, pipeline.SpoolOptions{FS: durable.NewMemFS(), Ledger: l})
		in := events(t, "a bad1 b")
		err := s.Send(t.Context(), in)
		if loss := pipeline.Losses(err); len(loss) != 1 || ids(loss[0].Events) != "bad1" {
			t.Errorf("Send gave %v", err)
		}
		send(t, s.Overflow(), "late1 bad2 c late2 d")
		time.Sleep(time.Hour)
		if got := ids(p.all()); got != "a b c d" {
			t.Errorf("while two are not taken the sink has %q", got)
		}
		p.down.Store(false)
		time.Sleep(time.Hour)
		if got := ids(p.all()); got != "a b c d late1 late2" {
			t.Errorf("the sink has %q", got)
		}
		if got := counts(l); got != "webhook/refused/0=1" {
			t.Errorf("counted %q", got)
		}
		closed1(t, s)
	})
}

func TestSpoolIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to take
		to.fail(errDown)
		size := int64(len(events(t, "00")[0].Raw) + 1)
		s := spool(t, &to, pipeline.SpoolOptions{FS: durable.NewMemFS(), MaxBytes: 5 * size, SegmentBytes: 2 * size})
		send(t, s, "00 01 02")
		in := events(t, "03 04 05 06")
		err := s.Send(t.Context(), in)
		if loss := pipeline.Losses(err); len(loss) != 1 || loss[0].Reason != pipeline.ReasonFull || loss[0].Sink != "spool" || ids(loss[0].Events) != "05 06" {
			t.Errorf("a full spool gave %v", err)
		}
		if s.Backlog() != 5*size {
			t.Errorf("it holds %d bytes, may hold %d", s.Backlog(), 5*size)
		}
		to.fail(nil)
		time.Sleep(time.Minute)
		if got := ids(to.all()); got != "00 01 02 03 04" || s.Backlog() != 0 {
			t.Errorf("the sink has %q", got)
		}
		closed1(t, s)
	})
}

func TestSpoolRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := durable.NewMemFS()
		var to take
		to.fail(errDown)
		s := spool(t, &to, pipeline.SpoolOptions{FS: fsys, BatchEvents: 1})
		send(t, s, "a b c")
		if _, err := pipeline.OpenSpool(t.Context(), &to, pipeline.SpoolOptions{Dir: "/spool", FS: fsys, Ledger: pipeline.NewLedger(pipeline.LedgerOptions{})}); !errors.Is(err, durable.ErrLocked) {
			t.Errorf("a second process: %v", err)
		}
		closed1(t, s)
		if err := s.Send(t.Context(), events(t, "late")); len(pipeline.Losses(err)) != 1 {
			t.Errorf("Send after Close gave %v", err)
		}
		to.fail(nil)
		to.sends = nil
		s = spool(t, &to, pipeline.SpoolOptions{FS: fsys, BatchEvents: 1})
		send(t, s, "d")
		time.Sleep(time.Minute)
		if got := ids(to.all()); got != "a b c d" {
			t.Errorf("after a restart the sink has %q", got)
		}
		closed1(t, s)
		// The numbers must go on, or the next segment would be taken for one that was handed on.
		to.fail(errDown)
		s = spool(t, &to, pipeline.SpoolOptions{FS: fsys})
		send(t, s, "e")
		closed1(t, s)
		to.fail(nil)
		s = spool(t, &to, pipeline.SpoolOptions{FS: fsys})
		time.Sleep(time.Minute)
		if got := ids(to.all()); got != "a b c d e" {
			t.Errorf("after two restarts the sink has %q", got)
		}
		closed1(t, s)
	})
}

func TestSpoolQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := durable.NewMemFS()
		var to take
		to.fail(errDown)
		s := spool(t, &to, pipeline.SpoolOptions{FS: fsys})
		send(t, s, "a b c")
		closed1(t, s)
		name := "/spool/" + files(t, fsys, "/spool")
		if err := fsys.Corrupt(name, func(text []byte) []byte {
			lines := strings.SplitAfter(string(text), "\n")
			lines[1] = "\x00\x00" + lines[1][2:]
			return []byte(strings.Join(lines, "") + `{"kind":"Event","half`)
		}); err != nil {
			t.Fatal(err)
		}
		to.fail(nil)
		var log strings.Builder
		s = spool(t, &to, pipeline.SpoolOptions{FS: fsys, Log: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(time.Minute)
		if got := ids(to.all()); got != "a c" {
			t.Errorf("the sink has %q", got)
		}
		if got := files(t, fsys, "/spool/quarantine"); got != filepath.Base(name) || files(t, fsys, "/spool") != "" {
			t.Errorf("in quarantine is %q", got)
		}
		closed1(t, s)
		if n := strings.Count(log.String(), "file="+name); n != 2 || !strings.Contains(log.String(), "torn") {
			t.Errorf("the log says %s", log.String())
		}
	})
}

// A disk that fails at each operation in turn, once without and once after doing it: what Send
// gave back as lost does not come, what it took comes once.
func TestSpoolEveryWriteFails(t *testing.T) {
	ops := 10
	defer func() {
		if ops < 25 {
			t.Errorf("there were %d operations only", ops)
		}
	}()
	for n := 1; n <= ops; n++ {
		for _, done := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				var failed atomic.Value
				fsys := &durable.FaultFS{FS: durable.NewMemFS(), Decide: func(i int, op, name string) durable.Fault {
					if i == n {
						failed.Store(op + " " + name)
						return durable.Fault{Err: errors.New("I/O error"), Done: done}
					}
					return durable.Fault{}
				}}
				var to take
				to.fail(errDown)
				s, err := pipeline.OpenSpool(t.Context(), &to, pipeline.SpoolOptions{Dir: "/spool", FS: fsys, SegmentBytes: 400, BatchEvents: 2, Ledger: pipeline.NewLedger(pipeline.LedgerOptions{})})
				if err != nil {
					return // it does not start, and says so
				}
				var want []string
				for i := range 8 {
					in := events(t, fmt.Sprint(i))
					err := s.Send(t.Context(), in)
					if err == nil {
						want = append(want, fmt.Sprint(i))
					} else if loss := pipeline.Losses(err); len(loss) != 1 || loss[0].Reason != pipeline.ReasonDisk {
						t.Errorf("operation %d (%s): %v", n, failed.Load(), err)
					}
				}
				to.fail(nil)
				time.Sleep(time.Hour)
				if got := ids(to.all()); got != strings.Join(want, " ") {
					t.Errorf("operation %d failed (%s, done %v): the sink has %s, want %s", n, failed.Load(), done, got, want)
				}
				if s.Backlog() != 0 {
					t.Errorf("operation %d failed (%s): %d bytes are left", n, failed.Load(), s.Backlog())
				}
				closed1(t, s)
				ops = max(ops, fsys.Ops())
			})
		}
	}
}

// The power is cut at each operation in turn. What Send took is handed over by this process or
// the next; what is handed over twice is one batch at most.
func TestSpoolKilledAnywhere(t *testing.T) {
	const batchEvents = 2
	ops := 10
	defer func() {
		if ops < 25 {
			t.Errorf("there were %d operations only", ops)
		}
	}()
	for n := 1; n <= ops; n++ {
		for seed := range uint64(4) {
			synctest.Test(t, func(t *testing.T) {
				mem := durable.NewMemFS()
				var to take
				var mu sync.Mutex
				var killed atomic.Bool
				fsys := &durable.FaultFS{FS: mem}
				var after *durable.MemFS
				fsys.Decide = func(i int, _, _ string) durable.Fault {
					mu.Lock()
					defer mu.Unlock()
					if i == n && !killed.Load() {
						killed.Store(true)
						rnd := rand.New(rand.NewPCG(seed, uint64(n)))
						if seed == 0 {
							rnd = nil
						}
						after = mem.Crash(rnd)
						to.fail(errors.New("killed")) // a dead process hands nothing on
					}
					if killed.Load() {
						return durable.Fault{Err: errors.New("killed")}
					}
					return durable.Fault{}
				}
				var taken []string
				to.fail(errDown)
				o := pipeline.SpoolOptions{Dir: "/spool", FS: fsys, SegmentBytes: 400, BatchEvents: batchEvents, Ledger: pipeline.NewLedger(pipeline.LedgerOptions{})}
				if s, err := pipeline.OpenSpool(t.Context(), &to, o); err == nil {
					for i := range 12 {
						if i == 7 && !killed.Load() {
							to.fail(nil)
							time.Sleep(1500 * time.Millisecond)
						}
						if err := s.Send(t.Context(), events(t, fmt.Sprint(i))); err == nil {
							taken = append(taken, fmt.Sprint(i))
						}
					}
					if !killed.Load() {
						time.Sleep(time.Minute)
					}
					ops = max(ops, fsys.Ops())
					_ = s.Close(t.Context())
				}
				if after == nil {
					after = mem.Crash(nil)
				}
				to.fail(nil)
				o.FS = after
				s, err := pipeline.OpenSpool(t.Context(), &to, o)
				if err != nil {
					t.Fatalf("killed at operation %d: %v", n, err)
				}
				time.Sleep(time.Minute)
				closed1(t, s)
				seen := map[string]int{}
				twice := 0
				for _, e := range to.all() {
					if seen[e.AuditID]++; seen[e.AuditID] > 1 {
						twice++
					}
				}
				for _, id := range taken {
					if seen[id] == 0 {
						t.Errorf("killed at operation %d, seed %d: %s was taken and is lost", n, seed, id)
					}
				}
				if twice > batchEvents {
					t.Errorf("killed at operation %d, seed %d: %d events came twice: %s", n, seed, twice, ids(to.all()))
				}
				if files(t, after, "/spool") != "" {
					t.Errorf("killed at operation %d: left on disk: %s", n, files(t, after, "/spool"))
				}
			})
		}
	}
}

// An hour without a webhook, behind a small buffer: nothing is lost.
func TestBatchAndSpoolLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{start: time.Now(), open: make(chan struct{})}
		l := pipeline.NewLedger(pipeline.LedgerOptions{})
		s := spool(t, g, pipeline.SpoolOptions{FS: durable.NewMemFS(), Ledger: l})
		b := batch(t, s, pipeline.BatchOptions{Events: 10, BatchEvents: 4, MaxWait: time.Second, Workers: 2, Overflow: s.Overflow(), Ledger: l})
		const n = 3600
		for i := range n {
			send(t, b, fmt.Sprint(i))
			time.Sleep(10 * time.Millisecond)
			if events, _ := b.Held(); events > 10 {
				t.Fatalf("%d events wait in memory", events)
			}
		}
		close(g.open)
		time.Sleep(time.Hour)
		closed1(t, b)
		seen := map[string]bool{}
		for _, e := range g.all() {
			seen[e.AuditID] = true
		}
		if len(seen) != n || len(g.all()) != n || counts(l) != "" {
			t.Errorf("of %d events %d arrived, %d different; lost: %s", n, len(g.all()), len(seen), counts(l))
		}
	})
}

// The same on the real disk, with the rights of its files.
func TestSpoolOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "spool")
	var to take
	to.fail(errDown)
	s := spool(t, &to, pipeline.SpoolOptions{Dir: dir})
	send(t, s, "a b")
	closed1(t, s)
	for _, name := range []string{"", "0000000001.log"} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, others may read it: %v", name, err, st)
		}
	}
	to.fail(nil)
	done := make(chan struct{})
	s = spool(t, told{&to, done}, pipeline.SpoolOptions{Dir: dir})
	<-done
	closed1(t, s)
	if got := ids(to.all()); got != "a b" {
		t.Errorf("the sink has %q", got)
	}
}

// told closes a channel after the first Send.
type told struct {
	pipeline.Sink
	done chan struct{}
}

func (s told) Send(ctx context.Context, events []audit.Event) error {
	defer close(s.done)
	return s.Sink.Send(ctx, events)
}
