package logfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
)

const crashLog = "/log/audit.log"

// scene writes events one by one and in pairs, with rotations, a look and a pause in
// between, and returns which were taken.
func scene(t *testing.T, fsys durable.FS, sync string) (taken map[int]bool, opened bool) {
	taken = map[int]bool{}
	w, err := Open(WriterOptions{Path: crashLog, FS: fsys, Sync: sync, Compress: true, MaxBackups: 100, maxBytes: int64(3*len(testLine(0, 0)) + 10)})
	if err != nil {
		return taken, false
	}
	seq := 0
	write := func(n int) {
		list := events(seq, seq+n, 0)
		for i := range n {
			taken[seq+i] = true
		}
		err := w.WriteEvents(t.Context(), list)
		var we *WriteError
		if err != nil && !errors.As(err, &we) {
			t.Errorf("%v", err)
		}
		if we != nil {
			for _, e := range we.Events {
				n, err := strconv.Atoi(e.AuditID)
				if err != nil || !taken[n] || n < seq {
					t.Errorf("given back: %s", e.AuditID)
				}
				delete(taken, n)
			}
		}
		seq += n
		synctest.Wait()
	}
	for range 6 {
		write(1)
	}
	write(2)
	time.Sleep(2 * time.Second)
	write(4)
	time.Sleep(11 * time.Second)
	write(2)
	time.Sleep(2 * time.Second)
	write(1)
	_ = w.Close()
	synctest.Wait()
	return taken, true
}

// numbers counts the events that are in c.
func (c content) numbers(t *testing.T) map[int]int {
	t.Helper()
	have := map[int]int{}
	for _, l := range c.lines {
		var e audit.Event
		if err := audit.Decode([]byte(l), &e); err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(e.AuditID)
		if err != nil {
			t.Fatal(err)
		}
		have[n]++
	}
	return have
}

// check holds that each event that was taken is there once.
func (c content) check(t *testing.T, what string, taken map[int]bool) {
	t.Helper()
	have := c.numbers(t)
	for n := range taken {
		if have[n] != 1 {
			t.Errorf("%s: event %d was taken and is there %d times, in %q", what, n, have[n], c.files)
		}
	}
	for n, times := range have {
		if times != 1 {
			t.Errorf("%s: event %d is there %d times", what, n, times)
		}
	}
}

// opsOf counts the operations of a scene in which nothing fails.
func opsOf(t *testing.T, sync string) (n int) {
	synctest.Test(t, func(t *testing.T) {
		fsys := &durable.FaultFS{FS: durable.NewMemFS(), Decide: func(int, string, string) durable.Fault { return durable.Fault{} }}
		taken, _ := scene(t, fsys, sync)
		if n = fsys.Ops(); n < 40 || len(taken) != 15 {
			t.Fatalf("%d operations, %d taken: the scene is too small", n, len(taken))
		}
		if c := contentOf(t, fsys, crashLog); len(c.files) < 4 || !strings.HasSuffix(c.files[0], ".gz") {
			t.Fatalf("files %q", c.files)
		}
	})
	return n
}

// TestWriterFaults lets each operation fail in turn, once and for a while, undone, torn
// and done all the same. What was taken is there, whole and once; and the writer mends itself.
func TestWriterFaults(t *testing.T) {
	for _, when := range []string{SyncNever, SyncSecond, SyncAlways} {
		ops := opsOf(t, when)
		for _, kind := range []struct {
			name  string
			err   error
			done  bool
			times int
		}{
			{"once", syscall.EIO, false, 1},
			{"done", syscall.EIO, true, 1},
			{"twice", syscall.EIO, false, 2},
			{"full", syscall.ENOSPC, false, 4},
			{"many", syscall.EACCES, false, 9},
			{"many done", syscall.EIO, true, 5},
		} {
			for at := 1; at <= ops; at++ {
				what := fmt.Sprintf("sync %s, %s at %d", when, kind.name, at)
				synctest.Test(t, func(t *testing.T) {
					mem := durable.NewMemFS()
					var mu sync.Mutex
					failed := ""
					fsys := &durable.FaultFS{FS: mem, Decide: func(n int, op, name string) durable.Fault {
						if n >= at && n < at+kind.times {
							mu.Lock()
							defer mu.Unlock()
							failed += " " + op + " " + filepath.Base(name)
							return durable.Fault{Err: kind.err, Done: kind.done}
						}
						return durable.Fault{}
					}}
					taken, opened := scene(t, fsys, when)
					if !opened {
						return
					}
					what += failed
					c := contentOf(t, mem, crashLog)
					c.check(t, what, taken)
					if fsys.Ops() >= at+kind.times+15 && !taken[14] {
						t.Errorf("%s: the last event was not taken", what)
					}
					if when != SyncAlways && kind.times == 1 && len(taken) != 15 {
						t.Errorf("%s: one error lost events: %v are taken", what, taken)
					}
					if taken[14] && c.open {
						t.Errorf("%s: the log does not end with a line's end: %q", what, c.torn)
					}
				})
				if t.Failed() {
					return
				}
			}
		}
	}
}

