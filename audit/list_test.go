package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
)

func TestAddList(t *testing.T) {
	const a, b = head + `"verb":"get"}`, head + `"verb":"list"}`
	items := func(s string) string {
		return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + s + `]}`
	}
	for _, tc := range []struct {
		name, doc string
		want      []string // lines
		err       string   // part of the error
		bad       []int    // the index of each bad item
	}{
		{name: "array", doc: "[" + a + " ,\n" + b + "]\n", want: []string{a, b}},
		{name: "one event", doc: " " + a + "\n", want: []string{a}},
		{name: "list with kinds", doc: items(a + "," + b), want: []string{a, b}},
		{name: "list as the webhook sends it", doc: items(`{"verb":"get"},{ "verb":"list"}`), want: []string{a, head + ` "verb":"list"}`}},
		{name: "empty item", doc: items(`{},{ }`), want: []string{`{"kind":"Event","apiVersion":"audit.k8s.io/v1"}`, `{"kind":"Event","apiVersion":"audit.k8s.io/v1" }`}},
		{name: "kind last", doc: `{"items":[{"verb":"get"}],"apiVersion":"audit.k8s.io/v1","kind":"EventList"}`, want: []string{a}},
		{
			name: "old list", doc: `{"kind":"EventList","apiVersion":"audit.k8s.io/v1beta1","items":[{"verb":"get"}]}`,
			want: []string{`{"kind":"Event","apiVersion":"audit.k8s.io/v1beta1","verb":"get"}`},
		},
		{name: "over lines", doc: "[\n  {\n    \"kind\": \"Event\",\r\n    \"apiVersion\": \"audit.k8s.io/v1\",\n    \"verb\": \"a  \\n<b>\"\n  }\n]", want: []string{head + `"verb":"a  \n<b>"}`}},
		{name: "over lines without kind", doc: items("{\n \"verb\": \"get\"\n}"), want: []string{a}},
		{name: "byte order mark", doc: "\xef\xbb\xbf[" + a + "]", want: []string{a}},
		{name: "no items", doc: items("")},
		{name: "null items", doc: `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":null}`},
		{name: "empty array", doc: " [ ] "},
		{name: "bad items between good ones", doc: "[" + a + `,null,5,{"kind":"Pod"},` + b + "]", want: []string{a, b}, bad: []int{1, 2, 3}, err: "item 1 at byte 62"},
		{name: "many bad items", doc: "[1,2,3,4,5]", bad: []int{0, 1, 2, 3, 4}, err: "and 2 more"},
		{name: "array without kinds", doc: `[{"verb":"get"}]`, bad: []int{0}, err: `kind is ""`},
		{name: "cut off", doc: items(a + "," + b)[:150], want: []string{a}, err: "cut off"},
		{name: "cut off behind the items", doc: strings.TrimSuffix(items(a), "}"), want: []string{a}, err: "cut off"},
		{name: "garbage behind", doc: "[" + a + "] x", want: []string{a}, err: "unexpected 'x'"},
		{name: "garbage within", doc: "[" + a + " x " + b + "]", want: []string{a}, err: "unexpected 'x'"},
		{name: "items no array", doc: `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":{}}`, err: "items is not an array"},
		{name: "another list", doc: `{"kind":"PodList","apiVersion":"v1","items":[]}`, err: `kind is "PodList", neither`},
		{name: "core event list", doc: `{"kind":"EventList","apiVersion":"v1","items":[{}]}`, err: `apiVersion is "v1"`},
		{name: "kind of the wrong type", doc: `{"kind":5,"items":[]}`, err: "kind: want a string"},
		{name: "empty", doc: " \n", err: "the document is empty"},
		{name: "text", doc: "hello", err: "neither an event"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var batch audit.Batch
			n, err := batch.AddList([]byte(tc.doc))
			if n != len(tc.want) || n != len(batch.Events) {
				t.Fatalf("added %d of %d events (error %v)", n, len(tc.want), err)
			}
			for i, e := range batch.Events {
				if e.Raw != tc.want[i] {
					t.Errorf("line %d:\n got %s\nwant %s", i, e.Raw, tc.want[i])
				}
			}
			if (err != nil) != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Fatalf("got error %v, want %q", err, tc.err)
			}
			if err == nil {
				return
			}
			var le *audit.ListError
			if !errors.As(err, &le) {
				t.Fatalf("%T is no *ListError", err)
			}
			var bad []int
			for _, item := range le.Items {
				bad = append(bad, item.Index)
				if !bytes.HasPrefix([]byte(tc.doc)[item.Offset:], item.Item) {
					t.Errorf("item %d is not at %d", item.Index, item.Offset)
				}
				var de *audit.DecodeError
				if !errors.As(item, &de) {
					t.Errorf("item %d has no *DecodeError", item.Index)
				}
			}
			if fmt.Sprint(bad) != fmt.Sprint(tc.bad) {
				t.Errorf("bad items %v, want %v", bad, tc.bad)
			}
		})
	}
}

// TestSampleAsList gives the sample as the webhook would send it, and pretty-printed:
// the lines that come out are those of the log.
func TestSampleAsList(t *testing.T) {
	lines := sampleLines(t)
	var doc bytes.Buffer
	doc.WriteString(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`)
	for i, line := range lines {
		item, ok := bytes.CutPrefix(line, []byte(`{"kind":"Event","apiVersion":"audit.k8s.io/v1",`))
		if !ok {
			t.Fatalf("line %d begins differently", i+1)
		}
		if i > 0 {
			doc.WriteByte(',')
		}
		doc.WriteByte('{')
		doc.Write(item)
	}
	doc.WriteString("]}")
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, doc.Bytes(), "", "\t"); err != nil {
		t.Fatal(err)
	}
	for _, doc := range [][]byte{doc.Bytes(), pretty.Bytes()} {
		var b audit.Batch
		if n, err := b.AddList(doc); err != nil || n != len(lines) {
			t.Fatalf("added %d, %v", n, err)
		}
		for i, line := range lines {
			if b.Events[i].Raw != string(line) {
				t.Fatalf("line %d:\n got %s\nwant %s", i+1, b.Events[i].Raw, line)
			}
		}
	}
}
