package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
	"github.com/ktrail/ktrail/internal/golden"
)

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
	golden.Check(t, "testdata/operations.txt", out.String())
}

// manifestOf returns a MANIFEST with a record of each type, made without a
// store: one that runs beside a fuzz target would disturb it.
func manifestOf(t testing.TB) []byte {
	t.Helper()
	seg := func(seq int64) segmentRecord {
		return segmentRecord{
			Seq: seq, Path: segmentPath(seq, audit.Time(seq)), Rows: 1, Bytes: 1, MinTime: 1, MaxTime: 2, MinID: seq, MaxID: seq,
			SHA256: strings.Repeat("0", 64), CRC: "00000000",
		}
	}
	var out []byte
	for _, r := range []*record{
		{Type: recordHeader, Format: manifestFormat, NextSeq: 1, NextID: 1},
		{Type: recordCheckpoint, Cursors: map[string]json.RawMessage{"a": json.RawMessage("1")}, Damage: []Damage{{File: "f", Seq: 9}}},
		{Type: recordAdd, Segments: []segmentRecord{seg(1), seg(2)}, Gaps: []Gap{{Source: "a", Reason: "r"}}, Quarantined: map[string]int64{"a": 1}},
		{Type: recordAdd, Segments: []segmentRecord{seg(3)}},
		{Type: recordReplace, Segments: []segmentRecord{seg(4)}, Removed: []int64{1, 2}},
		{Type: recordDrop, Removed: []int64{4}},
		{Type: recordDamage, Damage: []Damage{{File: "g", Seq: 3}}},
		{Type: recordObsolete, Files: []string{"segments/x"}},
	} {
		line, err := encodeRecord(r)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, line...)
	}
	return out
}

func FuzzManifest(f *testing.F) {
	seed := manifestOf(f)
	records := 0
	bad, whole, err := scanManifest(seed, func(*record) error { records++; return nil })
	if len(bad) > 0 || whole != int64(len(seed)) || err != nil || records != bytes.Count(seed, []byte("\n")) || records < 8 {
		f.Fatalf("the seed is no MANIFEST: %d records, %d bad lines, %v", records, len(bad), err)
	}
	if last, spoilt := lastRecord(seed[bytes.LastIndexByte(seed[:len(seed)-1], '\n')+1 : len(seed)-1]); last == nil || spoilt != nil {
		f.Fatal("the seed's last record is none")
	}
	f.Add(seed[:len(seed)-1], false)
	f.Add([]byte("\n\n"), false)
	// Short ones, for the fuzzer shortens what it finds, which takes the square of
	// its length. It cannot guess a CRC: summed lines are given theirs.
	for line := range bytes.Lines(seed) {
		f.Add(bytes.Clone(line[9:]), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, sum bool) {
		if sum {
			var out []byte
			for line := range bytes.Lines(data) {
				out = fmt.Appendf(out, "%08x %s", crc32.Checksum(bytes.TrimSuffix(line, []byte("\n")), castagnoli()), line)
			}
			data = out
		}
		c := newContents()
		bad, whole, err := scanManifest(data, func(r *record) error { return c.apply("/data", r) })
		if whole > int64(len(data)) || err != nil && !errors.Is(err, ErrFormat) {
			t.Fatalf("%d of %d bytes, %v", whole, len(data), err)
		}
		if last, _ := lastRecord(data[whole:]); last != nil && err == nil {
			if aerr := c.apply("/data", last); aerr != nil && !errors.Is(aerr, ErrFormat) {
				t.Fatal(aerr)
			}
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
