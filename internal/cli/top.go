package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/visible"
)

type topOptions struct {
	target
	scope
	output
	by    []string
	limit int
}

func (c *cmdline) topCommand() *cobra.Command {
	o := &topOptions{}
	cmd := &cobra.Command{
		Use:   "top [FILTER] --by COLUMN[,COLUMN...]",
		Short: "Count events by the values of columns",
		Example: c.examples(
			`top --by user --since 24h`,
			`top --by verb,resource --writes -n prod`,
			`top 'code == 403' --by user,resource`,
		),
		GroupID: "ask",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.validate(cmd, args); err != nil {
				return err
			}
			return c.top(cmd, o)
		},
	}
	cmd.Flags().StringSliceVar(&o.by, "by", []string{"user"}, "the `columns` to count by")
	cmd.Flags().IntVar(&o.limit, "limit", 10, "at most this many rows")
	complete(cmd, "by", query.ColumnNames())
	o.scope.flags(cmd)
	o.output.flags(cmd, formatTable, formatJSON, formatYAML, formatCSV)
	o.target.flags(cmd)
	return cmd
}

func (o *topOptions) validate(cmd *cobra.Command, args []string) error {
	if err := errors.Join(o.output.validate(), o.target.validate(cmd), o.positional(args)); err != nil {
		return err
	}
	if o.limit < 1 {
		return usagef("--limit must be at least 1")
	}
	if len(o.by) == 0 {
		return usagef("--by needs a column")
	}
	for i, by := range o.by {
		o.by[i] = strings.TrimSpace(by)
		if _, err := query.LookupColumn(o.by[i]); err != nil {
			return fmt.Errorf("--by: %w", err)
		}
	}
	return nil
}

func (c *cmdline) top(cmd *cobra.Command, o *topOptions) error {
	p := c.page(&o.output)
	sc, err := o.question(p.zone, "")
	if err != nil {
		return err
	}
	return c.ask(cmd, &o.target, func(qs query.Questions) error {
		answer, err := qs.Top(cmd.Context(), query.TopQuestion{Scope: sc, By: o.by, Limit: o.limit})
		if err != nil {
			return err
		}
		if err := errors.Join(printTop(p, &answer), p.flush()); err != nil {
			return err
		}
		c.showFilter(&o.scope, &o.output, answer.Filter)
		if o.people() {
			noun := "event"
			if len(answer.Rows) == 0 {
				c.hint("no events match %s", visible.Line(answer.Filter))
			} else if c.OutTerminal {
				c.hint("%s in all", plural(answer.Total, noun))
			}
		}
		return c.warn(answer.Warnings)
	})
}

func printTop(p *page, a *query.TopAnswer) error {
	switch p.format {
	case formatJSON, formatYAML:
		for i := range a.Rows {
			b, err := groupJSON(a.By, &a.Rows[i])
			if err != nil {
				return err
			}
			if p.format == formatYAML {
				err = p.yaml(b)
			} else {
				err = p.json(b)
			}
			if err != nil {
				return err
			}
		}
		return nil
	case formatCSV:
		w, err := newCSV(p.out, p.tty, append(append([]string{}, a.By...), "count", "failed", "first", "last"))
		if err != nil {
			return err
		}
		for _, r := range a.Rows {
			for _, k := range r.Keys {
				w.text(k)
			}
			w.number(strconv.FormatInt(r.Count, 10))
			w.number(strconv.FormatInt(r.Failed, 10))
			w.text(r.First.String())
			w.text(r.Last.String())
			if err := w.end(); err != nil {
				return err
			}
		}
		return w.flush()
	}
	columns := []column{{title: "COUNT", right: true}, {title: "SHARE", right: true}, {title: "FAILED", right: true}}
	for _, by := range a.By {
		col := column{title: strings.ToUpper(by), least: 8, middle: true}
		if by == "user" || by == "as_user" {
			col.short = shortUser
		}
		columns = append(columns, col)
	}
	columns = append(columns, column{title: "LAST" + strings.TrimPrefix(p.timeTitle(), "TIME"), spare: true})
	t := p.table(columns...)
	t.shade = func(row []string, col int) color {
		switch {
		case col == 2 && row[2] != "0":
			return red
		case col == 0:
			return bold
		}
		return plain
	}
	for _, r := range a.Rows {
		row := []string{count(r.Count), share(r.Count, a.Total), count(r.Failed)}
		for _, k := range r.Keys {
			row = append(row, cell(k))
		}
		if err := t.add(append(row, p.stamp(r.Last))); err != nil {
			return err
		}
	}
	return t.flush()
}

// cell is a clean value that shows when it is empty.
func cell(s string) string {
	if s == "" {
		return "-"
	}
	return visible.Line(s)
}

func share(n, total int64) string {
	if total <= 0 {
		return ""
	}
	return fmt.Sprintf("%.1f%%", float64(n)*100/float64(total))
}

// groupJSON is a row as one object: the columns, then what is known of the group.
func groupJSON(by []string, r *query.GroupRow) (json.RawMessage, error) {
	columns := append(append([]string{}, by...), "count", "failed", "first", "last")
	values := make([]any, 0, len(columns))
	for _, k := range r.Keys {
		values = append(values, k)
	}
	return sqlJSON(query.SQLRow{
		Columns: columns,
		Values:  append(values, r.Count, r.Failed, r.First.String(), r.Last.String()),
	})
}
