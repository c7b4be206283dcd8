package web

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/saved"
	"github.com/prometheus/client_golang/prometheus"
)

// Options is what the API and the page need from the rest of the program.
type Options struct {
	// Questions answers; required.
	Questions query.Questions
	// Status tells about sources and store; required. It is called often and must be quick.
	Status func() Status
	// Trends tells what lag and rate of the sources were; nil if nothing keeps it.
	Trends func() Trends
	// Import takes POST /api/v1/import; nil answers that this server takes no imports.
	Import Importer
	// Views keeps the saved views; nil answers that this server keeps none.
	Views *saved.Store
	// Quarantine lists lines that could not be decoded; nil answers that this server has none to show.
	Quarantine func(ctx context.Context, q QuarantineQuestion) (QuarantineAnswer, error)
	// Logger is required.
	Logger *slog.Logger
	// Gatherer is what /metrics shows; nil leaves /metrics out.
	Gatherer prometheus.Gatherer
	// Registerer gets this package's metrics; nil for none.
	Registerer prometheus.Registerer
	// Version is shown on the page and in the API.
	Version string
	// Address is where the server listens, host:port. It must be loopback, see [CheckLoopback].
	Address string
	// Classify gives the code of an error whose type this package may not know, such
	// as the store's: "" leaves it to the package. May be nil.
	Classify func(error) Code
	// QueryTimeout bounds a question; for an answer that is streamed, the wait for
	// its next row. 0 means 30 s.
	QueryTimeout time.Duration
	// Heartbeat is how often an idle follow stream says that it is alive. 0 means 15 s.
	Heartbeat time.Duration
}

func (o *Options) validate() error {
	switch {
	case o.Questions == nil:
		return errors.New("serve pages: no questions given")
	case o.Status == nil:
		return errors.New("serve pages: no status given")
	case o.Logger == nil:
		return errors.New("serve pages: no logger given")
	case o.QueryTimeout < 0 || o.Heartbeat < 0:
		return errors.New("serve pages: a duration is negative")
	}
	if o.QueryTimeout == 0 {
		o.QueryTimeout = 30 * time.Second
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 15 * time.Second
	}
	return nil
}

// server is the handler that New returns, before its middleware.
type server struct {
	Options
	mux    *http.ServeMux
	routes []string // patterns, in the order they were registered
	pages  *template.Template
	assets *assets
	meters *meters
	// streams has a token for each stream that is open.
	streams chan struct{}
}

// New returns the handler of the API, the page, the metrics and the probes.
// An error means that Options are wrong or the address is not loopback.
func New(o Options) (http.Handler, error) {
	s, err := newServer(o)
	if err != nil {
		return nil, err
	}
	return s.handler(), nil
}

func newServer(o Options) (*server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Address != "" {
		if err := CheckLoopback(o.Address); err != nil {
			return nil, err
		}
	}
	s := &server{Options: o, mux: http.NewServeMux(), streams: make(chan struct{}, maxStreams)}
	var err error
	if s.assets, err = newAssets(); err != nil {
		return nil, err
	}
	if s.pages, err = parseTemplates(s.assets); err != nil {
		return nil, fmt.Errorf("read page templates: %w", err)
	}
	if s.meters, err = newMeters(o.Registerer); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	s.routeAPI()
	s.routeViews()
	s.routeHealth()
	s.routePages()
	s.mux.HandleFunc("/", s.notFound)
	return s, nil
}

// handler puts what concerns every request in front of the routes.
func (s *server) handler() http.Handler {
	var h http.Handler = s.mux
	h = s.measure(h)
	h = s.refuseCrossOrigin(h)
	h = s.checkHost(h)
	return secureHeaders(h)
}

// handle registers h for a pattern and maps the error it returns.
func (s *server) handle(pattern string, h func(http.ResponseWriter, *http.Request) error) {
	s.routes = append(s.routes, pattern)
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

// notFound answers paths that no route has, and known paths with another method.
func (s *server) notFound(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if _, pattern := s.mux.Handler(&http.Request{Method: method, Host: r.Host, URL: r.URL}); strings.HasPrefix(pattern, method+" ") {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		s.fail(w, r, &Error{Code: CodeMethod, Message: fmt.Sprintf("%s takes %s, not %s", r.URL.Path, strings.Join(allowed, " and "), r.Method)})
		return
	}
	s.fail(w, r, &Error{Code: CodeNotFound, Message: "no such page; the API is described at /api/v1/openapi.json"})
}

// errTimeout is the cause of a context that the query limit ended.
var errTimeout = errors.New("the query limit passed")

// limit returns a context that ends when the query limit has passed since the
// last call of more.
func (s *server) limit(ctx context.Context) (limited context.Context, more, stop func()) {
	limited, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(s.QueryTimeout, func() { cancel(errTimeout) })
	more = func() { timer.Reset(s.QueryTimeout) }
	return limited, more, func() {
		timer.Stop()
		cancel(nil)
	}
}

// limited is limit's error: the cause, if ctx was ended for it.
func limited(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errTimeout) {
		return errTimeout
	}
	return err
}
