package logfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
)

// event is one whose line is testLine's.
func event(seq, size int) audit.Event {
	var e audit.Event
	if err := audit.Decode([]byte(testLine(seq, size)), &e); err != nil {
		panic(err)
	}
	return e
}

func events(from, to, size int) (list []audit.Event) {
	for seq := from; seq < to; seq++ {
		list = append(list, event(seq, size))
	}
	return list
}

func mustOpen(t *testing.T, opt WriterOptions) *Writer {
	t.Helper()
	w, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func mustWrite(t *testing.T, w *Writer, list ...audit.Event) {
	t.Helper()
	if err := w.WriteEvents(t.Context(), list); err != nil {
		t.Fatal(err)
	}
}

// content is what a directory has of a log.
type content struct {
	files []string // oldest first
	lines []string
	torn  []string // what is no event
	open  bool     // the live file does not end with a line's end
}

// contentOf reads a log: a .gz only where there is no plain file.
func contentOf(t *testing.T, fsys durable.FS, path string) (c content) {
	t.Helper()
	names, err := fsys.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, n := range names {
		there[n.Name()] = true
	}
	for name := range there {
		r, ok := ParseRotated(name)
		if name == filepath.Base(path) || ok && r.Live == filepath.Base(path) {
			if plain, gz := strings.CutSuffix(name, ".gz"); gz && there[plain] {
				continue
			}
			c.files = append(c.files, name)
		}
	}
	slices.SortFunc(c.files, func(a, b string) int {
		if a == filepath.Base(path) {
			return 1
		}
		if b == filepath.Base(path) {
			return -1
		}
		return strings.Compare(a, b)
	})
	for _, name := range c.files {
		data, err := durable.ReadFile(fsys, filepath.Join(filepath.Dir(path), name))
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := Decompress(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for line := range strings.Lines(string(text)) {
			var e audit.Event
			whole, ended := strings.CutSuffix(line, "\n")
			if err := audit.Decode([]byte(whole), &e); err != nil || !ended {
				c.torn = append(c.torn, line)
				c.open = c.open || !ended && name == filepath.Base(path)
				continue
			}
			c.lines = append(c.lines, whole)
		}
	}
	return c
}

// want checks that the lines are those of the events from 0 to n.
func (c content) want(t *testing.T, n, size int) {
	t.Helper()
	if len(c.torn) > 0 {
		t.Errorf("not whole: %q", c.torn)
	}
	if len(c.lines) != n {
		t.Fatalf("%d lines, want %d, in %q", len(c.lines), n, c.files)
	}
	for i, l := range c.lines {
		if want := testLine(i, size); l != want {
			t.Fatalf("line %d is %s, want %s", i, l, want)
		}
	}
}

func TestWriterRotates(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "sub", "audit.log")
	line := len(testLine(0, 0)) + 1
	w := mustOpen(t, WriterOptions{Path: path, MaxSize: 1, maxBytes: int64(3 * line)})
	mustWrite(t, w, events(0, 1, 0)...)
	mustWrite(t, w, events(1, 8, 0)...)
	c := contentOf(t, durable.OS{}, path)
	c.want(t, 8, 0)
	if len(c.files) != 3 {
		t.Fatalf("files %q", c.files)
	}
	for _, name := range c.files[:2] {
		if r, ok := ParseRotated(name); !ok || r.Live != "audit.log" || r.Time == 0 || time.Since(r.Time.Std()).Abs() > time.Hour {
			t.Errorf("rotated file %s", name)
		}
		if st, err := os.Stat(filepath.Join(filepath.Dir(path), name)); err != nil || st.Size() != int64(3*line) {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	for name, mode := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): fs.ModeDir | 0o700, filepath.Dir(filepath.Dir(path)): fs.ModeDir | 0o700} {
		if st, err := os.Stat(name); err != nil || st.Mode() != mode {
			t.Errorf("%s has mode %v, want %v", name, st.Mode(), mode)
		}
	}
	if st := w.Status(); st.State != OK || st.Events != 8 || st.Bytes != uint64(8*line) || st.Rotations != 2 || st.Size != int64(2*line) || st.Lost != 0 {
		t.Errorf("status %+v", st)
	}
	// The mode that somebody gave the log is that of the next one, and of the .gz.
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, w, events(8, 11, 0)...)
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o640 || st.Size() != int64(2*line) {
		t.Errorf("%v, %v", st, err)
	}
}

