package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/pipeline"
	"github.com/ktrail/ktrail/internal/durable"
)

// What others left in the directory is neither read nor removed, and keeps nothing from the sink.
func TestSpoolForeignFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := durable.NewMemFS()
		var to take
		to.fail(errDown)
		s := spool(t, &to, pipeline.SpoolOptions{FS: fsys})
		send(t, s, "a b")
		closed1(t, s)
		foreign := []string{"1.log", "7.log", "00000000000000000001.log", "audit.log", "0000000009.log.gz"}
		for _, name := range foreign {
			if err := durable.WriteFile(fsys, "/spool/"+name, []byte("theirs\n")); err != nil {
				t.Fatal(err)
			}
		}
		if err := fsys.MkdirAll("/spool/0000000002.log"); err != nil {
			t.Fatal(err)
		}
		s = spool(t, &to, pipeline.SpoolOptions{FS: fsys})
		send(t, s, "c")
		to.fail(nil)
		time.Sleep(time.Minute)
		closed1(t, s)
		if got := ids(to.all()); got != "a b c" {
			t.Errorf("the sink has %q", got)
		}
		for _, name := range foreign {
			if text, err := durable.ReadFile(fsys, "/spool/"+name); err != nil || string(text) != "theirs\n" {
				t.Errorf("%s: %q, %v", name, text, err)
			}
		}
	})
}

// The names of segments order by number also where they have more than ten digits.
func TestSpoolOrderOfLongNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := durable.NewMemFS()
		if err := fsys.MkdirAll("/spool"); err != nil {
			t.Fatal(err)
		}
		for name, id := range map[string]string{"9999999999.log": "a", "10000000000.log": "b"} {
			if err := durable.WriteFile(fsys, "/spool/"+name, []byte(events(t, id)[0].Raw+"\n")); err != nil {
				t.Fatal(err)
			}
		}
		var to take
		s := spool(t, &to, pipeline.SpoolOptions{FS: fsys})
		time.Sleep(time.Minute)
		closed1(t, s)
		if got := ids(to.all()); got != "a b" {
			t.Errorf("the sink has %q", got)
		}
	})
}

// Somebody cuts a segment short in the middle of a line: what can be read is handed on, and
// the rest neither keeps a processor busy for ever nor goes uncounted.
func TestSpoolCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := durable.NewMemFS()
		l := pipeline.NewLedger(pipeline.LedgerOptions{})
		var to take
		to.fail(errDown)
		s := spool(t, &to, pipeline.SpoolOptions{FS: fsys, Ledger: l, BatchEvents: 1})
		send(t, s, "a b c")
		synctest.Wait()
		if err := fsys.Corrupt("/spool/"+files(t, fsys, "/spool"), func(text []byte) []byte {
			return text[:strings.Index(string(text), "\n")+9]
		}); err != nil {
			t.Fatal(err)
		}
		to.fail(nil)
		time.Sleep(time.Hour)
		send(t, s, "d")
		closed1(t, s)
		if got := ids(to.all()); got != "a d" {
			t.Errorf("the sink has %q", got)
		}
		if got := counts(l); got != "spool/disk/0=1" {
			t.Errorf("counted %q", got)
		}
	})
}

// A line that was safe on disk and cannot be read any more is a loss like any other.
func TestSpoolCountsDamagedLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := durable.NewMemFS()
		l := pipeline.NewLedger(pipeline.LedgerOptions{})
		var to take
		to.fail(errDown)
		s := spool(t, &to, pipeline.SpoolOptions{FS: fsys, Ledger: l})
		send(t, s, "a b c")
		closed1(t, s)
		if err := fsys.Corrupt("/spool/"+files(t, fsys, "/spool"), func(text []byte) []byte {
			return []byte(strings.Replace(string(text), `"auditID":"b"`, `"auditID":"b`, 1))
		}); err != nil {
			t.Fatal(err)
		}
		to.fail(nil)
		s = spool(t, &to, pipeline.SpoolOptions{FS: fsys, Ledger: l})
		time.Sleep(time.Minute)
		closed1(t, s)
		if got := ids(to.all()); got != "a c" {
			t.Errorf("the sink has %q", got)
		}
		if got := counts(l); got != "spool/disk/0=1" {
			t.Errorf("counted %q", got)
		}
	})
}

