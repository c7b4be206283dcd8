package capture

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/internal/status"
	"github.com/ktrail/ktrail/audit/policy"
)

// Handler returns next with every request recorded as the policy asks:
//
//	received ─► resolve ─► identify ─► RequestReceived ─► next ─► ResponseComplete
//	                          │                            ├─► ResponseStarted at the first byte of a long-running answer
//	                          └─► 401: ResponseStarted     └─► Panic, and the panic goes on
//
// The context of the request that next sees knows [InfoOf], [IdentityOf] and [AuditID], and
// takes [Annotate] and [Impersonated]. The answer has the header Audit-ID.
//
// ResponseComplete is made when next returns. Unless Options.Strict is set the client may have
// its answer by then; if it is set, the client has it after the sink has the event.
func Handler(next http.Handler, o Options) (http.Handler, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &handler{Options: o, next: next}, nil
}

// handler is the http.Handler that [Handler] returns.
type handler struct {
	Options
	next http.Handler
	ones sync.Pool // of *[1]audit.Event

	reads sync.Mutex // held while a body is read that takes much memory for it
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	received := time.Now()
	x := &exchange{Context: r.Context(), h: h, head: r.Method == http.MethodHead}
	x.setID(w, r)
	err := h.Resolver.resolve(r, &x.info)
	if err != nil {
		internalErrorFor(w, r.URL.RequestURI(), "failed to create RequestInfo: "+err.Error())
		return
	}
	x.long = h.LongRunning(r, &x.info)
	r = r.WithContext(x)

	if h.CheckTimeout && !x.long {
		if reason := badTimeout(r); reason != "" {
			x.fail(w, r, received, status.Failure(http.StatusBadRequest, "BadRequest", reason))
			return
		}
	}
	if h.Identifier != nil {
		x.identity, err = h.Identifier.Identify(r)
		if err != nil {
			h.Log.LogAttrs(x, slog.LevelWarn, "request was not authenticated",
				slog.String("audit_id", cutID(x.auditID)), slog.String("error", err.Error()))
			x.identity = Identity{}
			x.fail(w, r, received, notIdentified(err))
			return
		}
	}
	if !x.decide() {
		h.next.ServeHTTP(w, r)
		return
	}
	x.describe(r, received)
	if err := x.emit(audit.StageRequestReceived, policy.RequestReceived); err != nil && h.Strict {
		internalError(w, x.rec.RequestURI)
		return
	}
	if u := x.identity.ImpersonatedUser; u != nil {
		x.rec.ImpersonatedUser, x.rec.ImpersonationConstraint = u, x.identity.ImpersonationConstraint
	}
	var contentType, encoding string
	if x.wantsBody(r) {
		contentType, encoding = r.Header.Get("Content-Type"), r.Header.Get("Content-Encoding")
		x.in.ReadCloser, x.in.expect, x.in.kept.max = r.Body, r.ContentLength, h.MaxBody
		r.Body = &x.in
	}
	x.out.ResponseWriter, x.out.x = w, x
	defer func() {
		p := recover()
		x.mu.Lock()
		x.takeRequest(contentType, encoding)
		x.mu.Unlock()
		if p == nil {
			x.finish()
			return
		}
		if x.panicked(p) {
			panic(p)
		}
	}()
	h.next.ServeHTTP(x.out.look(), r)
}

// setID takes the client's Audit-ID, or makes one, and puts it into the answer unless
// a handler further out did.
func (x *exchange) setID(w http.ResponseWriter, r *http.Request) {
	if id := r.Header[auditIDHeader]; len(id) > 0 && id[0] != "" {
		x.auditID = id[0]
	} else {
		x.auditID = newID()
	}
	if header := w.Header(); len(header[auditIDHeader]) == 0 || header[auditIDHeader][0] == "" {
		header[auditIDHeader] = []string{x.auditID}
	}
}

// decide asks the policy about the request, and is whether anything is recorded.
func (x *exchange) decide() bool {
	u := &x.identity.User
	x.decision = x.h.Policy().Decide(&policy.Attributes{
		User: u.Username, Groups: u.Groups,
		NoUser: u.Username == "" && u.UID == "" && len(u.Groups) == 0,
		Verb:   x.info.Verb, Resource: x.info.Resource, APIGroup: x.info.APIGroup, Subresource: x.info.Subresource,
		Namespace: x.info.Namespace, Name: x.info.Name,
		Path: x.info.Path, NonResource: !x.info.IsResource,
	})
	return x.decision.Level != policy.None
}

// describe fills in what is known of a request when it is received.
func (x *exchange) describe(r *http.Request, received time.Time) {
	rec := &x.rec // field by field: a whole one would be copied
	rec.Level, rec.AuditID, rec.RequestURI, rec.Verb = x.decision.Level.String(), x.auditID, requestURI(r), x.info.Verb
	rec.User, rec.SourceIPs, rec.UserAgent = x.identity.User, sourceIPs(r), userAgent(r)
	rec.Received = audit.TimeOf(received)
	rec.Rule = int32(x.decision.Rule + 1) //nolint:gosec // an index into a policy's rules
	if x.info.IsResource {
		rec.ObjectRef = &x.object
		o := rec.ObjectRef
		o.Resource, o.Subresource, o.Namespace, o.Name = x.info.Resource, x.info.Subresource, x.info.Namespace, x.info.Name
		o.APIGroup, o.APIVersion = x.info.APIGroup, x.info.APIVersion
	}
}

// answered takes a Status as what the request was answered. The status of HTTP stands over its code.
func (x *exchange) answered(s *status.Status) {
	x.status = *s.Record()
	x.status.Code = int32(x.out.code) //nolint:gosec // three digits
}

