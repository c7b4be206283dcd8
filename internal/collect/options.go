package collect

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ktrail/ktrail/audit/logfile"
)

// Options say what a Service follows and how much it may use.
type Options struct {
	// Appender takes what is read.
	Appender Appender
	// Logger gets gaps, retries and what is found; nil for none.
	Logger *slog.Logger
	// Registerer gets the ktrail_collect_* metrics; nil for none.
	Registerer prometheus.Registerer
	// Paths are live logs, directories of logs, and globs. They need not be
	// there yet and are looked at again and again. Rotated files belong to
	// the log that they came from.
	Paths []string
	// Cluster is set in each event.
	Cluster string
	// Cursors has the last cursor that was committed, by source. A source is
	// named by the absolute path of its live log, with \xNN for what is no UTF-8.
	Cursors map[string]json.RawMessage
	// PollInterval is how often a log is looked at when no notification comes;
	// 0 is 250 ms. Notifications only make it faster.
	PollInterval time.Duration
	// FlushInterval is how long an event waits at most for others to be
	// committed with it; 0 is 500 ms.
	FlushInterval time.Duration
	// MaxBatchEvents and MaxBatchBytes end a batch sooner; 0 is 65536 events
	// and 32 MiB.
	MaxBatchEvents int
	MaxBatchBytes  int64
	// MaxBytes bounds what all sources together hold in batches and for long
	// lines; 0 is 128 MiB. Besides that a source has a buffer of 128 KiB for each
	// of at most two open files, and 2 MiB while it waits for room for a line
	// that is longer.
	MaxBytes int64
	// MaxLine is the longest line in bytes; longer ones are quarantined. 0 is
	// 64 MiB. More than half of MaxBytes cannot be.
	MaxLine int

	// newWatcher makes the source of notifications.
	newWatcher func() (*fsnotify.Watcher, error)
}

// Defaults of Options.
const (
	defaultPoll        = 250 * time.Millisecond
	defaultFlush       = 500 * time.Millisecond
	defaultBatchEvents = 64 << 10
	defaultBatchBytes  = 32 << 20
	defaultBytes       = 128 << 20
)

func (o *Options) validate() error {
	if o.Appender == nil {
		return errors.New("collect: no Appender")
	}
	if len(o.Paths) == 0 {
		return errors.New("collect: no path to follow")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.PollInterval <= 0 {
		o.PollInterval = defaultPoll
	}
	if o.FlushInterval <= 0 {
		o.FlushInterval = defaultFlush
	}
	if o.newWatcher == nil {
		o.newWatcher = fsnotify.NewWatcher
	}
	limits(&o.MaxBytes, &o.MaxBatchBytes, &o.MaxBatchEvents, &o.MaxLine)
	paths := make([]string, len(o.Paths))
	for i, p := range o.Paths {
		if p == "" {
			return errors.New("collect: a path to follow is empty")
		}
		if _, err := filepath.Match(p, ""); err != nil {
			return fmt.Errorf("collect: path %q: %w", p, err)
		}
		abs, err := filepath.Abs(p)
		if err != nil {
			return fmt.Errorf("collect: path %q: %w", p, err)
		}
		paths[i] = abs
	}
	o.Paths = paths
	return nil
}

// limits fills in defaults and makes them fit each other: a line is in memory
// twice, in its buffer and in its batch.
func limits(total, batch *int64, events, line *int) {
	if *total <= 0 {
		*total = defaultBytes
	}
	if *batch <= 0 {
		*batch = defaultBatchBytes
	}
	*batch = min(*batch, *total/4)
	if *events <= 0 {
		*events = defaultBatchEvents
	}
	if *line <= 0 {
		*line = logfile.DefaultMaxLine
	}
	*line = int(min(int64(*line), *total/2))
}
