package compat

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/util/sets"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	upstreamaudit "k8s.io/apiserver/pkg/audit"
	auditpolicy "k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericfilters "k8s.io/apiserver/pkg/server/filters"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/capture"
	"github.com/ktrail/ktrail/audit/policy"
)

// event is an audit event as its line has it.
type event map[string]any

// recorder is both sides' sink, and the server that their requests reach.
type recorder struct {
	*httptest.Server
	wire  *wire
	mu    sync.Mutex
	lines []string
	ended chan struct{} // one for each request whose last event is made
}

func (r *recorder) add(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, strings.TrimSuffix(line, "\n"))
}

// take are the events since the last take.
func (r *recorder) take(t *testing.T) (events []event) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lines {
		d := json.NewDecoder(strings.NewReader(l))
		d.UseNumber()
		e := event{}
		if err := d.Decode(&e); err != nil {
			t.Fatalf("%v: %q", err, l)
		}
		events = append(events, e)
	}
	r.lines = nil
	return events
}

// ProcessEvents implements the API server's sink: the event is encoded at once, as a blocking back end does.
func (r *recorder) ProcessEvents(events ...*auditinternal.Event) bool {
	for _, e := range events {
		b, err := runtime.Encode(upstreamaudit.Codecs.LegacyCodec(auditv1.SchemeGroupVersion), e)
		if err != nil {
			r.add(`{"error":` + jsonText(err.Error()) + `}`)
			continue
		}
		r.add(string(b))
	}
	return true
}

// Send implements ours.
func (r *recorder) Send(_ context.Context, events []audit.Event) error {
	for i := range events {
		r.add(events[i].Raw)
	}
	return nil
}

// Close implements [pipeline.Sink].
func (*recorder) Close(context.Context) error { return nil }

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// serve waits for the events of each request, and ends a handler's panic as a server does.
func (r *recorder) serve(t *testing.T, h http.Handler) {
	r.ended, r.wire = make(chan struct{}, 1), newWire()
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		defer func() { r.ended <- struct{}{} }()
		h.ServeHTTP(w, req)
	}))
	_ = r.Listener.Close() // the one that it has opened
	r.Listener, r.Config.ErrorLog, r.Config.DisableGeneralOptionsHandler = r.wire, discardLog(), true
	r.Start()
	t.Cleanup(r.Server.Close)
}

// who is the user of a bearer token; false is nobody.
func who(h http.Header) (*user.DefaultInfo, bool) {
	switch token := strings.TrimPrefix(h.Get("Authorization"), "Bearer "); token {
	case "":
		return &user.DefaultInfo{Name: "system:anonymous", Groups: []string{"system:unauthenticated"}}, true
	case "alice":
		return &user.DefaultInfo{Name: "alice", UID: "42", Groups: []string{"ops", "system:authenticated"}, Extra: map[string][]string{"scopes": {"a<b", "c"}, "authentication.kubernetes.io/credential-id": {"JTI=1"}}}, true
	case "admin":
		return &user.DefaultInfo{Name: "admin", Groups: []string{"system:masters", "system:authenticated"}}, true
	}
	return nil, false
}

// may is the authorizer of both: alice may not delete, nor impersonate anybody but carol.
func may(a authorizer.Attributes) (bool, string) {
	name := a.GetUser().GetName()
	switch {
	case slices.Contains(a.GetUser().GetGroups(), "system:masters"):
		return true, ""
	case strings.HasPrefix(a.GetVerb(), "impersonate"):
		return a.GetName() == "carol" || a.GetResource() == "groups" && a.GetName() == "dev" || a.GetResource() == "userextras" || a.GetResource() == "uids", ""
	case a.GetVerb() == "delete" && name == "alice":
		return false, `RBAC: <"nobody"> lets alice`
	}
	return true, `RBAC: allowed by ClusterRoleBinding "x&y"`
}

// annotated is the API server's authorization filter, with the annotation made on our side too.
func annotated(next http.Handler, codecs runtime.NegotiatedSerializer) http.Handler {
	decide := authorizer.AuthorizerFunc(func(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		ok, reason := may(a)
		decision, word := authorizer.DecisionNoOpinion, "forbid"
		if ok {
			decision, word = authorizer.DecisionAllow, "allow"
		}
		capture.Annotate(ctx, "authorization.k8s.io/decision", word)
		capture.Annotate(ctx, "authorization.k8s.io/reason", reason)
		return decision, reason, nil
	})
	return filters.WithAuthorization(next, decide, codecs)
}

