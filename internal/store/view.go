package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ktrail/ktrail/internal/query"
)

// maxSQL is the length of a statement in bytes; the parser needs memory for each.
const maxSQL = 64 << 10

// SQL runs one SELECT over the view events; see query.Source and docs/sql.md.
//
// A person's SQL gets an engine of its own that ends with it: its memory and
// its mistakes do not touch the other questions. That engine may open the
// segments of this moment and no other file. Before it runs, the statement's
// syntax tree is checked: it may read the view and its own subqueries, and call
// the few table functions that make rows out of values. So nothing that
// reads files, settings or the engine's catalogue is reachable, and nothing but a SELECT.
func (s *Store) SQL(ctx context.Context, sql string, yield func(query.SQLRow) error) (query.Warnings, error) {
	if len(sql) > maxSQL {
		return nil, sqlMistake(fmt.Sprintf("the statement has %d bytes; at most %d are allowed", len(sql), maxSQL))
	}
	if strings.IndexByte(sql, 0) >= 0 {
		return nil, sqlMistake("there is a NUL character in the statement")
	}
	if !utf8.ValidString(sql) {
		return nil, sqlMistake("the statement is not valid UTF-8")
	}
	if err := s.checkSQL(ctx, sql); err != nil {
		return nil, err
	}
	select {
	case s.sql <- struct{}{}:
		defer func() { <-s.sql }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var caller error
	started := false
	warn, err := s.answer(ctx, query.Range{}, func(sn *snapshot) error {
		if started { // rows are out already and cannot be taken back
			return errors.New("sql: a damaged segment was set aside while the answer was under way; ask again")
		}
		paths := make([]string, len(sn.Segments))
		for i, g := range sn.Segments {
			paths[i] = g.Path
		}
		eng, err := openEngine(engineOptions{
			Paths: paths, MemoryLimit: min(sqlMemory, s.memoryLimit()), Threads: s.opts.Threads, Queries: 1,
			KeepOrder: true, // ORDER BY in a subquery is what people write
			Setup:     []string{viewSQL(sn.Segments)},
		})
		if err != nil {
			return err
		}
		defer eng.close()
		var names []string
		err = eng.query(ctx, sql, func(c *chunk) error {
			if names == nil {
				names = c.names()
			}
			for i := range c.n {
				row := query.SQLRow{Columns: names, Values: make([]any, len(names))}
				for j := range names {
					v, err := c.value(j, i)
					if err != nil {
						return err
					}
					row.Values[j] = v
				}
				started = true
				if caller = yield(row); caller != nil {
					return caller
				}
			}
			return nil
		})
		var failed *engineError
		if errors.As(err, &failed) && !failed.damaged() {
			return sqlMistake(failed.msg)
		}
		return err
	})
	if caller != nil {
		return warn, caller
	}
	return warn, err
}

func (s *Store) memoryLimit() int64 {
	if s.opts.MemoryLimit > 0 {
		return s.opts.MemoryLimit
	}
	return defaultMemory
}

// viewSQL makes the view that people ask. The raw line is bytes on disk; here
// it is text, so that the JSON functions take it. Bytes that are no UTF-8 are shown as \xNN.
func viewSQL(segments []*segment) string {
	const raw = "coalesce(TRY(decode(raw)), CAST(raw AS VARCHAR)) AS raw"
	if len(segments) > 0 {
		return "CREATE VIEW events AS SELECT " + eventColumns + ", " + raw + " FROM read_parquet(" + filesSQL(segments) + ")"
	}
	var cols []string
	for _, c := range query.Columns() {
		t := "VARCHAR"
		switch c.Type {
		case query.Int:
			if t = "BIGINT"; c.Name == "code" {
				t = "INTEGER"
			}
		case query.Bool:
			t = "BOOLEAN"
		case query.Time:
			t = "TIMESTAMPTZ"
		case query.Strings:
			t = "VARCHAR[]"
		}
		cols = append(cols, "CAST(NULL AS "+t+") AS "+quoteName(c.Name))
	}
	return "CREATE VIEW events AS SELECT " + strings.Join(cols, ", ") + " WHERE false"
}

// checkSQL has the engine parse the statement into a tree and checks what it reads.
func (s *Store) checkSQL(ctx context.Context, sql string) error {
	var text string
	err := s.eng.run(ctx, "SELECT CAST(json_serialize_sql(CAST(? AS VARCHAR)) AS VARCHAR)", []string{sql}, func(c *chunk) error {
		text = strings.Clone(c.text(0, 0))
		return nil
	})
	if err != nil {
		return err
	}
	var tree struct {
		Error      bool              `json:"error"`
		Type       string            `json:"error_type"`
		Message    string            `json:"error_message"`
		Statements []json.RawMessage `json:"statements"`
	}
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		return sqlMistake("the statement is too deep")
	}
	switch {
	case tree.Error && tree.Type == "not implemented":
		return sqlMistake("only SELECT is allowed: the store is read-only here")
	case tree.Error:
		return sqlMistake(oneLine(tree.Message))
	case len(tree.Statements) == 0:
		return sqlMistake("there is no statement; write a SELECT over the view events")
	case len(tree.Statements) > 1:
		return sqlMistake("only one statement at a time")
	}
	var root any
	if err := json.Unmarshal(tree.Statements[0], &root); err != nil {
		return sqlMistake("the statement is too deep")
	}
	k := sqlCheck{names: map[string]bool{"events": true}, growth: 1}
	k.collect(root)
	return k.check(root)
}

