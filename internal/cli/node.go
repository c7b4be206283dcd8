package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ktrail/ktrail/internal/node"
	"github.com/ktrail/ktrail/internal/node/host"
	"github.com/ktrail/ktrail/internal/visible"
)

// nodes is the flags of commands that work on control-plane nodes.
type nodes struct {
	hosts host.Options
	root  string // a directory in front of every path, for tests
}

func (o *nodes) flags(cmd *cobra.Command) {
	o.hosts.AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&o.root, "root", "", "a `DIR` in front of every path")
	_ = cmd.Flags().MarkHidden("root")
}

// noNodes is for people who name nodes as arguments.
func noNodes(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments: this node is meant, or name others with --ssh root@%s", cmd.CommandPath(), strings.Join(args, ","))
	}
	return nil
}

func (o *nodes) validate(c *cmdline, cmd *cobra.Command) error {
	if err := o.hosts.Validate(); err != nil {
		return usagef("%s", err)
	}
	if len(o.hosts.SSH) == 0 && o.root == "" && os.Geteuid() != 0 {
		return &usageError{
			msg:  fmt.Sprintf("%s %s works on this node's own files and must run as root", c.name, cmd.Name()),
			next: fmt.Sprintf("sudo %s %s, or name the nodes with --ssh root@ADDRESS,...", c.name, cmd.Name()),
		}
	}
	return nil
}

// each runs do on one node after the other and stops at the first that fails.
func (c *cmdline) each(ctx context.Context, o *nodes, quiet bool, do func(*node.Node) error) error {
	machines := o.hosts.SSH
	if len(machines) == 0 {
		if o.root != "" {
			return do(c.node(tree{host.Local{Root: o.root}}, 0, quiet))
		}
		return do(c.node(host.Local{}, os.Getpid(), quiet))
	}
	for i, machine := range machines {
		if err := c.remote(ctx, o, machine, quiet, do); err != nil {
			if done := machines[:i]; len(done) > 0 {
				c.hint("done: %s", visible.Line(strings.Join(done, ", ")))
			}
			if left := machines[i+1:]; len(left) > 0 {
				c.hint("not done: %s", visible.Line(strings.Join(left, ", ")))
			}
			if len(machines) > 1 && !strings.Contains(err.Error(), machine) {
				err = fmt.Errorf("%s: %w", machine, err)
			}
			return err
		}
	}
	return nil
}

func (c *cmdline) remote(ctx context.Context, o *nodes, machine string, quiet bool, do func(*node.Node) error) error {
	h, err := host.Connect(ctx, machine, &o.hosts)
	if err != nil {
		return err
	}
	defer h.Close()
	return do(c.node(h, 0, quiet))
}

func (c *cmdline) node(h host.Host, pid int, quiet bool) *node.Node {
	o := node.Options{Host: h, PID: pid, Program: version, By: whoami()}
	if !quiet {
		o.Progress = func(p node.Progress) {
			head := fmt.Sprintf("%6.1fs  %-9s ", p.Since.Seconds(), p.Step)
			c.hint("%s%s", head, visible.Wrap(visible.Line(p.Detail), c.width(), len(head), strings.Repeat(" ", len(head))))
		}
	}
	return node.New(o)
}

// tree is a directory that stands for a machine: it has files, but neither
// programs nor a network.
type tree struct{ host.Local }

var errTree = errors.New("there is only a tree of files")

func (tree) Run(context.Context, []string, []byte) (host.Result, error) {
	return host.Result{}, errTree
}

func (tree) Dial(context.Context, string, string) (net.Conn, error) { return nil, errTree }

// whoami is who runs ktrail where, for the record on the node.
func whoami() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if by := os.Getenv("SUDO_USER"); by != "" {
		name = by
	}
	machine, err := os.Hostname()
	if err != nil {
		machine = "unknown"
	}
	return fmt.Sprintf("%s@%s, process %d", name, machine, os.Getpid())
}

// asks tells whether there is a person to ask.
func (c *cmdline) asks() bool {
	f, ok := c.In.(*os.File)
	return ok && c.ErrTerminal && term.IsTerminal(int(f.Fd()))
}

// confirm asks on stderr; only y and yes are a yes. It reads no more than the
// answer's line, since there may be more questions.
func (c *cmdline) confirm(ctx context.Context, question string) (bool, error) {
	_, _ = fmt.Fprintf(c.Err, "%s [y/N] ", question)
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() { // ends with the process at the latest: a terminal's read cannot be given up
		var line []byte
		b := make([]byte, 1)
		for {
			n, err := c.In.Read(b)
			if n == 1 && b[0] != '\n' {
				line = append(line, b[0])
				continue
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			got <- answer{string(line), err}
			return
		}
	}()
	select {
	case <-ctx.Done():
		_, _ = fmt.Fprintln(c.Err)
		return false, context.Cause(ctx)
	case a := <-got:
		text := strings.ToLower(strings.TrimSpace(a.text))
		return text == "y" || text == "yes", a.err
	}
}

// secs writes a number of seconds for people.
func secs(s float64) string {
	if s < 10 {
		return fmt.Sprintf("%.1f s", s)
	}
	return short(time.Duration(s * float64(time.Second)))
}

// diff paints a unified diff.
func (p *page) diff(text string) error {
	for line := range strings.Lines(text) {
		line = visible.Line(strings.TrimSuffix(line, "\n"))
		shade := plain
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
			shade = bold
		case strings.HasPrefix(line, "+"):
			shade = green
		case strings.HasPrefix(line, "-"):
			shade = red
		case strings.HasPrefix(line, "@@"):
			shade = cyan
		}
		if err := p.line("%s", p.paint.paint(shade, line)); err != nil {
			return err
		}
	}
	return nil
}
