package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// Lines are counted from 0 here, in nodes from 1.

// lineText is a line without its end.
func (s *source) lineText(i int) string {
	return strings.TrimRight(string(s.text[s.line[i]:s.line[i+1]]), "\r\n")
}

func (s *source) lines() int { return len(s.line) - 1 }

// offset is where a node begins in the text. Columns count characters.
func (s *source) offset(n *yaml.Node) int {
	at := s.line[n.Line-1]
	for range n.Column - 1 {
		for at++; at < len(s.text) && s.text[at]&0xc0 == 0x80; at++ {
		}
	}
	return min(at, len(s.text))
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

func isDash(body string) bool { return body == "-" || strings.HasPrefix(body, "- ") }

// dash is the line on which an element of a sequence begins.
func (s *source) dash(seq *yaml.Node, i int) (int, bool) {
	from := seq.Line - 1
	if i > 0 {
		from = seq.Content[i-1].Line
	}
	for l := min(seq.Content[i].Line, s.lines()) - 1; l >= from; l-- {
		if t := s.lineText(l); indent(t) == seq.Column-1 && isDash(t[seq.Column-1:]) {
			return l, true
		}
	}
	return 0, false
}

// blockEnd is the last line of what begins on the line first in column col:
// the last that is indented further and says something. dashes are taken in
// too for a list that stands right under its key, comments where the end is
// a block scalar, in which they are text.
func (s *source) blockEnd(first, col int, dashes, comments bool) int {
	end := first
	for i := first + 1; i < s.lines(); i++ {
		t := s.lineText(i)
		body := strings.TrimLeft(t, " \t")
		n := indent(t)
		if body == "" || body[0] == '#' && (!comments || n <= col) {
			continue
		}
		if n < col || n == col && (!dashes || !isDash(body)) {
			break
		}
		end = i
	}
	return end
}

// pairEnd is the last line of a mapping's i-th pair.
func (s *source) pairEnd(m *yaml.Node, i int) int {
	k, v := m.Content[2*i], m.Content[2*i+1]
	dashes := v.Kind == yaml.SequenceNode && v.Style&yaml.FlowStyle == 0
	return s.blockEnd(k.Line-1, k.Column-1, dashes, endsLiteral(v))
}

// endsLiteral reports whether the last text in n is a block scalar.
func endsLiteral(n *yaml.Node) bool {
	for len(n.Content) > 0 {
		n = n.Content[len(n.Content)-1]
	}
	return n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
}

// aboveComments is the first line of the comments right above a line, or that line.
func (s *source) aboveComments(line int) int {
	for line > 0 && strings.HasPrefix(strings.TrimSpace(s.lineText(line-1)), "#") {
		line--
	}
	return line
}

// commented reports whether a line from first to last is a comment.
func (s *source) commented(first, last int) bool {
	for i := first; i <= last; i++ {
		if strings.HasPrefix(strings.TrimSpace(s.lineText(i)), "#") {
			return true
		}
	}
	return false
}

// eol is how a line ends, or the one before if it is the file's last and does not.
func (s *source) eol(line int) string {
	for ; line >= 0; line-- {
		switch t := string(s.text[s.line[line]:s.line[line+1]]); {
		case strings.HasSuffix(t, "\r\n"):
			return "\r\n"
		case strings.HasSuffix(t, "\n"):
			return "\n"
		}
	}
	return "\n"
}

// linesAfter puts lines behind a line. A file that does not end in a line break still does not.
func (s *source) linesAfter(line int, lines []string) splice {
	at, eol := s.line[line+1], s.eol(line)
	text := strings.Join(lines, eol)
	if s.text[at-1] != '\n' {
		return splice{at, 0, eol + text}
	}
	return splice{at, 0, text + eol}
}

// cutLines takes lines out: linesAfter undone.
func (s *source) cutLines(first, last int) splice {
	from, to := s.line[first], s.line[last+1]
	if s.text[to-1] != '\n' && first > 0 {
		from -= len(s.eol(first - 1))
	}
	return splice{from, to - from, ""}
}
