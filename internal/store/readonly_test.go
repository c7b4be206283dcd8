package store

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
	"github.com/ktrail/ktrail/internal/query"
)

func readOnly(o *Options) { o.ReadOnly = true }

func TestReadOnly(t *testing.T) {
	fsys := durable.NewMemFS()
	if _, err := openMem(t, fsys, readOnly); !errors.Is(err, ErrNotFound) {
		t.Fatalf("open nothing: %v", err)
	}
	w := mustOpen(t, fsys)
	if _, err := openMem(t, fsys); !errors.Is(err, ErrLocked) {
		t.Fatalf("a second writer: %v", err)
	}
	mustAppend(t, w, step(t, 0))
	before := len(fsys.Log())
	r := mustOpen(t, fsys, readOnly)
	sameLines(t, "opened", lines(t, r), workLines(t, 1))
	if _, err := r.Append(t.Context(), step(t, 1)); !errors.Is(err, ErrReadOnly) {
		t.Errorf("append: %v", err)
	}
	if err := r.Compact(t.Context()); !errors.Is(err, ErrReadOnly) {
		t.Errorf("compact: %v", err)
	}
	if n := len(fsys.Log()); n != before {
		t.Errorf("a read-only store wrote: %v", fsys.Log()[before:])
	}
	mustAppend(t, w, step(t, 1))
	sn, err := r.acquire(query.Range{})
	if err != nil {
		t.Fatal(err)
	}
	// What is being read stays, though it is replaced.
	if err := w.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, w, step(t, 2))
	got, err := snapshotLines(r, sn)
	if err != nil {
		t.Fatal(err)
	}
	sameLines(t, "a snapshot", got, workLines(t, 2))
	if n := len(filesBelow(fsys, "/data/segments")); n != 4 {
		t.Errorf("%d files while a reader needs the old ones, want 4", n)
	}
	sn.release()
	w.deleteObsolete()
	if n := len(filesBelow(fsys, "/data/segments")); n != 2 {
		t.Errorf("%d files after that, want 2", n)
	}
	sameLines(t, "now", lines(t, r), workLines(t, 3))
}

func TestReadOnlyIsToldOfCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := durable.NewMemFS()
		w, err := openMem(t, fsys)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		r, err := openMem(t, fsys, readOnly)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var mu sync.Mutex
		var last int64
		defer r.subscribe(func(c committed) {
			mu.Lock()
			defer mu.Unlock()
			if c.First != last+1 || c.Events != nil {
				t.Errorf("told of %d..%d after %d", c.First, c.Last, last)
			}
			last = c.Last
		})()
		for i := range 5 {
			mustAppend(t, w, step(t, i))
			time.Sleep(watchEvery) // of synctest's clock
		}
		time.Sleep(watchEvery)
		mu.Lock()
		defer mu.Unlock()
		if last != 35 {
			t.Errorf("told of %d events of 35", last)
		}
	})
}

