package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/coverage"
	"github.com/ktrail/ktrail/internal/visible"
)

type policyDiffOptions struct {
	output
	from, to string
}

func (c *cmdline) policyDiffCommand() *cobra.Command {
	o := &policyDiffOptions{}
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Say what changes in meaning between two audit policies",
		Long: `Say what changes in meaning between two audit policies, not in their text: the
requests of which less (-), more (+) or something else (~) is recorded. A rule that
was reworded, split or moved without effect is no difference. All requests are
compared, not a sample. OLD or NEW may be - for standard input, or preset:NAME.

The exit status is 0 if there is no difference and 1 if there is one.`,
		Example: c.examples(
			`policy diff old.yaml new.yaml`,
			`policy diff preset:recommended policy.yaml`,
			`policy diff old.yaml new.yaml -o json`,
		),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return &usageError{msg: "name two policies, the old one and the new one", next: "for example: " + c.name + " policy diff old.yaml new.yaml"}
			}
			o.from, o.to = args[0], args[1]
			if o.from == "-" && o.to == "-" {
				return usagef("standard input can be one of the policies, not both")
			}
			if err := o.output.validate(); err != nil {
				return err
			}
			return c.policyDiff(o)
		},
	}
	o.plainFlags(cmd, formatText, formatJSON)
	return cmd
}

func (c *cmdline) policyDiff(o *policyDiffOptions) error {
	from, err := c.loadPolicy(o.from)
	if err != nil {
		return err
	}
	to, err := c.loadPolicy(o.to)
	if err != nil {
		return err
	}
	changes, err := coverage.Diff(from, to)
	if err != nil {
		return fmt.Errorf("compare %s with %s: %w", visible.Line(o.from), visible.Line(o.to), err)
	}
	p := c.page(&o.output)
	count := map[coverage.Direction]int{}
	for i := range changes {
		ch := &changes[i]
		count[ch.Direction]++
		if o.format == formatJSON {
			err = p.json(diffJSON(ch, from, to))
		} else {
			err = p.diffLine(ch)
		}
		if err != nil {
			return err
		}
	}
	if err := p.flush(); err != nil {
		return err
	}
	if len(changes) == 0 {
		if o.format == formatText {
			c.hint("no difference: both record the same of every request")
		}
		return nil
	}
	if o.format == formatText {
		var says []string
		for _, d := range []struct {
			direction coverage.Direction
			says      string
		}{{coverage.Less, "recorded less"}, {coverage.Other, "recorded differently"}, {coverage.More, "recorded more"}} {
			if n := count[d.direction]; n > 0 {
				says = append(says, fmt.Sprintf("%d %s", n, d.says))
			}
		}
		c.hint("%s of requests: %s", strings.Replace(plural(int64(len(changes)), "class"), "classs", "classes", 1), strings.Join(says, ", "))
	}
	return &findingsError{}
}

// diffLine prints a change as diff(1) does.
func (p *page) diffLine(ch *coverage.Change) error {
	sign, shade := "~", yellow
	switch ch.Direction {
	case coverage.Less:
		sign, shade = "-", red
	case coverage.More:
		sign, shade = "+", green
	}
	return p.line("%s", p.paint.lines(shade, sign+" "+visible.Wrap(visible.Line(ch.Text), p.width, 2, "    ")))
}

// ruleJSON is a rule as people and editors count.
type ruleJSON struct {
	Rule int `json:"rule"`
	Line int `json:"line"`
}

func ruleOf(p *policy.Policy, rule int) *ruleJSON {
	if rule < 0 {
		return nil
	}
	return &ruleJSON{rule + 1, p.Rules[rule].Line}
}

// attributesJSON is a request in the words of an event.
type attributesJSON struct {
	Verb            string   `json:"verb"`
	User            string   `json:"user"`
	Groups          []string `json:"groups,omitempty"`
	Unauthenticated bool     `json:"unauthenticated,omitempty"`
	APIGroup        string   `json:"apiGroup,omitempty"`
	Resource        string   `json:"resource,omitempty"`
	Subresource     string   `json:"subresource,omitempty"`
	Namespace       string   `json:"namespace,omitempty"`
	Name            string   `json:"name,omitempty"`
	Path            string   `json:"path,omitempty"`
}

func exampleJSON(a *policy.Attributes) attributesJSON {
	return attributesJSON{a.Verb, a.User, a.Groups, a.NoUser, a.APIGroup, a.Resource, a.Subresource, a.Namespace, a.Name, a.Path}
}

func diffJSON(ch *coverage.Change, from, to *policy.Policy) any {
	return struct {
		*coverage.Change
		Example attributesJSON `json:"example"`
		OldRule *ruleJSON      `json:"fromRule,omitempty"`
		NewRule *ruleJSON      `json:"toRule,omitempty"`
	}{ch, exampleJSON(&ch.Example), ruleOf(from, ch.FromRule), ruleOf(to, ch.ToRule)}
}
