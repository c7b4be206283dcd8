package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/visible"
)

// maxSQL bounds a query read from stdin, in bytes.
const maxSQL = 1 << 20

func (c *cmdline) sqlCommand() *cobra.Command {
	t, o := &target{}, &output{}
	cmd := &cobra.Command{
		Use:   "sql SELECT",
		Short: "Ask in SQL over the view events",
		Long: `Run one read-only SELECT over the view "events", whose columns are those of the
filter language. "-" reads the query from standard input.`,
		Example: c.examples(
			`sql "SELECT user, count(*) AS n FROM events WHERE final GROUP BY user ORDER BY n DESC LIMIT 5"`,
			`sql -o csv - < report.sql`,
		),
		GroupID: "ask",
		Args:    exactly(1, "one SELECT, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(o.validate(), t.validate(cmd)); err != nil {
				return err
			}
			text := args[0]
			if text == "-" {
				b, err := io.ReadAll(io.LimitReader(c.In, maxSQL+1))
				if err != nil {
					return fmt.Errorf("read query from standard input: %w", err)
				}
				if len(b) > maxSQL {
					return usagef("the query on standard input is longer than %s", size(maxSQL))
				}
				text = string(b)
			}
			return c.ask(cmd, t, func(qs query.Questions) error {
				p := c.page(o)
				sp := &sqlPrinter{page: p}
				warnings, err := qs.SQL(cmd.Context(), text, sp.print)
				if err := errors.Join(err, sp.close()); err != nil {
					return err
				}
				return c.warn(warnings)
			})
		},
	}
	t.flags(cmd)
	o.flags(cmd, formatTable, formatJSON, formatYAML, formatCSV)
	return cmd
}

// sqlPrinter writes rows whose columns are known only when the first one comes.
type sqlPrinter struct {
	page  *page
	table *table
	csv   *csvPrinter
}

func (s *sqlPrinter) print(row query.SQLRow) error {
	p := s.page
	switch p.format {
	case formatJSON, formatYAML:
		b, err := sqlJSON(row)
		if err != nil {
			return err
		}
		if p.format == formatYAML {
			return p.yaml(json.RawMessage(b))
		}
		return p.json(json.RawMessage(b))
	case formatCSV:
		if s.csv == nil {
			var err error
			if s.csv, err = newCSV(p.out, p.tty, row.Columns); err != nil {
				return err
			}
		}
		for _, v := range row.Values {
			if number(v) {
				s.csv.number(sqlText(v, time.UTC))
			} else {
				s.csv.text(sqlText(v, time.UTC))
			}
		}
		return s.csv.end()
	}
	cells := make([]string, len(row.Values))
	for i, v := range row.Values {
		cells[i] = visible.Line(sqlText(v, p.zone))
	}
	if s.table == nil {
		var columns []column
		for i, name := range row.Columns {
			columns = append(columns, column{title: visible.Line(name), least: 8, right: number(row.Values[i])})
		}
		s.table = p.table(columns...)
	}
	return s.table.add(cells)
}

func (s *sqlPrinter) close() error {
	var errs []error
	if s.table != nil {
		errs = append(errs, s.table.flush())
	}
	if s.csv != nil {
		errs = append(errs, s.csv.flush())
	}
	return errors.Join(append(errs, s.page.flush())...)
}

// sqlJSON is a row as one object, its columns in the order of the SELECT.
func sqlJSON(row query.SQLRow) ([]byte, error) {
	b := []byte{'{'}
	for i, name := range row.Columns {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(sqlValue(row.Values[i]))
		if err != nil {
			return nil, fmt.Errorf("encode column %s: %w", name, err)
		}
		b = append(append(append(b, key...), ':'), value...)
	}
	return append(b, '}'), nil
}

// sqlValue is v as encoding/json should see it.
func sqlValue(v any) any {
	switch v := plainNumber(v).(type) {
	case nil, bool, int64, uint64, string:
		return v
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
		return v
	case []byte:
		return string(v)
	case time.Time:
		return audit.TimeOf(v).String()
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = sqlValue(x)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = sqlValue(x)
		}
		return out
	default:
		return fmt.Sprint(v)
	}
}

// plainNumber is v, a number of whatever width as an int64, uint64 or float64.
func plainNumber(v any) any {
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return r.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return r.Uint()
	case reflect.Float32, reflect.Float64:
		return r.Float()
	default:
		return v
	}
}

func number(v any) bool {
	switch plainNumber(v).(type) {
	case int64, uint64, float64:
		return true
	}
	return false
}

// sqlText is v in a cell.
func sqlText(v any, zone *time.Location) string {
	switch v := plainNumber(v).(type) {
	case nil:
		return ""
	case string:
		return v
	case []byte:
		return string(v)
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case time.Time:
		return v.In(zone).Format("2006-01-02T15:04:05.999999Z07:00")
	case []any:
		parts := make([]string, len(v))
		for i, x := range v {
			parts[i] = sqlText(x, zone)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for i, k := range keys {
			keys[i] = k + ": " + sqlText(v[k], zone)
		}
		return "{" + strings.Join(keys, ", ") + "}"
	default:
		return fmt.Sprint(v)
	}
}
