package collect

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ktrail/ktrail/audit"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func rotate(t *testing.T, path, stamp string) string {
	t.Helper()
	to := strings.TrimSuffix(path, ".log") + "-" + stamp + ".log"
	if err := os.Rename(path, to); err != nil {
		t.Fatal(err)
	}
	return to
}

func compress(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path+".gz", gz(t, data), 0o600), os.Remove(path)); err != nil {
		t.Fatal(err)
	}
}

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(data)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestFreshness: without notifications, a line can be asked for within a second of
// being written, a file that was not there included.
func TestFreshness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "sub", "audit.log")
		m := newMemory()
		s, stop := following(t, Options{Appender: m, Paths: []string{path}, Cluster: "prod", newWatcher: noNotifications})
		synctest.Wait()
		if st := s.States(); len(st) != 1 || st[0].Name != path || st[0].State != StateWaiting {
			t.Fatalf("states: %+v", st)
		}
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			write(t, path, line(i, 100)+"\n")
			start := time.Now()
			for m.count() <= i {
				time.Sleep(time.Millisecond)
				synctest.Wait()
				if time.Since(start) > 10*time.Second {
					t.Fatal("never stored")
				}
			}
			if d := time.Since(start); d > time.Second {
				t.Errorf("line %d was stored after %v", i, d)
			}
			time.Sleep(time.Duration(i*37) * time.Millisecond)
		}
		time.Sleep(time.Second)
		st := s.States()[0]
		info, _ := os.Stat(path)
		if st.State != StateFollowing || st.Events != 20 || st.LagBytes != 0 || st.File != path || st.Offset != info.Size() || st.Cluster != "prod" || st.LastEvent == 0 {
			t.Errorf("state: %+v", st)
		}
		stop()
		if st := s.States()[0]; st.State != StateStopped {
			t.Errorf("state after the end: %q", st.State)
		}
	})
}

// TestNotifications: a line is stored though polling would take an hour.
func TestNotifications(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, path, lines(0, 1))
	m := newMemory()
	m.added = make(chan int, 1)
	_, stop := following(t, Options{Appender: m, Paths: []string{path}, PollInterval: time.Hour, FlushInterval: time.Millisecond})
	<-m.added
	write(t, path, lines(1, 1))
	if n := <-m.added; n != 1 {
		t.Errorf("%d added", n)
	}
	stop()
}

// TestDiscovery: directories and globs are looked at again; rotated files belong to their log.
func TestDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "audit.log"), lines(0, 1))
		write(t, filepath.Join(dir, "audit-2026-11-22T19-53-12.289.log"), lines(100, 1))
		write(t, filepath.Join(dir, "gone-2026-11-22T19-53-12.289.log"), lines(200, 1))
		write(t, filepath.Join(dir, "notes.txt"), "no log")
		write(t, filepath.Join(dir, "old.log.gz"), "an archive")
		m := newMemory()
		s, stop := following(t, Options{Appender: m, Paths: []string{dir, filepath.Join(dir, "*.jsonl")}, newWatcher: noNotifications})
		time.Sleep(3 * time.Second)
		write(t, filepath.Join(dir, "late.log"), lines(300, 1))
		write(t, filepath.Join(dir, "late.jsonl"), lines(400, 1))
		time.Sleep(3 * time.Second)
		stop()
		var names []string
		for _, st := range s.States() {
			names = append(names, filepath.Base(st.Name))
		}
		if got, want := strings.Join(names, " "), "audit.log gone.log late.jsonl late.log"; got != want {
			t.Errorf("sources %q, want %q", got, want)
		}
		if m.count() != 5 {
			t.Errorf("%d lines stored, want 5", m.count())
		}
	})
}

