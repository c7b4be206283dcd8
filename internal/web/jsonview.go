package web

import (
	"bytes"
	"encoding/json"
	"strings"
)

// token is a piece of formatted JSON. Class is k for a key, s for a string, n for
// a number or a word, "" for what is between.
type token struct{ Class, Text string }

// section is one top-level key of an event. A large value can be folded.
type section struct {
	Key    string
	Tokens []token
	Lines  int
	Fold   bool
	Opener string // { or [ of a value that can be folded
	Open   bool
	Comma  bool
}

// maxColoured is how much formatted JSON gets colours, in bytes; more would make
// a page of very many elements.
const maxColoured = 512 << 10

// jsonSections formats a raw line. ok is false if it is not a JSON object, which
// is then shown as it is.
func jsonSections(raw string) (sections []section, ok bool) {
	d := json.NewDecoder(strings.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	coloured := 0
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, false
		}
		name, _ := json.Marshal(key) // a string always can be
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, false
		}
		var text bytes.Buffer
		if err := json.Indent(&text, value, "", "  "); err != nil {
			return nil, false
		}
		s := section{Key: visible(string(name)), Comma: true, Lines: bytes.Count(text.Bytes(), []byte("\n")) + 1}
		shown := text.String()
		if s.Fold = s.Lines > 2; s.Fold {
			s.Opener, shown = shown[:1], shown[2:] // the brace stays in the line of the key
		}
		if coloured += text.Len(); coloured <= maxColoured {
			s.Tokens = tokens(shown)
		} else {
			s.Tokens = []token{{Text: visibleLines(shown)}}
		}
		s.Open = s.Lines <= 60
		sections = append(sections, s)
	}
	if n := len(sections); n > 0 {
		sections[n-1].Comma = false
	}
	return sections, true
}

// tokens splits valid, indented JSON.
func tokens(text string) []token {
	var out []token
	plain := 0
	flush := func(to int) {
		if to > plain {
			out = append(out, token{Text: visibleLines(text[plain:to])})
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
		out = append(out, token{Class: class, Text: visible(text[i:end])})
		i, plain = end, end
	}
	flush(len(text))
	return out
}
