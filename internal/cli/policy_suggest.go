package cli

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/simulate"
	"github.com/ktrail/ktrail/internal/visible"
)

type policySuggestOptions struct {
	traffic
	output
	file  string
	limit int
}

func (c *cmdline) policySuggestCommand() *cobra.Command {
	o := &policySuggestOptions{limit: 10}
	cmd := &cobra.Command{
		Use:   "suggest [FILE]",
		Short: "Find the changes of an audit policy that save most",
		Long: `Find the smallest changes of an audit policy that save most of what is recorded, each
with its saving, what it gives up, and where to paste it. FILE is the policy in use;
without it what is in the log counts as what is recorded.

No change loses a write, a refused request (401, 403), or a request for a secret or
config map: the log is read a second time and every event decided again to be sure.`,
		Example: `  ` + c.name + ` policy suggest policy.yaml --log /var/log/kubernetes/audit/
  zcat audit*.gz | ` + c.name + ` policy suggest --log -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.validate(cmd, args); err != nil {
				return err
			}
			return errors.Join(o.run(cmd, c), o.close())
		},
	}
	cmd.Flags().IntVar(&o.limit, "limit", o.limit, "at most this many suggestions")
	o.traffic.flags(cmd)
	o.output.flags(cmd, formatText, formatJSON)
	return cmd
}

func (o *policySuggestOptions) validate(cmd *cobra.Command, args []string) error {
	var more []string
	if len(args) > 0 {
		o.file, more = args[0], args[1:]
	}
	if err := errors.Join(o.output.validate(), o.traffic.validate(cmd, more)); err != nil {
		return err
	}
	switch {
	case o.limit < 1:
		return usagef("--limit must be at least 1")
	case o.file == "-" && o.usesStdin():
		return usagef("standard input is named twice: it is the policy or the log")
	}
	return nil
}

func (o *policySuggestOptions) run(cmd *cobra.Command, c *cmdline) error {
	var p *policy.Policy
	if o.file != "" {
		var err error
		if p, err = c.loadPolicy(o.file); err != nil {
			return err
		}
	}
	a, err := o.advise(cmd, c, p)
	damaged := is[*damagedError](err)
	if err != nil && !damaged {
		return err
	}
	if a.Log.Events == 0 {
		return errors.Join(err, &nothingError{"no events in " + o.from()})
	}
	if err := errors.Join(o.print(c, a), err); err != nil {
		return err
	}
	if len(a.Suggestions) == 0 {
		return &nothingError{"nothing to suggest: no change saves one percent without losing what must be kept"}
	}
	return nil
}

// advise looks for changes, then reads the log again until all that are left hold.
func (o *policySuggestOptions) advise(cmd *cobra.Command, c *cmdline, p *policy.Policy) (*simulate.Advice, error) {
	bar := c.startProgress(true)
	defer bar.finish()
	o.traffic.total(bar, 2)
	s := simulate.New(simulate.Options{Policy: p, Suggest: true, Workers: runtime.GOMAXPROCS(0)})
	err := o.give(cmd, c, s, bar, true)
	damaged := is[*damagedError](err)
	if err != nil && !damaged {
		return nil, err
	}
	a := s.Suggest(o.limit)
	for a.Log.Events > 0 {
		check := a.Check(runtime.GOMAXPROCS(0))
		if again := o.give(cmd, c, check, bar, true); again != nil && !is[*damagedError](again) {
			return nil, again
		}
		if a.Settle(check) {
			break
		}
	}
	return a, err
}

func (o *policySuggestOptions) print(c *cmdline, a *simulate.Advice) error {
	pg := c.page(&o.output)
	if o.format == formatJSON {
		return errors.Join(pg.json(struct {
			File string `json:"file,omitempty"`
			From string `json:"from"`
			*simulate.Advice
		}{o.file, o.from(), a}), pg.flush())
	}
	t := &priceText{page: pg, days: a.Log.Days}
	return errors.Join(t.advice(o.from(), a), pg.flush())
}

func (t *priceText) advice(from string, a *simulate.Advice) error {
	what := "the policy records"
	if a.Inferred {
		what = "recorded are"
	}
	t.text("", fmt.Sprintf("%s: %s, %s%s; %s %s", from, plural(a.Log.Events, "event"), size(a.Log.Bytes), t.span(&a.Log), what, t.both(&a.Recorded)))
	for i := range a.Suggestions {
		s := &a.Suggestions[i]
		number := fmt.Sprintf("%d. ", i+1)
		saves := simulate.Amount{Events: s.Saves.Events, Bytes: s.Saves.Bytes}
		if t.days > 0 {
			saves.EventsPerDay = simulate.Range{Low: s.Saves.EventsPerDay, Middle: s.Saves.EventsPerDay, High: s.Saves.EventsPerDay}
			saves.BytesPerDay = simulate.Range{Low: s.Saves.BytesPerDay, Middle: s.Saves.BytesPerDay, High: s.Saves.BytesPerDay}
		}
		t.line("\n%s", t.paint.lines(bold, number+visible.Wrap(visible.Line(s.Title), t.wide(), len(number), "   ")))
		t.text("   saves     ", fmt.Sprintf("%s: %.1f%%", t.both(&saves), 100*s.Saves.Share))
		t.text("   gives up  ", s.GivesUp)
		t.text("   where     ", s.Where)
		t.line("")
		for line := range strings.Lines(s.YAML) {
			t.line("%s", t.paint.paint(cyan, visible.Line(strings.TrimSuffix(line, "\n"))))
		}
	}
	if len(a.Suggestions) > 0 {
		t.line("")
		t.text("", fmt.Sprintf("All of them leave %s: %.0f%% less.", t.both(&a.After), 100*(1-float64(a.After.Bytes)/float64(max(1, a.Recorded.Bytes)))))
		t.text("", fmt.Sprintf("Checked on every event: %s, %s (401 or 403) and %s for secrets or config maps are recorded as before, with their outcome.",
			plural(a.Kept.Writes, "write"), plural(a.Kept.Denied, "refused request"), plural(a.Kept.Secrets, "request")))
		if a.Inferred {
			t.text("", "Name the policy in use as FILE for exact places.")
		}
	}
	for _, r := range a.Refused {
		t.text("", fmt.Sprintf("Not suggested: %q, which %s.", r.Title, r.Reason))
	}
	t.notes(a.Notes)
	return t.err
}

// both is events and bytes.
func (t *priceText) both(a *simulate.Amount) string {
	middle, _ := t.bytes(a)
	per := ""
	if t.days > 0 {
		per = " a day"
	}
	return fmt.Sprintf("%s events, %s%s", t.events(a), middle, per)
}
