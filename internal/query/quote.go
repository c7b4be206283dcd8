package query

import (
	"fmt"
	"strings"

	"github.com/ktrail/ktrail/internal/visible"
)

// Quote writes s as a CEL string. Whatever is in s, it stays one string, and what
// a reader would not see in it is escaped. What is no UTF-8 becomes U+FFFD, as in
// the columns of an event. The page's state.js quotes the same way.
func Quote(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case !visible.Hostile(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
