package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/ktrail/ktrail/audit"
)

// head and the fields of a table's case make a line.
const head = `{"kind":"Event","apiVersion":"audit.k8s.io/v1",`

func TestDecode(t *testing.T) {
	deep := func(n int) string {
		return head + `"requestObject":` + strings.Repeat(`{"a":[`, n) + strings.Repeat(`]}`, n) + `,"verb":"get"}`
	}
	for _, tc := range []struct {
		name, line string
		want       audit.Event // Raw is line; Version v1 unless said
		err        string      // part of the error
	}{
		{name: "no columns", line: `{"kind":"Event","apiVersion":"audit.k8s.io/v1"}`},
		{
			name: "escapes", line: head + `"verb":"g\u0065t","requestURI":"/a?x=1\u0026y=\"\\\/\b\f\n\r\t","userAgent":"\u00e4\u20AC"}`,
			want: audit.Event{Verb: "get", URI: "/a?x=1&y=\"\\/\b\f\n\r\t", Agent: "ä€"},
		},
		{
			name: "surrogates", line: head + `"verb":"\ud83d\ude00","stage":"\ud83dx","level":"\ude00\ud83d","userAgent":"\ud83d\u0041","auditID":"\ud83d\ud83d\ude00"}`,
			want: audit.Event{Verb: "😀", Stage: "\uFFFDx", Level: "\uFFFD\uFFFD", Agent: "\uFFFDA", AuditID: "\uFFFD😀"},
		},
		{
			name: "escapes in keys", line: head + `"\u0076erb":"get","\u0075ser":{"usern\u0061me":"a"},"annotations":{"authorization.k8s.io\/decision":"allow"}}`,
			want: audit.Event{Verb: "get", User: "a", Decision: "allow"},
		},
		{
			name: "keys are case-sensitive", line: head + `"Verb":"get","VERB":1,"user":{"userName":"a"}}`,
		},
		{
			name: "the last of a key counts", line: head + `"verb":"get","verb":"list","sourceIPs":["1","2"],"sourceIPs":["3"]}`,
			want: audit.Event{Verb: "list", SourceIPs: []string{"3"}},
		},
		{
			name: "objects are merged", line: head + `"user":{"username":"a","uid":"1"},"user":{"username":"b"},"objectRef":{"name":"x"},"objectRef":{"namespace":"y"}}`,
			want: audit.Event{User: "b", UserUID: "1", Name: "x", Namespace: "y"},
		},
		{
			name: "null leaves texts and structs", line: head + `"verb":"get","verb":null,"user":{"username":"a","uid":null},"user":null,"responseStatus":{"code":200,"code":null}}`,
			want: audit.Event{Verb: "get", User: "a", Code: 200},
		},
		{
			name: "null empties references, lists and maps", line: head + `"objectRef":{"name":"x","uid":"1"},"objectRef":null,"impersonatedUser":{"username":"a","groups":["g"]},"impersonatedUser":null,` +
				`"responseStatus":{"code":200,"reason":"r","message":"m"},"responseStatus":null,"annotations":{"audit.k8s.io/truncated":"true","authorization.k8s.io/decision":"allow"},"annotations":null,` +
				`"user":{"groups":["g"],"groups":null,"extra":{"authentication.kubernetes.io/pod-name":["p"]},"extra":null},"sourceIPs":null,"stageTimestamp":null}`,
		},
		{
			name: "a null in a map is empty", line: head + `"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/decision":null,"audit.k8s.io/truncated":"true","audit.k8s.io/truncated":null}}`,
		},
		{
			name: "lists", line: head + `"sourceIPs":[ "1" , null,"\u0032" ],"user":{"groups":[],"extra":{"authentication.kubernetes.io/credential-id":["X=1","X=2"],"authentication.kubernetes.io/pod-name":[],"other":5}}}`,
			want: audit.Event{SourceIPs: []string{"1", "", "2"}, CredentialID: "X=1"},
		},
		{
			name: "keys in any order, space anywhere",
			line: "\t{ \"verb\" : \"get\" ,\r\n \"user\" : { \"username\" : \"a\" , \"groups\" : [ \"g\" ] } , \"responseStatus\" : { \"code\" : 404 } ,\"apiVersion\" : \"audit.k8s.io/v1\" , \"kind\" :\t\"Event\" } \r",
			want: audit.Event{Verb: "get", User: "a", Groups: []string{"g"}, Code: 404},
		},
		{
			name: "the usual order with space", line: `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level": "Metadata","auditID" :"1"}`,
			want: audit.Event{Level: "Metadata", AuditID: "1"},
		},
		{
			name: "the usual order with other types", line: `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":null,"auditID":null,"user":null}`,
		},
		{
			name: "the usual head and then another kind", line: `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","kind":"Policy"}`,
			err: `kind is "Policy"`,
		},
		{
			name: "bad UTF-8", line: head + "\"verb\":\"\xff\",\"userAgent\":\"a\xc3\",\"requestURI\":\"/\xed\xa0\x80\\n\xf0\x9f\x98\x80\"}",
			want: audit.Event{Verb: "\uFFFD", Agent: "a\uFFFD", URI: "/\uFFFD\uFFFD\uFFFD\n😀"},
		},
		{
			name: "times", line: head + `"requestReceivedTimestamp":"2026-11-22T20:44:31.0142439+01:00","stageTimestamp":"2026-11-22T19:44:32Z"}`,
			want: audit.Event{Received: 1795376671014243, Time: 1795376672000000, LatencyUS: 985757},
		},
		{
			name: "final", line: head + `"stage":"ResponseComplete"}`,
			want: audit.Event{Stage: "ResponseComplete", Final: true},
		},
		{
			name: "started with a user is not final", line: head + `"stage":"ResponseStarted","user":{"username":"a"}}`,
			want: audit.Event{Stage: "ResponseStarted", User: "a"},
		},
		{
			name: "started without a user is final", line: head + `"stage":"ResponseStarted","user":{}}`,
			want: audit.Event{Stage: "ResponseStarted", Final: true},
		},
		{
			name: "truncated", line: head + `"annotations":{"audit.k8s.io/truncated":"true","x":"y"}}`,
			want: audit.Event{Truncated: true},
		},
		{
			name: "v1beta1", line: `{"kind":"Event","apiVersion":"audit.k8s.io/v1beta1","metadata":{"creationTimestamp":"2017-06-01T10:00:01Z"},"timestamp":"2017-06-01T10:00:00Z","objectRef":{"apiVersion":"a/b"}}`,
			want: audit.Event{Version: "v1beta1", Received: 1496311200000000, Time: 1496311201000000, LatencyUS: 1000000, APIVersion: "a/b"},
		},
		{
			name: "v1alpha1", line: `{"metadata":{"name":"x","creationTimestamp":"2017-06-01T10:00:01Z"},"timestamp":"2017-06-01T10:00:00Z","objectRef":{"resource":"deployments","apiVersion":"apps/v1beta1"},"kind":"Event","apiVersion":"audit.k8s.io/v1alpha1"}`,
			want: audit.Event{Version: "v1alpha1", Received: 1496311200000000, Time: 1496311201000000, LatencyUS: 1000000, Resource: "deployments", APIGroup: "apps", APIVersion: "v1beta1"},
		},
		{
			name: "v1 has no such fields", line: head + `"metadata":{"creationTimestamp":"2017-06-01T10:00:01Z"},"timestamp":5}`,
		},
		{name: "old version, wrong type", line: `{"kind":"Event","apiVersion":"audit.k8s.io/v1beta1","metadata":5}`, err: "metadata: want an object, found a number"},
		{name: "old version, bad time", line: `{"kind":"Event","apiVersion":"audit.k8s.io/v1beta1","timestamp":"x"}`, err: `timestamp is "x"`},
		{name: "deep", line: deep(4999), want: audit.Event{Verb: "get"}},
		{name: "too deep", line: deep(5000), err: "more than 10000 values"},

		{name: "empty", line: "", err: "the line is empty"},
		{name: "blank", line: " \r", err: "the line is empty"},
		{name: "text", line: "hello", err: `unexpected 'h' at byte 0`},
		{name: "NUL", line: "\x00\x00\x00", err: "unexpected NUL byte"},
		{name: "NUL holes", line: strings.Repeat("\x00", 100) + head + `"verb":"get"}`, err: "unexpected NUL byte at byte 0"},
		{name: "NUL in a string", line: head + "\"verb\":\"a\x00\"}", err: "unexpected NUL byte"},
		{name: "control in a body", line: head + "\"requestObject\":\"a\x01\"}", err: "unexpected byte 0x01"},
		{name: "byte order mark", line: "\xef\xbb\xbf" + head + `"verb":"get"}`, err: "byte order mark"},
		{name: "array", line: `[]`, err: "not an object"},
		{name: "two objects", line: head + `"verb":"get"}{}`, err: `more text follows`},
		{name: "trailing text", line: head + `"verb":"get"} x`, err: `more text follows`},
		{name: "trailing comma", line: head + `"verb":"get",}`, err: `unexpected '}'`},
		{name: "comma in a body", line: head + `"requestObject":{"a":1,}}`, err: `unexpected '}'`},
		{name: "wrong bracket", line: head + `"requestObject":{"a":[1}}}`, err: `unexpected '}'`},
		{name: "bad number", line: head + `"requestObject":01}`, err: `unexpected '1'`},
		{name: "bad word", line: head + `"requestObject":nul}`, err: `unexpected '}'`},
		{name: "bad escape", line: head + `"requestObject":"\x"}`, err: `unexpected 'x'`},
		{name: "bad \\u", line: head + `"requestObject":"\u12g4"}`, err: `unexpected 'g'`},
		{name: "another kind", line: `{"kind":"Policy","apiVersion":"audit.k8s.io/v1"}`, err: `kind is "Policy", not Event`},
		{name: "no kind", line: `{"apiVersion":"audit.k8s.io/v1"}`, err: `kind is ""`},
		{name: "core event", line: `{"kind":"Event","apiVersion":"v1"}`, err: `apiVersion is "v1", not audit.k8s.io/v1`},
		{name: "later version", line: `{"kind":"Event","apiVersion":"audit.k8s.io/v2"}`, err: `known are v1, v1beta1 and v1alpha1`},
		{name: "code as text", line: head + `"responseStatus":{"code":"200"}}`, err: "responseStatus.code: want a whole number, found a string"},
		{name: "code with a fraction", line: head + `"responseStatus":{"code":200.0}}`, err: "responseStatus.code: want a whole number of 32 bits"},
		{name: "large code", line: head + `"responseStatus":{"code":2147483648}}`, err: "of 32 bits"},
		{name: "verb as number", line: head + `"verb":1}`, err: "verb: want a string, found a number"},
		{name: "user as text", line: head + `"user":"a"}`, err: "user: want an object, found a string"},
		{name: "groups as text", line: head + `"user":{"groups":"a"}}`, err: "user.groups: want a list of strings, found a string"},
		{name: "group as boolean", line: head + `"user":{"groups":[true]}}`, err: "user.groups: want a string, found a boolean"},
		{name: "bad time", line: head + `"stageTimestamp":"yesterday"}`, err: `stageTimestamp is "yesterday", not an RFC 3339 time`},
		{name: "time as number", line: head + `"stageTimestamp":5}`, err: "stageTimestamp: want a string, found a number"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got audit.Event
			err := audit.Decode([]byte(tc.line), &got)
			want, refErr := reference([]byte(tc.line))
			if (err == nil) != (refErr == nil) {
				t.Errorf("got error %v, the reference %v", err, refErr)
			}
			if tc.err != "" {
				var de *audit.DecodeError
				if !errors.As(err, &de) || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got error %v, want one with %q", err, tc.err)
				}
				if de.Offset < 0 || de.Offset > len(tc.line) {
					t.Errorf("offset %d is not in the line", de.Offset)
				}
				if !reflect.ValueOf(got).IsZero() {
					t.Errorf("got %+v beside an error", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			tc.want.Raw = tc.line
			if tc.want.Version == "" {
				tc.want.Version = "v1"
			}
			if !reflect.DeepEqual(&got, &tc.want) {
				t.Errorf("\n got %+v\nwant %+v", got, tc.want)
			}
			if !reflect.DeepEqual(&got, want) {
				t.Errorf("\n      got %+v\nreference %+v", got, want)
			}
		})
	}
}

// TestCutOff cuts a line with everything in it at each byte: no part is an event.
func TestCutOff(t *testing.T) {
	line := []byte(head + `"level":"RequestResponse","user":{"username":"a\u00e4","groups":["b"],"extra":{"k":["v"]}},"sourceIPs":["::1"],"objectRef":{"name":"n"},` +
		`"responseStatus":{"metadata":{},"code":200},"requestObject":{"a":[1.5e+3,true,false,null,"\\\"",{"b":{}},[[]]]},"stageTimestamp":"2026-11-22T19:44:31.014243Z","annotations":{"x":"y"}}`)
	var e audit.Event
	if err := audit.Decode(line, &e); err != nil {
		t.Fatal(err)
	}
	for n := range line {
		err := audit.Decode(line[:n], &e)
		var de *audit.DecodeError
		if !errors.As(err, &de) {
			t.Fatalf("%q is taken for an event", line[:n])
		}
		if n > 0 && (de.Offset != n || !strings.Contains(de.Reason, "cut off")) {
			t.Fatalf("%q: %v, want cut off at %d", line[:n], err, n)
		}
	}
}

// TestDamage changes bytes of real lines at random: the decoder takes what the reference takes.
func TestDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	alphabet := []byte("\"\\{}[]:, \t\n\r0123456789-+.eEtrufalsn\x00\x1f\x7f\x80\xff")
	taken := 0
	for i, line := range sampleLines(t) {
		if i%8 != 0 {
			continue
		}
		line = bytes.Clone(line)
		for range 1 + r.IntN(2) {
			line[r.IntN(len(line))] = alphabet[r.IntN(len(alphabet))]
		}
		if check(t, line) {
			taken++
		}
	}
	if taken == 0 {
		t.Error("no changed line was an event: the test proves half of what it should")
	}
}

