package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/logfile"
)

// addFlags adds the flags of ktrail proxy: named as kube-apiserver's wherever it has
// one, and grouped in the help.
func (o *proxyOptions) addFlags(cmd *cobra.Command) {
	groups := []flagGroup{
		{"Listen", o.listenFlags()},
		{"Who users are", o.userFlags()},
		{"The API server behind", o.upstreamFlags()},
		{"What is recorded", o.auditFlags(func(name string) bool { return name == flags.PolicyFile })},
		{"What the API server does not have", o.sinkFlags()},
		{"Write a log", o.auditFlags(func(name string) bool { return strings.HasPrefix(name, flags.LogPrefix) })},
		{"Post to a webhook", o.auditFlags(func(name string) bool { return strings.HasPrefix(name, flags.WebhookPrefix) })},
	}
	for _, g := range groups {
		cmd.Flags().AddFlagSet(g.set)
	}
	// As the API server: --audit_log_path is --audit-log-path.
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
	})
	for _, name := range []string{flags.LogPrefix + flags.Mode, flags.WebhookPrefix + flags.Mode} {
		complete(cmd, name, []string{flags.Batch, flags.Blocking, flags.BlockingStrict})
	}
	complete(cmd, "audit-log-sync", []string{logfile.SyncAlways, logfile.SyncSecond, logfile.SyncNever})
	complete(cmd, flags.LogFormat, []string{"json", "legacy"})
	complete(cmd, "log-level", []string{"debug", "info", "warn", "error"})
	complete(cmd, "log-format", []string{"text", "json"})
	cmd.SetHelpFunc(groupedHelp(groups))
}

func (o *proxyOptions) listenFlags() *pflag.FlagSet {
	f := newFlags()
	f.StringVar(&o.Listen, "listen", "127.0.0.1:8443", "`address` and port to listen on; off loopback it takes TLS")
	f.StringVar(&o.AdminListen, "admin-listen", "127.0.0.1:8444", "loopback `address` of /livez, /readyz and /metrics; \"\" for none")
	f.StringVar(&o.HealthListen, "health-listen", "", "`address` of /livez and /readyz alone, off loopback too, such as :8445: for a kubelet's probes (default: none)")
	f.StringVar(&o.CertFile, "tls-cert-file", "", "the proxy's certificate, a `file` in PEM, with its intermediates")
	f.StringVar(&o.KeyFile, "tls-private-key-file", "", "`file` of its private key")
	f.DurationVar(&o.Grace, "shutdown-grace", defaultGrace, "`time` that requests have to end; watches end at once")
	f.StringVar(&o.logLevel, "log-level", "info", "`level` of the proxy's own log: debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "`format` of the proxy's own log: text or json")
	return f
}

func (o *proxyOptions) userFlags() *pflag.FlagSet {
	f := newFlags()
	f.StringVar(&o.ClientCAFile, "client-ca-file", "", "`file` of the authorities of users' client certificates")
	f.BoolVar(&o.Anonymous, "anonymous-auth", true, "let requests without credentials through, as system:anonymous; the API server decides on them")
	f.StringVar(&o.FrontProxyCAFile, "requestheader-client-ca-file", "", "`file` of the authorities of front proxies in front of this one, whose headers are believed")
	f.StringSliceVar(&o.FrontProxyNames, "requestheader-allowed-names", nil, "common `names` that front proxies may have (default: any)")
	f.StringSliceVar(&o.RemoteHeaders.User, "requestheader-username-headers", []string{"x-remote-user"}, "`headers` in which they name users")
	f.StringSliceVar(&o.RemoteHeaders.UID, "requestheader-uid-headers", nil, "`headers` of users' UIDs; X-Remote-Uid is common")
	f.StringSliceVar(&o.RemoteHeaders.Group, "requestheader-group-headers", []string{"x-remote-group"}, "`headers` of groups")
	f.StringSliceVar(&o.RemoteHeaders.ExtraPrefixes, "requestheader-extra-headers-prefix", []string{"x-remote-extra-"}, "`prefixes` of headers of extra fields")
	return f
}

func (o *proxyOptions) upstreamFlags() *pflag.FlagSet {
	f := newFlags()
	f.StringVar(&o.upstream, "upstream", "", "`URL` of the API server (default: that of --kubeconfig)")
	f.StringVar(&o.UpstreamCAFile, "upstream-ca-file", "", "`file` of the authority of its certificate (default: that of --kubeconfig, or the system's)")
	f.StringVar(&o.UpstreamServerName, "upstream-server-name", "", "`name` in its certificate, if not that in the URL")
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "`file` of the proxy's own credentials, with the ClusterRole system:auth-delegator, to ask whose tokens are and who may impersonate (default: ask in the users' names)")
	f.StringVar(&o.ProxyCertFile, "proxy-client-cert-file", "", "`file` of the certificate by which the API server believes whom the proxy names")
	f.StringVar(&o.ProxyKeyFile, "proxy-client-key-file", "", "`file` of its private key")
	f.StringSliceVar(&o.gates, "feature-gates", nil, "ConstrainedImpersonation=true or =false, as the API server has it (`gates`; default: by its version)")
	return f
}

