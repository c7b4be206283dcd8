package logfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
)

func TestParseRotated(t *testing.T) {
	for _, c := range []struct {
		name, live, time string
		number           int
		compressed       bool
	}{
		{name: "audit-2026-11-22T19-53-12.289.log", live: "audit.log", time: "2026-11-22T19:53:12.289000Z"},
		{name: "audit-2026-11-22T19-53-12.289.log.gz", live: "audit.log", time: "2026-11-22T19:53:12.289000Z", compressed: true},
		{name: "audit-2026-11-22T19-53-12.289.log.zst", live: "audit.log", time: "2026-11-22T19:53:12.289000Z", compressed: true},
		{name: "kube-apiserver-audit-2026-11-22T19-53-12.289", live: "kube-apiserver-audit", time: "2026-11-22T19:53:12.289000Z"},
		{name: "audit.log.12", live: "audit.log", number: 12},
		{name: "audit.log.1.gz", live: "audit.log", number: 1, compressed: true},
		{name: "audit.log-20261122", live: "audit.log", time: "2026-11-22T00:00:00.000000Z"},
		{name: "audit.log"},
		{name: "audit.log.gz"},
		{name: "audit-2026-13-22T19-53-12.289.log"},
		{name: ""},
	} {
		r, ok := ParseRotated(c.name)
		if ok != (c.live != "") || ok && (r.Live != c.live || r.Time.String() != c.time || r.Number != c.number || r.Compressed != c.compressed) {
			t.Errorf("%q: %+v, %v", c.name, r, ok)
		}
	}
}

// TestTornEverywhere cuts an event at each byte: the next one continues it, on the
// same line, and is found; the torn part is quarantined.
func TestTornEverywhere(t *testing.T) {
	first, second := testLine(1, 30), testLine(2, 30)
	var e audit.Event
	decode := func(b []byte) error { return audit.Decode(b, &e) }
	for cut := 1; cut < len(first); cut++ {
		for _, hole := range []string{"", "\x00\x00\x00"} {
			pieces := Recover([]byte(first[:cut]+hole+second), decode)
			if len(pieces) != 2 || pieces[0].Event || string(pieces[0].Data) != first[:cut] || pieces[0].Offset != 0 ||
				!pieces[1].Event || string(pieces[1].Data) != second || pieces[1].Offset != cut+len(hole) {
				t.Fatalf("cut at %d: %+v", cut, pieces)
			}
		}
	}
	if pieces := Recover([]byte(first+second), decode); len(pieces) != 2 || !pieces[0].Event || !pieces[1].Event {
		t.Errorf("two events on a line: %+v", pieces)
	}
	// What a client put into a torn event is no event.
	forged := `{"kind":"Event","apiVersion":"audit.k8s.io/v1","requestObject":` + second + `,"stage":"Resp`
	if pieces := Recover([]byte(forged), decode); len(pieces) != 1 || pieces[0].Event {
		t.Errorf("forged: %+v", pieces)
	}
	if pieces := Recover([]byte(forged+first), decode); len(pieces) != 2 || string(pieces[1].Data) != first || string(pieces[0].Data) != forged {
		t.Errorf("forged, then continued: %+v", pieces)
	}
}

type want struct {
	kind   Kind
	offset int64
	text   string
}

func records(t *testing.T, r *Reader) (got []want) {
	t.Helper()
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		text := string(rec.Line)
		if rec.Kind != Line {
			text = rec.Reason + "|" + text
		}
		got = append(got, want{rec.Kind, rec.Offset, text})
	}
}

func expect(t *testing.T, got []want, exp ...want) {
	t.Helper()
	if len(got) != len(exp) {
		t.Fatalf("got %d records %.300v, want %.300v", len(got), got, exp)
	}
	for i, g := range got {
		w := exp[i]
		if g.kind != w.kind || g.kind != Gap && g.offset != w.offset || g.kind == Line && g.text != w.text || !strings.Contains(g.text, w.text) {
			t.Errorf("record %d is %.200v, want %.200v", i, g, w)
		}
	}
}

