package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/ktrail/ktrail/audit/internal/status"
)

// CutOffAnnotation is on the last event of a request whose answer ended early because
// the upstream broke it off: the client had its status and a part of its body.
const CutOffAnnotation = "capture.ktrail.io/answer-cut-off"

const auditIDHeader = "Audit-Id"

// ProxyOptions are a Proxy's.
type ProxyOptions struct {
	// Upstream is the API server's address; a path in it is put in front of every request's.
	Upstream *url.URL
	// Transport carries requests whose credentials are their own: a bearer token, or
	// none. It must not sign on by itself, or nobody would become somebody.
	Transport http.RoundTripper
	// FrontProxy carries requests of users known otherwise, by a client certificate or
	// a front proxy's word: it signs on with a client certificate that the upstream takes for
	// a front proxy's (--requestheader-client-ca-file), and the user stands in X-Remote-*
	// headers. nil refuses such requests.
	FrontProxy http.RoundTripper
	// Refused is called for a request that the upstream answers with a 401; nil for nothing.
	Refused func(*http.Request)
	// Stopping is done when the server begins to stop: watches then end, in order. nil is never.
	Stopping context.Context //nolint:containedctx // it is the life of the server, not of a call
	// Log is told of an upstream that fails. nil is silent.
	Log *slog.Logger
}

// Proxy is a reverse proxy in front of an API server, to stand inside of [Handler],
// whose Identifier is an [Authenticator].
//
// Nothing about the user goes on but what the Authenticator found: a bearer token
// as it is, so that the upstream decides itself, or the user's name, by FrontProxy.
// X-Forwarded-For grows by the client's address; other headers that only proxies
// may send are taken away. The Audit-ID goes on, so that the upstream's audit log has the
// same one. Everything streams: watches, logs, and after an upgrade (exec, attach,
// port-forward, by SPDY or web socket) bytes in both directions.
//
// It changes the headers of the requests that it is given.
func Proxy(o ProxyOptions) (http.Handler, error) {
	switch {
	case o.Upstream == nil || o.Upstream.Host == "" || o.Upstream.Scheme != "https" && o.Upstream.Scheme != "http":
		return nil, fmt.Errorf("make proxy: upstream %q is no address such as https://10.0.0.1:6443", o.Upstream)
	case o.Transport == nil:
		return nil, errors.New("make proxy: ProxyOptions.Transport is nil; NewTransport makes one")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &proxy{ProxyOptions: o}
	p.reverse = &httputil.ReverseProxy{
		Rewrite:      p.rewrite,
		Transport:    p,
		ErrorHandler: p.failed,
		BufferPool:   &buffers{},
		ErrorLog:     slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
		// What has no length given is flushed at once, as a watch and a log are; see RoundTrip for the rest.
		FlushInterval: flushAfter,
	}
	return p, nil
}

type proxy struct {
	ProxyOptions
	reverse *httputil.ReverseProxy
}

// ServeHTTP implements [http.Handler].
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect {
		refuse(w, r, http.StatusMethodNotAllowed, "MethodNotAllowed", "this is no proxy for CONNECT")
		return
	}
	info := InfoOf(r.Context())
	if readsTwoWays(r.URL, info) {
		refuse(w, r, http.StatusBadRequest, "BadRequest", "the path is not one that every server reads alike: it must be absolute, without empty parts, . and ..")
		return
	}
	keepConnection(r.Header)
	if !isProxied(info) {
		delete(r.Header, "Cookie") // an API server has none; what stands before it may sign on by it
	}
	if err := p.sign(w, r); err != nil {
		p.Log.LogAttrs(r.Context(), slog.LevelWarn, "request cannot be handed on",
			slog.String("audit_id", cutID(AuditID(r.Context()))), slog.String("error", err.Error()))
		refuse(w, r, http.StatusForbidden, "Forbidden", err.Error())
		return
	}
	a := &answer{ResponseWriter: w, id: w.Header()[auditIDHeader]}
	if x := exchangeOf(r.Context()); x != nil {
		a.holds = x.h.Strict && !x.long
	}
	if a.id != nil {
		r.Header[auditIDHeader] = a.id
	}
	watch := info != nil && info.Verb == "watch"
	if watch && p.Stopping != nil {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(p.Stopping, cancel)()
		p.serve(a, r, r.WithContext(ctx), watch)
		return
	}
	p.serve(a, r, r, watch)
}

