package web

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the report's template and style
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"html/template"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a reader's zone must be known on a machine that has no zones

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/sheet"
	"github.com/ktrail/ktrail/internal/visible"
)

const (
	// maxReport is how many events a report may have: it is read by people, and
	// made as a whole, a few kilobytes an event at most.
	maxReport = 5000
	// reportText is how much of a name a report shows, in bytes: none that
	// Kubernetes makes is longer.
	reportText = 512
	// maxIDs is how many events may be chosen one by one.
	maxIDs = 1000
)

// exportTypes are the formats and the types of their files.
var exportTypes = map[string]string{
	"jsonl": typeLines,
	"raw":   typeLines,
	"csv":   "text/csv; charset=utf-8; header=present",
	"html":  "text/html; charset=utf-8",
}

// exporting is one export under way.
type exporting struct {
	question query.SearchQuestion
	shown    query.Scope // what the page showed; with chosen events it is not what was asked
	format   string
	columns  []query.Column
	zone     *time.Location
	chosen   int // events chosen by ID, 0 for all of the scope
	out      *chunks
}

func (s *server) getExport(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r, known("format", "ids", "columns", "tz", "limit", "ascending")...)
	x := exporting{shown: p.scope(), format: p.required("format")}
	if p.first == nil && exportTypes[x.format] == "" {
		p.fail(fmt.Sprintf("format %.40q is none of jsonl, raw, csv and html", x.format))
	}
	x.question = query.SearchQuestion{
		Scope: x.shown, Ascending: p.flag("ascending", false),
		Limit: int(p.number("limit", 0, 0, math.MaxInt32)), NoRaw: x.format == "csv",
	}
	ids := p.ids("ids")
	x.columns = p.columns("columns")
	x.zone = p.zone("tz")
	if err := p.err(); err != nil {
		return err
	}
	if _, err := query.Parse(x.shown.Filter); err != nil {
		return err
	}
	if len(ids) > 0 {
		x.chosen = len(ids)
		// Naming final keeps the default from being added.
		x.question.Scope = query.Scope{Filter: "id in [" + strings.Join(ids, ", ") + "] && (final || !final)"}
	}
	if x.format == "html" && (x.question.Limit == 0 || x.question.Limit > maxReport) {
		x.question.Limit = maxReport
	}
	end, err := s.begin()
	if err != nil {
		return err
	}
	defer end()
	now := time.Now().UTC()
	h := w.Header()
	name := "ktrail-" + now.Format("20060102T150405Z") + "." + x.format
	if x.format == "raw" {
		name = "ktrail-" + now.Format("20060102T150405Z") + ".log"
	}
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	x.out = newChunks(w, exportTypes[x.format])
	if x.format == "html" {
		err = s.exportReport(r, &x, now)
	} else {
		err = s.exportRows(r, &x)
	}
	if err != nil && !x.out.began() {
		h.Del("Content-Disposition") // an error is no file
	}
	return err
}

// exportRows streams events. It is broken off if it cannot be finished: a file
// that seems whole and is not would be worse than none.
func (s *server) exportRows(r *http.Request, x *exporting) error {
	ctx, more, stop := s.limit(r.Context())
	defer stop()
	var row func(*audit.Event) error
	done := func() error { return nil }
	switch x.format {
	case "raw":
		row = func(e *audit.Event) error { return x.out.line(e.Raw) }
	case "jsonl":
		row = func(e *audit.Event) error { return x.out.write("", sendable(e)) }
	case "csv":
		t := csv.NewWriter(x.out.buf)
		fields := make([]string, len(x.columns))
		header := func() error {
			for i := range x.columns {
				fields[i] = x.columns[i].Name
			}
			return t.Write(fields)
		}
		started := false
		start := func() error {
			if started {
				return nil
			}
			started = true
			x.out.begin()
			return header()
		}
		row = func(e *audit.Event) error {
			if err := start(); err != nil {
				return err
			}
			for i := range x.columns {
				c := &x.columns[i]
				fields[i] = c.Text(e)
				if c.Type == query.String || c.Type == query.Strings {
					fields[i] = sheet.Defuse(fields[i])
				}
			}
			if err := t.Write(fields); err != nil {
				return err
			}
			t.Flush() // into the buffer of chunks
			return x.out.soon()
		}
		done = func() error {
			err := start() // a table without rows has its header
			t.Flush()
			return errors.Join(err, t.Error())
		}
	}
	_, err := s.Questions.Search(ctx, x.question, func(e *audit.Event) error {
		more()
		s.meters.events.Inc()
		return row(e)
	})
	if err != nil {
		return limited(ctx, err)
	}
	if err := done(); err != nil {
		return err
	}
	x.out.begin()
	return x.out.flush()
}

// line writes one line as it is.
func (c *chunks) line(text string) error {
	c.begin()
	if err := c.text(text); err != nil {
		return err
	}
	if err := c.text("\n"); err != nil {
		return err
	}
	return c.soon()
}

// soon flushes if what is buffered has waited long enough.
func (c *chunks) soon() error {
	if time.Since(c.flushed) < flushEvery {
		return nil
	}
	return c.flush()
}

//go:embed report.html
var reportHTML string

//go:embed report.css
var reportCSS string

// reportPage is the report's template. It stands alone: one file, no script, one
// style that its own policy names by its hash.
var reportPage = template.Must(template.New("report").Funcs(template.FuncMap{"visible": visible.Marked, "short": short, "number": numberText}).Parse(reportHTML))

