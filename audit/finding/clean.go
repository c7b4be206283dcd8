package finding

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a finding quotes comes out of a file that somebody else may have written:
// its characters are shown, never obeyed.

// hostile is whether a terminal, a page or a log viewer might act on r, or show
// nothing for it: control and format characters (escape sequences, bidi
// overrides, zero width), line separators, private use, bytes that are no UTF-8.
func hostile(r rune) bool {
	if r < 0x7f {
		return r < 0x20
	}
	return r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)
}

// clean makes s one line in which hostile characters are escapes.
func clean(s string) string {
	if strings.IndexFunc(s, hostile) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case !hostile(r) || r == utf8.RuneError: // U+FFFD itself
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += n
	}
	return b.String()
}

// cleanLines is clean for text whose line ends are meant.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = clean(l)
	}
	return strings.Join(lines, "\n")
}

// cleanJSON escapes hostile characters inside a JSON document so that it means
// the same: they can only stand in its strings.
func cleanJSON(doc []byte) []byte {
	out := make([]byte, 0, len(doc)+64)
	for _, r := range string(doc) {
		switch {
		case r == '\n' || !hostile(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			hi, lo := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}
