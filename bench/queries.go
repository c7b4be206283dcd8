package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/store"
)

const (
	// pairs is how often each question and its bare twin are asked in turn.
	pairs = 9
	// enough is after how long fewer pairs than that will do, but three at least:
	// over ten million events some of the bare twins take ten seconds.
	enough = 30 * time.Second
)

// question is a ktrail question and the SQL that a person would write for it.
type question struct {
	name string
	ask  func(context.Context, query.Questions) error
	bare string // statements; %s is the table function over the segments
}

// benchQueries asks each question through ktrail and as bare SQL over the same
// segments, in turn, and compares the medians.
func benchQueries(ctx context.Context, t *table, data string) error {
	s, err := store.Open(ctx, store.Options{Dir: data, ReadOnly: true, Logger: quiet()})
	if err != nil {
		return err
	}
	defer s.Close()
	db, err := openEngine(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	var files []string
	err = filepath.WalkDir(filepath.Join(data, "segments"), func(p string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(p, ".parquet") {
			files = append(files, "'"+quote(p)+"'")
		}
		return err
	})
	if err != nil {
		return err
	}
	from := "read_parquet([" + strings.Join(files, ",") + "])"

	engine := query.NewEngine(s)
	questions, err := pickQuestions(ctx, engine)
	if err != nil {
		return err
	}
	for _, q := range questions {
		var ours, theirs []time.Duration
		began := time.Now()
		for i := range pairs + 1 {
			if i > 3 && time.Since(began) > enough {
				break
			}
			a, err := timed(func() error { return q.ask(ctx, engine) })
			if err != nil {
				return fmt.Errorf("%s: %w", q.name, err)
			}
			b, err := timed(func() error {
				for statement := range strings.SplitSeq(q.bare, ";") {
					if err := drain(ctx, db, strings.ReplaceAll(statement, "%s", from)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("%s, bare: %w", q.name, err)
			}
			if i > 0 { // the first round warms both caches
				ours, theirs = append(ours, a), append(theirs, b)
			}
		}
		slices.Sort(ours)
		slices.Sort(theirs)
		a, b := ours[len(ours)/2], theirs[len(theirs)/2]
		t.row(q.name, "bare DuckDB SQL, same segments",
			fmt.Sprintf("**%.2fx** the time: %.1f ms against %.1f ms (median of %d pairs)", a.Seconds()/b.Seconds(), ms(a), ms(b), len(ours)), "at most 1.2x")
	}
	return nil
}

// pickQuestions makes questions whose answers exist in this log.
func pickQuestions(ctx context.Context, e query.Questions) ([]question, error) {
	var needle, object audit.Event
	keep := func(to *audit.Event) func(*audit.Event) error {
		return func(ev *audit.Event) error {
			// The event is borrowed; what is kept of it is copied.
			to.User, to.AuditID = strings.Clone(ev.User), strings.Clone(ev.AuditID)
			to.Name, to.Namespace, to.Time = strings.Clone(ev.Name), strings.Clone(ev.Namespace), ev.Time
			return nil
		}
	}
	if _, err := e.Search(ctx, query.SearchQuestion{Scope: query.Scope{Filter: `verb == "delete"`}, Limit: 1}, keep(&needle)); err != nil {
		return nil, err
	}
	if _, err := e.Search(ctx, query.SearchQuestion{Scope: query.Scope{Filter: `resource == "deployments" && verb in ["update", "patch"] && subresource == ""`}, Limit: 1}, keep(&object)); err != nil {
		return nil, err
	}
	if needle.AuditID == "" || object.Name == "" {
		return nil, errors.New("the log has no delete or no update of a deployment to ask for")
	}
	search := func(filter string) func(context.Context, query.Questions) error {
		return func(ctx context.Context, e query.Questions) error {
			_, err := e.Search(ctx, query.SearchQuestion{Scope: query.Scope{Filter: filter}, Limit: 100}, func(*audit.Event) error { return nil })
			return err
		}
	}
	lastDay := needle.Time - 24*3600*1e6
	const order = " ORDER BY time DESC, id DESC LIMIT 100"
	return []question{
		{
			name: "search, newest 100", ask: search(""),
			bare: "SELECT * FROM %s WHERE final" + order,
		},
		{
			name: "search, one audit ID", ask: search(fmt.Sprintf("audit_id == %q", needle.AuditID)),
			bare: "SELECT * FROM %s WHERE final AND audit_id = '" + quote(needle.AuditID) + "'" + order,
		},
		{
			name: "search, deletes by one user", ask: search(fmt.Sprintf("user == %q && verb == \"delete\"", needle.User)),
			bare: "SELECT * FROM %s WHERE final AND \"user\" = '" + quote(needle.User) + "' AND verb = 'delete'" + order,
		},
		{
			name: "histogram, 60 bars",
			ask: func(ctx context.Context, e query.Questions) error {
				_, err := e.Histogram(ctx, query.HistogramQuestion{WidthUS: 12 * 3600 * 1e6})
				return err
			},
			bare: "SELECT epoch_us(time) // 43200000000 AS bucket, count(*), count(*) FILTER (code >= 400), count(*) FILTER (code IN (401, 403)), " +
				"count(*) FILTER (code >= 500) FROM %s WHERE final GROUP BY 1 ORDER BY 1",
		},
		{
			name: "top 10 users",
			ask: func(ctx context.Context, e query.Questions) error {
				_, err := e.Top(ctx, query.TopQuestion{By: []string{"user"}})
				return err
			},
			bare: "SELECT \"user\", count(*) AS n, count(*) FILTER (code >= 400), min(time), max(time) FROM %s WHERE final GROUP BY 1 ORDER BY n DESC LIMIT 10",
		},
		{
			name: "history of one deployment",
			ask: func(ctx context.Context, e query.Questions) error {
				_, err := e.History(ctx, query.HistoryQuestion{Resource: "deployments", APIGroup: "apps", Namespace: object.Namespace, Name: object.Name})
				return err
			},
			bare: "SELECT * FROM %s WHERE final AND resource = 'deployments' AND namespace = '" + quote(object.Namespace) + "' AND (name = '" + quote(object.Name) +
				"' OR (verb = 'deletecollection' AND name = '')) AND verb IN ('create','update','patch','delete','deletecollection') ORDER BY time DESC, id DESC LIMIT 50",
		},
		{
			name: "facets, " + strconv.Itoa(len(facetColumns)) + " columns",
			ask: func(ctx context.Context, e query.Questions) error {
				_, err := e.Facets(ctx, query.FacetsQuestion{Columns: facetColumns})
				return err
			},
			bare: facetsSQL(),
		},
		{
			name: "objects, all namespaces",
			ask: func(ctx context.Context, e query.Questions) error {
				_, err := e.Objects(ctx, query.ObjectsQuestion{Depth: 1})
				return err
			},
			bare: "SELECT namespace, count(*) AS n, count(*) FILTER (" + writesSQL + "), count(*) FILTER (code >= 400), min(time), max(time) FROM %s " +
				"WHERE final AND resource <> '' GROUP BY 1 ORDER BY n DESC, 1 LIMIT 201",
		},
		{
			name: "lanes, 200 objects in 600 bins", ask: lanes(query.LanesQuestion{}),
			bare: lanesSQL("true"),
		},
		{
			name: "lanes, one namespace", ask: lanes(query.LanesQuestion{Under: query.ObjectKey{Namespace: object.Namespace}, Depth: 2}),
			bare: lanesSQL("namespace = '" + quote(object.Namespace) + "'"),
		},
		{
			name: "an actor's day against 30 days",
			ask: func(ctx context.Context, e query.Questions) error {
				_, err := e.Day(ctx, query.DayQuestion{User: needle.User, Scope: query.Scope{Range: query.Range{From: lastDay}}})
				return err
			},
			bare: daySQL(needle.User, lastDay),
		},
		{
			name: "the list of actors",
			ask: func(ctx context.Context, e query.Questions) error {
				_, err := e.Top(ctx, query.TopQuestion{By: []string{"user"}, Limit: 10_000, Writes: true})
				return err
			},
			bare: "SELECT \"user\", count(*) AS n, count(*) FILTER (" + writesSQL + "), count(*) FILTER (code >= 400), min(time), max(time) FROM %s WHERE final GROUP BY 1 ORDER BY n DESC LIMIT 10000",
		},
		{
			name: "what an actor touched",
			ask: func(ctx context.Context, e query.Questions) error {
				_, err := e.Top(ctx, query.TopQuestion{
					By: []string{"cluster", "namespace", "api_group", "resource", "name"}, Limit: 1000, WritesFirst: true,
					Scope: query.Scope{Filter: "user == " + query.Quote(needle.User) + ` && name != ""`},
				})
				return err
			},
			bare: "SELECT cluster, namespace, api_group, resource, name, count(*) AS n, count(*) FILTER (" + writesSQL + "), count(*) FILTER (code >= 400), min(time), max(time) " +
				"FROM %s WHERE final AND \"user\" = '" + quote(needle.User) + "' AND name <> '' GROUP BY ALL ORDER BY 7 DESC, n DESC LIMIT 1000",
		},
	}, nil
}

// facetColumns are those that the page shows first.
var facetColumns = []string{"user", "as_user", "verb", "resource", "namespace", "code", "source_ips", "agent"}

func facetsSQL() string {
	statements := []string{"SELECT count(*) FROM %s WHERE final"}
	for _, c := range facetColumns {
		from := `"` + c + `" AS k FROM %s WHERE final`
		if c == "source_ips" {
			from = "unnest(source_ips) AS k FROM %s WHERE final"
		}
		statements = append(statements, "SELECT k, count(*) AS n FROM (SELECT "+from+") GROUP BY 1 ORDER BY n DESC LIMIT 11")
	}
	return strings.Join(statements, ";")
}

const writesSQL = "verb IN ('create','update','patch','delete','deletecollection') AND api_group NOT IN ('authentication.k8s.io','authorization.k8s.io')"

func lanes(q query.LanesQuestion) func(context.Context, query.Questions) error {
	return func(ctx context.Context, e query.Questions) error {
		_, err := e.Lanes(ctx, q)
		return err
	}
}

// lanesSQL finds the objects with most writes and bins their events in the same statement.
func lanesSQL(cond string) string {
	const key = "cluster, namespace, api_group, resource, name"
	cond = "final AND resource <> '' AND " + cond
	return "WITH top AS (SELECT " + key + ", count(*) AS n, count(*) FILTER (" + writesSQL + ") AS w FROM %s WHERE " + cond +
		" GROUP BY ALL ORDER BY w DESC, n DESC, " + key + " LIMIT 201), bounds AS (SELECT min(epoch_us(time)) AS t0, (max(epoch_us(time)) - min(epoch_us(time))) // 600 + 1 AS width FROM %s) " +
		"SELECT " + key + ", (epoch_us(time) - t0) // width AS bin, CASE WHEN subresource IN ('exec','attach','portforward','proxy') THEN 'exec' " +
		"WHEN verb IN ('get','list','watch') THEN 'read' WHEN NOT (" + writesSQL + ") THEN 'other' WHEN verb IN ('update','patch') OR subresource <> '' THEN 'change' " +
		"WHEN verb = 'create' THEN 'create' ELSE 'delete' END AS class, " +
		"CASE WHEN code < 400 THEN 'ok' WHEN code IN (401, 403) THEN 'denied' WHEN code < 500 THEN 'failed' ELSE 'error' END AS outcome, " +
		"count(*), max(time), arg_max(id, (time, id)) FROM %s JOIN top USING (" + key + ") CROSS JOIN bounds WHERE " + cond + " GROUP BY ALL ORDER BY ALL"
}

// daySQL cuts sessions by a window function, and finds each value that is new by
// when it was seen first.
func daySQL(user string, from audit.Time) string {
	who := "%s WHERE final AND \"user\" = '" + quote(user) + "'"
	at := "make_timestamptz(" + strconv.FormatInt(int64(from), 10) + ")"
	today := " AND time >= " + at
	statements := []string{
		"SELECT c, a, s, min(time), max(time), count(*), count(*) FILTER (" + writesSQL + "), count(*) FILTER (code >= 400), mode(agent) FROM (SELECT *, sum(p) OVER (PARTITION BY c, a ORDER BY time) AS s FROM " +
			"(SELECT credential_id AS c, source_ips[1] AS a, *, CASE WHEN time - lag(time) OVER (PARTITION BY credential_id, source_ips[1] ORDER BY time) > INTERVAL 30 MINUTE THEN 1 ELSE 0 END AS p FROM " + who + today + ")) GROUP BY ALL ORDER BY 5 DESC LIMIT 100",
		"SELECT api_group, resource, subresource, verb, count(*) AS n, count(*) FILTER (code >= 400), min(time), max(time) FROM " + who + today + " GROUP BY ALL ORDER BY n DESC LIMIT 100",
	}
	for _, by := range []string{"unnest(source_ips)", "agent", "(api_group, resource, subresource, verb)"} {
		statements = append(statements, "SELECT k, count(*), min(time), arg_min(id, (time, id)) FROM (SELECT "+by+" AS k, time, id FROM "+who+" AND time >= "+at+" - INTERVAL 30 DAY) GROUP BY k HAVING min(time) >= "+at)
	}
	return strings.Join(statements, ";")
}

func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// drain reads every row, as someone who wants the answer must.
func drain(ctx context.Context, db *sql.DB, q string) error {
	rows, err := db.QueryContext(ctx, q)
	if err != nil {
		return err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	values := make([]any, len(names))
	for i := range values {
		values[i] = new(any)
	}
	for rows.Next() {
		if err := rows.Scan(values...); err != nil {
			return err
		}
	}
	return rows.Err()
}
