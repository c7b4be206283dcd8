package capture_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/capture"
)

const pods = "/api/v1/namespaces/a/pods"

// has fails unless every part stands in the line.
func has(t *testing.T, ev audit.Event, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(ev.Raw, p) {
			t.Errorf("no %s in\n%s", p, ev.Raw)
		}
	}
}

func hasNot(t *testing.T, ev audit.Event, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if strings.Contains(ev.Raw, p) {
			t.Errorf("%s in\n%s", p, ev.Raw)
		}
	}
}

func TestRequestBodies(t *testing.T) {
	cborBody, err := cbor.Marshal(cbor.Tag{Number: 55799, Content: map[string]any{
		"kind": cbor.ByteString("Pod"), "metadata": map[string]any{"name": cbor.ByteString("c"), "n": 7},
		"data": cbor.Tag{Number: 22, Content: []byte("\x00\xff")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, method, target, contentType, body string
		want                                    []string
	}{
		{"json without a type", "POST", pods, "", `{ "metadata": {"name":"x"} }`, []string{`"name":"x"`, `"requestObject":{"metadata":{"name":"x"}}`}},
		{"yaml", "POST", pods, "application/yaml", "metadata:\n  name: why\n  namespace: other\n", []string{`"namespace":"a","name":"why"`, `"requestObject":{"metadata":{"name":"why","namespace":"other"}}`}},
		{"cbor", "POST", pods, "application/cbor", string(cborBody), []string{`"name":"c"`, `"requestObject":{"data":"AP8=","kind":"Pod","metadata":{"n":7,"name":"c"}}`}},
		{"apply patch", "PATCH", pods + "/p", "application/apply-patch+yaml", "metadata: {name: z, uid: u}", []string{`"name":"p","apiVersion"`, `"requestObject":{"metadata":{"name":"z","uid":"u"}}`}},
		{"apply of kubectl", "PATCH", pods + "/p", "application/apply-patch+yaml", `{"b":1.0,"a":"\ud83d\ude00"}`, []string{`"requestObject":{"b":1.0,"a":"\ud83d\ude00"}`}},
		{"json patch", "PATCH", pods + "/p", "application/json-patch+json; charset=utf-8", `[{"op":"add"}]`, []string{`"requestObject":[{"op":"add"}]`}},
		{"delete options", "DELETE", pods + "/p", "application/json", `{"gracePeriodSeconds":0,"metadata":{"name":"no"}}`, []string{`"name":"p"`, `"requestObject":{"gracePeriodSeconds":0`}},
		{"cluster-scoped", "POST", "/api/v1/namespaces", "application/json", `{"metadata":{"name":"new","names\u0070ace":"n"}}`, []string{`"resource":"namespaces","namespace":"n","name":"new"`}},
		{"no object", "POST", pods, "application/json", `{"metadata"`, []string{`"capture.ktrail.io/request-body":"left out: 11 bytes are no JSON object"`}},
		{"not JSON after all", "POST", pods, "application/json", `{"metadata":{"name":"x"},"a":tru}`, []string{`"name":"x"`, `"capture.ktrail.io/request-body":"left out: 33 bytes are not JSON, or nested too deep"`}},
		{"bad yaml", "POST", pods, "application/yaml", "a: [", []string{`"capture.ktrail.io/request-body":"left out: 4 bytes cannot be read: `}},
		{"text", "POST", pods, "text/<plain>", "hello", []string{`left out: 5 bytes of \"text/\u003cplain\u003e\""`}},
		{
			"protobuf", "POST", pods, "application/vnd.kubernetes.protobuf", protobuf("v1", "Pod", message(1, message(1, "pb")+message(5, "uid")+message(6, "77"))),
			[]string{`"name":"pb","uid":"uid","apiVersion":"v1","resourceVersion":"77"`, `left out: 32 bytes of application/vnd.kubernetes.protobuf`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, sink := around(t, answers(200, `{}`), nil)
			ask(h, c.method, c.target, c.contentType, c.body)
			has(t, sink.last(t), c.want...)
		})
	}
}

// message is field id of a protobuf message, holding s.
func message(id int, s string) string {
	b := binary.AppendUvarint(nil, uint64(id)<<3|2)
	return string(binary.AppendUvarint(b, uint64(len(s)))) + s
}

func protobuf(apiVersion, kind, raw string) string {
	return "k8s\x00" + message(1, message(1, apiVersion)+message(2, kind)) + message(2, raw)
}

func TestStatusOfAnswers(t *testing.T) {
	const notFound = `"responseStatus":{"metadata":{},"status":"Failure","message":"pods \"x\" not found","reason":"NotFound","details":{"name":"x","kind":"pods","causes":[{"reason":"r","field":"f"}],"retryAfterSeconds":3},"code":404}`
	pb := protobuf("v1", "Status", message(2, "Failure")+message(3, `pods "x" not found`)+message(4, "NotFound")+
		message(5, message(1, "x")+message(3, "pods")+message(4, message(1, "r")+message(3, "f"))+"\x28\x03")+"\x30\x94\x03")
	json := `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"x\" not found","reason":"NotFound","details":{"name":"x","kind":"pods","causes":[{"reason":"r","field":"f"}],"retryAfterSeconds":3,"unknown":1},"code":404}`
	done := `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"name":"x","uid":"u"}}`
	var gz bytes.Buffer
	zw := gzip.NewWriter(&gz)
	_, _ = io.WriteString(zw, json)
	_ = zw.Close()
	for _, level2 := range []string{"Metadata", "RequestResponse"} {
		at := func(o *capture.Options) { o.Policy = level(t, level2) }
		for name, c := range map[string]struct {
			h    http.HandlerFunc
			want string
		}{
			"json":     {answers(404, json), notFound},
			"protobuf": {answersAs(404, "application/vnd.kubernetes.protobuf", pb), notFound},
			"gzip": {func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				answers(404, gz.String())(w, r)
			}, notFound},
			"in pieces": {func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				for i := range done {
					_, _ = io.WriteString(w, done[i:i+1])
				}
			}, `"responseStatus":{"metadata":{},"status":"Success","details":{"name":"x","uid":"u"},"code":200}`},
			"no Status": {answers(500, `{"kind":"Pod","status":"Failure","message":"m"}`), `"responseStatus":{"metadata":{},"code":500}`},
			"text":      {answersAs(500, "text/plain", json), `"responseStatus":{"metadata":{},"code":500}`},
		} {
			h, sink := around(t, c.h, at)
			w := ask(h, "DELETE", pods+"/x", "", "")
			t.Run(level2+" "+name, func(t *testing.T) {
				has(t, sink.last(t), c.want)
				if got := strings.Contains(sink.last(t).Raw, `"responseObject":`); got != (level2 == "RequestResponse" && name != "text") {
					t.Errorf("responseObject: %v", got)
				}
				if name == "gzip" && w.Body.String() != gz.String() {
					t.Error("the client did not get the bytes of the handler")
				}
			})
		}
	}
}

func TestCompressedAnswers(t *testing.T) {
	const body = `{"kind":"PodList","items":[]}`
	var gz, zl, raw, bomb bytes.Buffer
	for _, w := range []io.WriteCloser{gzip.NewWriter(&gz), zlib.NewWriter(&zl), must(flate.NewWriter(&raw, 9))} {
		_, _ = io.WriteString(w, body)
		_ = w.Close()
	}
	zw := gzip.NewWriter(&bomb)
	_, _ = zw.Write(make([]byte, capture.DefaultMaxBody+1))
	_ = zw.Close()
	for _, c := range []struct{ encoding, sent, want string }{
		{"gzip", gz.String(), `"responseObject":` + body},
		{"deflate", zl.String(), `"responseObject":` + body},
		{"deflate", raw.String(), `"responseObject":` + body},
		{"gzip", gz.String()[:20], `left out: 20 bytes cannot be decompressed`},
		{"gzip", bomb.String(), `too large when decompressed`},
		{"zstd", "xx", `left out: 2 bytes cannot be decompressed: \"encoded in \\\"zstd\\\"\"`},
	} {
		h, sink := around(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", c.encoding)
			_, _ = io.WriteString(w, c.sent)
		}, nil)
		if w := ask(h, "GET", pods, "", ""); w.Body.String() != c.sent {
			t.Errorf("%s: the answer was changed", c.encoding)
		}
		has(t, sink.last(t), c.want)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestLimit(t *testing.T) {
	small := func(o *capture.Options) { o.MaxBody = 41 }
	const fits, over = `{"metadata":{"name":"abcdefghijklmnopq"}}`, `{"metadata":{"name":"abcdefghijklmnopqr"}}`
	h, sink := around(t, answers(200, fits), small)
	ask(h, "POST", pods, "application/json", fits)
	has(t, sink.last(t), `"requestObject":`+fits, `"responseObject":`+fits)
	h, sink = around(t, answers(200, over), small)
	ask(h, "POST", pods, "application/json", over)
	has(t, sink.last(t), `request-body":"left out: 42 bytes are over the limit of 41"`, `response-body":"left out: 42 bytes are over the limit of 41"`)
	hasNot(t, sink.last(t), `"requestObject"`, `"responseObject"`, `"name"`)
}

func TestManagedFields(t *testing.T) {
	omit := func(o *capture.Options) {
		o.Policy = rules(t, "- level: RequestResponse\n  omitManagedFields: true\n")
	}
	for in, want := range map[string]string{
		`{"metadata":{"name":"x","managedFields":[{"a":"}"}]},"spec":{"managedFields":1}}`:              `{"metadata":{"name":"x"},"spec":{"managedFields":1}}`,
		`{"metadata":{"managedFields":[],"name":"x"}}`:                                                  `{"metadata":{"name":"x"}}`,
		`{"metadata":{"managedFields":[]}}`:                                                             `{"metadata":{}}`,
		`{"metadata":{"a":1,"managedFields":[],"managedFields":[],"b":2}}`:                              `{"metadata":{"a":1,"b":2}}`,
		`{"metadata":{"managedFields":[],"managedFields":[]}}`:                                          `{"metadata":{}}`,
		`{"metadata":{"a":1 , "managed\u0046ields" : [] } }`:                                            `{"metadata":{"a":1}}`,
		`{"items":[{"metadata":{"managedFields":1,"b":[]}},7,{"metadata":{"a":2,"managedFields":{}}}]}`: `{"items":[{"metadata":{"b":[]}},7,{"metadata":{"a":2}}]}`,
		`{"kind":"Table","rows":[{"object":{"metadata":{"managedFields":1}},"cells":[]}]}`:              `{"kind":"Table","rows":[{"object":{"metadata":{}},"cells":[]}]}`,
		`{"kind":"Other","rows":[{"object":{"metadata":{"managedFields":1}}}]}`:                         `{"kind":"Other","rows":[{"object":{"metadata":{"managedFields":1}}}]}`,
	} {
		h, sink := around(t, answers(200, in), omit)
		w := ask(h, "PUT", pods+"/p", "application/json", in)
		has(t, sink.last(t), `"requestObject":`+want, `"responseObject":`+want)
		if w.Body.String() != in {
			t.Error("the answer was changed")
		}
	}
	h, sink := around(t, answers(200, `{}`), omit)
	patch := `{"metadata":{"managedFields":[]}}`
	ask(h, "PATCH", pods+"/p", "application/merge-patch+json", patch)
	has(t, sink.last(t), `"requestObject":`+patch) // a patch is what was asked, as in the API server
}

// What the handler did not read is not recorded: it refused the request before.
func TestUnreadBody(t *testing.T) {
	h, sink := around(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, nil)
	ask(h, "POST", pods, "application/json", `{"metadata":{"name":"x"}}`)
	hasNot(t, sink.last(t), `"requestObject"`, `"name"`, "capture.ktrail.io")
	h, sink = around(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 10))
		w.WriteHeader(403)
	}, nil)
	ask(h, "POST", pods, "application/json", `{"metadata":{"name":"x"}}`)
	has(t, sink.last(t), `left out: 10 bytes were all that was read (not read to the end)`)
	hasNot(t, sink.last(t), `"requestObject"`)
}

