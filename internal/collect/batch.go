package collect

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/logfile"
)

// budget bounds the bytes that all batches and long lines hold. Who waits for it
// holds nothing of it but what is on its way to the store, so nobody waits for ever.
type budget struct {
	sem     *semaphore.Weighted
	size    int64
	waiting atomic.Int64
}

func newBudget(size int64) *budget { return &budget{sem: semaphore.NewWeighted(size), size: size} }

// batch is what becomes one Commit.
type batch struct {
	events audit.Batch
	bad    []Quarantined
	gaps   []Gap
	cursor json.RawMessage

	badBytes  int64
	lineBytes int64 // of the lines in it, for the lag
	held      int64 // of the budget
	since     time.Time
	file      string // position behind it
	offset    int64
}

// eventCost is what an event costs besides its line: its columns, which may be
// decoded copies, and the list they are in, which grows by doubling.
const (
	eventCost = 2 << 10
	step      = 1 << 20
)

func (b *batch) bytes() int64 { return b.events.Bytes() + b.badBytes }

func (b *batch) empty() bool {
	return len(b.events.Events) == 0 && len(b.bad) == 0 && len(b.gaps) == 0
}

// builder collects records into batches and hands full ones to flush.
type builder struct {
	source, cluster string
	budget          *budget
	maxEvents       int
	maxBytes        int64
	// flush hands the current batch on. With wait it returns when that and all
	// before it are durable.
	flush func(ctx context.Context, wait bool) error

	cur     *batch
	mu      sync.Mutex
	spare   *batch // to be used again, with the memory that it holds
	granted int64  // for a long line
	pending []Gap  // that wait for the event after them
	last    audit.Time
	lines   int64
}

// begin starts the next batch.
func (b *builder) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cur, b.spare = b.spare, nil; b.cur == nil {
		b.cur = &batch{}
		b.cur.events.Source, b.cur.events.Cluster = b.source, b.cluster
	}
}

// take ends the current batch and begins the next. It returns nil if it is empty.
func (b *builder) take() *batch {
	t := b.cur
	if t.empty() {
		b.release(t)
		return nil
	}
	b.settle(0)
	b.begin()
	return t
}

// ahead is what a source reserves before it asks for a record, which it could not
// refuse any more: its cursor would be behind it. Longer lines come with a grant.
const ahead = 256 << 10

// reserve makes room for n bytes more in the current batch.
func (b *builder) reserve(ctx context.Context, n int) error {
	need := min(b.cur.bytes()+int64(n)+eventCost, b.budget.size)
	if need <= b.cur.held+b.granted/2 {
		return nil
	}
	more := min((need-b.cur.held+step-1)/step*step, b.budget.size-b.cur.held)
	if b.budget.sem.TryAcquire(more) {
		b.cur.held += more
		return nil
	}
	// Wait holding nothing; while a long line is held, for its own batch only.
	if err := b.flush(ctx, b.granted > 0); err != nil {
		return err
	}
	if b.granted > 0 {
		return nil
	}
	more = min((int64(n)+eventCost+step-1)/step*step, b.budget.size)
	if err := b.acquire(ctx, more); err != nil {
		return err
	}
	b.cur.held += more
	return nil
}

// acquire waits for n bytes of the budget, holding nothing of it.
func (b *builder) acquire(ctx context.Context, n int64) error {
	b.budget.waiting.Add(1) // before rest: what comes back now is not kept
	defer b.budget.waiting.Add(-1)
	b.rest()
	return b.budget.sem.Acquire(ctx, n)
}

// grow is logfile's Grow: room for a long line and for its copy in a batch.
func (b *builder) grow(ctx context.Context, size int) error {
	if err := b.flush(ctx, true); err != nil {
		return err
	}
	n := min(2*int64(size)+step, b.budget.size)
	if b.granted > 0 { // the line is longer than thought
		if b.budget.sem.TryAcquire(n - b.granted) {
			b.granted = n
			return nil
		}
		// Two who wait with a part each would wait for ever. What is read of the
		// line, less than this, is not accounted for meanwhile.
		b.budget.sem.Release(b.granted)
		b.granted = 0
	}
	if err := b.acquire(ctx, n); err != nil {
		return err
	}
	b.granted = n
	return nil
}

// shrink is logfile's Shrink. What the grant paid for must have left.
func (b *builder) shrink(ctx context.Context) {
	_ = b.flush(ctx, true) // its error is that of ctx: memory does not matter any more
	b.budget.sem.Release(b.granted)
	b.granted = 0
}

// done takes back a batch that is durable: to be used again, unless others wait
// for what it holds. It may be called beside the other methods.
func (b *builder) done(t *batch) {
	clear(t.bad)
	t.events.Reset()
	*t = batch{events: t.events, held: t.held}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spare == nil && b.budget.waiting.Load() == 0 {
		b.spare = t
		return
	}
	b.release(t)
}

// release gives back what t holds.
func (b *builder) release(t *batch) {
	b.budget.sem.Release(t.held)
	*t = batch{}
	t.events.Source, t.events.Cluster = b.source, b.cluster
}

// rest gives back what an empty batch and the spare one hold.
func (b *builder) rest() {
	if b.cur.empty() {
		b.release(b.cur)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spare != nil {
		b.release(b.spare)
		b.spare = nil
	}
}

// add decodes one line into the batch.
func (b *builder) add(line []byte) error {
	if err := b.cur.events.Add(line); err != nil {
		return err
	}
	b.started()
	b.last = b.cur.events.Events[len(b.cur.events.Events)-1].Time
	b.settle(b.last)
	return nil
}

// started notes when the first record came into the batch.
func (b *builder) started() {
	if b.cur.since.IsZero() {
		b.cur.since = time.Now()
	}
}

// settle puts the pending gaps into the batch; they end at to.
func (b *builder) settle(to audit.Time) {
	if len(b.pending) == 0 {
		return
	}
	for _, g := range b.pending {
		g.To = to
		b.cur.gaps = append(b.cur.gaps, g)
	}
	b.pending = b.pending[:0]
}

// line takes a line and what can be recovered of it.
func (b *builder) line(rec logfile.Record) {
	b.lines++
	b.cur.lineBytes += int64(len(rec.Line)) + 1
	err := b.add(rec.Line)
	if err == nil {
		return
	}
	for _, p := range logfile.Recover(rec.Line, b.add) {
		if !p.Event {
			b.quarantine(rec.File, rec.Offset+int64(p.Offset), p.Data, err.Error())
		}
	}
}

// quarantine keeps a copy of bytes that are no event.
func (b *builder) quarantine(file string, offset int64, data []byte, reason string) {
	b.cur.bad = append(b.cur.bad, Quarantined{
		Source: b.source, File: file, Offset: offset, Reason: reason,
		At: audit.TimeOf(time.Now()), Line: bytes.Clone(data),
	})
	b.cur.badBytes += int64(len(data)) + 512
	b.started()
}

// full reports whether the batch should go.
func (b *builder) full() bool {
	return len(b.cur.events.Events) >= b.maxEvents || len(b.cur.bad) >= b.maxEvents || b.cur.bytes() >= b.maxBytes
}