// check holds the decoder against the reference and reports whether line is an event.
func check(t *testing.T, line []byte) bool {
	t.Helper()
	var got audit.Event
	err := audit.Decode(line, &got)
	want, refErr := reference(line)
	if (err == nil) != (refErr == nil) {
		t.Fatalf("%q:\ngot error %v, the reference %v", line, err, refErr)
	}
	if err != nil {
		return false
	}
	if got.Raw != string(line) {
		t.Fatalf("%q came back as %q", line, got.Raw)
	}
	if !reflect.DeepEqual(&got, want) {
		t.Fatalf("%q:\n got %+v\nwant %+v", line, got, want)
	}
	return true
}

func TestLongLine(t *testing.T) {
	line := []byte(head + `"requestObject":"` + strings.Repeat("x\\n", 16<<20/3) + `","verb":"` + strings.Repeat("\\u00e4", 1<<20) + `"}`)
	var b audit.Batch
	for range 2 {
		for range 3 {
			if err := b.Add(line); err != nil {
				t.Fatal(err)
			}
			if err := b.Add([]byte(head + `"verb":"get"}`)); err != nil {
				t.Fatal(err)
			}
		}
		for i, e := range b.Events {
			if i%2 == 0 && (e.Raw != string(line) || e.Verb != strings.Repeat("ä", 1<<20)) {
				t.Fatalf("event %d is wrong", i)
			}
			if i%2 == 1 && (e.Raw != head+`"verb":"get"}` || e.Verb != "get") {
				t.Fatalf("event %d is wrong", i)
			}
		}
		if got := b.Bytes(); got < int64(3*len(line)) || got > int64(4*len(line)) {
			t.Errorf("%d bytes for three lines of %d", got, len(line))
		}
		b.Reset()
		if b.Bytes() != 0 || len(b.Events) != 0 {
			t.Errorf("%d bytes and %d events after Reset", b.Bytes(), len(b.Events))
		}
	}
}