func put(t *testing.T, path string, off int64, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if off < 0 {
		off, _ = f.Seek(0, io.SeekEnd)
	}
	_, err = f.WriteAt([]byte(text), off)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func reader(t *testing.T, opt Options) *Reader {
	t.Helper()
	r, err := NewReader(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// TestHoles: NUL bytes are no lines; only those behind written bytes are a loss.
func TestHoles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a, b, c := testLine(1, 0), testLine(2, 0), testLine(3, 0)
	const start = 40 << 20
	put(t, path, start, a+"\n") // after copytruncate, by a writer that does not append
	at := int64(start + len(a) + 1)
	put(t, path, at+1<<20, b+"\n") // after a crash
	at2 := at + 1<<20 + int64(len(b)) + 1
	put(t, path, at2, c[:100])
	put(t, path, at2+100+5000, b+"\n")
	r := reader(t, Options{Path: path, MaxLine: 1 << 20})
	expect(t, records(t, r),
		want{Line, start, a},
		want{Bad, at, "hole of 1048576 NUL bytes"},
		want{Line, at + 1<<20, b},
		want{Line, at2, c[:100] + strings.Repeat("\x00", 5000) + b}, // Recover's task
	)
	at3 := at2 + 5100 + int64(len(b)) + 1
	put(t, path, at3, c[:100])
	put(t, path, at3+100+1<<20, c+"\n")
	again := reader(t, Options{Path: path, Cursor: r.Cursor(0)})
	expect(t, records(t, again),
		want{Bad, at3, "torn line, followed by NUL bytes|" + c[:100]},
		want{Bad, at3 + 100, "hole of 1048576 NUL bytes"},
		want{Line, at3 + 100 + 1<<20, c})
}

// TestTruncatedByWriterThatDoesNotAppend: copytruncate leaves a hole as large as
// the log was, so that its size never shrinks.
func TestTruncatedByWriterThatDoesNotAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a, b, c := testLine(1, 5000), testLine(2, 5000), testLine(3, 5000)
	put(t, path, 0, a+"\n")
	r := reader(t, Options{Path: path})
	expect(t, records(t, r), want{Line, 0, a})
	put(t, path, -1, b+"\n")
	data, err := os.ReadFile(path)
	if err := errors.Join(err, os.WriteFile(path+".1", data, 0o600), os.Truncate(path, 0)); err != nil {
		t.Fatal(err)
	}
	put(t, path, int64(len(data)), c+"\n")
	expect(t, records(t, r), want{Line, int64(len(a) + 1), b}, want{Line, int64(len(data)), c})
}

// TestDeletedAndMadeAgain: the deleted file is read to its end; that others may
// have come and gone is told.
func TestDeletedAndMadeAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a, b, c := testLine(1, 500), testLine(2, 500), testLine(3, 500)
	w, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	_, _ = w.WriteString(a + "\n")
	r := reader(t, Options{Path: path})
	expect(t, records(t, r), want{Line, 0, a})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, _ = w.WriteString(b + "\n") // the API server does not notice
	expect(t, records(t, r), want{Line, int64(len(a)) + 1, b})
	put(t, path, 0, c+"\n")
	expect(t, records(t, r), want{kind: Gap, text: "was deleted"}, want{Line, 0, c})
}

// TestRotatedFileGrows: a writer that was not told of the rotation goes on in the
// renamed file.
func TestRotatedFileGrows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a, b, c, d := testLine(1, 500), testLine(2, 500), testLine(3, 500), testLine(4, 500)
	put(t, path, 0, a+"\n")
	r := reader(t, Options{Path: path})
	expect(t, records(t, r), want{Line, 0, a})
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	put(t, path, 0, b+"\n")
	expect(t, records(t, r), want{Line, 0, b})
	put(t, path+".1", -1, c+"\n")
	r2 := reader(t, Options{Path: path, Cursor: r.Cursor(0)})
	expect(t, records(t, r2), want{Line, int64(len(a)) + 1, c})
	put(t, path, -1, d+"\n")
	expect(t, records(t, r2), want{Line, int64(len(b)) + 1, d})
	r3 := reader(t, Options{Path: path, Cursor: r2.Cursor(0)})
	expect(t, records(t, r3))
}

