package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/webhook"
	"github.com/ktrail/ktrail/internal/collect"
	"github.com/ktrail/ktrail/internal/web"
)

// WebhookOptions is where API servers may post their events: nowhere without Listen.
type WebhookOptions struct {
	Listen string
	// CertFile and KeyFile are the server's; without them it speaks plain HTTP.
	CertFile, KeyFile string
	// ClientCAFile signs the certificates, and TokenFile has the tokens, a line each, of those who
	// may post. One of the two is enough. With neither everybody may who reaches the address.
	ClientCAFile, TokenFile string
	// ClientNames are the common names of the certificates that may; none is any.
	ClientNames []string
}

// Check says what keeps a server from starting with o that can be told without opening any file.
func (o *WebhookOptions) Check() error {
	if o.Listen == "" {
		if o.CertFile+o.KeyFile+o.ClientCAFile+o.TokenFile != "" || len(o.ClientNames) > 0 {
			return errors.New("--webhook-listen is missing: the other flags of the webhook do nothing without it")
		}
		return nil
	}
	var errs []error
	say := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if (o.CertFile == "") != (o.KeyFile == "") {
		say("--webhook-tls-cert-file and --webhook-tls-private-key-file go together")
	}
	if o.ClientCAFile != "" && o.CertFile == "" {
		say("--webhook-client-ca-file needs TLS: give --webhook-tls-cert-file and --webhook-tls-private-key-file")
	}
	if len(o.ClientNames) > 0 && o.ClientCAFile == "" {
		say("--webhook-client-allowed-names does nothing without --webhook-client-ca-file")
	}
	if o.TokenFile != "" && o.CertFile == "" {
		say("--webhook-token-file needs TLS, over plain HTTP kube-apiserver sends no token: give --webhook-tls-cert-file and --webhook-tls-private-key-file")
	}
	if _, port, err := net.SplitHostPort(o.Listen); err != nil {
		say("--webhook-listen %s: it is not host:port, as 127.0.0.1:9443 is", o.Listen)
	} else if _, err := net.LookupPort("tcp", port); err != nil {
		say("--webhook-listen %s: there is no such port", o.Listen)
	} else if err := loopback(o.Listen); err != nil {
		var missing []string
		if o.CertFile == "" {
			missing = append(missing, "--webhook-tls-cert-file and --webhook-tls-private-key-file")
		}
		if o.ClientCAFile == "" && o.TokenFile == "" {
			missing = append(missing, "--webhook-client-ca-file or --webhook-token-file")
		}
		if len(missing) > 0 {
			say("--webhook-listen %s: %w; off loopback anybody could read or forge events: it takes %s", o.Listen, err, strings.Join(missing, ", and "))
		}
	}
	return errors.Join(errs...)
}

// webhookSource is the source of the events that are posted.
const webhookSource = "webhook"

// hook takes the events that API servers post.
type hook struct {
	o        WebhookOptions
	cluster  string
	log      *slog.Logger
	intake   *Intake
	receiver *webhook.Receiver
	listener *fewConns
	parts    parts
	serving  atomic.Pointer[tls.Config]
	clients  atomic.Pointer[x509.CertPool]
	tokens   atomic.Pointer[webhook.Tokens]

	mu   sync.Mutex
	rate collect.Rate
}

// openHook reads the files and takes the address. Nothing is answered before start, until
// when intake must be set.
func openHook(ctx context.Context, o *Options) (*hook, error) {
	h := &hook{o: o.Webhook, cluster: o.Cluster, log: o.Logger, parts: parts{log: o.Logger}}
	var err error
	if h.o.CertFile != "" {
		files := []string{h.o.CertFile, h.o.KeyFile}
		if h.o.ClientCAFile != "" {
			files = append(files, h.o.ClientCAFile)
		}
		if err := h.parts.add("webhook's certificate and client authority", h.loadServing, files...); err != nil {
			return nil, fmt.Errorf("read %w", err)
		}
	}
	if h.o.TokenFile != "" {
		if err := h.parts.add("webhook's tokens", h.loadTokens, h.o.TokenFile); err != nil {
			return nil, fmt.Errorf("read %w", err)
		}
	}
	ro := webhook.ReceiverOptions{Append: h.append, Cluster: o.Cluster, Source: webhookSource, Log: o.Logger}
	if h.o.ClientCAFile != "" || h.o.TokenFile != "" {
		ro.Authorize = h.allowed
	}
	if h.receiver, err = webhook.NewReceiver(ro); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", h.o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; choose another port with --webhook-listen", h.o.Listen, err)
	}
	h.listener = &fewConns{Listener: l, most: mostConns, mostFrom: mostFrom, log: h.log, from: map[netip.Addr]int{}}
	return h, nil
}

