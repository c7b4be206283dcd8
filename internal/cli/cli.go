// Package cli owns the commands of ktrail: their flags, their output and their
// exit statuses. One file holds one command: its options, their check, its run.
//
// It promises that what comes from an event is shown, never obeyed: on a
// terminal by escaping control characters, in CSV by defusing formulas; and that
// memory stays flat however much a command prints.
package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Main runs ktrail with the process's arguments and streams and returns its exit
// status. The first SIGINT or SIGTERM ends the command in order, a second one at once.
func Main() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		if sig, ok := (<-signals).(syscall.Signal); ok {
			signal.Stop(signals)
			cancel(&signalError{sig})
		}
	}()
	// A closed pipe comes back as an error of the write, so that what is open is
	// closed in order; the status is then that of the signal.
	signal.Ignore(syscall.SIGPIPE)
	return Run(ctx, os.Args, osStreams())
}

// Run runs one command line, args[0] being the program's name.
func Run(ctx context.Context, args []string, s Streams) int {
	c := &cmdline{Streams: s, paint: painter(s.Color)}
	root := c.root(args[0])
	root.SetArgs(args[1:])
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	err := root.ExecuteContext(ctx)
	return report(ctx, c, root.DisplayName(), err)
}

// cmdline is what all commands share.
type cmdline struct {
	Streams
	paint painter
	name  string // what people type: "ktrail" or "kubectl trail"
}

// hint prints a line for the person on stderr.
func (c *cmdline) hint(format string, args ...any) {
	fmt.Fprintf(c.Err, format+"\n", args...)
}

func (c *cmdline) root(arg0 string) *cobra.Command {
	c.name = "ktrail"
	use := "ktrail"
	annotations := map[string]string{}
	// kubectl runs kubectl-trail, or kubectl_trail, for "kubectl trail".
	if base := strings.TrimSuffix(filepath.Base(arg0), ".exe"); base == "kubectl-trail" || base == "kubectl_trail" {
		c.name, use = "kubectl trail", base
		annotations[cobra.CommandDisplayNameAnnotation] = c.name
	}
	root := &cobra.Command{
		Use:           use,
		Short:         "The audit trail for Kubernetes",
		Long:          "ktrail is the audit trail for Kubernetes: it keeps every audit event of your API servers and\nanswers who did what, where and when.",
		Annotations:   annotations,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknown("command", args[0], commandNames(cmd), fmt.Sprintf("%s --help lists them", c.name))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(flagError)
	root.AddGroup(
		&cobra.Group{ID: "node", Title: "Turn it on:"},
		&cobra.Group{ID: "ask", Title: "Ask:"},
		&cobra.Group{ID: "keep", Title: "Collect and keep:"},
		&cobra.Group{ID: "policy", Title: "Decide what is recorded:"},
	)
	root.AddCommand(
		c.enableCommand(), c.statusCommand(), c.verifyCommand(), c.disableCommand(),
		c.searchCommand(), c.topCommand(), c.historyCommand(), c.actorCommand(), c.sqlCommand(),
		c.serveCommand(), c.proxyCommand(), c.importCommand(),
		c.policyCommand(), c.adviseCommand(),
		c.versionCommand(),
	)
	return root
}

func commandNames(cmd *cobra.Command) []string {
	var names []string
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	return names
}
