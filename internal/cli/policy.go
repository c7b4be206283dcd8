package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/internal/visible"
)

// policyCommand is the parent of what concerns audit policies; each of its
// commands has a file of its own, policy_NAME.go.
func (c *cmdline) policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "policy COMMAND",
		Short:   "Read, check, test and price an audit policy",
		GroupID: "policy",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknown("command", args[0], commandNames(cmd), fmt.Sprintf("%s policy --help lists them", c.name))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.policyLintCommand(), c.policyExplainCommand(), c.policySimulateCommand(), c.policySuggestCommand(), c.policyDiffCommand(), c.policyCoverageCommand(), c.policyPresetCommand())
	return cmd
}

// policyText reads the text of a policy; "-" is standard input, preset:NAME a
// preset. A file that cannot be a policy's is a usage error.
func (c *cmdline) policyText(name string) ([]byte, error) {
	if preset, ok := strings.CutPrefix(name, "preset:"); ok {
		p, err := c.preset(preset)
		return p.YAML, err
	}
	text, err := c.textUpTo(name, policy.MaxSize)
	if err == nil && len(text) > policy.MaxSize {
		return nil, usagef("%s is larger than %d MiB: that is no policy", quote(name), policy.MaxSize>>20)
	}
	return text, err
}

// textUpTo reads a file, of one that is longer than size a byte more; "-" is
// standard input.
func (c *cmdline) textUpTo(name string, size int64) ([]byte, error) {
	in := c.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, readError(name, err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, size+1))
	if err != nil {
		return nil, readError(name, err)
	}
	return text, nil
}

// loadPolicy reads and loads a policy. What the API server would refuse is a usage
// error that names every place.
func (c *cmdline) loadPolicy(name string) (*policy.Policy, error) {
	text, err := c.policyText(name)
	if err != nil {
		return nil, err
	}
	p, err := policy.Load(text)
	var bad policy.LoadErrors
	if !errors.As(err, &bad) {
		return p, err
	}
	msg := ""
	for i, e := range bad {
		if i > 0 {
			msg += "\n"
		}
		what := e.Msg
		if e.Field != "" {
			what = e.Field + ": " + what
		}
		msg += fmt.Sprintf("%s:%d:%d: %s", visible.Line(name), e.Line, e.Column, visible.Line(what))
	}
	return nil, &usageError{msg: msg}
}

// readError is why a file that somebody named cannot be read.
func readError(name string, err error) error {
	var bad *fs.PathError
	if errors.As(err, &bad) {
		err = bad.Err
	}
	return usagef("read %s: %v", visible.Line(name), err)
}
