package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/internal/node"
	"github.com/ktrail/ktrail/internal/visible"
)

// change is the flags of commands that change nodes.
type change struct {
	nodes
	output
	dryRun, yes      bool
	resume, rollback bool
	timeout          time.Duration
}

func (o *change) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "show the plan and the difference in every file, change nothing")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask; needed where no terminal is there to ask on")
	f.BoolVar(&o.resume, "resume", false, "finish what was begun and interrupted")
	f.BoolVar(&o.rollback, "rollback", false, "undo what was begun and interrupted")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "roll back if the API server is not ready after this")
	o.nodes.flags(cmd)
	o.output.flags(cmd, formatText, formatJSON)
}

func (o *change) validate(c *cmdline, cmd *cobra.Command) error {
	if err := o.output.validate(); err != nil {
		return err
	}
	if o.resume && o.rollback {
		return usagef("--resume and --rollback exclude each other")
	}
	if (o.resume || o.rollback) && o.dryRun {
		return usagef("--dry-run shows a plan; --resume and --rollback end one that was begun")
	}
	if o.timeout < 10*time.Second {
		return usagef("--timeout must be at least 10s: an API server needs longer than that to start")
	}
	if o.root != "" && !o.dryRun {
		return usagef("--root is for --dry-run")
	}
	if err := o.nodes.validate(c, cmd); err != nil {
		return err
	}
	if !o.yes && !o.dryRun && !o.resume && !o.rollback && !c.asks() {
		return &usageError{
			msg:  "this restarts the API server, and there is no terminal to ask on",
			next: "--yes does it without asking, --dry-run only shows it",
		}
	}
	return nil
}

type enableOptions struct {
	change
	policy, preset string
	print          string
	args           auditFlags
	request        node.Request
}

func (c *cmdline) enableCommand() *cobra.Command {
	o := &enableOptions{}
	cmd := &cobra.Command{
		Use:   "enable [--ssh root@NODE,...] [--audit-FLAG=VALUE...]",
		Short: "Turn audit logging on, prove that it works, undo it if not",
		Long: `enable turns audit logging on, on this control-plane node or over SSH on others, one after the other.
It shows what it will change, backs everything up, changes it, waits until the API server is back, and
proves with a request of its own that events are recorded. If anything fails it puts everything back.

Every --audit-* flag of kube-apiserver can be given by its own name, such as --audit-log-maxage=90; what
is not given is chosen for the version, or stays as it is where auditing is on already.`,
		Example: c.examples(
			`enable --dry-run`,
			`enable --ssh root@10.0.0.1,root@10.0.0.2`,
			`enable --policy policy.yaml --audit-log-maxsize=200`,
			`enable --rollback`,
			`enable --print kubeadm --preset forensic > audit.yaml`,
		),
		GroupID: "node",
		Args:    noNodes,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.print != "" {
				return c.enablePrint(cmd, o)
			}
			if err := o.validate(c, cmd); err != nil {
				return err
			}
			return c.managed(c.enable(cmd, o))
		},
	}
	cmd.Flags().StringVar(&o.policy, "policy", "", "the audit policy's `FILE`, - for standard input")
	cmd.Flags().StringVar(&o.preset, "preset", "", "a policy that ktrail brings along, by `NAME` (default recommended, where there is none)")
	var presets []string
	for _, p := range policy.Presets() {
		presets = append(presets, p.Name)
	}
	complete(cmd, "preset", presets)
	o.printFlags(cmd)
	o.change.flags(cmd)
	o.args.flags(cmd)
	return cmd
}

func (o *enableOptions) validate(c *cmdline, cmd *cobra.Command) error {
	if err := o.change.validate(c, cmd); err != nil {
		return err
	}
	if err := o.asked(c, cmd); err != nil {
		return err
	}
	if (o.resume || o.rollback) && (o.policy+o.preset != "" || len(o.request.Args) > 0) {
		return usagef("--resume and --rollback end what was begun; they take no policy and no --audit-* flags")
	}
	return nil
}