// serve hands out, which is r with perhaps another context, to the upstream.
//
// ReverseProxy panics with http.ErrAbortHandler when it cannot finish an answer that
// it began. That must reach the server if the client is there to be misled: the connection
// is then cut. If it is the client that went away, as at the end of every watch,
// nothing went wrong.
func (p *proxy) serve(a *answer, r, out *http.Request, watch bool) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		stopping := p.Stopping != nil && p.Stopping.Err() != nil
		gone := a.failed || r.Context().Err() != nil && !stopping
		if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) && (gone || watch && stopping) {
			return
		}
		Annotate(r.Context(), CutOffAnnotation, "the upstream did not finish its answer")
		panic(v)
	}()
	p.reverse.ServeHTTP(a, out)
	if a.status == http.StatusUnauthorized && p.Refused != nil {
		p.Refused(r)
	}
}

// sign names the user in the headers of a request that has no credential of its own.
func (p *proxy) sign(w http.ResponseWriter, r *http.Request) error {
	RemoteHeaders{}.remove(r.Header)
	user := IdentityOf(r.Context()).User
	if isNobody(&user) && r.ProtoMajor == 2 {
		// As the API server does: a connection on which nobody signs on is used once
		// (CVE-2023-44487, UnauthenticatedHTTP2DOSMitigation).
		w.Header().Set("Connection", "close")
	}
	if user.Username == "" || isNobody(&user) || tokenOf(r) != "" {
		return nil
	}
	if p.FrontProxy == nil {
		return errors.New("hand on user: the proxy has no certificate by which the API server would believe it; give it --proxy-client-cert-file and --proxy-client-key-file")
	}
	return setRemote(r.Header, &user)
}

// readsTwoWays is whether u may be served as another request than was recorded. An opaque
// URL (GET https:https://server/api/v1/secrets) has no path here, and one at the upstream;
// and what stands in between may resolve dots, and drop empty parts. Behind /proxy/ they
// are the business of who is reached there.
func readsTwoWays(u *url.URL, info *RequestInfo) bool {
	if u.Opaque != "" || !strings.HasPrefix(u.Path, "/") {
		return true
	}
	if !strings.Contains(u.Path, "//") && !strings.Contains(u.Path, "/.") {
		return false
	}
	parts := strings.Split(u.Path[1:], "/")
	for i, part := range parts {
		if part == "." || part == ".." || part == "" && i < len(parts)-1 && !isProxied(info) {
			return true
		}
	}
	return false
}

// isProxied is whether the API server only hands a request on, to a node, a pod or a service.
func isProxied(info *RequestInfo) bool {
	return info != nil && (info.Verb == "proxy" || info.Subresource == "proxy")
}

// keepConnection leaves in the header Connection what is about the connection. A
// client can name any header there, which proxies then remove: it could take its
// impersonation, or its token, away behind the back of whoever recorded it.
//
// Upgrades stay that are streams. After one to another HTTP (h2c) the client would send
// requests past the record, over a connection on which the proxy perhaps signed on.
func keepConnection(h http.Header) {
	delete(h, "Http2-Settings")
	protocol := h.Get("Upgrade")
	if upgrades(h) && (strings.EqualFold(protocol, "websocket") || strings.EqualFold(protocol, "SPDY/3.1")) {
		h["Connection"] = []string{"Upgrade"}
		return
	}
	delete(h, "Connection")
	delete(h, "Upgrade")
}

// upgrades is whether a request asks for an upgrade: without a word about it in Connection
// the header Upgrade means nothing, and proxies remove it.
func upgrades(h http.Header) bool {
	for _, line := range h["Connection"] {
		for word := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(word), "upgrade") {
				return true
			}
		}
	}
	return false
}

