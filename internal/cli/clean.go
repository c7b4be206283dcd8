package cli

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// All text of an event is hostile: a user name may hold an escape sequence that
// rewrites the screen, or a bidi override that turns a line around.

// hostile is whether a terminal might act on r instead of showing it, or show
// nothing: control characters (C0, DEL, C1), format characters (bidi overrides,
// zero width), separators of lines, and bytes that are no UTF-8.
func hostile(r rune) bool {
	if r < 0x7f {
		return r < 0x20
	}
	return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) ||
		unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) ||
		unicode.Is(unicode.Co, r) || r == utf8.RuneError
}

// clean makes s one line that shows what is in it: a hostile character becomes
// its escape, \u202e.
func clean(s string) string {
	i := strings.IndexFunc(s, hostile)
	if i < 0 {
		return s
	}
	var b strings.Builder
	b.WriteString(s[:i])
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == utf8.RuneError:
			b.WriteRune(r) // U+FFFD itself
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		case hostile(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// cleanJSON escapes hostile characters inside a JSON document so that it still
// means the same: they can only stand in its strings.
func cleanJSON(b []byte) []byte {
	i := bytes.IndexFunc(b, func(r rune) bool { return hostile(r) && r != '\n' })
	if i < 0 {
		return b
	}
	out := append(make([]byte, 0, len(b)+64), b[:i]...)
	for i < len(b) {
		r, n := utf8.DecodeRune(b[i:])
		switch {
		case r == utf8.RuneError:
			out = append(out, `\ufffd`...)
		case r == '\n' || !hostile(r):
			out = append(out, b[i:i+n]...)
		case r > 0xffff:
			hi, lo := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		i += n
	}
	return out
}

// cleanLines is clean for text of several lines that ktrail laid out itself.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = clean(l)
	}
	return strings.Join(lines, "\n")
}

// runeWidth is the terminal columns of r: 0 for what combines, 2 for East Asian
// wide and emoji. Ranges from Unicode's EastAsianWidth, coarse but never too narrow.
func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3,
		r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60,
		r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// textWidth is the terminal columns of a clean s.
func textWidth(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// cut shortens a clean s to at most w columns, with … at the end.
func cut(s string, w int) string {
	if textWidth(s) <= w {
		return s
	}
	if w <= 0 {
		return ""
	}
	n := 0
	for i, r := range s {
		if n+runeWidth(r) > w-1 {
			return s[:i] + "…"
		}
		n += runeWidth(r)
	}
	return s
}

// cutMiddle shortens a clean s to at most w columns, with … in the middle: what
// tells names apart is often at their end.
func cutMiddle(s string, w int) string {
	if textWidth(s) <= w {
		return s
	}
	if w < 5 {
		return cut(s, w)
	}
	tail := (w - 1) / 2
	n, at := 0, len(s)
	for at > 0 {
		r, size := utf8.DecodeLastRuneInString(s[:at])
		if n+runeWidth(r) > tail {
			break
		}
		n += runeWidth(r)
		at -= size
	}
	head := cut(s, w-n)
	return head + s[at:]
}
