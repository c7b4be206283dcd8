package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ktrail/ktrail/internal/query"
)

func askSQL(t testing.TB, s *Store, sql string) (rows []query.SQLRow, err error) {
	t.Helper()
	_, err = s.SQL(t.Context(), sql, func(r query.SQLRow) error {
		rows = append(rows, r)
		return nil
	})
	return rows, err
}

func TestSQL(t *testing.T) {
	events := sampleEvents(t)
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 3)
	deletes := int64(0)
	for i := range events {
		if events[i].Verb == "delete" {
			deletes++
		}
	}
	for _, tt := range []struct {
		sql  string
		want []any // the first row
	}{
		{`SELECT count(*) FROM events`, []any{int64(len(events))}},
		{`FROM events SELECT count(*) WHERE verb = 'delete';`, []any{deletes}},
		{`WITH d AS (SELECT * FROM events WHERE verb = 'delete'), "E" AS (FROM d) SELECT count(*) FROM e`, []any{deletes}},
		{`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 10) SELECT max(i) FROM n`, []any{int64(10)}},
		{`SELECT count(*) FROM (SELECT unnest(groups) FROM events WHERE id = 1) UNION ALL SELECT -1 ORDER BY 1 LIMIT 1`, []any{int64(-1)}},
		{`SELECT g, count(*) FROM events, unnest(groups) t(g) WHERE g = 'system:nodes' GROUP BY g HAVING false UNION ALL SELECT 'x', sum(range) FROM range(5)`, []any{"x", int64(10)}},
		{`SELECT count(*) FROM events a SEMI JOIN events b ON a.id = b.id WHERE a.id IN (SELECT id FROM events WHERE id < 4)`, []any{int64(3)}},
		{`SELECT raw->>'$.verb' = verb, json_extract_string(raw, '$.auditID') = audit_id FROM events WHERE raw LIKE '%"kind":"Event"%' LIMIT 1`, []any{true, true}},
		{`SELECT typeof(time), typeof(groups), typeof(code), typeof(raw) FROM events LIMIT 1`, []any{"TIMESTAMP WITH TIME ZONE", "VARCHAR[]", "INTEGER", "VARCHAR"}},
		{`SELECT count(*) FROM events WHERE raw LIKE '%xFF%xFE%'`, []any{int64(1)}},
		{
			`SELECT TIMESTAMPTZ '2026-11-22 19:44:31.5Z', DATE '2026-11-22', INTERVAL 90 MINUTE, TIME '10:11:12'`,
			[]any{time.Date(2026, 11, 22, 19, 44, 31, 500e6, time.UTC), "2026-11-22", "1h30m0s", "10:11:12"},
		},
		{
			`SELECT NULL, true, 1::TINYINT, 2::UBIGINT, 170141183460469231731687303715884105727::HUGEINT, 1.5, 0.25::FLOAT, 12345678901234567890.123::DECIMAL(38,3), -0.05::DECIMAL(38,2)`,
			[]any{nil, true, int64(1), uint64(2), "170141183460469231731687303715884105727", 1.5, 0.25, "12345678901234567890.123", -0.05},
		},
		{
			`SELECT [1, NULL, 3], {'a': 1, 'b': ['x']}, MAP {'k': 2}, 'a'::ENUM('b', 'a'), '\xAA'::BLOB, [1,2]::INTEGER[2], '00000000-0000-0000-0000-00000000002a'::UUID`,
			[]any{[]any{int64(1), nil, int64(3)}, map[string]any{"a": int64(1), "b": []any{"x"}}, map[string]any{"k": int64(2)}, "a", []byte{0xaa}, []any{int64(1), int64(2)}, "00000000-0000-0000-0000-00000000002a"},
		},
		{`SELECT sum(code) FILTER (code = 200) % 200, avg(code) > 0 FROM events`, []any{int64(0), true}},
		{`SELECT 'a.parquet', 'read_text', current_date IS NOT NULL`, []any{"a.parquet", "read_text", true}},
		{
			`SELECT list_transform(['a'], lambda x: x || hex(x)), [[y || x for y in ['b']] for x in ['a']], regexp_replace('abc', '[ab]', 'xy', 'g')`,
			[]any{[]any{"a61"}, []any{[]any{"ba"}}, "xyxyc"},
		},
		{`SELECT row_number() OVER (ORDER BY id) AS n FROM events ORDER BY n LIMIT 1`, []any{int64(1)}},
		{`SELECT replace(replace('abc', 'a', 'x'), 'b', 'y'), time_bucket(INTERVAL 1 HOUR, TIMESTAMPTZ '2026-11-22 19:44:31Z')`, []any{"xyc", time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)}},
	} {
		rows, err := askSQL(t, s, tt.sql)
		if err != nil {
			t.Errorf("%s: %v", tt.sql, err)
			continue
		}
		if len(rows) == 0 || !reflect.DeepEqual(rows[0].Values, tt.want) {
			t.Errorf("%s\n got %#v\nwant %#v", tt.sql, rows, tt.want)
		}
	}

	rows, err := askSQL(t, s, "DESCRIBE events")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range rows {
		names = append(names, r.Values[0].(string))
	}
	if !slices.Equal(names, query.ColumnNames()) {
		t.Errorf("the view has the columns %v, want %v", names, query.ColumnNames())
	}
}

