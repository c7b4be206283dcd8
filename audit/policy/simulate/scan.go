package simulate

import "strings"

// members steps through the members of a JSON object that is known to be valid.
// Of text that is not it makes nonsense, or an early end; it never goes on for ever.
type members struct {
	s string
	i int // behind the member before; -1 at the end

	key           string // without quotes, escapes as they stand
	before, keyAt int    // the end of the member before, the key's quote
	from, to      int    // the value
}

// open is the offset behind the bracket that begins the value at i, or -1.
func open(s string, i int, bracket byte) int {
	if i < 0 {
		return -1
	}
	if i = space(s, i); i >= len(s) || s[i] != bracket {
		return -1
	}
	return i + 1
}

func (m *members) next() bool {
	if m.i < 0 {
		return false
	}
	m.before = m.i
	i := space(m.s, m.i)
	if i < len(m.s) && m.s[i] == ',' {
		i = space(m.s, i+1)
	}
	m.i = -1
	if i >= len(m.s) || m.s[i] != '"' {
		return false
	}
	end := skipString(m.s, i+1)
	if end < 0 {
		return false
	}
	m.keyAt, m.key = i, m.s[i+1:end-1]
	if i = space(m.s, end); i >= len(m.s) || m.s[i] != ':' {
		return false
	}
	m.from = space(m.s, i+1)
	if m.to = skip(m.s, m.from); m.to < 0 {
		return false
	}
	m.i = m.to
	return true
}

// with is the member with one comma: the one before it if something stands there
// that is kept, else the one behind it.
func (m *members) with(kept bool) span {
	if kept {
		return span{m.before, m.to}
	}
	if i := space(m.s, m.to); i < len(m.s) && m.s[i] == ',' {
		return span{m.keyAt, space(m.s, i+1)}
	}
	return span{m.keyAt, m.to}
}

func space(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r') {
		i++
	}
	return i
}

// skipString is the offset behind the string whose first byte is at i, or -1.
func skipString(s string, i int) int {
	for {
		n := strings.IndexByte(s[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		k := i
		for k > 0 && s[k-1] == '\\' {
			k--
		}
		i++
		if (i-1-k)&1 == 0 {
			return i
		}
	}
}

// structural are the bytes that skip stops at.
var structural = [256]byte{'"': 1, '{': 2, '[': 2, '}': 3, ']': 3, ',': 4}

// skip is the offset behind the value at i, or -1.
func skip(s string, i int) int {
	depth := 0
	for i < len(s) {
		switch structural[s[i]] {
		case 0:
			i++
		case 1:
			if i = skipString(s, i+1); i < 0 {
				return -1
			}
			if depth == 0 {
				return i
			}
		case 2:
			depth++
			i++
		case 3:
			if depth == 0 {
				return i // behind a number or a word
			}
			depth--
			i++
			if depth == 0 {
				return i
			}
		case 4:
			if depth == 0 {
				return i
			}
			i++
		}
	}
	if depth == 0 {
		return i
	}
	return -1
}
