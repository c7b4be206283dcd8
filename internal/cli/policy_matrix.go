package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/coverage"
	"github.com/ktrail/ktrail/internal/visible"
)

// levelMarks are the levels in a cell of the matrix.
var levelMarks = [...]struct {
	mark  string
	color color
	says  string
}{
	policy.None:            {"-", dim, "nothing"},
	policy.Metadata:        {"M", plain, "metadata"},
	policy.Request:         {"Q", cyan, "with request body"},
	policy.RequestResponse: {"R", green, "with request and response body"},
}

// printMatrix prints what a policy records as a matrix: in a table of people rows
// of which the same is recorded are one, unless each was asked for; in JSON and CSV
// each resource has its own.
func (p *page) printMatrix(m *coverage.Matrix, each bool) error {
	switch p.format {
	case formatJSON:
		return p.json(m)
	case formatCSV:
		return p.matrixCSV(m)
	}
	width := p.width
	if width == 0 || width > 100 {
		width = 80
	}
	var legend []string
	for _, l := range levelMarks {
		legend = append(legend, p.paint.paint(l.color, l.mark)+" "+l.says)
	}
	title := visible.Wrap("What is recorded "+forWhom(m.Who)+":", width, 0, "  ")
	if err := p.line("%s\n\n%s\n", p.paint.lines(bold, title), strings.Join(legend, "   ")); err != nil {
		return err
	}
	for _, part := range []struct {
		title string
		rows  []coverage.Row
	}{{"RESOURCES", m.Resources}, {"NON-RESOURCE URLS", m.Paths}} {
		if len(part.rows) == 0 {
			continue
		}
		if err := p.matrixPart(part.title, part.rows, width, each); err != nil {
			return err
		}
	}
	if len(m.Apart) > 0 {
		var rules []string
		for _, i := range m.Apart {
			rules = append(rules, fmt.Sprint(i+1))
		}
		noun := "rules "
		if len(rules) == 1 {
			noun = "rule "
		}
		note := "Who asks, where, or for which name matters to " + noun + strings.Join(rules, ", ") + ": see others with --as, --group and -n."
		return p.line("%s", visible.Wrap(note, width, 0, ""))
	}
	return nil
}

func forWhom(who coverage.Requester) string {
	s := "of a user whom no rule names"
	if who.User != "" {
		s = "of " + visible.Line(who.User)
	}
	if len(who.Groups) > 0 {
		s += " in " + visible.Line(strings.Join(who.Groups, ", "))
	}
	if who.Namespace != "" {
		s += ", in namespace " + visible.Line(who.Namespace)
	}
	return s
}

// matrixPart prints rows with their names beside the cells and, where they are
// many, below. The largest of several rows is called the others.
func (p *page) matrixPart(title string, rows []coverage.Row, width int, each bool) error {
	folded := coverage.Fold(rows)
	if each {
		folded = slices.Collect(slices.Chunk(rows, 1))
	}
	most := 0
	for i := range folded {
		if len(folded[i]) > len(folded[most]) {
			most = i
		}
	}
	inGroup := map[string]int{}
	for _, r := range rows {
		inGroup[r.Group]++
	}
	// "deletecollection" alone would take a fifth of the line.
	heads := make([]string, 0, 8)
	room := width - 1
	for _, c := range rows[0].Cells {
		h := c.Verb
		if h == "deletecollection" {
			h = "delall"
		}
		heads = append(heads, h)
		room -= len(h) + 1
	}
	head := title + strings.Repeat(" ", room-len(title))
	for _, h := range heads {
		head += " " + h
	}
	if err := p.line("%s", p.paint.paint(bold, head)); err != nil {
		return err
	}
	print := func(label string, same []coverage.Row) error {
		first, rest := label, ""
		if visible.Width(label) > room-1 {
			first, rest, _ = strings.Cut(visible.Wrap(label, room-1, 0, ""), "\n")
			rest = strings.ReplaceAll(rest, "\n", " ")
		}
		line := visible.Cut(first, room-1)
		line += strings.Repeat(" ", room-visible.Width(line))
		for i := range heads {
			offered := slices.ContainsFunc(same, func(r coverage.Row) bool { return r.Cells[i].Offered })
			mark := levelMarks[same[0].Cells[i].Level]
			text, shade := mark.mark, mark.color
			if !offered {
				text, shade = " ", plain
			}
			left := (len(heads[i]) - 1) / 2
			line += strings.Repeat(" ", 1+left) + p.paint.paint(shade, text) + strings.Repeat(" ", len(heads[i])-1-left)
		}
		if err := p.line("%s", strings.TrimRight(line, " ")); err != nil || rest == "" {
			return err
		}
		return p.line("  %s", visible.Wrap(rest, width, 2, "  "))
	}
	for i := range folded {
		if i == most && !each {
			continue
		}
		if err := print(rowNames(folded[i], inGroup), folded[i]); err != nil {
			return err
		}
	}
	if each {
		return p.line("")
	}
	label := fmt.Sprintf("all %d others", len(folded[most]))
	if len(folded) == 1 {
		label = fmt.Sprintf("all %d", len(folded[most]))
	}
	if len(folded[most]) <= 3 {
		label = rowNames(folded[most], inGroup)
	}
	if err := print(label, folded[most]); err != nil {
		return err
	}
	return p.line("")
}

// rowNames lists rows, an API group in one if all of it is there. inGroup is how
// many rows each group has in all.
func rowNames(rows []coverage.Row, inGroup map[string]int) string {
	here := map[string]int{}
	for _, r := range rows {
		here[r.Group]++
	}
	var names []string
	for _, r := range rows {
		name := visible.Line(r.Name)
		if r.Group != "" && here[r.Group] > 1 && here[r.Group] == inGroup[r.Group] {
			name = "all of " + visible.Line(r.Group)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// matrixCSV has a line for each resource, the level under each verb, "" where
// the API does not offer the verb.
func (p *page) matrixCSV(m *coverage.Matrix) error {
	for _, rows := range [][]coverage.Row{m.Resources, m.Paths} {
		if len(rows) == 0 {
			continue
		}
		header := []string{"for"}
		for _, c := range rows[0].Cells {
			header = append(header, c.Verb)
		}
		w, err := newCSV(p.out, p.tty, header)
		if err != nil {
			return err
		}
		for _, r := range rows {
			w.text(r.Name)
			for _, c := range r.Cells {
				level := ""
				if c.Offered {
					level = c.Level.String()
				}
				w.text(level)
			}
			if err := w.end(); err != nil {
				return err
			}
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	return nil
}
