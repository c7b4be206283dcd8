package pipeline

import (
	"encoding/json"
	"fmt"
	"strings"
)

// value is a JSON value and where it stands in the text: the tree that the rules
// of redaction are applied to. Only lines that may hold a secret are parsed.
type value struct {
	kind       byte // { [ " 0 (a number) t (true or false) n (null)
	start, end int
	members    []member // of an object, in order, with those that are there twice
	items      []value  // of an array
}

type member struct {
	key   string
	value value
}

// parse parses text. It is made for JSON that was found to be valid, and gives an
// error, not a panic, for what is not.
func parse(text string) (value, error) {
	p := parser{text: text}
	v, i := p.value(p.space(0))
	if i < 0 || p.space(i) != len(text) {
		return value{}, fmt.Errorf("parse line: not JSON")
	}
	return v, nil
}

// parser's methods return the offset behind what they parsed, or -1.
type parser struct{ text string }

// at is the byte at i, and NUL, which no JSON has, behind the end.
func (p *parser) at(i int) byte {
	if i < len(p.text) {
		return p.text[i]
	}
	return 0
}

func (p *parser) space(i int) int {
	for c := p.at(i); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = p.at(i) {
		i++
	}
	return i
}

func (p *parser) value(i int) (value, int) {
	v := value{kind: p.at(i), start: i}
	switch v.kind {
	case '{':
		i = p.members(i, &v)
	case '[':
		i = p.items(i, &v)
	case '"':
		i = p.quoted(i)
	default:
		for i < len(p.text) && strings.IndexByte(",]} \t\r\n", p.text[i]) < 0 {
			i++
		}
		if i == v.start {
			return v, -1
		}
		switch v.kind {
		case 'n':
		case 't', 'f':
			v.kind = 't'
		default:
			v.kind = '0'
		}
	}
	v.end = i
	return v, i
}

func (p *parser) members(i int, v *value) int {
	if i = p.space(i + 1); p.at(i) == '}' {
		return i + 1
	}
	for {
		if p.at(i) != '"' {
			return -1
		}
		end := p.quoted(i)
		if end < 0 {
			return -1
		}
		m := member{key: unquote(p.text[i:end])}
		if i = p.space(end); p.at(i) != ':' {
			return -1
		}
		if m.value, i = p.value(p.space(i + 1)); i < 0 {
			return -1
		}
		v.members = append(v.members, m)
		switch i = p.space(i); p.at(i) {
		case ',':
			i = p.space(i + 1)
		case '}':
			return i + 1
		default:
			return -1
		}
	}
}

func (p *parser) items(i int, v *value) int {
	if i = p.space(i + 1); p.at(i) == ']' {
		return i + 1
	}
	for {
		var item value
		if item, i = p.value(p.space(i)); i < 0 {
			return -1
		}
		v.items = append(v.items, item)
		switch i = p.space(i); p.at(i) {
		case ',':
			i++
		case ']':
			return i + 1
		default:
			return -1
		}
	}
}

// quoted returns the offset behind the string whose quotation mark is at i.
func (p *parser) quoted(i int) int {
	start := i + 1
	for i = start; ; {
		k := strings.IndexByte(p.text[i:], '"')
		if k < 0 {
			return -1
		}
		i += k + 1
		// It ends the string unless an odd number of backslashes stands before it.
		escapes := i - 2
		for escapes >= start && p.text[escapes] == '\\' {
			escapes--
		}
		if (i-escapes)%2 == 0 {
			return i
		}
	}
}

// unquote is the text of a quoted JSON string.
func unquote(quoted string) string {
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var s string
	if json.Unmarshal([]byte(quoted), &s) != nil {
		return quoted // what is not JSON matches no rule, and is redacted like a text
	}
	return s
}