// TestWriterLargeEvent: an event over the limit is kept, in a file for itself.
func TestWriterLargeEvent(t *testing.T) {
	fsys := durable.NewMemFS()
	w := mustOpen(t, WriterOptions{Path: "/log/audit.log", FS: fsys, maxBytes: 2000})
	mustWrite(t, w, event(0, 0), event(1, 5000), event(2, 0), event(3, 0))
	c := contentOf(t, fsys, "/log/audit.log")
	if len(c.lines) != 4 || len(c.files) != 3 || c.lines[1] != testLine(1, 5000) {
		t.Errorf("%d lines in %q", len(c.lines), c.files)
	}
}

// TestWriterNames: in one millisecond, and when the clock goes back, both files stay.
func TestWriterNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := durable.NewMemFS()
		const path = "/log/audit.d.log"
		w := mustOpen(t, WriterOptions{Path: path, FS: fsys, maxBytes: 1})
		mustWrite(t, w, events(0, 5, 0)...)
		// Another process rotated into the next names.
		for _, name := range []string{"/log/audit.d-2000-01-01T00-00-00.004.log", "/log/audit.d-2000-01-01T00-00-00.005.log.gz"} {
			if f, err := fsys.Create(name); err != nil || f.Close() != nil {
				t.Fatal(err)
			}
		}
		mustWrite(t, w, events(5, 7, 0)...)
		names, err := fsys.ReadDir("/log")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range names {
			got = append(got, n.Name())
		}
		want := []string{
			"audit.d-2000-01-01T00-00-00.000.log", "audit.d-2000-01-01T00-00-00.001.log", "audit.d-2000-01-01T00-00-00.002.log",
			"audit.d-2000-01-01T00-00-00.003.log", "audit.d-2000-01-01T00-00-00.004.log", "audit.d-2000-01-01T00-00-00.005.log.gz",
			"audit.d-2000-01-01T00-00-00.006.log", "audit.d-2000-01-01T00-00-00.007.log", "audit.d.log",
		}
		if !slices.Equal(got, want) {
			t.Errorf("files %q", got)
		}
	})
}

// TestWriterKeeps: --audit-log-maxbackup, -maxage and -compress, and what is none of the log's.
func TestWriterKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := durable.NewMemFS()
		others := []string{"audit-2000-01-01.log", "audit-x.log", "auditor-1999-01-01T00-00-00.000.log", "audit-1999-01-01T00-00-00.000.log.bak", "audit-1999-01-01T00-00-00.000.txt", "zz"}
		if err := fsys.MkdirAll("/log"); err != nil {
			t.Fatal(err)
		}
		for _, name := range append([]string{"audit-1999-01-01T00-00-00.000.log", "audit-1999-01-01T00-00-00.000.log.gz.tmp"}, others...) {
			if f, err := fsys.Create("/log/" + name); err != nil || f.Close() != nil {
				t.Fatal(err)
			}
		}
		w := mustOpen(t, WriterOptions{Path: "/log/audit.log", FS: fsys, maxBytes: 1, MaxBackups: 3, MaxAge: 2, Compress: true})
		files := func() (ours []string) {
			synctest.Wait()
			names, err := fsys.ReadDir("/log")
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, f := range names {
				if slices.Contains(others, f.Name()) {
					n++
				} else {
					ours = append(ours, f.Name())
				}
			}
			if n != len(others) {
				t.Errorf("files of others are gone; left %q", names)
			}
			return ours
		}
		// A year old, it goes at the start, with what a dead process left of its compression.
		if got := files(); !slices.Equal(got, []string{"audit.log"}) {
			t.Errorf("at the start %q", got)
		}
		for seq := range 7 {
			mustWrite(t, w, event(seq, 0))
			time.Sleep(time.Hour)
		}
		want := []string{"audit-2000-01-01T04-00-00.000.log.gz", "audit-2000-01-01T05-00-00.000.log.gz", "audit-2000-01-01T06-00-00.000.log.gz", "audit.log"}
		if got := files(); !slices.Equal(got, want) {
			t.Errorf("of seven files are kept %q", got)
		}
		if c := contentOf(t, fsys, "/log/audit.log"); len(c.lines) != 4 || c.lines[0] != testLine(3, 0) || len(c.torn) > 0 {
			t.Errorf("lines %q", c.lines)
		}
		time.Sleep(46*time.Hour + 30*time.Minute) // no event comes, and they grow old all the same
		if got := files(); !slices.Equal(got, want[1:]) {
			t.Errorf("after two days are left %q", got)
		}
		if st := w.Status(); st.Keep != nil || st.State != OK {
			t.Errorf("status %+v", st)
		}
	})
}