// The handler reads the very bytes, in the pieces in which they come.
func TestBodyIsHandedOnAsItComes(t *testing.T) {
	pr, pw := io.Pipe()
	read := make(chan bool)
	var got []string
	h, sink := around(t, func(_ http.ResponseWriter, r *http.Request) {
		for buf := make([]byte, 100); ; {
			n, err := r.Body.Read(buf)
			got = append(got, string(buf[:n]))
			if err != nil {
				return
			}
			read <- true
		}
	}, nil)
	go func() {
		_, _ = pw.Write([]byte(`{"metada`))
		<-read // only now does the rest come
		_, _ = pw.Write([]byte(`ta":{}}`))
		<-read
		_ = pw.Close()
	}()
	r := httptest.NewRequest("POST", pods, pr)
	h.ServeHTTP(httptest.NewRecorder(), r)
	if len(got) < 2 || got[0] != `{"metada` || got[1] != `ta":{}}` {
		t.Errorf("read %q", got)
	}
	has(t, sink.last(t), `"requestObject":{"metadata":{}}`)
}

// A body that is JSON, but nested deeper than a line can hold, does not cost the event.
func TestDeepBody(t *testing.T) {
	deep := strings.Repeat("[", 10000) + strings.Repeat("]", 10000)
	h, sink := around(t, answers(200, deep), nil)
	ask(h, "PATCH", pods+"/p", "application/json-patch+json", deep)
	has(t, sink.last(t), `request-body":"left out: 20000 bytes are not JSON, or nested too deep"`, `response-body":"left out: 20000 bytes are not JSON, or nested too deep"`)
}

