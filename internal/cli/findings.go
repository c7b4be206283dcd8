package cli

import (
	"bytes"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/audit/finding"
)

// The formats of -o for findings.
const (
	formatSARIF  = "sarif"  // code scanning
	formatGitHub = "github" // annotations in a workflow
)

var findingFormats = []string{formatText, formatJSON, formatSARIF, formatGitHub}

// findingOutput is the flags of commands that check something.
type findingOutput struct {
	format  string
	strict  bool
	noColor bool
}

func (o *findingOutput) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.format, "output", "o", formatText, "`FORMAT`: "+strings.Join(findingFormats, ", "))
	f.BoolVar(&o.strict, "strict", false, "exit with 1 on warnings too")
	f.BoolVar(&o.noColor, "no-color", false, "no colours, as with NO_COLOR set")
	complete(cmd, "output", findingFormats)
}

func (o *findingOutput) validate() error {
	for _, f := range findingFormats {
		if o.format == f {
			return nil
		}
	}
	return unknown("output format", o.format, findingFormats, "one of "+strings.Join(findingFormats, ", "))
}

// findings prints what a check found and makes an exit status of it. what names
// the check, "ktrail policy lint"; rules are all kinds of findings that it knows.
func (c *cmdline) findings(o *findingOutput, fs []finding.Finding, what string, rules []finding.Rule) error {
	var b bytes.Buffer
	var err error
	switch o.format {
	case formatJSON:
		err = finding.WriteJSON(&b, fs)
	case formatSARIF:
		err = finding.WriteSARIF(&b, fs, finding.Tool{Name: what, Version: buildVersion(), Rules: rules})
	case formatGitHub:
		err = finding.WriteGitHub(&b, fs)
	default:
		paint := c.paint && painter(!o.noColor)
		colors := map[finding.Severity]color{finding.Error: red, finding.Warning: yellow}
		err = finding.WriteText(&b, fs, finding.TextOptions{Width: min(c.width(), 100), Paint: func(s finding.Severity, word string) string { return paint.paint(colors[s], word) }})
		summary := finding.Summary(fs)
		if summary == "" {
			summary = "no findings"
		}
		defer c.hint("%s", summary)
	}
	if err != nil {
		return err
	}
	if _, err := c.Out.Write(b.Bytes()); err != nil {
		return err
	}
	return o.verdict(fs)
}

// verdict is the exit status that findings make.
func (o *findingOutput) verdict(fs []finding.Finding) error {
	if finding.Count(fs, finding.Error) > 0 || o.strict && finding.Count(fs, finding.Warning) > 0 {
		return &findingsError{}
	}
	return nil
}
