package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// Digest is what stands for a body that was taken out, as the only member of an
// object, DigestKey:
//
//	"requestObject":{"ktrail/digest":{"bytes":180222,"sha256":"9f86...","head":"{\"kind\":\"ConfigMap\",\"apiVersi"}}
type Digest struct {
	Bytes  int    `json:"bytes"`  // of the body's JSON in the line
	SHA256 string `json:"sha256"` // of the same
	// Head is the beginning of the body's JSON, as text: whole characters only.
	Head string `json:"head,omitempty"`
}

// DigestKey is the name by which a [Digest] is known.
const DigestKey = "ktrail/digest"

const truncated = "audit.k8s.io/truncated"

// digest is body's digest as JSON.
func (o *TruncateOptions) digest(body string) []byte {
	sum := sha256.Sum256([]byte(body))
	n := min(o.Head, len(body))
	for n > 0 && n < len(body) && !utf8.RuneStart(body[n]) {
		n--
	}
	// It is made of numbers and text: nothing that cannot be JSON.
	out, _ := json.Marshal(map[string]Digest{DigestKey: {Bytes: len(body), SHA256: hex.EncodeToString(sum[:]), Head: body[:n]}})
	return out
}

// cutBodies is the line without its bodies, or with what instead makes of each, and
// with the annotation that says so where the API server would write it: among the
// others in the order of their names. It takes an event as a decoder takes it.
func cutBodies(line string, instead func(body string) []byte) ([]byte, error) {
	p := parser{text: line}
	fields, end := p.fields(p.space(0))
	if end < 0 || p.space(end) != len(line) {
		return nil, errNotObject
	}
	// Of a field that is there twice the last counts; objects are merged, and null empties them.
	last := -1
	for i, f := range fields {
		if f.key == "annotations" {
			last = i
		}
	}
	out := make([]byte, 1, 1024)
	out[0] = '{'
	for i, f := range fields {
		value := line[f.value:f.end]
		switch {
		case f.key == "requestObject" || f.key == "responseObject":
			if instead == nil || value == "null" {
				continue
			}
			out = append(separate(out), line[f.start:f.value]...)
			out = append(out, instead(value)...)
		case f.key == "annotations" && i == last:
			out = append(separate(out), line[f.start:f.value]...)
			var ok bool
			if out, ok = annotate(out, value); !ok {
				return nil, errNotObject
			}
		case f.key == "annotations" && line[fields[last].value] == 'n':
			// null, the last, emptied it
		default:
			out = append(separate(out), line[f.start:f.end]...)
		}
	}
	if last < 0 {
		out = append(separate(out), `"annotations":{"`+truncated+`":"true"}`...)
	}
	return append(out, '}'), nil
}

var errNotObject = errors.New("cut line: not a JSON object")

// annotate appends the annotations in value, an object or null, and the one that
// says that the event was truncated.
func annotate(out []byte, value string) ([]byte, bool) {
	const note = `"` + truncated + `":"true"`
	p := parser{text: value}
	var fields []field
	if value != "null" {
		var end int
		if fields, end = p.fields(0); end != len(value) {
			return nil, false
		}
	}
	out = append(out, '{')
	done := false
	for _, f := range fields {
		if f.key == truncated {
			continue
		}
		if !done && f.key > truncated {
			out, done = append(separate(out), note...), true
		}
		out = append(separate(out), value[f.start:f.end]...)
	}
	if !done {
		out = append(separate(out), note...)
	}
	return append(out, '}'), true
}

// separate puts a comma behind what is not the beginning of an object.
func separate(out []byte) []byte {
	if out[len(out)-1] == '{' {
		return out
	}
	return append(out, ',')
}

// field is a member of an object, whose value was passed over: from start to end
// with its name, the value from value on.
type field struct {
	key               string
	start, value, end int
}

// fields are the members of the object at i.
func (p *parser) fields(i int) ([]field, int) {
	if p.at(i) != '{' {
		return nil, -1
	}
	if i = p.space(i + 1); p.at(i) == '}' {
		return nil, i + 1
	}
	out := make([]field, 0, 20) // an event has 19 members
	for {
		f := field{start: i}
		if p.at(i) != '"' {
			return nil, -1
		}
		end := p.quoted(i)
		if end < 0 {
			return nil, -1
		}
		f.key = unquote(p.text[i:end])
		if i = p.space(end); p.at(i) != ':' {
			return nil, -1
		}
		f.value = p.space(i + 1)
		if f.end = p.skip(f.value); f.end < 0 {
			return nil, -1
		}
		out = append(out, f)
		switch i = p.space(f.end); p.at(i) {
		case ',':
			i = p.space(i + 1)
		case '}':
			return out, i + 1
		default:
			return nil, -1
		}
	}
}

// skip returns the offset behind the value at i. Of objects and arrays it only looks
// for the end.
func (p *parser) skip(i int) int {
	depth := 0
	for i < len(p.text) {
		switch p.text[i] {
		case '"':
			if i = p.quoted(i); i < 0 {
				return -1
			}
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		default:
			if depth > 0 {
				i++
				continue
			}
			k := strings.IndexAny(p.text[i:], "\"{[}],: \t\r\n")
			if k <= 0 {
				return -1
			}
			return i + k
		}
		if depth < 0 {
			return -1
		}
		if depth == 0 {
			return i
		}
	}
	return -1
}
