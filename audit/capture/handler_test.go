package capture_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/capture"
	"github.com/ktrail/ktrail/audit/pipeline"
	"github.com/ktrail/ktrail/audit/policy"
)

func TestLineOfARequest(t *testing.T) {
	h, sink := around(t, answers(201, `{"kind":"Pod","metadata":{"name":"web-x1","uid":"42"}}`), nil)
	r := httptest.NewRequest("POST", "/api/v1/namespaces/prod/pods?dryRun=All", strings.NewReader(`{"kind":"Pod","metadata":{"name":"web","labels":{"a":"<b>"}}}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Audit-ID", "id-of-the-client")
	r.Header.Set("User-Agent", "kubectl/v1.37")
	r.RemoteAddr = "10.0.0.7:4711"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != 201 || w.Header().Get("Audit-ID") != "id-of-the-client" {
		t.Errorf("answered %d with Audit-ID %q", w.Code, w.Header().Get("Audit-ID"))
	}
	if got := sink.stages(); got != "RequestReceived,ResponseComplete" {
		t.Fatalf("stages %s", got)
	}
	first, last := sink.taken()[0], sink.taken()[1]
	if first.Time != first.Received || first.Received != last.Received || last.Time < last.Received {
		t.Errorf("times: received %v at %v, complete %v at %v", first.Received, first.Time, last.Received, last.Time)
	}
	want := func(stage, name, bodies string, ev audit.Event) string {
		return `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"id-of-the-client","stage":"` + stage +
			`","requestURI":"/api/v1/namespaces/prod/pods?dryRun=All","verb":"create","user":{"username":"alice","groups":["dev","system:authenticated"]},` +
			`"sourceIPs":["10.0.0.7"],"userAgent":"kubectl/v1.37","objectRef":{"resource":"pods","namespace":"prod",` + name + `"apiVersion":"v1"},` + bodies +
			`"requestReceivedTimestamp":"` + ev.Received.String() + `","stageTimestamp":"` + ev.Time.String() + `"}`
	}
	if got, want := first.Raw, want("RequestReceived", "", "", first); got != want {
		t.Errorf("received:\n%s\nwant\n%s", got, want)
	}
	bodies := `"responseStatus":{"metadata":{},"code":201},` +
		`"requestObject":{"kind":"Pod","metadata":{"name":"web","labels":{"a":"\u003cb\u003e"}}},` +
		`"responseObject":{"kind":"Pod","metadata":{"name":"web-x1","uid":"42"}},`
	if got, want := last.Raw, want("ResponseComplete", `"name":"web",`, bodies, last); got != want {
		t.Errorf("complete:\n%s\nwant\n%s", got, want)
	}
	if last.Rule != 1 || !last.Final {
		t.Errorf("rule %d, final %v", last.Rule, last.Final)
	}
}

// The columns of an event are what decoding its line gives.
func TestColumnsAreTheLines(t *testing.T) {
	h, sink := around(t, answers(404, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"no","reason":"NotFound","details":{"name":"x","kind":"pods"},"code":404}`), nil)
	ask(h, "GET", "/api/v1/namespaces/a/pods/x", "", "")
	for _, ev := range sink.taken() {
		var back audit.Event
		if err := audit.Decode([]byte(ev.Raw), &back); err != nil {
			t.Fatal(err)
		}
		back.Rule = ev.Rule
		a, _ := json.Marshal(ev)
		b, _ := json.Marshal(back)
		if !bytes.Equal(a, b) {
			t.Errorf("event\n%s\nits line\n%s", a, b)
		}
	}
}

func TestLevels(t *testing.T) {
	for _, c := range []struct {
		level       string
		object, ans bool
	}{{"Metadata", false, false}, {"Request", true, false}, {"RequestResponse", true, true}} {
		h, sink := around(t, answers(200, `{"kind":"Pod"}`), func(o *capture.Options) { o.Policy = level(t, c.level) })
		ask(h, "PUT", "/api/v1/namespaces/a/pods/x", "application/json", `{"metadata":{"uid":"u1","resourceVersion":"7"}}`)
		line := sink.last(t).Raw
		if got := strings.Contains(line, `"requestObject"`); got != c.object {
			t.Errorf("%s: requestObject %v in %s", c.level, got, line)
		}
		if got := strings.Contains(line, `"responseObject"`); got != c.ans {
			t.Errorf("%s: responseObject %v in %s", c.level, got, line)
		}
		if !strings.Contains(line, `"name":"x","uid":"u1","apiVersion":"v1","resourceVersion":"7"`) {
			t.Errorf("%s: reference to the object is not complete in %s", c.level, line)
		}
	}
	h, sink := around(t, answers(200, `{}`), func(o *capture.Options) { o.Policy = level(t, "None") })
	if w := ask(h, "GET", "/api/v1/pods", "", ""); w.Code != 200 || w.Header().Get("Audit-ID") == "" || len(sink.taken()) != 0 {
		t.Errorf("level None: code %d, Audit-ID %q, %d events", w.Code, w.Header().Get("Audit-ID"), len(sink.taken()))
	}
}

func TestOmitStages(t *testing.T) {
	for omit, want := range map[string]string{
		"[RequestReceived]":                                  "ResponseStarted,ResponseComplete",
		"[ResponseStarted]":                                  "RequestReceived,ResponseComplete",
		"[RequestReceived,ResponseComplete]":                 "ResponseStarted",
		"[RequestReceived,ResponseStarted,ResponseComplete]": "",
		"[Panic]": "RequestReceived,ResponseStarted,ResponseComplete",
	} {
		h, sink := around(t, answers(200, `{}`), func(o *capture.Options) { o.Policy = rules(t, "- level: Metadata\n  omitStages: "+omit+"\n") })
		ask(h, "GET", "/api/v1/pods?watch=1", "", "")
		if got := sink.stages(); got != want {
			t.Errorf("omitStages %s: %s, want %s", omit, got, want)
		}
	}
}

func TestRefusedBeforeAuthentication(t *testing.T) {
	nobody := capture.IdentifierFunc(func(*http.Request) (capture.Identity, error) {
		return capture.Identity{User: audit.UserInfo{Username: "half"}}, errors.New("bad token")
	})
	reached := false
	h, sink := around(t, func(http.ResponseWriter, *http.Request) { reached = true }, func(o *capture.Options) {
		o.Identifier, o.CheckTimeout = nobody, true
		o.Policy = rules(t, "- level: None\n  users: [half]\n- level: RequestResponse\n")
	})
	w := ask(h, "GET", "/api/v1/secrets", "", "")
	const status = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`
	if w.Code != 401 || strings.TrimSpace(w.Body.String()) != status || w.Header().Get("Content-Type") != "application/json" || reached {
		t.Errorf("answered %d %s, handler reached: %v", w.Code, w.Body, reached)
	}
	ev := sink.last(t)
	if sink.stages() != "ResponseStarted" || ev.User != "" || ev.Code != 401 || !ev.Final ||
		!strings.Contains(ev.Raw, `"user":{}`) || !strings.Contains(ev.Raw, `"responseStatus":{"metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401},"responseObject":`+status) {
		t.Errorf("stages %s: %s", sink.stages(), ev.Raw)
	}
	w = ask(h, "GET", "/api/v1/secrets?timeout=soon", "", "")
	if ev = sink.last(t); w.Code != 400 || ev.Stage != audit.StageResponseStarted || ev.Code != 400 || ev.Reason != "BadRequest" ||
		ev.Message != `invalid timeout specified in the request URL - time: invalid duration "soon"` {
		t.Errorf("bad timeout: %d, %s", w.Code, ev.Raw)
	}
	if w = ask(h, "GET", "/api/v1/secrets?timeout=5s&watch=1", "", ""); w.Code != 401 {
		t.Errorf("good timeout: %d", w.Code)
	}
	if w = ask(h, "GET", "/api/v1/watch", "", ""); w.Code != 500 || !strings.Contains(w.Body.String(), "failed to create RequestInfo") {
		t.Errorf("a watch of nothing: %d %s", w.Code, w.Body)
	}
}

func TestImpersonated(t *testing.T) {
	h, sink := around(t, func(w http.ResponseWriter, r *http.Request) {
		capture.Impersonated(r.Context(), audit.UserInfo{Username: "bob", Groups: []string{"ops"}}, "impersonate:user-info")
		if id := capture.IdentityOf(r.Context()); id.User.Username != "alice" || id.ImpersonatedUser.Username != "bob" {
			t.Errorf("identity %+v", id)
		}
		w.WriteHeader(204)
	}, nil)
	ask(h, "DELETE", "/api/v1/namespaces/a/pods/x", "", "")
	events := sink.taken()
	if events[0].AsUser != "" || events[1].AsUser != "bob" || events[1].AsGroups[0] != "ops" ||
		!strings.Contains(events[1].Raw, `"authenticationMetadata":{"impersonationConstraint":"impersonate:user-info"}`) {
		t.Errorf("received %s\ncomplete %s", events[0].Raw, events[1].Raw)
	}
}

func TestAnnotate(t *testing.T) {
	var ctx context.Context
	h, sink := around(t, func(w http.ResponseWriter, r *http.Request) {
		ctx = r.Context()
		capture.Annotate(ctx, "authorization.k8s.io/decision", "allow")
		capture.Annotate(ctx, "authorization.k8s.io/decision", "forbid") // too late: it was decided
		capture.Annotate(ctx, "b", "<&>")
		if capture.AuditID(ctx) != w.Header().Get("Audit-ID") || capture.InfoOf(ctx).Resource != "pods" {
			t.Errorf("audit ID %q, about %+v", capture.AuditID(ctx), capture.InfoOf(ctx))
		}
	}, nil)
	ask(h, "GET", "/api/v1/pods", "", "")
	capture.Annotate(ctx, "after", "the end")
	capture.Annotate(context.Background(), "no", "request")
	if ev := sink.last(t); ev.Decision != "allow" || !strings.HasSuffix(ev.Raw, `"annotations":{"authorization.k8s.io/decision":"allow","b":"\u003c\u0026\u003e"}}`) {
		t.Errorf("event %s", ev.Raw)
	}
}

func TestNothingWritten(t *testing.T) {
	h, sink := around(t, func(http.ResponseWriter, *http.Request) {}, nil)
	ask(h, "GET", "/api/v1/pods?watch=true", "", "")
	if sink.stages() != "RequestReceived,ResponseStarted,ResponseComplete" {
		t.Errorf("stages %s", sink.stages())
	}
	if line := sink.last(t).Raw; !strings.Contains(line, `"responseStatus":{"metadata":{},"status":"Success","message":"Connection closed early","code":200}`) {
		t.Errorf("event %s", line)
	}
}

func TestPanic(t *testing.T) {
	for _, v := range []any{"ouch", http.ErrAbortHandler} {
		h, sink := around(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(201)
			panic(v)
		}, nil)
		func() {
			defer func() {
				if p := recover(); p != v {
					t.Errorf("panic went on as %v, want %v", p, v)
				}
			}()
			ask(h, "POST", "/api/v1/namespaces/a/pods", "application/json", `{"metadata":{"name":"x"}}`)
		}()
		ev := sink.last(t)
		if sink.stages() != "RequestReceived,Panic" || ev.Code != 500 || ev.Reason != "InternalError" || !strings.HasPrefix(ev.Message, "APIServer panic'd: ") || ev.Name != "x" {
			t.Errorf("stages %s: %s", sink.stages(), ev.Raw)
		}
	}
}

// A sink that fails costs no request unless it is asked to, and the ledger has what it lost.
func TestLossIsInTheLedger(t *testing.T) {
	ledger := pipeline.NewLedger(pipeline.LedgerOptions{})
	h, sink := around(t, answers(200, `{}`), func(o *capture.Options) { o.Ledger = ledger })
	sink.refuse = map[string]bool{"RequestReceived": true, "ResponseComplete": true}
	if w := ask(h, "GET", "/api/v1/pods", "", ""); w.Code != 200 || w.Body.String() != "{}" {
		t.Errorf("answered %d %q", w.Code, w.Body)
	}
	if c := ledger.Counts(); len(c) != 1 || c[0].Events != 2 || c[0].Rule != 1 {
		t.Errorf("ledger %+v", c)
	}
}

// The event is made although the client is gone, and its context with it.
func TestClientGone(t *testing.T) {
	h, sink := around(t, answers(200, `{}`), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/v1/pods", nil).WithContext(ctx))
	if sink.stages() != "RequestReceived,ResponseComplete" {
		t.Errorf("stages %s", sink.stages())
	}
}

func TestPolicyOfTheMoment(t *testing.T) {
	now := level(t, "None")()
	h, sink := around(t, answers(200, `{}`), func(o *capture.Options) { o.Policy = func() *policy.Evaluator { return now } })
	ask(h, "GET", "/api/v1/pods", "", "")
	now = level(t, "Metadata")()
	ask(h, "GET", "/api/v1/pods", "", "")
	if n := len(sink.taken()); n != 2 {
		t.Errorf("%d events, want the two of the second request", n)
	}
}

func TestOptionsSayWhatIsMissing(t *testing.T) {
	for want, o := range map[string]capture.Options{
		"Options.Policy is nil": {Sink: &memory{}},
		"Options.Sink is nil":   {Policy: level(t, "None")},
		"Options.MaxBody is -1": {Policy: level(t, "None"), Sink: &memory{}, MaxBody: -1},
	} {
		if _, err := capture.Handler(http.NotFoundHandler(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}
