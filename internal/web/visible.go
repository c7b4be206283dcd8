package web

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// visible shows characters that would hide or move others (controls,
// bidirectional marks, zero width, bytes that are no text) as their numbers, ⟨U+202E⟩.
// It does not escape for HTML; templates do.
func visible(s string) string { return show(s, false) }

// visibleLines is visible, but newlines stay.
func visibleLines(s string) string { return show(s, true) }

func show(s string, lines bool) string {
	plain := func(r rune) bool { return unicode.IsPrint(r) || (lines && r == '\n') }
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, "⟨0x%02X⟩", s[i])
		case plain(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		}
	}
	return b.String()
}

// short is visible for a place that has little room.
func short(s string) string {
	return visible(shorten(s, 160))
}

// shorten is s, or its beginning of at most so many bytes and an ellipsis.
func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}
