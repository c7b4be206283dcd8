package collect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/zstd"
)

func zst(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	_, err = z.Write(data)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func indent(t *testing.T, doc string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(doc), "", "  "); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// list makes an EventList as a webhook sends it: its items have no kind.
func list(from, n int) string {
	var items []string
	for i := range n {
		items = append(items, "{"+strings.TrimPrefix(line(from+i, 10), `{"kind":"Event","apiVersion":"audit.k8s.io/v1",`))
	}
	return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + strings.Join(items, ",") + `]}`
}

func array(from, n int) string {
	return "[" + strings.ReplaceAll(strings.TrimSuffix(lines(from, n), "\n"), "\n", ",") + "]"
}

// TestFormats imports the same ten events in each form: they are the same lines.
func TestFormats(t *testing.T) {
	plain := lines(0, 10)
	for _, c := range []struct {
		name, input string
		bad         int
	}{
		{name: "lines", input: plain},
		{name: "no newline at the end", input: strings.TrimSuffix(plain, "\n")},
		{name: "CRLF, BOM and blank lines", input: "\xef\xbb\xbf" + strings.ReplaceAll(plain, "\n", "\r\n\r\n")},
		{name: "gzip", input: string(gz(t, []byte(plain)))},
		{name: "gzip of many members", input: string(gz(t, []byte(lines(0, 4)))) + string(gz(t, []byte(lines(4, 6))))},
		{name: "member ends within a line", input: string(gz(t, []byte(plain[:700]))) + string(gz(t, []byte(plain[700:])))},
		{name: "zstd of many frames", input: string(zst(t, []byte(lines(0, 4)))) + string(zst(t, []byte(lines(4, 6))))},
		{name: "EventList", input: list(0, 10)},
		{name: "EventList, pretty", input: indent(t, list(0, 10))},
		{name: "EventLists, one a line", input: list(0, 3) + "\n" + list(3, 7) + "\n"},
		{name: "EventLists, joined", input: list(0, 3) + list(3, 7)},
		{name: "items before kind", input: `{"items":` + array(0, 10) + `,"kind":"EventList","apiVersion":"audit.k8s.io/v1"}`},
		{name: "array", input: array(0, 10)},
		{name: "array, pretty", input: indent(t, array(0, 10))},
		{name: "arrays", input: array(0, 3) + "\n" + array(3, 7)},
		{name: "array of lists", input: "[" + list(0, 3) + "," + list(3, 7) + "]"},
		{name: "pretty events", input: indent(t, line(0, 10)) + "\n" + indent(t, line(1, 10)) + lines(2, 8)},
		{name: "everything, concatenated", input: lines(0, 2) + list(2, 2) + "\n" + indent(t, array(4, 2)) + "\n" + lines(6, 2) + indent(t, list(8, 2))},
		{name: "events on one line", input: strings.ReplaceAll(plain, "\n", "")},
		{name: "holes", input: strings.ReplaceAll(plain, "\n", "\n"+strings.Repeat("\x00", 5000)), bad: 9},
		{name: "a hole at the beginning", input: strings.Repeat("\x00", 5000) + "\n" + plain},
		{name: "garbage between", input: lines(0, 5) + "what is this?\n{\"kind\":\"Pod\"}\n" + lines(5, 5), bad: 2},
		{name: "torn line", input: lines(0, 5) + line(77, 0)[:300] + "\n" + lines(5, 5), bad: 1},
		{name: "torn line, continued", input: lines(0, 5) + line(77, 0)[:300] + lines(5, 5), bad: 1},
		{name: "torn where a value belongs", input: lines(0, 5) + `{"kind":"Event","requestObject":` + "\n" + lines(5, 5), bad: 1},
		{name: "torn in a list", input: lines(0, 5) + list(77, 2)[:150] + "\n" + lines(5, 5), bad: 1},
		{name: "cut off at the end", input: plain + line(77, 0)[:300], bad: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory()
			sum, err := ImportStream(t.Context(), ImportOptions{Appender: m}, "/var/log/x.log", strings.NewReader(c.input))
			if err != nil || sum.Errors != nil {
				t.Fatal(err, sum.Errors)
			}
			if got := strings.Join(m.order, "\n") + "\n"; got != plain {
				t.Errorf("stored\n%s", got)
			}
			if sum.Events != 10 || sum.Duplicates != 0 || sum.Quarantined != int64(c.bad) || len(m.bad) != c.bad {
				t.Errorf("summary %+v, quarantined %+v", sum, m.bad)
			}
			for _, q := range m.bad {
				if q.File != "/var/log/x.log" || q.Source != "import:x.log" || q.Reason == "" || !strings.HasPrefix(c.input[q.Offset:], string(q.Line)) {
					t.Errorf("quarantined %+v", q)
				}
			}
		})
	}
}

