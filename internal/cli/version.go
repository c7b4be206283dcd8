package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/internal/visible"
)

// version is set by the build: -ldflags '-X github.com/ktrail/ktrail/internal/cli.version=v1.2.3'.
var version = ""

// buildVersion is what the build was told, or else what Go knows of the module.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func (c *cmdline) versionCommand() *cobra.Command {
	o := &output{}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  none,
		RunE: func(*cobra.Command, []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			v := struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{buildVersion(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			p := c.page(o)
			var err error
			switch o.format {
			case formatJSON:
				err = p.json(v)
			case formatYAML:
				err = p.yaml(v)
			default:
				err = p.line("ktrail %s (%s, %s)", v.Version, v.Go, v.Platform)
			}
			if err != nil {
				return err
			}
			return p.flush()
		},
	}
	o.flags(cmd, formatTable, formatJSON, formatYAML)
	return cmd
}

// none is for commands without arguments.
func none(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no argument, got %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// exactly is for commands that need n arguments; want names them.
func exactly(n int, want string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < n:
			return &usageError{msg: "missing argument: " + want, next: "usage: " + cmd.UseLine()}
		case len(args) > n:
			return &usageError{msg: "unexpected argument " + quote(args[n]) + ": " + cmd.CommandPath() + " takes " + want + " (quote what has spaces)", next: "usage: " + cmd.UseLine()}
		}
		return nil
	}
}

func quote(s string) string { return `"` + visible.Line(s) + `"` }
