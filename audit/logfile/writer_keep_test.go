package logfile

import (
	"io/fs"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/internal/durable"
)

// TestWriterHugeLimits: who says "for ever" in days or "never" in MB is believed. In the API server
// the days overflow, and the files go at once.
func TestWriterHugeLimits(t *testing.T) {
	for _, n := range []int{106_752, 999_999, math.MaxInt32, math.MaxInt} {
		synctest.Test(t, func(t *testing.T) {
			fsys := durable.NewMemFS()
			w := mustOpen(t, WriterOptions{Path: "/log/audit.log", FS: fsys, maxBytes: 1, MaxAge: n})
			mustWrite(t, w, events(0, 4, 0)...)
			time.Sleep(2 * lookOld)
			synctest.Wait()
			contentOf(t, fsys, "/log/audit.log").want(t, 4, 0)
		})
	}
	w := mustOpen(t, WriterOptions{Path: "/log/audit.log", FS: durable.NewMemFS(), MaxSize: 1 << 44})
	if w.out.max <= 0 {
		t.Errorf("rotates at %d bytes", w.out.max)
	}
}

// late is a file system on which somebody else still writes to a rotated file: the line is
// written when the file was opened to be compressed.
type late struct {
	durable.FS
	line string
}

func (l *late) Open(name string) (durable.Reader, error) {
	r, err := l.FS.Open(name)
	if err == nil && l.line != "" && strings.Contains(name, "-2000") {
		f, err := l.Append(name)
		if err != nil {
			return nil, err
		}
		_, err = f.Write([]byte(l.line + "\n"))
		l.line = ""
		if err := f.Close(); err != nil {
			return nil, err
		}
		return r, err
	}
	return r, err
}

// TestWriterCompressesLate: a file that grew while it was compressed, because another process
// had not noticed yet that it was rotated, stays until all of it is in its .gz.
func TestWriterCompressesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := &late{FS: durable.NewMemFS(), line: testLine(2, 0)}
		w := mustOpen(t, WriterOptions{Path: "/log/audit.log", FS: fsys, maxBytes: 1, Compress: true})
		mustWrite(t, w, events(0, 2, 0)...)
		synctest.Wait()
		if st := w.Status(); st.Keep == nil {
			t.Error("it was not told")
		}
		time.Sleep(retryKeep)
		synctest.Wait()
		c := contentOf(t, fsys, "/log/audit.log")
		if len(c.lines) != 3 || len(c.files) != 2 || !strings.HasSuffix(c.files[0], ".gz") {
			t.Errorf("%d lines in %q", len(c.lines), c.files)
		}
	})
}

// touched is a file system whose files were written a moment ago, at the start.
type touched struct {
	durable.FS
	at time.Time
}

type touchedEntry struct {
	fs.DirEntry
	at time.Time
}

type touchedInfo struct {
	fs.FileInfo
	at time.Time
}

func (f touched) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := f.FS.ReadDir(name)
	for i := range list {
		list[i] = touchedEntry{list[i], f.at}
	}
	return list, err
}

func (e touchedEntry) Info() (fs.FileInfo, error) {
	st, err := e.DirEntry.Info()
	return touchedInfo{st, e.at}, err
}

func (i touchedInfo) ModTime() time.Time { return i.at }

// TestWriterSettles: a rotated file to which somebody may still write is compressed later, without a
// new event.
func TestWriterSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := touched{durable.NewMemFS(), time.Now()}
		w := mustOpen(t, WriterOptions{Path: "/log/audit.log", FS: fsys, maxBytes: 1, Compress: true})
		mustWrite(t, w, events(0, 3, 0)...)
		for _, want := range []string{".log", ".gz"} {
			synctest.Wait()
			c := contentOf(t, fsys, "/log/audit.log")
			c.want(t, 3, 0)
			if len(c.files) != 3 || !strings.HasSuffix(c.files[0], want) || !strings.HasSuffix(c.files[1], want) || w.Status().Keep != nil {
				t.Errorf("files %q, %v", c.files, w.Status().Keep)
			}
			time.Sleep(quiet)
		}
	})
}

// TestWriterCompressesOnce: a file that another process compresses is left to it.
func TestWriterCompressesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := durable.NewMemFS()
		if err := fsys.MkdirAll("/log"); err != nil {
			t.Fatal(err)
		}
		theirs, err := fsys.Lock("/log/audit-2000-01-01T00-00-00.000.log.gz.tmp", true)
		if err != nil {
			t.Fatal(err)
		}
		w := mustOpen(t, WriterOptions{Path: "/log/audit.log", FS: fsys, maxBytes: 1, Compress: true})
		mustWrite(t, w, events(0, 2, 0)...)
		synctest.Wait()
		if c := contentOf(t, fsys, "/log/audit.log"); len(c.files) != 2 || strings.HasSuffix(c.files[0], ".gz") {
			t.Errorf("files %q", c.files)
		}
		if err := theirs.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(quiet) // it gave up
		synctest.Wait()
		c := contentOf(t, fsys, "/log/audit.log")
		c.want(t, 2, 0)
		if len(c.files) != 2 || !strings.HasSuffix(c.files[0], ".gz") {
			t.Errorf("files %q, %v", c.files, w.Status().Keep)
		}
	})
}
