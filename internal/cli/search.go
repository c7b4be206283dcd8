package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// tableLimit is how many events a table shows unless told otherwise. The other
// formats go to programs and leave nothing out.
const tableLimit = 100

type searchOptions struct {
	target
	scope
	output
	limit     int
	limited   bool // --limit was given
	cursor    string
	ascending bool
	follow    bool
}

func (c *cmdline) searchCommand() *cobra.Command {
	o := &searchOptions{}
	cmd := &cobra.Command{
		Use:   "search [FILTER]",
		Short: "Find events, newest first",
		Long: `Find events, newest first. FILTER is CEL over the columns; flags add to it. Unless the
filter names stage or final, only the last event of each request is shown.`,
		Example: c.examples(
			`search --since 2h --verb delete -n prod`,
			`search 'resource == "secrets" && !user.startsWith("system:")'`,
			`search --failed --user 'alice*' -o json`,
			`search --follow --writes --not 'user=system:*'`,
		),
		GroupID: "ask",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.limited = cmd.Flags().Changed("limit")
			if err := o.validate(cmd, args); err != nil {
				return err
			}
			return c.search(cmd, o)
		},
	}
	o.scope.flags(cmd)
	f := cmd.Flags()
	f.IntVar(&o.limit, "limit", 0, "at most this many events; 0 for all (default 100 in a table, else all)")
	f.StringVar(&o.cursor, "cursor", "", "go on after an earlier page")
	f.BoolVar(&o.ascending, "ascending", false, "oldest first")
	f.BoolVarP(&o.follow, "follow", "f", false, "print events as they are stored, until interrupted")
	o.output.flags(cmd, formatTable, formatWide, formatJSON, formatYAML, formatCSV, formatName, formatRaw)
	o.target.flags(cmd)
	return cmd
}

func (o *searchOptions) validate(cmd *cobra.Command, args []string) error {
	if err := errors.Join(o.output.validate(), o.target.validate(cmd), o.positional(args)); err != nil {
		return err
	}
	switch {
	case o.limit < 0:
		return usagef("--limit must not be negative")
	case o.follow && (o.cursor != "" || o.ascending || o.until != "" || o.since != ""):
		return usagef("--follow shows what comes; --since, --until, --cursor and --ascending do not go with it")
	case !o.limited && o.people() && !o.follow:
		o.limit = tableLimit
	}
	return nil
}

func (c *cmdline) search(cmd *cobra.Command, o *searchOptions) error {
	p := c.page(&o.output)
	sc, err := o.question(p.zone, o.cursor)
	if err != nil {
		return err
	}
	q := query.SearchQuestion{
		Scope: sc, Limit: o.limit, Cursor: o.cursor, Ascending: o.ascending,
		NoRaw: o.people() || o.format == formatName,
	}
	return c.ask(cmd, &o.target, func(qs query.Questions) error {
		ep, err := newEventPrinter(p)
		if err != nil {
			return err
		}
		if o.follow {
			return c.follow(cmd, o, qs, q, ep)
		}
		answer, err := qs.Search(cmd.Context(), q, ep.print)
		// What came before an error is shown.
		if err := errors.Join(err, ep.flush()); err != nil {
			return err
		}
		c.showFilter(&o.scope, &o.output, answer.Filter)
		if answer.Next != "" && o.limit > 0 && ep.n >= int64(o.limit) {
			c.hint("more events match: --limit 0 for all, or go on with --cursor %s", answer.Next)
		}
		if err := c.warn(answer.Warnings); err != nil {
			return err
		}
		if ep.n == 0 {
			return &nothingError{"no events match " + answer.Filter}
		}
		return nil
	})
}

// errEnough ends a followed search that has a limit.
var errEnough = errors.New("enough")

func (c *cmdline) follow(cmd *cobra.Command, o *searchOptions, qs query.Questions, q query.SearchQuestion, ep *eventPrinter) error {
	if ep.table != nil {
		ep.table.live = true
	}
	if o.show {
		f, err := query.Parse(q.Filter)
		if err != nil {
			return err
		}
		c.showFilter(&o.scope, &o.output, query.WithFinal(f).String())
	}
	q.Limit = 0
	err := qs.Follow(cmd.Context(), q, func(ev *audit.Event) error {
		if err := errors.Join(ep.print(ev), ep.flush()); err != nil {
			return err
		}
		if o.limit > 0 && ep.n >= int64(o.limit) {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}
