// Package visible owns how text that somebody else wrote is shown: its
// characters are seen, never obeyed. A user name may hold an escape sequence
// that rewrites the screen, a bidi override that turns a line around, or a space
// that takes no room; each is shown as what it is.
package visible

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Hostile is whether a terminal, a page or a log viewer might act on r, or show
// nothing for it, or the same as for another: controls, format characters (bidi
// overrides, zero width), line separators, private use, spaces but the usual
// one, letters that are blank, and what has no meaning yet. Bytes that are no
// UTF-8 are hostile, too; U+FFFD, as which they are often read, is not.
func Hostile(r rune) bool {
	if r < 0x7f {
		return r < ' '
	}
	return !unicode.IsPrint(r) || unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

// Line makes s one line in which what is hostile is an escape, \u202e, as Go
// and JSON write it.
func Line(s string) string { return show(s, false, escape) }

// Lines is [Line] for text whose line ends are meant.
func Lines(s string) string { return show(s, true, escape) }

// Marked makes s one line in which what is hostile is a mark, ⟨U+202E⟩. It is
// for pages that show JSON as it is written: an escape would seem to stand there.
// It does not escape for HTML.
func Marked(s string) string { return show(s, false, mark) }

// MarkedLines is [Marked] for text whose line ends are meant.
func MarkedLines(s string) string { return show(s, true, mark) }

// notation writes a hostile character or, where it is not text, a byte.
type notation func(b *strings.Builder, r rune, text bool)

func escape(b *strings.Builder, r rune, text bool) {
	switch {
	case !text:
		fmt.Fprintf(b, `\x%02x`, r)
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\t':
		b.WriteString(`\t`)
	case r == '\r':
		b.WriteString(`\r`)
	case r > 0xffff:
		fmt.Fprintf(b, `\U%08x`, r)
	default:
		fmt.Fprintf(b, `\u%04x`, r)
	}
}

func mark(b *strings.Builder, r rune, text bool) {
	if text {
		fmt.Fprintf(b, "⟨U+%04X⟩", r)
	} else {
		fmt.Fprintf(b, "⟨0x%02X⟩", r)
	}
}

func show(s string, lines bool, as notation) string {
	hides := func(r rune) bool { return Hostile(r) && !(lines && r == '\n') }
	if utf8.ValidString(s) && strings.IndexFunc(s, hides) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd"):
			as(&b, rune(s[i]), false)
		case hides(r):
			as(&b, r, true)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// JSON escapes what is hostile in a JSON document so that it means the same: it
// can only stand in the document's strings. Line ends between values stay.
func JSON(doc []byte) []byte {
	// A byte that is no text is read as U+FFFD, and so escaped.
	hides := func(r rune) bool { return r == utf8.RuneError || Hostile(r) && r != '\n' }
	i := bytes.IndexFunc(doc, hides)
	if i < 0 {
		return doc
	}
	out := append(make([]byte, 0, len(doc)+64), doc[:i]...)
	for _, r := range string(doc[i:]) {
		switch {
		case !hides(r):
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
