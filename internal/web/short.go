package web

import (
	"unicode/utf8"

	"github.com/ktrail/ktrail/internal/visible"
)

// short is s marked, for a place that has little room.
func short(s string) string { return visible.Marked(shorten(s, 160)) }

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
