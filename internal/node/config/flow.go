package config

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// span is a piece of the text.
type span struct{ from, to int }

// flow finds the elements between brackets; from is that of the opening one.
// The spans have no blanks, commas or comments around them. end is the closing
// bracket.
func (s *source) flow(from int) (elements []span, end int, ok bool) {
	if from >= len(s.text) || s.text[from] != '[' && s.text[from] != '{' {
		return nil, 0, false
	}
	closing := s.text[from] + 2 // ] and } stand two behind [ and {
	cur := span{-1, -1}
	for i := from + 1; i < len(s.text); {
		next := i + 1
		switch c := s.text[i]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i = next
			continue
		case c == '#':
			i = s.lineEnd(i)
			continue
		case c == ',':
			elements, cur = append(elements, cur), span{-1, -1}
			i = next
			continue
		case c == closing:
			if cur.from >= 0 {
				elements = append(elements, cur)
			}
			return elements, i, true
		case c == '[' || c == '{':
			_, last, ok := s.flow(i)
			if !ok {
				return nil, 0, false
			}
			next = last + 1
		case c == '"' || c == '\'':
			last, ok := s.quoted(i)
			if !ok {
				return nil, 0, false
			}
			next = last
		case c != ':':
			next = s.plain(i)
		}
		if cur.from < 0 {
			cur.from = i
		}
		cur.to, i = next, next
	}
	return nil, 0, false
}

// quoted is the offset behind the quoted text that begins at from.
func (s *source) quoted(from int) (int, bool) {
	q := s.text[from]
	for i := from + 1; i < len(s.text); i++ {
		switch {
		case q == '"' && s.text[i] == '\\':
			i++
		case s.text[i] != q:
		case q == '\'' && i+1 < len(s.text) && s.text[i+1] == q:
			i++
		default:
			return i + 1, true
		}
	}
	return 0, false
}

// plain is the offset behind the text without quotes that begins at from,
// between brackets. Anchors, aliases and tags end with their word.
func (s *source) plain(from int) int {
	word := strings.IndexByte("&*!", s.text[from]) >= 0
	end := from + 1
	for i := from; i < len(s.text); i++ {
		c := s.text[i]
		if strings.IndexByte(",[]{}\r\n", c) >= 0 {
			break
		}
		blank := c == ' ' || c == '\t'
		follows := byte(' ')
		if i+1 < len(s.text) {
			follows = s.text[i+1]
		}
		if blank && (word || follows == '#') || c == ':' && i > from && strings.IndexByte(" \t\r\n,[]{}", follows) >= 0 {
			break
		}
		if !blank {
			end = i + 1
		}
	}
	return end
}

// elements are the elements of a collection in brackets, if there are as many
// as it has.
func (s *source) elements(n *yaml.Node) (elements []span, open, end int, err error) {
	open = s.offset(n)
	elements, end, ok := s.flow(open)
	want := len(n.Content)
	if n.Kind == yaml.MappingNode {
		want /= 2
	}
	if !ok || len(elements) != want {
		return nil, 0, 0, unclear(n)
	}
	return elements, open, end, nil
}

// blanksBefore is what stands before an offset on its line if that is only
// blanks; ok is false otherwise.
func (s *source) blanksBefore(at int) (string, bool) {
	from := bytes.LastIndexByte(s.text[:at], '\n') + 1
	return string(s.text[from:at]), len(bytes.Trim(s.text[from:at], " \t")) == 0
}

// lineEnd is the offset of the line break behind at, or the text's end.
func (s *source) lineEnd(at int) int {
	if i := bytes.IndexByte(s.text[at:], '\n'); i >= 0 {
		return at + i
	}
	return len(s.text)
}

// commaAfter is the offset behind the comma that follows an element, 0 if none does.
func (s *source) commaAfter(at int) int {
	for ; at < len(s.text); at++ {
		switch c := s.text[at]; {
		case c == ',':
			return at + 1
		case c == '#':
			at = s.lineEnd(at)
		case strings.IndexByte(" \t\r\n", c) < 0:
			return 0
		}
	}
	return 0
}

// addFlow adds an element to a collection in brackets, laid out as the others are.
func (s *source) addFlow(into *yaml.Node, i int, key, value *yaml.Node) ([]splice, error) {
	e, open, end, err := s.elements(into)
	if err != nil {
		return nil, err
	}
	if len(e) == 0 {
		lead, _ := s.blanksBefore(s.line[into.Line-1] + indent(s.lineText(into.Line-1)))
		return []splice{{open + 1, 0, " " + s.flowText(key, value, lead)}}, nil
	}
	lead, own := s.blanksBefore(e[min(i, len(e)-1)].from)
	eol := s.eol(into.Line - 1)
	switch {
	case own && i < len(e):
		return []splice{{e[i].from, 0, s.flowText(key, value, lead) + "," + eol + lead}}, nil
	case own && s.lineEnd(e[i-1].to) < end:
		edits := []splice{{s.lineEnd(e[i-1].to) + 1, 0, lead + s.flowText(key, value, lead) + eol}}
		if s.commaAfter(e[i-1].to) > 0 {
			edits[0].text = lead + s.flowText(key, value, lead) + "," + eol
			return edits, nil
		}
		return append(edits, splice{e[i-1].to, 0, ","}), nil
	case own:
		return []splice{{e[i-1].to, 0, "," + eol + lead + s.flowText(key, value, lead)}}, nil
	}
	sep := ", "
	if len(e) > 1 {
		if between := string(s.text[e[0].to:e[1].from]); strings.Trim(between, " ,") == "" {
			sep = between
		}
	} else if s.compact() {
		sep = ","
	}
	if i < len(e) {
		return []splice{{e[i].from, 0, s.flowText(key, value, "") + sep}}, nil
	}
	return []splice{{e[i-1].to, 0, sep + s.flowText(key, value, "")}}, nil
}

// removeFlow is addFlow undone.
func (s *source) removeFlow(from *yaml.Node, i int) ([]splice, error) {
	e, _, end, err := s.elements(from)
	if err != nil {
		return nil, err
	}
	_, own := s.blanksBefore(e[i].from)
	last := i == len(e)-1
	begin := bytes.LastIndexByte(s.text[:e[i].from], '\n') + 1
	comma := s.commaAfter(e[i].to)
	stop := s.lineEnd(max(e[i].to, comma))
	switch {
	case own && stop < end && (last || e[i+1].from > stop):
		edits := []splice{{begin, stop + 1 - begin, ""}}
		if last && comma == 0 {
			edits = append(edits, splice{s.commaAfter(e[i-1].to) - 1, 1, ""})
		}
		return edits, nil
	case last:
		return []splice{{e[i-1].to, e[i].to - e[i-1].to, ""}}, nil
	}
	return []splice{{e[i].from, e[i+1].from - e[i].from, ""}}, nil
}

// emptyFlow cuts the only element; kept says that the brackets stay. See empty.
func (s *source) emptyFlow(n *yaml.Node) (cut splice, kept bool, err error) {
	e, open, _, err := s.elements(n)
	if err != nil {
		return splice{}, false, err
	}
	to := max(e[0].to, s.commaAfter(e[0].to))
	return splice{open + 1, to - open - 1, ""}, e[0].from == open+2 && s.text[open+1] == ' ', nil
}
