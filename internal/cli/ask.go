package cli

import (
	"cmp"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/internal/app"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/visible"
	"github.com/ktrail/ktrail/internal/web"
)

// defaultServer is where ktrail serve listens unless told otherwise.
const defaultServer = "http://127.0.0.1:7433"

// serverVariable names the environment variable that stands for --server.
const serverVariable = "KTRAIL_SERVER"

// target is who answers: a running server or a data directory.
type target struct{ server, data string }

func (t *target) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.server, "server", "", "ask the server at this `URL` (default $"+serverVariable+" or "+defaultServer+")")
	cmd.Flags().StringVar(&t.data, "data", "", "open this data `directory` read-only instead of asking a server")
	// The only error is an unknown flag, which the tests would show.
	_ = cmd.MarkFlagDirname("data")
}

func (t *target) validate(cmd *cobra.Command) error {
	if t.server != "" && t.data != "" {
		return usagef("--server and --data exclude each other")
	}
	if cmd.Flags().Changed("data") && t.data == "" {
		return usagef("--data needs a directory")
	}
	return nil
}

func (t *target) url() string {
	return cmp.Or(t.server, os.Getenv(serverVariable), defaultServer)
}

// ask runs fn with what answers.
func (c *cmdline) ask(cmd *cobra.Command, t *target, fn func(query.Questions) error) error {
	if t.data != "" {
		data, err := app.OpenData(cmd.Context(), t.data, c.logger(slog.LevelWarn))
		if err != nil {
			return err
		}
		return errors.Join(fn(data), data.Close())
	}
	client, err := web.NewClient(t.url())
	if err != nil {
		return err
	}
	defer client.Close()
	return fn(client)
}

// logger writes what is worth telling beside an answer to stderr.
func (c *cmdline) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(c.Err, &slog.HandlerOptions{Level: level}))
}

// warn prints what an answer may lack. Damage becomes the command's error.
func (c *cmdline) warn(warnings query.Warnings) error {
	damaged := false
	for _, w := range warnings {
		c.hint("warning: %s", visible.Line(w.Text))
		damaged = damaged || w.Damage
	}
	if damaged {
		return &damagedError{}
	}
	return nil
}

// scope is the flags that choose events: a filter and a range of time.
type scope struct {
	controls     query.Flags
	filter       string
	all          bool
	since, until string
	show         bool
}

// flags declares the flags of s on cmd but those that mean nothing there.
func (s *scope) flags(cmd *cobra.Command, except ...string) {
	f := cmd.Flags()
	for _, l := range []struct {
		to               *[]string
		name, short, doc string
	}{
		{&s.controls.Namespace, "namespace", "n", "only these `namespaces`"},
		{&s.controls.Verb, "verb", "", "only these `verbs`: get, list, patch, ..."},
		{&s.controls.User, "user", "", "only these `users`; 'alice*', '!system:*'"},
		{&s.controls.As, "as", "", "only requests as these impersonated `users`"},
		{&s.controls.Group, "group", "", "only users in these `groups`"},
		{&s.controls.Resource, "resource", "", "only these `resources`: deploy, pods, secrets, ..."},
		{&s.controls.APIGroup, "api-group", "", "only these API `groups`: apps, batch, ..."},
		{&s.controls.Name, "name", "", "only objects of these `names`"},
		{&s.controls.Subresource, "subresource", "", "only these `subresources`: exec, log, scale, ..."},
		{&s.controls.Code, "code", "", "only these status `codes`: 403, 4xx, '>=500'"},
		{&s.controls.IP, "ip", "", "only requests from these `addresses`"},
		{&s.controls.Agent, "agent", "", "only these user `agents`: 'kubectl*'"},
		{&s.controls.AuditID, "audit-id", "", "only these audit `IDs`"},
		{&s.controls.Cluster, "cluster", "", "only these `clusters`"},
		{&s.controls.Source, "source", "", "only events read from these `sources`"},
		{&s.controls.Stage, "stage", "", "only these `stages`, or all (default: the last of each request)"},
		{&s.controls.Level, "level", "", "only these `levels`: Metadata, Request, RequestResponse"},
		{&s.controls.Decision, "decision", "", "only these `decisions`: allow, forbid"},
		{&s.controls.Not, "not", "", "leave out what has `flag=value`: 'user=system:*', verb=get,list"},
	} {
		if !slices.Contains(except, l.name) {
			f.StringArrayVarP(l.to, l.name, l.short, nil, l.doc)
		}
	}
	f.BoolVar(&s.controls.Failed, "failed", false, "only requests that failed (code 400 and above)")
	f.BoolVar(&s.controls.Writes, "writes", false, "only requests that change something")
	f.BoolVarP(&s.all, "all-namespaces", "A", false, "in all namespaces (the default)")
	f.StringVar(&s.filter, "filter", "", "only events for which this `CEL` is true")
	f.StringVar(&s.since, "since", "", "from this `time` on: 2h, 7d, yesterday, 2026-11-22T10:00")
	f.StringVar(&s.until, "until", "", "before this `time`")
	f.BoolVar(&s.show, "show-filter", false, "print the CEL that the flags became, on stderr")

	if !slices.Contains(except, "resource") {
		complete(cmd, "resource", query.ResourceNames())
	}
	complete(cmd, "verb", []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"})
	complete(cmd, "stage", []string{"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"})
	complete(cmd, "level", []string{"Metadata", "Request", "RequestResponse"})
	complete(cmd, "decision", []string{"allow", "forbid"})
}

// question is the scope as the questions have it. Times without a zone are in
// zone; those that are meant from now, from the first page of cursor.
func (s *scope) question(zone *time.Location, cursor string) (query.Scope, error) {
	if s.all && len(s.controls.Namespace) > 0 {
		return query.Scope{}, usagef("--namespace and --all-namespaces exclude each other")
	}
	for i, stage := range s.controls.Stage {
		if stage == "all" {
			s.controls.Stage[i] = "*"
		}
	}
	f, err := s.controls.Filter(s.filter)
	if err != nil {
		return query.Scope{}, err
	}
	r, err := query.NewRange(s.since, s.until, query.AskedAt(cursor, time.Now()), zone)
	if err != nil {
		return query.Scope{}, err
	}
	q := query.Scope{Range: r}
	if f != nil {
		q.Filter = f.String()
	}
	return q, nil
}

// positional takes a filter that was given as the argument.
func (s *scope) positional(args []string) error {
	switch {
	case len(args) == 0:
	case len(args) > 1:
		return usagef("one filter expected, got %d arguments: quote it, as in 'verb == \"delete\"'", len(args))
	case s.filter != "":
		return usagef("a filter was given twice: as the argument and with --filter")
	default:
		s.filter = args[0]
	}
	return nil
}

// showFilter tells the CEL that was run: when asked to, and below a table that a person reads.
func (c *cmdline) showFilter(s *scope, o *output, filter string) {
	if s.show || (c.OutTerminal && o.people()) {
		text := "filter: " + visible.Line(filter)
		if c.OutTerminal && c.ErrTerminal && !s.show {
			text = c.paint.paint(dim, visible.Cut(text, c.width()))
		}
		c.hint("%s", text)
	}
}

// examples lists command lines below a help text.
func (c *cmdline) examples(lines ...string) string {
	for i, l := range lines {
		lines[i] = "  " + c.name + " " + l
	}
	return strings.Join(lines, "\n")
}
