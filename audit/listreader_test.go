package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ktrail/ktrail/audit"
)

// read reads a list to its end.
func read(r io.Reader, o audit.ListOptions) (lines []string, bad []int, err error) {
	var b audit.Batch
	l := audit.NewListReader(r, o)
	for {
		err := l.Next(&b)
		var item *audit.ItemError
		if errors.As(err, &item) {
			bad = append(bad, item.Index)
			continue
		}
		if err != nil {
			for _, e := range b.Events {
				lines = append(lines, e.Raw)
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return lines, bad, err
		}
	}
}

func asList(lines [][]byte) []byte {
	var doc bytes.Buffer
	doc.WriteString(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`)
	for i, line := range lines {
		if i > 0 {
			doc.WriteByte(',')
		}
		doc.WriteByte('{')
		doc.Write(bytes.TrimPrefix(line, []byte(`{"kind":"Event","apiVersion":"audit.k8s.io/v1",`)))
	}
	doc.WriteString("]}\n")
	return doc.Bytes()
}

func TestListReader(t *testing.T) {
	const a, b = head + `"verb":"get"}`, head + `"verb":"list"}`
	items := func(s string) string {
		return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + s + `]}`
	}
	for _, tc := range []struct {
		name, doc string
		want      []string
		bad       []int
		err       string
	}{
		{name: "as the webhook sends it", doc: items(`{"verb":"get"},{"verb":"list"}`) + "\n", want: []string{a, b}},
		{name: "with kinds, over lines", doc: items(a + "\n,\n{\n \"verb\": \"list\"\n}"), want: []string{a, b}},
		{name: "in the order of the alphabet", doc: `{"apiVersion":"audit.k8s.io/v1","items":[{"verb":"get"}],"kind":"EventList"}`, want: []string{a}},
		{name: "old", doc: `{"kind":"EventList","apiVersion":"audit.k8s.io/v1beta1","items":[{"verb":"get"}]}`, want: []string{`{"kind":"Event","apiVersion":"audit.k8s.io/v1beta1","verb":"get"}`}},
		{name: "none", doc: items("")},
		{name: "null", doc: `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":null}`},
		{name: "no items", doc: `{"kind":"EventList"}`},
		{name: "bad ones between good ones", doc: items(a + `,null,5,"x",[],{"kind":"Pod"},` + b), want: []string{a, b}, bad: []int{1, 2, 3, 4, 5}},
		{name: "apiVersion behind the items", doc: `{"kind":"EventList","items":[{"verb":"get"}],"apiVersion":"audit.k8s.io/v1"}`, err: `apiVersion before the items is ""`},
		{name: "another kind behind the items", doc: `{"apiVersion":"audit.k8s.io/v1","items":[{"verb":"get"}],"kind":"PodList"}`, want: []string{a}, err: `kind is "PodList"`},
		{name: "another kind", doc: `{"kind":"PodList","apiVersion":"v1","items":[{}]}`, err: `kind is "PodList"`},
		{name: "core events", doc: `{"kind":"EventList","apiVersion":"v1","items":[{}]}`, err: `is "v1"`},
		{name: "kind of the wrong type", doc: `{"kind":5}`, err: "kind: want a string"},
		{name: "no kind", doc: `{}`, err: `kind is ""`},
		{name: "items twice", doc: `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"verb":"get"}],"items":[]}`, want: []string{a}, err: "twice"},
		{name: "items no array", doc: `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":{}}`, err: "items is not an array"},
		{name: "cut off", doc: items(a + "," + b)[:150], want: []string{a}, err: "cut off"},
		{name: "cut off behind the items", doc: strings.TrimSuffix(items(a), "}"), want: []string{a}, err: "cut off"},
		{name: "garbage within", doc: items(a + " x " + b), want: []string{a}, err: "unexpected 'x'"},
		{name: "broken item", doc: items(a + `,{"verb":}`), want: []string{a}, err: "unexpected '}'"},
		{name: "garbage behind", doc: items(a) + "x", want: []string{a}, err: "unexpected 'x'"},
		{name: "comma too many", doc: items(a + ","), want: []string{a}, err: "unexpected ']'"},
		{name: "comma behind the members", doc: `{"kind":"EventList",}`, err: "unexpected '}'"},
		{name: "NUL", doc: "{\x00", err: "NUL"},
		{name: "array", doc: "[" + a + "]", err: "no EventList"},
		{name: "empty", doc: " \n", err: "cut off"},
		{name: "nothing", err: "empty"},
		{name: "deep", doc: items(strings.Repeat("[", 20_000)), err: "10000"},
	} {
		for _, window := range []int{1, 64, 1 << 20} {
			lines, bad, err := read(iotest.OneByteReader(strings.NewReader(tc.doc)), audit.ListOptions{Window: window})
			if (err != nil) != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s, window %d: got error %v, want %q", tc.name, window, err, tc.err)
			}
			if !slices.Equal(lines, tc.want) || !slices.Equal(bad, tc.bad) {
				t.Errorf("%s, window %d: got %q, bad %v; want %q, bad %v", tc.name, window, lines, bad, tc.want, tc.bad)
			}
		}
	}
}