// TestSQLOfNothing asks a store without a segment: the view has all its columns.
func TestSQLOfNothing(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	rows, err := askSQL(t, s, "SELECT count(*), count(raw) FROM events WHERE time > now() OR 'x' IN groups OR code = 1 OR final")
	if err != nil || len(rows) != 1 || rows[0].Values[0] != int64(0) {
		t.Errorf("%v, %v", rows, err)
	}
	full := openTestStore(t, t.TempDir())
	fill(t, full, sampleEvents(t), 1)
	of := func(s *Store) (out []string) {
		rows, err := askSQL(t, s, "DESCRIBE events")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			out = append(out, fmt.Sprint(r.Values[:2]))
		}
		return out
	}
	if e, f := of(s), of(full); !slices.Equal(e, f) {
		t.Errorf("the empty view is\n%v\nthe full one\n%v", e, f)
	}
}

// TestHostileSQL is refused, each with one line that a person understands, and
// leaves no trace.
func TestHostileSQL(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir)
	events := sampleEvents(t)
	fill(t, s, events, 2)
	secret := filepath.Join(dir, "segments", "secret.csv")
	if err := os.WriteFile(secret, []byte("password\nhunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sn, err := s.acquire(query.Range{})
	if err != nil {
		t.Fatal(err)
	}
	segment := sn.Segments[0].Path
	sn.release()
	target := filepath.Join(dir, "segments", "out")
	before := treeOf(t, dir)
	long := strings.Repeat("a", 1000)
	deep := "1" + strings.Repeat("+1", 5000)
	for _, sql := range []string{
		"", ";", "   ", "--", "SELECT", "SELEKT 1", "SELECT 1; SELECT 2", "SELECT 1; DROP VIEW events", "\x00", "SELECT '\x00'", "SELECT '\xff'",
		"COPY (SELECT 1) TO '" + target + ".csv'", "COPY events TO '" + target + ".parquet' (FORMAT parquet)", "EXPORT DATABASE '" + target + "'",
		"ATTACH '" + target + ".db' AS x", "DETACH memory", "USE memory", "PRAGMA database_list", "PRAGMA threads=8", "CALL pragma_version()",
		"SET memory_limit='10GB'", "SET enable_external_access=true", "RESET lock_configuration", "SET VARIABLE x = 1",
		"INSTALL httpfs", "LOAD httpfs", "FORCE INSTALL httpfs FROM 'http://127.0.0.1:1'", "CHECKPOINT", "VACUUM", "ANALYZE",
		"CREATE TABLE t AS SELECT 1", "CREATE TEMP TABLE t AS SELECT 1", "CREATE MACRO f() AS 1", "CREATE SECRET (TYPE S3)", "CREATE VIEW v AS SELECT 1",
		"INSERT INTO events SELECT * FROM events", "UPDATE events SET verb = 'get'", "DELETE FROM events", "DROP VIEW events", "ALTER VIEW events RENAME TO e", "TRUNCATE events",
		"BEGIN", "COMMIT", "PREPARE p AS SELECT 1", "EXECUTE p", "EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1", "SELECT ?", "SELECT $1", "SHOW TABLES", "SHOW ALL TABLES", "SHOW DATABASES", "DESCRIBE", "SUMMARIZE '/etc/passwd'",
		"FROM read_text('/etc/passwd')", "SELECT * FROM read_blob('/etc/passwd')", "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_csv_auto('/etc/passwd')",
		"SELECT * FROM '/etc/passwd'", "SELECT * FROM '" + secret + "'", "SELECT * FROM \"" + secret + "\"", "FROM read_text('" + secret + "')", "FROM sniff_csv('" + secret + "')",
		"SELECT * FROM '" + segment + "'", "FROM read_parquet('" + segment + "')", "FROM parquet_scan('" + segment + "')", "FROM parquet_metadata('" + segment + "')", "FROM parquet_kv_metadata('" + segment + "')",
		"FROM glob('/*')", "FROM glob('" + dir + "/**')", "FROM read_json('" + secret + "')", "FROM read_ndjson_objects('" + secret + "')", "FROM read_duckdb('x')",
		"FROM 'http://127.0.0.1:1/x.parquet'", "FROM 's3://b/x.parquet'", "FROM 'secret.csv'", "FROM memory.main.events", "FROM main.events",
		"FROM duckdb_settings()", "FROM duckdb_views()", "FROM duckdb_secrets()", "FROM duckdb_logs()", "FROM duckdb_external_file_cache()", "FROM pragma_database_size()", "FROM information_schema.tables", "FROM pg_catalog.pg_tables", "FROM sqlite_master",
		"FROM query('SELECT 1')", "FROM query('FROM read_text(''/etc/passwd'')')", "FROM query_table('/etc/passwd')", "FROM json_execute_serialized_sql('{}')", "FROM sql_auto_complete('S')", "FROM repeat_row(1, num_rows=100000000)",
		"FROM enable_logging()", "FROM histogram('events', 'code')", "FROM test_all_types()", "FROM seq_scan('x')", "FROM arrow_scan(1, 2, 3)", "FROM which_secret('x', 's3')",
		"SELECT (SELECT content FROM read_text('/etc/passwd'))", "SELECT 1 WHERE EXISTS (FROM read_text('/etc/passwd'))", "WITH a AS (FROM read_text('/etc/passwd')) FROM a",
		`WITH "/etc/passwd" AS (SELECT 1) FROM "/etc/passwd"`, `WITH x AS (WITH "` + secret + `" AS (SELECT 1) SELECT 1) FROM "` + secret + `"`,
		"SELECT 1 ORDER BY (SELECT max(content) FROM read_text('/etc/passwd'))", "SELECT sum((SELECT size FROM read_blob('/etc/passwd'))) OVER () FROM events",
		"FROM events JOIN read_text('/etc/passwd') ON true", "FROM events, LATERAL (FROM read_text('/etc/passwd'))", "(SELECT 1) UNION (SELECT content FROM read_text('/etc/passwd'))",
		"VALUES ((SELECT content FROM read_text('/etc/passwd')))", "FROM (VALUES (1)) t PIVOT (max(col0) FOR col0 IN (SELECT size FROM read_blob('/etc/passwd')))",
		"PIVOT events ON verb", "SELECT getenv('HOME')", "SELECT current_setting('temp_directory')", "SELECT write_log('x')", "SELECT getvariable('x')", "SELECT nextval('s')",
		"SELECT pg_sleep(1000)", "SELECT sleep_ms(100000)", "SELECT repeat('a', 4000000000)", "SELECT lpad('a', 2000000000, 'b')", "SELECT printf('%2000000000d', 1)", "SELECT format('{:>2000000000}', 'a')",
		"SELECT range(4000000000)", "SELECT generate_series(1, 4000000000)", "SELECT list_resize([1], 4000000000)", "SELECT bitstring('1', 2000000000)", "SELECT replace(raw, 'a', raw) FROM events", "SELECT regexp_replace(raw, 'a', raw, 'g') FROM events",
		"SELECT unnest(range(4000000000))", "SELECT list_transform([1], x -> repeat('a', 4000000000))", "SELECT main.repeat('a', 4000000000)",
		"SELECT " + strings.Repeat("hex(", 31) + "'a'" + strings.Repeat(")", 31), "SELECT replace(replace(replace('" + long + "', 'a', '" + long + "'), 'a', '" + long + "'), 'a', '')",
		"SELECT regexp_replace(regexp_replace('" + long + "', 'a', '" + long + "', 'g'), 'a', '" + long + "', 'g')",
		"SELECT list_reduce(['a', 'b'], lambda x, y: x || x)", "SELECT list_transform([1], lambda a: list_transform([1], lambda b: list_transform([1], lambda c: c)))",
		"SELECT " + strings.Repeat("list_transform(", 20) + "['a']" + strings.Repeat(", lambda x: x || x)", 20), "SELECT " + strings.Repeat("[x || x for x in ", 20) + "['a']" + strings.Repeat("]", 20),
		"SELECT nosuch FROM events", "SELECT count(*) FROM nosuch", "SELECT verb + 1 FROM events", "SELECT " + deep, "SELECT '" + strings.Repeat("x", maxSQL) + "'",
	} {
		rows, err := askSQL(t, s, sql)
		if err == nil {
			t.Errorf("%.200s\ngives %d rows: %.300v", sql, len(rows), rows)
			continue
		}
		var usage *query.UsageError
		if !errors.As(err, &usage) {
			t.Errorf("%.200s: %v (%T), want a usage error", sql, err, err)
		}
		if m := err.Error(); strings.Contains(m, "\n") || strings.Contains(m, "hunter2") || strings.Contains(m, "root:") {
			t.Errorf("%.200s: the message is %q", sql, m)
		}
	}
	if after := treeOf(t, dir); !slices.Equal(before, after) {
		t.Errorf("the directory changed\nfrom %v\nto   %v", before, after)
	}
	if got := search(t, s, query.SearchRequest{NoRaw: true}); len(got) != len(events) {
		t.Errorf("afterwards the store has %d events, want %d", len(got), len(events))
	}
}

func treeOf(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			list = append(list, fmt.Sprint(path, info.Size(), info.ModTime()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestSQLBounds: a statement that would never end can be interrupted, one that
// needs too much memory says what to do, and neither harms other questions.
func TestSQLBounds(t *testing.T) {
	events := sampleEvents(t)
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := s.SQL(ctx, "SELECT sum(a.range * b.range % 7) FROM range(10000000) a, range(10000000) b", func(query.SQLRow) error { return nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("endless: %v", err)
	}
	_, err = askSQL(t, s, "SELECT len(list(range)) FROM range(1000000000)")
	var usage *query.UsageError
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "--since") {
		t.Errorf("large: %v", err)
	}
	// A third statement waits until one of two has ended, and other questions do not.
	var inside, done sync.WaitGroup
	release := make(chan struct{})
	for range sqlQueries {
		inside.Add(1)
		done.Go(func() {
			_, err := s.SQL(t.Context(), "SELECT 1", func(query.SQLRow) error {
				inside.Done()
				<-release
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	inside.Wait()
	waiting, give := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer give()
	if _, err := s.SQL(waiting, "SELECT 1", func(query.SQLRow) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one statement too many: %v", err)
	}
	if got := search(t, s, query.SearchRequest{Limit: 1}); len(got) != 1 {
		t.Error("no search beside statements")
	}
	close(release)
	done.Wait()
	if _, err := askSQL(t, s, "SELECT 1"); err != nil {
		t.Error(err)
	}
	// Rows stream: the first ones come before the last ones are made.
	stop := errors.New("enough")
	n := 0
	_, err = s.SQL(t.Context(), "SELECT range FROM range(1000000000000)", func(query.SQLRow) error {
		if n++; n == 5000 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || n != 5000 {
		t.Errorf("stream: %v after %d rows", err, n)
	}
	if got := search(t, s, query.SearchRequest{Limit: 5}); len(got) != 5 {
		t.Error("the store answers no more")
	}
}
