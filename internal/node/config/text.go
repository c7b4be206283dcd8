package config

import (
	"bytes"
	"encoding/json"
	"strings"

	"go.yaml.in/yaml/v3"
)

func text(v string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v}
}

func yes() *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"}
}

func mapping(content ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: content}
}

func sequence(content ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: content}
}

// scalar is where a scalar stands in the text, on one line; ok is false where
// it is written over several, or with an anchor or a tag.
func (s *source) scalar(n *yaml.Node) (from, to int, ok bool) {
	if n.Kind != yaml.ScalarNode {
		return 0, 0, false
	}
	from = s.offset(n)
	switch {
	case n.Anchor != "" || n.Style&(yaml.TaggedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 || from >= len(s.text):
		return 0, 0, false
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		to, ok = s.quoted(from)
	default:
		to, ok = from+len(n.Value), bytes.HasPrefix(s.text[from:], []byte(n.Value))
	}
	return from, to, ok && bytes.IndexByte(s.text[from:to], '\n') < 0
}

// replace gives a scalar another value, in the same quotes.
func (s *source) replace(n *yaml.Node, value string) (*source, error) {
	if err := s.touch(n); err != nil {
		return nil, err
	}
	from, to, ok := s.scalar(n)
	if !ok {
		return nil, refuse(n, "is written over several lines, or with an anchor or a tag: write it plainly on one line")
	}
	n.Value, n.Tag = value, "!!str"
	return s.apply(n, splice{from, to - from, s.scalarText(n, s.inFlow(n))})
}

func (s *source) inFlow(n *yaml.Node) bool {
	for ; n != nil; n = s.parent[n] {
		if n.Style&yaml.FlowStyle != 0 {
			return true
		}
	}
	return false
}

// scalarText writes a scalar: in the quotes of its style, or in those it needs.
func (s *source) scalarText(n *yaml.Node, flow bool) string {
	switch {
	case n.Tag == "!!bool":
		return n.Value
	case s.json || n.Style&yaml.DoubleQuotedStyle != 0:
		return quote(n.Value)
	case n.Style&yaml.SingleQuotedStyle != 0, !isPlain(n.Value, flow) && strings.ContainsAny(n.Value, `"\`):
		return "'" + strings.ReplaceAll(n.Value, "'", "''") + "'"
	case !isPlain(n.Value, flow):
		return quote(n.Value)
	}
	return n.Value
}

// quote writes a text as JSON does, which YAML reads too.
func quote(v string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // a string can be encoded
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// isPlain reports whether a text needs no quotes: whether the parser takes it
// for that text, on its own and as a value. Kubernetes' own YAML is older and
// has more words for true and false.
func isPlain(v string, flow bool) bool {
	switch strings.ToLower(v) {
	case "y", "n", "yes", "no", "on", "off":
		return false
	}
	forms := []string{"- " + v, "- k: " + v}
	if flow {
		forms = append(forms, "["+v+"]", "[{k: "+v+"}]")
	}
	for _, form := range forms {
		var doc yaml.Node
		if yaml.Unmarshal([]byte(form), &doc) != nil || len(doc.Content) != 1 {
			return false
		}
		n := doc.Content[0]
		for n.Kind != yaml.ScalarNode && len(n.Content) > 0 {
			n = n.Content[len(n.Content)-1]
		}
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" || n.Value != v || n.Style != 0 {
			return false
		}
	}
	return !strings.ContainsAny(v, "\n\r")
}

// elementLines writes an element of a sequence, its dash in column col and the
// text gap columns further.
func (s *source) elementLines(n *yaml.Node, col, gap int) []string {
	if n.Kind == yaml.ScalarNode {
		return []string{spaces(col) + "-" + spaces(gap-1) + s.scalarText(n, false)}
	}
	var lines []string
	for i := 0; i < len(n.Content); i += 2 {
		lines = append(lines, s.pairLines(n.Content[i], n.Content[i+1], col+gap)...)
	}
	lines[0] = spaces(col) + "-" + spaces(gap-1) + lines[0][col+gap:]
	return lines
}

// pairLines writes a pair of a mapping, its key in column col.
func (s *source) pairLines(key, value *yaml.Node, col int) []string {
	head := spaces(col) + s.scalarText(key, false) + ":"
	switch value.Kind {
	case yaml.MappingNode:
		lines := []string{head}
		for i := 0; i < len(value.Content); i += 2 {
			lines = append(lines, s.pairLines(value.Content[i], value.Content[i+1], col+s.unit())...)
		}
		return lines
	case yaml.SequenceNode:
		lines := []string{head}
		for _, n := range value.Content {
			lines = append(lines, s.elementLines(n, col+s.dashIndent(), 2)...)
		}
		return lines
	}
	return []string{head + " " + s.scalarText(value, false)}
}

func spaces(n int) string { return strings.Repeat(" ", max(n, 0)) }

// unit is by how much the file indents a mapping in a mapping.
func (s *source) unit() int {
	n := s.find(func(_, value *yaml.Node) bool {
		return value.Kind == yaml.MappingNode && len(value.Content) > 0 && value.Style&yaml.FlowStyle == 0
	}, func(key, value *yaml.Node) int { return value.Content[0].Column - key.Column })
	if n < 1 {
		return 2
	}
	return n
}

// dashIndent is by how much the file indents a list's dashes under their key.
func (s *source) dashIndent() int {
	return max(0, s.find(func(key, value *yaml.Node) bool {
		return value.Kind == yaml.SequenceNode && value.Style&yaml.FlowStyle == 0 && value.Line > key.Line && value.Anchor == "" && value.Style&yaml.TaggedStyle == 0
	}, func(key, value *yaml.Node) int { return value.Column - key.Column }))
}

// find measures the first pair of the file that is.
func (s *source) find(is func(key, value *yaml.Node) bool, measure func(key, value *yaml.Node) int) int {
	var walk func(n *yaml.Node) (int, bool)
	walk = func(n *yaml.Node) (int, bool) {
		for i, c := range n.Content {
			if n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle == 0 && i%2 == 1 && is(n.Content[i-1], c) {
				return measure(n.Content[i-1], c), true
			}
			if v, ok := walk(c); ok {
				return v, true
			}
		}
		return 0, false
	}
	for _, d := range s.docs {
		if v, ok := walk(d); ok {
			return v
		}
	}
	return -1
}

// compact reports whether the file is JSON without blanks.
func (s *source) compact() bool { return s.json && !bytes.Contains(s.text, []byte(`": `)) }

// flowText writes an element for brackets; key is nil in a sequence. lead is
// what stands before it on its line where it has one to itself, "" otherwise:
// JSON is then written over several lines, as the rest of such a file is.
func (s *source) flowText(key, value *yaml.Node, lead string) string {
	if key != nil {
		colon := ": "
		if s.compact() {
			colon = ":"
		}
		return s.scalarText(key, true) + colon + s.flowText(nil, value, lead)
	}
	if value.Kind == yaml.ScalarNode {
		return s.scalarText(value, true)
	}
	open, end := "{", "}"
	var parts []string
	inner := ""
	wide := s.json && lead != ""
	if wide {
		inner = lead + s.jsonUnit()
	}
	if value.Kind == yaml.SequenceNode {
		open, end = "[", "]"
		for _, n := range value.Content {
			parts = append(parts, s.flowText(nil, n, inner))
		}
	} else {
		for i := 0; i < len(value.Content); i += 2 {
			parts = append(parts, s.flowText(value.Content[i], value.Content[i+1], inner))
		}
	}
	switch {
	case wide:
		eol := s.eol(0)
		return open + eol + inner + strings.Join(parts, ","+eol+inner) + eol + lead + end
	case s.compact():
		return open + strings.Join(parts, ",") + end
	}
	return open + strings.Join(parts, ", ") + end
}

// jsonUnit is what the file indents by: what stands before its first key.
func (s *source) jsonUnit() string {
	if r := root(s.docs[0]); r != nil && len(r.Content) > 0 {
		if lead, own := s.blanksBefore(s.offset(r.Content[0])); own && lead != "" {
			return lead
		}
	}
	return "  "
}
