package pipeline_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/pipeline"
)

func truncate(tb testing.TB, next pipeline.Sink, o pipeline.TruncateOptions) *pipeline.Truncate {
	tb.Helper()
	tr, err := pipeline.NewTruncate(next, o)
	if err != nil {
		tb.Fatal(err)
	}
	return tr
}

func decoded(tb testing.TB, line string) audit.Event {
	tb.Helper()
	var e audit.Event
	if err := audit.Decode([]byte(line), &e); err != nil {
		tb.Fatalf("%v: %s", err, line)
	}
	return e
}

const (
	begin = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request",`
	note  = `"audit.k8s.io/truncated":"true"`
)

func TestTruncateLine(t *testing.T) {
	for _, tc := range []struct{ name, line, want string }{
		{"both bodies, no annotations", begin + `"verb":"x","requestObject":{"a":["}",{"b":"\\\""}]},"responseObject":{"c":1},"stageTimestamp":"2026-11-22T19:44:31.014243Z"}`, begin + `"verb":"x","stageTimestamp":"2026-11-22T19:44:31.014243Z","annotations":{` + note + `}}`},
		{"between annotations", begin + `"requestObject":{},"annotations":{"a.io/x":"1","b":"2"}}`, begin + `"annotations":{"a.io/x":"1",` + note + `,"b":"2"}}`},
		{"before annotations", begin + `"requestObject":{},"annotations":{"authorization.k8s.io/decision":"allow"}}`, begin + `"annotations":{` + note + `,"authorization.k8s.io/decision":"allow"}}`},
		{"behind annotations", begin + `"requestObject":{},"annotations":{"apiserver.latency.k8s.io/total":"1s"}}`, begin + `"annotations":{"apiserver.latency.k8s.io/total":"1s",` + note + `}}`},
		{"said before", begin + `"requestObject":{},"annotations":{"a":"1","audit.k8s.io/truncated":"false","b":"2"}}`, begin + `"annotations":{"a":"1",` + note + `,"b":"2"}}`},
		{"empty annotations", begin + `"annotations":{ },"requestObject":1}`, begin + `"annotations":{` + note + `}}`},
		{"null", begin + `"annotations":{"a":"b"},"annotations":null,"requestObject":null}`, begin + `"annotations":{` + note + `}}`},
		{"merged", begin + `"annotations":{"a":"b"},"annotations":{"c":"d"}}`, begin + `"annotations":{"a":"b"},"annotations":{` + note + `,"c":"d"}}`},
		{"bodies twice, names escaped, space", begin + ` "r\u0065questObject" : [1 , 2] , "requestObject" : true,"verb" : "x" } `, begin + `"verb" : "x","annotations":{` + note + `}}`},
		{"only as large", begin + `"verb":"` + strings.Repeat("x", 300-len(begin)-10-1) + `"}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var to take
			limit := int64(300)
			line := tc.line
			if tc.want != "" {
				line = strings.Replace(line, begin, begin+`"requestObject":"`+strings.Repeat("x", 300)+`",`, 1)
			} else {
				tc.want = tc.line
			}
			e := decoded(t, line)
			e.Rule, e.Cluster = 7, "c"
			before := e
			l := pipeline.NewLedger(pipeline.LedgerOptions{})
			in := []audit.Event{e}
			if err := truncate(t, &to, pipeline.TruncateOptions{MaxEvent: limit, MaxBatch: limit, Ledger: l}).Send(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			got := to.all()[0]
			if got.Raw != tc.want {
				t.Errorf("got  %s\nwant %s", got.Raw, tc.want)
			}
			if !reflect.DeepEqual(in[0], before) {
				t.Error("the caller's event was changed")
			}
			if got.Rule != 7 || got.Cluster != "c" {
				t.Errorf("rule %d and cluster %q got lost", got.Rule, got.Cluster)
			}
			if cut := got.Raw != tc.line || tc.line != line; cut != (counts(l) == "truncate/cut/7=1") {
				t.Errorf("counted %q", counts(l))
			}
		})
	}
}

func TestTruncateLoses(t *testing.T) {
	var to take
	l := pipeline.NewLedger(pipeline.LedgerOptions{})
	tr := truncate(t, &to, pipeline.TruncateOptions{MaxEvent: 300, MaxBatch: 300, Ledger: l})
	big := strings.Repeat("x", 300)
	in := []audit.Event{
		decoded(t, begin+`"auditID":"a"}`),
		decoded(t, begin+`"auditID":"uri","requestURI":"/`+big+`"}`),
		decoded(t, begin+`"auditID":"cut","requestObject":"`+big+`"}`),
		decoded(t, strings.Replace(begin, `"Request"`, `"Metadata"`, 1)+`"auditID":"metadata","requestObject":"`+big+`"}`),
		decoded(t, begin+`"auditID":"b"}`),
	}
	err := tr.Send(t.Context(), in)
	l.Enter(err, in)
	if got := ids(to.all()); got != "a cut b" {
		t.Errorf("handed on %s", got)
	}
	if got := counts(l); got != "truncate/cut/0=1 truncate/too_large/0=2" {
		t.Errorf("counted %s", got)
	}
	var lost []audit.Event
	for _, loss := range pipeline.Losses(err) {
		lost = append(lost, loss.Events...)
	}
	if ids(lost) != "uri metadata" {
		t.Errorf("lost %s", ids(lost))
	}
}

func TestTruncateSplits(t *testing.T) {
	var to take
	in := events(t, "a b c d e")
	size := int64(len(in[0].Raw) + 1)
	tr := truncate(t, &to, pipeline.TruncateOptions{MaxEvent: size, MaxBatch: 2 * size, Ledger: pipeline.NewLedger(pipeline.LedgerOptions{})})
	if err := tr.Send(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range to.sends {
		got = append(got, ids(s))
	}
	if fmt.Sprint(got) != "[a b c d e]" || len(got) != 3 {
		t.Errorf("split into %q", got)
	}
	to.fail(errors.New("down"))
	l := pipeline.NewLedger(pipeline.LedgerOptions{})
	l.Enter(tr.Send(t.Context(), in), in)
	if got := counts(l); got != "/error/0=5" {
		t.Errorf("counted %s", got)
	}
}

func TestTruncateDigest(t *testing.T) {
	body := `{"kind":"ConfigMap","data":{"ä":"` + strings.Repeat("ö", 300) + `"}}`
	sum := sha256.Sum256([]byte(body))
	e := decoded(t, begin+`"requestObject":`+body+`,"responseObject":{"a":1},"verb":"x"}`)
	for _, tc := range []struct {
		limit int64
		head  int
		want  string
	}{
		{600, 30, `{"kind":"ConfigMap","data":{"`}, // the 30th byte is half a letter
		{600, 0, ""},
		{150, 30, "none"},
	} {
		var to take
		l := pipeline.NewLedger(pipeline.LedgerOptions{})
		if err := truncate(t, &to, pipeline.TruncateOptions{MaxEvent: tc.limit, MaxBatch: tc.limit, Digest: true, Head: tc.head, Ledger: l}).Send(t.Context(), []audit.Event{e}); err != nil {
			t.Fatal(err)
		}
		got := to.all()[0]
		var line struct {
			Req, Resp map[string]pipeline.Digest
		}
		line2 := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(got.Raw), &line2); err != nil {
			t.Fatal(err)
		}
		if tc.want == "none" {
			if line2["requestObject"] != nil || line2["responseObject"] != nil || !got.Truncated {
				t.Errorf("no room for a digest left %s", got.Raw)
			}
			continue
		}
		if err := json.Unmarshal(line2["requestObject"], &line.Req); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(line2["responseObject"], &line.Resp); err != nil {
			t.Fatal(err)
		}
		want := pipeline.Digest{Bytes: len(body), SHA256: hex.EncodeToString(sum[:]), Head: tc.want}
		if line.Req[pipeline.DigestKey] != want || line.Resp[pipeline.DigestKey].Bytes != 7 || !got.Truncated {
			t.Errorf("head of %d: %s", tc.head, got.Raw)
		}
	}
}

