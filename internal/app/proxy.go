package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/ktrail/ktrail/audit/backend"
	"github.com/ktrail/ktrail/audit/capture"
	"github.com/ktrail/ktrail/audit/flags"
)

// ProxyOptions is what a proxy needs. internal/cli says which flag each is.
type ProxyOptions struct {
	Listen, AdminListen string
	// HealthListen answers /livez and /readyz alone, in a word, and may be off loopback.
	HealthListen string
	// CertFile and KeyFile are the proxy's own; without them it speaks plain HTTP.
	CertFile, KeyFile string

	// ClientCAFile signs users' certificates, FrontProxyCAFile those of front proxies.
	ClientCAFile     string
	FrontProxyCAFile string
	FrontProxyNames  []string
	RemoteHeaders    capture.RemoteHeaders
	Anonymous        bool

	// Upstream is the API server; nil is that of Kubeconfig.
	Upstream           *url.URL
	UpstreamCAFile     string
	UpstreamServerName string
	// Kubeconfig has the credentials with which the proxy asks whose tokens are and who
	// may impersonate; without it it asks in each user's name.
	Kubeconfig string
	// ProxyCertFile and ProxyKeyFile are those by which the upstream believes the proxy.
	ProxyCertFile, ProxyKeyFile string
	// Constrained is whether the upstream knows constrained impersonation; nil asks its version.
	Constrained *bool

	Audit flags.Settings
	Sinks SinkOptions

	// Grace is how long requests may go on when the proxy stops.
	Grace  time.Duration
	Logger *slog.Logger
}

// Proxy is a running ktrail proxy. Its methods are called in the order NewProxy, Start, Wait, Stop.
type Proxy struct {
	o        ProxyOptions
	registry *prometheus.Registry
	files    proxyFiles
	own      *http.Client // signs on as the proxy; nil without a kubeconfig
	parts    parts
	sinks    *backend.Backend
	handler  http.Handler

	listener, admin, health net.Listener

	busy     busy
	reach    reach
	stopping context.Context //nolint:containedctx // the life of the proxy
	stop     context.CancelFunc
	undo     undo
	failed   chan error
}

// NewProxy reads all files, opens the sinks and takes the addresses. Nothing is answered yet.
func NewProxy(ctx context.Context, o ProxyOptions) (*Proxy, error) {
	if o.Logger == nil {
		return nil, errors.New("start proxy: no logger given")
	}
	if err := o.Check(); err != nil {
		return nil, err
	}
	p := &Proxy{o: o, registry: prometheus.NewRegistry(), parts: parts{log: o.Logger}, failed: make(chan error, 3)}
	p.stopping, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := p.build(ctx); err != nil {
		return nil, errors.Join(err, p.Stop(ctx))
	}
	return p, nil
}

func (p *Proxy) build(ctx context.Context) error {
	reviews, err := p.reviews()
	if err != nil {
		return err
	}
	if err := p.files.load(&p.o, &p.parts); err != nil {
		return fmt.Errorf("read %w", err)
	}
	// The addresses first: a second proxy should not touch the log of the first.
	if p.listener, err = p.listen(ctx, p.o.Listen); err != nil {
		return err
	}
	if p.o.AdminListen != "" {
		if p.admin, err = p.listen(ctx, p.o.AdminListen); err != nil {
			return err
		}
	}
	if p.o.HealthListen != "" {
		if p.health, err = p.listen(ctx, p.o.HealthListen); err != nil {
			return err
		}
	}
	if p.sinks, err = openSinks(ctx, &p.o); err != nil {
		return err
	}
	p.undo = append(p.undo, func(ctx context.Context) error {
		// A webhook that does not answer must not keep the proxy from ending.
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		return p.sinks.Close(ctx)
	})
	p.metrics()
	return p.compose(reviews)
}

// compose puts the handlers into one another, the outermost last.
func (p *Proxy) compose(reviews *capture.Reviews) error {
	auth := capture.NewAuthenticator(capture.AuthOptions{
		FrontProxyCAs: p.files.fronts.Load, FrontProxyNames: p.o.FrontProxyNames, RemoteHeaders: p.o.RemoteHeaders,
		ClientCAs: p.files.clients.Load, Token: reviews.Token, Anonymous: p.o.Anonymous,
	})
	po := capture.ProxyOptions{
		Upstream: p.o.Upstream, Transport: &p.files.plain, Refused: auth.Forget, Stopping: p.stopping, Log: p.o.Logger,
	}
	if p.o.ProxyCertFile != "" {
		po.FrontProxy = &p.files.frontProxy
	}
	proxy, err := capture.Proxy(po)
	if err != nil {
		return err
	}
	known := capture.Impersonation(proxy, capture.ImpersonationOptions{Allowed: reviews.Allowed, Constrained: p.constrained(), Log: p.o.Logger})
	p.handler, err = capture.Handler(known, capture.Options{
		Policy: p.files.policy.Load, Sink: p.sinks, Strict: p.sinks.Strict(), Ledger: p.sinks.Ledger(),
		Identifier: auth, CheckTimeout: true, Log: p.o.Logger,
	})
	return err
}

func (p *Proxy) listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	p.undo = append(p.undo, func(context.Context) error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return l, nil
}

