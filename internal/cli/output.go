package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/visible"
)

// The formats of -o. A command takes those that mean something for its answer.
const (
	formatTable = "table"
	formatText  = "text" // sentences
	formatWide  = "wide"
	formatJSON  = "json" // one object a line
	formatYAML  = "yaml" // one document an object
	formatCSV   = "csv"
	formatName  = "name" // resource/name, as kubectl takes it
	formatRaw   = "raw"  // the stored lines, byte for byte
)

// output is the flags that say how an answer looks.
type output struct {
	formats []string // those the command takes, the default first
	format  string
	utc     bool
	local   bool
	noColor bool
}

func (o *output) flags(cmd *cobra.Command, formats ...string) {
	o.formats = formats
	f := cmd.Flags()
	f.StringVarP(&o.format, "output", "o", formats[0], "output format: "+strings.Join(formats, ", "))
	f.BoolVar(&o.utc, "utc", false, "times in UTC (the default when the output is no terminal)")
	f.BoolVar(&o.local, "local", false, "times in the local zone (the default on a terminal)")
	f.BoolVar(&o.noColor, "no-color", false, "no colours, as with NO_COLOR set")
	complete(cmd, "output", formats)
}

func (o *output) validate() error {
	if !slices.Contains(o.formats, o.format) {
		return unknown("output format", o.format, o.formats, "one of "+strings.Join(o.formats, ", "))
	}
	if o.utc && o.local {
		return usagef("--utc and --local exclude each other")
	}
	return nil
}

// people is whether the format is for reading, not for a program.
func (o *output) people() bool {
	return o.format == formatTable || o.format == formatWide || o.format == formatText
}

// page is where a command writes one answer.
type page struct {
	*output
	out   *bufio.Writer
	tty   bool
	width int // 0 when the output need not fit
	paint painter
	zone  *time.Location
	now   time.Time
	docs  int // YAML documents so far
	buf   bytes.Buffer
}

// page starts an answer. Its flush must be called at the end.
func (c *cmdline) page(o *output) *page {
	p := &page{output: o, out: bufio.NewWriterSize(c.Out, 64<<10), tty: c.OutTerminal, zone: time.UTC, now: time.Now()}
	if c.OutTerminal {
		p.width = c.width()
		p.paint = c.paint && painter(!o.noColor)
	}
	if o.local || (c.OutTerminal && !o.utc) {
		p.zone = time.Local
	}
	return p
}

func (p *page) flush() error { return p.out.Flush() }

// stamp is a time for people: as ls has it on a terminal, RFC 3339 elsewhere.
func (p *page) stamp(t audit.Time) string {
	if t == 0 {
		return ""
	}
	at := t.Std().In(p.zone)
	switch {
	case !p.tty:
		return at.Format(time.RFC3339)
	case at.Year() == p.now.In(p.zone).Year():
		return at.Format("Jan _2 15:04:05")
	default:
		return at.Format("2006-01-02 15:04:05")
	}
}

// timeTitle is the heading of a column of stamps.
func (p *page) timeTitle() string {
	if p.tty && p.zone == time.UTC {
		return "TIME (UTC)"
	}
	return "TIME"
}

func (p *page) table(columns ...column) *table {
	return &table{w: p.out, width: p.width, header: true, paint: p.paint, columns: columns}
}

// json writes v as one line.
func (p *page) json(v any) error {
	p.buf.Reset()
	enc := json.NewEncoder(&p.buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	_, err := p.out.Write(visible.JSON(p.buf.Bytes()))
	return err
}

// yaml writes v as one document.
func (p *page) yaml(v any) error {
	b, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	if p.docs++; p.docs > 1 {
		if _, err := p.out.WriteString("---\n"); err != nil {
			return err
		}
	}
	if p.tty {
		_, err = p.out.WriteString(visible.Lines(string(b)))
	} else {
		_, err = p.out.Write(b)
	}
	return err
}

func (p *page) line(format string, args ...any) error {
	_, err := fmt.Fprintf(p.out, format+"\n", args...)
	return err
}

// count writes 1234567 as 1,234,567.
func count(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural is "1 event", "2 events".
func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}

// size writes bytes as 1.5 MB.
func size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, units := float64(n), "kMGTPE"
	i := -1
	for f >= 999.95 && i < len(units)-1 {
		f /= 1000
		i++
	}
	return fmt.Sprintf("%.1f %cB", f, units[i])
}

// complete offers values for a flag in the shell.
func complete(cmd *cobra.Command, flag string, values []string) {
	// The only error is an unknown flag, which the tests would show.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}
