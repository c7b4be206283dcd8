package capture

import (
	"strconv"
	"strings"
)

// labelSelectorOK is whether an API server can read a label selector, such as
// "app=web,tier in (a,b),!old" (k8s.io/apimachinery/pkg/labels, Parse): if not, it
// forgets the field selector beside it too.
func labelSelectorOK(s string) bool {
	p := labelParser{text: s}
	p.next()
	for {
		if p.kind == end {
			return true
		}
		if !p.requirement() {
			return false
		}
		switch p.kind {
		case end:
			return true
		case ',':
			if p.next(); !p.isWord() && p.kind != '!' {
				return false
			}
		default:
			return false
		}
	}
}

// The kinds of words in a selector that are not the byte they begin with.
const (
	end      = 0
	word     = 'w'
	in       = 'i' // also a word where an operator cannot stand
	notIn    = 'n' // likewise
	equals   = 'E' // ==
	notEqual = 'N' // !=
)

// labelParser holds the word that comes next.
type labelParser struct {
	text string
	kind byte
	lit  string
}

const labelSpecials = "=!(),><"

func (p *labelParser) isWord() bool { return p.kind == word || p.kind == in || p.kind == notIn }

// next reads a word. A NUL ends the selector, or the word before it: it does in the original.
func (p *labelParser) next() {
	s := strings.TrimLeft(p.text, " \t\r\n")
	if s == "" || s[0] == 0 {
		p.text, p.kind, p.lit = "", end, ""
		return
	}
	n := 1
	switch {
	case strings.HasPrefix(s, "=="):
		p.kind, n = equals, 2
	case strings.HasPrefix(s, "!="):
		p.kind, n = notEqual, 2
	case strings.IndexByte(labelSpecials, s[0]) >= 0:
		p.kind = s[0]
	default:
		p.kind = word
		if n = strings.IndexAny(s, labelSpecials+" \t\r\n\x00"); n < 0 {
			n = len(s)
		}
		switch s[:n] {
		case "in":
			p.kind = in
		case "notin":
			p.kind = notIn
		}
	}
	p.lit, p.text = s[:n], strings.TrimPrefix(s[n:], "\x00")
}

// requirement reads one of the requirements between commas.
func (p *labelParser) requirement() bool {
	not := p.kind == '!'
	if not {
		p.next()
	}
	if !p.isWord() || !labelKeyOK(p.lit) {
		return false
	}
	p.next()
	if not || p.kind == end || p.kind == ',' {
		return true
	}
	op := p.kind
	p.next()
	switch op {
	case in, notIn:
		return p.set()
	case '=', equals, notEqual, '>', '<':
		value := ""
		if p.kind != end && p.kind != ',' {
			if !p.isWord() {
				return false
			}
			value = p.lit
			p.next()
		}
		if op == '>' || op == '<' {
			if _, err := strconv.ParseInt(value, 10, 64); err != nil {
				return false
			}
		}
		return labelNameOK(value, true)
	}
	return false
}

// set reads the values of in and notin: any of them may be empty.
func (p *labelParser) set() bool {
	if p.kind != '(' {
		return false
	}
	for p.next(); p.kind != ')'; {
		switch {
		case p.isWord():
			if !labelNameOK(p.lit, true) {
				return false
			}
			if p.next(); p.kind != ',' && p.kind != ')' {
				return false
			}
		case p.kind == ',':
			p.next()
		default:
			return false
		}
	}
	p.next()
	return true
}

// labelKeyOK is whether key is a label's: a name, perhaps with a DNS subdomain and a slash in front.
func labelKeyOK(key string) bool {
	prefix, name, ok := strings.Cut(key, "/")
	if !ok {
		return labelNameOK(key, false)
	}
	if prefix == "" || len(prefix) > 253 || !labelNameOK(name, false) {
		return false
	}
	for part := range strings.SplitSeq(prefix, ".") {
		for i := range len(part) {
			c := part[i]
			if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' && i > 0 && i < len(part)-1) {
				return false
			}
		}
		if part == "" {
			return false
		}
	}
	return true
}

// labelNameOK is whether s is the name of a label, or a value.
func labelNameOK(s string, emptyOK bool) bool {
	if s == "" {
		return emptyOK
	}
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && (i == 0 || i == len(s)-1 || c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return len(s) <= 63
}
