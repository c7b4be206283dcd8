package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/internal/node"
	"github.com/ktrail/ktrail/internal/visible"
)

type verifyOptions struct {
	nodes
	output
}

func (c *cmdline) verifyCommand() *cobra.Command {
	o := &verifyOptions{}
	cmd := &cobra.Command{
		Use:   "verify [--ssh root@NODE,...]",
		Short: "Prove with a request of its own that events are recorded",
		Long: `verify sends a harmless request with a fresh marker to this node's API server and finds its event in the
log. It checks that the level is what the policy says, that the log is rotated, and that the API server
does not burn a core. It changes nothing. The exit status is 0 if auditing works, 1 if it does
not, and 3 if nobody can tell: no node there, or events that go to a webhook only.`,
		Example: c.examples(
			`verify`,
			`verify --ssh root@10.0.0.1 -o json`,
		),
		GroupID: "node",
		Args:    noNodes,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(o.output.validate(), o.nodes.validate(c, cmd)); err != nil {
				return err
			}
			return c.verify(cmd, o)
		},
	}
	o.nodes.flags(cmd)
	o.output.flags(cmd, formatText, formatJSON)
	return cmd
}

func (c *cmdline) verify(cmd *cobra.Command, o *verifyOptions) error {
	ctx := cmd.Context()
	return c.each(ctx, &o.nodes, true, func(n *node.Node) error {
		v, err := n.Verify(ctx)
		if err != nil {
			return err
		}
		p := c.page(&o.output)
		if o.people() {
			shade := green
			switch {
			case v.Unproven:
				shade = yellow
			case !v.OK:
				shade = red
			}
			err = p.line("%s", p.paint.paint(shade, visible.Wrap(visible.Line(v.Node+": "+v.Sentence), p.width, 0, "  ")))
		} else {
			err = p.json(v)
		}
		if err := errors.Join(err, p.flush()); err != nil {
			return err
		}
		if o.people() {
			c.nodeWarnings(v.Node, v.Warnings)
		}
		switch {
		case v.Unproven:
			return &unprovenError{}
		case !v.OK:
			return &findingsError{}
		}
		return nil
	})
}
