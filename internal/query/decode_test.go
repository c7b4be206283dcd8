package query

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
)

func TestCursorRoundTrip(t *testing.T) {
	for _, p := range []Position{{}, {Time: 1, ID: 1}, {Time: -1, ID: -1}, {Time: 1<<63 - 1, ID: 1<<63 - 1}, {Time: 1795462462000000, ID: 42}} {
		for _, ascending := range []bool{false, true} {
			const asked = audit.Time(1795462462000001)
			s := formatCursor(p, asked, ascending)
			got, at, err := parseCursor(s, ascending)
			if err != nil || got != p || at != asked || len(s) > 52 {
				t.Errorf("%+v became %s became %+v, %v, %v", p, s, got, at, err)
			}
			if at := AskedAt(s, testNow); !at.Equal(asked.Std()) {
				t.Errorf("%s was asked at %v", s, at)
			}
		}
	}
}

func TestAskedAtWithoutCursor(t *testing.T) {
	for _, s := range []string{"", "AQAAAA", "garbage"} {
		if at := AskedAt(s, testNow); !at.Equal(testNow) {
			t.Errorf("%q was asked at %v", s, at)
		}
	}
}

// FuzzCursor holds that no text makes a panic, and that what is accepted is
// what formatCursor writes.
func FuzzCursor(f *testing.F) {
	f.Add(formatCursor(Position{Time: audit.Time(1795462462000000), ID: 7}, 5, false))
	f.Add(formatCursor(Position{Time: -1, ID: 1 << 62}, -5, true))
	f.Add("AQAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		for _, ascending := range []bool{false, true} {
			p, at, err := parseCursor(s, ascending)
			if err != nil || s == "" {
				continue
			}
			if again, then, err := parseCursor(formatCursor(p, at, ascending), ascending); err != nil || again != p || then != at {
				t.Fatalf("%q is %+v, and that %+v, %v", s, p, again, err)
			}
		}
	})
}

// FuzzDiff holds that a difference is empty if and only if the objects are
// equal, and that no object makes it panic or large.
func FuzzDiff(f *testing.F) {
	for _, pair := range [][2]string{
		{`{}`, `{}`},
		{`{"a":1}`, `{"a":"1"}`},
		{`{"a":null}`, `{}`},
		{`{"a":[1,{"name":"x"},[]]}`, `{"a":[1,{"name":"y"},[]]}`},
		{`{"a":[{"name":"x","v":1},{"name":"y"}]}`, `{"a":[{"name":"y"},{"name":"x","v":2}]}`},
		{`{"a":[{"name":"x"},{"name":"x"}]}`, `{"a":[{"name":"x"},{}]}`},
		{`{"a":{"b":[]}}`, `{"a":{"b":{}}}`},
		{`{"metadata":{"generation":1}}`, `{"metadata":{"generation":2}}`},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		before, ok := decodeObject(a)
		after, ok2 := decodeObject(b)
		if !ok || !ok2 || len(a)+len(b) > 10_000 {
			return
		}
		fields, more := diffObjects(before, after, true)
		reordered := len(fields) == 0 && more == 0
		if equal(before, after) && !reordered {
			t.Fatalf("equal, and differ in %v", fields)
		}
		if !equal(before, after) && reordered && !sameMembers(before, after) {
			t.Fatalf("%s and %s differ, and no field is told", a, b)
		}
		for _, c := range fields {
			if len(c.Old)+len(c.New) > 4*maxValue || c.Path == "" || c.Old == nil && c.New == nil || strings.ContainsAny(c.Path, "\n\x1b") {
				t.Fatalf("%+v", c)
			}
			for _, v := range []json.RawMessage{c.Old, c.New} {
				if v != nil && !json.Valid(v) {
					t.Fatalf("%s is no JSON", v)
				}
			}
		}
	})
}

func decodeObject(s string) (map[string]any, bool) {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var m map[string]any
	err := d.Decode(&m)
	return m, err == nil && m != nil
}

// sameMembers is equal but for the order of lists whose members have a key:
// Kubernetes gives that order no meaning.
func sameMembers(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k := range a {
			if v, ok := b[k]; !ok || !sameMembers(a[k], v) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			found := false
			for j := range b {
				found = found || sameMembers(a[i], b[j])
			}
			if !found {
				return false
			}
		}
		return true
	}
	return equal(a, b)
}