// TestGap: the cursor's file is gone. The gap is told with its time range, and
// committed with what follows.
func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		m := newMemory()
		write(t, path, lines(0, 10))
		o := Options{Appender: m, Paths: []string{path}, newWatcher: noNotifications}
		_, stop := following(t, o)
		time.Sleep(2 * time.Second)
		stop()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		reg := prometheus.NewRegistry()
		o.Cursors, o.Registerer = m.saved(), reg
		s, stop := following(t, o)
		time.Sleep(2 * time.Second)
		if st := s.States()[0]; st.GapCount != 1 || len(st.Gaps) != 1 || len(m.gaps) != 0 {
			t.Fatalf("before anything follows: %+v, stored %v", st, m.gaps)
		}
		write(t, path, lines(20, 5))
		time.Sleep(2 * time.Second)
		stop()
		at := func(seq int) audit.Time {
			return audit.TimeOf(time.Date(2026, 11, 22, 10, 0, seq, 0, time.UTC))
		}
		if len(m.gaps) != 1 || m.gaps[0].From != at(9) || m.gaps[0].To != at(20) || m.gaps[0].Source != path || m.gaps[0].Reason == "" {
			t.Errorf("gaps: %+v", m.gaps)
		}
		if st := s.States()[0]; st.Gaps[0] != m.gaps[0] {
			t.Errorf("state has %+v", st.Gaps)
		}
		if m.count() != 15 {
			t.Errorf("%d lines", m.count())
		}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "ktrail_collect_gaps_total" && f.Metric[0].GetCounter().GetValue() == 1 {
				return
			}
		}
		t.Errorf("ktrail_collect_gaps_total is not 1 in %v", families)
	})
}

// TestRetry: a store that refuses is tried until it takes everything, once.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		m := newMemory()
		refuse := true
		m.fail = func() (bool, bool) { return refuse, false }
		write(t, path, lines(0, 1000))
		s, stop := following(t, Options{Appender: m, Paths: []string{path}, MaxBatchEvents: 100, newWatcher: noNotifications})
		time.Sleep(time.Minute)
		if st := s.States()[0]; st.State != StatePaused || !strings.Contains(st.Error, "no space") || m.count() != 0 || st.LagBytes == 0 {
			t.Fatalf("refused: %+v", st)
		}
		m.mu.Lock()
		refuse = false
		m.mu.Unlock()
		time.Sleep(10 * time.Second)
		if st := s.States()[0]; st.State != StateFollowing || st.Error != "" || st.Events != 1000 || st.LagBytes != 0 {
			t.Errorf("taken: %+v", st)
		}
		stop()
		if got := strings.Join(m.order, "\n") + "\n"; got != lines(0, 1000) {
			t.Error("lines are not stored in order")
		}
	})
}

// TestTornTail: a last line without its end waits, through a restart.
func TestTornTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		m := newMemory()
		whole := line(1, 50)
		write(t, path, lines(0, 1)+whole[:200])
		o := Options{Appender: m, Paths: []string{path}, newWatcher: noNotifications}
		for _, rest := range []string{whole[200:300], whole[300:] + "\n"} {
			o.Cursors = m.saved()
			_, stop := following(t, o)
			time.Sleep(2 * time.Second)
			if m.count() != 1 || len(m.bad) != 0 {
				t.Fatalf("%d lines, %v", m.count(), m.bad)
			}
			stop()
			write(t, path, rest)
		}
		o.Cursors = m.saved()
		_, stop := following(t, o)
		time.Sleep(2 * time.Second)
		stop()
		if m.count() != 2 || m.lines[whole] != 1 || len(m.bad) != 0 || len(m.gaps) != 0 {
			t.Errorf("%d lines, %v", m.count(), m.bad)
		}
	})
}

// TestServiceTorture writes, rotates, compresses and deletes while services are
// started and stopped over a store that fails. Everything written is stored once,
// in order, or lies in a gap.
func TestServiceTorture(t *testing.T) {
	lost := 0
	for seed := range uint64(8) {
		for _, deletes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d %v", seed, deletes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { lost += serviceTorture(t, seed, deletes) })
			})
		}
	}
	if lost == 0 {
		t.Error("nothing was ever lost: the test has no teeth")
	}
}