// plainly is the same edit made from the parts of the line as encoding/json has them.
// It is right for lines as the API server writes them.
func plainly(tb testing.TB, line []byte) string {
	tb.Helper()
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(line, &parts); err != nil {
		tb.Fatal(err)
	}
	notes := map[string]string{}
	if parts["annotations"] != nil {
		if err := json.Unmarshal(parts["annotations"], &notes); err != nil {
			tb.Fatal(err)
		}
	}
	notes["audit.k8s.io/truncated"] = "true"
	all, err := json.Marshal(notes)
	if err != nil {
		tb.Fatal(err)
	}
	for _, body := range []string{"requestObject", "responseObject"} {
		if parts[body] != nil {
			line = bytes.Replace(line, []byte(`,"`+body+`":`+string(parts[body])), nil, 1)
		}
	}
	if parts["annotations"] == nil {
		return strings.TrimSuffix(string(line), "}") + `,"annotations":` + string(all) + `}`
	}
	return strings.Replace(string(line), `"annotations":`+string(parts["annotations"]), `"annotations":`+string(all), 1)
}

func TestTruncateSample(t *testing.T) {
	l := pipeline.NewLedger(pipeline.LedgerOptions{})
	cut := 0
	for _, line := range sampleLines(t) {
		e := decoded(t, string(line))
		if e.Level != audit.LevelRequest && e.Level != audit.LevelRequestResponse {
			continue
		}
		want := plainly(t, line)
		limit := int64(len(want)) + 1
		if int64(len(line))+1 <= limit {
			continue // without bodies
		}
		cut++
		var to take
		if err := truncate(t, &to, pipeline.TruncateOptions{MaxEvent: limit, MaxBatch: limit, Ledger: l}).Send(t.Context(), []audit.Event{e}); err != nil {
			t.Fatal(err)
		}
		if got := to.all()[0].Raw; got != want {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		if err := truncate(t, &to, pipeline.TruncateOptions{MaxEvent: limit - 1, MaxBatch: limit, Ledger: l}).Send(t.Context(), []audit.Event{e}); err == nil {
			t.Fatalf("an event of one byte too many was kept: %s", want)
		}
	}
	if cut < 500 {
		t.Errorf("only %d events of the sample have bodies", cut)
	}
}

func FuzzTruncate(f *testing.F) {
	f.Add(begin+`"requestObject":{"a":1},"annotations":{"a":"1","b":null}}`, 3)
	f.Add(begin+`"annotations":null,"annotations":{"audit.k8s.io/truncated":"x"},"responseObject":[[]]} `, 0)
	f.Add(begin+`"annotations":{"\u0061":"1"},"annotations":null,"r\u0065sponseObject":"\"}","verb":"y"}`, 100)
	f.Fuzz(func(t *testing.T, line string, head int) {
		var e audit.Event
		if audit.Decode([]byte(line), &e) != nil || e.Level != audit.LevelRequest {
			return
		}
		for _, digest := range []bool{false, true} {
			var to take
			tr := truncate(t, &to, pipeline.TruncateOptions{MaxEvent: int64(len(line)), MaxBatch: int64(len(line)), Digest: digest, Head: max(0, head), Ledger: pipeline.NewLedger(pipeline.LedgerOptions{})})
			err := tr.Send(t.Context(), []audit.Event{e})
			if err != nil {
				if loss := pipeline.Losses(err); len(loss) != 1 || loss[0].Err != nil {
					t.Fatalf("could not be cut: %v: %s", err, line)
				}
				return // no room even for the annotation
			}
			got := to.all()[0]
			if len(got.Raw) >= len(line) || !got.Truncated {
				t.Fatalf("became %s", got.Raw)
			}
			var parts map[string]json.RawMessage
			if err := json.Unmarshal([]byte(got.Raw), &parts); err != nil {
				t.Fatal(err)
			}
			if !digest && (parts["requestObject"] != nil || parts["responseObject"] != nil) {
				t.Fatalf("a body is left: %s", got.Raw)
			}
			if utf8.ValidString(line) && !utf8.ValidString(got.Raw) {
				t.Fatalf("a letter was cut in two: %q", got.Raw)
			}
			want := e
			want.Raw, got.Raw, want.Truncated = "", "", true
			if !reflect.DeepEqual(want, got) {
				t.Fatalf("columns were\n%+v and are\n%+v", want, got)
			}
		}
	})
}

// The usual case: nothing to truncate, and room in the buffer.
func BenchmarkTruncateAndBatch(b *testing.B) {
	l := pipeline.NewLedger(pipeline.LedgerOptions{})
	ba, err := pipeline.NewBatch(b.Context(), null{}, pipeline.BatchOptions{Events: 10_000, BatchEvents: 400, Overflow: null{}, Ledger: l})
	if err != nil {
		b.Fatal(err)
	}
	tr := truncate(b, ba, pipeline.TruncateOptions{MaxEvent: 102_400, MaxBatch: 10 << 20, Ledger: l})
	var in []audit.Event
	for _, line := range sampleLines(b) {
		in = append(in, decoded(b, string(line)))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = tr.Send(b.Context(), in[i%len(in):][:1])
	}
	if err := tr.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}
