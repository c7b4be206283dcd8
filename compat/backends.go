package compat

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	upstreamaudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/options"

	"github.com/ktrail/ktrail/audit/backend"
	"github.com/ktrail/ktrail/audit/flags"
)

// OpenUpstream are the back ends that the API server makes of a command line, by its own options; dir has room
// for the policy without which it makes none.
func OpenUpstream(dir string, argv []string) (upstreamaudit.Backend, error) {
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"), 0o600); err != nil {
		return nil, err
	}
	o := options.NewAuditOptions()
	fs := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	fs.SetNormalizeFunc(wordSep)
	fs.SetOutput(io.Discard)
	o.AddFlags(fs)
	if err := fs.Parse(append([]string{"--audit-policy-file=" + policy}, argv...)); err != nil {
		return nil, err
	}
	for _, err := range o.Validate() {
		return nil, err
	}
	var c server.Config
	if err := o.ApplyTo(&c); err != nil {
		return nil, err
	}
	return c.AuditBackend, nil
}

func wordSep(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	return pflag.NormalizedName(flags.Normalize(name))
}

// Open are ours.
func Open(ctx context.Context, argv []string) (*backend.Backend, error) {
	args := flags.Parse(argv)
	if refused := flags.Validate(args, flags.Latest); len(refused) > 0 {
		return nil, refused[0]
	}
	s, refused := flags.Read(args, flags.Latest)
	if len(refused) > 0 {
		return nil, refused[0]
	}
	return backend.Open(ctx, s, backend.Options{})
}
