// Package sheet owns what text must be like before a spreadsheet opens it.
package sheet

import (
	"strings"
	"unicode/utf8"
)

// Defuse keeps a spreadsheet from taking s for a formula
// (https://owasp.org/www-community/attacks/CSV_Injection).
func Defuse(s string) string {
	t := strings.TrimLeft(s, " ")
	if r, _ := utf8.DecodeRuneInString(t); t != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", r) {
		return "'" + s
	}
	return s
}
