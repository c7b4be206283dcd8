package pipeline_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/pipeline"
	"github.com/ktrail/ktrail/internal/durable"
)

// slow is a sink that takes half a second, whatever it is sent, and may be down.
type slow struct {
	take
	down atomic.Bool
}

func (s *slow) Send(ctx context.Context, in []audit.Event) error {
	if s.down.Load() {
		return errDown
	}
	time.Sleep(500 * time.Millisecond)
	return s.take.Send(ctx, in)
}

// After an outage, with events still coming at a rate that the sink takes by ten batches at a
// time, but not one by one, the disk is emptied and not used any more.
func TestSpoolCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to slow
		l := pipeline.NewLedger(pipeline.LedgerOptions{})
		s := spool(t, &to, pipeline.SpoolOptions{FS: durable.NewMemFS(), BatchEvents: 4, Workers: 10, Ledger: l})
		b := batch(t, s, pipeline.BatchOptions{Events: 100, BatchEvents: 4, MaxWait: time.Second, Workers: 10, Overflow: s.Overflow(), Ledger: l})
		const n, perSecond = 10_000, 20
		used := 0
		for i := range n {
			to.down.Store(i >= 1000 && i < 2000)
			send(t, b, fmt.Sprint(i))
			time.Sleep(time.Second / perSecond)
			if s.Backlog() > 0 {
				used = i
			}
		}
		closed1(t, b)
		if got := to.all(); len(got) != n || counts(l) != "" {
			t.Errorf("the sink has %d events, lost are %s", len(got), counts(l))
		}
		if used < 1000 || used > 4000 {
			t.Errorf("the disk was last used by event %d; the sink was down until 2000", used)
		}
	})
}

// One by one, in order: a Send waits for the last that is on disk, and takes the direct way then.
func TestSpoolLeavesTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to slow
		s := spool(t, &to, pipeline.SpoolOptions{FS: durable.NewMemFS()})
		to.down.Store(true)
		send(t, s, "a b")
		synctest.Wait()
		to.down.Store(false)
		send(t, s, "c") // behind a and b
		time.Sleep(1750 * time.Millisecond)
		synctest.Wait()
		if got := ids(to.all()); got != "a b" {
			t.Errorf("before the last is taken the sink has %q", got)
		}
		send(t, s, "d") // c is under way
		if got := ids(to.all()); got != "a b c d" || s.Backlog() != 0 {
			t.Errorf("the sink has %q, the disk %d bytes", got, s.Backlog())
		}
		closed1(t, s)
	})
}
