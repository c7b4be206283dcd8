package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/pipeline"
)

// gate is a Sink that tells when each Send came and lets it wait until it is opened,
// or until its context ends.
type gate struct {
	take
	start time.Time
	at    []time.Duration
	open  chan struct{} // nil is open
	depth int           // of Sends under way
	most  int
}

func (g *gate) Send(ctx context.Context, events []audit.Event) error {
	g.mu.Lock()
	g.at = append(g.at, time.Since(g.start))
	g.depth++
	g.most = max(g.most, g.depth)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.depth--
		g.mu.Unlock()
	}()
	if g.open != nil {
		select {
		case <-g.open:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return g.take.Send(ctx, events)
}

// told is when each batch came and what was in it.
func (g *gate) told() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var s []string
	for i, at := range g.at {
		text := "?"
		if i < len(g.sends) {
			text = ids(g.sends[i])
		}
		s = append(s, fmt.Sprintf("%v[%s]", at, text))
	}
	return strings.Join(s, " ")
}

func batch(t *testing.T, next pipeline.Sink, o pipeline.BatchOptions) *pipeline.Batch {
	t.Helper()
	b, err := pipeline.NewBatch(t.Context(), next, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBatchLeaves(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    pipeline.BatchOptions
		// do is what comes: events, and pauses as durations.
		do, want string
	}{
		{"when it is full", pipeline.BatchOptions{BatchEvents: 2, MaxWait: time.Minute}, "a 1s b c d 1s e", "1s[a b] 1s[c d] 1m2s[e]"},
		{"when the first has waited", pipeline.BatchOptions{BatchEvents: 100, MaxWait: time.Minute}, "1h a 20s b 50s c", "1h1m0s[a b] 1h2m10s[c]"},
		{"at once without a wait", pipeline.BatchOptions{BatchEvents: 100}, "1h a 1s b", "1h0m0s[a] 1h0m1s[b]"},
		{"one by one", pipeline.BatchOptions{BatchEvents: 1, MaxWait: time.Minute}, "a b c", "0s[a] 0s[b] 0s[c]"},
		{"when its lines are large", pipeline.BatchOptions{BatchEvents: 100, BatchBytes: 340, MaxWait: time.Minute}, "a b c d 90s", "0s[a b] 1m0s[c d]"},
		{"with one larger than a batch", pipeline.BatchOptions{BatchEvents: 100, BatchBytes: 10}, "a b", "0s[a] 0s[b]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gate{start: time.Now()}
				tc.o.Events, tc.o.Ledger = 100, pipeline.NewLedger(pipeline.LedgerOptions{})
				b := batch(t, g, tc.o)
				synctest.Wait()
				for _, word := range strings.Fields(tc.do) {
					if d, err := time.ParseDuration(word); err == nil {
						time.Sleep(d)
						continue
					}
					if err := b.Send(t.Context(), events(t, word)); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(time.Hour)
				if got := g.told(); got != tc.want {
					t.Errorf("got  %s\nwant %s", got, tc.want)
				}
				if n, bytes := b.Held(); n != 0 || bytes != 0 {
					t.Errorf("it holds %d events and %d bytes in the end", n, bytes)
				}
				if err := b.Close(t.Context()); err != nil || g.closed != 1 {
					t.Errorf("Close gave %v, closed the sink below %d times", err, g.closed)
				}
			})
		})
	}
}

// In a bubble time moves only while all sleep: an idle Batch that woke up would be seen
// as time that does not pass, and one with a timer by the number of times it fired.
func TestBatchIdleSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{start: time.Now()}
		b := batch(t, g, pipeline.BatchOptions{Events: 10, BatchEvents: 5, Workers: 3, Ledger: pipeline.NewLedger(pipeline.LedgerOptions{})})
		synctest.Wait() // returns when every goroutine is blocked for good
		time.Sleep(24 * time.Hour)
		if err := b.Close(t.Context()); err != nil || len(g.at) > 0 {
			t.Errorf("an idle batch sent %d times, and Close gave %v", len(g.at), err)
		}
	})
}

func TestBatchFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{start: time.Now(), open: make(chan struct{})}
		l := pipeline.NewLedger(pipeline.LedgerOptions{})
		b := batch(t, g, pipeline.BatchOptions{Events: 2, BatchEvents: 1, Ledger: l})
		synctest.Wait()
		for _, id := range []string{"a", "b", "c"} { // a is taken by the worker
			if err := b.Send(t.Context(), events(t, id)); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		de := events(t, "d:7 e:7")
		err := b.Send(t.Context(), de)
		var loss *pipeline.Loss
		if !errors.As(err, &loss) || loss.Reason != pipeline.ReasonFull || loss.Sink != "buffer" || ids(loss.Events) != "d e" {
			t.Errorf("a full buffer gave %v", err)
		}
		close(g.open)
		if err := b.Close(t.Context()); err != nil || ids(g.all()) != "a b c" {
			t.Errorf("Close gave %v, and %s arrived", err, ids(g.all()))
		}
		if err := b.Send(t.Context(), de); !errors.As(err, &loss) || loss.Reason != pipeline.ReasonStop {
			t.Errorf("Send after Close gave %v", err)
		}
		if counts(l) != "" {
			t.Errorf("what Send gave back was counted too: %s", counts(l))
		}
	})
}

