package capture_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/capture"
	"github.com/ktrail/ktrail/audit/policy"
)

// What the random requests of compat found to be recorded otherwise than by the API server.

const (
	exec        = pods + "/web/exec"
	successJSON = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"uid":"u"}}`
	successYAML = "apiVersion: v1\ndetails:\n  uid: u\nkind: Status\nmetadata: {}\nstatus: Success\n"
	// {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Forbidden", "code": 403}, the kind last
	failureCBOR = "\xa6\x4aapiVersion\x42v1\x48metadata\xa0\x46status\x47Failure\x46reason\x49Forbidden\x44code\x19\x01\x93\x44kind\x46Status"
)

func TestStatusInEveryWriting(t *testing.T) {
	for name, c := range map[string]struct{ contentType, body string }{
		"pretty": {"application/json", strings.NewReplacer(`{"kind":`, "{\n  \"kind\": ").Replace(successJSON)},
		"YAML":   {"application/yaml", successYAML},
	} {
		h, sink := around(t, answersAs(200, c.contentType, c.body), func(o *capture.Options) { o.Policy = level(t, "Metadata") })
		ask(h, "DELETE", pods+"/web", "", "")
		t.Run(name, func(t *testing.T) { has(t, sink.last(t), `"status":"Success"`, `"details":{"uid":"u"}`) })
	}
}

// pieces answers with the tag of CBOR by itself, as the API server's encoder does.
func pieces(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/cbor")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "\xd9\xd9\xf7")
		_, _ = io.WriteString(w, body)
	}
}

func TestStatusInCBORThatComesInPieces(t *testing.T) {
	for _, strict := range []bool{false, true} {
		for _, name := range []string{"Metadata", "RequestResponse"} {
			h, sink := around(t, pieces(403, failureCBOR), func(o *capture.Options) { o.Policy, o.Strict = level(t, name), strict })
			w := ask(h, "POST", exec, "", "")
			if sink.stages() != "RequestReceived,ResponseStarted,ResponseComplete" || w.Body.String() != "\xd9\xd9\xf7"+failureCBOR {
				t.Fatalf("%s, %q", sink.stages(), w.Body)
			}
			has(t, sink.taken()[1], `"reason":"Forbidden"`)
		}
	}
	// Nothing but the tag, and a kind that stands far behind.
	h, sink := around(t, pieces(403, ""), nil)
	if w := ask(h, "POST", exec, "", ""); w.Body.String() != "\xd9\xd9\xf7" || w.Code != 403 {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	has(t, sink.last(t), `"code":403`)
	h, sink = around(t, pieces(200, failureCBOR), func(o *capture.Options) { o.Policy = level(t, "Metadata") })
	ask(h, "GET", pods+"/web", "", "")
	has(t, sink.last(t), `"reason":"Forbidden"`)
}

func TestHowToGoOnInProtobuf(t *testing.T) {
	expired := protobuf("v1", "Status", message(1, message(2, "18")+message(3, "token")+"\x20\x05")+message(2, "Failure")+message(4, "Expired")+"\x30\x9a\x03")
	h, sink := around(t, answersAs(410, "application/vnd.kubernetes.protobuf", expired), nil)
	ask(h, "GET", pods+"?continue=x", "", "")
	has(t, sink.last(t), `"responseObject":{"kind":"Status","apiVersion":"v1","metadata":{"resourceVersion":"18","continue":"token","remainingItemCount":5}`)
}

// What is not a Status, of the answer to a long-running request, may come from the pod behind it.
func TestFailedAnswerOfAPodIsNotRecorded(t *testing.T) {
	h, sink := around(t, answers(404, `{"password":"x"}`), nil)
	ask(h, "GET", pods+"/web/proxy/a", "", "")
	hasNot(t, sink.last(t), "password")
}

// The half of a YAML document may be another one.
func TestHalfReadYAML(t *testing.T) {
	h, sink := around(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.CopyN(io.Discard, r.Body, 10) }, nil)
	ask(h, "PATCH", pods+"/web", "application/apply-patch+yaml", "name: web1 # and not web\n")
	has(t, sink.last(t), `"capture.ktrail.io/request-body":"left out: 10 bytes were all that was read (not read to the end)"`)
	hasNot(t, sink.last(t), `"requestObject"`)
}

// The header of a failed long-running answer waits for its body, which a panic may keep from it.
func TestPanicAfterTheHeader(t *testing.T) {
	for name, body := range map[string]string{"no body": "", "the tag alone": "\xd9\xd9\xf7"} {
		t.Run(name, func(t *testing.T) {
			h, sink := around(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/cbor")
				w.WriteHeader(403)
				if body != "" {
					_, _ = io.WriteString(w, body)
				}
				panic(http.ErrAbortHandler)
			}, nil)
			defer func() {
				if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // the server compares so
					t.Errorf("the panic is %v", p)
				}
				if got := sink.stages(); got != "RequestReceived,ResponseStarted,Panic" {
					t.Fatal(got)
				}
				has(t, sink.taken()[1], `"code":403`)
			}()
			ask(h, "POST", exec, "", "")
		})
	}
}

// What a pod answers with a failure costs little to look at, however large it is and in whatever it is written.
func TestLargeFailureOfAPod(t *testing.T) {
	for name, c := range map[string]struct{ contentType, body string }{
		"YAML":     {"application/yaml", "apiVersion: v1\nkind: Status\nmessage: " + strings.Repeat("m", 100_000) + "\nreason: Large\n"},
		"protobuf": {"application/vnd.kubernetes.protobuf", protobuf("v1", "Pod", message(1, ""))},
	} {
		h, sink := around(t, answersAs(500, c.contentType, c.body), nil)
		w := ask(h, "GET", pods+"/web/proxy/a", "", "")
		t.Run(name, func(t *testing.T) {
			hasNot(t, sink.last(t), "Large", "request-body", "response-body")
			if w.Body.String() != c.body {
				t.Errorf("%d bytes came of %d", w.Body.Len(), len(c.body))
			}
		})
	}
}

// What is left out of a body that is none makes it none the less.
func TestBrokenManagedFields(t *testing.T) {
	h, sink := around(t, answers(400, "{}"), func(o *capture.Options) {
		p := &policy.Policy{OmitManagedFields: true, Rules: []policy.Rule{{Level: policy.Request}}}
		o.Policy = capture.Fixed(policy.Compile(p))
	})
	ask(h, "POST", pods, "application/json", `{"metadata":{"managedFields":[{"a":1}é],"name":"web"}}`)
	has(t, sink.last(t), `"capture.ktrail.io/request-body":"left out: 55 bytes are not JSON, or nested too deep"`)
	hasNot(t, sink.last(t), `"requestObject"`)
	ask(h, "POST", pods, "application/json", `{"metadata":{"managedFields":[{"a":1}],"name":"web"}}`)
	has(t, sink.last(t), `"requestObject":{"metadata":{"name":"web"}}`)
}
