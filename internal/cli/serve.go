package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ktrail/ktrail/internal/app"
	"github.com/ktrail/ktrail/internal/web"
)

type serveOptions struct {
	logs       []string
	cluster    string
	data       string
	listen     string
	webhook    app.WebhookOptions
	retainAge  string
	retainSize string
	minFree    string
	redact     string
	logLevel   slog.Level
	logFormat  string
}

func (c *cmdline) serveCommand() *cobra.Command {
	o := &serveOptions{}
	level := "info"
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Collect audit logs, keep them, answer questions",
		Long: `Take audit events in, keep them in the data directory, and answer the other
commands, the API and the page, on loopback only. Events come from logs that are
followed (--audit-log), from API servers that post them (--webhook-listen), or
from both: one that comes twice is kept once.

An API server posts with kube-apiserver --audit-webhook-config-file=FILE, where
FILE is a kubeconfig:

  apiVersion: v1
  kind: Config
  current-context: ktrail
  contexts: [{name: ktrail, context: {cluster: ktrail, user: apiserver}}]
  clusters:
  - name: ktrail
    cluster:
      server: https://10.0.0.7:9443
      certificate-authority: /etc/kubernetes/ktrail/ca.crt
  users:
  - name: apiserver
    user: {token: ...}    # a line of --webhook-token-file

It is answered 200 when its events are durable. SIGHUP, or a changed file, has
certificates and tokens read anew.`,
		Example: c.examples(
			"serve --audit-log /var/log/kubernetes/audit/audit.log --cluster prod \\\n"+
				"      --data /var/lib/ktrail",
			"serve --audit-log '/srv/*/audit' --retain-age 90d --retain-size 50GB",
			"serve --cluster prod --webhook-listen :9443 \\\n"+
				"      --webhook-tls-cert-file tls.crt --webhook-tls-private-key-file tls.key \\\n"+
				"      --webhook-token-file tokens",
		),
		GroupID: "keep",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.logLevel.UnmarshalText([]byte(level)); err != nil {
				return usagef("--log-level %q: one of debug, info, warn, error", level)
			}
			return c.serve(cmd, o)
		},
	}
	groups := []flagGroup{{"Where events come from", o.sourceFlags()}, {"What is kept", o.storeFlags()}, {"The server", o.serverFlags(&level)}}
	for _, g := range groups {
		cmd.Flags().AddFlagSet(g.set)
	}
	cmd.SetHelpFunc(groupedHelp(groups))
	complete(cmd, "log-level", []string{"debug", "info", "warn", "error"})
	complete(cmd, "log-format", []string{"text", "json"})
	_ = cmd.MarkFlagDirname("data")
	return cmd
}

func (o *serveOptions) sourceFlags() *pflag.FlagSet {
	f := newFlags()
	f.StringArrayVar(&o.logs, "audit-log", nil, "follow this `path`: a log, a directory or a glob; may be repeated")
	f.StringVar(&o.cluster, "cluster", "", "the `name` of the cluster that the events are from")
	f.StringVar(&o.webhook.Listen, "webhook-listen", "", "`address` and port to which API servers post events; off loopback it takes TLS, and certificates or tokens")
	f.StringVar(&o.webhook.CertFile, "webhook-tls-cert-file", "", "the webhook's certificate, a `file` in PEM, with its intermediates")
	f.StringVar(&o.webhook.KeyFile, "webhook-tls-private-key-file", "", "`file` of its private key")
	f.StringVar(&o.webhook.ClientCAFile, "webhook-client-ca-file", "", "`file` of the authorities of client certificates that may post")
	f.StringSliceVar(&o.webhook.ClientNames, "webhook-client-allowed-names", nil, "common `names` that these may have (default: any)")
	f.StringVar(&o.webhook.TokenFile, "webhook-token-file", "", "`file` of the bearer tokens that may post, one a line")
	return f
}

func (o *serveOptions) storeFlags() *pflag.FlagSet {
	f := newFlags()
	f.StringVar(&o.data, "data", "./data", "keep events in this `directory`")
	f.StringVar(&o.retainAge, "retain-age", "", "remove events older than this `age`: 90d, 24h (default: keep all)")
	f.StringVar(&o.retainSize, "retain-size", "", "remove the oldest events above this `size`: 50GB (default: no limit)")
	f.StringVar(&o.minFree, "min-free", "", "stop taking events while less `space` is free (default: 1GiB, or 5% of a small volume)")
	f.StringVar(&o.redact, "redact-rules", "", "`file` of what is taken out of events, beside Secrets' data, tokens and the like")
	return f
}