// TestImportIdempotent imports a directory, then the same again by other names.
func TestImportIdempotent(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "audit.log"), lines(0, 100))
	write(t, filepath.Join(dir, "sub.json"), list(100, 50))
	write(t, filepath.Join(dir, "audit-2026-11-22T19-53-12.289.log.gz"), string(gz(t, []byte(lines(150, 50)))))
	write(t, filepath.Join(dir, "README.txt"), "no log")
	var last Progress
	m := newMemory()
	o := ImportOptions{Appender: m, Inputs: []string{dir, "-"}, Stdin: strings.NewReader(lines(200, 5)), Cluster: "prod", Progress: func(p Progress) { last = p }}
	sum, err := Import(t.Context(), o)
	if err != nil || sum.Events != 205 || sum.Files != 4 || len(sum.Errors) > 0 || len(sum.Skipped) != 1 {
		t.Fatalf("%+v, %v", sum, err)
	}
	if want := int64(len(lines(0, 100)) + len(list(100, 50)) + len(lines(150, 50)) + len(lines(200, 5))); sum.Bytes != want {
		t.Errorf("%d bytes, want %d", sum.Bytes, want)
	}
	if last.Files != 4 || last.FilesDone != 4 || last.Events != 205 || last.BytesTotal == 0 || last.Bytes != last.BytesTotal+int64(len(lines(200, 5))) {
		t.Errorf("progress %+v", last)
	}
	other := filepath.Join(dir, "other.log.zst")
	write(t, other, string(zst(t, []byte(lines(0, 205)))))
	o.Inputs, o.Stdin = []string{other}, nil
	if sum, err = Import(t.Context(), o); err != nil || sum.Events != 0 || sum.Duplicates != 205 {
		t.Errorf("again: %+v, %v", sum, err)
	}
}

// TestImportDamage: what came before the damage is kept, and it is said where it is.
func TestImportDamage(t *testing.T) {
	dir := t.TempDir()
	whole := gz(t, []byte(lines(0, 3000)))
	cut := filepath.Join(dir, "cut.log.gz")
	write(t, cut, string(whole[:len(whole)/2]))
	write(t, filepath.Join(dir, "good.log"), lines(5000, 10))
	m := newMemory()
	sum, err := Import(t.Context(), ImportOptions{Appender: m, Inputs: []string{dir}})
	if err != nil || len(sum.Errors) != 1 || sum.Errors[0].File != cut || !errors.Is(sum.Errors[0], io.ErrUnexpectedEOF) || sum.Errors[0].Offset < 10000 {
		t.Fatalf("%+v, %v", sum, err)
	}
	if sum.Events < 100 || sum.Events > 2900 || m.lines[line(5009, 10)] != 1 || m.lines[line(0, 10)] != 1 {
		t.Errorf("%d events", sum.Events)
	}
	if sum.Quarantined > 1 {
		t.Errorf("%d quarantined, want the cut line at most", sum.Quarantined)
	}
	if _, err := Import(t.Context(), ImportOptions{Appender: m, Inputs: []string{filepath.Join(dir, "none.log")}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	m.fail = func() (bool, bool) { return true, false }
	if _, err := Import(t.Context(), ImportOptions{Appender: m, Inputs: []string{dir}}); !errors.Is(err, errAppend) {
		t.Errorf("store refuses: %v", err)
	}
}

// TestImportInterrupted: an import ends with its context though its input is silent.
func TestImportInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		done := make(chan error)
		go func() {
			_, err := Import(ctx, ImportOptions{Appender: newMemory(), Inputs: []string{"-"}, Stdin: r})
			done <- err
		}()
		if _, err := io.WriteString(w, lines(0, 3)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		w.Close()
	})
}