// halves is a sink that takes the first half of what it is sent, as a webhook does that takes
// a batch in parts and goes away between them.
type halves struct{ take }

func (h *halves) Send(ctx context.Context, in []audit.Event) error {
	n := (len(in) + 1) / 2
	if err := h.take.Send(ctx, in[:n]); err != nil {
		return err
	}
	if h.fail(errDown); n == len(in) {
		return nil
	}
	return &pipeline.Loss{Sink: "webhook", Reason: pipeline.ReasonDown, Events: in[n:]}
}

// Of a batch that was taken in part, the part is not sent again by the next process: it is known.
func TestSpoolRestartWithinABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := durable.NewMemFS()
		var to halves
		to.fail(errDown)
		s := spool(t, &to, pipeline.SpoolOptions{FS: fsys})
		send(t, s, "a b c d")
		synctest.Wait()
		to.fail(nil)
		time.Sleep(time.Minute)
		closed1(t, s)
		to.fail(nil)
		s = spool(t, &to.take, pipeline.SpoolOptions{FS: fsys})
		time.Sleep(time.Minute)
		closed1(t, s)
		if got := ids(to.all()); got != "a b c d" {
			t.Errorf("the sink has %q", got)
		}
	})
}

func TestSpoolClosedTwice(t *testing.T) {
	var to take
	s := spool(t, &to, pipeline.SpoolOptions{FS: durable.NewMemFS()})
	closed1(t, s)
	closed1(t, s)
	if to.closed != 1 {
		t.Errorf("the sink was closed %d times", to.closed)
	}
}

// Senders that come while a sync is under way share the next one.
func TestSpoolSharesSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		var mu sync.Mutex
		syncs := 0
		first := make(chan struct{})
		fsys := &durable.FaultFS{FS: durable.NewMemFS()}
		fsys.Decide = func(_ int, op, name string) durable.Fault {
			if op != "sync" || !strings.HasSuffix(name, ".log") {
				return durable.Fault{}
			}
			mu.Lock()
			syncs++
			wait := syncs == 1
			mu.Unlock()
			if wait {
				<-first
			}
			return durable.Fault{}
		}
		var to take
		to.fail(errDown)
		l := pipeline.NewLedger(pipeline.LedgerOptions{})
		size := int64(len(events(t, "000")[0].Raw) + 1)
		s := spool(t, &to, pipeline.SpoolOptions{FS: fsys, MaxBytes: (n + 1) * size, Ledger: l})
		var wg sync.WaitGroup
		var full error
		for i := range n + 2 {
			wg.Go(func() {
				if err := s.Send(t.Context(), events(t, fmt.Sprintf("%03d", i))); err != nil {
					mu.Lock()
					full = errors.Join(full, err)
					mu.Unlock()
				}
			})
			synctest.Wait()
		}
		close(first)
		wg.Wait()
		if loss := pipeline.Losses(full); len(loss) != 1 || loss[0].Reason != pipeline.ReasonFull || ids(loss[0].Events) != "101" {
			t.Errorf("lost: %v", full)
		}
		if syncs != 2 || s.Backlog() != (n+1)*size {
			t.Errorf("%d syncs for %d senders, %d bytes", syncs, n+1, s.Backlog())
		}
		to.fail(nil)
		time.Sleep(time.Minute)
		closed1(t, s)
		if got := to.all(); len(got) != n+1 || !strings.HasPrefix(ids(got), "000 001 002") {
			t.Errorf("the sink has %s", ids(got))
		}
	})
}