// TestWriterTells: errors of compression and deletion are told, lose nothing and end by themselves.
func TestWriterTells(t *testing.T) {
	for _, op := range []string{"create", "write", "sync", "rename", "syncdir", "remove"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := durable.NewMemFS()
				var broken atomic.Bool
				broken.Store(true)
				fsys := &durable.FaultFS{FS: mem, Decide: func(_ int, o, name string) durable.Fault {
					housekeeping := strings.Contains(name, ".gz") || o == "syncdir" || o == "remove" && strings.HasSuffix(name, ".log")
					if broken.Load() && o == op && housekeeping {
						return durable.Fault{Err: syscall.EIO}
					}
					return durable.Fault{}
				}}
				w := mustOpen(t, WriterOptions{Path: "/log/audit.log", FS: fsys, maxBytes: 1, Compress: true})
				mustWrite(t, w, events(0, 3, 0)...)
				synctest.Wait()
				if st := w.Status(); !errors.Is(st.Keep, syscall.EIO) || st.State != OK {
					t.Errorf("status %+v", st)
				}
				contentOf(t, mem, "/log/audit.log").want(t, 3, 0)
				broken.Store(false)
				time.Sleep(time.Minute)
				synctest.Wait()
				if st := w.Status(); st.Keep != nil {
					t.Errorf("status %+v", st)
				}
				c := contentOf(t, mem, "/log/audit.log")
				c.want(t, 3, 0)
				if len(c.files) != 3 || !strings.HasSuffix(c.files[0], ".gz") || !strings.HasSuffix(c.files[1], ".gz") {
					t.Errorf("files %q", c.files)
				}
			})
		})
	}
}

// TestWriterTornAtStart: the last line of a process that died is ended before the next event.
func TestWriterTornAtStart(t *testing.T) {
	fsys := durable.NewMemFS()
	const path = "/log/audit.log"
	if err := durable.WriteFile(must(fsys), path, []byte(testLine(0, 0)+"\n"+testLine(1, 0)[:100])); err != nil {
		t.Fatal(err)
	}
	w := mustOpen(t, WriterOptions{Path: path, FS: fsys})
	mustWrite(t, w, event(2, 0))
	c := contentOf(t, fsys, path)
	if !slices.Equal(c.lines, []string{testLine(0, 0), testLine(2, 0)}) || !slices.Equal(c.torn, []string{testLine(1, 0)[:100] + "\n"}) {
		t.Errorf("%q, torn %q", c.lines, c.torn)
	}
}

func must(m *durable.MemFS) *durable.MemFS {
	if err := m.MkdirAll("/log"); err != nil {
		panic(err)
	}
	return m
}

// TestWriterFull: a full disk is a state that is told and ends by itself, each event is either
// whole in the log or given back, and the half of one is cut off.
func TestWriterFull(t *testing.T) {
	for _, sync := range []string{SyncNever, SyncAlways} {
		fsys := durable.NewMemFS()
		const path = "/log/audit.log"
		w := mustOpen(t, WriterOptions{Path: path, FS: fsys, Sync: sync})
		line := int64(len(testLine(0, 0)) + 1)
		fsys.SetCapacity(3*line + line/2)
		mustWrite(t, w, events(0, 2, 0)...)
		err := w.WriteEvents(t.Context(), events(2, 5, 0))
		var we *WriteError
		if !errors.As(err, &we) || !we.Full || !errors.Is(err, syscall.ENOSPC) || len(we.Events) != 2 || we.Events[0].AuditID != event(3, 0).AuditID {
			t.Fatalf("%v", err)
		}
		if st := w.Status(); st.State != Full || st.Err == nil || st.Lost != 2 || st.Events != 3 || st.Size != 3*line {
			t.Errorf("status %+v", st)
		}
		contentOf(t, fsys, path).want(t, 3, 0)
		for range 3 { // it stays full, and no halves gather
			if err := w.WriteEvents(t.Context(), events(9, 10, 0)); err == nil {
				t.Fatal("no error")
			}
		}
		contentOf(t, fsys, path).want(t, 3, 0)
		fsys.SetCapacity(0)
		mustWrite(t, w, events(3, 5, 0)...)
		contentOf(t, fsys, path).want(t, 5, 0)
		if st := w.Status(); st.State != OK || st.Err != nil {
			t.Errorf("status %+v", st)
		}
	}
}

