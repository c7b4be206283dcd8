package query

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// UsageError is a question that cannot be asked: the web answers 400, the CLI
// exits with 2. Message is one line that says what to write instead.
type UsageError struct {
	Message string
	Suggest string // the nearest valid word, "" if none is near
	Flag    string // whose value is wrong: one of [FlagNames], since or until; "" if it is none of them
}

func (e *UsageError) Error() string { return e.Message }

func usagef(format string, args ...any) *UsageError {
	return &UsageError{Message: fmt.Sprintf(format, args...)}
}

// of says whose value a usage error is about.
func of(flag string, err error) error {
	var usage *UsageError
	if errors.As(err, &usage) {
		usage.Flag = flag
	}
	return err
}

// FilterError is a filter that does not parse, has an unknown column or a wrong
// type, or asks what cannot be asked. It is a usage error.
type FilterError struct {
	Text    string // the filter
	Line    int    // from 1
	Column  int    // from 1, in code points
	Message string
	Suggest string // the nearest valid word, "" if none is near
}

// Error is one line: what is wrong, where, and what to write instead.
func (e *FilterError) Error() string {
	where := "column " + strconv.Itoa(e.Column)
	if strings.Contains(e.Text, "\n") {
		where = "line " + strconv.Itoa(e.Line) + ", " + where
	}
	s := "filter, " + where + ": " + e.Message
	if e.Suggest != "" {
		s += "; did you mean " + e.Suggest + "?"
	}
	return s
}

// As makes a FilterError a [*UsageError] for errors.As.
func (e *FilterError) As(target any) bool {
	u, ok := target.(**UsageError)
	if ok {
		*u = &UsageError{Message: e.Error(), Suggest: e.Suggest}
	}
	return ok
}

// path is a.b.c at the beginning of a text.
var path = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*`)

// Fixed is the filter with Suggest in the place of the word it is meant for, ""
// if there is none. Another error may stand behind the first.
func (e *FilterError) Fixed() string {
	lines := strings.Split(e.Text, "\n")
	if e.Suggest == "" || e.Line < 1 || e.Line > len(lines) {
		return ""
	}
	line := []rune(lines[e.Line-1])
	if e.Column < 1 || e.Column > len(line) {
		return ""
	}
	before, rest := string(line[:e.Column-1]), string(line[e.Column-1:])
	word := path.FindString(rest)
	if dot := strings.LastIndexByte(word, '.'); dot > 0 && strings.HasPrefix(rest[len(word):], "(") {
		word = word[:dot] // usr.startsWith(: only usr is wrong
	}
	if word == "" || word == e.Suggest {
		return ""
	}
	lines[e.Line-1] = before + e.Suggest + rest[len(word):]
	return strings.Join(lines, "\n")
}

// caretWidth is how much of a long line [FilterError.Caret] shows, in code points.
const caretWidth = 100

// Caret shows the line of the filter and, below it, a caret under the column.
// Tabs and control characters are shown as spaces, so that the caret stands
// where it should and a terminal is safe.
func (e *FilterError) Caret() string {
	lines := strings.Split(e.Text, "\n")
	if e.Line < 1 || e.Line > len(lines) {
		return ""
	}
	line := []rune(printable(lines[e.Line-1]))
	at := min(max(e.Column-1, 0), len(line))
	if at > caretWidth-20 {
		cut := at - (caretWidth - 20)
		line = append([]rune("..."), line[cut+3:]...)
		at -= cut
	}
	if len(line) > caretWidth {
		line = append(line[:caretWidth-3:caretWidth-3], []rune("...")...)
	}
	return string(line) + "\n" + strings.Repeat(" ", at) + "^"
}

// printable replaces what would move the cursor by a space, code point for code point.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || !strconv.IsGraphic(r) {
			return ' '
		}
		return r
	}, s)
}

// quoteShort quotes hostile or long text for an error message.
func quoteShort(s string) string {
	const most = 60
	if len(s) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "..."
	}
	return strconv.Quote(s)
}
