// Package sheet owns what text must be like before a spreadsheet opens it.
package sheet

import (
	"strings"
	"unicode/utf8"
)

const (
	// formulas begin one, also as the wide characters of East Asian keyboards.
	// A spreadsheet drops a tab or a carriage return before them.
	formulas = "=+-@\t\r\n＝＋－＠"
	// separators begin a cell in some country's spreadsheets: whoever has a decimal
	// comma splits our file at semicolons, whatever is quoted with it.
	separators = ",;|\t\r\n"
)

// Defuse keeps a spreadsheet from taking s, or what it makes a cell of in s, for a
// formula: a ' goes before every formula's first character that stands at the
// beginning or behind a separator, with spaces and quotes between or not
// (https://owasp.org/www-community/attacks/CSV_Injection). Quoting and the
// doubling of quotes are the writer's.
func Defuse(s string) string {
	if !strings.ContainsAny(s, formulas) {
		return s
	}
	var b strings.Builder
	rest := s
	for {
		if r, _ := utf8.DecodeRuneInString(strings.TrimLeft(rest, ` "`)); rest != "" && strings.ContainsRune(formulas, r) {
			b.WriteByte('\'')
		}
		// A run of separators begins one cell that has anything in it.
		end := len(rest)
		if i := strings.IndexAny(rest, separators); i >= 0 {
			end = i + len(rest[i:]) - len(strings.TrimLeft(rest[i:], separators))
		}
		b.WriteString(rest[:end])
		if rest = rest[end:]; rest == "" {
			return b.String()
		}
	}
}
