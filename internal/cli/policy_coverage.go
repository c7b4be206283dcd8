package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/coverage"
	"github.com/ktrail/ktrail/internal/nearest"
	"github.com/ktrail/ktrail/internal/visible"
)

type policyCoverageOptions struct {
	output
	file  string
	needs string
}

func (c *cmdline) policyCoverageCommand() *cobra.Command {
	o := &policyCoverageOptions{}
	cmd := &cobra.Command{
		Use:   "coverage FILE --needs NEEDS",
		Short: "Say whether an audit policy records what one needs to find",
		Long: `Say whether an audit policy records what one needs to find: for each need whether it
is met, and if not which requests are missing and which rule takes them. NEEDS is a
file, or one of the sets that ktrail brings along: ` + strings.Join(coverage.NeedSets(), ", ") + `.
FILE may be - for standard input, or preset:NAME.

The exit status is 1 if a need is not met, or only partly.`,
		Example: c.examples(
			`policy coverage policy.yaml --needs incident-response`,
			`policy coverage policy.yaml --needs cis -o json`,
			`policy coverage preset:recommended --needs our-needs.yaml`,
		),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{msg: "name the policy's file, or - for standard input", next: "for example: " + c.name + " policy coverage policy.yaml --needs cis"}
			}
			o.file = args[0]
			switch {
			case o.needs == "":
				return usagef("--needs must name a file, or one of %s", strings.Join(coverage.NeedSets(), ", "))
			case o.file == "-" && o.needs == "-":
				return usagef("standard input is the policy or the needs, not both")
			}
			if err := o.output.validate(); err != nil {
				return err
			}
			return c.policyCoverage(o)
		},
	}
	cmd.Flags().StringVar(&o.needs, "needs", "", "`file` of needs, or one of "+strings.Join(coverage.NeedSets(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("needs", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return coverage.NeedSets(), cobra.ShellCompDirectiveDefault // files too
	})
	o.plainFlags(cmd, formatText, formatJSON)
	return cmd
}

// loadNeeds reads the needs of that name, or of a file.
func (c *cmdline) loadNeeds(name string) (*coverage.Needs, error) {
	text, ok := coverage.LookupNeeds(name)
	if !ok {
		var err error
		if text, err = c.policyText(name); err != nil {
			var usage *usageError
			if near := nearest.Name(name, coverage.NeedSets()); near != "" && errors.As(err, &usage) && !exists(name, true) {
				usage.next = fmt.Sprintf("did you mean --needs %s?", near)
			}
			return nil, err
		}
	}
	needs, err := coverage.LoadNeeds(text)
	var bad *coverage.NeedsError
	switch {
	case errors.As(err, &bad) && bad.Line > 0:
		return nil, usagef("%s:%d: %s", visible.Line(name), bad.Line, visible.Line(bad.Msg))
	case errors.As(err, &bad):
		return nil, usagef("%s %s", visible.Line(name), visible.Line(bad.Msg))
	}
	return needs, err
}

func (c *cmdline) policyCoverage(o *policyCoverageOptions) error {
	p, err := c.loadPolicy(o.file)
	if err != nil {
		return err
	}
	needs, err := c.loadNeeds(o.needs)
	if err != nil {
		return err
	}
	results, err := coverage.Check(p, needs)
	if err != nil {
		if errors.Is(err, coverage.ErrTooLarge) {
			return fmt.Errorf("check %s: %w", visible.Line(o.file), err)
		}
		return usagef("%s: %s", visible.Line(o.needs), visible.Line(err.Error()))
	}
	out := c.page(&o.output)
	met := 0
	for i := range results {
		if results[i].State == coverage.Met {
			met++
		}
		if o.format == formatJSON {
			err = out.json(needJSON(p, &results[i]))
		} else {
			err = out.need(&results[i])
		}
		if err != nil {
			return err
		}
	}
	if err := out.flush(); err != nil {
		return err
	}
	if o.format == formatText {
		c.hint("%d of %s met", met, plural(int64(len(results)), "need"))
	}
	if met < len(results) {
		return &findingsError{}
	}
	return nil
}

// need prints one need: its state and name and, if it is not met, why it is
// needed and what is missing.
func (p *page) need(r *coverage.Result) error {
	shade := green
	switch r.State {
	case coverage.Partly:
		shade = yellow
	case coverage.NotMet:
		shade = red
	}
	const states = 9 // the longest state, and room
	width := p.width
	indent := strings.Repeat(" ", states)
	if err := p.line("%s%s", p.paint.paint(shade, fmt.Sprintf("%-*s", states, r.State)), visible.Line(r.Need.Name)); err != nil {
		return err
	}
	if r.State == coverage.Met {
		return nil
	}
	why := r.Need.Reason
	if r.Need.Source != "" {
		why += " (" + r.Need.Source + ")"
	}
	if err := p.line("%s%s", indent, p.paint.lines(dim, visible.Wrap(visible.Line(why), width, states, indent))); err != nil {
		return err
	}
	needed := "needed: " + r.Need.Level.String()
	if r.Need.Stages != policy.ResponseComplete {
		needed += " at stage " + strings.Join(r.Need.Stages.Names(), ", ")
	}
	if err := p.line("%s%s", indent, needed); err != nil {
		return err
	}
	for _, g := range r.Gaps {
		if err := p.line("%s- %s", indent, visible.Wrap(visible.Line(g.Text), width, states+2, indent+"  ")); err != nil {
			return err
		}
	}
	return nil
}

func needJSON(p *policy.Policy, r *coverage.Result) any {
	type gap struct {
		*coverage.Gap
		By      *ruleJSON      `json:"rule,omitempty"`
		Example attributesJSON `json:"example"`
	}
	gaps := []gap{}
	for i := range r.Gaps {
		g := &r.Gaps[i]
		gaps = append(gaps, gap{Gap: g, By: ruleOf(p, g.Rule), Example: exampleJSON(&g.Example)})
	}
	return struct {
		Name   string         `json:"name"`
		State  coverage.State `json:"state"`
		Reason string         `json:"reason"`
		Source string         `json:"source,omitempty"`
		Level  policy.Level   `json:"level"`
		Stages policy.Stages  `json:"stages"`
		Gaps   []gap          `json:"gaps"`
	}{r.Need.Name, r.State, r.Need.Reason, r.Need.Source, r.Need.Level, r.Need.Stages, gaps}
}