func isLongRunning() request.LongRunningRequestCheck {
	// As kube-apiserver has it (k8s.io/kubernetes/pkg/controlplane/apiserver/config.go).
	return genericfilters.BasicLongRunningRequestCheck(sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
}

func infoFactory() *request.RequestInfoFactory {
	return &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
}

// chains are the same API behind the API server's filters and behind ours.
type chains struct {
	theirs, ours *recorder
	evaluator    atomic.Pointer[upstreamaudit.PolicyRuleEvaluator]
	policy       atomic.Pointer[policy.Evaluator]
	script       atomic.Pointer[script]
	ran          atomic.Bool
}

// use has both record by p from now on.
func (c *chains) use(p *policy.Policy) {
	theirs := auditpolicy.NewPolicyRuleEvaluator(ToUpstream(p))
	c.evaluator.Store(&theirs)
	c.policy.Store(policy.Compile(p))
}

// EvaluatePolicyRule implements the API server's evaluator.
func (c *chains) EvaluatePolicyRule(a authorizer.Attributes) upstreamaudit.RequestAuditConfig {
	return (*c.evaluator.Load()).EvaluatePolicyRule(a)
}

func newChains(t *testing.T) *chains {
	t.Helper()
	scheme := apiScheme(t)
	codecs := serializer.NewCodecFactory(scheme, serializer.WithSerializer(cbor.NewSerializerInfo))
	c := &chains{theirs: &recorder{}, ours: &recorder{}}
	api := c.scripted(newAPI(t, scheme, codecs), codecs)
	long := isLongRunning()
	ask := authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if ok, _ := may(a); ok {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})
	impersonating := func(next http.Handler) http.Handler {
		return anew(next, func(next http.Handler) http.Handler {
			return impersonation.WithConstrainedImpersonation(next, ask, codecs)
		})
	}

	// In the order of DefaultBuildHandlerChain (k8s.io/apiserver/pkg/server/config.go).
	h := annotated(api, codecs)
	h = impersonating(h)
	h = filters.WithAudit(h, c.theirs, c, long)
	failed := filters.WithFailedAuthenticationAudit(filters.Unauthorized(codecs), c.theirs, c)
	h = filters.WithAuthentication(h, authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		u, ok := who(r.Header)
		return &authenticator.Response{User: u}, ok, nil
	}), failed, nil, nil)
	h = filters.WithWarningRecorder(h)
	h = filters.WithRequestDeadline(h, c.theirs, c, long, codecs, time.Minute)
	h = filters.WithCacheControl(h)
	h = filters.WithRequestInfo(h, infoFactory())
	h = filters.WithRequestReceivedTimestamp(h)
	h = filters.WithAuditInit(h)
	c.theirs.serve(t, h)

	// Ours stands in front of the same, which finds no sink: its audit is off.
	h = annotated(api, codecs)
	h = impersonating(h)
	h = withUser(h)
	h = filters.WithWarningRecorder(h)
	h = filters.WithRequestDeadline(h, nil, nil, long, codecs, time.Minute)
	h = filters.WithCacheControl(h)
	h = filters.WithRequestInfo(h, infoFactory())
	h = filters.WithRequestReceivedTimestamp(h)
	h = filters.WithAuditInit(h)
	h = anew(h, func(h http.Handler) http.Handler {
		return capture.Impersonation(h, capture.ImpersonationOptions{
			Constrained: func(context.Context) bool { return true },
			Allowed: func(_ context.Context, a capture.Access) (bool, error) {
				ok, _ := may(authorizer.AttributesRecord{
					User: &user.DefaultInfo{Name: a.User.Username, UID: a.User.UID, Groups: a.User.Groups, Extra: a.User.Extra},
					Verb: a.Verb, APIGroup: a.Group, Resource: a.Resource, Subresource: a.Subresource, Namespace: a.Namespace, Name: a.Name, Path: a.Path,
				})
				return ok, nil
			},
		})
	})
	h, err := capture.Handler(h, capture.Options{
		Policy: c.policy.Load, Sink: c.ours, CheckTimeout: true,
		Identifier: capture.IdentifierFunc(func(r *http.Request) (capture.Identity, error) {
			u, ok := who(r.Header)
			if !ok {
				return capture.Identity{}, errNobody
			}
			r.Header.Del("Authorization")
			return capture.Identity{User: audit.UserInfo{Username: u.Name, UID: u.UID, Groups: u.Groups, Extra: u.Extra}}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.ours.serve(t, h)
	return c
}

// anew is a filter without a memory. Constrained impersonation remembers by which mode a user was allowed last and tries
// that one first: what is recorded would depend on the requests before. TestImpersonation has them in turn.
func anew(next http.Handler, filter func(http.Handler) http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { filter(next).ServeHTTP(w, r) })
}

// withUser tells the API server's filters who our Identifier found.
func withUser(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := capture.IdentityOf(r.Context()).User
		next.ServeHTTP(w, r.WithContext(request.WithUser(r.Context(), &user.DefaultInfo{Name: u.Username, UID: u.UID, Groups: u.Groups, Extra: u.Extra})))
	})
}