// metrics registers what /metrics tells.
func (p *Proxy) metrics() {
	p.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ktrail_proxy_requests_in_flight", Help: "Requests that are being served, watches and sessions included.",
		}, func() float64 { n, _ := p.busy.count(); return float64(n) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "ktrail_proxy_requests_total", Help: "Requests since the start.",
		}, func() float64 { _, all := p.busy.count(); return float64(all) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ktrail_proxy_files_refused", Help: "Pieces of the configuration whose new file is refused while the old one is in use.",
		}, func() float64 { return float64(len(p.parts.refused())) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ktrail_audit_events_waiting", Help: "Audit events in memory, in batch mode.",
		}, func() float64 { return float64(p.sinks.Status().Events) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ktrail_audit_spooled_bytes", Help: "Audit events on disk until the webhook takes them.",
		}, func() float64 { return float64(p.sinks.Status().Spooled) }),
		&ledgerCollector{p.sinks.Ledger()},
	)
}

// Start serves until Stop.
func (p *Proxy) Start(ctx context.Context) {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	errorLog := slog.NewLogLogger(p.o.Logger.Handler(), slog.LevelDebug)
	if p.admin != nil {
		p.serve(&http.Server{Handler: p.adminHandler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: errorLog}, p.admin, nil)
	}
	if p.health != nil {
		p.serve(&http.Server{
			Handler: p.healthHandler(), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10, ErrorLog: errorLog,
		}, p.health, nil)
	}
	p.serve(&http.Server{
		Handler: &p.busy,
		// The API server's own limits (k8s.io/apiserver/pkg/server/secure_serving.go).
		ReadHeaderTimeout: 32 * time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    1 << 20,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100},
		ErrorLog:          errorLog,
		BaseContext:       func(net.Listener) context.Context { return base },
	}, p.listener, cut)

	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	run, cancel := context.WithCancel(base)
	var done sync.WaitGroup
	done.Go(func() { p.parts.run(run, hup) })
	p.undo = append(p.undo, func(context.Context) error {
		signal.Stop(hup)
		cancel()
		done.Wait()
		return nil
	})
}

// serve answers on l until Stop. With cut, requests may go on for the grace and are then cut off.
func (p *Proxy) serve(s *http.Server, l net.Listener, cut context.CancelFunc) {
	ended := make(chan struct{})
	secure := cut != nil && p.files.serving.Load() != nil
	if secure {
		s.TLSConfig = p.files.tlsConfig()
	}
	if cut != nil {
		p.busy.next = p.handler
	}
	go func() {
		defer close(ended)
		err := error(nil)
		if secure {
			err = s.ServeTLS(l, "", "")
		} else {
			err = s.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			p.failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
	}()
	p.undo = append(p.undo, func(ctx context.Context) error {
		defer func() { <-ended }()
		if cut == nil {
			return s.Close()
		}
		return p.drain(ctx, s, cut)
	})
}

// drain lets requests end: watches at once, all others within the grace.
func (p *Proxy) drain(ctx context.Context, s *http.Server, cut context.CancelFunc) error {
	grace, cancel := context.WithTimeout(ctx, p.o.Grace)
	defer cancel()
	p.stop()
	err := s.Shutdown(grace)
	if err == nil { // Shutdown does not wait for connections that were upgraded
		select {
		case <-p.busy.idle():
		case <-grace.Done():
			err = grace.Err()
		}
	}
	cut()
	if err == nil {
		return nil
	}
	if n, _ := p.busy.count(); n > 0 {
		p.o.Logger.LogAttrs(ctx, slog.LevelWarn, "requests that did not end in time are cut off", slog.Int("requests", n), slog.Duration("grace", p.o.Grace))
	}
	if err := s.Close(); err != nil {
		return err
	}
	// They are recorded before the log is closed.
	last, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	select {
	case <-p.busy.idle():
	case <-last.Done():
	}
	return nil
}

// Addr is the address that the proxy has, host:port; AdminAddr is that of health and metrics, "" for none.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// AdminAddr is described at Addr.
func (p *Proxy) AdminAddr() string { return addrOf(p.admin) }

// HealthAddr is the address of health alone, "" for none.
func (p *Proxy) HealthAddr() string { return addrOf(p.health) }

func addrOf(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}

// Upstream is where requests go.
func (p *Proxy) Upstream() string { return p.o.Upstream.String() }

// Secure is whether the proxy speaks TLS.
func (p *Proxy) Secure() bool { return p.files.serving.Load() != nil }

// Wait returns when ctx is done, with nil, or with the error of a part that cannot go on.
func (p *Proxy) Wait(ctx context.Context) error { return wait(ctx, p.failed) }

// Stop stops listening, waits for requests, and hands on what the sinks still hold. It may be called at any time, once.
func (p *Proxy) Stop(ctx context.Context) error {
	p.stop()
	return p.undo.all(context.WithoutCancel(ctx))
}

// busy counts the requests that next serves, those whose connection was taken over included.
type busy struct {
	next http.Handler

	mu   sync.Mutex
	n    int
	all  int64
	done []chan struct{}
}

// ServeHTTP implements [http.Handler].
func (b *busy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.n++
	b.all++
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.n--; b.n == 0 {
			for _, c := range b.done {
				close(c)
			}
			b.done = nil
		}
	}()
	b.next.ServeHTTP(w, r)
}

func (b *busy) count() (now int, all int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n, b.all
}

// idle is closed when no request is served.
func (b *busy) idle() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := make(chan struct{})
	if b.n == 0 {
		close(c)
	} else {
		b.done = append(b.done, c)
	}
	return c
}
