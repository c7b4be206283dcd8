package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/visible"
)

// eventPrinter writes events in one of the formats, one at a time.
type eventPrinter struct {
	page  *page
	table *table
	csv   *csvPrinter
	n     int64

	columns []query.Column // for csv
}

func newEventPrinter(p *page) (*eventPrinter, error) {
	e := &eventPrinter{page: p}
	switch p.format {
	case formatTable, formatWide:
		e.table = p.table(eventTable(p)...)
		e.table.shade = shadeEvent
	case formatCSV:
		e.columns = query.Columns()
		var err error
		e.csv, err = newCSV(p.out, p.tty, query.ColumnNames())
		return e, err
	}
	return e, nil
}

func (e *eventPrinter) print(ev *audit.Event) error {
	e.n++
	p := e.page
	switch p.format {
	case formatJSON:
		return p.json(ev)
	case formatYAML:
		return p.yaml(ev)
	case formatName:
		return p.line("%s", visible.Line(objectRef(ev)))
	case formatRaw:
		if p.tty {
			_, err := p.out.Write(visible.JSON([]byte(ev.Raw + "\n")))
			return err
		}
		if _, err := p.out.WriteString(ev.Raw); err != nil {
			return err
		}
		return p.out.WriteByte('\n')
	case formatCSV:
		for i := range e.columns {
			e.csv.text(e.columns[i].Text(ev))
		}
		return e.csv.end()
	default:
		return e.table.add(eventRow(p, ev))
	}
}

// flush brings out all that was printed so far.
func (e *eventPrinter) flush() error {
	if e.table != nil {
		if err := e.table.flush(); err != nil {
			return err
		}
	}
	if e.csv != nil {
		if err := e.csv.flush(); err != nil {
			return err
		}
	}
	return e.page.flush()
}

func eventTable(p *page) []column {
	columns := []column{
		{title: p.timeTitle(), usual: len(p.stamp(audit.TimeOf(p.now)))},
		{title: "USER", least: 12, usual: 24, middle: true, short: shortUser},
		{title: "VERB", least: 5, usual: 6},
		{title: "NAMESPACE", least: 9, usual: 12, middle: true, spare: true},
		{title: "OBJECT", least: 14, usual: 40, middle: true, short: shortObject},
		{title: "CODE", right: true},
	}
	if p.format == formatWide {
		columns = append(
			columns,
			column{title: "AS", least: 8, middle: true, spare: true, short: shortUser},
			column{title: "FROM", least: 8, spare: true},
			column{title: "REASON", least: 8, spare: true},
			column{title: "DECISION", least: 8, spare: true},
			column{title: "LATENCY", right: true, spare: true},
			column{title: "AGENT", least: 12, spare: true},
			column{title: "CLUSTER", least: 7, spare: true},
			column{title: "STAGE", least: 8, spare: true},
			column{title: "ID", right: true, spare: true},
		)
	}
	return columns
}

func eventRow(p *page, ev *audit.Event) []string {
	row := []string{
		p.stamp(ev.Time), visible.Line(ev.User), visible.Line(ev.Verb),
		visible.Line(ev.Namespace), visible.Line(objectName(ev)), codeText(ev),
	}
	if p.format == formatWide {
		row = append(
			row,
			visible.Line(ev.AsUser), visible.Line(strings.Join(ev.SourceIPs, ",")), visible.Line(ev.Reason), visible.Line(ev.Decision),
			latency(ev.LatencyUS), visible.Line(ev.Agent), visible.Line(ev.Cluster), visible.Line(ev.Stage), strconv.FormatInt(ev.ID, 10),
		)
	}
	return row
}

// shortUser shortens what all service accounts have in common: sa:payments:deployer.
func shortUser(s string) string {
	if rest, ok := strings.CutPrefix(s, "system:serviceaccount:"); ok {
		return "sa:" + rest
	}
	return s
}

// shortObject leaves the API group out: deployments.apps/web is deployments/web.
func shortObject(s string) string {
	resource, rest, ok := strings.Cut(s, "/")
	if !ok || resource == "" {
		return s
	}
	resource, _, _ = strings.Cut(resource, ".")
	return resource + "/" + rest
}

// shadeEvent draws the eye to what failed and to what was removed.
func shadeEvent(row []string, col int) color {
	switch col {
	case 0:
		return dim
	case 2:
		if strings.HasPrefix(row[2], "delete") {
			return yellow
		}
	case 5:
		if row[5] >= "400" && len(row[5]) == 3 {
			return red
		}
	}
	return plain
}

func codeText(ev *audit.Event) string {
	if ev.Code == 0 {
		return ""
	}
	return strconv.Itoa(int(ev.Code))
}

// objectName is deployments.apps/web, pods/web/log or a path that is no resource.
func objectName(ev *audit.Event) string {
	if ev.Resource == "" {
		return ev.URI
	}
	s := objectRef(ev)
	if ev.Subresource != "" {
		s += "/" + ev.Subresource
	}
	return s
}

// objectRef is the object as kubectl and ktrail history take it.
func objectRef(ev *audit.Event) string {
	if ev.Resource == "" {
		return ev.URI
	}
	s := ev.Resource
	if ev.APIGroup != "" {
		s += "." + ev.APIGroup
	}
	if ev.Name != "" {
		s += "/" + ev.Name
	}
	return s
}

func latency(us int64) string {
	switch {
	case us == 0:
		return ""
	case us < 1000:
		return fmt.Sprintf("%dµs", us)
	case us < 1_000_000:
		return fmt.Sprintf("%.1fms", float64(us)/1e3)
	case us < 60_000_000:
		return fmt.Sprintf("%.1fs", float64(us)/1e6)
	default:
		return fmt.Sprintf("%dm%02ds", us/60_000_000, us/1_000_000%60)
	}
}
