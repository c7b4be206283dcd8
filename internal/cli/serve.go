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

	"github.com/ktrail/ktrail/internal/app"
	"github.com/ktrail/ktrail/internal/web"
)

type serveOptions struct {
	logs       []string
	cluster    string
	data       string
	listen     string
	retainAge  string
	retainSize string
	minFree    string
	logLevel   slog.Level
	logFormat  string
}

func (c *cmdline) serveCommand() *cobra.Command {
	o := &serveOptions{}
	level := "info"
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Collect audit logs, keep them, answer questions",
		Long: `Follow audit logs, keep their events in the data directory, and answer the other commands, the
API and the page. It listens on loopback only.`,
		Example: c.examples(
			`serve --audit-log /var/log/kubernetes/audit/audit.log --cluster prod --data /var/lib/ktrail`,
			`serve --audit-log '/var/log/*/audit' --retain-age 90d --retain-size 50GB`,
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
	f := cmd.Flags()
	f.StringArrayVar(&o.logs, "audit-log", nil, "follow this `path`: a log, a directory or a glob; may be repeated")
	f.StringVar(&o.cluster, "cluster", "", "the `name` of the cluster that the logs are from")
	f.StringVar(&o.data, "data", "./data", "keep events in this `directory`")
	f.StringVar(&o.listen, "listen", "127.0.0.1:7433", "loopback `address` and port to listen on")
	f.StringVar(&o.retainAge, "retain-age", "", "remove events older than this `age`: 90d, 24h (default: keep all)")
	f.StringVar(&o.retainSize, "retain-size", "", "remove the oldest events above this `size`: 50GB (default: no limit)")
	f.StringVar(&o.minFree, "min-free", "", "stop taking events while less `space` is free (default 1GiB, or 5% of a small volume)")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
	complete(cmd, "log-level", []string{"debug", "info", "warn", "error"})
	complete(cmd, "log-format", []string{"text", "json"})
	_ = cmd.MarkFlagDirname("data")
	return cmd
}

func (o *serveOptions) validate() (app.Options, error) {
	var errs []error
	a := app.Options{Logs: o.logs, Cluster: o.cluster, Listen: o.listen, Version: buildVersion(), Store: app.StoreOptions{Dir: o.data}}
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
	if len(o.logs) == 0 {
		a.Logger.LogAttrs(ctx, slog.LevelInfo, "no --audit-log given: events come from ktrail import only")
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
