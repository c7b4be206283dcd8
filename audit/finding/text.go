package finding

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ktrail/ktrail/internal/visible"
)

// Site is where the documentation that [Finding.Doc] names can be read.
const Site = "https://github.com/ktrail/ktrail/blob/main/"

// Sort orders findings as a reader meets them: by file and place, the worse
// before the lesser.
func Sort(fs []Finding) {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(
			strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Severity.rank(), b.Severity.rank()), strings.Compare(a.Name, b.Name), strings.Compare(a.Message, b.Message))
	})
}

// rank is 0 for the worst.
func (s Severity) rank() int {
	return slices.Index([]Severity{Error, Warning, Note}, s)
}

// Count is how many of fs are of that severity.
func Count(fs []Finding, s Severity) int {
	n := 0
	for _, f := range fs {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// Summary says how many there are: "1 error, 2 warnings". It is "" for none.
func Summary(fs []Finding) string {
	var parts []string
	for _, s := range []Severity{Error, Warning, Note} {
		switch n := Count(fs, s); {
		case n == 1:
			parts = append(parts, "1 "+string(s))
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", n, s))
		}
	}
	return strings.Join(parts, ", ")
}

// TextOptions say how findings look to a person.
type TextOptions struct {
	// Width is the columns to fit in; 0 means 80. What has no space in it, such
	// as a file's name or a line of a fix, is not broken.
	Width int
	// Paint colours the word of a severity; nil leaves it plain.
	Paint func(Severity, string) string
}

// WriteText writes findings for people: the place and the message, below it the
// reason, the fix, and where to read more. What was said once, the reason and the
// page of a name, is not said again. Hostile characters in the findings are escaped.
func WriteText(w io.Writer, fs []Finding, o TextOptions) error {
	if o.Width <= 0 {
		o.Width = 80
	}
	if o.Paint == nil {
		o.Paint = func(_ Severity, s string) string { return s }
	}
	out := bufio.NewWriter(w)
	told := map[string]bool{}
	for _, f := range fs {
		head := f.place()
		if head != "" {
			head += ": "
		}
		head = visible.Line(head)
		fmt.Fprintf(out, "%s%s: ", head, o.Paint(f.Severity, string(f.Severity)))
		at := visible.Width(head) + len(f.Severity) + 2
		fmt.Fprintln(out, visible.Wrap(visible.Line(f.Message)+" ["+visible.Line(f.Name)+"]", o.Width, at, "    "))
		if f.Reason != "" && !told[f.Name+"\x00"+f.Reason] {
			told[f.Name+"\x00"+f.Reason] = true
			fmt.Fprintln(out, "    "+visible.Wrap(visible.Line(f.Reason), o.Width, 4, "    "))
		}
		if f.Fix != "" {
			lines := strings.Split(strings.TrimRight(f.Fix, "\n"), "\n")
			if len(lines) == 1 {
				fmt.Fprintln(out, "    fix: "+visible.Wrap(visible.Line(lines[0]), o.Width, 9, "         "))
			} else {
				fmt.Fprintln(out, "    fix:")
				for _, l := range lines {
					fmt.Fprintln(out, "      "+visible.Line(l))
				}
			}
		}
		if f.Doc != "" && !told[f.Name] {
			told[f.Name] = true
			fmt.Fprintln(out, "    "+visible.Line(Site+f.Doc))
		}
	}
	return out.Flush()
}

// place is file:line:column as far as it is known.
func (f *Finding) place() string {
	p := f.File
	if f.Line > 0 {
		p = fmt.Sprintf("%s:%d", p, f.Line)
		if f.Column > 0 {
			p = fmt.Sprintf("%s:%d", p, f.Column)
		}
	}
	return strings.TrimPrefix(p, ":")
}
