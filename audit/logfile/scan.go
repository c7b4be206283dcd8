package logfile

import "bytes"

// scanner finds where a JSON value ends. It takes the text in parts of any size
// and remembers nothing but the nesting. It accepts all valid values and refuses
// what cannot begin one; literals are not checked to the letter.
type scanner struct {
	state byte
	esc   bool
	nest  []byte // '{' and '[' of the values around
	key   []byte // the last key, up to 8 bytes
	lists bool   // stop at "items": [ of the outermost object
	inKey bool
}

// What a scan came to.
const (
	scanMore  = iota // all is consumed and the value goes on
	scanEnd          // the value ends before n
	scanItems        // the list of an EventList begins before n
	scanBad          // the byte at n cannot be there
)

// States of a scanner: what is expected.
const (
	wantValue byte = iota
	wantValueOrEnd
	wantKeyOrEnd
	wantKey
	wantColon
	wantCommaOrEnd
	inString
	inLiteral
)

// maxNest bounds the nesting; encoding/json has the same limit.
const maxNest = 10000

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func isLiteral(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == 'E' || c == '-' || c == '+' || c == '.'
}

// scan goes on with b.
func (s *scanner) scan(b []byte) (n int, what int) {
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch s.state {
		case inString:
			for !s.esc && c != '"' && c != '\\' && c >= ' ' {
				if s.inKey && len(s.key) < 8 {
					s.key = append(s.key, c)
				}
				if i++; i == len(b) {
					return i, scanMore
				}
				c = b[i]
			}
			switch {
			case c < ' ':
				return i, scanBad
			case s.esc:
				s.esc = false
			case c == '\\':
				s.esc = true
			case s.inKey:
				s.inKey, s.state = false, wantColon
			case s.popped():
				return i + 1, scanEnd
			}
			continue
		case inLiteral:
			if isLiteral(c) {
				continue
			}
			if s.popped() {
				return i, scanEnd
			}
		}
		if isSpace(c) {
			continue
		}
		switch s.state {
		case wantValue, wantValueOrEnd:
			if c == ']' && s.state == wantValueOrEnd {
				if s.pop() {
					return i + 1, scanEnd
				}
				continue
			}
			switch {
			case c == '{' || c == '[':
				if len(s.nest) == maxNest {
					return i, scanBad
				}
				if c == '[' && s.lists && len(s.nest) == 1 && s.nest[0] == '{' && string(s.key) == "items" {
					return i + 1, scanItems
				}
				s.nest = append(s.nest, c)
				s.state = wantKeyOrEnd
				if c == '[' {
					s.state = wantValueOrEnd
				}
			case c == '"':
				s.state = inString
			case isLiteral(c):
				s.state = inLiteral
			default:
				return i, scanBad
			}
		case wantKeyOrEnd, wantKey:
			switch {
			case c == '"':
				s.state, s.inKey = inString, true
				s.key = s.key[:0]
			case c == '}' && s.state == wantKeyOrEnd:
				if s.pop() {
					return i + 1, scanEnd
				}
			default:
				return i, scanBad
			}
		case wantColon:
			if c != ':' {
				return i, scanBad
			}
			s.state = wantValue
		case wantCommaOrEnd:
			open := s.nest[len(s.nest)-1]
			switch {
			case c == ',' && open == '{':
				s.state = wantKey
			case c == ',':
				s.state = wantValue
			case c == '}' && open == '{' || c == ']' && open == '[':
				if s.pop() {
					return i + 1, scanEnd
				}
			default:
				return i, scanBad
			}
		}
	}
	return len(b), scanMore
}

// popped notes the end of a string or literal and reports whether it was all.
func (s *scanner) popped() bool {
	s.state = wantCommaOrEnd
	return len(s.nest) == 0
}

// pop leaves an object or array.
func (s *scanner) pop() bool {
	s.nest = s.nest[:len(s.nest)-1]
	return s.popped()
}

// afterItems makes s go on behind the list that scanItems was told of.
func (s *scanner) afterItems() { s.state = wantCommaOrEnd }

// hasNewline reports whether a value spans lines.
func hasNewline(b []byte) bool { return bytes.IndexByte(b, '\n') >= 0 }