// rewrite aims a request at the upstream. ReverseProxy has taken Forwarded and
// X-Forwarded-* away.
func (p *proxy) rewrite(pr *httputil.ProxyRequest) {
	pr.SetURL(p.Upstream)
	// As it came: ReverseProxy drops parameters that it cannot read, and the
	// API server must see what was recorded.
	if p.Upstream.RawQuery == "" {
		pr.Out.URL.RawQuery = pr.In.URL.RawQuery
	}
	pr.Out.Header.Del("X-Real-Ip")
	if peer, _, err := net.SplitHostPort(pr.In.RemoteAddr); err == nil {
		if before := pr.In.Header["X-Forwarded-For"]; len(before) > 0 {
			peer = strings.Join(before, ", ") + ", " + peer
		}
		pr.Out.Header["X-Forwarded-For"] = []string{peer}
	}
}

// flushAfter is how long a part of an answer that ends by itself may wait for more of it.
const flushAfter = 10 * time.Millisecond

// RoundTrip chooses by the user's header, which no client can set, who signs on.
func (p *proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	t := p.Transport
	if r.Header.Get(remoteUser) != "" {
		t = p.FrontProxy
	}
	res, err := t.RoundTrip(r)
	if err == nil {
		res.Header.Del(auditIDHeader) // answer sets it, once
		if x := exchangeOf(r.Context()); x != nil && !x.long && res.ContentLength == -1 {
			// An API server does not tell the length of most lists. ReverseProxy would take them for
			// streams, and spend a system call on each part and a goroutine on the header; it reads
			// nothing else from the length.
			res.ContentLength = -2
		}
	}
	return res, err
}

// failed answers for an upstream that did not.
func (p *proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	ctx := r.Context()
	stopping := p.Stopping != nil && p.Stopping.Err() != nil
	timeout := net.Error(nil)
	code, reason, message := int32(http.StatusBadGateway), "InternalError", "the API server behind this proxy cannot be reached"
	switch {
	case ctx.Err() != nil && stopping:
		code, reason, message = http.StatusServiceUnavailable, "ServiceUnavailable", "this proxy is stopping"
	case ctx.Err() != nil:
		// nginx's number; nobody reads it but in the record.
		refuse(w, r, 499, "", "the client went away before the API server answered")
		return
	case errors.As(err, &timeout) && timeout.Timeout():
		code, reason, message = http.StatusGatewayTimeout, "Timeout", "the API server behind this proxy does not answer"
	}
	p.Log.LogAttrs(ctx, slog.LevelError, "request failed at the upstream", slog.Int("code", int(code)), slog.String("upstream", p.Upstream.Host),
		slog.String("method", r.Method), slog.String("audit_id", cutID(r.Header.Get(auditIDHeader))), slog.String("error", plainError(err).Error()))
	refuse(w, r, code, reason, message)
}

func refuse(w http.ResponseWriter, r *http.Request, code int32, reason, message string) {
	s := status.Failure(code, reason, message)
	answerStatus(w, r, &s)
}

// answer is the ResponseWriter that ReverseProxy writes to.
type answer struct {
	http.ResponseWriter
	id     []string
	status int
	failed bool // the client does not take it
	holds  bool // it is held back until it is recorded: what was flushed could only be broken off
}

// WriteHeader sets the Audit-ID: an upstream's interim answer (1xx) takes the headers away.
func (a *answer) WriteHeader(code int) {
	if code >= http.StatusOK || code == http.StatusSwitchingProtocols {
		a.status = code
		if a.id != nil {
			a.Header()[auditIDHeader] = a.id
		}
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) Write(b []byte) (int, error) {
	n, err := a.ResponseWriter.Write(b)
	if err != nil {
		a.failed = true
	}
	return n, err
}

// FlushError is what http.ResponseController calls.
func (a *answer) FlushError() error {
	if a.holds {
		return nil
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController hijack.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// buffers is a pool of what answers are copied through.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

// Get implements [httputil.BufferPool].
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return p[:]
	}
	return make([]byte, bufferSize)
}

// Put implements [httputil.BufferPool].
func (b *buffers) Put(p []byte) { b.pool.Put((*[bufferSize]byte)(p)) }
