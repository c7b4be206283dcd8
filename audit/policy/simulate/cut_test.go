package simulate

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/policy"
)

// reference is line at that level, made by decoding all of it and encoding it again.
func reference(t *testing.T, line string, level policy.Level, omitManaged bool) string {
	t.Helper()
	event := object(t, line)
	recorded := levelOf(event.get("level"))
	if level < recorded {
		event.set("level", `"`+level.String()+`"`)
		if level < policy.Request {
			event.drop("requestObject")
			if notes := event.raw("annotations"); notes != "" {
				o := object(t, notes)
				o.drop("audit.k8s.io/truncated")
				if event.set("annotations", o.String()); len(o) == 0 {
					event.drop("annotations")
				}
			}
		}
		if level < policy.RequestResponse {
			event.drop("responseObject")
		}
	}
	if omitManaged {
		for _, key := range []string{"requestObject", "responseObject"} {
			if body := event.raw(key); strings.HasPrefix(body, "{") && (key == "responseObject" || event.get("verb") != "patch") {
				event.set(key, withoutManaged(t, body))
			}
		}
	}
	return event.String() + "\n"
}

func withoutManaged(t *testing.T, body string) string {
	o := object(t, body)
	one := func(o keyed) keyed {
		if meta := o.raw("metadata"); strings.HasPrefix(meta, "{") {
			m := object(t, meta)
			m.drop("managedFields")
			o.set("metadata", m.String())
		}
		return o
	}
	each := func(key string, fn func(keyed) keyed) {
		list := o.raw(key)
		if !strings.HasPrefix(list, "[") {
			return
		}
		var items []json.RawMessage
		if err := json.Unmarshal([]byte(list), &items); err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, item := range items {
			if item[0] == '{' {
				out = append(out, fn(object(t, string(item))).String())
			} else {
				out = append(out, string(item))
			}
		}
		o.set(key, "["+strings.Join(out, ",")+"]")
	}
	one(o)
	each("items", one)
	each("rows", func(row keyed) keyed {
		if inner := row.raw("object"); strings.HasPrefix(inner, "{") {
			row.set("object", one(object(t, inner)).String())
		}
		return row
	})
	return o.String()
}

// keyed is a JSON object in its order, read by encoding/json.
type keyed []member

type member struct{ key, value string }

func object(t *testing.T, s string) keyed {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(s))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	var o keyed
	for dec.More() {
		k, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			t.Fatal(err)
		}
		o = append(o, member{k.(string), string(v)})
	}
	return o
}

func (o keyed) raw(key string) string {
	for _, m := range o {
		if m.key == key {
			return m.value
		}
	}
	return ""
}

func (o keyed) get(key string) string { return strings.Trim(o.raw(key), `"`) }

func (o keyed) set(key, value string) {
	for i := range o {
		if o[i].key == key {
			o[i].value = value
		}
	}
}

func (o *keyed) drop(key string) {
	for i, m := range *o {
		if m.key == key {
			*o = append((*o)[:i:i], (*o)[i+1:]...)
			return
		}
	}
}

func (o keyed) String() string {
	var b strings.Builder
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, _ := json.Marshal(m.key)
		b.Write(key)
		b.WriteByte(':')
		b.WriteString(m.value)
	}
	return "{" + b.String() + "}"
}

// The sizes are exact: those of the same event decoded whole and encoded again.
func TestCutIsExact(t *testing.T) {
	cut, managed := 0, 0
	for _, ev := range sampleEvents(t) {
		for _, level := range []policy.Level{policy.Metadata, policy.Request, policy.RequestResponse} {
			for _, omit := range []bool{false, true} {
				p := partsOf(ev, nil)
				want := reference(t, ev.Raw, level, omit)
				if got := p.size(level, omit); got != int64(len(want)) {
					t.Fatalf("size(%v, omit managedFields %v) = %d, want %d\n%s", level, omit, got, len(want), ev.Raw)
				}
				if got := string(p.append(nil, level, omit)); got != want {
					t.Fatalf("append(%v, %v)\n got %s\nwant %s", level, omit, got, want)
				}
				if len(want) < len(ev.Raw)+1 {
					cut++
				}
				if omit && len(p.managed) > 0 {
					managed++
				}
			}
		}
	}
	if cut < 1000 || managed < 1000 {
		t.Errorf("the sample has %d cuts and %d events with managedFields: too few to mean anything", cut, managed)
	}
}

