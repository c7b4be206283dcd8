package pipeline_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/pipeline"
)

var key = []byte("0123456789abcdef")

func redactor(tb testing.TB) *pipeline.Redactor {
	tb.Helper()
	r, err := pipeline.NewRedactor(key)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// line is an event about resource with a body; the columns of path say more.
func line(resource, body string) string {
	group, sub, _ := strings.Cut(resource, "/")
	return `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","objectRef":{"resource":"` + group + `","name":"n","subresource":"` + sub + `"},` + body + `,"verb":"x"}`
}

// short makes marks readable: <string 12>.
var short = regexp.MustCompile(`"redacted:([a-z]+):([0-9]+):hmac-[0-9a-f]{16}"`)

func TestRedact(t *testing.T) {
	for _, tc := range []struct{ name, resource, body, want string }{
		{
			"create", "secrets", `{"kind":"Secret","metadata":{"name":"db"},"data":{"a":"aHVudGVyMg==","b":""},"stringData":{"c":"x\u0041"},"type":"Opaque","immutable":true}`,
			`{"kind":"Secret","metadata":{"name":"db"},"data":{"a":<string 12>,"b":""},"stringData":{"c":<string 2>},"type":"Opaque","immutable":true}`,
		},
		{"space stays", "secrets", `{ "data" : { "a" : "s1" , "b":	"s2"} , "type" : "Opaque" }`, `{ "data" : { "a" : <string 2> , "b":	<string 2>} , "type" : "Opaque" }`},
		{
			"list", "secrets", `{"kind":"SecretList","apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":[{"metadata":{"name":"a"},"data":{"a":"s1"}},{"stringData":{"b":"s2"}}]}`,
			`{"kind":"SecretList","apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":[{"metadata":{"name":"a"},"data":{"a":<string 2>}},{"stringData":{"b":<string 2>}}]}`,
		},
		{
			"table", "secrets", `{"kind":"Table","columnDefinitions":[{"name":"Name"}],"rows":[{"cells":["db","Opaque",1],"object":{"kind":"Secret","data":{"a":"s1"}}},{"cells":[],"object":{"kind":"PartialObjectMetadata","metadata":{"name":"b"}}}]}`,
			`{"kind":"Table","columnDefinitions":[{"name":"Name"}],"rows":[{"cells":["db","Opaque",1],"object":{"kind":"Secret","data":{"a":<string 2>}}},{"cells":[],"object":{"kind":"PartialObjectMetadata","metadata":{"name":"b"}}}]}`,
		},
		{"merge patch", "secrets", `{"data":{"a":"s1","b":null},"metadata":{"labels":{"x":"y"}}}`, `{"data":{"a":<string 2>,"b":null},"metadata":{"labels":{"x":"y"}}}`},
		{"data null", "secrets", `{"data":null}`, `{"data":null}`},
		{
			"data of other types", "secrets", `{"data":{"a":1,"b":true,"c":["s"],"d":{"e":"s"}},"stringData":"s1"}`,
			`{"data":{"a":<number 1>,"b":<boolean 4>,"c":<array 5>,"d":<object 9>},"stringData":<string 2>}`,
		},
		{"data twice", "secrets", `{"data":{"a":"s1"},"data":{"a":"s2"}}`, `{"data":{"a":<string 2>},"data":{"a":<string 2>}}`},
		{"escaped names", "secrets", `{"d\u0061ta":{"a":"s1"},"DATA":{"a":"s2"}}`, `{"d\u0061ta":{"a":<string 2>},"DATA":{"a":<string 2>}}`},
		{"misspelt", "secrets", `{"kind":"Secret","dta":{"a":"s1"},"type":{"a":"s2"}}`, `{"kind":"Secret","dta":<object 10>,"type":<object 10>}`},
		{
			"last applied", "secrets", `{"kind":"Secret","metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{}}","x":"y"}}}`,
			`{"kind":"Secret","metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":<string 11>,"x":"y"}}}`,
		},
		{
			"bootstrap token", "secrets", `{"kind":"Secret","type":"bootstrap.kubernetes.io/token","data":{"token-id":"s1","token-secret":"s2"}}`,
			`{"kind":"Secret","type":"bootstrap.kubernetes.io/token","data":{"token-id":<string 2>,"token-secret":<string 2>}}`,
		},
		{
			"JSON patch", "secrets", `[{"op":"replace","path":"/data/a","value":"s1"},{"op":"add","path":"/stringData","value":{"b":"s2"}},{"op":"remove","path":"/data/c"},{"op":"add","path":"/metadata/labels/x","value":"y"},{"op":"replace","path":"/type","value":"Opaque"}]`,
			`[{"op":"replace","path":"/data/a","value":<string 2>},{"op":"add","path":"/stringData","value":{"b":<string 2>}},{"op":"remove","path":"/data/c"},{"op":"add","path":"/metadata/labels/x","value":"y"},{"op":"replace","path":"/type","value":"Opaque"}]`,
		},
		{
			"JSON patch of the whole", "secrets", `[{"op":"replace","path":"","value":{"data":{"a":"s1"},"x":"s2"}},{"op":"test","path":"/data","value":{"a":{"b":"s3"}}}]`,
			`[{"op":"replace","path":"","value":{"data":{"a":<string 2>},"x":<string 2>}},{"op":"test","path":"/data","value":{"a":<object 10>}}]`,
		},
		{
			"JSON patch of annotations", "secrets", `[{"op":"add","path":"/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration","value":"s1"},{"path":"/metadata/annotations","value":{"kubectl.kubernetes.io/last-applied-configuration":"s2"}}]`,
			`[{"op":"add","path":"/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration","value":<string 2>},{"path":"/metadata/annotations","value":{"kubectl.kubernetes.io/last-applied-configuration":<string 2>}}]`,
		},
		{
			"odd JSON patch", "secrets", `["s1",{"path":"data","value":"s2"},{"path":"/type","path":"/data/a","value":"s3"},{"path":7,"value":"s4"},{"value":"s5"},{"path":"/d~0ta","value":"s6"},{"path":"/DATA/a","value":"s7","more":"s8"},{"path":"/","value":{"data":"s9"}}]`,
			`[<string 2>,{"path":"data","value":<string 2>},{"path":"/type","path":"/data/a","value":<string 2>},{"path":<number 1>,"value":<string 2>},{"value":<string 2>},{"path":"/d~0ta","value":<string 2>},{"path":"/DATA/a","value":<string 2>,"more":<string 2>},{"path":"/","value":<object 13>}]`,
		},
		{"odd bodies", "secrets", `"s1"`, `<string 2>`},
		{"odd metadata", "secrets", `{"metadata":"s1","items":"s2","rows":"s3","data":5}`, `{"metadata":<string 2>,"items":<string 2>,"rows":<string 2>,"data":<number 1>}`},
		{"odd items", "secrets", `{"kind":"SecretList","items":["s1",["s2"],null]}`, `{"kind":"SecretList","items":[<string 2>,<array 6>,null]}`},
		{"odd rows", "secrets", `{"kind":"Table","rows":["s1"]}`, `{"kind":"Table","rows":[<string 2>]}`},
		{"null body", "secrets", `null`, `null`},
		{
			"options and status", "secrets", `{"kind":"DeleteOptions","propagationPolicy":"Background"},"responseObject":{"kind":"Status","status":"Failure","code":404}`,
			`{"kind":"DeleteOptions","propagationPolicy":"Background"},"responseObject":{"kind":"Status","status":"Failure","code":404}`,
		},
		{
			"a Secret whatever the path", "pods", `{"kind":"List","items":[{"kind":"Secret","data":{"a":"s1"}},{"kind":"ConfigMap","data":{"a":"b"}}]}`,
			`{"kind":"List","items":[{"kind":"Secret","data":{"a":<string 2>}},{"kind":"ConfigMap","data":{"a":"b"}}]}`,
		},
		{"a list whatever the path", "", `{"kind":"SecretList","items":[{"data":{"a":"s1"}}]}`, `{"kind":"SecretList","items":[{"data":{"a":<string 2>}}]}`},
		{"a reference is no Secret", "pods", `{"spec":{"from":{"kind":"Secret","name":"x","dta":"y"}},"data":"z"}`, `{"spec":{"from":{"kind":"Secret","name":"x","dta":"y"}},"data":"z"}`},
		{
			"config maps stay", "configmaps", `{"kind":"ConfigMap","data":{"a":"Secret"},"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"x"}}}`,
			`{"kind":"ConfigMap","data":{"a":"Secret"},"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"x"}}}`,
		},
		{
			"a kind in escapes", "widgets", `{"spec":{"template":{"\u006bind":"\u0053ecret","data":{"a":"s1"}},"other":{"kind":"Sec\u0072et","data":{"a":"s2"}}}}`,
			`{"spec":{"template":{"\u006bind":"\u0053ecret","data":{"a":<string 2>}},"other":{"kind":"Sec\u0072et","data":{"a":<string 2>}}}}`,
		},
		{
			"what an admission webhook put into a Secret", "secrets", `{"kind":"Secret"},"annotations":{"authorization.k8s.io/decision":"allow","patch.webhook.admission.k8s.io/round_0_index_1":"{\"patch\":[{\"value\":\"s1\"}]}","patch.webhook.admission.k8s.io/round_0_index_2":{"a":"s2"}}`,
			`{"kind":"Secret"},"annotations":{"authorization.k8s.io/decision":"allow","patch.webhook.admission.k8s.io/round_0_index_1":<string 26>,"patch.webhook.admission.k8s.io/round_0_index_2":<object 10>}`,
		},
		{
			"patches of others stay", "pods", `{"kind":"Pod","secret":"Secret"},"annotations":{"patch.webhook.admission.k8s.io/round_0_index_1":"x","more":"Secret"}`,
			`{"kind":"Pod","secret":"Secret"},"annotations":{"patch.webhook.admission.k8s.io/round_0_index_1":"x","more":"Secret"}`,
		},
		{
			"token request", "serviceaccounts/token", `{"kind":"TokenRequest","status":{"token":""}},"responseObject":{"kind":"TokenRequest","spec":{"audiences":["a"]},"status":{"token":"s1","expirationTimestamp":"t"}}`,
			`{"kind":"TokenRequest","status":{"token":""}},"responseObject":{"kind":"TokenRequest","spec":{"audiences":["a"]},"status":{"token":<string 2>,"expirationTimestamp":"t"}}`,
		},
		{
			"token review", "tokenreviews", `{"kind":"TokenReview","spec":{"token":"s1","audiences":null},"status":{"user":{"username":"u"}}}`,
			`{"kind":"TokenReview","spec":{"token":<string 2>,"audiences":null},"status":{"user":{"username":"u"}}}`,
		},
		{"token review whatever the path", "", `{"request":{"kind":"TokenReview","Spec":{"Token":"s1"}}}`, `{"request":{"kind":"TokenReview","Spec":{"Token":<string 2>}}}`},
		{"a Secret behind the word", "", `{"use":"aSecret","of":{"kind":"Secret","data":{"a":"s1"}}}`, `{"use":"aSecret","of":{"kind":"Secret","data":{"a":<string 2>}}}`},
		{"odd token bodies", "tokenreviews", `["s1"],"responseObject":{"spec":"s2"}`, `<array 6>,"responseObject":{"spec":<string 2>}`},
		{"refused token request", "serviceaccounts/token", `{"spec":{}},"responseObject":{"kind":"Status","status":"Failure"}`, `{"spec":{}},"responseObject":{"kind":"Status","status":"Failure"}`},
		{"a service account is no token", "serviceaccounts", `{"status":{"token":"x"}}`, `{"status":{"token":"x"}}`},
		{
			"both bodies, one twice", "secrets", `{"data":{"a":"s1"}},"responseObject":{"data":{"a":"s2"}},"requestObject":{"data":{"a":"s3"}}`,
			`{"data":{"a":<string 2>}},"responseObject":{"data":{"a":<string 2>}},"requestObject":{"data":{"a":<string 2>}}`,
		},
		{
			"redacted before", "secrets", `{"data":{"a":"redacted:string:12:hmac-0123456789abcdef","b":"redacted:string:12:hmac-0123456789abcdefg"}}`,
			`{"data":{"a":<string 12>,"b":<string 41>}}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := line(tc.resource, `"requestObject":`+tc.body)
			var b audit.Batch
			if err := b.Add([]byte(in)); err != nil {
				t.Fatal(err)
			}
			before := b.Events[0]
			changed, err := redactor(t).Redact(&b.Events[0], &b)
			if err != nil {
				t.Fatal(err)
			}
			out := b.Events[0].Raw
			if changed != (out != in) {
				t.Errorf("changed is %v", changed)
			}
			got := short.ReplaceAllString(out, "<$1 $2>")
			if want := line(tc.resource, `"requestObject":`+tc.want); got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
			checkColumns(t, before, b.Events[0])
			if again, err := redactor(t).Redact(&b.Events[0], &b); again || err != nil {
				t.Errorf("a second time: changed %v, error %v", again, err)
			}
		})
	}
}

// checkColumns decodes the redacted line: all columns are what they were.
func checkColumns(t *testing.T, before, after audit.Event) {
	t.Helper()
	var again audit.Event
	if err := audit.Decode([]byte(after.Raw), &again); err != nil {
		t.Fatalf("the redacted line %q: %v", after.Raw, err)
	}
	if !reflect.DeepEqual(again, after) {
		t.Errorf("decoded again:\n got %+v\nwant %+v", again, after)
	}
	before.Raw, after.Raw = "", ""
	if !reflect.DeepEqual(before, after) {
		t.Errorf("columns:\n got %+v\nwant %+v", after, before)
	}
}

// TestMarks says which marks are equal: those of equal values of one type under one key.
func TestMarks(t *testing.T) {
	one := func(key, value string) string {
		r, err := pipeline.NewRedactor([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		var b audit.Batch
		if err := b.Add([]byte(line("secrets", `"requestObject":{"data":{"a":`+value+`}}`))); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Redact(&b.Events[0], &b); err != nil {
			t.Fatal(err)
		}
		return short.FindString(b.Events[0].Raw)
	}
	const k1, k2 = "0123456789abcdef", "fedcba9876543210"
	same := one(k1, `"12"`)
	if same == "" || one(k1, `"12"`) != same || one(k1, `"\u0031\u0032"`) != same {
		t.Error("the same value has different marks")
	}
	for name, other := range map[string]string{"key": one(k2, `"12"`), "value": one(k1, `"13"`), "type": one(k1, `12`)} {
		if other == same || other == "" {
			t.Errorf("another %s has the mark %s", name, other)
		}
	}
	if _, err := pipeline.NewRedactor([]byte("short")); err == nil {
		t.Error("a short key is taken")
	}
}

func TestNotJSON(t *testing.T) {
	var b audit.Batch
	for _, raw := range []string{"", "5", "[]", `{"requestObject":`, `{"a":"`, `{"a"`, `{"a":}`, `{"a":[`, `{"a":["\`, "{}x", `{,}`} {
		e := audit.Event{Resource: "secrets", Raw: raw}
		if changed, err := redactor(t).Redact(&e, &b); changed || err == nil {
			t.Errorf("%q: changed %v, error %v", raw, changed, err)
		}
	}
}

// TestSample redacts the sample: no secret of it is left, and nothing else is gone.
func TestSample(t *testing.T) {
	var b audit.Batch
	values := map[string]bool{"aHVudGVyMg==": true}
	lines := sampleLines(t)
	for _, l := range lines {
		if err := b.Add(l); err != nil {
			t.Fatal(err)
		}
		if k := bytes.Index(l, []byte("eyJ")); k >= 0 { // a token
			values[string(l[k:k+bytes.IndexByte(l[k:], '"')])] = true
		}
	}
	if len(values) < 10 {
		t.Fatalf("the sample has only %d secret values", len(values))
	}
	before := append([]audit.Event(nil), b.Events...)
	changed, err := redactor(t).RedactBatch(&b)
	if err != nil {
		t.Fatal(err)
	}
	differ := 0
	for i, e := range b.Events {
		if e.Raw != before[i].Raw {
			differ++
			checkColumns(t, before[i], e)
		}
		for v := range values {
			if strings.Contains(e.Raw, v) {
				t.Errorf("line %d still has %s", i+1, v)
			}
		}
		if strings.Contains(e.Raw, "hunter2") || strings.Contains(e.Raw, "not-a-signature") {
			t.Errorf("line %d still has a secret", i+1)
		}
	}
	if changed != differ || changed < 30 {
		t.Errorf("%d changed, %d differ", changed, differ)
	}
}

func TestRedactLine(t *testing.T) {
	const event = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse",`
	for _, tc := range []struct{ in, want string }{
		{event + `"requestObject":{"data":{"a":"s1"`, event + `"requestObject<line>`},
		{event + `"responseObject":{},"requestObject":{"a"`, event + `"responseObject<line>`},
		{event + `"verb":"ge`, event + `"verb":"ge`},
		{"\x00\x00" + event + `"verb":"ge`, "\x00\x00" + event + `"verb":"ge`},
		{`s1"},"type":"Opaque"}}`, "<line>"},
		{`{"password":"s1"}`, "<line>"},
		{"\x00\x00s1", "\x00\x00<line>"},
		{"\x00\x00", "\x00\x00"},
		{"", ""},
	} {
		mark := regexp.MustCompile(`redacted:line:[0-9]+:hmac-[0-9a-f]{16}$`)
		if got := mark.ReplaceAllString(string(redactor(t).RedactLine([]byte(tc.in))), "<line>"); got != tc.want {
			t.Errorf("%q:\n got %q\nwant %q", tc.in, got, tc.want)
		}
	}
}

// FuzzRedact puts any JSON into a request for secrets: what a decoder then finds in
// data and stringData is redacted, and everything around the bodies is as it was.
func FuzzRedact(f *testing.F) {
	seeds := 0
	for _, l := range sampleLines(f) {
		var e struct{ RequestObject, ResponseObject json.RawMessage }
		if err := json.Unmarshal(l, &e); err != nil {
			f.Fatal(err)
		}
		if bytes.Contains(e.ResponseObject, []byte(`"Secret`)) {
			f.Add(string(e.ResponseObject), true)
			seeds++
		}
	}
	if seeds < 10 {
		f.Fatalf("%d seeds in the sample", seeds)
	}
	f.Add(`[{"op":"add","path":"/data/a","value":"s"}]`, true)
	f.Add(`{"kind":"List","items":[{"kind":"Secret","data":{"a":"s"}}]}`, false)
	f.Add(`1`, true)
	f.Fuzz(func(t *testing.T, body string, secrets bool) {
		resource := "secrets"
		if !secrets {
			resource = "pods"
		}
		in := line(resource, `"requestObject":`+body)
		var b audit.Batch
		if b.Add([]byte(in)) != nil {
			return
		}
		before := b.Events[0]
		if _, err := redactor(t).Redact(&b.Events[0], &b); err != nil {
			t.Fatal(err)
		}
		e := b.Events[0]
		checkColumns(t, before, e)
		if !json.Valid([]byte(body)) || before.Resource != resource {
			return // body ended early and added fields of its own
		}
		k := strings.Index(in, `"requestObject":`) + len(`"requestObject":`)
		if !strings.HasPrefix(e.Raw, in[:k]) || !strings.HasSuffix(e.Raw, in[k+len(body):]) {
			t.Fatalf("around the body:\n got %s\nfrom %s", e.Raw, in)
		}
		var got struct{ RequestObject any }
		if err := json.Unmarshal([]byte(e.Raw), &got); err != nil {
			return // beyond what encoding/json takes into an any, such as 1e999
		}
		if err := leak(got.RequestObject, secrets); err != nil {
			t.Fatalf("%v\n in %s\nout %s", err, in, e.Raw)
		}
		if again, err := redactor(t).Redact(&b.Events[0], &b); again || err != nil {
			t.Fatalf("a second time: changed %v, error %v", again, err)
		}
	})
}

// leak looks for values in data and stringData of Secrets that are not marks.
func leak(v any, secret bool) error {
	switch v := v.(type) {
	case map[string]any:
		if kind, ok := v["kind"]; secret || ok && kind == "Secret" {
			for _, name := range []string{"data", "stringData"} {
				m, ok := v[name].(map[string]any)
				if !ok && !closed(v[name]) {
					return fmt.Errorf("%s is %v", name, v[name])
				}
				for k, value := range m {
					if !closed(value) {
						return fmt.Errorf("%s.%s is %v", name, k, value)
					}
				}
			}
		}
		if items, ok := v["items"].([]any); ok && (secret || v["kind"] == "SecretList") {
			for _, item := range items {
				if err := leak(item, true); err != nil {
					return err
				}
			}
		}
	case string:
		if secret && !closed(v) {
			return fmt.Errorf("%q stands alone", v)
		}
	}
	return nil
}

func closed(v any) bool {
	s, ok := v.(string)
	return v == nil || ok && (s == "" || short.MatchString(`"`+s+`"`))
}

func sampleLines(tb testing.TB) [][]byte {
	tb.Helper()
	f, err := os.Open(filepath.Join("..", "..", "testdata", "audit-sample.log.gz"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	return bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
}

// BenchmarkRedact is over the sample, of which one line in fifty has a secret.
func BenchmarkRedact(b *testing.B) {
	lines := sampleLines(b)
	r := redactor(b)
	var batch audit.Batch
	size := 0
	for _, l := range lines {
		if err := batch.Add(l); err != nil {
			b.Fatal(err)
		}
		size += len(l)
	}
	events := append([]audit.Event(nil), batch.Events...)
	var scratch audit.Batch
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		scratch.Reset()
		copy(batch.Events, events)
		for i := range batch.Events {
			if _, err := r.Redact(&batch.Events[i], &scratch); err != nil {
				b.Fatal(err)
			}
		}
	}
}
