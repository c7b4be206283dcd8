package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/pipeline"
	"github.com/ktrail/ktrail/internal/collect"
	"github.com/ktrail/ktrail/internal/durable"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/store"
	"github.com/ktrail/ktrail/internal/web"
)

// StoreOptions says where events are kept and for how long.
type StoreOptions struct {
	Dir         string
	RetainAge   time.Duration // 0 keeps all
	RetainBytes int64         // 0 is no limit
	MinFree     int64         // 0 is the store's default
	// RedactRules are what is taken out of events beside what always is; nil is nothing.
	RedactRules *RedactRules
	Registerer  prometheus.Registerer
}

// RedactRules are a file of rules of redaction.
type RedactRules = pipeline.Rules

// ReadRedactRules reads a file of rules of redaction; "" is none.
func ReadRedactRules(file string) (*RedactRules, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read redaction rules: %w", err)
	}
	return pipeline.LoadRules(file, text)
}

// Intake is the way in: it redacts events and appends them to the store.
type Intake struct {
	store    *store.Store
	redactor *pipeline.Redactor
	logger   *slog.Logger
}

// OpenIntake opens the store in o.Dir for writing, making it if need be.
func OpenIntake(ctx context.Context, o StoreOptions, logger *slog.Logger) (*Intake, error) {
	// The store's work in the background ends with Close, in its turn, not with ctx.
	s, err := store.Open(context.WithoutCancel(ctx), store.Options{
		Dir: o.Dir, Logger: logger, Registerer: o.Registerer,
		RetainAge: o.RetainAge, RetainBytes: o.RetainBytes, MinFree: o.MinFree,
	})
	if err != nil {
		return nil, err
	}
	in := &Intake{store: s, logger: logger}
	if err := in.build(ctx, o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return in, nil
}

func (in *Intake) build(ctx context.Context, o StoreOptions) error {
	key, made, err := redactKey(durable.OS{}, o.Dir)
	if err != nil {
		return err
	}
	if made && in.store.State().Events > 0 {
		in.logger.LogAttrs(ctx, slog.LevelWarn, "the redaction key was missing and is new: redacted lines imported again will be stored again",
			slog.String("file", filepath.Join(o.Dir, keyFile)))
	}
	if in.redactor, err = pipeline.NewRedactor(key); err != nil {
		return err
	}
	if o.RedactRules != nil {
		in.redactor = in.redactor.WithRules(o.RedactRules)
	}
	return nil
}

// Close ends what is under way and gives the directory back.
func (in *Intake) Close() error { return in.store.Close() }

// Events is how many events are stored.
func (in *Intake) Events() int64 { return in.store.State().Events }

// Append implements [collect.Appender].
func (in *Intake) Append(ctx context.Context, c collect.Commit) (collect.Result, error) {
	// The collector owns its batch and may hand the same events over again, so
	// redacted lines live in memory of their own.
	var memory audit.Batch
	sc := store.Commit{Source: c.Source, Events: c.Events, Cursor: c.Cursor}
	for i := range c.Events {
		ev := &c.Events[i]
		_, err := in.redactor.Redact(ev, &memory)
		if err == nil {
			if len(sc.Quarantined) > 0 {
				sc.Events = append(sc.Events, *ev)
			}
			continue
		}
		// What cannot be redacted must not be stored as it is, nor be lost.
		if len(sc.Quarantined) == 0 {
			sc.Events = append([]audit.Event(nil), c.Events[:i]...)
		}
		sc.Quarantined = append(sc.Quarantined, store.Quarantined{
			Source: c.Source, Reason: err.Error(), At: audit.TimeOf(time.Now()), Line: in.redactor.RedactLine([]byte(ev.Raw)),
		})
	}
	for _, q := range c.Quarantined {
		q.Line = in.redactor.RedactLine(q.Line)
		sc.Quarantined = append(sc.Quarantined, store.Quarantined(q))
	}
	for _, g := range c.Gaps {
		sc.Gaps = append(sc.Gaps, store.Gap(g))
	}
	r, err := in.store.Append(ctx, sc)
	return collect.Result(r), err
}

// ImportOptions is what [Intake.Import] loads.
type ImportOptions struct {
	Files   []string // "-" is Stdin
	Stdin   io.Reader
	Cluster string
	// Progress is told after each commit, never by two at once. May be nil.
	Progress func(collect.Progress)
}

// Import stores the events of files, a few at a time. Files that cannot be read
// to their end are in the error, each a *[query.UsageError]; the others are stored.
func (in *Intake) Import(ctx context.Context, o ImportOptions) (web.ImportSummary, error) {
	sum, err := collect.Import(ctx, collect.ImportOptions{
		Appender: in, Logger: in.logger, Inputs: o.Files, Stdin: o.Stdin, Cluster: o.Cluster, Progress: o.Progress,
	})
	return summaryOf(sum), errors.Join(err, badFiles(sum.Errors))
}

// ImportStream stores one stream of events, in any format that import knows.
func (in *Intake) ImportStream(ctx context.Context, name, cluster string, r io.Reader) (web.ImportSummary, error) {
	sum, err := collect.ImportStream(ctx, collect.ImportOptions{Appender: in, Logger: in.logger, Cluster: cluster}, name, r)
	return summaryOf(sum), errors.Join(err, badFiles(sum.Errors))
}

func summaryOf(s collect.Summary) web.ImportSummary {
	return web.ImportSummary{Files: s.Files, Bytes: s.Bytes, Events: s.Events, Duplicates: s.Duplicates, Quarantined: s.Quarantined, OldVersion: s.OldVersion}
}

func badFiles(list []collect.FileError) error {
	var errs []error
	for _, e := range list {
		errs = append(errs, &query.UsageError{Message: e.Error()})
	}
	return errors.Join(errs...)
}
