package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const bom = "\xef\xbb\xbf"

// source is a file's text and what it says. Every edit makes a new one.
type source struct {
	text []byte // without a byte order mark
	bom  bool
	json bool  // the whole text is one JSON value
	line []int // where lines begin, as offsets in text; one more for the end
	docs []*yaml.Node

	parent  map[*yaml.Node]*yaml.Node
	aliased map[*yaml.Node]bool // nodes that an alias elsewhere stands for
}

// parse reads data. The YAML parser counts characters and knows five line
// breaks; what would make its positions differ from ours is refused.
func parse(data []byte) (*source, error) {
	s := &source{text: data, parent: map[*yaml.Node]*yaml.Node{}, aliased: map[*yaml.Node]bool{}}
	if bytes.HasPrefix(data, []byte(bom)) {
		s.bom, s.text = true, data[len(bom):]
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	s.line = append(s.line, 0)
	for i, c := range s.text {
		if c == '\n' {
			s.line = append(s.line, i+1)
		}
	}
	if s.line[len(s.line)-1] != len(s.text) {
		s.line = append(s.line, len(s.text))
	}
	s.json = bytes.HasPrefix(bytes.TrimLeft(s.text, " \t\r\n"), []byte("{")) && json.Valid(s.text)
	if err := s.decode(); err != nil {
		return nil, err
	}
	for _, d := range s.docs {
		s.link(d)
	}
	return s, nil
}

func (s *source) check() error {
	switch {
	case len(s.text) > MaxSize:
		return &RefusedError{Msg: fmt.Sprintf("is larger than %d KiB: that is no configuration of an API server", MaxSize>>10)}
	case len(bytes.TrimSpace(s.text)) == 0:
		return &RefusedError{Msg: "is empty"}
	case !utf8.Valid(s.text):
		return &RefusedError{Msg: "is not UTF-8 text"}
	}
	line := 1
	for i, r := range string(s.text) {
		switch r {
		case '\n':
			line++
		case '\r':
			if i+1 < len(s.text) && s.text[i+1] == '\n' {
				continue
			}
			return &RefusedError{Line: line, Msg: "has a carriage return inside a line, which YAML takes for a new line: remove it"}
		case '\u0085', '\u2028', '\u2029':
			return &RefusedError{Line: line, Msg: fmt.Sprintf("has the invisible line break U+%04X: remove it", r)}
		case '\ufeff':
			return &RefusedError{Line: line, Msg: "has a byte order mark inside the text: remove it"}
		}
	}
	return nil
}

// decode parses the text. The parser is known to panic on some malformed
// input; that is malformed input to us.
func (s *source) decode() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &RefusedError{Msg: fmt.Sprintf("is not valid YAML: %v", r)}
		}
	}()
	d := yaml.NewDecoder(bytes.NewReader(s.text))
	for {
		n := &yaml.Node{}
		err := d.Decode(n)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			r := &RefusedError{Msg: "is not valid YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
			if _, e := fmt.Sscanf(err.Error(), "yaml: line %d:", &r.Line); e == nil {
				_, what, _ := strings.Cut(strings.TrimPrefix(err.Error(), "yaml: "), ": ")
				r.Msg = "is not valid YAML: " + what
			}
			return r
		}
		s.docs = append(s.docs, n)
	}
}

func (s *source) link(n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		s.aliased[n.Alias] = true
		return
	}
	for _, c := range n.Content {
		s.parent[c] = n
		s.link(c)
	}
}

func (s *source) bytes() []byte {
	if s.bom {
		return append([]byte(bom), s.text...)
	}
	return s.text
}

// root is a document's content, nil for an empty one.
func root(doc *yaml.Node) *yaml.Node {
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		return follow(doc.Content[0])
	}
	return nil
}

// follow is what an alias stands for, or n itself.
func follow(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// get is the value of a key of m, found through aliases and merge keys as
// readers find it; nil when there is none. Of duplicate keys the last counts.
func get(m *yaml.Node, key string) *yaml.Node {
	return lookUp(m, key, map[*yaml.Node]bool{})
}

// lookUp goes into each mapping once, for merges may be circular, and many.
func lookUp(m *yaml.Node, key string, seen map[*yaml.Node]bool) *yaml.Node {
	m = follow(m)
	if m == nil || m.Kind != yaml.MappingNode || seen[m] {
		return nil
	}
	for i := len(m.Content) - 2; i >= 0; i -= 2 {
		if m.Content[i].Kind == yaml.ScalarNode && m.Content[i].Value == key && !isMerge(m.Content[i]) {
			return follow(m.Content[i+1])
		}
	}
	seen[m] = true
	for i := 0; i+1 < len(m.Content); i += 2 {
		if !isMerge(m.Content[i]) {
			continue
		}
		from := []*yaml.Node{m.Content[i+1]}
		if v := follow(m.Content[i+1]); v.Kind == yaml.SequenceNode {
			from = v.Content
		}
		for _, f := range from {
			if v := lookUp(f, key, seen); v != nil {
				return v
			}
		}
	}
	return nil
}

func isMerge(key *yaml.Node) bool { return key.ShortTag() == "!!merge" }

// str is the text of a scalar, "" for anything else.
func str(n *yaml.Node) string {
	if n = follow(n); n != nil && n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null" {
		return n.Value
	}
	return ""
}

// items are the elements of a sequence, none for anything else.
func items(n *yaml.Node) []*yaml.Node {
	if n = follow(n); n != nil && n.Kind == yaml.SequenceNode {
		return n.Content
	}
	return nil
}
