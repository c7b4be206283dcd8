package cli

import (
	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/internal/node"
)

func (c *cmdline) disableCommand() *cobra.Command {
	o := &change{}
	cmd := &cobra.Command{
		Use:   "disable [--ssh root@NODE,...]",
		Short: "Turn audit logging off, with the same care; the log stays",
		Long: `disable takes every --audit-* flag from the API server, on this control-plane node or over SSH on others,
with the mounts that only they need. The log stays, and so does the policy. As enable does, it shows what
it will change, backs everything up, waits until the API server is back, and undoes it all if it is not.`,
		Example: c.examples(
			`disable --dry-run`,
			`disable --ssh root@10.0.0.1,root@10.0.0.2`,
		),
		GroupID: "node",
		Args:    noNodes,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(c, cmd); err != nil {
				return err
			}
			ctx := cmd.Context()
			return c.change(cmd, o, func(n *node.Node) (*node.Plan, error) {
				l, err := n.Look(ctx)
				if err != nil {
					return nil, err
				}
				return n.PlanDisable(ctx, l)
			})
		},
	}
	o.flags(cmd)
	return cmd
}