func (h *hook) loadServing() error {
	cert, err := tls.LoadX509KeyPair(h.o.CertFile, h.o.KeyFile)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", h.o.CertFile, h.o.KeyFile, err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}
	if h.o.ClientCAFile != "" {
		pool, err := readPool(h.o.ClientCAFile, nil)
		if err != nil {
			return err
		}
		// Asked for, and verified with each request: who has none or another is told so in
		// words, and a connection does not outlive its certificate or authority.
		c.ClientAuth, c.ClientCAs = tls.RequestClientCert, pool
		h.clients.Store(pool)
	}
	h.serving.Store(c)
	return nil
}

func (h *hook) loadTokens() error {
	text, err := os.ReadFile(h.o.TokenFile)
	if err != nil {
		return err
	}
	t, err := webhook.ParseTokens(text)
	if err != nil {
		return fmt.Errorf("%s: %w", h.o.TokenFile, err)
	}
	h.tokens.Store(t)
	return nil
}

// allowed returns nil for a request with a certificate or a token that may post.
func (h *hook) allowed(r *http.Request) error {
	cert, token := errors.New("there is no client certificate"), errors.New("no tokens are known")
	if pool := h.clients.Load(); pool != nil && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		if cert = h.certified(r.TLS.PeerCertificates, pool); cert == nil {
			return nil
		}
	}
	if t := h.tokens.Load(); t != nil {
		if token = t.Check(r); token == nil {
			return nil
		}
	}
	return fmt.Errorf("%w, and %w", cert, token)
}

// certified returns nil for a chain of an authority in pool whose owner may post.
func (h *hook) certified(chain []*x509.Certificate, pool *x509.CertPool) error {
	o := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(o); err != nil {
		return fmt.Errorf("verify client certificate: %w", err)
	}
	if name := chain[0].Subject.CommonName; len(h.o.ClientNames) > 0 && !slices.Contains(h.o.ClientNames, name) {
		return fmt.Errorf("%q is not one of --webhook-client-allowed-names", name)
	}
	return nil
}

// append stores what was posted. Items that are no events have no cursor, so that the store
// keeps each once, however often its batch comes.
func (h *hook) append(ctx context.Context, p webhook.Piece) (webhook.Taken, error) {
	c := collect.Commit{Source: webhookSource, Events: p.Events}
	now := audit.TimeOf(time.Now())
	for _, b := range p.Bad {
		c.Quarantined = append(c.Quarantined, collect.Quarantined{
			Source: webhookSource, File: "a batch from " + p.From, Offset: int64(b.Offset), Reason: b.Reason, At: now, Line: b.Item,
		})
	}
	r, err := h.intake.Append(ctx, c)
	if err != nil {
		return webhook.Taken{}, err
	}
	h.mu.Lock()
	h.rate.Add(time.Now(), int64(r.Added))
	h.mu.Unlock()
	return webhook.Taken(r), nil
}

// graceHook is how long bodies that are being read and stored may go on when the server stops.
const graceHook = 10 * time.Second