// endless is a stream that counts what was taken.
type endless struct {
	doc  []byte
	read atomic.Int64
}

func (e *endless) Read(p []byte) (int, error) {
	at := int(e.read.Load()) % len(e.doc)
	n := copy(p, e.doc[at:])
	e.read.Add(int64(n))
	return n, nil
}

// TestImportMemory: from endless input no more is read than the budget allows
// while the store does not answer, whatever the form.
func TestImportMemory(t *testing.T) {
	const budget = 4 << 20
	for name, doc := range map[string]string{
		"lines":     lines(0, 50),
		"list":      strings.Repeat(list(0, 20)+"\n", 3),
		"long":      lines(0, 2) + line(3, 1<<20) + "\n",
		"no end":    strings.Repeat("x", 1000),
		"one event": `{"kind":"Event","x":"` + strings.Repeat("y", 5<<20) + `"}` + lines(0, 50),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				m.block = make(chan struct{})
				e := &endless{doc: []byte(doc)}
				r := io.LimitReader(e, 100<<20)
				done := make(chan Summary)
				go func() {
					sum, err := ImportStream(t.Context(), ImportOptions{Appender: m, MaxBytes: budget, MaxLine: budget / 4}, name, r)
					if err != nil {
						t.Error(err)
					}
					done <- sum
				}()
				synctest.Wait()
				if n := e.read.Load(); name != "no end" && name != "one event" && n > budget {
					t.Errorf("read %d bytes with a budget of %d", n, budget)
				}
				close(m.block)
				sum := <-done
				if sum.Bytes != 100<<20 || sum.Events == 0 && name != "no end" {
					t.Errorf("%+v", sum)
				}
				for _, q := range m.bad {
					if len(q.Line) > 64<<10 {
						t.Fatalf("%d bytes of a line that is too long are kept", len(q.Line))
					}
				}
			})
		})
	}
}

// TestLogs imports real logs, if KTRAIL_TEST_LOGS names some, and compares line by line.
func TestLogs(t *testing.T) {
	for path := range strings.SplitSeq(os.Getenv("KTRAIL_TEST_LOGS"), ":") {
		if path == "" {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m := newMemory()
		sum, err := Import(t.Context(), ImportOptions{Appender: m, Inputs: []string{path}})
		if err != nil || sum.Quarantined > 0 || len(sum.Errors) > 0 {
			t.Fatalf("%s: %+v, %v", path, sum, err)
		}
		want := slices.Compact(strings.Split(strings.TrimSuffix(string(data), "\n"), "\n"))
		if !slices.Equal(m.order, want) {
			t.Errorf("%s: %d lines stored, want %d", path, len(m.order), len(want))
		}
	}
}

// BenchmarkImport is over events of the usual size, in the three forms that they come in.
func BenchmarkImport(b *testing.B) {
	const n = 20000
	var doc, items []string
	for i := range n {
		doc = append(doc, line(i, 1500))
	}
	for _, l := range doc {
		items = append(items, "{"+strings.TrimPrefix(l, `{"kind":"Event","apiVersion":"audit.k8s.io/v1",`))
	}
	text := strings.Join(doc, "\n") + "\n"
	for _, c := range []struct{ name, text string }{
		{"lines", text},
		{"gzip", string(gz(b, []byte(text)))},
		{"list", `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + strings.Join(items, ",") + `]}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				sum, err := ImportStream(b.Context(), ImportOptions{Appender: discard{}}, "x", strings.NewReader(c.text))
				if err != nil || sum.Events != n {
					b.Fatal(fmt.Sprint(sum, err))
				}
			}
		})
	}
}
