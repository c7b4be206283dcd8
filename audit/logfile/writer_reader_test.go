package logfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/ktrail/ktrail/audit"
)

// TestWriterRead follows a log with the Reader of this package while four goroutines write
// it, a file every few lines, each compressed at once. Every event is read once,
// those of one goroutine in their order, and there is no gap; also by a reader that
// dies and goes on from its cursor. Writers are at most 40 events ahead, ten files: a reader cannot
// tell of a directory that has other files whenever it looks.
func TestWriterRead(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		for _, compress := range []bool{false, true} {
			t.Run(fmt.Sprintf("restarts %v, compress %v", restarts, compress), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "audit.log")
				w := mustOpen(t, WriterOptions{Path: path, Compress: compress, maxBytes: 4000})
				const senders, each = 4, 150
				ahead := make(chan struct{}, 40)
				var sent sync.WaitGroup
				for g := range senders {
					sent.Go(func() {
						for i := range each {
							ahead <- struct{}{}
							if err := w.WriteEvents(t.Context(), events(i*senders+g, i*senders+g+1, i%500)); err != nil {
								t.Error(err)
							}
						}
					})
				}
				written := make(chan struct{})
				go func() { sent.Wait(); close(written) }()
				have := follow(t, path, restarts, ahead, written)
				last := map[int]int{}
				for n, seq := range have {
					g := seq % senders
					if n > 0 && seq < last[g] {
						t.Errorf("event %d is read after %d", seq, last[g])
					}
					last[g] = seq
				}
				if len(have) != senders*each {
					t.Errorf("%d events read, %d written", len(have), senders*each)
				}
				if st := w.Status(); st.Rotations < 50 || st.State != OK || st.Keep != nil {
					t.Errorf("status %+v", st)
				}
			})
		}
	}
}

// follow reads until written is closed and everything is read. What is read twice, a
// gap and what is no event are errors.
func follow(t *testing.T, path string, restarts bool, ahead, written chan struct{}) (have []int) {
	t.Helper()
	var cursor json.RawMessage
	rnd := rand.New(rand.NewPCG(4, 4))
	seen, freed := map[int]bool{}, map[int]bool{}
	r, err := NewReader(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { r.Close() }()
	var pending []int
	commit := func() {
		have, pending = append(have, pending...), nil
		if c := r.Cursor(r.LastEvent()); c != nil {
			cursor = c
		}
	}
	for {
		done := false
		select {
		case <-written:
			done = true
		default:
		}
		for {
			rec, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			var e audit.Event
			if rec.Kind != Line {
				t.Fatalf("kind %v in %s at %d: %s %q", rec.Kind, rec.File, rec.Offset, rec.Reason, rec.Line)
			}
			if err := audit.Decode(rec.Line, &e); err != nil {
				t.Fatalf("%v: %s", err, rec.Line)
			}
			seq, err := strconv.Atoi(e.AuditID)
			if err != nil {
				t.Fatal(err)
			}
			if seen[seq] {
				t.Fatalf("event %d is read twice, in %s at %d", seq, rec.File, rec.Offset)
			}
			seen[seq] = true
			if !freed[seq] {
				freed[seq] = true
				<-ahead
			}
			pending = append(pending, seq)
			if restarts && cursor != nil && rnd.IntN(40) == 0 {
				for _, n := range pending { // not committed: to be read again
					delete(seen, n)
				}
				pending = nil
				r.Close()
				if r, err = NewReader(Options{Path: path, Cursor: cursor}); err != nil {
					t.Fatal(err)
				}
			}
			if rnd.IntN(10) == 0 {
				commit()
			}
		}
		commit()
		if done {
			return have
		}
	}
}