// TestWriterGone: a log that somebody deletes or renames is begun anew within a second.
func TestWriterGone(t *testing.T) {
	for _, how := range []string{"deleted", "renamed", "replaced"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fsys := durable.NewMemFS()
				const path = "/log/audit.log"
				w := mustOpen(t, WriterOptions{Path: path, FS: fsys, Sync: SyncAlways})
				mustWrite(t, w, events(0, 2, 0)...)
				var err error
				if how == "deleted" {
					err = fsys.Remove(path)
				} else {
					err = fsys.Rename(path, path+".1")
				}
				if how == "replaced" {
					if f, ferr := fsys.Create(path); ferr == nil {
						_, err = f.Write([]byte(testLine(2, 0)[:10])) // by somebody who died
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(lookLive)
				mustWrite(t, w, event(3, 0))
				data, err := durable.ReadFile(fsys, path)
				if err != nil {
					t.Fatal(err)
				}
				want := testLine(3, 0) + "\n"
				if how == "replaced" {
					want = testLine(2, 0)[:10] + "\n" + want
				}
				if string(data) != want {
					t.Errorf("the log is %s", data)
				}
				if st := w.Status(); st.Reopened != 1 || st.State != OK {
					t.Errorf("status %+v", st)
				}
			})
		})
	}
}

// TestWriterCopyTruncate: what logrotate's copytruncate leaves has no hole.
func TestWriterCopyTruncate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	w := mustOpen(t, WriterOptions{Path: path, maxBytes: 5000})
	mustWrite(t, w, event(0, 3000))
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, w, event(0, 3000))
	contentOf(t, durable.OS{}, path).want(t, 1, 3000)
}

// TestWriterSecond: with 1s every line is durable two seconds later, and an idle log asks for nothing.
func TestWriterSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := durable.NewMemFS()
		var fail atomic.Bool
		var syncs atomic.Int32
		fsys := &durable.FaultFS{FS: mem, Decide: func(_ int, op, _ string) durable.Fault {
			if op == "sync" {
				if syncs.Add(1); fail.Load() {
					return durable.Fault{Err: syscall.EIO}
				}
			}
			return durable.Fault{}
		}}
		w := mustOpen(t, WriterOptions{Path: "/log/audit.log", FS: fsys, Sync: SyncSecond, maxBytes: 1000})
		mustWrite(t, w, events(0, 4, 0)...)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		contentOf(t, mem.Crash(nil), "/log/audit.log").want(t, 4, 0)
		was := syncs.Load()
		time.Sleep(time.Hour)
		if n := syncs.Load() - was; n != 0 {
			t.Errorf("%d syncs of an idle log", n)
		}
		fail.Store(true)
		mustWrite(t, w, event(4, 0)) // it cannot know yet
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if st := w.Status(); st.State != Failing || !errors.Is(st.Err, syscall.EIO) {
			t.Errorf("status %+v", st)
		}
		mustWrite(t, w, event(5, 0))
		if st := w.Status(); st.State != Failing {
			t.Error("a write does not mend a sync")
		}
		fail.Store(false)
		mustWrite(t, w, event(6, 0))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if st := w.Status(); st.State != OK {
			t.Errorf("status %+v", st)
		}
		contentOf(t, mem, "/log/audit.log").want(t, 7, 0)
	})
}

// gateFS lets writes pass one by one.
type gateFS struct {
	durable.FS
	gate chan struct{}
	mu   sync.Mutex
	ops  []string
}

type gateFile struct {
	durable.File
	fs *gateFS
}

func (g *gateFS) Append(name string) (durable.File, error) {
	f, err := g.FS.Append(name)
	return gateFile{f, g}, err
}

func (f gateFile) note(op string) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.ops = append(f.fs.ops, op)
}

func (f gateFile) Write(b []byte) (int, error) {
	f.note(fmt.Sprintf("write %d", bytes.Count(b, []byte("\n"))))
	<-f.fs.gate
	return f.File.Write(b)
}

func (f gateFile) Sync() error {
	f.note("sync")
	return f.File.Sync()
}

