// Package collect brings audit logs to an [Appender]: a [Service] follows live
// logs across rotation, [Import] loads files that are there already.
//
// A Service loses nothing silently and never skips. A batch goes to the Appender
// with the cursor behind it, both durable together, and is tried until the
// Appender takes it; after a stop each log goes on behind its last cursor. What
// rotation took away before it was read is a [Gap], what is no event is
// [Quarantined]. Reading pauses while the Appender is slow, and what all sources
// hold is bounded in bytes.
package collect

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/logfile"
)

// The states of a source.
const (
	StateFollowing  = "following"
	StateCatchingUp = "catching up"
	StateWaiting    = "waiting for file"
	StatePaused     = "paused" // the Appender refuses; Error says why
	StateStopped    = "stopped"
)

// State is how a source is.
type State struct {
	Name     string // the live log's absolute path
	Cluster  string
	File     string // being read
	Offset   int64  // bytes of File that are durable, uncompressed
	LagBytes int64  // written and not durable; of compressed files the compressed size
	// Lag is how far what is durable is behind: 0 while LagBytes is, else the time
	// since it was, or since the newest event that was stored, whichever is less.
	Lag time.Duration
	// Rate is the events stored in a second, over the last minute.
	Rate float64
	// LastEvent is the latest time of an event that was stored since the start.
	LastEvent audit.Time
	// Counts since the start. Events are those that the store did not have.
	Events, Duplicates, Quarantined, GapCount int64
	// Gaps are the last ones found since the start, 100 at most, also those not
	// committed yet because nothing was read after them.
	Gaps  []Gap
	State string
	Error string
}

// Service follows logs.
type Service struct {
	opt    Options
	budget *budget
	met    *metrics

	mu      sync.Mutex
	sources map[string]*source
}

// New checks the options. Nothing is opened before Run.
func New(o Options) (*Service, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	met, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	return &Service{opt: o, budget: newBudget(o.MaxBytes), met: met, sources: map[string]*source{}}, nil
}

// rediscover is how often paths are looked at for new logs.
const rediscover = 2 * time.Second

// Run follows all logs until ctx is done, commits what was read, and returns nil.
func (s *Service) Run(ctx context.Context) error {
	w := s.watch(ctx)
	if w != nil {
		defer w.Close()
	}
	var running sync.WaitGroup
	defer running.Wait()
	tick := time.NewTicker(rediscover)
	defer tick.Stop()
	for {
		for _, path := range s.discover(ctx) {
			s.start(ctx, path, &running)
		}
		s.watchDirs(w)
		if !s.notified(ctx, w, tick.C) {
			return nil
		}
	}
}

func (s *Service) start(ctx context.Context, path string, running *sync.WaitGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sources[path] != nil {
		return
	}
	x := s.newSource(path)
	s.sources[path] = x
	s.opt.Logger.LogAttrs(ctx, slog.LevelInfo, "following audit log", slog.String("source", path))
	running.Go(func() { x.run(ctx, s.cursor(path)) })
}

func (s *Service) cursor(path string) json.RawMessage { return s.opt.Cursors[SourceName(path)] }

// States returns the sources by name.
func (s *Service) States() []State {
	s.mu.Lock()
	all := make([]*source, 0, len(s.sources))
	for _, x := range s.sources {
		all = append(all, x)
	}
	s.mu.Unlock()
	states := make([]State, len(all))
	now := time.Now()
	for i, x := range all {
		x.set(func(st *State) {
			states[i] = *st
			states[i].Gaps = slices.Clone(st.Gaps)
			states[i].Lag, states[i].Rate = x.lag(now), x.rate.PerSecond(now)
		})
	}
	slices.SortFunc(states, func(a, b State) int { return strings.Compare(a.Name, b.Name) })
	return states
}

// discover returns the live logs that the paths name now.
func (s *Service) discover(ctx context.Context) []string {
	var logs []string
	for _, p := range s.opt.Paths {
		found, err := expand(p)
		if err != nil {
			s.opt.Logger.LogAttrs(ctx, slog.LevelError, "cannot look for audit logs", slog.String("path", p), slog.Any("error", err))
		}
		logs = append(logs, found...)
	}
	// What was followed once is followed for ever: its directory may come back.
	slices.Sort(logs)
	return slices.Compact(logs)
}

// expand returns the live logs that path, a file, directory or glob, stands for.
func expand(path string) ([]string, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return logsIn(path)
	case err == nil || !strings.ContainsAny(path, "*?["):
		return []string{logfile.Live(path)}, nil
	}
	matches, err := filepath.Glob(path)
	if err != nil {
		return nil, err
	}
	var logs []string
	for _, m := range matches {
		info, err := os.Stat(m)
		switch {
		case err != nil:
		case info.IsDir():
			in, err := logsIn(m)
			if err != nil {
				return logs, err
			}
			logs = append(logs, in...)
		case info.Mode().IsRegular():
			logs = append(logs, logfile.Live(m))
		}
	}
	return logs, nil
}

// logsIn returns the live logs of a directory: those there, and those of which
// only rotated files are left.
func logsIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var logs []string
	for _, e := range entries {
		if e.IsDir() || !logfile.LogLike(e.Name()) {
			continue
		}
		live := logfile.Live(filepath.Join(dir, e.Name()))
		switch filepath.Ext(live) {
		case ".gz", ".zst": // an archive, not something that grows
		default:
			logs = append(logs, live)
		}
	}
	return logs, nil
}

// watch starts notifications. Without them polling does.
func (s *Service) watch(ctx context.Context) *fsnotify.Watcher {
	w, err := s.opt.newWatcher()
	if err != nil {
		s.opt.Logger.LogAttrs(ctx, slog.LevelWarn, "no file notifications, polling only", slog.Any("error", err), slog.Duration("interval", s.opt.PollInterval))
		return nil
	}
	return w
}

// watchDirs watches the directories of all sources and paths. One that cannot be
// watched is polled, and tried again.
func (s *Service) watchDirs(w *fsnotify.Watcher) {
	if w == nil {
		return
	}
	watched := w.WatchList()
	for _, dir := range s.dirs() {
		if !slices.Contains(watched, dir) {
			_ = w.Add(dir) // not there yet, or no more watches: polling does
		}
	}
}

func (s *Service) dirs() []string {
	var dirs []string
	for _, p := range s.opt.Paths {
		if info, err := os.Stat(p); err == nil && info.IsDir() {
			dirs = append(dirs, p)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for path := range s.sources {
		dirs = append(dirs, filepath.Dir(path))
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// notified wakes sources until it is time to look for new logs, and returns false
// when ctx is done.
func (s *Service) notified(ctx context.Context, w *fsnotify.Watcher, tick <-chan time.Time) bool {
	var events chan fsnotify.Event
	var errs chan error
	if w != nil {
		events, errs = w.Events, w.Errors
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			return true
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			s.opt.Logger.LogAttrs(ctx, slog.LevelWarn, "file notifications were lost; polling finds what they told", slog.Any("error", err))
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			s.wake(filepath.Dir(e.Name))
			if e.Has(fsnotify.Create) {
				return true
			}
		}
	}
}

func (s *Service) wake(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, x := range s.sources {
		if filepath.Dir(path) == dir {
			select {
			case x.wake <- struct{}{}:
			default:
			}
		}
	}
}
