package audit

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf8"
	"unsafe"
)

const hexDigits = "0123456789abcdef"

// text appends s as it stands between the quotes of a JSON string, by the rules of
// encoding/json with HTML escaping. Most strings are clean and are copied at once.
func (e *encoder) text(s string) {
	for {
		n := e.run(s)
		if n == len(s) {
			return
		}
		n += e.escaped(s[n:])
		s = s[n:]
	}
}

// run appends what s begins with that a line has as it is (ASCII but for control characters,
// quotes, backslashes, <, > and &), and tells how many bytes that is. It copies while it looks.
func (e *encoder) run(s string) int {
	n := len(e.dst)
	dst := slices.Grow(e.dst, len(s))
	from, to := src{unsafe.Pointer(unsafe.StringData(s))}, dst[n:n+len(s)]
	i, last := 0, len(s)-8
	if last >= 0 {
		for i < last {
			x := from.word(i)
			binary.LittleEndian.PutUint64(to[i:], x)
			if m := marked(x); m != 0 {
				if i += bits.TrailingZeros64(m) >> 3; !clean[s[i]] {
					e.dst = dst[:n+i]
					return i
				}
				i -= 7 // a mark that means nothing
			}
			i += 8
		}
		x := from.word(last) // some bytes twice
		binary.LittleEndian.PutUint64(to[last:], x)
		if marked(x) == 0 {
			e.dst = dst[:n+len(s)]
			return len(s)
		}
	}
	for ; i < len(s) && clean[s[i]]; i++ {
		to[i] = s[i]
	}
	e.dst = dst[:n+i]
	return i
}

// escaped appends the first character of s, and tells how many bytes it has.
func (e *encoder) escaped(s string) int {
	c := s[0]
	if c >= utf8.RuneSelf {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			e.invalid = true
			e.dst = append(e.dst, `\ufffd`...)
		case r == '\u2028' || r == '\u2029': // JavaScript ends a line there
			e.dst = append(e.dst, '\\', 'u', '2', '0', '2', hexDigits[r&0xf])
		default:
			e.dst = append(e.dst, s[:n]...)
		}
		return n
	}
	switch c {
	case '"', '\\':
		e.dst = append(e.dst, '\\', c)
	case '\b':
		e.dst = append(e.dst, '\\', 'b')
	case '\f':
		e.dst = append(e.dst, '\\', 'f')
	case '\n':
		e.dst = append(e.dst, '\\', 'n')
	case '\r':
		e.dst = append(e.dst, '\\', 'r')
	case '\t':
		e.dst = append(e.dst, '\\', 't')
	default:
		e.dst = append(e.dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
	}
	return 1
}

// marked marks (0x80) the first byte of x that ends a run to be copied as it is: control
// characters, quotes, backslashes, <, >, & and what is not ASCII. It marks ^, | and ~ too, which
// mean nothing but are rare; in return it is two comparisons. Marks above the first may be wrong.
//
// Without the bit 0x04 & is a quote; what is below 0x21 when 0x02 is flipped are the quote
// and the control characters. With the bits 0x62 set, <, > and \ are 0x7e, as ^, | and ~ are.
func marked(x uint64) uint64 {
	return (((x&^(0x04*ones) ^ 0x02*ones) - 0x21*ones) | ((x | 0x62*ones) ^ 0x7e*ones - ones) | x) & highs
}

// clean are the bytes that need no care.
var clean = func() (t [256]bool) {
	for c := 0x20; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return t
}()
