package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// benchStore holds KTRAIL_BENCH_EVENTS events (default 200,000) over 30 days,
// made by varying the sample, in compacted segments.
func benchStore(b *testing.B) *Store {
	b.Helper()
	n := 200_000
	if v := os.Getenv("KTRAIL_BENCH_EVENTS"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			b.Fatal(err)
		}
	}
	s := openTestStore(b, b.TempDir())
	sample := logEvents(b, "../../testdata/audit-sample.log.gz")
	rng := rand.New(rand.NewPCG(1, 2))
	users, spaces := rand.NewZipf(rng, 1.3, 4, 1999), rand.NewZipf(rng, 1.2, 2, 399)
	start := audit.TimeOf(time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC))
	const month = 30 * 86400e6
	batch := make([]audit.Event, 0, 64<<10)
	for i := range n {
		e := sample[rng.IntN(len(sample))]
		id := fmt.Sprintf("%08x-0000-4000-8000-%012x", rng.Uint32(), i)
		e.Raw = strings.Replace(e.Raw, e.AuditID, id, 1)
		e.AuditID = id
		e.Time = start + audit.Time(float64(i)/float64(n)*month) + audit.Time(rng.Int64N(2e6))
		e.Received = e.Time - audit.Time(e.LatencyUS)
		if rng.IntN(3) > 0 {
			e.User = fmt.Sprintf("user%d@example.com", users.Uint64())
		}
		if e.Namespace != "" {
			e.Namespace = fmt.Sprintf("ns-%d", spaces.Uint64())
		}
		if e.Name != "" {
			e.Name = fmt.Sprintf("%s-%d", e.Name, rng.IntN(1000))
		}
		if batch = append(batch, e); len(batch) == cap(batch) || i == n-1 {
			if _, err := s.Append(b.Context(), Commit{Source: "bench", Events: batch}); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	if err := s.Compact(b.Context()); err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkQuestions compares each question with the bare SQL for the same
// answer over the same segments, through the same engine, in turns. The budget
// is 1.2 (docs/pruning.md).
func BenchmarkQuestions(b *testing.B) {
	s := benchStore(b)
	sn, err := s.acquire(query.Range{})
	if err != nil {
		b.Fatal(err)
	}
	defer sn.release()
	newest := search(b, s, query.SearchRequest{Limit: 1, Filter: parse(b, `resource == "pods" && name != "" && verb == "delete"`)})[0]
	b.Logf("%d segments", len(sn.Segments))
	from := "FROM read_parquet(" + filesSQL(sn.Segments) + ") WHERE "
	needle := `audit_id == "` + newest.AuditID + `"`
	history := fmt.Sprintf(`final && resource == "pods" && name == %q && verb in ["create", "update", "patch", "delete", "deletecollection"]`, newest.Name)
	searches := []struct {
		name, filter, sql string
		limit             int
		noRaw             bool
	}{
		{"newest 100", `final`, `final`, 100, false},
		{"newest 100 without raw", `final`, `final`, 100, true},
		{"deletes of one user", `final && verb == "delete" && user == "user3@example.com"`, `final AND verb = 'delete' AND "user" = 'user3@example.com'`, 100, false},
		{"needle by audit ID", needle, `audit_id = '` + newest.AuditID + `'`, 100, false},
		{"nothing found", `user == "nobody"`, `"user" = 'nobody'`, 100, false},
		{"text in a URI", `uri.contains("nothinglikethis")`, `contains(uri, 'nothinglikethis')`, 100, false},
		{"history", history, `final AND resource = 'pods' AND "name" = '` + newest.Name + `' AND verb IN ('create', 'update', 'patch', 'delete', 'deletecollection')`, 50, false},
	}
	for _, q := range searches {
		f := parse(b, q.filter)
		raw := ", raw "
		if q.noRaw {
			raw = " "
		}
		compare(b, "search "+q.name, s, func() error {
			_, err := s.Search(b.Context(), query.SearchRequest{Filter: f, Limit: q.limit, NoRaw: q.noRaw}, func(*audit.Event) error { return nil })
			return err
		}, "SELECT "+eventColumns+raw+from+q.sql+" ORDER BY time DESC, id DESC LIMIT "+strconv.Itoa(q.limit))
	}
	final := parse(b, "final")
	compare(b, "histogram", s, func() error {
		_, _, err := s.Histogram(b.Context(), query.HistogramRequest{Filter: final, Width: 3600e6})
		return err
	}, "SELECT epoch_us(time) // 3600000000 AS b, count(*), count(*) FILTER (code >= 400) "+from+"final GROUP BY b ORDER BY b")
	for _, by := range []string{"user", "verb", "name"} {
		compare(b, "top "+by, s, func() error {
			_, _, err := s.Group(b.Context(), query.GroupRequest{Filter: final, By: []string{by}, Limit: 10})
			return err
		}, `SELECT "`+by+`", count(*) AS n, count(*) FILTER (code >= 400), min(time), max(time) `+from+"final GROUP BY 1 ORDER BY n DESC LIMIT 10")
	}
	compare(b, "top groups", s, func() error {
		_, _, err := s.Group(b.Context(), query.GroupRequest{Filter: final, By: []string{"groups"}, Limit: 10})
		return err
	}, "SELECT g, count(*) AS n, count(*) FILTER (code >= 400), min(time), max(time) FROM (SELECT unnest(groups) AS g, code, time "+from+"final) GROUP BY 1 ORDER BY n DESC LIMIT 10")
}

func parse(t testing.TB, text string) *query.Filter {
	t.Helper()
	f, err := query.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// compare reports the time of ours, of the bare SQL, and their ratio.
func compare(b *testing.B, name string, s *Store, ours func() error, sql string) {
	b.Run(name, func(b *testing.B) {
		var mine, bare time.Duration
		for range b.N {
			t0 := time.Now()
			if err := ours(); err != nil {
				b.Fatal(err)
			}
			t1 := time.Now()
			if err := s.eng.query(b.Context(), sql, func(*chunk) error { return nil }); err != nil {
				b.Fatal(err)
			}
			mine += t1.Sub(t0)
			bare += time.Since(t1)
		}
		b.ReportMetric(float64(mine.Microseconds())/1000/float64(b.N), "ours-ms")
		b.ReportMetric(float64(bare.Microseconds())/1000/float64(b.N), "bare-ms")
		b.ReportMetric(float64(mine)/float64(bare), "ratio")
	})
}