// TestLongLines: they are skipped with bounded memory, over a stop as well.
func TestLongLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	long := strings.Repeat("x", 3<<20)
	a, b := testLine(1, 0), testLine(2, 0)
	put(t, path, 0, a+"\n"+long)
	grown := 0
	opt := Options{Path: path, MaxLine: 1 << 20, Grow: func(int) error { grown++; return nil }, Shrink: func() { grown-- }}
	r := reader(t, opt)
	expect(t, records(t, r), want{Line, 0, a})
	if grown != 0 {
		t.Error("a long buffer is held while nothing comes")
	}
	opt.Cursor = r.Cursor(0)
	put(t, path, -1, long+"\n"+b+"\n")
	for _, r := range []*Reader{r, reader(t, opt)} {
		got := records(t, r)
		expect(t, got,
			want{Bad, int64(len(a)) + 1, "line of 6291456 bytes is longer than 1048576"},
			want{Line, int64(len(a)) + 2 + 6<<20, b})
		if len(got[0].text) > badSize+200 || len(r.cur.buf) > windowSize {
			t.Errorf("%d bytes kept, buffer of %d", len(got[0].text), len(r.cur.buf))
		}
	}
}

// TestBothPlainAndCompressed: while the API server compresses, both are there, the
// .gz not complete.
func TestBothPlainAndCompressed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	old := filepath.Join(dir, "audit-2026-11-22T19-53-12.289.log")
	a, b := testLine(1, 500), testLine(2, 500)
	put(t, old, 0, a+"\n")
	put(t, path, 0, b+"\n")
	gzipFile(t, old)
	if err := os.Truncate(old+".gz", 5); err != nil {
		t.Fatal(err)
	}
	r := reader(t, Options{Path: path})
	expect(t, records(t, r), want{Line, 0, a}, want{Line, 0, b})
	gzipFile(t, old)
	if err := os.Remove(old); err != nil {
		t.Fatal(err)
	}
	expect(t, records(t, r))
	expect(t, records(t, reader(t, Options{Path: path, Cursor: r.Cursor(0)})))
	// A damaged one is a gap, behind what can be read of it.
	if err := os.Truncate(old+".gz", 5); err != nil {
		t.Fatal(err)
	}
	expect(t, records(t, reader(t, Options{Path: path})), want{kind: Gap, text: "cannot be read"}, want{Line, 0, b})
}

// TestManyFiles: the cursor of a hundred finished files is small and complete.
func TestManyFiles(t *testing.T) {
	s := newSim(t, 1)
	for range 100 {
		s.put(testLine(s.seq, 5000) + "\n")
		s.seq++
		s.rotate()
	}
	s.put(testLine(s.seq, 5000) + "\n")
	k := newSink(t, s.live)
	k.read(1000)
	k.commit()
	if len(k.lines) != 101 || len(k.cursor) > 2000 {
		t.Errorf("%d lines, cursor of %d bytes: %s", len(k.lines), len(k.cursor), k.cursor)
	}
	k.restart()
	if k.read(1000); len(k.newLines) != 0 || len(k.gaps) != 0 {
		t.Errorf("after the restart %d lines are read again, gaps %v", len(k.newLines), k.gaps)
	}
	// A clock that went back: the new rotated file sorts before all others.
	s.clock = s.clock.AddDate(-1, 0, 0)
	s.put(testLine(s.seq, 5000) + "\n")
	s.seq += 2
	s.rotate()
	s.put(testLine(s.seq, 5000) + "\n")
	k.restart()
	if k.read(1000); len(k.newLines) != 2 {
		t.Errorf("after the clock went back: %d lines, want 2", len(k.newLines))
	}
}

func TestBadCursor(t *testing.T) {
	for _, c := range []string{``, `{`, `{"v":2}`, `{"v":1}`, `{"v":1,"at":"0.1.x.y.z"}`, `{"v":1,"at":"0.9999.x.1.z"}`, `{"v":1,"at":"0.1.x.1.z","time":"now"}`} {
		if _, err := NewReader(Options{Path: "audit.log", Cursor: []byte(c)}); err == nil || !strings.Contains(err.Error(), "audit.log") {
			t.Errorf("cursor %q: %v", c, err)
		}
	}
}

// TestListOfOldEvents: the items of an EventList are of the list's version.
func TestListOfOldEvents(t *testing.T) {
	doc := `{"kind":"EventList","apiVersion":"audit.k8s.io/v1beta1","items":[{"level":"Metadata","auditID":"1"}]}`
	var e audit.Event
	s := NewSplitter(strings.NewReader(doc), SplitOptions{Decode: func(b []byte) error { return audit.Decode(b, &e) }})
	defer s.Close()
	if rec, err := s.Next(); err != nil || rec.Kind != Line || e.Version != "v1beta1" || e.AuditID != "1" {
		t.Errorf("%+v, %v, %+v", rec, err, e)
	}
}