// TestListReaderSample reads the sample: the lines that come out are those of the log.
func TestListReaderSample(t *testing.T) {
	want := sampleLines(t)
	doc := asList(want)
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader(doc), "halves": iotest.HalfReader(bytes.NewReader(doc)), "EOF with data": iotest.DataErrReader(bytes.NewReader(doc))} {
		most := 0
		lines, bad, err := read(r, audit.ListOptions{Window: 1 << 10, Grow: func(n int) error { most = max(most, n); return nil }})
		if err != nil || len(bad) > 0 || len(lines) != len(want) {
			t.Fatalf("%s: %d of %d lines, bad %v, %v", name, len(lines), len(want), bad, err)
		}
		for i := range want {
			if lines[i] != string(want[i]) {
				t.Fatalf("%s: line %d:\n got %s\nwant %s", name, i, lines[i], want[i])
			}
		}
		if most < 1<<10 || most > 1<<20 {
			t.Errorf("%s: the window grew to %d bytes", name, most)
		}
	}
}

func TestListReaderBounds(t *testing.T) {
	large := `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"verb":"get"},{"verb":"` + strings.Repeat("x", 5000) + `"}]}`
	lines, _, err := read(strings.NewReader(large), audit.ListOptions{Window: 100, MaxItem: 4000})
	if !errors.Is(err, audit.ErrItemTooLarge) || len(lines) != 1 {
		t.Errorf("%d lines, %v", len(lines), err)
	}
	full := errors.New("no memory")
	lines, _, err = read(strings.NewReader(large), audit.ListOptions{Window: 100, Grow: func(n int) error {
		if n > 1000 {
			return full
		}
		return nil
	}})
	if !errors.Is(err, full) || len(lines) != 1 {
		t.Errorf("%d lines, %v", len(lines), err)
	}
	lost := errors.New("connection reset")
	lines, _, err = read(io.MultiReader(strings.NewReader(large[:90]), iotest.ErrReader(lost)), audit.ListOptions{})
	if !errors.Is(err, lost) || len(lines) != 1 {
		t.Errorf("%d lines, %v", len(lines), err)
	}
	// A body that was cut off is not one that ended.
	if _, _, err = read(io.MultiReader(strings.NewReader(large[:90]), iotest.ErrReader(io.ErrUnexpectedEOF)), audit.ListOptions{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if _, _, err = read(silent{}, audit.ListOptions{}); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}

type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

// FuzzListReader: what a ListReader takes does not depend on the window, and AddList takes the same.
func FuzzListReader(f *testing.F) {
	lines := sampleLines(f)
	doc := asList(lines[:3])
	for i := 0; i < len(doc); i += 400 {
		f.Add(doc[:i], i)
	}
	f.Add(doc, 7)
	f.Add([]byte(`{"apiVersion":"audit.k8s.io/v1","items":[{},5,{"kind":"Event","apiVersion":"audit.k8s.io/v1"}],"kind":"EventList"}`), 1)
	f.Fuzz(func(t *testing.T, doc []byte, window int) {
		got, bad, err := read(bytes.NewReader(doc), audit.ListOptions{Window: 1 + window&0xfff})
		again, againBad, againErr := read(iotest.OneByteReader(bytes.NewReader(doc)), audit.ListOptions{Window: 16})
		if !slices.Equal(got, again) || !slices.Equal(bad, againBad) || fmt.Sprint(err) != fmt.Sprint(againErr) {
			t.Fatalf("%q, bad %v, %v; with another window %q, bad %v, %v", got, bad, err, again, againBad, againErr)
		}
		if err != nil {
			return
		}
		var b audit.Batch
		n, listErr := b.AddList(doc)
		var le *audit.ListError
		if errors.As(listErr, &le) && le.Doc != nil && len(got)+len(bad) > 0 || n != len(got) {
			t.Fatalf("%d of the reader's %d lines: %v", n, len(got), listErr)
		}
		for i := range got {
			if b.Events[i].Raw != got[i] {
				t.Fatalf("line %d: %q, want %q", i, got[i], b.Events[i].Raw)
			}
		}
	})
}

func BenchmarkListReader(b *testing.B) {
	doc := asList(sampleLines(b))
	b.SetBytes(int64(len(doc)))
	var batch audit.Batch
	for b.Loop() {
		l := audit.NewListReader(bytes.NewReader(doc), audit.ListOptions{})
		var err error
		for err == nil {
			if err = l.Next(&batch); batch.Bytes() > 4<<20 {
				batch.Reset()
			}
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		batch.Reset()
	}
}
