package pipeline

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// Throttle is a [Sink] that lets so many Sends a second through: a token bucket, in
// which each Send takes a token and waits for it. Behind a [Batch] that is batches a
// second. What is still waiting when its context ends is lost.
type Throttle struct {
	next Sink
	qps  float64

	mu     sync.Mutex
	burst  float64
	tokens float64 // below 0 are those for whom Sends wait already
	last   time.Time
}

// NewThrottle returns a Throttle in front of next: qps Sends a second on average,
// and burst at once after a pause.
func NewThrottle(next Sink, qps float64, burst int) (*Throttle, error) {
	if !(qps > 0) || burst <= 0 {
		return nil, errors.New("make throttle: the rate and the burst must be above 0")
	}
	return &Throttle{next: next, qps: qps, burst: float64(burst), tokens: float64(burst), last: time.Now()}, nil
}

// Send implements [Sink].
func (t *Throttle) Send(ctx context.Context, events []audit.Event) error {
	if wait := t.reserve(); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			t.giveBack()
			return &Loss{Sink: "throttle", Reason: ReasonThrottle, Events: events, Err: ctx.Err()}
		}
	}
	return t.next.Send(ctx, events)
}

// reserve takes a token, and tells how long it takes until it is there.
func (t *Throttle) reserve() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.tokens = min(t.burst, t.tokens+now.Sub(t.last).Seconds()*t.qps)
	t.last = now
	t.tokens--
	return time.Duration(max(0, -t.tokens/t.qps) * float64(time.Second))
}

func (t *Throttle) giveBack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tokens++
}

// Close implements [Sink].
func (t *Throttle) Close(ctx context.Context) error { return t.next.Close(ctx) }
