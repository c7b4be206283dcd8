// Package backend owns the way from the API server's --audit-* flags to the sinks that
// they describe: [Open] puts the parts of audit/pipeline, audit/logfile and audit/webhook
// together in the API server's order, and [Backend.Close] drains them.
//
//	Send ─ redact ─┬─ [blocking] ─ [truncate] ─ [batch ─ [throttle]] ─ log
//	               └─ [blocking] ─ [truncate] ─ [batch] ─ [spool] ─ [throttle] ─ webhook
package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/logfile"
	"github.com/ktrail/ktrail/audit/pipeline"
	"github.com/ktrail/ktrail/audit/webhook"
)

// Options are what the API server's flags do not say.
type Options struct {
	// Log is told of losses, once a minute at most, and of what files and webhooks suffer. nil is silent.
	Log *slog.Logger
	// Redactor takes secrets out before anything else is done; nil leaves them.
	Redactor *pipeline.Redactor
	// Sync is when the log's lines are safe from a power cut: one of logfile's, "" for never.
	Sync string
	// Out is what is written instead of standard output where the log is "-".
	Out io.Writer
	// BufferBytes bounds the memory of what each back end holds in batch mode; 0 is [pipeline.BufferBytes].
	BufferBytes int64
	// Digest leaves a digest with so many bytes in the place of a body that truncation takes, if above 0.
	Digest int
	// SpoolDir is where events for the webhook are kept while it is down, "" for nowhere;
	// SpoolBytes is how much at most, 0 for 1 GiB.
	SpoolDir   string
	SpoolBytes int64
	// Webhook makes the client of --audit-webhook-config-file; nil makes audit/webhook's.
	Webhook func(context.Context, flags.Webhook) (pipeline.Sink, error)
}

// Webhooks under way at once in batch mode. The API server has no bound, and no memory of its
// own while the webhook answers slowly.
const webhookWorkers = 10

// Backend is the sinks that flags describe, as one [pipeline.Sink].
//
// Its Send fails only where a back end is in mode blocking-strict and did not take all
// events; what the others lose is in the ledger.
type Backend struct {
	sink    pipeline.Sink
	log     pipeline.Sink // the whole branch, nil if there is none
	webhook pipeline.Sink
	strict  bool
	ledger  *pipeline.Ledger

	writer *logfile.Writer
	spool  *pipeline.Spool
	held   []*pipeline.Batch

	stopRun context.CancelFunc
	run     sync.WaitGroup

	closing  sync.Once
	closeErr error
}

// Open opens the sinks of s, which [flags.Validate] found no fault with. With neither a log
// nor a webhook everything that is sent is dropped, as the API server does. What
// runs in the background ends with Close, not with ctx.
func Open(ctx context.Context, s flags.Settings, o Options) (*Backend, error) {
	b := &Backend{ledger: pipeline.NewLedger(pipeline.LedgerOptions{Log: o.Log})}
	if err := b.open(ctx, s, o); err != nil {
		return nil, fmt.Errorf("open audit back ends: %w", errors.Join(err, b.closeBranches(ctx)))
	}
	out := b.branches()
	b.sink = out
	if o.Redactor != nil {
		b.sink = pipeline.NewRedact(b.sink, o.Redactor)
		if !b.strict {
			b.sink = pipeline.NewBlocking(b.sink, b.ledger)
		}
	}
	ctx, b.stopRun = context.WithCancel(context.WithoutCancel(ctx))
	b.run.Go(func() { b.ledger.Run(ctx, out) })
	return b, nil
}

// branches are the log and the webhook, as far as there are any.
func (b *Backend) branches() pipeline.FanOut {
	var out pipeline.FanOut
	for _, branch := range []pipeline.Sink{b.log, b.webhook} {
		if branch != nil {
			out = append(out, branch)
		}
	}
	return out
}

func (b *Backend) open(ctx context.Context, s flags.Settings, o Options) (err error) {
	if s.Log.On() {
		if b.log, err = b.openLog(ctx, s, o); err != nil {
			return fmt.Errorf("log: %w", err)
		}
	}
	if s.Webhook.On() {
		if b.webhook, err = b.openWebhook(ctx, s.Webhook, o); err != nil {
			return fmt.Errorf("webhook: %w", err)
		}
	}
	return nil
}