// TestWriterDies stops at each operation, as kill -9 does: nothing is done any more,
// and a write is cut in two. What was taken is there, once; the next writer goes on.
func TestWriterDies(t *testing.T) {
	errDead := errors.New("dead")
	for _, sync := range []string{SyncNever, SyncAlways} {
		ops := opsOf(t, sync)
		tornLines := 0
		for at := 1; at <= ops; at++ {
			for _, done := range []bool{false, true} {
				what := fmt.Sprintf("sync %s, dies at %d, done %v", sync, at, done)
				synctest.Test(t, func(t *testing.T) {
					mem := durable.NewMemFS()
					dead := &durable.FaultFS{FS: mem, Decide: func(n int, _, _ string) durable.Fault {
						if n >= at {
							return durable.Fault{Err: errDead, Done: done && n == at}
						}
						return durable.Fault{}
					}}
					// A torn write is one torn line, not one for each that follows: those write nothing.
					taken, _ := scene(t, &onceTorn{FaultFS: dead, at: at}, sync)
					if contents, err := mem.ReadDir("/log"); err != nil || len(contents) == 0 {
						return // nothing had begun
					}
					goOn(t, mem, what, taken, &tornLines)
					if sync == SyncAlways {
						// After a power cut too: what is not durable is gone.
						lost := mem.Crash(nil)
						for _, n := range []int{100, 101, 102} {
							taken[n] = true
						}
						contentOf(t, lost, crashLog).check(t, what+", then power", taken)
					}
				})
			}
		}
		if tornLines == 0 {
			t.Error("no line was ever torn: the test has no teeth")
		}
	}
}

// onceTorn does nothing at all from the operation after the fatal one on.
type onceTorn struct {
	*durable.FaultFS
	at int
}

func (o *onceTorn) Append(name string) (durable.File, error) {
	f, err := o.FaultFS.Append(name)
	return &onceTornFile{f, o}, err
}

type onceTornFile struct {
	durable.File
	fs *onceTorn
}

func (f *onceTornFile) Write(b []byte) (int, error) {
	if f.fs.Ops() >= f.fs.at {
		return 0, errors.New("dead")
	}
	return f.File.Write(b)
}

// goOn is the next process.
func goOn(t *testing.T, mem *durable.MemFS, what string, taken map[int]bool, torn *int) {
	w, err := Open(WriterOptions{Path: crashLog, FS: mem, Sync: SyncAlways, Compress: true, maxBytes: int64(3 * len(testLine(0, 0)))})
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	mustWrite(t, w, events(100, 103, 0)...)
	synctest.Wait()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	all := map[int]bool{100: true, 101: true, 102: true}
	for n := range taken {
		all[n] = true
	}
	c := contentOf(t, mem, crashLog)
	c.check(t, what, all)
	if len(c.torn) > 1 || len(c.torn) == 1 && !strings.HasSuffix(c.torn[0], "\n") {
		t.Errorf("%s: torn lines %q", what, c.torn)
	}
	*torn += len(c.torn)
	names, err := mem.ReadDir("/log")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n.Name(), halfSuffix) {
			t.Errorf("%s: %s is left", what, n.Name())
		}
	}
}

// TestWriterPower cuts the power at each operation of a scene with always: what was
// taken is there although nothing else is.
func TestWriterPower(t *testing.T) {
	ops := opsOf(t, SyncAlways)
	for at := 1; at <= ops; at++ {
		synctest.Test(t, func(t *testing.T) {
			mem := durable.NewMemFS()
			dead := &durable.FaultFS{FS: mem, Decide: func(n int, _, _ string) durable.Fault {
				if n >= at {
					return durable.Fault{Err: errors.New("dead")}
				}
				return durable.Fault{}
			}}
			taken, opened := scene(t, dead, SyncAlways)
			if !opened {
				return
			}
			contentOf(t, mem.Crash(nil), crashLog).check(t, fmt.Sprintf("power at %d", at), taken)
		})
	}
}

// TestWriterKilled is the real thing: a process that writes from four goroutines, and
// rotates and compresses all the time, is killed at random moments, ten times on one log.
func TestWriterKilled(t *testing.T) {
	if path := os.Getenv("KTRAIL_TEST_WRITER"); path != "" {
		writeUntilKilled(t.Context(), path)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	taken := map[int]bool{}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 10 {
		cmd := exec.CommandContext(t.Context(), self, "-test.run", "^TestWriterKilled$")
		cmd.Env = append(os.Environ(), "KTRAIL_TEST_WRITER="+path, "KTRAIL_TEST_FROM="+strconv.Itoa(len(taken)*10))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := 1 + rnd.IntN(400)
		acks := bufio.NewScanner(out)
		for n := 0; acks.Scan(); n++ {
			if seq, err := strconv.Atoi(acks.Text()); err == nil {
				taken[seq] = true
			}
			if n == kill {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("it ended by itself")
		}
	}
	c := contentOf(t, durable.OS{}, path)
	c.check(t, "killed", taken)
	if len(c.torn) > 10 || len(taken) < 100 {
		t.Errorf("torn %q, %d taken", c.torn, len(taken))
	}
	t.Logf("%d events taken, %d torn lines, %d files", len(taken), len(c.torn), len(c.files))
}

func writeUntilKilled(ctx context.Context, path string) {
	from, err := strconv.Atoi(os.Getenv("KTRAIL_TEST_FROM"))
	if err != nil {
		panic(err)
	}
	w, err := Open(WriterOptions{Path: path, Compress: true, maxBytes: 5000})
	if err != nil {
		panic(err)
	}
	for g := range 4 {
		go func() {
			for seq := from + g; ; seq += 4 {
				if err := w.WriteEvents(ctx, events(seq, seq+1, 200)); err != nil {
					panic(err)
				}
				if _, err := fmt.Println(seq); err != nil {
					os.Exit(1)
				}
			}
		}()
	}
	select {}
}
