package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/visible"
)

type historyOptions struct {
	target
	scope
	output
	object    query.Resource
	namespace string
	limit     int
	cursor    string
	diff      bool
	noise     bool
}

func (c *cmdline) historyCommand() *cobra.Command {
	o := &historyOptions{}
	cmd := &cobra.Command{
		Use:   "history RESOURCE/NAME",
		Short: "Show who changed an object, and what changed",
		Long: `Show every change of one object, newest first: when, who, as whom, verb and outcome, and the
fields that changed where the log has the objects. The resource reads like kubectl's.`,
		Example: c.examples(
			`history deploy/web -n prod`,
			`history clusterrolebindings admins --since 30d -o json`,
		),
		GroupID: "ask",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.validate(cmd, args); err != nil {
				return err
			}
			return c.history(cmd, o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.namespace, "namespace", "n", "", "the object's `namespace` (default: any)")
	f.IntVar(&o.limit, "limit", 50, "at most this many changes")
	f.StringVar(&o.cursor, "cursor", "", "go on after an earlier page")
	f.BoolVar(&o.diff, "diff", true, "show the fields that changed; --diff=false lists the changes only")
	f.BoolVar(&o.noise, "all-fields", false, "show changes of managedFields, resourceVersion and generation too")
	o.scope.flags(cmd, "namespace", "resource", "api-group", "name", "subresource")
	o.output.flags(cmd, formatTable, formatJSON, formatYAML, formatCSV)
	o.target.flags(cmd)
	return cmd
}

func (o *historyOptions) validate(cmd *cobra.Command, args []string) error {
	if err := errors.Join(o.output.validate(), o.target.validate(cmd)); err != nil {
		return err
	}
	if len(args) == 0 {
		return &usageError{msg: "missing argument: the object, as RESOURCE/NAME", next: "usage: " + cmd.UseLine()}
	}
	var err error
	if o.object, err = query.ParseResource(args...); err != nil {
		return err
	}
	switch {
	case o.object.Name == "":
		return &usageError{msg: "missing name: whose history of " + quote(args[0]) + "?", next: "usage: " + cmd.UseLine()}
	case o.limit < 1:
		return usagef("--limit must be at least 1")
	case o.all && o.namespace != "":
		return usagef("--namespace and --all-namespaces exclude each other")
	}
	if o.object.Subresource != "" {
		o.controls.Subresource = []string{o.object.Subresource}
	}
	return nil
}

func (c *cmdline) history(cmd *cobra.Command, o *historyOptions) error {
	p := c.page(&o.output)
	sc, err := o.question(p.zone, o.cursor)
	if err != nil {
		return err
	}
	q := query.HistoryQuestion{
		Scope: sc, Resource: o.object.Resource, APIGroup: o.object.APIGroup, Namespace: o.namespace,
		Name: o.object.Name, Limit: o.limit, Cursor: o.cursor, Diff: o.diff, Noise: o.noise,
	}
	return c.ask(cmd, &o.target, func(qs query.Questions) error {
		answer, err := qs.History(cmd.Context(), q)
		if err != nil {
			return err
		}
		if err := errors.Join(printHistory(p, &answer), p.flush()); err != nil {
			return err
		}
		c.showFilter(&o.scope, &o.output, answer.Filter)
		if answer.Next != "" {
			c.hint("more changes: --cursor %s goes on here", answer.Next)
		}
		if err := c.warn(answer.Warnings); err != nil {
			return err
		}
		if len(answer.Changes) > 0 {
			return nil
		}
		msg := fmt.Sprintf("no changes of %s %s", o.object.Resource, o.object.Name)
		if o.namespace != "" {
			msg += " in " + o.namespace
		}
		if s := o.object.Suggest; s != "" && !o.object.Known {
			msg += fmt.Sprintf("; did you mean %s?", s)
		}
		return &nothingError{msg}
	})
}

func printHistory(p *page, a *query.HistoryAnswer) error {
	switch p.format {
	case formatJSON, formatYAML:
		for i := range a.Changes {
			var err error
			if p.format == formatYAML {
				err = p.yaml(&a.Changes[i])
			} else {
				err = p.json(&a.Changes[i])
			}
			if err != nil {
				return err
			}
		}
		return nil
	case formatCSV:
		return historyCSV(p, a)
	}
	for i := range a.Changes {
		if err := p.change(&a.Changes[i]); err != nil {
			return err
		}
	}
	return nil
}

// change prints one change: the sentence, then what it changed.
func (p *page) change(ch *query.Change) error {
	ev := &ch.Event
	stamp, mark := p.stamp(ev.Time), bold
	if ev.Code >= 400 {
		mark = red
	}
	const indent = "    "
	text := visible.Wrap(sentence(ev), p.width, len(stamp)+2, indent)
	if err := p.line("%s  %s", p.paint.paint(dim, stamp), p.paint.lines(mark, text)); err != nil {
		return err
	}
	for _, f := range ch.Fields {
		if err := p.line("%s%s", indent, p.paint.paint(cyan, p.fit(visible.Line(f.Path), len(indent)))); err != nil {
			return err
		}
		if f.Old != nil {
			if err := p.value(indent, "- ", red, f.Old); err != nil {
				return err
			}
		}
		if f.New != nil {
			if err := p.value(indent, "+ ", green, f.New); err != nil {
				return err
			}
		}
	}
	if ch.Patch != nil {
		if err := p.value(indent, "patch ", yellow, ch.Patch); err != nil {
			return err
		}
	}
	if ch.Note != "" {
		return p.line("%s%s", indent, p.paint.lines(dim, visible.Wrap("("+visible.Line(ch.Note)+")", p.width, len(indent), indent)))
	}
	return nil
}

// room is what is left of the width beside n columns; 0 where nothing need fit.
func (p *page) room(n int) int {
	if p.width == 0 {
		return 0
	}
	return max(20, p.width-n)
}

func (p *page) fit(s string, indent int) string {
	if w := p.room(indent); w > 0 {
		return visible.CutMiddle(s, w)
	}
	return s
}

// valueLines is how many lines of a value a terminal shows.
const valueLines = 12

// value prints a JSON value, on one line where it fits, else indented.
func (p *page) value(indent, sign string, c color, v json.RawMessage) error {
	one := compactJSON(v)
	room := p.room(len(indent) + len(sign))
	lines := []string{one}
	if room > 0 && visible.Width(one) > room {
		var b bytes.Buffer
		if err := json.Indent(&b, v, "", "  "); err == nil {
			lines = strings.Split(b.String(), "\n")
		}
	}
	more := 0
	if p.tty && len(lines) > valueLines {
		more = len(lines) - valueLines
		lines = lines[:valueLines]
	}
	for i, l := range lines {
		if i > 0 {
			sign = strings.Repeat(" ", len(sign))
		}
		l = visible.Line(l)
		if room > 0 {
			l = visible.Cut(l, room)
		}
		if err := p.line("%s%s", indent, p.paint.paint(c, sign+l)); err != nil {
			return err
		}
	}
	if more > 0 {
		return p.line("%s%s", indent, p.paint.paint(dim, fmt.Sprintf("%s… %s; -o json shows all", sign, plural(int64(more), "more line"))))
	}
	return nil
}

func compactJSON(v json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Compact(&b, v); err != nil {
		return visible.Line(string(v))
	}
	return visible.Line(b.String())
}

// historyCSV has one row a change; the column changes is the diff as JSON.
func historyCSV(p *page, a *query.HistoryAnswer) error {
	w, err := newCSV(p.out, p.tty, []string{
		"time", "user", "as_user", "verb", "api_group", "resource", "subresource", "namespace", "name",
		"code", "decision", "source_ips", "audit_id", "changes", "patch", "note",
	})
	if err != nil {
		return err
	}
	for i := range a.Changes {
		ch := &a.Changes[i]
		ev := &ch.Event
		fields := ""
		if len(ch.Fields) > 0 {
			b, err := json.Marshal(ch.Fields)
			if err != nil {
				return fmt.Errorf("encode changes: %w", err)
			}
			fields = string(b)
		}
		for _, s := range []string{
			ev.Time.String(), ev.User, ev.AsUser, ev.Verb, ev.APIGroup, ev.Resource, ev.Subresource, ev.Namespace, ev.Name,
			strconv.Itoa(int(ev.Code)), ev.Decision, strings.Join(ev.SourceIPs, ","), ev.AuditID, fields, string(ch.Patch), ch.Note,
		} {
			w.text(s)
		}
		if err := w.end(); err != nil {
			return err
		}
	}
	return w.flush()
}

// sentence tells an event without its time, which stands in front of it, and
// without the long reason why it was allowed, which is the same line after line.
func sentence(ev *audit.Event) string {
	short := *ev
	short.Time = 0
	if ev.Decision == "allow" {
		short.DecisionReason = ""
	}
	return visible.Line(query.Sentence(&short))
}