var cutCases = []struct{ name, line string }{
	{"list", `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","stage":"ResponseComplete","verb":"list","responseObject":{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"a","managedFields":[{"manager":"x"}]}},{"metadata":{"managedFields":[],"name":"b"}},{"metadata":{"managedFields":[{}]}},null]}}`},
	{"table", `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","stage":"ResponseComplete","verb":"list","responseObject":{"kind":"Table","rows":[{"cells":["]}"],"object":{"metadata":{"name":"a","managedFields":[{"f":"{\"x\":\"\\\\\"}"}]}}},{"cells":[]}]}}`},
	{"patch", `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","stage":"ResponseComplete","verb":"patch","requestObject":{"metadata":{"managedFields":[{}]}},"responseObject":{"metadata":{"name":"n","managedFields":[{}]}}}`},
	{"truncated", `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","stage":"ResponseComplete","verb":"get","annotations":{"audit.k8s.io/truncated":"true"}}`},
	{"truncated first", `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","stage":"ResponseComplete","verb":"get","annotations":{"audit.k8s.io/truncated":"true","authorization.k8s.io/decision":"allow"}}`},
	{"body first", `{"requestObject":{"a":1},"responseObject":[],"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","stage":"ResponseComplete","verb":"create"}`},
	{"body last", `{"kind":"Event","apiVersion":"audit.k8s.io/v1","stage":"ResponseComplete","verb":"create","level":"RequestResponse","responseObject":"text \" , } \\","requestObject":-1.5e3}`},
	{"nested names", `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","stage":"ResponseComplete","verb":"update","user":{"username":"a","extra":{"requestObject":["x"]}},"requestObject":{"spec":{"managedFields":[1],"metadata":{"managedFields":[2]}}},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z"}`},
}

func TestCutCases(t *testing.T) {
	for _, c := range cutCases {
		t.Run(c.name, func(t *testing.T) {
			var ev audit.Event
			if err := audit.Decode([]byte(c.line), &ev); err != nil {
				t.Fatal(err)
			}
			for _, level := range []policy.Level{policy.Metadata, policy.Request, policy.RequestResponse} {
				for _, omit := range []bool{false, true} {
					p := partsOf(&ev, nil)
					want := reference(t, c.line, level, omit)
					if got := string(p.append(nil, level, omit)); got != want {
						t.Errorf("append(%v, %v)\n got %s\nwant %s", level, omit, got, want)
					}
					if got := p.size(level, omit); got != int64(len(want)) {
						t.Errorf("size(%v, %v) = %d, want %d", level, omit, got, len(want))
					}
				}
			}
		})
	}
}

// Whatever package audit takes for an event is cut without a panic, into an event,
// of the size that was said.
func FuzzCut(f *testing.F) {
	for _, c := range cutCases {
		f.Add([]byte(c.line))
	}
	f.Add([]byte(`{"kind" : "Event" , "apiVersion":"audit.k8s.io/v1", "requestObject" : { } , "level" : "Request" }`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e := audit.Event{Raw: string(line), Level: "RequestResponse", Truncated: true}
		for level := policy.Metadata; level <= policy.RequestResponse; level++ {
			p := partsOf(&e, nil) // of anything: no panic, no end
			p.size(level, true)
			p.append(nil, level, true)
		}
		if audit.Decode(line, &e) != nil || strings.Contains(e.Raw, `\u`) || twice(e.Raw) {
			return
		}
		for level := policy.Metadata; level <= policy.RequestResponse; level++ {
			for _, omit := range []bool{false, true} {
				p := partsOf(&e, nil)
				got := p.append(nil, level, omit)
				if int64(len(got)) != p.size(level, omit) {
					t.Fatalf("size(%v, %v) = %d, but append wrote %d: %s", level, omit, p.size(level, omit), len(got), got)
				}
				var after audit.Event
				if err := audit.Decode(bytes.TrimSuffix(got, []byte("\n")), &after); err != nil {
					t.Fatalf("append(%v, %v): %v\nfrom %q\n got %q", level, omit, err, line, got)
				}
				if after.User != e.User || after.AuditID != e.AuditID || after.Verb != e.Verb || after.Code != e.Code {
					t.Fatalf("append(%v, %v) changed the event\nfrom %q\n got %q", level, omit, line, got)
				}
			}
		}
	})
}

// twice is whether a key of the event, or of its annotations, stands twice: no API
// server writes that, and the cutter knows one only.
func twice(s string) bool {
	seen := map[string]bool{}
	m := members{s: s, i: open(s, 0, '{')}
	for m.next() {
		if seen[m.key] {
			return true
		}
		seen[m.key] = true
		if m.key == "annotations" {
			inner := map[string]bool{}
			a := members{s: s, i: open(s, m.from, '{')}
			for a.next() {
				if inner[a.key] {
					return true
				}
				inner[a.key] = true
			}
		}
	}
	return false
}
