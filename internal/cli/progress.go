package cli

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ktrail/ktrail/internal/visible"
)

// progress shows how far a piece of work is: a bar on a terminal, from the
// first second on, and nothing elsewhere. Its counters may be set at any time
// from any goroutine.
type progress struct {
	done, total, events atomic.Int64

	c     *cmdline
	start time.Time
	stop  chan struct{}
	ended sync.WaitGroup
	drawn bool
}

// startProgress begins to draw if that is wanted. finish must be called.
func (c *cmdline) startProgress(wanted bool) *progress {
	p := &progress{c: c, start: time.Now(), stop: make(chan struct{})}
	if !c.ErrTerminal || !wanted {
		return p
	}
	p.ended.Go(func() {
		tick := time.NewTicker(150 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				if spent := time.Since(p.start); spent >= time.Second {
					p.draw(spent)
				}
			}
		}
	})
	return p
}

func (p *progress) draw(spent time.Duration) {
	p.drawn = true
	// A write that fails only costs the bar.
	_, _ = fmt.Fprint(p.c.Err, "\r"+bar(p.done.Load(), p.total.Load(), p.events.Load(), spent, p.c.width()-1)+"\x1b[K")
}

// finish takes the bar away.
func (p *progress) finish() {
	close(p.stop)
	p.ended.Wait()
	if p.drawn {
		_, _ = fmt.Fprint(p.c.Err, "\r\x1b[K")
	}
}

// bar is one line of at most width columns. A total of 0 is unknown.
func bar(done, total, events int64, spent time.Duration, width int) string {
	rate := float64(done) / max(spent.Seconds(), 1e-9)
	tail := fmt.Sprintf(" %s/s", size(int64(rate)))
	if events > 0 { // a server tells at the end of a file
		tail += "  " + plural(events, "event")
	}
	if total <= 0 {
		return visible.Cut(size(done)+" "+tail, width)
	}
	done = min(done, total)
	if left := float64(total-done) / max(rate, 1); done > 0 && spent > 0 {
		tail += "  " + short(time.Duration(left*float64(time.Second))) + " left"
	}
	tail = fmt.Sprintf(" %3d%% %s", done*100/total, tail)
	room := min(30, width-visible.Width(tail))
	if room < 5 {
		return visible.Cut(strings.TrimSpace(tail), width)
	}
	full := int(int64(room) * done / total)
	return strings.Repeat("█", full) + strings.Repeat("░", room-full) + tail
}

// short is a duration of at most two units: 4s, 3m10s, 2h05m.
func short(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	default:
		return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
	}
}