// start answers until stop is called, which waits for what is under way: what was answered 200
// is stored, and what was not will be sent again.
func (h *hook) start(ctx context.Context, failed chan<- error) (stop func(context.Context) error) {
	srv := &http.Server{
		Handler: h.receiver,
		// Headers must come quickly and be small. Bodies have a deadline of their own.
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(h.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	if c := h.serving.Load(); c != nil {
		srv.TLSConfig = c.Clone()
		srv.TLSConfig.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return h.serving.Load(), nil }
	}
	var running sync.WaitGroup
	running.Go(func() {
		var err error
		if srv.TLSConfig != nil {
			err = srv.ServeTLS(h.listener, "", "")
		} else {
			err = srv.Serve(h.listener)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serve webhook on %s: %w", h.listener.Addr(), err)
		}
	})
	var hup chan os.Signal
	run, cancel := context.WithCancel(ctx)
	if len(h.parts.list) > 0 {
		hup = make(chan os.Signal, 1)
		signal.Notify(hup, syscall.SIGHUP)
		running.Go(func() { h.parts.run(run, hup) })
	}
	return func(ctx context.Context) error {
		h.receiver.Stop()
		if hup != nil {
			signal.Stop(hup)
		}
		cancel()
		grace, end := context.WithTimeout(ctx, graceHook)
		defer end()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close() // whoever is cut off sends again
		}
		running.Wait()
		return nil
	}
}

// url is where to post.
func (h *hook) url() string {
	if h.serving.Load() != nil {
		return "https://" + h.listener.Addr().String() + "/"
	}
	return "http://" + h.listener.Addr().String() + "/"
}

// show adds the webhook to the sources of a status.
func (h *hook) show(s *web.Status, quarantined int64) {
	st := h.receiver.Stats()
	src := web.SourceState{
		Name: webhookSource, Cluster: h.cluster, File: h.url(), State: stateListening, LastEvent: st.LastEvent,
		Events: st.Events, Duplicates: st.Duplicates, Quarantined: max(quarantined, st.Bad),
	}
	for status, n := range st.Requests {
		if status != http.StatusOK {
			src.Rejected += n
		}
	}
	if !st.LastSeen.IsZero() {
		src.LastSeen = audit.TimeOf(st.LastSeen)
	}
	h.mu.Lock()
	src.EventsPerSecond = h.rate.PerSecond(time.Now())
	h.mu.Unlock()
	// Told until a batch is taken again, or nobody tries any more.
	if st.RefusedAt.After(st.LastSeen) && time.Since(st.RefusedAt) < refusedFor {
		src.Error = st.Refused
		s.Reasons = append(s.Reasons, "source "+webhookSource+": a batch was not taken, or not whole: "+st.Refused)
	}
	s.Reasons = append(s.Reasons, h.parts.refused()...)
	s.Sources = append(s.Sources, src)
	slices.SortFunc(s.Sources, func(a, b web.SourceState) int { return strings.Compare(a.Name, b.Name) })
}

const (
	stateListening = "listening"
	refusedFor     = 10 * time.Minute
)

// hookMetrics are the webhook's. docs/metrics.md lists them.
type hookMetrics struct{ *hook }

// Describe implements [prometheus.Collector].
func (m hookMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements [prometheus.Collector].
func (m hookMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m.receiver.Stats()
	send := func(name, help string, kind prometheus.ValueType, value float64, label, labelValue string) {
		var labels, values []string
		if label != "" {
			labels, values = []string{label}, []string{labelValue}
		}
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("ktrail_webhook_"+name, help, labels, nil), kind, value, values...)
	}
	s.Requests[http.StatusOK] += 0 // there from the start
	for status, n := range s.Requests {
		send("requests_total", "Posts by the status of their answer.", prometheus.CounterValue, float64(n), "status", fmt.Sprint(status))
	}
	send("events_total", "Events taken, by whether the store had them already.", prometheus.CounterValue, float64(s.Events), "result", "added")
	send("events_total", "Events taken, by whether the store had them already.", prometheus.CounterValue, float64(s.Duplicates), "result", "duplicate")
	send("quarantined_total", "Items that are no audit event.", prometheus.CounterValue, float64(s.Bad), "", "")
	send("bytes_total", "Bytes of bodies, unpacked.", prometheus.CounterValue, float64(s.Bytes), "", "")
	send("in_flight_bytes", "Memory that is reserved for bodies now.", prometheus.GaugeValue, float64(s.InFlight), "", "")
	open, closed := m.listener.state()
	send("connections", "Open connections.", prometheus.GaugeValue, float64(open), "", "")
	send("connections_refused_total", "Connections closed at once for being too many.", prometheus.CounterValue, float64(closed), "", "")
	send("files_refused", "Pieces of the configuration whose new file is refused while the old one is in use.", prometheus.GaugeValue, float64(len(m.parts.refused())), "", "")
}
