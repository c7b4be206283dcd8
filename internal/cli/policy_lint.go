package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/lint"
	"github.com/ktrail/ktrail/internal/visible"
)

type policyLintOptions struct {
	findingOutput
	files        []string
	kubernetes   string
	apiResources string
	mode         string

	check lint.Options
}

var auditModes = []string{"batch", "blocking", lint.ModeStrict}

func (c *cmdline) policyLintCommand() *cobra.Command {
	o := &policyLintOptions{}
	cmd := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Find what an audit policy does otherwise than it looks",
		Long: `Find what an audit policy does otherwise than it looks: what the API server
refuses, conditions that match nothing or too much, rules that nothing reaches,
and what is recorded though it should not be. FILE may be - for standard input.

The exit status is 1 if there are errors, with --strict also if there are
warnings. A comment at the end of a line, or above a line or a rule, silences
one kind of finding there:

  # ktrail: allow NAME reason`,
		Example: `  # Check a policy before it reaches a node
  ` + c.name + ` policy lint policy.yaml --kubernetes 1.33

  # Know custom resources too
  kubectl api-resources -o json > resources.json
  ` + c.name + ` policy lint policy.yaml --api-resources resources.json

  # In a GitHub workflow
  ` + c.name + ` policy lint --strict -o github policies/*.yaml`,
		RunE: func(_ *cobra.Command, args []string) error {
			o.files = args
			if err := o.validate(c); err != nil {
				return err
			}
			return o.run(c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.kubernetes, "kubernetes", "", "`VERSION` of the API server, such as 1.33")
	f.StringVar(&o.apiResources, "api-resources", "", "`FILE` from kubectl api-resources -o json")
	f.StringVar(&o.mode, "mode", "", "`MODE` of its log: "+strings.Join(auditModes, ", "))
	o.flags(cmd)
	complete(cmd, "mode", auditModes)
	return cmd
}

func (o *policyLintOptions) validate(c *cmdline) error {
	if len(o.files) == 0 {
		return &usageError{msg: "name the policy's file, or - for standard input", next: "for example: " + c.name + " policy lint policy.yaml"}
	}
	if o.mode != "" && !slices.Contains(auditModes, o.mode) {
		return unknown("mode", o.mode, auditModes, "one of "+strings.Join(auditModes, ", "))
	}
	o.check.Mode = o.mode
	if o.kubernetes != "" {
		v, err := flags.ParseVersion(o.kubernetes)
		if err != nil {
			return usagef("--kubernetes: %v", err)
		}
		if v.Minor < lint.OldestMinor {
			return usagef("--kubernetes: 1.%d is the oldest version that can be checked for", lint.OldestMinor)
		}
		o.check.Minor = v.Minor
	}
	if slices.Contains(o.files, "-") && o.apiResources == "-" {
		return usagef("standard input is the policy or the API resources, not both")
	}
	if o.apiResources != "" {
		text, err := c.policyText(o.apiResources)
		if err != nil {
			return err
		}
		catalog, err := policy.BuiltIn().With(text)
		if err != nil {
			return usagef("%s: %v", visible.Line(o.apiResources), err)
		}
		o.check.Catalog, o.check.Complete = catalog, true
	}
	return o.findingOutput.validate()
}

func (o *policyLintOptions) run(c *cmdline) error {
	var all []finding.Finding
	for _, name := range o.files {
		text, err := c.policyText(name)
		if err != nil {
			return err
		}
		all = append(all, lint.Check(name, text, o.check)...)
	}
	return c.findings(&o.findingOutput, all, "ktrail policy lint", lint.Kinds())
}
