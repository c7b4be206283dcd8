package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/internal/node"
	"github.com/ktrail/ktrail/internal/visible"
)

type statusOptions struct {
	nodes
	output
}

func (c *cmdline) statusCommand() *cobra.Command {
	o := &statusOptions{}
	cmd := &cobra.Command{
		Use:   "status [--ssh root@NODE,...]",
		Short: "Show whether and how nodes are audited",
		Long: `status shows a line for this control-plane node, or for each over SSH: whether auditing is on, the hash of
the policy, the mode, the size of the log with its rotated files, and how old its last event is.`,
		Example: c.examples(
			`status`,
			`status --ssh root@10.0.0.1,root@10.0.0.2 -o json`,
		),
		GroupID: "node",
		Args:    noNodes,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(o.output.validate(), o.nodes.validate(c, cmd)); err != nil {
				return err
			}
			return c.status(cmd, o)
		},
	}
	o.nodes.flags(cmd)
	o.output.flags(cmd, formatTable, formatJSON)
	return cmd
}

// status asks every node, also after one that does not answer.
func (c *cmdline) status(cmd *cobra.Command, o *statusOptions) error {
	ctx := cmd.Context()
	var all []*node.Status
	look := func(n *node.Node) error {
		s, err := n.Status(ctx)
		if err == nil {
			all = append(all, s)
		}
		return err
	}
	var failed error
	if len(o.hosts.SSH) == 0 {
		failed = c.each(ctx, &o.nodes, true, look)
	}
	for _, machine := range o.hosts.SSH {
		if err := c.remote(ctx, &o.nodes, machine, true, look); err != nil {
			if errors.Is(err, context.Canceled) {
				return err
			}
			failed = errors.Join(failed, fmt.Errorf("%s: %w", machine, err))
		}
	}
	p := c.page(&o.output)
	return errors.Join(printStatus(p, all), p.flush(), c.statusWarnings(o, all), failed)
}

func (c *cmdline) statusWarnings(o *statusOptions, all []*node.Status) error {
	if !o.people() {
		return nil
	}
	for _, s := range all {
		c.nodeWarnings(s.Node, s.Warnings)
	}
	return nil
}

// nodeWarnings prints what a person should know of a node beside the answer.
func (c *cmdline) nodeWarnings(node string, warnings []string) {
	for _, w := range warnings {
		c.hint("%s", visible.Wrap(visible.Line(node+": warning: "+w), c.width(), 0, "  "))
	}
}

func printStatus(p *page, all []*node.Status) error {
	if !p.people() {
		for _, s := range all {
			if err := p.json(s); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		return nil
	}
	t := p.table(
		column{title: "NODE", middle: true, least: 8}, column{title: "AUDITING"}, column{title: "POLICY"}, column{title: "MODE"},
		column{title: "LOG", right: true}, column{title: "LAST EVENT", right: true}, column{title: "WARNINGS", right: true},
	)
	t.shade = func(row []string, col int) color {
		switch {
		case col == 1 && row[1] == "on":
			return green
		case col == 1:
			return red
		case col == 6 && row[6] != "0":
			return yellow
		}
		return plain
	}
	for _, s := range all {
		on, last := "off", "-"
		if s.Enabled {
			on = "on"
		}
		if s.LastEvent != nil {
			last = short(time.Duration(s.Age*float64(time.Second))) + " ago"
		}
		if err := t.add([]string{
			visible.Line(s.Node), on, cell(s.PolicyHash[:min(12, len(s.PolicyHash))]), cell(s.Mode), size(s.LogBytes), last, fmt.Sprint(len(s.Warnings)),
		}); err != nil {
			return err
		}
	}
	return t.flush()
}
