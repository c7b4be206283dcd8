package cli

import (
	"bytes"
	"io"
	"strings"

	"github.com/ktrail/ktrail/internal/visible"
)

// column is one column of a table.
type column struct {
	title string
	// usual is the width where the rows are not known yet: a followed log.
	usual int
	// least is how narrow it may become on a terminal before another gives way.
	least int
	// middle cuts long values in the middle instead of at the end.
	middle bool
	right  bool
	// short is a shorter form of a value that does not fit; nil for none.
	short func(string) string
	// spare gives its room away first, and is left out if nothing else helps.
	spare bool
}

// tableLook is how many rows a table looks at before it settles its widths.
const tableLook = 500

// table prints rows in aligned columns. It looks at the first rows to settle
// the widths and streams the rest, so its memory is flat. On a terminal it fits
// the width; elsewhere it cuts nothing.
type table struct {
	w       io.Writer
	width   int // 0: not a terminal, do not fit
	header  bool
	paint   painter
	columns []column
	live    bool // rows come as they happen: settle by the usual widths, hold none
	// shade picks the colour of a row's cell, if any.
	shade func(row []string, col int) color

	held   [][]string
	widths []int // settled, 0 for a column left out
	line   bytes.Buffer
}

// add prints or holds one row of as many clean cells as there are columns.
func (t *table) add(row []string) error {
	if t.widths != nil {
		return t.print(row, false)
	}
	t.held = append(t.held, row)
	if len(t.held) < tableLook && !t.live {
		return nil
	}
	return t.flush()
}

// flush settles the widths by what is held and prints it.
func (t *table) flush() error {
	if t.widths == nil {
		if len(t.held) == 0 {
			return nil
		}
		t.settle()
		if t.header {
			titles := make([]string, len(t.columns))
			for i, c := range t.columns {
				titles[i] = c.title
			}
			if err := t.print(titles, true); err != nil {
				return err
			}
		}
	}
	for _, row := range t.held {
		if err := t.print(row, false); err != nil {
			return err
		}
	}
	t.held = nil
	return nil
}

// tableGap is the columns between two cells; narrowest is the least of a cell on a
// terminal too narrow for what the columns ask.
const (
	tableGap  = 2
	narrowest = 4
)

func (t *table) settle() {
	t.widths = make([]int, len(t.columns))
	used := make([]bool, len(t.columns))
	for i, c := range t.columns {
		t.widths[i] = visible.Width(c.title)
		if t.live {
			t.widths[i] = max(t.widths[i], c.usual)
			used[i] = true
			continue
		}
		for _, row := range t.held {
			t.widths[i] = max(t.widths[i], visible.Width(row[i]))
			used[i] = used[i] || row[i] != ""
		}
	}
	if t.width == 0 {
		return
	}
	over := func() int {
		sum := -tableGap
		for _, w := range t.widths {
			if w > 0 {
				sum += w + tableGap
			}
		}
		return sum - t.width
	}
	// What is empty everywhere need not take room that others lack.
	for i, c := range t.columns {
		if c.spare && !used[i] && over() > 0 {
			t.widths[i] = 0
		}
	}
	shrink := func(may func(column) bool, least func(column) int) {
		for n := over(); n > 0; n = over() {
			widest := -1
			for i, c := range t.columns {
				if !may(c) || t.widths[i] <= least(c) {
					continue
				}
				if widest < 0 || t.widths[i] > t.widths[widest] {
					widest = i
				}
			}
			if widest < 0 {
				return
			}
			t.widths[widest]--
		}
	}
	own := func(c column) int { return c.least }
	shrink(func(c column) bool { return c.least > 0 && c.spare }, own)
	shrink(func(c column) bool { return c.least > 0 && !c.spare }, own)
	for i := len(t.columns) - 1; i > 0 && over() > 0; i-- {
		if t.columns[i].spare {
			t.widths[i] = 0
		}
	}
	shrink(func(column) bool { return true }, func(column) int { return narrowest })
	// Room that leaving columns out has freed goes back to those that were cut.
	for free := -over(); free > 0; free-- {
		grow := -1
		for i := range t.columns {
			if t.widths[i] == 0 {
				continue
			}
			want := visible.Width(t.columns[i].title)
			for _, row := range t.held {
				want = max(want, visible.Width(row[i]))
			}
			if t.widths[i] < want && (grow < 0 || t.widths[i] < t.widths[grow]) {
				grow = i
			}
		}
		if grow < 0 {
			return
		}
		t.widths[grow]++
	}
}

func (t *table) print(row []string, head bool) error {
	t.line.Reset()
	pad := 0
	for i, cell := range row {
		w := t.widths[i]
		if w == 0 {
			continue
		}
		if t.width > 0 {
			if short := t.columns[i].short; short != nil && !head && visible.Width(cell) > w {
				cell = short(cell)
			}
			if t.columns[i].middle && !head {
				cell = visible.CutMiddle(cell, w)
			} else {
				cell = visible.Cut(cell, w)
			}
		}
		t.line.WriteString(strings.Repeat(" ", pad))
		room := max(0, w-visible.Width(cell))
		if t.columns[i].right {
			t.line.WriteString(strings.Repeat(" ", room))
			room = 0
		}
		shade := plain
		switch {
		case head:
			shade = bold
		case t.shade != nil:
			shade = t.shade(row, i)
		}
		t.line.WriteString(t.paint.paint(shade, cell))
		pad = room + tableGap
	}
	t.line.WriteByte('\n')
	_, err := t.w.Write(t.line.Bytes())
	return err
}

// color is an SGR parameter; "" is none.
type color string

const (
	plain  color = ""
	bold   color = "1"
	dim    color = "2"
	red    color = "31"
	green  color = "32"
	yellow color = "33"
	cyan   color = "36"
)

// painter colours text, or leaves it alone.
type painter bool

func (p painter) paint(c color, s string) string {
	if !p || c == plain || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// lines is paint for text of several lines, each by itself.
func (p painter) lines(c color, s string) string {
	if !p || c == plain {
		return s
	}
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = p.paint(c, l)
	}
	return strings.Join(lines, "\n")
}
