package logfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/ktrail/ktrail/audit"
)

// FuzzSplit: any stream ends, whole or byte by byte with the same records; all
// that is no event is where it is said to be, and memory stays bounded.
func FuzzSplit(f *testing.F) {
	a, b := testLine(1, 5), testLine(2, 5)
	for _, s := range []string{
		a + "\n" + b + "\n", a[:100] + b, "[" + a + "," + b + "]", `{"kind":"EventList","items":[` + a + `]}`,
		`{"items":[{"level":"x"}],"kind":"EventList"}` + a, "\xef\xbb\xbf" + a, "\x00\x00" + a, `{"a":"` + "\n" + a, "]]]}}}", `{"a":[[[`, `[[[[[[[[[[1]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		run := func(r io.Reader) (out []string) {
			var last []byte
			s := NewSplitter(r, SplitOptions{MaxLine: 1 << 20, Decode: func(b []byte) error {
				var e audit.Event
				if err := audit.Decode(b, &e); err != nil {
					return err
				}
				last = bytes.Clone(b)
				return nil
			}})
			defer s.Close()
			for range 2*len(data) + 10 {
				rec, err := s.Next()
				if errors.Is(err, io.EOF) {
					return out
				}
				if err != nil {
					t.Fatal(err)
				}
				if rec.Kind == Line && !bytes.Equal(rec.Line, last) && len(out) == 0 {
					t.Fatalf("event %q was not decoded last", rec.Line)
				}
				if rec.Kind == Bad && !bytes.HasPrefix(data[rec.Offset:], rec.Line) {
					t.Fatalf("%q is not at %d", rec.Line, rec.Offset)
				}
				out = append(out, string(rec.Line))
			}
			t.Fatal("does not end")
			return nil
		}
		whole, parts := run(bytes.NewReader(data)), run(iotest.OneByteReader(bytes.NewReader(data)))
		if len(whole) != len(parts) {
			t.Fatalf("whole: %q, byte by byte: %q", whole, parts)
		}
	})
}

// FuzzTorn: the pieces of any line lie in it in order, and only NUL bytes and white
// space are between them.
func FuzzTorn(f *testing.F) {
	a, b := testLine(1, 5), testLine(2, 5)
	for _, s := range []string{a + b, a[:200] + b, a[:200] + "\x00\x00" + b, a + "x", "x" + a + "x", `{"kind":"Event"{"kind":"Event"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		at, taken := 0, 0
		pieces := Recover(line, func(b []byte) error {
			var e audit.Event
			err := audit.Decode(b, &e)
			if err == nil {
				taken++
			}
			return err
		})
		for _, p := range pieces {
			if p.Offset < at || !bytes.Equal(line[p.Offset:p.Offset+len(p.Data)], p.Data) || len(bytes.Trim(line[at:p.Offset], "\x00 \t\r")) > 0 {
				t.Fatalf("piece %q at %d, after %d", p.Data, p.Offset, at)
			}
			at = p.Offset + len(p.Data)
			if p.Event {
				taken--
			}
		}
		if len(bytes.Trim(line[at:], "\x00 \t\r")) > 0 || taken != 0 {
			t.Fatalf("rest %q, %d decoded and not returned", line[at:], taken)
		}
	})
}

// FuzzScan: where encoding/json finds a value, the scanner finds its end.
func FuzzScan(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}],"c":"\"x\\"}`, `[]`, `{}`, `"\u00e9"`, `[[],{}]`, `{"a" : 1 }`, `[1 , 2]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if trimmed := bytes.Trim(data, " \t\r\n"); json.Valid(data) && (trimmed[0] == '{' || trimmed[0] == '[' || trimmed[0] == '"') {
			var s scanner
			n, what := s.scan(append(bytes.Clone(data), " {"...))
			if what != scanEnd || len(bytes.TrimSpace(data[n:])) > 0 {
				t.Fatalf("%q: %d, %d", data, n, what)
			}
			return
		}
		var s scanner
		if n, what := s.scan(data); what == scanEnd && n > len(data) {
			t.Fatal(n)
		}
	})
}
