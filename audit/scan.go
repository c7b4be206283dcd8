package audit

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// The scanner reads memory without bounds checks, which is most of its speed.
// It is safe because of one rule that [arena.line] keeps: every line is followed
// by padding of pad zero bytes. NUL ends each loop here (no JSON token has one),
// so no read starts after the first byte of the padding, and one of pad bytes
// there stays inside of it. FuzzDecode holds the rule with lines of all lengths.
const pad = 64

// maxDepth is how deep values may nest, the same number as in encoding/json.
const maxDepth = 10000

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// src points at the first byte of a padded line.
type src struct{ p unsafe.Pointer }

// srcOf is a buffer whose last pad bytes are padding.
func srcOf(buf []byte) src { return src{unsafe.Pointer(unsafe.SliceData(buf))} }

func (s src) at(i int) byte { return *(*byte)(unsafe.Add(s.p, i)) }

func (s src) word(i int) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(s.p, i))[:])
}

// bytes is the part of the line from i to j.
func (s src) bytes(i, j int) []byte { return unsafe.Slice((*byte)(unsafe.Add(s.p, i)), j-i) }

// str is bytes as a string that shares the memory.
func (s src) str(i, j int) string { return unsafe.String((*byte)(unsafe.Add(s.p, i)), j-i) }

// special marks (0x80) the first byte of x that ends a run of plain string bytes:
// a quote, a backslash or a control character. Marks above the first may be wrong.
//
// x^0x02 is below 0x21 for exactly the quote and the control characters.
func special(x uint64) uint64 {
	return ((x ^ 0x02*ones - 0x21*ones) | (x ^ 0x5c*ones - ones)) &^ x & highs
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func (s src) space(i int) int {
	for isSpace(s.at(i)) {
		i++
	}
	return i
}

// A position that is negative is an error: ^i for the offset i of the first
// byte that cannot stand where it is.

// skipString returns the offset behind the closing quote of the string whose
// first byte is at i.
func (s src) skipString(i int) int {
	for {
		m := special(s.word(i))
		if m == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(m) >> 3
		switch s.at(i) {
		case '"':
			return i + 1
		case '\\':
			if i = s.escape(i + 1); i < 0 {
				return i
			}
		default:
			return ^i
		}
	}
}

// scanString is skipString that also says whether the string is plain: ASCII
// without an escape, its bytes its value.
func (s src) scanString(i int) (end int, plain bool) {
	var high uint64
	plain = true
	for {
		x := s.word(i)
		m := special(x)
		if m == 0 {
			high |= x
			i += 8
			continue
		}
		high |= x & (m&-m - 1)
		i += bits.TrailingZeros64(m) >> 3
		switch s.at(i) {
		case '"':
			return i + 1, plain && high&highs == 0
		case '\\':
			plain = false
			if i = s.escape(i + 1); i < 0 {
				return i, false
			}
		default:
			return ^i, false
		}
	}
}

// escape returns the offset behind the escape whose backslash is before i.
func (s src) escape(i int) int {
	switch s.at(i) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		for k := i + 1; k < i+5; k++ {
			if hex(s.at(k)) < 0 {
				return ^k
			}
		}
		return i + 5
	}
	return ^i
}

func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// skipNumber returns the offset behind the number at i, which starts with - or a digit.
func (s src) skipNumber(i int) int {
	if s.at(i) == '-' {
		i++
	}
	switch c := s.at(i); {
	case c == '0':
		i++
	case '1' <= c && c <= '9':
		i = s.digits(i)
	default:
		return ^i
	}
	if s.at(i) == '.' {
		if i++; s.at(i)-'0' > 9 {
			return ^i
		}
		i = s.digits(i)
	}
	if s.at(i)|0x20 == 'e' {
		if i++; s.at(i) == '+' || s.at(i) == '-' {
			i++
		}
		if s.at(i)-'0' > 9 {
			return ^i
		}
		i = s.digits(i)
	}
	return i
}

func (s src) digits(i int) int {
	for s.at(i)-'0' <= 9 {
		i++
	}
	return i
}

// skipWord returns the offset behind w at i, of which the first byte is known.
func (s src) skipWord(i int, w string) int {
	for k := 1; k < len(w); k++ {
		if s.at(i+k) != w[k] {
			return ^(i + k)
		}
	}
	return i + len(w)
}

// skipValue returns the offset behind the value at i (and the space before it),
// around which depth values are open. It accepts exactly what encoding/json.Valid does.
func (s src) skipValue(i, depth int) int {
	// The open values of this call: level many, the lowest bit of objects is set
	// if the innermost is an object. Deeper than 64 it calls itself.
	var objects uint64
	level := 0
value:
	switch s.at(i) {
	case '"':
		if i = s.skipString(i + 1); i < 0 {
			return i
		}
	case '{':
		if level == 64 || depth+level >= maxDepth {
			goto deeper
		}
		i++
		if isSpace(s.at(i)) {
			i = s.space(i)
		}
		if s.at(i) == '}' {
			i++
			break
		}
		level++
		objects = objects<<1 | 1
		goto key
	case '[':
		if level == 64 || depth+level >= maxDepth {
			goto deeper
		}
		i++
		if isSpace(s.at(i)) {
			i = s.space(i)
		}
		if s.at(i) == ']' {
			i++
			break
		}
		level++
		objects <<= 1
		goto value
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		if i = s.skipNumber(i); i < 0 {
			return i
		}
	case 't':
		if i = s.skipWord(i, "true"); i < 0 {
			return i
		}
	case 'f':
		if i = s.skipWord(i, "false"); i < 0 {
			return i
		}
	case 'n':
		if i = s.skipWord(i, "null"); i < 0 {
			return i
		}
	case ' ', '\n', '\r', '\t':
		i++
		goto value
	default:
		return ^i
	}
after:
	if level == 0 {
		return i
	}
	switch s.at(i) {
	case ',':
		i++
		if objects&1 == 0 {
			goto value
		}
	case '}':
		if objects&1 == 0 {
			return ^i
		}
		i++
		level--
		objects >>= 1
		goto after
	case ']':
		if objects&1 != 0 {
			return ^i
		}
		i++
		level--
		objects >>= 1
		goto after
	case ' ', '\n', '\r', '\t':
		i++
		goto after
	default:
		return ^i
	}
key:
	if s.at(i) != '"' {
		if i = s.space(i); s.at(i) != '"' {
			return ^i
		}
	}
	if i = s.skipString(i + 1); i < 0 {
		return i
	}
	if s.at(i) != ':' {
		if i = s.space(i); s.at(i) != ':' {
			return ^i
		}
	}
	i++
	goto value
deeper:
	if depth+level >= maxDepth {
		return ^i
	}
	if i = s.skipValue(i, depth+level); i < 0 {
		return i
	}
	goto after
}
