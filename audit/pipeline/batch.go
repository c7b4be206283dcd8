package pipeline

import (
	"context"
	"errors"
	"sync"
	"time"
	"unsafe"

	"github.com/ktrail/ktrail/audit"
)

// Batch is a [Sink] that keeps events in memory and hands them on in batches, so that
// Send waits for nobody: the API server's mode batch. What finds no room is lost at
// once; what the sink below does not take later is entered in the ledger.
//
// A batch leaves when it is full, and otherwise MaxWait after its first event came, or
// after the batch before it left. A Batch that is empty sleeps: no timer runs.
type Batch struct {
	next Sink
	o    BatchOptions

	turn chan struct{} // held by the worker that waits for a batch to be due
	wake chan struct{} // one token: there may be a batch now

	mu     sync.Mutex
	ring   []audit.Event // len is 0 or a power of two
	head   int           // of the oldest event
	count  int           // events that wait
	bytes  int64         // of the events that wait
	lines  int64         // of their lines, with newlines
	flying int64         // bytes of the events that are being handed on
	since  time.Time     // when the batch that is gathered began
	closed bool

	ctx    context.Context // of the work; it ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// BatchOptions are a Batch's.
type BatchOptions struct {
	// Events is how many may wait, and Bytes how much memory they and those under way may
	// take: lines and columns. Bytes is 64 MiB if 0.
	Events int
	Bytes  int64
	// BatchEvents and BatchBytes end a batch; a batch has one event at least. BatchBytes
	// counts lines with their newlines; 0 is no limit. A batch does not wait either when the
	// buffer is full, or a quarter of Bytes taken.
	BatchEvents int
	BatchBytes  int64
	// MaxWait is how long a batch may wait to be filled; 0 does not wait at all.
	MaxWait time.Duration
	// Workers is how many batches may be under way at once; 0 is 1, which keeps the order.
	Workers int
	// Overflow takes what finds no room, in the caller's time, and what is left when the time to
	// close is over; nil loses it.
	Overflow Sink
	// Ledger is told of what is lost after Send returned.
	Ledger *Ledger
}

// BufferBytes is how much a Batch holds if it is not told.
const BufferBytes = 64 << 20

func (o *BatchOptions) validate() error {
	if o.Bytes == 0 {
		o.Bytes = BufferBytes
	}
	if o.Workers == 0 {
		o.Workers = 1
	}
	switch {
	case o.Events <= 0 || o.Bytes < 0:
		return errors.New("make batch: the buffer must have room for an event")
	case o.BatchEvents <= 0 || o.BatchBytes < 0 || o.MaxWait < 0 || o.Workers < 0:
		return errors.New("make batch: a batch must have room for an event, and nothing may be negative")
	case o.Ledger == nil:
		return errors.New("make batch: it needs a ledger")
	}
	o.BatchEvents = min(o.BatchEvents, o.Events) // a buffer that is full must not wait for its batch to be
	return nil
}

// held is the memory of an event: its line and its columns. Of an event that was decoded the
// columns point into the line, and count twice; one that was made of a request has both, and
// a client may choose most of either.
func held(e *audit.Event) int64 {
	n := int(unsafe.Sizeof(*e)) + len(e.Raw) + len(e.AuditID) + len(e.User) + len(e.AsUser) + len(e.Agent) + len(e.URI) + len(e.Message)
	for _, list := range [...][]string{e.Groups, e.AsGroups, e.SourceIPs} {
		n += len(list) * int(unsafe.Sizeof(""))
		for _, text := range list {
			n += len(text)
		}
	}
	return int64(n)
}

// NewBatch returns a Batch in front of next. It works until Close, also after ctx
// has ended; the values of ctx are next's.
func NewBatch(ctx context.Context, next Sink, o BatchOptions) (*Batch, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	b := &Batch{next: next, o: o, turn: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for range o.Workers {
		b.wg.Go(b.work)
	}
	return b, nil
}

// Send implements [Sink]. It does not wait, but for Overflow.
func (b *Batch) Send(ctx context.Context, events []audit.Event) error {
	left, reason := b.add(events)
	if len(left) == 0 {
		return nil
	}
	if b.o.Overflow != nil && reason != ReasonStop {
		return b.o.Overflow.Send(ctx, left)
	}
	return &Loss{Sink: bufferName, Reason: reason, Events: left}
}

const bufferName = "buffer"

// add takes the events for which there is room, and returns the others.
func (b *Batch) add(events []audit.Event) (left []audit.Event, reason Reason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return events, ReasonStop
	}
	empty := b.count == 0
	for i := range events {
		size := held(&events[i])
		if b.count == b.o.Events || b.bytes+b.flying+size > b.o.Bytes {
			left = append(left, events[i])
			continue
		}
		if b.count == len(b.ring) {
			b.grow()
		}
		b.ring[(b.head+b.count)&(len(b.ring)-1)] = events[i]
		b.count++
		b.bytes += size
		b.lines += lineSize(&events[i])
		if b.count == 1 {
			b.since = time.Now()
		}
	}
	if b.count > 0 && (empty || b.full()) {
		b.signal()
	}
	return left, ReasonFull
}

func (b *Batch) grow() {
	ring := make([]audit.Event, max(16, 2*len(b.ring)))
	n := copy(ring, b.ring[b.head:])
	copy(ring[n:], b.ring[:b.head])
	b.ring, b.head = ring, 0
}

// full is whether what waits should not wait any longer.
func (b *Batch) full() bool {
	return b.count >= b.o.BatchEvents || b.o.BatchBytes > 0 && b.lines >= b.o.BatchBytes || b.bytes >= max(1, b.o.Bytes/4)
}

func (b *Batch) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// work hands batches on until Close.
func (b *Batch) work() {
	var events []audit.Event
	for {
		if events = b.gather(events[:0]); len(events) == 0 {
			return
		}
		err := b.next.Send(b.ctx, events)
		b.o.Ledger.Enter(err, events)
		b.landed(events)
		clear(events)
	}
}

func (b *Batch) landed(events []audit.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range events {
		b.flying -= held(&events[i])
	}
}

// gather waits for a batch and takes it; none is left after Close, or after the
// time for that is over.
func (b *Batch) gather(events []audit.Event) []audit.Event {
	b.turn <- struct{}{}
	defer func() { <-b.turn }()
	for {
		wait, due := b.due()
		switch {
		case b.ctx.Err() != nil:
			return events
		case due:
			return b.take(events)
		case wait == 0: // empty: asleep
			select {
			case <-b.wake:
			case <-b.ctx.Done():
			}
		default:
			t := time.NewTimer(wait)
			select {
			case <-b.wake:
			case <-t.C:
			case <-b.ctx.Done():
			}
			t.Stop()
		}
	}
}

// due is whether a batch is to leave now, or after Close none will, and otherwise
// how long to wait for it; 0 until an event comes.
func (b *Batch) due() (wait time.Duration, due bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.full() {
		return 0, true
	}
	if b.count == 0 {
		return 0, false
	}
	wait = b.o.MaxWait - time.Since(b.since)
	return wait, wait <= 0
}

// take moves a batch from the ring to events.
func (b *Batch) take(events []audit.Event) []audit.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	var size int64
	for b.count > 0 && len(events) < b.o.BatchEvents {
		e := &b.ring[b.head]
		line := lineSize(e)
		size += line
		if b.o.BatchBytes > 0 && size > b.o.BatchBytes && len(events) > 0 {
			break
		}
		memory := held(e)
		b.bytes -= memory
		b.flying += memory
		b.lines -= line
		events = append(events, *e)
		*e = audit.Event{} // or the ring would keep its line alive
		b.head = (b.head + 1) & (len(b.ring) - 1)
		b.count--
	}
	b.since = time.Now()
	return events
}

// Held is how many events wait, and how much memory is taken by them and those that
// are being handed on.
func (b *Batch) Held() (events int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count, b.bytes + b.flying
}

// Close implements [Sink]: it hands on what is held. When ctx ends before that is done,
// what is under way is cancelled, and the rest goes to Overflow or comes back as a [Loss].
func (b *Batch) Close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	done := make(chan struct{})
	go func() {
		b.wg.Wait()
		close(done)
	}()
	b.signal()
	select {
	case <-done:
	case <-ctx.Done():
	}
	b.cancel()
	<-done
	var left []audit.Event
	for {
		n := len(left)
		if left = append(left, b.take(nil)...); len(left) == n {
			break
		}
	}
	var err error
	switch {
	case len(left) > 0 && b.o.Overflow != nil:
		err = b.o.Overflow.Send(ctx, left)
	case len(left) > 0:
		err = &Loss{Sink: bufferName, Reason: ReasonStop, Events: left}
	}
	return errors.Join(err, b.next.Close(ctx))
}
