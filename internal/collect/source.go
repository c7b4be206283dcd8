package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/logfile"
)

// source follows one log: one goroutine reads and decodes while another appends
// the batch before.
type source struct {
	builder
	path   string
	opt    *Options
	log    *slog.Logger
	met    *sourceMetrics
	reader *logfile.Reader
	wake   chan struct{}

	work    chan *batch
	idle    chan struct{} // has a token while nothing is appended
	appends context.Context

	mu    sync.Mutex
	state State
	held  int64 // bytes of lines read and not yet durable
	// caughtUp is when nothing was seen to be behind.
	caughtUp time.Time
	rate     Rate
}

const (
	// settleTime is how long to wait after a notification: a write seldom comes alone.
	settleTime = 10 * time.Millisecond
	// grace is how long appending may go on after the end was asked for.
	grace = 10 * time.Second
	// retryMin and retryMax bound the pause after a failed append or read.
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
	// keptGaps bounds State.Gaps.
	keptGaps = 100
)

// SourceName is a path as text, which the store, JSON and the metrics need: bytes
// that are no UTF-8 become \xNN.
func SourceName(path string) string {
	if utf8.ValidString(path) {
		return path
	}
	var b strings.Builder
	for i, r := range path {
		if r == utf8.RuneError && !strings.HasPrefix(path[i:], "\uFFFD") {
			fmt.Fprintf(&b, `\x%02x`, path[i])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func (s *Service) newSource(path string) *source {
	name := SourceName(path)
	x := &source{
		builder: builder{
			source: name, cluster: s.opt.Cluster, budget: s.budget,
			maxEvents: s.opt.MaxBatchEvents, maxBytes: s.opt.MaxBatchBytes,
		},
		path: path, opt: &s.opt, log: s.opt.Logger.With(slog.String("source", name)), met: s.met.source(name),
		wake: make(chan struct{}, 1), work: make(chan *batch), idle: make(chan struct{}, 1),
		state: State{Name: name, Cluster: s.opt.Cluster, State: StateWaiting},
	}
	x.builder.flush = x.hand
	x.idle <- struct{}{}
	x.begin()
	return x
}

// run follows the log until ctx is done. Then what was read is committed; an
// unfinished line is left for the next time.
func (s *source) run(ctx context.Context, cursor json.RawMessage) {
	appends, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	defer stop()
	s.appends = appends
	s.open(ctx, cursor)
	var done sync.WaitGroup
	done.Go(s.append)
	s.follow(ctx)
	if b := s.ready(); b != nil {
		s.work <- b
	}
	close(s.work)
	done.Wait()
	s.reader.Close()
	s.rest()
	s.set(func(st *State) { st.State = StateStopped })
}

func (s *source) open(ctx context.Context, cursor json.RawMessage) {
	o := logfile.Options{
		Path: s.path, Cursor: cursor, MaxLine: s.opt.MaxLine, Logger: s.log,
		Grow: func(n int) error { return s.grow(ctx, n) }, Shrink: func() { s.shrink(ctx) },
	}
	r, err := logfile.NewReader(o)
	if err != nil {
		// Everything that is there is read again: the store knows what it has.
		s.log.LogAttrs(ctx, slog.LevelError, "cursor cannot be used; reading all files from the beginning", slog.Any("error", err))
		o.Cursor = nil
		r, _ = logfile.NewReader(o) // without a cursor it has no error
		s.gap(ctx, err.Error())
	}
	s.reader, s.last = r, r.LastEvent()
}

func (s *source) follow(ctx context.Context) {
	pause := retryMin
	for ctx.Err() == nil {
		var rec logfile.Record
		// Before the record is asked for: the cursor of a batch that is handed on
		// to make room must not be behind it.
		err := s.reserve(ctx, ahead)
		if err == nil {
			rec, err = s.reader.Next()
		}
		if err == nil {
			err = s.take(ctx, rec)
			pause = retryMin
			if err == nil {
				continue
			}
		}
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, io.EOF) {
			s.log.LogAttrs(ctx, slog.LevelError, "cannot read log; trying again", slog.Any("error", err))
			s.set(func(st *State) { st.Error = err.Error() })
			s.wait(ctx, pause)
			pause = min(2*pause, retryMax)
			continue
		}
		s.report(StateFollowing)
		if s.cur.empty() {
			s.rest() // others may need the room
		}
		s.wait(ctx, s.opt.PollInterval)
	}
}

// wait returns when the log may have grown or after d, and commits what is due.
func (s *source) wait(ctx context.Context, d time.Duration) {
	if !s.cur.empty() {
		due := time.Until(s.cur.since.Add(s.opt.FlushInterval))
		if due <= 0 {
			_ = s.hand(ctx, false) // its error is that of ctx
			return
		}
		d = min(d, due)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-s.wake:
		t.Reset(settleTime)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}

// take puts a record into the batch and hands that on when it is full or due.
func (s *source) take(ctx context.Context, rec logfile.Record) error {
	switch rec.Kind {
	case logfile.Gap:
		s.gap(ctx, rec.Reason)
		return nil
	case logfile.Bad:
		s.quarantine(rec.File, rec.Offset, rec.Line, rec.Reason)
	case logfile.Line:
		s.line(rec)
	}
	if s.full() || s.lines%256 == 0 && !s.cur.since.IsZero() && time.Since(s.cur.since) >= s.opt.FlushInterval {
		s.report(StateCatchingUp)
		return s.hand(ctx, false)
	}
	return nil
}

// gap tells a loss now and commits it with the records behind it.
func (s *source) gap(ctx context.Context, reason string) {
	g := Gap{Source: s.source, From: s.last, Reason: reason, At: audit.TimeOf(time.Now())}
	s.log.LogAttrs(ctx, slog.LevelWarn, "events may be lost", slog.String("reason", reason), slog.Any("after", g.From))
	s.pending = append(s.pending, g)
	s.met.gaps.Inc()
	s.set(func(st *State) {
		st.GapCount++
		st.Gaps = append(st.Gaps, g)
		st.Gaps = st.Gaps[max(0, len(st.Gaps)-keptGaps):]
	})
}

// ready ends the current batch and gives it its cursor; nil if it is empty.
func (s *source) ready() *batch {
	b := s.builder.take()
	if b == nil {
		return nil
	}
	b.cursor = s.reader.Cursor(s.last)
	p := s.reader.Position()
	b.file, b.offset = p.File, p.Offset
	s.set(func(st *State) {
		s.held += b.lineBytes
		for _, g := range b.gaps {
			for i := range st.Gaps {
				if st.Gaps[i].At == g.At && st.Gaps[i].Reason == g.Reason {
					st.Gaps[i] = g
				}
			}
		}
	})
	return b
}

// hand is the builder's flush: it waits while the batch before is appended, so
// that reading pauses when the store is slow.
func (s *source) hand(ctx context.Context, wait bool) error {
	if s.cur.empty() {
		s.builder.take() // gives back what it reserved
	} else {
		// Wait first: a batch that has left must arrive.
		select {
		case <-s.idle:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.work <- s.ready()
	}
	if !wait {
		return nil
	}
	select {
	case <-s.idle:
		s.idle <- struct{}{}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// append commits batches in order, each until the store has it.
func (s *source) append() {
	for b := range s.work {
		s.commit(b)
		s.done(b)
		select {
		case s.idle <- struct{}{}:
		default: // the last batch does not wait for its turn
		}
	}
}

func (s *source) commit(b *batch) {
	c := Commit{Source: s.source, Events: b.events.Events, Cursor: b.cursor, Quarantined: b.bad, Gaps: b.gaps}
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		r, err := s.opt.Appender.Append(s.appends, c)
		if err == nil {
			s.committed(b, r)
			return
		}
		if s.appends.Err() != nil {
			s.log.LogAttrs(s.appends, slog.LevelWarn, "stopped before the last events were stored; they will be read again", slog.Any("error", err))
			return
		}
		s.met.retries.Inc()
		s.log.LogAttrs(s.appends, slog.LevelWarn, "cannot store events; trying again", slog.Any("error", err), slog.Duration("pause", pause))
		s.set(func(st *State) { st.State, st.Error = StatePaused, err.Error() })
		// Some jitter, so that sources do not come back all at once.
		t := time.NewTimer(pause + rand.N(pause/4))
		select {
		case <-t.C:
		case <-s.appends.Done():
			t.Stop()
		}
	}
}

func (s *source) committed(b *batch, r Result) {
	s.met.added.Add(float64(r.Added))
	s.met.duplicates.Add(float64(r.Duplicates))
	s.met.quarantined.Add(float64(len(b.bad)))
	s.set(func(st *State) {
		s.held -= b.lineBytes
		if st.State == StatePaused {
			st.State = StateCatchingUp
		}
		st.Error = ""
		st.File, st.Offset = b.file, b.offset
		st.Events += int64(r.Added)
		s.rate.Add(time.Now(), int64(r.Added))
		st.Duplicates += int64(r.Duplicates)
		st.Quarantined += int64(len(b.bad))
		for i := range b.events.Events {
			st.LastEvent = max(st.LastEvent, b.events.Events[i].Time)
		}
	})
}

func (s *source) set(f func(*State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.state)
}

// report updates what the reading side knows.
func (s *source) report(state string) {
	p := s.reader.Position()
	s.met.lines.Add(float64(s.lines - s.met.linesSeen))
	s.met.linesSeen = s.lines
	s.set(func(st *State) {
		st.LagBytes = p.Lag + s.held + s.cur.lineBytes
		s.met.lag.Set(float64(st.LagBytes))
		if st.LagBytes == 0 {
			s.caughtUp = time.Now()
		}
		if st.File == "" {
			st.File = p.File
		}
		if st.State == StatePaused {
			return
		}
		st.Error = ""
		switch {
		case !p.Open:
			state = StateWaiting
		case st.LagBytes > 1<<20:
			state = StateCatchingUp
		}
		st.State = state
	})
}