// sqlCheck walks a syntax tree. It knows no grammar: whatever the place, a node
// that reads is recognised by its type, and one of a type that can read and is
// not listed here is refused.
type sqlCheck struct {
	names  map[string]bool // what may be read: events and the statement's own WITH names
	growth int             // how many times longer than what it reads a value may become
	lambda int             // how many lambdas are around
}

// maxGrowth bounds sqlCheck.growth. A value is not counted against the engine's
// memory while it is made, and its making cannot be interrupted.
const maxGrowth = 1000

// grow notes that a function makes a value up to n times as long.
func (k *sqlCheck) grow(n int) error {
	if k.growth *= max(n, 1); k.growth > maxGrowth {
		return sqlMistake("its functions together make too long a value; nest hex, base64, url_encode, replace and lambdas less")
	}
	return nil
}

// collect gathers the names that WITH gives.
func (k *sqlCheck) collect(v any) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			k.collect(x)
		}
	case map[string]any:
		if ctes, ok := v["cte_map"].(map[string]any); ok {
			entries, _ := ctes["map"].([]any)
			for _, e := range entries {
				if m, ok := e.(map[string]any); ok {
					if name, ok := m["key"].(string); ok && plainName(name) {
						k.names[strings.ToLower(name)] = true
					}
				}
			}
		}
		if name, ok := v["cte_name"].(string); ok && plainName(name) {
			k.names[strings.ToLower(name)] = true
		}
		for _, x := range v {
			k.collect(x)
		}
	}
}

// plainName is a name that the engine cannot take for a file: files are
// recognised by an extension.
func plainName(s string) bool {
	return s != "" && !strings.ContainsAny(s, "./\\:*?[")
}

