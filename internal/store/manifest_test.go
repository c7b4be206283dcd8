package store

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/internal/durable"
)

// rewriteGoldens is a function so that the flag is looked up when it was parsed.
func rewriteGoldens() bool {
	f := flag.Lookup("rewrite")
	return f != nil && f.Value.String() == "true"
}

func TestMain(m *testing.M) {
	if flag.Lookup("rewrite") == nil {
		flag.Bool("rewrite", false, "write the goldens anew")
	}
	flag.Parse()
	os.Exit(m.Run())
}

// TestOperations holds every change to the file system, in order, against a
// golden: what is written, synced and renamed before what.
func TestOperations(t *testing.T) {
	fsys := durable.NewMemFS()
	var out strings.Builder
	at := 0
	say := func(what string) {
		fmt.Fprintf(&out, "# %s\n", what)
		log := fsys.Log()
		for _, l := range log[at:] {
			fmt.Fprintln(&out, l)
		}
		at = len(log)
	}
	s := mustOpen(t, fsys)
	say("open a new store")
	mustAppend(t, s, step(t, 0))
	say("commit")
	mustAppend(t, s, step(t, 1))
	say("commit with a line that cannot be decoded")
	mustAppend(t, s, Commit{Source: "a", Events: makeEvents(t, 0, 7), Cursor: []byte("9")})
	say("commit of duplicates with a cursor")
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	say("compact")
	mustAppend(t, s, step(t, 2))
	at = len(fsys.Log())
	s.opts.RetainBytes = 1
	s.retain(t.Context())
	say("retain")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	at = len(fsys.Log())
	mustOpen(t, fsys)
	say("open again")
	golden := filepath.Join("testdata", "operations.txt")
	if rewriteGoldens() {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatalf("%v; make it with: go test -run TestOperations -rewrite", err)
	}
	if out.String() != string(want) {
		t.Errorf("operations changed; see them with: go test -run TestOperations -rewrite && git diff\n%s", out.String())
	}
}

// manifestOf returns a MANIFEST with every type of record but header in one store's life.
func manifestOf(t testing.TB) []byte {
	t.Helper()
	fsys := durable.NewMemFS()
	s := mustOpen(t, fsys)
	for i := range 4 {
		mustAppend(t, s, step(t, i))
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := durable.ReadFile(fsys, "/data/MANIFEST")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzManifest(f *testing.F) {
	seed := manifestOf(f)
	f.Add(seed)
	f.Add(seed[:len(seed)/2])
	f.Add([]byte("00000000 {}\n"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := newContents()
		bad, whole, err := scanManifest(data, func(r *record) error { return c.apply("/data", r) })
		if whole > int64(len(data)) || err != nil && !errors.Is(err, ErrFormat) {
			t.Fatalf("%d of %d bytes, %v", whole, len(data), err)
		}
		for _, b := range bad {
			if !bytes.Equal(data[b.offset:b.offset+int64(len(b.line))], b.line) {
				t.Fatalf("the bad line at %d is not there", b.offset)
			}
		}
		// What was read survives a checkpoint.
		again, err2 := c.checkpoint()
		if err2 != nil {
			t.Fatal(err2)
		}
		d := newContents()
		bad, _, err2 = scanManifest(again, func(r *record) error { return d.apply("/data", r) })
		if err2 != nil || len(bad) > 0 {
			t.Fatalf("checkpoint: %v, %d bad lines", err2, len(bad))
		}
		for _, m := range []*contents{&c, &d} {
			for _, g := range m.obsolete {
				*g = segment{Rel: g.Rel}
			}
		}
		if !reflect.DeepEqual(c, d) {
			t.Fatalf("checkpoint differs\n%+v\n%+v", c, d)
		}
	})
}

func TestManifestOfTheFuture(t *testing.T) {
	for _, r := range []*record{{Type: recordHeader, Format: 2}, {Type: "seal"}} {
		fsys := durable.NewMemFS()
		s := mustOpen(t, fsys)
		mustAppend(t, s, step(t, 0))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		line, err := encodeRecord(r)
		if err != nil {
			t.Fatal(err)
		}
		var before []byte
		if err := fsys.Corrupt("/data/MANIFEST", func(b []byte) []byte { before = append(b, line...); return before }); err != nil {
			t.Fatal(err)
		}
		var damage *DamageError
		if _, err := openMem(t, fsys); !errors.Is(err, ErrFormat) || errors.As(err, &damage) {
			t.Errorf("%+v: %v", r, err)
		}
		if after, _ := durable.ReadFile(fsys, "/data/MANIFEST"); !bytes.Equal(after, before) {
			t.Errorf("%+v: the MANIFEST was changed", r)
		}
	}
}

func TestManifestIsRewrittenWhenItIsLarge(t *testing.T) {
	fsys := durable.NewMemFS()
	s := mustOpen(t, fsys)
	mustAppend(t, s, step(t, 0))
	cursor := []byte(`"` + strings.Repeat("x", 300<<10) + `"`)
	for range 8 {
		mustAppend(t, s, Commit{Source: "big", Cursor: cursor})
	}
	mustAppend(t, s, Commit{Source: "big", Cursor: []byte("1")})
	mustAppend(t, s, Commit{Source: "big", Cursor: []byte("2")})
	if s.size > 4*s.base+checkpointBytes {
		t.Errorf("the MANIFEST has %d bytes, %d after it was rewritten", s.size, s.base)
	}
	rewritten := 0
	for _, l := range fsys.Log() {
		if l == "rename /data/MANIFEST.tmp /data/MANIFEST" {
			rewritten++
		}
	}
	if rewritten < 2 {
		t.Errorf("the MANIFEST was put in place %d times", rewritten)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, fsys)
	if got := string(s.Cursors()["big"]); got != "2" {
		t.Errorf("cursor %.20s", got)
	}
	sameLines(t, "all", lines(t, s), workLines(t, 1))
}