// TestWriterShares: those who come while a write is under way share the next, and its sync.
func TestWriterShares(t *testing.T) {
	mem := durable.NewMemFS()
	fsys := &gateFS{FS: mem, gate: make(chan struct{})}
	w := mustOpen(t, WriterOptions{Path: "/log/audit.log", FS: fsys, Sync: SyncAlways})
	const n = 50
	errs := make(chan error, n)
	send := func(seq int) { errs <- w.WriteEvents(t.Context(), events(seq, seq+1, 0)) }
	waiting := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.next == nil {
			return 0
		}
		return len(w.next.ends)
	}
	go send(0)
	for ops := 0; ops == 0; { // until it writes
		fsys.mu.Lock()
		ops = len(fsys.ops)
		fsys.mu.Unlock()
	}
	for seq := 1; seq < n; seq++ {
		go send(seq)
		for waiting() != seq { // in their order
		}
	}
	close(fsys.gate)
	for range n {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	contentOf(t, mem, "/log/audit.log").want(t, n, 0)
	if want := []string{"write 1", "sync", "write 49", "sync"}; !slices.Equal(fsys.ops, want) {
		t.Errorf("operations %q", fsys.ops)
	}
}

// pieces takes so many bytes a write, then fails.
type pieces struct {
	bytes.Buffer
	n int
}

func (p *pieces) Write(b []byte) (int, error) {
	if len(b) > p.n {
		n, _ := p.Buffer.Write(b[:p.n])
		p.n = 1 << 20
		return n, errors.New("gone")
	}
	return p.Buffer.Write(b)
}

func TestWriterStdout(t *testing.T) {
	out := &pieces{n: 1000}
	w := mustOpen(t, WriterOptions{Path: Stdout, Out: out, MaxSize: 1, maxBytes: 10, Compress: true, Sync: SyncAlways})
	err := w.WriteEvents(t.Context(), events(0, 3, 0))
	var we *WriteError
	if !errors.As(err, &we) || len(we.Events) != 2 {
		t.Fatal(err)
	}
	if w.Status().State != Failing {
		t.Errorf("status %+v", w.Status())
	}
	mustWrite(t, w, event(5, 0))
	want := testLine(0, 0) + "\n" + (testLine(1, 0) + "\n")[:1000-len(testLine(0, 0))-1] + "\n" + testLine(5, 0) + "\n"
	if out.String() != want {
		t.Errorf("%s", out)
	}
}

// TestWriterDevice: what is no file is neither rotated nor moved.
func TestWriterDevice(t *testing.T) {
	w := mustOpen(t, WriterOptions{Path: os.DevNull, maxBytes: 10, Compress: true, Sync: SyncAlways})
	mustWrite(t, w, events(0, 10, 0)...)
	if st := w.Status(); st.Rotations != 0 || st.State != OK || st.Events != 10 {
		t.Errorf("status %+v", st)
	}
	const full = "/dev/full" // Linux: a real ENOSPC
	if _, err := os.Stat(full); err != nil {
		return
	}
	w = mustOpen(t, WriterOptions{Path: full})
	var we *WriteError
	if err := w.WriteEvents(t.Context(), events(0, 2, 0)); !errors.As(err, &we) || !we.Full || len(we.Events) != 2 || w.Status().State != Full {
		t.Errorf("%v, status %+v", err, w.Status())
	}
}

func TestWriterRefuses(t *testing.T) {
	for _, c := range []struct {
		opt  WriterOptions
		want string
	}{
		{WriterOptions{}, "open audit log: no path"},
		{WriterOptions{Path: "x", MaxAge: -1}, "open audit log x: largest size, age and number of files cannot be negative"},
		{WriterOptions{Path: "x", Format: "xml"}, `open audit log x: format is "xml"; known are json and legacy`},
		{WriterOptions{Path: "x", Sync: "2s"}, `open audit log x: sync is "2s"; known are always, 1s and never`},
		{WriterOptions{Path: t.TempDir()}, "is a directory"},
	} {
		if _, err := Open(c.opt); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.opt, err, c.want)
		}
	}
	fsys := durable.NewMemFS()
	w := mustOpen(t, WriterOptions{Path: "/log/audit.log", FS: fsys})
	if err := w.WriteEvents(t.Context(), []audit.Event{event(0, 0), {AuditID: "x"}}); err == nil || !strings.Contains(err.Error(), `event 2 of 2 (audit ID "x") has no line`) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var we *WriteError
	if err := w.WriteEvents(ctx, events(0, 2, 0)); !errors.Is(err, context.Canceled) || !errors.As(err, &we) || len(we.Events) != 2 {
		t.Error(err)
	}
	indented := event(0, 0)
	indented.Raw = strings.ReplaceAll(indented.Raw, `,"`, ",\r\n\"")
	mustWrite(t, w, indented)
	if c := contentOf(t, fsys, "/log/audit.log"); len(c.lines) != 1 || len(c.torn) > 0 || len(c.lines[0]) != len(indented.Raw) {
		t.Errorf("%+v", c)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteEvents(t.Context(), events(0, 1, 0)); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
