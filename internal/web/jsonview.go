package web

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/ktrail/ktrail/internal/visible"
)

// token is a piece of formatted JSON. Class is k for a key, s for a string, n for
// a number or a word, "" for what is between.
type token struct{ Class, Text string }

// section is one key of an object, or one member of a list, whose Key is "". A
// large value can be folded; its parts are Kids where they can be folded too.
type section struct {
	Key            string
	Tokens         []token
	Kids           []section
	Lines          int
	Fold           bool
	Opener, Closer string // { and }, or [ and ], of a value that can be folded
	Open           bool
	Comma          bool
}

const (
	// maxColoured is how much formatted JSON gets colours, in bytes; more would make
	// a page of very many elements.
	maxColoured = 512 << 10
	maxFolds    = 8 // depth; below, values are shown as they are
)

// jsonSections formats a raw line. ok is false if it is not a JSON object, which
// is then shown as it is.
func jsonSections(raw string) (out []section, ok bool) {
	if !strings.HasPrefix(strings.TrimLeft(raw, " \t\r\n"), "{") || !json.Valid([]byte(raw)) {
		return nil, false
	}
	coloured := 0
	return sections([]byte(raw), 0, &coloured)
}

// sections are the parts of an object or list.
func sections(value []byte, depth int, coloured *int) (out []section, ok bool) {
	d := json.NewDecoder(bytes.NewReader(value))
	open, err := d.Token()
	if err != nil {
		return nil, false
	}
	out = []section{}
	for d.More() {
		s := section{Comma: true}
		if open == json.Delim('{') {
			key, err := d.Token()
			if err != nil {
				return nil, false
			}
			name, _ := json.Marshal(key) // a string always can be
			s.Key = visible.Marked(string(name))
		}
		var part json.RawMessage
		if err := d.Decode(&part); err != nil {
			return nil, false
		}
		var text bytes.Buffer
		if err := json.Indent(&text, part, "", "  "); err != nil {
			return nil, false
		}
		s.Lines = bytes.Count(text.Bytes(), []byte("\n")) + 1
		shown := text.String()
		s.Fold = s.Lines > 2
		s.Open = s.Lines <= 60 && s.Key != `"managedFields"`
		if s.Fold {
			s.Opener, s.Closer = shown[:1], shown[len(shown)-1:]
			shown = shown[2:] // the brace stays in the line of the key
		}
		switch {
		case s.Fold && s.Lines > 4 && depth < maxFolds && *coloured+text.Len() <= maxColoured:
			if s.Kids, ok = sections(part, depth+1, coloured); !ok {
				return nil, false
			}
		case *coloured+text.Len() <= maxColoured:
			*coloured += text.Len()
			s.Tokens = tokens(shown)
		default:
			s.Tokens = []token{{Text: visible.MarkedLines(shown)}}
		}
		out = append(out, s)
	}
	if n := len(out); n > 0 {
		out[n-1].Comma = false
	}
	return out, true
}

// tokens splits valid, indented JSON.
func tokens(text string) []token {
	var out []token
	plain := 0
	flush := func(to int) {
		if to > plain {
			out = append(out, token{Text: visible.MarkedLines(text[plain:to])})
		}
	}
	for i := 0; i < len(text); {
		end := i
		class := ""
		switch c := text[i]; {
		case c == '"':
			for end++; text[end] != '"'; end++ {
				if text[end] == '\\' {
					end++
				}
			}
			end++
			class = "s"
			if strings.HasPrefix(text[end:], ":") {
				class = "k"
			}
		case c == '-' || ('0' <= c && c <= '9') || ('a' <= c && c <= 'z'):
			end = i + strings.IndexAny(text[i:]+",", ",\n ]}")
			class = "n"
		default:
			i++
			continue
		}
		flush(i)
		out = append(out, token{Class: class, Text: visible.Marked(text[i:end])})
		i, plain = end, end
	}
	flush(len(text))
	return out
}