// report is what the template shows around the rows.
type report struct {
	Style    template.CSS
	Policy   string
	Version  string
	Made     string
	Filter   string // as it was asked
	Ran      string // as it was run
	From, To string
	Zone     string
	Order    string
	Chosen   int
	Events   int64
	Total    string // hash
	More     bool
	Limit    int64
	Warnings query.Warnings
	First    string
	Last     string
	Rows     template.HTML // made by the template reportRow
}

// reportRow is one event.
type reportRow struct {
	ID, Time, User, As, Address, Code, Sentence, Hash string
	Failed                                            bool
}

func (s *server) exportReport(r *http.Request, x *exporting, now time.Time) error {
	ctx, more, stop := s.limit(r.Context())
	defer stop()
	var rows bytes.Buffer
	total := sha256.New()
	v := report{
		Version: s.Version, Made: zoned(audit.TimeOf(now), x.zone), Zone: x.zone.String(), Chosen: x.chosen, Limit: maxReport,
		Filter: x.shown.Filter, From: zoned(x.shown.Range.From, x.zone), To: zoned(x.shown.Range.To, x.zone), Order: "newest first",
	}
	if x.question.Ascending {
		v.Order = "oldest first"
	}
	a, err := s.Questions.Search(ctx, x.question, func(e *audit.Event) error {
		more()
		s.meters.events.Inc()
		v.Events++
		at := zoned(e.Time, x.zone)
		if v.First == "" {
			v.First = at
		}
		v.Last = at
		return reportPage.ExecuteTemplate(&rows, "row", newReportRow(e, at, total))
	})
	if err != nil {
		return limited(ctx, err)
	}
	if !x.question.Ascending {
		v.First, v.Last = v.Last, v.First
	}
	v.Ran, v.Warnings, v.More = a.Filter, a.Warnings, a.Next != ""
	v.Total = hex.EncodeToString(total.Sum(nil))
	v.Limit = int64(x.question.Limit)
	style := sha256.Sum256([]byte(reportCSS))
	v.Style = template.CSS(reportCSS)
	v.Policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) + "'; base-uri 'none'; form-action 'none'"
	v.Rows = template.HTML(rows.String())
	x.out.begin()
	if err := reportPage.Execute(x.out.buf, &v); err != nil {
		return err
	}
	return x.out.flush()
}

// newReportRow hashes the line and adds the hash, as text with a newline, to the total.
func newReportRow(e *audit.Event, at string, total hash.Hash) reportRow {
	sum := sha256.Sum256([]byte(e.Raw))
	row := reportRow{
		ID: strconv.FormatInt(e.ID, 10), Time: at, User: visible.Clip(e.User, reportText), As: visible.Clip(e.AsUser, reportText), Sentence: query.Sentence(e), Hash: hex.EncodeToString(sum[:]),
		Failed: e.Code >= 400,
	}
	if len(e.SourceIPs) > 0 {
		row.Address = visible.Clip(e.SourceIPs[0], reportText)
	}
	if e.Code != 0 {
		row.Code = strconv.Itoa(int(e.Code))
	}
	fmt.Fprintln(total, row.Hash) // a hash's Write never fails
	return row
}

// zoned writes t to the microsecond in a zone, with its offset.
func zoned(t audit.Time, zone *time.Location) string {
	if t == 0 {
		return ""
	}
	return t.Std().In(zone).Format("2006-01-02 15:04:05.000000 Z07:00")
}

// ids reads numbers of events, separated by commas.
func (p *params) ids(name string) []string {
	text := p.text(name)
	if text == "" {
		return nil
	}
	list := strings.Split(text, ",")
	if len(list) > maxIDs {
		p.fail(fmt.Sprintf("parameter %s has %d events; at most %d are allowed: export a filter and a range instead", name, len(list), maxIDs))
		return nil
	}
	for _, id := range list {
		if n, err := strconv.ParseInt(id, 10, 64); err != nil || n <= 0 || strconv.FormatInt(n, 10) != id {
			p.fail(fmt.Sprintf("parameter %s has %.40q, which is not the number of an event", name, id))
			return nil
		}
	}
	return list
}

// columns reads names of columns, separated by commas; absent is all but the raw line.
func (p *params) columns(name string) []query.Column {
	var out []query.Column
	if p.text(name) == "" && len(p.values[name]) < 2 {
		for _, c := range query.Columns() {
			if c.Name != "raw" {
				out = append(out, c)
			}
		}
		return out
	}
	for _, n := range p.list(name) {
		c, err := query.LookupColumn(n)
		switch {
		case err != nil && p.first == nil:
			p.first = err
			return nil
		case err != nil:
			return nil
		case slices.ContainsFunc(out, func(c query.Column) bool { return c.Name == n }):
			p.fail("column " + n + " is given twice")
			return nil
		case n == "raw":
			p.fail("a table has no raw lines; take format=raw or format=jsonl")
			return nil
		}
		out = append(out, *c)
	}
	return out
}

// zone reads a time zone of the IANA database; absent is UTC.
func (p *params) zone(name string) *time.Location {
	text := p.text(name)
	if text == "" {
		return time.UTC
	}
	zone, err := time.LoadLocation(text)
	if err != nil || text == "Local" {
		p.fail(fmt.Sprintf("parameter %s is %.40q, not a time zone such as UTC or Europe/Berlin", name, text))
		return time.UTC
	}
	return zone
}
