package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/logfile"
	"github.com/ktrail/ktrail/internal/app"
	"github.com/ktrail/ktrail/internal/visible"
)

type proxyOptions struct {
	app.ProxyOptions
	upstream  string
	gates     []string
	audit     []flags.Arg
	redact    bool
	spool     string
	logLevel  string
	logFormat string
}

func (c *cmdline) proxyCommand() *cobra.Command {
	o := &proxyOptions{}
	cmd := &cobra.Command{
		Use:   "proxy --upstream URL --audit-policy-file FILE ...",
		Short: "Record the requests to an API server whose flags you cannot set",
		Long: `Stand in front of an API server and write the audit log that it would write
itself, by the flags of kube-apiserver: for clusters whose flags you cannot set.
Point kubectl and programs at this proxy; what goes past it is not recorded.

Users keep their credentials. A bearer token goes on as it is; the proxy asks
the API server whose it is: by TokenReview, with the credentials of
--kubeconfig, or without one by SelfSubjectReview, in the user's own name. Users
with client certificates are handed on by name, for which the API server must
believe the proxy's own certificate: --proxy-client-cert-file, signed by the
authority of its --requestheader-client-ca-file.

Secrets, tokens and the like are taken out of bodies before anything is written.
SIGHUP, or a changed file, has certificates and policy read anew. SIGTERM lets
requests end.`,
		Example: c.examples(
			"proxy --upstream https://10.0.0.1:6443 --upstream-ca-file ca.crt \\\n"+
				"      --audit-policy-file policy.yaml --audit-log-path audit.log",
			"proxy --kubeconfig proxy.conf --listen :8443 \\\n"+
				"      --tls-cert-file tls.crt --tls-private-key-file tls.key \\\n"+
				"      --audit-policy-file policy.yaml --audit-log-path /var/log/ktrail/audit.log",
		),
		GroupID: "keep",
		Args:    none,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.proxy(cmd, o) },
	}
	o.addFlags(cmd)
	return cmd
}

// validate is what can be said without opening a file.
func (o *proxyOptions) validate() error {
	var errs []error
	wrong := func(err error) { errs = append(errs, &usageError{msg: err.Error()}) }
	if o.upstream != "" {
		u, err := url.Parse(o.upstream)
		if err != nil || u.Host == "" {
			wrong(fmt.Errorf("--upstream %s is no address such as https://10.0.0.1:6443", quote(o.upstream)))
		} else {
			o.Upstream = u
		}
	}
	for _, g := range o.gates {
		name, value, _ := strings.Cut(g, "=")
		on, err := strconv.ParseBool(value)
		if name != "ConstrainedImpersonation" || err != nil {
			wrong(fmt.Errorf("--feature-gates %s: the proxy knows ConstrainedImpersonation=true or =false", quote(g)))
			continue
		}
		o.Constrained = &on
	}
	for _, r := range flags.Validate(o.audit, flags.Latest) {
		wrong(r)
	}
	o.Audit, _ = flags.Read(o.audit, flags.Latest)
	o.Sinks.Plain = !o.redact
	switch o.Sinks.Sync {
	case logfile.SyncAlways, logfile.SyncSecond, logfile.SyncNever:
	default:
		wrong(fmt.Errorf("--audit-log-sync %s: one of always, 1s, never", quote(o.Sinks.Sync)))
	}
	var err error
	if o.Sinks.SpoolBytes, err = parseSize(o.spool); err != nil {
		wrong(fmt.Errorf("--audit-webhook-spool-size: %w", err))
	}
	if o.Sinks.Digest < 0 {
		wrong(errors.New("--audit-truncate-keep cannot be negative"))
	}
	if o.Grace < 0 {
		wrong(errors.New("--shutdown-grace cannot be negative"))
	}
	if len(errs) == 0 {
		if err := o.Check(); err != nil {
			wrong(err)
		}
	}
	return errors.Join(errs...)
}

func (c *cmdline) proxy(cmd *cobra.Command, o *proxyOptions) (err error) {
	if err := o.validate(); err != nil {
		return err
	}
	if o.Logger, err = c.serverLog(o.logLevel, o.logFormat); err != nil {
		return err
	}
	o.Sinks.Out = c.Out
	ctx := cmd.Context()
	defer app.HoldHeap()()
	p, err := app.NewProxy(ctx, o.ProxyOptions)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, p.Stop(ctx))
		if err == nil {
			o.Logger.LogAttrs(ctx, slog.LevelInfo, "stopped")
		}
	}()
	p.Start(ctx)
	scheme := "http"
	if p.Secure() {
		scheme = "https"
	}
	// Not on stdout where the log is.
	out := c.Out
	if o.Audit.Log.Path == "-" {
		out = c.Err
	}
	// Whoever started it, a person or a script, reads the addresses here.
	line := fmt.Sprintf("ktrail proxy is at %s://%s/ for %s", scheme, p.Addr(), p.Upstream())
	if a := p.AdminAddr(); a != "" {
		line += fmt.Sprintf(", health and metrics at http://%s/", a)
	}
	if a := p.HealthAddr(); a != "" {
		line += fmt.Sprintf(", health at http://%s/", a)
	}
	if _, err := fmt.Fprintln(out, visible.Line(line)); err != nil {
		o.Logger.LogAttrs(ctx, slog.LevelDebug, "standard output is closed", slog.Any("error", err))
	}
	return p.Wait(ctx)
}

// serverLog is the log of a program that runs on.
func (c *cmdline) serverLog(level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("--log-level %q: one of debug, info, warn, error", level)
	}
	h := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(c.Err, h)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(c.Err, h)), nil
	}
	return nil, usagef("--log-format %q: text or json", format)
}

const defaultGrace = 25 * time.Second // below the 30 s that Kubernetes gives a pod
