package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/visible"
)

type actorOptions struct {
	target
	scope
	output
	limit int
}

func (c *cmdline) actorCommand() *cobra.Command {
	o := &actorOptions{}
	cmd := &cobra.Command{
		Use:   "actor USER",
		Short: "Tell what a user did, from where and with what",
		Example: c.examples(
			`actor alice@example.com --since 7d`,
			`actor system:serviceaccount:payments:deployer`,
		),
		GroupID: "ask",
		Args:    exactly(1, "one user name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(o.output.validate(), o.target.validate(cmd)); err != nil {
				return err
			}
			if o.limit < 1 {
				return usagef("--limit must be at least 1")
			}
			return c.actor(cmd, o, args[0])
		},
	}
	cmd.Flags().IntVar(&o.limit, "limit", 10, "at most this many rows in each list")
	o.scope.flags(cmd, "user")
	o.output.flags(cmd, formatTable, formatJSON, formatYAML, formatCSV)
	o.target.flags(cmd)
	return cmd
}

func (c *cmdline) actor(cmd *cobra.Command, o *actorOptions, user string) error {
	p := c.page(&o.output)
	sc, err := o.question(p.zone, "")
	if err != nil {
		return err
	}
	return c.ask(cmd, &o.target, func(qs query.Questions) error {
		a, err := qs.Actor(cmd.Context(), query.ActorQuestion{Scope: sc, User: user, Limit: o.limit})
		if err != nil {
			return err
		}
		found := a.Requests > 0 || len(a.ImpersonatedBy) > 0
		if found {
			if err := errors.Join(printActor(p, &a), p.flush()); err != nil {
				return err
			}
		}
		if len(a.ImpersonatedBy) > 0 && o.format == formatTable {
			c.hint("what others did as this user is not counted above: %s search --as USER shows it", c.name)
		}
		c.showFilter(&o.scope, &o.output, a.Filter)
		if err := c.warn(a.Warnings); err != nil {
			return err
		}
		if !found {
			return &nothingError{"no requests of " + quote(user)}
		}
		return nil
	})
}

// list is one list of a profile.
type list struct {
	title string   // of the table
	name  string   // in CSV
	keys  []string // columns of the rows
	rows  []query.GroupRow
}

func actorLists(a *query.ActorAnswer) []list {
	return []list{
		{"DID", "verbs", []string{"api_group", "resource", "subresource", "verb"}, a.Verbs},
		{"FAILED", "failures", []string{"code", "reason", "verb", "resource"}, a.Failures},
		{"FROM", "addresses", []string{"source_ips"}, a.Addresses},
		{"AGENT", "agents", []string{"agent"}, a.Agents},
		{"CREDENTIAL", "credentials", []string{"credential_id"}, a.Credentials},
		{"ACTED AS", "acted_as", []string{"as_user"}, a.ActedAs},
		{"IMPERSONATED BY", "impersonated_by", []string{"user"}, a.ImpersonatedBy},
	}
}

func printActor(p *page, a *query.ActorAnswer) error {
	switch p.format {
	case formatJSON:
		return p.json(a)
	case formatYAML:
		return p.yaml(a)
	case formatCSV:
		return actorCSV(p, a)
	}
	summary := fmt.Sprintf("%s, %s failed", plural(a.Requests, "request"), count(a.Failed))
	if a.Requests > 0 {
		summary += fmt.Sprintf("; first %s, last %s", p.stamp(a.First), p.stamp(a.Last))
	}
	if err := p.line("%s\n%s", p.paint.paint(bold, p.fit(visible.Line(a.User), 0)), visible.Wrap(summary, p.width, 0, "")); err != nil {
		return err
	}
	for _, l := range actorLists(a) {
		if len(l.rows) == 0 {
			continue
		}
		if err := p.line(""); err != nil {
			return err
		}
		t := p.table(
			column{title: l.title, least: 20, middle: true}, column{title: "COUNT", right: true},
			column{title: "FAILED", right: true, spare: true}, column{title: "LAST" + strings.TrimPrefix(p.timeTitle(), "TIME"), spare: true},
		)
		t.shade = func(row []string, col int) color {
			if col == 2 && row[2] != "" {
				return red
			}
			return plain
		}
		for _, r := range l.rows {
			failed := ""
			if r.Failed > 0 {
				failed = count(r.Failed)
			}
			if err := t.add([]string{actorRow(l.name, r.Keys), count(r.Count), failed, p.stamp(r.Last)}); err != nil {
				return err
			}
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	return nil
}

// actorRow is a row's keys as a person says them.
func actorRow(name string, keys []string) string {
	switch {
	case name == "verbs" && len(keys) == 4:
		group, resource, sub, verb := keys[0], keys[1], keys[2], keys[3]
		if resource == "" {
			return visible.Line(verb + " other URLs")
		}
		if group != "" {
			resource += "." + group
		}
		if sub != "" {
			resource += "/" + sub
		}
		return visible.Line(verb + " " + resource)
	case name == "failures" && len(keys) == 4:
		code, reason, verb, resource := keys[0], keys[1], keys[2], keys[3]
		if resource == "" {
			resource = "other URLs"
		}
		return visible.Line(strings.Join(strings.Fields(code+" "+reason+" "+verb+" "+resource), " "))
	}
	return cell(strings.Join(keys, " "))
}

// actorCSV has one row for each row of each list.
func actorCSV(p *page, a *query.ActorAnswer) error {
	w, err := newCSV(p.out, p.tty, []string{"list", "value", "count", "failed", "first", "last"})
	if err != nil {
		return err
	}
	row := func(list, value string, r query.GroupRow) error {
		w.text(list)
		w.text(value)
		w.number(fmt.Sprint(r.Count))
		w.number(fmt.Sprint(r.Failed))
		w.text(r.First.String())
		w.text(r.Last.String())
		return w.end()
	}
	all := query.GroupRow{Count: a.Requests, Failed: a.Failed, First: a.First, Last: a.Last}
	if err := row("requests", a.User, all); err != nil {
		return err
	}
	for _, l := range actorLists(a) {
		for _, r := range l.rows {
			if err := row(l.name, actorRow(l.name, r.Keys), r); err != nil {
				return err
			}
		}
	}
	return w.flush()
}
