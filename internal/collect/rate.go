package collect

import "time"

// recentSeconds is what a rate is taken over.
const recentSeconds = 60

// Rate counts events by the second, for a minute. The zero value is ready. It is not
// safe for concurrent use.
type Rate struct {
	first time.Time // of the first count
	at    [recentSeconds]int64
	n     [recentSeconds]int64
}

// Add counts n events at now.
func (r *Rate) Add(now time.Time, n int64) {
	if r.first.IsZero() {
		r.first = now
	}
	second := now.Unix()
	i := second % recentSeconds
	if r.at[i] != second {
		r.at[i], r.n[i] = second, 0
	}
	r.n[i] += n
}

// PerSecond is the mean over the last minute, or over the time since the first
// count if that is less.
func (r *Rate) PerSecond(now time.Time) float64 {
	var sum int64
	for i, at := range r.at {
		if at > now.Unix()-recentSeconds {
			sum += r.n[i]
		}
	}
	return float64(sum) / min(recentSeconds, max(1, now.Sub(r.first).Seconds()))
}

// lag is [State.Lag]. s.mu is held.
func (s *source) lag(now time.Time) time.Duration {
	if s.state.LagBytes == 0 {
		return 0
	}
	since := s.caughtUp
	if at := s.state.LastEvent; at != 0 && at.Std().After(since) {
		since = at.Std()
	}
	if since.IsZero() {
		return 0 // nothing is known yet
	}
	return max(0, now.Sub(since))
}