func (b *Backend) openLog(ctx context.Context, s flags.Settings, o Options) (pipeline.Sink, error) {
	w, err := logfile.Open(logfile.WriterOptions{
		Path: s.Log.Path, MaxSize: s.Log.RotateAt(s.Version), MaxAge: s.Log.MaxAge, MaxBackups: s.Log.MaxFiles,
		Compress: s.Log.Compress, Format: s.Log.Format, Sync: o.Sync, Out: o.Out, Logger: o.Log,
	})
	if err != nil {
		return nil, err
	}
	b.writer = w
	sink, err := b.decorate(ctx, logSink{w}, nil, s.Log.Backend, o, 1)
	if err != nil {
		return nil, errors.Join(err, sink.Close(ctx))
	}
	return sink, nil
}

func (b *Backend) openWebhook(ctx context.Context, w flags.Webhook, o Options) (pipeline.Sink, error) {
	client := o.Webhook
	if client == nil {
		client = func(context.Context, flags.Webhook) (pipeline.Sink, error) {
			return webhook.NewClient(webhook.ClientOptions{Kubeconfig: w.ConfigFile, InitialBackoff: w.Backoff, Log: o.Log})
		}
	}
	sink, err := client(ctx, w)
	if err != nil {
		return nil, err
	}
	workers := 1 // in order
	if w.Mode == flags.Batch {
		workers = webhookWorkers
	}
	spool := func(next pipeline.Sink) (*pipeline.Spool, error) {
		return pipeline.OpenSpool(ctx, next, pipeline.SpoolOptions{
			Dir: o.SpoolDir, MaxBytes: o.SpoolBytes, BatchEvents: max(w.BatchSize, 0), BatchBytes: max(w.MaxBatchSize, 0), Workers: workers, Log: o.Log, Ledger: b.ledger,
		})
	}
	if o.SpoolDir == "" {
		spool = nil
	}
	if sink, err = b.decorate(ctx, sink, spool, w.Backend, o, workers); err != nil {
		return nil, errors.Join(err, sink.Close(ctx))
	}
	return sink, nil
}

// decorate puts around sink what the flags of a back end ask for. With an error it returns
// the sink as far as it is made, to be closed.
func (b *Backend) decorate(ctx context.Context, sink pipeline.Sink, spool func(pipeline.Sink) (*pipeline.Spool, error), f flags.Backend, o Options, workers int) (pipeline.Sink, error) {
	if f.GroupVersion != "audit.k8s.io/v1" {
		return sink, fmt.Errorf("version %q is not known: audit.k8s.io/v1 is", f.GroupVersion)
	}
	if f.Mode != flags.Batch && f.Mode != flags.Blocking && f.Mode != flags.BlockingStrict {
		return sink, fmt.Errorf("mode %q is not known: batch, blocking and blocking-strict are", f.Mode)
	}
	if f.Mode == flags.Batch && f.Throttle {
		t, err := pipeline.NewThrottle(sink, float64(f.QPS), f.Burst)
		if err != nil {
			return sink, err
		}
		sink = t
	}
	var overflow pipeline.Sink
	if spool != nil {
		s, err := spool(sink)
		if err != nil {
			return sink, err
		}
		sink, overflow, b.spool = s, s.Overflow(), s
	}
	if f.Mode == flags.Batch {
		batch, err := pipeline.NewBatch(ctx, sink, pipeline.BatchOptions{
			Events: f.BufferSize, Bytes: o.BufferBytes, BatchEvents: f.BatchSize, BatchBytes: max(f.MaxBatchSize, 0), MaxWait: max(f.BatchWait, 0),
			Workers: workers, Overflow: overflow, Ledger: b.ledger,
		})
		if err != nil {
			return sink, err
		}
		b.held = append(b.held, batch)
		sink = batch
	}
	if f.Truncate {
		t, err := pipeline.NewTruncate(sink, pipeline.TruncateOptions{MaxEvent: f.MaxEventSize, MaxBatch: f.MaxBatchSize, Digest: o.Digest > 0, Head: o.Digest, Ledger: b.ledger})
		if err != nil {
			return sink, err
		}
		sink = t
	}
	if f.Mode == flags.BlockingStrict {
		b.strict = true
		return sink, nil
	}
	return pipeline.NewBlocking(sink, b.ledger), nil
}

// Send implements [pipeline.Sink].
func (b *Backend) Send(ctx context.Context, events []audit.Event) error {
	return b.sink.Send(ctx, events)
}

// Strict is whether a back end is in mode blocking-strict: an error of Send is a request
// that must not be answered.
func (b *Backend) Strict() bool { return b.strict }

// Ledger is the ledger of all that the back ends lose. Who gets an error of Send enters it there.
func (b *Backend) Ledger() *pipeline.Ledger { return b.ledger }