// TestBatchKeepsStrings fills more chunks than one and then looks at the first events again.
func TestBatchKeepsStrings(t *testing.T) {
	b := audit.Batch{Cluster: "c", Source: "s"}
	lines := sampleLines(t)
	for round := range 2 {
		for i, line := range lines {
			if err := b.Add(line); err != nil {
				t.Fatal(err)
			}
			if err := b.Add(line[:len(line)/2]); err == nil {
				t.Fatal("half a line is taken for an event")
			}
			if len(b.Events) != i+1 {
				t.Fatalf("%d events after %d lines", len(b.Events), i+1)
			}
		}
		for i, line := range lines {
			var want audit.Event
			if err := audit.Decode(line, &want); err != nil {
				t.Fatal(err)
			}
			want.Cluster, want.Source = "c", "s"
			if !reflect.DeepEqual(b.Events[i], want) {
				t.Fatalf("round %d, event %d:\n got %+v\nwant %+v", round, i, b.Events[i], want)
			}
		}
		b.Reset()
	}
}

func TestNoAllocations(t *testing.T) {
	lines := sampleLines(t)
	var b audit.Batch
	if n := testing.AllocsPerRun(3, func() {
		b.Reset()
		for _, line := range lines {
			if err := b.Add(line); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d events in a reused batch", n, len(lines))
	}
}

// TestInputIsNotKept changes the caller's bytes after Add.
func TestInputIsNotKept(t *testing.T) {
	line := []byte(head + `"verb":"get","user":{"username":"a\n"}}`)
	want := string(line)
	var b audit.Batch
	var e audit.Event
	if err := errors.Join(b.Add(line), audit.Decode(line, &e)); err != nil {
		t.Fatal(err)
	}
	clear(line)
	for _, e := range []audit.Event{b.Events[0], e} {
		if e.Raw != want || e.Verb != "get" || e.User != "a\n" {
			t.Errorf("got %+v", e)
		}
	}
	if copied := b.CopyLine([]byte("x")); copied != "x" || unsafe.StringData(copied) == nil {
		t.Errorf("CopyLine gave %q", copied)
	}
}

func FuzzDecode(f *testing.F) {
	seeds := 0
	for i, line := range sampleLines(f) {
		if i%40 == 0 {
			f.Add(line)
			seeds++
		}
	}
	for _, s := range []string{
		head + `"verb":"\ud83d\ude00","user":{"extra":{"authentication.kubernetes.io/pod-name":["p"]}},"user":null}`,
		`{"kind":"Event","apiVersion":"audit.k8s.io/v1alpha1","metadata":{"creationTimestamp":"2017-06-01T10:00:01Z"},"objectRef":{"apiVersion":"a/b"}}`,
		head + `"responseStatus":{"code":-0},"requestObject":[1e5,-0.1E-9,[],{}]}`,
		head + "\"verb\":\"\xff\",\"stageTimestamp\":\"2026-02-29T23:59:60.1-23:59\"}",
		strings.Repeat("[", 200), "\x00", "",
	} {
		f.Add([]byte(s))
	}
	if seeds < 50 {
		f.Fatalf("%d seeds from the sample, want at least 50", seeds)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		taken := check(t, line)
		if !bytes.Equal(line, before) {
			t.Fatal("the input was changed")
		}
		if taken && !json.Valid(line) {
			t.Fatal("an event that is not JSON")
		}
		var b audit.Batch
		n, err := b.AddList(line)
		if n != len(b.Events) || (taken && (n != 1 || err != nil)) {
			t.Fatalf("AddList: %d, %v, %d events", n, err, len(b.Events))
		}
		for _, e := range b.Events {
			if !check(t, []byte(e.Raw)) || strings.Contains(e.Raw, "\n") {
				t.Fatalf("item %q", e.Raw)
			}
		}
	})
}