// asked makes a request of what was asked for.
func (o *enableOptions) asked(c *cmdline, cmd *cobra.Command) error {
	o.request.Args = o.args.given(cmd)
	if o.policy != "" && o.preset != "" {
		return usagef("--policy and --preset exclude each other")
	}
	recommended, err := c.preset("recommended")
	if err != nil {
		return err
	}
	o.request.Default, o.request.DefaultName = recommended.YAML, "preset recommended"
	switch {
	case o.preset != "":
		p, err := c.preset(o.preset)
		if err != nil {
			return err
		}
		o.request.Policy, o.request.PolicyName = p.YAML, "preset "+p.Name
	case o.policy != "":
		text, err := readPolicy(c.In, o.policy)
		if err != nil {
			return err
		}
		if _, err := policy.Load(text); err != nil {
			return usagef("--policy %s: %s", o.policy, err)
		}
		o.request.Policy, o.request.PolicyName = text, o.policy
	}
	return nil
}

// readPolicy reads a policy's file, or standard input, which is held to the size
// that a policy may have.
func readPolicy(in io.Reader, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(in, policy.MaxSize+1))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, usagef("--policy: %s", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, policy.MaxSize+1))
	if err != nil {
		return nil, usagef("--policy: %s", err)
	}
	return text, nil
}

// auditFlags are kube-apiserver's own flags. They are many, and known to who
// needs them: help names the rule, not each.
type auditFlags map[string]*string

func (a *auditFlags) flags(cmd *cobra.Command) {
	*a = auditFlags{}
	for _, f := range flags.Table() {
		v := cmd.Flags().String(f.Name, "", f.Help)
		if f.Type == flags.Bool {
			cmd.Flags().Lookup(f.Name).NoOptDefVal = "true"
		}
		_ = cmd.Flags().MarkHidden(f.Name)
		(*a)[f.Name] = v
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var missing *pflag.NotExistError
		if errors.As(err, &missing) && strings.HasPrefix(missing.GetSpecifiedName(), "audit-") {
			var names []string
			for _, f := range flags.Table() {
				names = append(names, "--"+f.Name)
			}
			return unknown("flag of kube-apiserver", "--"+missing.GetSpecifiedName(), names, "kube-apiserver --help lists them")
		}
		return flagError(cmd, err)
	})
}

// given are the flags that were given, in the table's order.
func (a auditFlags) given(cmd *cobra.Command) []flags.Arg {
	var args []flags.Arg
	for _, f := range flags.Table() {
		if cmd.Flags().Changed(f.Name) {
			args = append(args, flags.Arg{Name: f.Name, Value: *a[f.Name]})
		}
	}
	return args
}

func (c *cmdline) enable(cmd *cobra.Command, o *enableOptions) error {
	ctx := cmd.Context()
	return c.change(cmd, &o.change, func(n *node.Node) (*node.Plan, error) {
		l, err := n.Look(ctx)
		if err != nil {
			return nil, err
		}
		return n.Plan(ctx, l, o.request)
	})
}

// change makes a plan for each node, shows it, asks, and carries it out.
func (c *cmdline) change(cmd *cobra.Command, o *change, plan func(*node.Node) (*node.Plan, error)) error {
	ctx := cmd.Context()
	return c.each(ctx, &o.nodes, false, func(n *node.Node) error {
		switch {
		case o.resume:
			return c.ended(o, cmd.Name())(n.Resume(ctx, o.timeout))
		case o.rollback:
			return c.ended(o, cmd.Name())(n.Rollback(ctx, o.timeout))
		}
		state, err := n.State(ctx)
		if err != nil {
			return err
		}
		if state.Pending() {
			return &node.PendingError{Host: n.Name(), State: state}
		}
		p, err := plan(n)
		if err != nil {
			return err
		}
		stop, err := c.showPlan(o, n, p)
		if stop || err != nil {
			return err
		}
		if !o.yes && !p.Nothing() {
			question := fmt.Sprintf("Change %s? The API server restarts and is away for about 40 seconds.", visible.Line(n.Name()))
			if !p.Restarts() {
				question = fmt.Sprintf("Change kubeadm-config from %s? Nothing restarts.", visible.Line(n.Name()))
			}
			yes, err := c.confirm(ctx, question)
			if err != nil {
				return err
			}
			if !yes {
				return &nothingError{msg: n.Name() + ": nothing was changed"}
			}
		}
		return c.ended(o, cmd.Name())(n.Do(ctx, p, o.timeout))
	})
}

// ended prints how an operation ended.
func (c *cmdline) ended(o *change, command string) func(*node.Report, error) error {
	return func(r *node.Report, err error) error {
		if r == nil {
			return err
		}
		p := c.page(&o.output)
		if perr := errors.Join(printReport(p, r, command), p.flush()); perr != nil {
			return errors.Join(err, perr)
		}
		return err
	}
}