func (o *serveOptions) serverFlags(level *string) *pflag.FlagSet {
	f := newFlags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:7433", "loopback `address` and port of the page and the API")
	f.StringVar(level, "log-level", "info", "`level` of the server's own log: debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "`format` of the server's own log: text or json")
	return f
}

func (o *serveOptions) validate() (app.Options, error) {
	var errs []error
	a := app.Options{Logs: o.logs, Webhook: o.webhook, Cluster: o.cluster, Listen: o.listen, Version: buildVersion(), Store: app.StoreOptions{Dir: o.data}}
	if o.data == "" {
		errs = append(errs, usagef("--data needs a directory"))
	}
	for _, l := range o.logs {
		if l == "" {
			errs = append(errs, usagef("--audit-log needs a path"))
		}
	}
	errs = append(errs, checkCluster(o.cluster))
	if err := web.CheckLoopback(o.listen); err != nil {
		errs = append(errs, &usageError{msg: err.Error()})
	}
	if err := o.webhook.Check(); err != nil {
		errs = append(errs, &usageError{msg: err.Error()})
	}
	var err error
	if a.Store.RetainAge, err = parseAge(o.retainAge); err != nil {
		errs = append(errs, fmt.Errorf("--retain-age: %w", err))
	}
	if a.Store.RetainBytes, err = parseSize(o.retainSize); err != nil {
		errs = append(errs, fmt.Errorf("--retain-size: %w", err))
	}
	if a.Store.MinFree, err = parseSize(o.minFree); err != nil {
		errs = append(errs, fmt.Errorf("--min-free: %w", err))
	}
	if a.Store.RedactRules, err = readRedactRules(o.redact); err != nil {
		errs = append(errs, err)
	}
	if o.logFormat != "text" && o.logFormat != "json" {
		errs = append(errs, usagef("--log-format %q: text or json", o.logFormat))
	}
	return a, errors.Join(errs...)
}

func (c *cmdline) serve(cmd *cobra.Command, o *serveOptions) (err error) {
	a, err := o.validate()
	if err != nil {
		return err
	}
	handler := &slog.HandlerOptions{Level: o.logLevel}
	a.Logger = slog.New(slog.NewTextHandler(c.Err, handler))
	if o.logFormat == "json" {
		a.Logger = slog.New(slog.NewJSONHandler(c.Err, handler))
	}
	ctx := cmd.Context()
	server, err := app.New(ctx, a)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, server.Stop(ctx))
		if err == nil {
			a.Logger.LogAttrs(ctx, slog.LevelInfo, "stopped")
		}
	}()
	server.Start(ctx)
	// Whoever started it, a person or a script, reads the address here.
	if _, err := fmt.Fprintf(c.Out, "ktrail %s is at http://%s/ with %s in %s\n",
		a.Version, server.Addr(), plural(server.Events(), "event"), o.data); err != nil {
		a.Logger.LogAttrs(ctx, slog.LevelDebug, "standard output is closed", slog.Any("error", err))
	}
	if u := server.WebhookURL(); u != "" {
		if _, err := fmt.Fprintf(c.Out, "API servers post events to %s (kube-apiserver --audit-webhook-config-file)\n", u); err != nil {
			a.Logger.LogAttrs(ctx, slog.LevelDebug, "standard output is closed", slog.Any("error", err))
		}
	} else if len(o.logs) == 0 {
		a.Logger.LogAttrs(ctx, slog.LevelInfo, "neither --audit-log nor --webhook-listen given: events come from ktrail import only")
	}
	return server.Wait(ctx)
}

// checkCluster is for a name that becomes a column of every event.
func checkCluster(name string) error {
	if !utf8.ValidString(name) {
		return usagef("--cluster %s is not UTF-8", quote(name))
	}
	return nil
}

// parseAge reads 36h, 90d, 12w; "" is 0.
func parseAge(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	bad := usagef("%s is no age: write 36h, 90d or 12w", quote(s))
	day := 24 * time.Hour
	for suffix, unit := range map[string]time.Duration{"d": day, "w": 7 * day} {
		if number, ok := strings.CutSuffix(s, suffix); ok {
			n, err := strconv.ParseInt(number, 10, 32)
			if err != nil || n <= 0 || n > int64(200*365*day/unit) {
				return 0, bad
			}
			return time.Duration(n) * unit, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, bad
	}
	return d, nil
}

// parseSize reads 500MB, 50GB, 1.5TiB or bytes; "" is 0.
func parseSize(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	bad := usagef("%s is no size: write 500MB, 50GB or 10GiB", quote(s))
	text := strings.TrimSuffix(strings.ToUpper(strings.TrimSpace(s)), "B")
	base := 1000.0
	if t, ok := strings.CutSuffix(text, "I"); ok {
		text, base = t, 1024
	}
	unit := 1.0
	for i, u := range []string{"K", "M", "G", "T"} {
		if t, ok := strings.CutSuffix(text, u); ok {
			text = t
			for range i + 1 {
				unit *= base
			}
			break
		}
	}
	if unit == 1 && base == 1024 {
		return 0, bad
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	// Not "n <= 0 || ...": NaN is neither.
	if err != nil || !(n > 0 && n*unit < 1<<62) {
		return 0, bad
	}
	return max(1, int64(n*unit)), nil
}