// A webhook that is dead, and events of all sizes without end: what is held must stay
// below the bound, and everything else must be told.
func TestBatchMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 1 << 20
		g := &gate{start: time.Now(), open: make(chan struct{})}
		l := pipeline.NewLedger(pipeline.LedgerOptions{})
		b := batch(t, g, pipeline.BatchOptions{Events: 10_000, Bytes: bound, BatchEvents: 40, Workers: 4, Ledger: l})
		var lost, sent int
		for i := range 20_000 {
			e := events(t, "x")
			e[0].Raw += strings.Repeat(" ", i*7919%20_000)
			sent++
			err := b.Send(t.Context(), e)
			for _, loss := range pipeline.Losses(err) {
				lost += len(loss.Events)
			}
			if _, bytes := b.Held(); bytes > bound {
				t.Fatalf("after %d events it holds %d bytes", i, bytes)
			}
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		n, bytes := b.Held()
		if bytes < bound/2 {
			t.Errorf("it holds %d bytes only, of %d", bytes, bound)
		}
		if g.most != 4 {
			t.Errorf("%d batches were under way at once, want 4", g.most)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := b.Close(ctx)
		for _, loss := range pipeline.Losses(err) {
			if loss.Reason != pipeline.ReasonStop {
				t.Errorf("Close lost events for the reason %s", loss.Reason)
			}
			if len(loss.Events) != n {
				t.Errorf("Close gave %d events back, %d waited", len(loss.Events), n)
			}
			lost += len(loss.Events)
		}
		for _, c := range l.Counts() {
			if c.Reason != pipeline.ReasonStop {
				t.Errorf("counted %+v", c)
			}
			lost += int(c.Events)
		}
		if lost != sent {
			t.Errorf("of %d events %d were told as lost", sent, lost)
		}
	})
}

// What is held is what the heap has, more or less: events must not keep more alive than is counted.
func TestBatchMemoryIsTrue(t *testing.T) {
	const bound = 16 << 20
	lines := sampleLines(t)
	g := &gate{open: make(chan struct{})}
	b := batch(t, g, pipeline.BatchOptions{Events: 100_000, Bytes: bound, BatchEvents: 400, Workers: 4, Ledger: pipeline.NewLedger(pipeline.LedgerOptions{})})
	before := heap()
	for i, full := 0, false; !full; i++ {
		full = b.Send(t.Context(), []audit.Event{decoded(t, string(lines[i%len(lines)]))}) != nil
	}
	if grew := heap() - before; grew > 2*bound {
		t.Errorf("a buffer of %d bytes takes %d", bound, grew)
	}
	close(g.open)
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestBatchOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{start: time.Now(), open: make(chan struct{})}
		var over take
		b := batch(t, g, pipeline.BatchOptions{Events: 1, BatchEvents: 10, Overflow: &over, Ledger: pipeline.NewLedger(pipeline.LedgerOptions{})})
		if err := b.Send(t.Context(), events(t, "a b c")); err != nil || ids(over.all()) != "b c" {
			t.Errorf("Send gave %v, the overflow has %q", err, ids(over.all()))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		synctest.Wait() // a is on its way and stuck
		if err := b.Send(t.Context(), events(t, "d")); err != nil {
			t.Error(err)
		}
		if err := b.Close(ctx); err != nil || ids(over.all()) != "b c d" {
			t.Errorf("Close gave %v, the overflow has %q", err, ids(over.all()))
		}
	})
}

func TestBatchEntersLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to take
		to.fail(errors.New("down"))
		l := pipeline.NewLedger(pipeline.LedgerOptions{})
		b := batch(t, &to, pipeline.BatchOptions{Events: 10, BatchEvents: 2, Ledger: l})
		if err := b.Send(t.Context(), events(t, "a:4 b:4 c:5")); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := counts(l); got != "/error/4=2 /error/5=1" {
			t.Errorf("counted %s", got)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A buffer that cannot hold a batch must not lose events while it waits for one.
func TestBatchLargerThanBuffer(t *testing.T) {
	for _, o := range []pipeline.BatchOptions{{Events: 4, BatchEvents: 400}, {Events: 400, BatchEvents: 400, Bytes: 8000}} {
		synctest.Test(t, func(t *testing.T) {
			g := &gate{start: time.Now()}
			o.MaxWait, o.Ledger = time.Hour, pipeline.NewLedger(pipeline.LedgerOptions{})
			b := batch(t, g, o)
			for i := range 100 {
				if err := b.Send(t.Context(), events(t, fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			if n := len(g.all()); n < 90 {
				t.Errorf("%d events left within the hour", n)
			}
			if err := b.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Many senders, few workers: everything arrives once, each sender's in its order
// where there is one worker.
func TestBatchTogether(t *testing.T) {
	for _, workers := range []int{1, 4} {
		var to take
		b := batch(t, &to, pipeline.BatchOptions{Events: 100_000, BatchEvents: 7, Workers: workers, Ledger: pipeline.NewLedger(pipeline.LedgerOptions{})})
		const senders, each = 8, 500
		var wg sync.WaitGroup
		for s := range senders {
			proto := events(t, "x")[0]
			wg.Go(func() {
				for i := range each {
					e := proto
					e.AuditID, e.Code = fmt.Sprint(s), int32(i)
					if err := b.Send(t.Context(), []audit.Event{e}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
		seen := map[string]int{}
		last := map[string]int32{}
		for _, e := range to.all() {
			if n, ok := last[e.AuditID]; workers == 1 && ok && e.Code != n+1 {
				t.Fatalf("%d of sender %s came after %d", e.Code, e.AuditID, n)
			}
			last[e.AuditID] = e.Code
			seen[fmt.Sprint(e.AuditID, "/", e.Code)]++
		}
		if len(seen) != senders*each || len(to.all()) != senders*each {
			t.Errorf("%d workers: %d events arrived, %d different, want %d", workers, len(to.all()), len(seen), senders*each)
		}
	}
}

func TestBatchRefuses(t *testing.T) {
	l := pipeline.NewLedger(pipeline.LedgerOptions{})
	for _, o := range []pipeline.BatchOptions{
		{BatchEvents: 1, Ledger: l},
		{Events: 1, Ledger: l},
		{Events: 1, BatchEvents: 1},
		{Events: 1, BatchEvents: 1, MaxWait: -1, Ledger: l},
		{Events: 1, BatchEvents: 1, Bytes: -1, Ledger: l},
	} {
		if _, err := pipeline.NewBatch(t.Context(), &take{}, o); err == nil {
			t.Errorf("took %+v", o)
		}
	}
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{start: time.Now()}
		th, err := pipeline.NewThrottle(g, 10, 3)
		if err != nil {
			t.Fatal(err)
		}
		send := func(n int) {
			for range n {
				if err := th.Send(t.Context(), events(t, "a")); err != nil {
					t.Error(err)
				}
			}
		}
		send(5)
		time.Sleep(800 * time.Millisecond) // 1s: the bucket is full again, with 3, not 8
		send(4)
		if got := fmt.Sprint(g.at); got != "[0s 0s 0s 100ms 200ms 1s 1s 1s 1.1s]" {
			t.Errorf("sends came at %s", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var loss *pipeline.Loss
		if err := th.Send(ctx, events(t, "b")); !errors.As(err, &loss) || loss.Reason != pipeline.ReasonThrottle || ids(loss.Events) != "b" {
			t.Errorf("a Send whose time is over gave %v", err)
		}
		time.Sleep(99 * time.Millisecond)
		send(1) // the token was given back
		if got := g.at[len(g.at)-1]; got != 1200*time.Millisecond {
			t.Errorf("the next came at %v", got)
		}
	})
	for _, bad := range []struct {
		qps   float64
		burst int
	}{{0, 1}, {-1, 1}, {1, 0}} {
		if _, err := pipeline.NewThrottle(&take{}, bad.qps, bad.burst); err == nil {
			t.Errorf("took %+v", bad)
		}
	}
}

// The columns of an event that capture made are no part of its line, and take memory of their own.
func TestBatchCountsColumns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 100_000
		text := func() string { return strings.Repeat("x", each) }
		var groups []string
		for range each / 4 {
			groups = append(groups, "abcd")
		}
		r := audit.Record{
			Level: audit.LevelMetadata, AuditID: text(), Stage: audit.StageResponseComplete, RequestURI: text(), UserAgent: text(), Received: 1, Time: 1,
			User: audit.UserInfo{Username: text(), Groups: groups}, ImpersonatedUser: &audit.UserInfo{Username: text(), Groups: groups},
			SourceIPs: groups, ResponseStatus: &audit.Status{Message: text()},
		}
		e, err := r.Event()
		if err != nil {
			t.Fatal(err)
		}
		g := &gate{start: time.Now(), open: make(chan struct{})}
		b := batch(t, g, pipeline.BatchOptions{Events: 10, BatchEvents: 10, MaxWait: time.Hour, Ledger: pipeline.NewLedger(pipeline.LedgerOptions{})})
		if err := b.Send(t.Context(), []audit.Event{e}); err != nil {
			t.Fatal(err)
		}
		// Six texts, three lists of 25,000 strings of 16 bytes and their four letters, and the line.
		want := int64(6*each + 3*(each/4*16+each) + len(e.Raw))
		if _, got := b.Held(); got < want || got > want+2000 {
			t.Errorf("it counts %d bytes, and holds %d", got, want)
		}
		close(g.open)
		closed1(t, b)
	})
}
