package audit

import (
	"bytes"
	"math/bits"
	"slices"
	"unicode/utf8"
	"unsafe"
)

// appendBody appends the JSON value body as encoding/json.Compact and HTMLEscape leave
// it, in one pass that also checks it: at depth in the line, by the rules of [Decode].
// bad is the offset of the first byte that cannot stand where it is, or negative.
//
// The body is copied to its place in dst first, where the scanner may read behind it.
// Where it is as it should be, which is what clients written in Go send, nothing
// moves any more. White space is removed by moving what follows to the left. An escape
// that finds no room starts over, with the body as far to the right as all its
// escapes need.
func appendBody(dst, body []byte, depth int) (_ []byte, bad int) {
	start, room := len(dst), 0
	for {
		dst = slices.Grow(dst[:start], room+len(body)+pad)
		mem := dst[start : start+room+len(body)+pad]
		copy(mem[room:], body)
		clear(mem[room+len(body):])
		c := compactor{src: src{unsafe.Pointer(unsafe.SliceData(mem))}, mem: mem, from: room}
		i := c.value(room, depth)
		if i >= 0 {
			if end := room + len(body); i < end {
				c.flush(i)
				if i = c.space(i); i != end {
					i = ^i
				}
				c.from = i
			}
		}
		if i >= 0 {
			c.flush(i)
			return dst[:start+c.to], -1
		}
		if !c.full {
			return dst[:start], ^i - room
		}
		room = growth(body)
	}
}

// growth is at least by how much escapes make body longer.
func growth(body []byte) int {
	n := 0
	for _, c := range []string{"<", ">", "&"} {
		n += bytes.Count(body, []byte(c)) * (len(`\u003c`) - 1)
	}
	return n + bytes.Count(body, []byte("\u2028"[:2]))*(len(`\u2028`)-len("\u2028"))
}

// compactor rewrites a JSON value in its place: mem[:to] is done, mem[from:] up to
// where the scanner is stays as it is but is not yet moved there.
type compactor struct {
	src
	mem      []byte
	from, to int
	full     bool // an escape found no room
}

// flush moves what stays as it is up to i.
func (c *compactor) flush(i int) {
	if c.from != c.to {
		copy(c.mem[c.to:], c.mem[c.from:i])
	}
	c.to += i - c.from
	c.from = i
}

// blank removes the white space at i and returns the offset behind it.
func (c *compactor) blank(i int) int {
	c.flush(i)
	c.from = c.space(i)
	return c.from
}

// text returns the offset behind the closing quote of the string whose first byte is
// at i, as skipString does.
func (c *compactor) text(i int) int {
	s := c.src
	for {
		m := marked(s.word(i))
		if m == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(m) >> 3
		switch b := s.at(i); b {
		case '"':
			return i + 1
		case '\\':
			if i = s.escape(i + 1); i < 0 {
				return i
			}
		case '<', '>', '&':
			if !c.replace(i, 1, '0', '0', hexDigits[b>>4], hexDigits[b&0xf]) {
				return ^i
			}
			i++
		default:
			switch {
			case b < ' ':
				return ^i
			case b < utf8.RuneSelf:
				i++ // a mark that means nothing
			default:
				if i = c.high(i); i < 0 {
					return i
				}
			}
		}
	}
}

// high returns the offset behind the bytes at i that are not ASCII.
func (c *compactor) high(i int) int {
	s := c.src
	for ; s.at(i) >= utf8.RuneSelf; i++ {
		last := s.at(i + 2)
		if s.at(i) != 0xe2 || s.at(i+1) != 0x80 || last&^1 != 0xa8 {
			continue
		}
		if !c.replace(i, 3, '2', '0', '2', hexDigits[last&0xf]) { // U+2028 and U+2029
			return ^i
		}
		i += 2
	}
	return i
}

// replace writes \uabcd for the n bytes at i.
func (c *compactor) replace(i, n int, digits ...byte) bool {
	c.flush(i)
	if c.to+6 > i+n {
		c.full = true
		return false
	}
	copy(c.mem[c.to:], `\u`)
	copy(c.mem[c.to+2:], digits)
	c.to += 6
	c.from = i + n
	return true
}

// value returns the offset behind the value at i (and the space before it), around
// which depth values are open. It is [src.skipValue] with another way with strings and spaces.
func (c *compactor) value(i, depth int) int {
	s := c.src
	// As in skipValue.
	var objects uint64
	level := 0
value:
	switch s.at(i) {
	case '"':
		if i = c.text(i + 1); i < 0 {
			return i
		}
	case '{':
		if level == 64 || depth+level >= maxDepth {
			goto deeper
		}
		i++
		if isSpace(s.at(i)) {
			i = c.blank(i)
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
			i = c.blank(i)
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
		i = c.blank(i)
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
		i = c.blank(i)
		goto after
	default:
		return ^i
	}
key:
	if s.at(i) != '"' {
		if i = c.blank(i); s.at(i) != '"' {
			return ^i
		}
	}
	if i = c.text(i + 1); i < 0 {
		return i
	}
	if s.at(i) != ':' {
		if i = c.blank(i); s.at(i) != ':' {
			return ^i
		}
	}
	i++
	goto value
deeper:
	if depth+level >= maxDepth {
		return ^i
	}
	if i = c.value(i, depth+level); i < 0 {
		return i
	}
	goto after
}