// fail answers a request that goes no further with s, and records it as the API server
// does: in one event of the stage ResponseStarted, without a user.
func (x *exchange) fail(w http.ResponseWriter, r *http.Request, received time.Time, s status.Status) {
	if x.decide() {
		x.describe(r, received)
		x.out.code = int(s.Code)
		x.answered(&s)
		x.rec.ResponseStatus = &x.status
		if x.decision.Level == policy.RequestResponse {
			x.rec.ResponseObject = s.JSON()
		}
		err := x.emit(audit.StageResponseStarted, policy.ResponseStarted)
		x.end()
		if err != nil && x.h.Strict {
			internalError(w, x.rec.RequestURI)
			return
		}
	}
	answerStatus(w, r, &s)
}

// end lets no annotation in any more.
func (x *exchange) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
}

// finish makes the last event of a request whose handler returned.
func (x *exchange) finish() {
	w := &x.out
	if w.code == 0 {
		// Nothing was written. The server answers a 200 for the handler; in the log it reads so, as upstream's does.
		w.code = http.StatusOK
		x.mu.Lock()
		x.status = audit.Status{Code: http.StatusOK, Status: "Success", Message: "Connection closed early"}
		x.rec.ResponseStatus = &x.status
		x.mu.Unlock()
		if x.long {
			_ = w.start() // gives the answer up itself
		}
	}
	_ = w.settle(true) // likewise
	x.mu.Lock()
	x.takeAnswer()
	x.mu.Unlock()
	err := x.emit(audit.StageResponseComplete, policy.ResponseComplete)
	x.end()
	switch {
	case w.refused || w.hijacked:
	case err == nil || !x.h.Strict:
		w.letGo()
	case !w.sent:
		w.refuse()
	default:
		panic(http.ErrAbortHandler) // the client has a part of the answer: it must not take it for the whole
	}
}

// panicked makes the last event of a request whose handler panicked with p, and is whether the panic is to go on.
func (x *exchange) panicked(p any) bool {
	_ = x.out.settle(true) // gives the answer up itself
	x.mu.Lock()
	x.takeAnswer()
	x.status = audit.Status{
		Code: http.StatusInternalServerError, Status: "Failure", Reason: "InternalError",
		Message: fmt.Sprintf("APIServer panic'd: %v", p),
	}
	x.rec.ResponseStatus = &x.status
	x.mu.Unlock()
	_ = x.emit(audit.StagePanic, policy.Panic) // entered in the ledger; the connection ends either way
	x.end()
	// A handler that gives up because its answer was refused must not take the refusal with it.
	return !x.out.refused || p != http.ErrAbortHandler //nolint:errorlint // the server compares so
}

// emit makes the event of a stage and hands it to the sink. What the sink does not take is in the ledger.
func (x *exchange) emit(stage string, s policy.Stages) error {
	if x.decision.OmitStages.Has(s) {
		return nil
	}
	x.mu.Lock()
	x.rec.Stage = stage
	x.rec.Time = x.rec.Received
	if s != policy.RequestReceived {
		x.rec.Time = audit.TimeOf(time.Now())
	}
	ev, err := x.rec.Event()
	if err != nil {
		x.dropBadBodies()
		ev, err = x.rec.Event()
	}
	x.mu.Unlock()
	if err != nil {
		ev = audit.Event{AuditID: x.auditID, Rule: x.rec.Rule}
	}
	one := x.h.one()
	one[0] = ev
	if err == nil {
		err = x.h.Sink.Send(lasting{x}, one[:])
	}
	if err != nil {
		x.h.Ledger.Enter(err, one[:])
	}
	*one = [1]audit.Event{}
	x.h.ones.Put(one)
	return err
}

// one is room for an event on its way to the sink, which has no use for it after that.
func (h *handler) one() *[1]audit.Event {
	if one, ok := h.ones.Get().(*[1]audit.Event); ok {
		return one
	}
	return new([1]audit.Event)
}

// dropBadBodies leaves out what is not JSON although it said so, or is nested too deep
// for a line to hold: nobody may hide a request behind its body.
func (x *exchange) dropBadBodies() {
	drop := func(body *[]byte, annotation string) {
		if len(*body) == 0 {
			return
		}
		probe := audit.Record{RequestObject: *body}
		if _, err := probe.AppendJSON(nil); err != nil {
			x.annotate(annotation, fmt.Sprintf("left out: %d bytes are not JSON, or nested too deep", len(*body)))
			*body = nil
		}
	}
	drop(&x.rec.RequestObject, RequestBodyAnnotation)
	drop(&x.rec.ResponseObject, ResponseBodyAnnotation)
}

// lasting is the context of the request for the sink: it does not end with the client, whose
// going away must not cost the event.
type lasting struct{ x *exchange }

func (lasting) Deadline() (time.Time, bool) { return time.Time{}, false }
func (lasting) Done() <-chan struct{}       { return nil }
func (lasting) Err() error                  { return nil }
func (l lasting) Value(key any) any         { return l.x.Value(key) }

var _ context.Context = lasting{}

// badTimeout is what is wrong with the parameter timeout of a request, "" if nothing.
func badTimeout(r *http.Request) string {
	value, _ := param(r.URL.RawQuery, "timeout")
	if value == "" {
		return ""
	}
	if _, err := time.ParseDuration(value); err != nil {
		return "invalid timeout specified in the request URL - " + err.Error()
	}
	return ""
}

// internalError answers a request that cannot be recorded, in the words of the API server.
func internalError(w http.ResponseWriter, uri string) {
	internalErrorFor(w, uri, "failed to store audit event")
}

func internalErrorFor(w http.ResponseWriter, uri, reason string) {
	text := fmt.Sprintf("Internal Server Error: %q: %s", uri, reason)
	http.Error(w, strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text), http.StatusInternalServerError)
}
