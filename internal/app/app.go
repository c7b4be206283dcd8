// Package app is the only place where the parts of ktrail are wired together.
//
// [New] builds the server: the store, the redactor in front of it, the collector,
// the questions and the pages. Start begins, Stop ends in the reverse order; what
// fails half-way is undone the same way. [OpenData] opens a data directory
// read-only, [OpenIntake] for imports without a server.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/ktrail/ktrail/internal/collect"
	"github.com/ktrail/ktrail/internal/durable"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/saved"
	"github.com/ktrail/ktrail/internal/web"
)

// Options is what a server needs.
type Options struct {
	Store StoreOptions
	// Listen is a loopback address and port; port 0 picks one.
	Listen string
	// Logs are the audit logs to follow: files, directories or globs.
	Logs []string
	// Webhook is where API servers may post their events.
	Webhook WebhookOptions
	// Cluster names the cluster of Logs, and of what is posted.
	Cluster string
	Version string
	Logger  *slog.Logger
}

func (o *Options) validate() error {
	if o.Logger == nil {
		return errors.New("start server: no logger given")
	}
	if err := o.Webhook.Check(); err != nil {
		return err
	}
	return web.CheckLoopback(o.Listen)
}

// App is a server. Its methods are called in the order New, Start, Wait, Stop.
type App struct {
	o         Options
	registry  *prometheus.Registry
	intake    *Intake
	collector *collect.Service // nil without logs
	hook      *hook            // nil without a webhook
	trends    *trends
	handler   http.Handler
	listener  net.Listener
	undo      undo
	running   sync.WaitGroup
	failed    chan error
}

// New opens the store, builds all parts and takes the address. Nothing runs yet.
func New(ctx context.Context, o Options) (*App, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	a := &App{o: o, registry: prometheus.NewRegistry(), trends: newTrends(), failed: make(chan error, 3)}
	if err := a.build(ctx); err != nil {
		return nil, errors.Join(err, a.Stop(ctx))
	}
	return a, nil
}

func (a *App) build(ctx context.Context) error {
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// The address first: a second server on it should not touch the data.
	var lc net.ListenConfig
	var err error
	if a.listener, err = lc.Listen(ctx, "tcp", a.o.Listen); err != nil {
		return fmt.Errorf("listen on %s: %w; is another ktrail running? choose another port with --listen", a.o.Listen, err)
	}
	a.undo = append(a.undo, func(context.Context) error {
		if err := a.listener.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	if a.o.Webhook.Listen != "" {
		if a.hook, err = openHook(ctx, &a.o); err != nil {
			return err
		}
		a.undo = append(a.undo, func(context.Context) error {
			if err := a.hook.listener.Close(); !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
		if err := a.registry.Register(hookMetrics{a.hook}); err != nil {
			return fmt.Errorf("register metrics of the webhook: %w", err)
		}
	}
	so := a.o.Store
	so.Registerer = a.registry
	if a.intake, err = OpenIntake(ctx, so, a.o.Logger); err != nil {
		return err
	}
	a.undo = append(a.undo, func(context.Context) error { return a.intake.Close() })
	if a.hook != nil {
		a.hook.intake = a.intake
	}
	if len(a.o.Logs) > 0 {
		if a.collector, err = a.intake.collector(&a.o, a.registry); err != nil {
			return err
		}
	}
	kept, err := saved.Open(durable.OS{}, a.o.Store.Dir)
	if err != nil { // collecting events goes on without
		a.o.Logger.LogAttrs(ctx, slog.LevelError, "saved views cannot be used", slog.String("error", err.Error()))
		kept = nil
	}
	a.handler, err = web.New(web.Options{
		Questions: query.NewEngine(a.intake.store), Status: a.status, Trends: a.trends.answer, Import: a.intake.ImportStream, Views: kept, Quarantine: a.quarantine,
		Logger: a.o.Logger, Gatherer: a.registry, Registerer: a.registry, Version: a.o.Version,
		Address: a.listener.Addr().String(), Classify: classify,
	})
	return err
}

// Start runs the collector and the server until Stop.
func (a *App) Start(ctx context.Context) {
	// The parts outlive ctx: Stop ends them in order.
	base := context.WithoutCancel(ctx)
	if a.collector != nil {
		run, cancel := context.WithCancel(base)
		var done sync.WaitGroup
		done.Go(func() {
			if err := a.collector.Run(run); err != nil && run.Err() == nil {
				a.failed <- fmt.Errorf("follow audit logs: %w", err)
			}
		})
		a.undo = append(a.undo, func(context.Context) error {
			cancel()
			done.Wait()
			return nil
		})
	}
	if a.hook != nil {
		a.undo = append(a.undo, a.hook.start(base, a.failed))
	}
	if a.collector != nil || a.hook != nil {
		a.undo = append(a.undo, a.trends.start(base, a.status))
	}
	serve, cancel := context.WithCancel(base)
	a.running.Go(func() {
		if err := web.Serve(serve, a.listener, a.handler, a.o.Logger); err != nil {
			a.failed <- err
		}
	})
	a.undo = append(a.undo, func(context.Context) error {
		cancel()
		a.running.Wait()
		return nil
	})
}

// Addr is the address that the server has, host:port.
func (a *App) Addr() string { return a.listener.Addr().String() }

// WebhookURL is where API servers post, "" for nowhere.
func (a *App) WebhookURL() string {
	if a.hook == nil {
		return ""
	}
	return a.hook.url()
}

// Events is how many events the store holds.
func (a *App) Events() int64 { return a.intake.store.State().Events }

// Wait returns when ctx is done, with nil, or with the error of a part that
// cannot go on.
func (a *App) Wait(ctx context.Context) error { return wait(ctx, a.failed) }

func wait(ctx context.Context, failed <-chan error) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// Stop ends what runs, the last first. It may be called at any time, once.
func (a *App) Stop(ctx context.Context) error {
	return a.undo.all(context.WithoutCancel(ctx))
}
