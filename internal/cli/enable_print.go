package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/internal/node"
	"github.com/ktrail/ktrail/internal/node/config"
	"github.com/ktrail/ktrail/internal/visible"
)

func (o *enableOptions) printFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.print, "print", "", "print what to apply on a `PLATFORM`, change nothing: "+strings.Join(printable(), ", "))
	complete(cmd, "print", printable())
}

// printable are the platforms: those that take configuration, and those that take none.
func printable() []string {
	var names []string
	for _, k := range config.Printable() {
		names = append(names, string(k))
	}
	for _, p := range config.Providers() {
		names = append(names, string(p))
	}
	return names
}

// enablePrint renders what turns auditing on elsewhere than on this node. It needs
// neither root nor a cluster.
func (c *cmdline) enablePrint(cmd *cobra.Command, o *enableOptions) error {
	for _, name := range []string{"ssh", "dry-run", "resume", "rollback", "root", "yes"} {
		if cmd.Flags().Changed(name) {
			return usagef("--print shows what to apply elsewhere and changes nothing; it takes no --%s", name)
		}
	}
	if !slices.Contains(printable(), o.print) {
		return unknown("platform", o.print, printable(), "one of "+strings.Join(printable(), ", "))
	}
	if err := o.asked(c, cmd); err != nil {
		return err
	}
	if p := config.Provider(o.print); slices.Contains(config.Providers(), p) {
		if o.policy+o.preset != "" || len(o.request.Args) > 0 {
			return usagef("--print %s takes no policy and no --audit-* flags: its control plane is the provider's, and takes none", p)
		}
		_, err := io.WriteString(c.Out, p.Offer())
		return err
	}
	piece, err := o.piece(c, config.Kind(o.print))
	if err != nil {
		return err
	}
	text, err := config.Print(config.Kind(o.print), *piece)
	if refused := (*config.RefusedError)(nil); errors.As(err, &refused) {
		return usagef("%s", refused.Msg)
	}
	if err != nil {
		return err
	}
	_, err = c.Out.Write(text)
	return err
}

// piece is what was asked for, with what is recommended for the rest.
func (o *enableOptions) piece(c *cmdline, kind config.Kind) (*config.Piece, error) {
	p := &config.Piece{Asked: o.request.Args, Policy: o.request.Policy, PolicyName: o.request.PolicyName}
	if p.Policy == nil {
		p.Policy, p.PolicyName = o.request.Default, o.request.DefaultName
	}
	p.PolicyName = visible.Line(p.PolicyName)
	var recommended []flags.Arg
	for _, choice := range flags.Recommended(flags.Version{}) {
		a := choice.Arg
		if own, ok := flags.Last(config.Defaults(kind), a.Name); ok {
			a.Value = own.Value
		}
		recommended = append(recommended, a)
	}
	p.Args = flags.Apply(recommended, p.Asked, nil)
	for _, r := range flags.Validate(p.Args, flags.Version{}) {
		return nil, usagef("the API server would not start: %s", r.Error())
	}
	loaded, err := policy.Load(p.Policy)
	if err != nil {
		return nil, usagef("the policy: %s", err)
	}
	allow := map[string]bool{}
	if _, asked := flags.Last(p.Asked, flags.LogPath); !asked {
		allow["stdout-log"] = true // where that is the default there is nowhere else
	}
	for _, f := range flags.Advise(p.Args, flags.Options{Policy: loaded, Allow: allow}) {
		switch f.Severity {
		case finding.Error:
			return nil, usagef("%s; %s", f.Message, strings.Join(strings.Fields(f.Fix), " "))
		case finding.Warning:
			c.hint("warning: %s; %s", visible.Line(f.Message), visible.Line(strings.Join(strings.Fields(f.Fix), " ")))
		}
	}
	return p, nil
}

// managedError says that the cluster at hand is one that nobody can configure.
type managedError struct {
	error
	provider config.Provider
	next     string
}

func (e *managedError) Unwrap() error { return e.error }

// Next says what to do.
func (e *managedError) Next() string { return e.next }

// managed says more where there is no control plane here: the cluster that kubectl
// would talk to may be a provider's.
func (c *cmdline) managed(err error) error {
	var none *node.NoControlPlaneError
	if !errors.As(err, &none) {
		return err
	}
	p, ok := currentProvider()
	if !ok {
		return err
	}
	return &managedError{err, p, "kubectl's cluster is " + p.Name() + ", where no flag can be set: " + c.name + " enable --print " + string(p) + " shows what it offers"}
}

// currentProvider is whose cluster the current context of the kubeconfig names.
func currentProvider() (config.Provider, bool) {
	home, _ := os.UserHomeDir() // without one there is no such file
	files := []string{filepath.Join(home, ".kube", "config")}
	if list := os.Getenv("KUBECONFIG"); list != "" {
		files = filepath.SplitList(list)
	}
	var k struct {
		CurrentContext string `json:"current-context"`
		Contexts       []struct {
			Name    string `json:"name"`
			Context struct {
				Cluster string `json:"cluster"`
			} `json:"context"`
		} `json:"contexts"`
		Clusters []struct {
			Name    string `json:"name"`
			Cluster struct {
				Server string `json:"server"`
			} `json:"cluster"`
		} `json:"clusters"`
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(f, 4<<20))
		f.Close()
		if err != nil || yaml.Unmarshal(text, &k) != nil {
			continue
		}
		for _, ctx := range k.Contexts {
			for _, cluster := range k.Clusters {
				if ctx.Name == k.CurrentContext && cluster.Name == ctx.Context.Cluster {
					return config.Managed(cluster.Cluster.Server, "", cluster.Name)
				}
			}
		}
	}
	return "", false
}