func serviceTorture(t *testing.T, seed uint64, deletes bool) (lost int) {
	rnd := rand.New(rand.NewPCG(seed, 3))
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	m := newMemory()
	m.fail = flaky(seed)
	o := Options{Appender: m, Paths: []string{dir}, newWatcher: noNotifications, MaxBatchEvents: 20, MaxBytes: 4 << 20}
	seq, rotations := 0, 0
	var plain, all []string
	put := func(n int) {
		for range n {
			write(t, path, line(seq, rnd.IntN(2000))+"\n")
			seq++
		}
	}
	put(1)
	stop := func() {}
	start := func() {
		stop()
		o.Cursors = m.saved()
		_, stop = following(t, o)
	}
	start()
	time.Sleep(time.Minute)
	for range 120 {
		switch n := rnd.IntN(12); {
		case n < 5:
			put(1 + rnd.IntN(30))
		case n == 5:
			put(1)
			rotations++
			to := rotate(t, path, fmt.Sprintf("2026-11-22T19-53-12.%03d", rotations))
			plain, all = append(plain, to), append(all, to)
			put(1)
		case n == 6 && len(plain) > 0:
			compress(t, plain[0])
			plain = plain[1:]
		case n == 7 && deletes && len(all) > 1:
			os.Remove(all[0])
			os.Remove(all[0] + ".gz")
			if len(plain) == len(all) {
				plain = plain[1:]
			}
			all = all[1:]
		case n == 8:
			start()
		case n == 9:
			stop()
		default:
			time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond)
		}
	}
	start()
	time.Sleep(5 * time.Minute)
	stop()
	have := map[string]bool{}
	for _, l := range m.order {
		_, id, _ := strings.Cut(l, `"auditID":"`)
		have[id[:8]] = true
	}
	for i := range seq {
		at := audit.TimeOf(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second))
		told := false
		_, stored := have[fmt.Sprintf("%08d", i)]
		for _, g := range m.gaps {
			told = told || g.From <= at && at <= g.To
		}
		if !stored {
			lost++
		}
		if !stored && !told {
			t.Fatalf("event %d of %d is neither stored nor in a gap %v", i, seq, m.gaps)
		}
	}
	if !deletes && (lost > 0 || len(m.gaps) > 0 || len(m.bad) > 0) {
		t.Errorf("lost %d, gaps %v, quarantined %v", lost, m.gaps, m.bad)
	}
	return lost
}

// TestMemoryBound: while the store does not answer, reading stops within the budget.
func TestMemoryBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		const files, budget = 3, 4 << 20
		for i := range files {
			write(t, filepath.Join(dir, fmt.Sprintf("a%d.log", i)), strings.Repeat(lines(i*100, 100), 120)+line(i, 1<<20)+"\n"+lines(0, 5))
		}
		m := newMemory()
		m.block = make(chan struct{})
		s, stop := following(t, Options{Appender: m, Paths: []string{dir}, newWatcher: noNotifications, MaxBytes: budget})
		time.Sleep(time.Minute)
		synctest.Wait()
		var read, held int64
		for _, x := range s.sources {
			read += x.reader.Position().Offset
			held += x.cur.bytes()
		}
		if read > budget || held > budget || read == 0 {
			t.Errorf("read %d, building %d bytes with a budget of %d", read, held, budget)
		}
		close(m.block)
		time.Sleep(time.Minute)
		stop()
		if want := files*100 + files; m.count() != want {
			t.Errorf("%d different lines stored, want %d", m.count(), want)
		}
		if !s.budget.sem.TryAcquire(budget) {
			t.Error("some of the budget was not given back")
		}
	})
}

// TestContention: many sources, some with lines of a large part of the budget, all
// get their turn.
func TestContention(t *testing.T) {
	for _, c := range []struct {
		sources, long int
		budget        int64
	}{
		{sources: 30, long: 200 << 10, budget: 2 << 20},
		{sources: 6, long: 6 << 20, budget: 32 << 20},
		{sources: 6, long: 6 << 20, budget: 13 << 20},
	} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			for i := range c.sources {
				write(t, filepath.Join(dir, fmt.Sprintf("a%d.log", i)), lines(i*100, 40)+line(i*100+50, c.long)+"\n"+lines(i*100+60, 40)+line(i*100+51, c.long)+"\n")
			}
			m := newMemory()
			s, stop := following(t, Options{Appender: m, Paths: []string{dir}, newWatcher: noNotifications, MaxBytes: c.budget})
			time.Sleep(20 * time.Second)
			stop()
			if m.count() != 82*c.sources || len(m.bad) > 0 || len(m.gaps) > 0 {
				t.Errorf("%+v: %d lines stored, %d quarantined, gaps %v", c, m.count(), len(m.bad), m.gaps)
			}
			if !s.budget.sem.TryAcquire(c.budget) {
				t.Errorf("%+v: some of the budget was not given back", c)
			}
		})
	}
}