// sinkFlags are ktrail's own.
func (o *proxyOptions) sinkFlags() *pflag.FlagSet {
	f := newFlags()
	f.BoolVar(&o.redact, "redact", true, "take Secrets' data, tokens and the like out of bodies")
	f.StringVar(&o.Sinks.RulesFile, "redact-rules", "", "`file` of what else is taken out of events")
	f.StringVar(&o.Sinks.KeyFile, "redact-key-file", "", "`file` of the key of the hashes that take their place, made if it is not there (default: redact.key beside the log)")
	f.StringVar(&o.Sinks.Sync, "audit-log-sync", "never", "`when` the log's lines are safe from a power cut: always, 1s or never")
	f.IntVar(&o.Sinks.Digest, "audit-truncate-keep", 0, "`bytes` of a body that stay, with its hash, where truncation takes it")
	f.StringVar(&o.Sinks.SpoolDir, "audit-webhook-spool-dir", "", "`directory` in which events wait while the webhook is down (default: none, they are lost)")
	f.StringVar(&o.spool, "audit-webhook-spool-size", "", "most `space` that they take: 500MB, 10GiB (default 1GiB)")
	return f
}

// auditFlags are those of kube-apiserver's flags that have one of the names.
func (o *proxyOptions) auditFlags(has func(name string) bool) *pflag.FlagSet {
	f := newFlags()
	for _, a := range flags.Table() {
		if !has(a.Name) || !a.In(flags.Latest) {
			continue
		}
		added := f.VarPF(&auditValue{flag: a, args: &o.audit, value: a.Default(flags.Latest)}, a.Name, "", a.Help)
		if a.Type == flags.Bool {
			added.NoOptDefVal = "true"
		}
		if a.Deprecated != "" {
			added.Hidden = true
		}
	}
	return f
}

// auditValue is a flag of kube-apiserver's. What is wrong with its value is said
// with all others, in audit/flags.
type auditValue struct {
	flag  flags.Flag
	args  *[]flags.Arg
	value string
}

// Set implements [pflag.Value].
func (v *auditValue) Set(s string) error {
	v.value = s
	*v.args = append(*v.args, flags.Arg{Name: v.flag.Name, Value: s})
	return nil
}

func (v *auditValue) String() string { return v.value }

// Type implements [pflag.Value].
func (v *auditValue) Type() string { return string(v.flag.Type) }

func newFlags() *pflag.FlagSet {
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.SortFlags = false
	return f
}

type flagGroup struct {
	title string
	set   *pflag.FlagSet
}

// groupedHelp prints flags by groups, within 80 columns.
func groupedHelp(groups []flagGroup) func(*cobra.Command, []string) {
	return func(cmd *cobra.Command, _ []string) {
		var b strings.Builder
		fmt.Fprintf(&b, "%s\n\nUsage:\n  %s\n\nExamples:\n%s\n", cmd.Long, cmd.UseLine(), cmd.Example)
		for _, g := range groups {
			fmt.Fprintf(&b, "\n%s:\n", g.title)
			g.set.VisitAll(func(f *pflag.Flag) {
				if !f.Hidden {
					writeFlag(&b, f)
				}
			})
		}
		cmd.Print(b.String())
	}
}

// writeFlag prints a flag on one line and what it does below it: the names are so
// long that beside them nothing fits.
func writeFlag(b *strings.Builder, f *pflag.Flag) {
	kind, help := pflag.UnquoteUsage(f)
	if v, ok := f.Value.(*auditValue); ok && v.flag.Unit != "" {
		kind = strings.ReplaceAll(v.flag.Unit, " ", "-")
	}
	name := "  --" + f.Name
	if kind != "" && f.NoOptDefVal == "" {
		name += " " + kind
	}
	if zero := []string{"", "false", "[]", "0", "0s"}; !slices.Contains(zero, f.DefValue) {
		value := strings.Trim(f.DefValue, "[]")
		if _, err := strconv.ParseFloat(value, 64); err != nil && f.Value.Type() != "bool" && f.Value.Type() != string(flags.Duration) {
			value = strconv.Quote(value)
		}
		if d, err := time.ParseDuration(f.DefValue); err == nil {
			value = d.String()
		}
		help += " (default " + value + ")"
	}
	b.WriteString(name + "\n")
	line := "     "
	for word := range strings.FieldsSeq(help) {
		if len(line)+1+len(word) > 80 {
			b.WriteString(line + "\n")
			line = "     "
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}
