package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
)

// document knows where things stand in the text of a policy. It is read apart from
// the policy itself, by a parser that keeps places, and may be missing: then there
// are no places.
type document struct {
	root *yaml.Node
	json bool
}

// isJSON is how the API server tells JSON from YAML.
func isJSON(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeftFunc(data, unicode.IsSpace), []byte("{"))
}

// readDocument parses data once more, for the places, and says where a second
// document begins if there is one.
func readDocument(data, text []byte) (*document, *LoadError) {
	d := &document{json: isJSON(data)}
	if d.json {
		if !json.Valid(text) {
			return d, nil // decode says so
		}
		// JSON is YAML but for tabs, which in valid JSON are between tokens only.
		data = bytes.ReplaceAll(data, []byte("\t"), []byte(" "))
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var first yaml.Node
	if err := dec.Decode(&first); err != nil {
		return d, nil
	}
	if first.Kind == yaml.DocumentNode && len(first.Content) > 0 {
		d.root = first.Content[0]
	}
	for {
		var next yaml.Node
		err := dec.Decode(&next)
		if errors.Is(err, io.EOF) {
			return d, nil
		}
		if err != nil {
			e := syntaxError(data, err)
			e.Msg += " (after the first document)"
			return d, e
		}
		if empty := len(next.Content) == 0 || next.Content[0].Tag == "!!null"; empty {
			continue
		}
		at := next.Content[0]
		msg := "a second document begins here; the API server reads the first one only and ignores this: put one policy in a file"
		if d.root == nil || d.root.Tag == "!!null" {
			msg = "a second document begins here and the first one, the only one that the API server reads, is empty: remove the --- before it"
		}
		return d, &LoadError{Line: at.Line, Column: at.Column, Msg: msg}
	}
}

// Position is where a field of a loaded policy stands, counted from 1: rules[2],
// rules[2].verbs, rules[2].resources[0].group, omitStages. Of a field the place is
// that of its value. 0, 0 if it is not written.
func (p *Policy) Position(field string) (line, column int) { return p.doc.position(field) }

func (d *document) position(field string) (line, column int) {
	if n := d.node(field); n != nil {
		return n.Line, n.Column
	}
	return 0, 0
}

// node is the value at a path like rules[2].resources[0].group.
func (d *document) node(field string) *yaml.Node {
	if d == nil || d.root == nil {
		return nil
	}
	n := d.root
	for part := range strings.FieldsFuncSeq(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		if n = child(follow(n), part); n == nil {
			return nil
		}
	}
	return n
}

func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// child is the value of a key or the element of an index; of a key that stands
// twice the last one, which is the one that counts.
func child(n *yaml.Node, part string) *yaml.Node {
	switch n.Kind {
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(part); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i]
		}
	case yaml.MappingNode:
		for i := len(n.Content) - 2; i >= 0; i -= 2 {
			if n.Content[i].Value == part {
				return n.Content[i+1]
			}
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Tag == "!!merge" {
				if v := follow(n.Content[i+1]); v.Kind == yaml.MappingNode && v != n {
					return plainChild(v, part)
				}
			}
		}
	}
	return nil
}

// plainChild looks a key up without following merges any deeper.
func plainChild(n *yaml.Node, part string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == part {
			return n.Content[i+1]
		}
	}
	return nil
}

// decodeError is an error of a JSON decoder over text, with the place in what was loaded.
func (d *document) decodeError(text []byte, err error) *LoadError {
	if bad, offset := kjson.SyntaxErrorOffset(err); bad {
		e := &LoadError{Line: 1, Column: 1, Msg: "is no JSON: " + err.Error()}
		if d.json {
			e.Line, e.Column = lineColumn(text, int(offset)-1)
		}
		return e
	}
	e := &LoadError{Line: 1, Column: 1, Msg: err.Error()}
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		e.Msg = "metadata: " + e.Msg // the only part with values that have a syntax of their own
		if line, column := d.position("metadata"); line > 0 {
			e.Line, e.Column = line, column
		}
		return e
	}
	e.Field = pathAt(text, wrong.Offset)
	e.Msg = fmt.Sprintf("is %s; it must be %s", jsonKind(wrong.Value), goKind(wrong.Type))
	if wrong.Type.Kind() == reflect.String && (wrong.Value == "bool" || strings.HasPrefix(wrong.Value, "number")) {
		e.Msg += ": put it in quotes"
	}
	if line, column := d.position(e.Field); line > 0 {
		e.Line, e.Column = line, column
	}
	return e
}

// lineColumn is the place of a byte, counted from 1.
func lineColumn(text []byte, offset int) (line, column int) {
	before := text[:min(max(offset, 0), len(text))]
	return 1 + bytes.Count(before, []byte("\n")), len(before) - bytes.LastIndexByte(before, '\n')
}

// pathAt is the path of the value whose reading ended at offset.
func pathAt(text []byte, offset int64) string {
	type level struct {
		list  bool
		index int
		key   string
		onKey bool // the next string is a key
	}
	var stack []*level
	path := func() string {
		var b strings.Builder
		for _, l := range stack {
			switch {
			case l.list:
				fmt.Fprintf(&b, "[%d]", l.index)
			case b.Len() > 0:
				b.WriteString("." + l.key)
			default:
				b.WriteString(l.key)
			}
		}
		return b.String()
	}
	next := func() { // the value at the top of the stack is complete
		if len(stack) == 0 {
			return
		}
		top := stack[len(stack)-1]
		top.index++
		top.onKey = !top.list
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	for {
		tok, err := dec.Token()
		if err != nil {
			return path()
		}
		done := dec.InputOffset() >= offset
		switch t := tok.(type) {
		case json.Delim:
			switch t {
			case '{', '[':
				if done {
					return path()
				}
				stack = append(stack, &level{list: t == '[', onKey: t == '{'})
				continue
			}
			stack = stack[:len(stack)-1]
		case string:
			if top := len(stack) - 1; top >= 0 && stack[top].onKey {
				stack[top].key, stack[top].onKey = t, false
				continue
			}
		}
		if done {
			return path()
		}
		next()
	}
}

// jsonKind is what encoding/json calls a value, in words.
func jsonKind(value string) string {
	switch {
	case value == "array":
		return "a list"
	case value == "object":
		return "a mapping"
	case value == "bool":
		return "true or false"
	case strings.HasPrefix(value, "number"):
		return "a number"
	}
	return "a " + value
}

func goKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a mapping"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	}
	return "a whole number"
}
