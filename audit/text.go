package audit

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// unquote returns the value of the string whose content, already found to be
// valid, is from i to j: in the line itself, or in the arena where it has escapes.
// Bytes that are not UTF-8 and lone surrogates become U+FFFD, as in encoding/json.
func (d *decoder) unquote(i, j int) string {
	in := d.bytes(i, j)
	valid := utf8.Valid(in)
	if valid && bytes.IndexByte(in, '\\') < 0 {
		return d.str(i, j)
	}
	size := len(in)
	if !valid {
		size *= len("\uFFFD") // each bad byte becomes three
	}
	buf := d.mem.grow(size)
	out := buf[:0]
	for len(in) > 0 {
		k := bytes.IndexByte(in, '\\')
		if k < 0 {
			k = len(in)
		}
		if valid {
			out = append(out, in[:k]...)
		} else {
			out = appendValid(out, in[:k])
		}
		if in = in[k:]; len(in) > 0 {
			out, in = appendEscape(out, in)
		}
	}
	d.mem.shrink(size - len(out))
	return unsafe.String(unsafe.SliceData(out), len(out))
}

func appendValid(out, in []byte) []byte {
	for len(in) > 0 {
		r, n := utf8.DecodeRune(in)
		out = utf8.AppendRune(out, r)
		in = in[n:]
	}
	return out
}

// appendEscape appends what the valid escape at the beginning of in stands for,
// and returns the rest of in.
func appendEscape(out, in []byte) (_, rest []byte) {
	c := in[1]
	switch c {
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		r := unit(in)
		in = in[6:]
		if utf16.IsSurrogate(r) {
			low := rune(-1)
			if len(in) >= 6 && in[0] == '\\' && in[1] == 'u' {
				low = unit(in)
			}
			if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
				in = in[6:]
			}
		}
		return utf8.AppendRune(out, r), in
	}
	return append(out, c), in[2:]
}

// unit is the number in \uXXXX.
func unit(in []byte) rune {
	return rune(hex(in[2])<<12 | hex(in[3])<<8 | hex(in[4])<<4 | hex(in[5]))
}
