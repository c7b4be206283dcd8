package cli

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/simulate"
	"github.com/ktrail/ktrail/internal/visible"
)

type policySimulateOptions struct {
	traffic
	output
	file     string
	baseline string
	retain   string

	retention time.Duration
}

func (c *cmdline) policySimulateCommand() *cobra.Command {
	o := &policySimulateOptions{}
	cmd := &cobra.Command{
		Use:   "simulate FILE",
		Short: "Price an audit policy on real traffic",
		Long: `Price an audit policy on real traffic: what it would have recorded of a log, or of
what a server has stored, the rules and clients that cost most, the disk it needs,
and what would be lost against what is recorded now. FILE may be - for standard input.

What the log tells is counted to the byte. What it cannot tell, such as bodies that
were never recorded, is estimated and given as a range. Requests that the log does
not have at all are not counted.`,
		Example: `  # What would this policy make of yesterday's log?
  ` + c.name + ` policy simulate policy.yaml --log /var/log/kubernetes/audit/

  # What would be lost against the policy in use?
  ` + c.name + ` policy simulate new.yaml --baseline old.yaml --log audit.log

  # On what a server has stored, with the disk for a year
  ` + c.name + ` policy simulate policy.yaml --server http://127.0.0.1:7433 --retain 365d`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.validate(cmd, c, args); err != nil {
				return err
			}
			return o.run(cmd, c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.baseline, "baseline", "", "compare with this `policy` instead of with what the log has")
	f.StringVar(&o.retain, "retain", "30d", "how long the log is kept: 30d, 52w")
	o.traffic.flags(cmd)
	o.output.flags(cmd, formatText, formatJSON)
	return cmd
}

func (o *policySimulateOptions) validate(cmd *cobra.Command, c *cmdline, args []string) error {
	if len(args) == 0 {
		return &usageError{msg: "name the policy's file, or - for standard input", next: "for example: " + c.name + " policy simulate policy.yaml --log audit.log"}
	}
	o.file = args[0]
	age, err := parseAge(o.retain)
	if err := errors.Join(o.output.validate(), err, o.traffic.validate(cmd, args[1:])); err != nil {
		return err
	}
	if o.retention = age; age == 0 {
		return usagef("--retain needs an age: 30d, 52w")
	}
	stdin := 0
	for _, name := range []string{o.file, o.baseline} {
		if name == "-" {
			stdin++
		}
	}
	if stdin > 1 || stdin > 0 && o.usesStdin() {
		return usagef("standard input is named twice: it is a policy or the log")
	}
	return nil
}

func (o *policySimulateOptions) run(cmd *cobra.Command, c *cmdline) error {
	p, err := c.loadPolicy(o.file)
	if err != nil {
		return err
	}
	var baseline *policy.Policy
	if o.baseline != "" {
		if baseline, err = c.loadPolicy(o.baseline); err != nil {
			return err
		}
	}
	s := simulate.New(simulate.Options{Policy: p, Baseline: baseline, Workers: runtime.GOMAXPROCS(0)})
	bar := c.startProgress(true)
	o.traffic.total(bar, 1)
	err = o.give(cmd, c, s, bar, false)
	bar.finish()
	damaged := is[*damagedError](err)
	if err != nil && !damaged {
		return err
	}
	r := s.Report()
	if r.Log.Events == 0 {
		return errors.Join(err, &nothingError{"no events in " + o.from()})
	}
	return errors.Join(o.print(c, r), err)
}

// simulation is the answer as JSON.
type simulation struct {
	File      string `json:"file"`
	Baseline  string `json:"baseline,omitempty"`
	From      string `json:"from"`
	Retention disk   `json:"retention"`
	*simulate.Report
}

// disk is what a retention needs, in bytes.
type disk struct {
	Days       float64        `json:"days"`
	Plain      simulate.Range `json:"plain_bytes"`
	Compressed simulate.Range `json:"compressed_bytes,omitzero"`
	// Files is how many rotated files of 100 MB that is.
	Files int64 `json:"files_of_100_mb"`
}

// rotateSize is what the API server rotates at by default, --audit-log-maxsize=100.
const rotateSize = 100e6

func (o *policySimulateOptions) disk(r *simulate.Report) disk {
	days := o.retention.Hours() / 24
	b := r.Policy.BytesPerDay
	d := disk{Days: days, Plain: simulate.Range{Low: b.Low * days, Middle: b.Middle * days, High: b.High * days}}
	if r.Compression > 0 {
		d.Compressed = simulate.Range{Low: zipped(d.Plain.Low, r.Compression), Middle: zipped(d.Plain.Middle, r.Compression), High: zipped(d.Plain.High, r.Compression)}
	}
	d.Files = int64(d.Plain.High/rotateSize) + 1
	return d
}

// zipped is what a log takes that is compressed but for the file being written.
func zipped(plain, compression float64) float64 {
	live := min(rotateSize, plain)
	return math.Round(live + (plain-live)/compression)
}

func (o *policySimulateOptions) print(c *cmdline, r *simulate.Report) error {
	pg := c.page(&o.output)
	all := simulation{File: o.file, Baseline: o.baseline, From: o.from(), Retention: o.disk(r), Report: r}
	if o.format == formatJSON {
		return errors.Join(pg.json(all), pg.flush())
	}
	t := &priceText{page: pg, days: r.Log.Days}
	return errors.Join(t.simulation(&all), pg.flush())
}

// priceText writes amounts for people: a day's, or where the log spans no time all of it.
type priceText struct {
	*page
	days float64
	err  error
}

func (t *priceText) line(format string, args ...any) {
	t.err = errors.Join(t.err, t.page.line(format, args...))
}

// text is a sentence that is broken at the width, behind a bullet.
func (t *priceText) text(bullet, s string) {
	indent := fmt.Sprintf("%*s", len(bullet), "")
	t.line("%s%s", bullet, visible.Wrap(visible.Line(s), t.wide(), len(bullet), indent))
}

// wide is where sentences are broken, in a pipe too: nobody reads lines of 300 columns.
func (t *priceText) wide() int {
	if t.width > 0 {
		return t.width
	}
	return 80
}

func (t *priceText) title(s string) { t.line("\n%s", t.paint.paint(bold, s)) }

// events and bytes are the numbers of a row, with the range where they are estimated.
func (t *priceText) events(a *simulate.Amount) string {
	r := a.EventsPerDay
	if t.days == 0 {
		n := float64(a.Events)
		r = simulate.Range{Low: n + a.MoreEvents.Low, Middle: n + a.MoreEvents.Middle, High: n + a.MoreEvents.High}
	}
	return about(r, count(int64(r.Middle)))
}

func (t *priceText) bytes(a *simulate.Amount) (middle, span string) {
	r := t.amount(a)
	return about(r, size(int64(r.Middle))), spread(r)
}

// spread is from where to where an estimate goes, if that can be seen.
func spread(r simulate.Range) string {
	low, high := size(int64(r.Low)), size(int64(r.High))
	if low == high {
		return ""
	}
	return low + " to " + high
}

func (t *priceText) amount(a *simulate.Amount) simulate.Range {
	if t.days == 0 {
		return a.Total()
	}
	return a.BytesPerDay
}

// about marks what is estimated.
func about(r simulate.Range, s string) string {
	if r.Exact() {
		return s
	}
	return "~" + s
}

// per is the end of a column's title.
func (t *priceText) per() string {
	if t.days == 0 {
		return ""
	}
	return "/DAY"
}

func (t *priceText) columns(first ...column) *table {
	return t.table(append(first,
		column{title: "EVENTS" + t.per(), right: true},
		column{title: "BYTES" + t.per(), right: true},
		column{title: "SHARE", right: true},
		column{title: "RANGE", spare: true, least: 1},
	)...)
}

// row adds an amount and its share of a whole.
func (t *priceText) row(tb *table, a, whole *simulate.Amount, cells ...string) {
	middle, span := t.bytes(a)
	share := ""
	if sum := t.amount(whole).Middle; sum > 0 {
		share = fmt.Sprintf("%.0f%%", 100*t.amount(a).Middle/sum)
	}
	cells = append(cells, t.events(a), middle, share, span)
	t.err = errors.Join(t.err, tb.add(cells[:len(tb.columns)]))
}

func (t *priceText) flushTable(tb *table) {
	// A column in which nothing stands has no title either.
	last := len(tb.columns) - 1
	if !slices.ContainsFunc(tb.held, func(row []string) bool { return row[last] != "" }) {
		tb.columns = tb.columns[:last]
		for i := range tb.held {
			tb.held[i] = tb.held[i][:last]
		}
	}
	t.err = errors.Join(t.err, tb.flush())
}

func (t *priceText) simulation(s *simulation) error {
	r := s.Report
	t.text("", fmt.Sprintf("%s on %s: %s, %s%s", s.File, s.From, plural(r.Log.Events, "event"), size(r.Log.Bytes), t.span(&r.Log)))
	tb := t.columns(column{})
	t.line("")
	t.row(tb, &r.Recorded, &r.Recorded, "in the log")
	if r.Baseline != nil {
		t.row(tb, r.Baseline, &r.Recorded, "under "+visible.Line(s.Baseline))
	}
	t.row(tb, &r.Policy, &r.Recorded, "under "+visible.Line(s.File))
	t.flushTable(tb)

	t.line("")
	tb = t.columns(column{title: "LEVEL"})
	for i := range r.Levels {
		if l := &r.Levels[i]; l.Events > 0 || l.MoreEvents.High > 0 {
			t.row(tb, &l.Amount, &r.Policy, l.Level.String())
		}
	}
	t.flushTable(tb)
	t.line("")
	tb = t.columns(column{title: "STAGE"})
	for i := range r.Stages {
		if s := &r.Stages[i]; s.Events > 0 || s.MoreEvents.High > 0 {
			t.row(tb, &s.Amount, &r.Policy, s.Stage)
		}
	}
	t.flushTable(tb)
	if n := r.LeftOut.Events; n > 0 {
		t.line("")
		t.text("", fmt.Sprintf("Not recorded: %s of the log (%s), %s of them for their stage alone.", plural(n, "event"), size(r.LeftOut.Bytes), count(r.LeftOut.ByStage)))
	}
	t.costliest(r)
	t.disk(s)
	t.lost(s)
	t.notes(r.Notes)
	return t.err
}

// span is the time of a log.
func (t *priceText) span(l *simulate.Log) string {
	if l.Days == 0 {
		return ""
	}
	return fmt.Sprintf(", %s until %s", short(time.Duration(l.Days*24*float64(time.Hour))), t.stamp(l.Last))
}

func (t *priceText) costliest(r *simulate.Report) {
	if len(r.Rules) > 0 {
		t.title("Rules that cost most")
		tb := t.columns(column{title: "RULE", right: true}, column{title: "LINE", right: true}, column{title: "LEVEL"})
		for i := range r.Rules {
			row := &r.Rules[i]
			t.row(tb, &row.Amount, &r.Policy, strconv.Itoa(row.Rule), strconv.Itoa(row.Line), row.Level.String())
		}
		t.flushTable(tb)
		t.more(r.MoreRules, "rule")
	}
	if len(r.Clients) > 0 {
		t.title("Clients that cost most")
		tb := t.columns(column{title: "USER", middle: true, least: 20}, column{title: "AGENT", least: 8, spare: true, short: agentName})
		// The width goes to the names; what is estimated is marked, its range is in JSON.
		tb.columns = tb.columns[:len(tb.columns)-1]
		for i := range r.Clients {
			row := &r.Clients[i]
			t.row(tb, &row.Amount, &r.Policy, userName(row.User), visible.Line(row.Agent))
		}
		t.flushTable(tb)
		t.more(r.MoreClients, "client")
	}
}

// userName is a user for people.
func userName(name string) string {
	if name == "" {
		return "(not authenticated)"
	}
	return visible.Line(name)
}

// agentName is the program of a user agent, without its version.
func agentName(agent string) string {
	for i, r := range agent {
		if r == ' ' || r == '/' {
			return agent[:i]
		}
	}
	return agent
}

func (t *priceText) more(n int, noun string) {
	if n > 0 {
		t.line("%s", t.paint.paint(dim, "and "+plural(int64(n), noun)+" more"))
	}
}

func (t *priceText) disk(s *simulation) {
	if t.days == 0 || s.Policy.Events == 0 {
		return
	}
	d := s.Retention
	t.title("Disk for " + strconv.FormatFloat(d.Days, 'f', -1, 64) + " days")
	t.text("", bytesRange(d.Plain)+" plain.")
	if s.Compression > 0 {
		t.text("", fmt.Sprintf("%s with --audit-log-compress and one file of 100 MB being written: gzip made %s of it %.1f times smaller.",
			bytesRange(d.Compressed), size(s.CompressionOf), s.Compression))
	}
	t.text("", fmt.Sprintf("Flags that keep it: --audit-log-maxage=%.0f --audit-log-maxsize=100 --audit-log-maxbackup=%d", max(1, d.Days), d.Files))
}

func bytesRange(r simulate.Range) string {
	s := about(r, size(int64(r.Middle)))
	if span := spread(r); span != "" {
		s += " (" + span + ")"
	}
	return s
}

func (t *priceText) lost(s *simulation) {
	l := &s.Lost
	against := "what the log has"
	if l.Baseline {
		against = visible.Line(s.Baseline)
	}
	t.title("Lost against " + against)
	if l.Loss == (simulate.Loss{}) {
		t.line("Nothing.")
		return
	}
	if l.Requests > 0 {
		t.text("", fmt.Sprintf("%s of which nothing is left: %s, %s refused (401 or 403), %s for secrets or config maps.",
			plural(l.Requests, "request"), plural(l.Writes, "write"), count(l.Denied), count(l.Secrets)))
	}
	if l.Outcomes > 0 {
		t.text("", plural(l.Outcomes, "request")+" without the last event, which has the status.")
	}
	if n := l.RequestBodies + l.ResponseBodies; n > 0 {
		t.text("", fmt.Sprintf("Bodies of %s and of %s that are still recorded.", plural(l.RequestBodies, "request"), plural(l.ResponseBodies, "response")))
	}
	if l.Stages > 0 {
		t.text("", plural(l.Stages, "earlier event")+" of requests that are still recorded.")
	}
	for _, by := range []struct {
		title string
		rows  []simulate.LossRow
	}{{"USER", l.ByUser}, {"VERB", l.ByVerb}, {"RESOURCE", l.ByResource}} {
		t.line("")
		tb := t.table(column{title: by.title, middle: true, least: 20},
			column{title: "REQUESTS", right: true}, column{title: "WRITES", right: true}, column{title: "REFUSED", right: true},
			column{title: "BODIES", right: true}, column{title: "EVENTS", right: true})
		for _, row := range by.rows {
			name := visible.Line(row.Name)
			if by.title == "USER" {
				name = userName(row.Name)
			}
			t.err = errors.Join(t.err, tb.add([]string{
				name, count(row.Requests + row.Outcomes), count(row.Writes), count(row.Denied),
				count(row.RequestBodies + row.ResponseBodies), count(row.Stages),
			}))
		}
		t.err = errors.Join(t.err, tb.flush())
	}
}

func (t *priceText) notes(notes []simulate.Note) {
	if len(notes) == 0 {
		return
	}
	t.title("How far to trust this")
	for _, n := range notes {
		t.text("- ", n.Text)
	}
}