// TestReadersThroughCompactionAndRetention reads all the time, in the writer and
// beside it, while segments are committed, merged and dropped.
func TestReadersThroughCompactionAndRetention(t *testing.T) {
	dir := t.TempDir()
	open := func(change func(*Options)) *Store {
		return mustOpen(t, durable.OS{}, func(o *Options) { o.Dir = dir }, change)
	}
	w := open(func(*Options) {})
	mustAppend(t, w, step(t, 0))
	r := open(readOnly)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	reads := make([]int, 2)
	for i, s := range []*Store{w, r} {
		wg.Go(func() {
			for ctx.Err() == nil {
				sn, err := s.acquire(query.Range{})
				if err != nil {
					t.Errorf("acquire: %v", err)
					return
				}
				var want int64
				for _, g := range sn.Segments {
					want += g.Rows
				}
				got, err := snapshotLines(s, sn)
				sn.release()
				if err != nil || int64(len(got)) != want {
					t.Errorf("read %d of %d events: %v", len(got), want, err)
					return
				}
				if len(slices.Compact(got)) != int(want) {
					t.Error("an event is there twice")
					return
				}
				reads[i]++
			}
		})
	}
	for i := range 60 {
		mustAppend(t, w, step(t, i+1))
		if i%6 == 5 && i < 50 {
			if err := w.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if i%20 == 19 {
			w.opts.RetainBytes = w.State().Bytes * 2 / 3
			w.retain(t.Context())
		}
	}
	stop()
	wg.Wait()
	if reads[0] == 0 || reads[1] == 0 {
		t.Errorf("reads: %v", reads)
	}
	st := w.State()
	w.deleteObsolete()
	if n := len(filesBelow(durable.OS{}, dir+"/segments")); n != st.Segments {
		t.Errorf("%d files for %d segments", n, st.Segments)
	}
	if st.Events >= 61*7 || st.Events == 0 {
		t.Errorf("%d events after retention", st.Events)
	}
	if _, err := os.Stat(dir + "/" + lockName); err != nil {
		t.Error(err)
	}
}

// TestCompactionPolicy commits as a quiet cluster does and merges as the
// background does, step by step.
func TestCompactionPolicy(t *testing.T) {
	fsys := durable.NewMemFS()
	s := mustOpen(t, fsys)
	const n = fanIn*fanIn + 3
	far := audit.TimeOf(time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC))
	merges := 0
	for i := range n {
		mustAppend(t, s, Commit{Source: "a", Events: makeEvents(t, 2*i, 2*i+2)})
		for {
			group, level := s.plan(far, false)
			if len(group) == 0 {
				break
			}
			if len(group) != fanIn || level != group[0].Level+1 {
				t.Fatalf("merge of %d segments of level %d into level %d", len(group), group[0].Level, level)
			}
			if err := s.merge(t.Context(), group, level, true); err != nil {
				t.Fatal(err)
			}
			merges++
		}
	}
	s.deleteObsolete()
	st := s.State()
	if merges != fanIn+1 || st.Segments != 1+3 || st.Events != 2*n {
		t.Errorf("%d merges, %d segments, %d events", merges, st.Segments, st.Events)
	}
	if files := len(filesBelow(fsys, "/data/segments")); files != st.Segments {
		t.Errorf("%d files for %d segments", files, st.Segments)
	}
	sameLines(t, "compacted", lines(t, s), rawLines(makeEvents(t, 0, 2*n)))
	// The newest commits are left alone for a while.
	for i := range fanIn {
		mustAppend(t, s, Commit{Source: "a", Events: makeEvents(t, 2*n+i, 2*n+i+1)})
	}
	if group, _ := s.plan(makeEvent(t, 2*n).Time, false); len(group) != 0 {
		t.Errorf("%d fresh segments are to be merged", len(group))
	}
}

func TestRetainByAge(t *testing.T) {
	fsys := durable.NewMemFS()
	s := mustOpen(t, fsys, func(o *Options) { o.RetainAge = time.Hour })
	for i, age := range []time.Duration{3 * time.Hour, 2 * time.Hour, time.Minute} {
		events := makeEvents(t, i, i+1)
		events[0].Time = audit.TimeOf(time.Now().Add(-age))
		mustAppend(t, s, Commit{Source: "a", Events: events})
	}
	s.retain(t.Context())
	sameLines(t, "retained", lines(t, s), rawLines(makeEvents(t, 2, 3)))
	if n := len(filesBelow(fsys, "/data/segments")); n != 1 {
		t.Errorf("%d files are left", n)
	}
}

// swapFS runs swap once, when the MANIFEST has just been opened.
type swapFS struct {
	durable.FS
	swap func()
}

func (f *swapFS) Open(name string) (durable.Reader, error) {
	r, err := f.FS.Open(name)
	if swap := f.swap; swap != nil && strings.HasSuffix(name, manifestName) {
		f.swap = nil
		swap()
	}
	return r, err
}

// TestReadOnlyThroughRewrites rewrites the MANIFEST again and again, in the
// middle of a reader's look at it too.
func TestReadOnlyThroughRewrites(t *testing.T) {
	dir := t.TempDir()
	inDir := func(o *Options) { o.Dir = dir }
	w := mustOpen(t, durable.OS{}, inDir)
	rewrite := func() {
		w.writing.Lock()
		defer w.writing.Unlock()
		if err := w.rewriteManifest(); err != nil {
			t.Fatal(err)
		}
	}
	mustAppend(t, w, step(t, 0))
	fsys := &swapFS{FS: durable.OS{}}
	r, err := Open(t.Context(), Options{Dir: dir, ReadOnly: true, Logger: quiet(), FS: fsys})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := 1; i < 20; i++ {
		fsys.swap = func() {
			rewrite()
			mustAppend(t, w, step(t, i))
			rewrite() // often gets the inode of the file that the reader knew
			rewrite()
		}
		rewrite()
		if err := r.refresh(); err != nil {
			t.Fatal(err)
		}
		if fsys.swap != nil {
			t.Fatal("the reader did not open the new MANIFEST")
		}
		sameLines(t, "after a rewrite", lines(t, r), workLines(t, i+1))
		if d := r.State().Damage; len(d) > 0 {
			t.Fatalf("damage: %v", d)
		}
	}
}