func (k *sqlCheck) check(v any) error {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			if err := k.check(x); err != nil {
				return err
			}
		}
	case map[string]any:
		if err := k.node(v); err != nil {
			return err
		}
		if v["class"] == "LAMBDA" {
			k.lambda++
			defer func() { k.lambda-- }()
		}
		for key, x := range v {
			if key == "value" && v["class"] == "CONSTANT" {
				continue // a literal, whatever it looks like
			}
			if f, ok := x.(map[string]any); ok && key == "function" && v["type"] == "TABLE_FUNCTION" {
				x = f["children"] // its name has been checked as a table function's
			}
			if err := k.check(x); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *sqlCheck) node(v map[string]any) error {
	text := func(key string) string { s, _ := v[key].(string); return s }
	_, table := v["sample"]
	table = table && v["select_list"] == nil
	switch t := text("type"); t {
	case "BASE_TABLE":
		if text("schema_name") != "" || text("catalog_name") != "" || !k.names[strings.ToLower(text("table_name"))] {
			return sqlMistake(fmt.Sprintf("there is no table %.80q; the one view is events", text("table_name")))
		}
	case "TABLE_FUNCTION":
		f, _ := v["function"].(map[string]any)
		name, _ := f["function_name"].(string)
		if !tableFunction(strings.ToLower(name)) {
			return sqlMistake(fmt.Sprintf("the table function %.80q is not allowed; read the view events", name))
		}
	case "SHOW_REF":
		if name := strings.ToLower(strings.Trim(text("table_name"), `"`)); name != "" && !k.names[name] {
			return sqlMistake(fmt.Sprintf("cannot show %.80q; the one view is events", name))
		}
	case "SUBQUERY", "JOIN", "EXPRESSION_LIST", "EMPTY", "EMPTY_FROM", "PIVOT":
	default:
		if table {
			return sqlMistake(fmt.Sprintf("%.80q is not allowed in FROM; read the view events", t))
		}
	}
	switch text("class") {
	case "FUNCTION":
	case "LAMBDA":
		if k.lambda >= 2 {
			return sqlMistake("a lambda inside two others is not allowed")
		}
		return k.grow(references(v["expr"]))
	default:
		return nil
	}
	switch name := strings.ToLower(text("function_name")); {
	case bannedFunction(name):
		return sqlMistake(fmt.Sprintf("the function %.80q is not allowed", name))
	case name == "replace" || name == "regexp_replace":
		// With a value in place of a constant the result grows as the product.
		args, _ := v["children"].([]any)
		for i, a := range args {
			m, _ := a.(map[string]any)
			if i > 0 && m["class"] != "CONSTANT" {
				return sqlMistake(fmt.Sprintf("%s takes only constants after its first argument here", name))
			}
			if i == 2 {
				return k.grow(constantLen(m))
			}
		}
	case lengthens(name):
		return k.grow(8)
	}
	return nil
}

// lengthens lists the functions that write a text's bytes as several each; 8 for bin.
func lengthens(name string) bool {
	switch name {
	case "hex", "to_hex", "bin", "to_binary", "base64", "to_base64", "url_encode":
		return true
	}
	return false
}

// constantLen is the length of a constant's text.
func constantLen(v map[string]any) int {
	value, _ := v["value"].(map[string]any)
	s, _ := value["value"].(string)
	return len(s)
}

// references counts the columns and parameters that an expression names: so many
// copies of one of them may be in its value.
func references(v any) (n int) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			n += references(x)
		}
	case map[string]any:
		if v["class"] == "COLUMN_REF" {
			return 1
		}
		for _, x := range v {
			n += references(x)
		}
	}
	return n
}

// tableFunction lists those that make rows out of their arguments and read nothing.
func tableFunction(name string) bool {
	switch name {
	case "unnest", "range", "generate_series", "json_each", "json_tree":
		return true
	}
	return false
}

// bannedFunction lists scalar functions that tell of the engine or the process
// rather than of events, that have effects, or that make a value of any size out
// of a number: the engine's memory limit does not count what is inside one value.
func bannedFunction(name string) bool {
	switch name {
	case "getenv", "getvariable", "current_setting", "set_config", "write_log", "nextval", "currval", "json_execute_serialized_sql",
		"json_serialize_plan", "add_parquet_key", "parse_duckdb_log_message", "get_block_size", "sleep_ms",
		"repeat", "lpad", "rpad", "printf", "format", "bitstring", "list_resize", "array_resize", "list_reduce", "array_reduce", "reduce", "range", "generate_series", "equi_width_bins":
		return true
	}
	return strings.HasPrefix(name, "duckdb_") || strings.HasPrefix(name, "pragma_") || strings.HasPrefix(name, "pg_")
}