// FuzzBodies holds that whatever a client and a handler send there is an event, whose line can be read,
// and that both have every byte of it.
func FuzzBodies(f *testing.F) {
	for _, s := range []string{
		`{"metadata":{"name":"x","managedFields":[{}]}}`, `{"kind":"Status","apiVersion":"v1","details":{}}`,
		`{"items":[{"metadata":{"managedFields":1,"a":2}}]}`, "a: &a [*a]", "\xd9\xd9\xf7\xa1\x61a\xc1\x00", "{\"metadata\":{]",
		protobuf("v1", "Pod", message(1, message(1, "pb"))), protobuf("v1", "Status", message(5, message(4, "\xff"))+"\x30\x01"), "\x1f\x8b",
	} {
		for _, kind := range []string{"application/json", "application/yaml", "application/cbor", "application/vnd.kubernetes.protobuf"} {
			f.Add("POST", kind, "", 200, s)
			f.Add("PATCH", kind, "gzip", 404, s)
		}
	}
	f.Fuzz(func(t *testing.T, method, contentType, encoding string, code int, body string) {
		if method != "POST" && method != "PUT" && method != "PATCH" && method != "DELETE" || code < 200 || code > 599 {
			return
		}
		read := ""
		h, sink := around(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			read = string(b)
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("Content-Encoding", encoding)
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}, func(o *capture.Options) {
			o.Policy, o.Strict = rules(t, "- level: RequestResponse\n  omitManagedFields: true\n"), true
		})
		w := ask(h, method, pods+"/p", contentType, body)
		if read != body || code != 204 && code != 304 && w.Body.String() != body {
			t.Errorf("the handler read %q, the client %q, of %q", read, w.Body, body)
		}
		if sink.stages() != "RequestReceived,ResponseComplete" {
			t.Fatalf("stages %s", sink.stages())
		}
		for _, ev := range sink.taken() {
			var back audit.Event
			if err := audit.Decode([]byte(ev.Raw), &back); err != nil {
				t.Errorf("%v in %s", err, ev.Raw)
			}
		}
	})
}

func TestNoBodiesOfLongRunningRequestsAndOtherPaths(t *testing.T) {
	for _, target := range []string{pods + "/p/exec", pods + "/p/proxy/x", "/version"} {
		h, sink := around(t, answers(200, `{"a":1}`), nil)
		ask(h, "POST", target, "application/json", `{"metadata":{"name":"secret"}}`)
		hasNot(t, sink.last(t), "Object\"", "secret")
	}
	h, sink := around(t, answers(200, `{"kind":"APIGroupList"}`), nil)
	ask(h, "GET", "/apis", "", "")
	has(t, sink.last(t), `"responseObject":{"kind":"APIGroupList"}`)
}
