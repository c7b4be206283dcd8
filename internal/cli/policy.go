package cli

import (
	"fmt"

	"github.com/spf13/cobra"
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
	return cmd
}
