package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/internal/durable"
	"github.com/ktrail/ktrail/internal/query"
)

// TestFlippedByteInManifest flips bytes all over the MANIFEST. Each is found and
// named; what other records hold stays.
func TestFlippedByteInManifest(t *testing.T) {
	t.Parallel()
	fsys := durable.NewMemFS()
	s := mustOpen(t, fsys)
	for i := range 5 {
		mustAppend(t, s, step(t, i))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := durable.ReadFile(fsys, "/data/MANIFEST")
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += 29 {
		hurt := fsys.Crash(nil)
		if err := hurt.Corrupt("/data/MANIFEST", func(b []byte) []byte { b[at] ^= 0x40; return b }); err != nil {
			t.Fatal(err)
		}
		start := bytes.LastIndexByte(whole[:at], '\n') + 1
		check := func(what string, s *Store) {
			t.Helper()
			st := s.State()
			if len(st.Damage) == 0 || st.Damage[0].File != "MANIFEST" || st.Damage[0].Offset != int64(start) {
				t.Fatalf("byte %d, %s: damage %+v, want offset %d", at, what, st.Damage, start)
			}
			if st.Events < 7*3 { // a flipped LF takes two records
				t.Fatalf("byte %d, %s: %d events are left", at, what, st.Events)
			}
			if int64(len(lines(t, s))) != st.Events {
				t.Fatalf("byte %d, %s: not all of the rest can be read", at, what)
			}
		}
		ro := mustOpen(t, hurt, func(o *Options) { o.ReadOnly = true })
		check("read-only", ro)
		if got, _ := durable.ReadFile(hurt, "/data/MANIFEST"); len(got) != len(whole) || got[at] == whole[at] {
			t.Fatalf("byte %d: a read-only store wrote", at)
		}
		if err := ro.Close(); err != nil {
			t.Fatal(err)
		}
		for _, what := range []string{"opened", "opened again"} {
			s := mustOpen(t, hurt)
			check(what, s)
			kept, err := durable.ReadFile(hurt, "/data/"+s.State().Damage[0].Moved)
			if err != nil || len(kept) == 0 {
				t.Fatalf("byte %d: the record is not kept: %v", at, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		// Nothing was deleted: each segment is live or in quarantine.
		if n := len(filesBelow(hurt, "/data/segments")) + len(slices.DeleteFunc(filesBelow(hurt, "/data/quarantine"), func(f string) bool {
			return !strings.HasSuffix(f, ".parquet")
		})); n != 5 {
			t.Fatalf("byte %d: %d of 5 segments are left", at, n)
		}
		// What was lost is taken again from the log.
		s := mustOpen(t, hurt)
		for i := range 5 {
			mustAppend(t, s, step(t, i))
		}
		sameLines(t, "imported again", lines(t, s), workLines(t, 5))
	}
}

// TestFlippedEndOfManifest spoils the last line break in every way, and cuts it
// off. The record before it is complete: it may have been acknowledged.
func TestFlippedEndOfManifest(t *testing.T) {
	fsys := durable.NewMemFS()
	s := mustOpen(t, fsys)
	for i := range 2 {
		mustAppend(t, s, step(t, i))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for bit := range 9 {
		hurt := fsys.Crash(nil)
		cut := bit == 8
		edit := func(b []byte) []byte {
			if cut {
				return b[:len(b)-1]
			}
			b[len(b)-1] ^= 1 << bit
			return b
		}
		if err := hurt.Corrupt("/data/MANIFEST", edit); err != nil {
			t.Fatal(err)
		}
		check := func(what string, s *Store) {
			t.Helper()
			sameLines(t, fmt.Sprintf("bit %d, %s", bit, what), lines(t, s), workLines(t, 2))
			if c := string(s.Cursors()["a"]); c != "2" {
				t.Errorf("bit %d, %s: cursor %s", bit, what, c)
			}
			d := s.State().Damage
			if cut && len(d) > 0 || !cut && (len(d) != 1 || d[0].File != manifestName || d[0].Offset == 0) {
				t.Errorf("bit %d, %s: damage %+v", bit, what, d)
			}
		}
		if !cut { // what has no end yet is not read by others
			check("read-only", mustOpen(t, hurt, readOnly))
		}
		for _, what := range []string{"opened", "opened again"} {
			w := mustOpen(t, hurt)
			check(what, w)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
		w := mustOpen(t, hurt)
		mustAppend(t, w, step(t, 2))
		sameLines(t, "going on", lines(t, w), workLines(t, 3))
	}
}

// TestFlippedByteInSegment flips bytes all over a segment on a real disk.
func TestFlippedByteInSegment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func(change ...func(*Options)) *Store {
		return mustOpen(t, durable.OS{}, append(change, func(o *Options) { o.Dir = dir })...)
	}
	s := open()
	for i := range 3 {
		mustAppend(t, s, step(t, i))
	}
	victim := s.byTime(func(*segment) bool { return true })[1]
	whole, err := os.ReadFile(victim.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += len(whole) / 40 {
		hurt := bytes.Clone(whole)
		hurt[at] ^= 1
		write := func() {
			if err := os.WriteFile(victim.Path, hurt, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write()
		s := open(func(o *Options) { o.ReadOnly = true })
		if err := s.scrub(t.Context()); err != nil {
			t.Fatal(err)
		}
		check := func(what string, s *Store, moved bool) Damage {
			t.Helper()
			st := s.State()
			if len(st.Damage) != 1 || st.Events != 14 {
				t.Fatalf("byte %d, %s: %d events, damage %+v", at, what, st.Events, st.Damage)
			}
			d := st.Damage[0]
			if d.File != victim.Rel || d.Offset > int64(at) || d.Offset+d.Length <= int64(at) || d.Rows != 7 || d.From != victim.MinTime || (d.Moved != "") != moved {
				t.Fatalf("byte %d, %s: damage %+v", at, what, d)
			}
			want := append(workLines(t, 1), rawLines(step(t, 2).Events)...)
			slices.Sort(want)
			sameLines(t, what, lines(t, s), want)
			sn, err := s.acquire(query.Range{From: victim.MinTime, To: victim.MaxTime})
			if err != nil || len(sn.Damage) != 1 {
				t.Fatalf("byte %d, %s: a query of that time is not warned: %v", at, what, err)
			}
			sn.release()
			return d
		}
		check("read-only", s, false)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open()
		var damage *DamageError
		if err := s.verify(s.byTime(func(*segment) bool { return true })[1]); !errors.As(err, &damage) {
			t.Fatalf("byte %d: verify: %v", at, err)
		}
		d := check("writer", s, true)
		if err := s.Compact(t.Context()); err != nil { // what is left can be compacted
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open()
		check("opened again", s, true)
		if kept, err := os.ReadFile(filepath.Join(dir, d.Moved)); err != nil || !bytes.Equal(kept, hurt) {
			t.Fatalf("byte %d: the bytes are not kept: %v", at, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		// Begin again with the store as it was.
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		s = open()
		for i := range 3 {
			mustAppend(t, s, step(t, i))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestScrub finds what the CRCs of the blocks cannot see, and takes its time.
func TestScrub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := durable.NewMemFS()
		s, err := openMem(t, fsys)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for i := range 3 {
			mustAppend(t, s, step(t, i))
		}
		victim := s.byTime(func(*segment) bool { return true })[1]
		stopped, stop := context.WithCancel(t.Context())
		stop()
		if err := s.scrub(stopped); !errors.Is(err, context.Canceled) || len(s.State().Damage) > 0 {
			t.Errorf("a scrub that is stopped: %v", err)
		}
		began := time.Now()
		if err := s.scrub(t.Context()); err != nil || len(s.State().Damage) > 0 {
			t.Fatalf("%v, damage %+v", err, s.State().Damage)
		}
		if took, least := time.Since(began), time.Duration(s.State().Bytes-3)*time.Second/scrubRate; took < least {
			t.Errorf("the scrub took %v of the clock, %v at least is promised", took, least)
		}
		err = fsys.Corrupt(victim.Path, func(b []byte) []byte {
			// A multiple of the CRC's polynomial, lowest bit first, does not change the CRC.
			for i, x := range binary.LittleEndian.AppendUint64(nil, 1|crc32.Castagnoli<<1)[:5] {
				b[100+i] ^= x
			}
			if got := fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli())); got != victim.blocks {
				t.Fatalf("the CRC is %s now, not %s any more", got, victim.blocks)
			}
			return b
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.scrub(t.Context()); err != nil {
			t.Fatal(err)
		}
		d := s.State().Damage
		if len(d) != 1 || d[0].Seq != victim.Seq || !strings.Contains(d[0].Reason, "SHA-256") || d[0].Moved == "" {
			t.Errorf("damage: %+v", d)
		}
	})
}

// TestDamageDoesNotSpread compacts and deduplicates over a damaged segment.
func TestDamageDoesNotSpread(t *testing.T) {
	fsys := durable.NewMemFS()
	s := mustOpen(t, fsys, func(o *Options) { o.DedupMemory = 1 })
	for i := range 4 {
		mustAppend(t, s, step(t, i))
	}
	list := s.byTime(func(*segment) bool { return true })
	for _, g := range list[1:3] {
		if err := fsys.Corrupt(g.Path, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := append(workLines(t, 1), rawLines(step(t, 3).Events)...)
	slices.Sort(want)
	sameLines(t, "compacted", lines(t, s), want)
	if st := s.State(); len(st.Damage) != 2 || st.Segments != 1 {
		t.Errorf("state %+v", st)
	}
	if r := mustAppend(t, s, step(t, 1)); r.Added != 7 {
		t.Errorf("lost events are stored anew: %+v", r)
	}
}

func TestFilesNobodyKnows(t *testing.T) {
	fsys := durable.NewMemFS()
	s := mustOpen(t, fsys)
	for i := range 2 {
		mustAppend(t, s, step(t, i))
	}
	list := s.byTime(func(*segment) bool { return true })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	put := func(name, content string) {
		t.Helper()
		if err := fsys.MkdirAll(filepath.Dir(name)); err != nil {
			t.Fatal(err)
		}
		if err := durable.WriteFile(fsys, name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	put("/data/segments/notes.txt", "mine")
	put("/data/segments/2026/11/22/000000000000.parquet", "old")
	put(filepath.Dir(list[0].Path)+"/000000000003.parquet", "unfinished")
	put("/data/segments/7.tmp", "unfinished")
	if err := fsys.Remove(list[1].Path); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, fsys)
	st := s.State()
	if len(st.Damage) != 1 || st.Damage[0].File != list[1].Rel || !strings.Contains(st.Damage[0].Reason, "missing") {
		t.Errorf("damage: %+v", st.Damage)
	}
	if got := filesBelow(fsys, "/data/segments"); !slices.Equal(got, []string{list[0].Path}) {
		t.Errorf("segments: %v", got)
	}
	for _, name := range []string{"notes.txt", "000000000000.parquet"} {
		if _, err := fsys.Stat("/data/quarantine/" + name); err != nil {
			t.Errorf("%s was not kept: %v", name, err)
		}
	}
	if _, err := fsys.Stat("/data/quarantine/000000000003.parquet"); err == nil {
		t.Error("the file of an unfinished commit was kept")
	}
	// Without its MANIFEST a store is not touched.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := fsys.Remove("/data/MANIFEST"); err != nil {
		t.Fatal(err)
	}
	var damage *DamageError
	if _, err := openMem(t, fsys); !errors.As(err, &damage) {
		t.Errorf("open without a MANIFEST: %v", err)
	}
	if _, err := fsys.Stat(list[0].Path); err != nil {
		t.Error(err)
	}
}

// TestOlderManifestIsRestored puts a MANIFEST back from a backup. The segments
// that came after it are kept.
func TestOlderManifestIsRestored(t *testing.T) {
	fsys := durable.NewMemFS()
	s := mustOpen(t, fsys)
	mustAppend(t, s, step(t, 0))
	old, err := durable.ReadFile(fsys, "/data/"+manifestName)
	if err != nil {
		t.Fatal(err)
	}
	const later = mostUnfinished + 1
	for i := range later {
		mustAppend(t, s, Commit{Source: "a", Events: makeEvents(t, 100+i, 101+i)})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(fsys, "/data/"+manifestName, old); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, fsys)
	if n := len(filesBelow(fsys, "/data/quarantine")); n != later {
		t.Errorf("%d of %d segments are kept", n, later)
	}
	sameLines(t, "restored", lines(t, s), workLines(t, 1))
}
