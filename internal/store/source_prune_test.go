package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// TestBloomFilters holds that the engine finds, and can use, a bloom filter in
// every row group for the columns that docs/pruning.md names: a value that is
// not there is excluded without reading data, one that is there never is.
func TestBloomFilters(t *testing.T) {
	events := logEvents(t, "../../testdata/audit-sample.log.gz")
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 1)
	sn, err := s.acquire(query.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer sn.release()
	var some *audit.Event
	for i := range events {
		if e := &events[i]; e.ObjectUID != "" && e.Namespace != "" && e.Name != "" && e.User != "" {
			some = e
			break
		}
	}
	if some == nil {
		t.Fatal("the sample has no event with all columns")
	}
	for column, value := range map[string]string{
		"audit_id": some.AuditID, "user": some.User, "namespace": some.Namespace, "name": some.Name, "object_uid": some.ObjectUID,
	} {
		excluded := func(v string) (n, groups int) {
			sql := fmt.Sprintf("SELECT count(*) FILTER (bloom_filter_excludes), count(*) FROM parquet_bloom_probe(%s, %s, %s)",
				quoteText(sn.Segments[0].Path), quoteText(column), quoteText(v))
			if err := s.eng.query(t.Context(), sql, func(c *chunk) error {
				n, groups = int(c.integer(0, 0)), int(c.integer(1, 0))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return n, groups
		}
		if n, groups := excluded(value); n != 0 || groups == 0 {
			t.Errorf("%s: %q is stored but excluded in %d of %d row groups", column, value, n, groups)
		}
		if n, groups := excluded("no such value \x01"); n != groups {
			t.Errorf("%s: a value that is not stored is excluded in %d of %d row groups only", column, n, groups)
		}
	}
}

// TestPushdown holds that conditions reach the scan as filters on columns, where
// statistics and bloom filters are asked: that they are constants to the planner.
func TestPushdown(t *testing.T) {
	events := logEvents(t, "../../testdata/audit-sample.log.gz")
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 1)
	sn, err := s.acquire(query.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer sn.release()
	f := parse(t, `audit_id == "x" && code >= 400 && verb != "get" && time > timestamp("2026-11-22T19:00:00Z")`)
	cond, err := where(f, query.Range{From: 1, To: events[0].Time + 86400e6})
	if err != nil {
		t.Fatal(err)
	}
	var plan string
	// json_serialize_plan is a SELECT, unlike EXPLAIN, which this engine refuses.
	sql := "SELECT CAST(json_serialize_plan(" + quoteText("SELECT id FROM read_parquet("+filesSQL(sn.Segments)+") WHERE "+cond) + ", optimize := true) AS VARCHAR)"
	if err := s.eng.query(t.Context(), sql, func(c *chunk) error {
		plan = strings.Clone(c.text(0, 0))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plan, `"LOGICAL_FILTER"`) || !strings.Contains(plan, `"LOGICAL_GET"`) {
		t.Errorf("a condition stays above the scan: %.2000s", plan)
	}
}

// BenchmarkPruning shows what pruning saves: the same count with a condition
// that statistics or bloom filters decide, and with one of equal meaning that they cannot.
func BenchmarkPruning(b *testing.B) {
	s := benchStore(b)
	sn, err := s.acquire(query.Range{})
	if err != nil {
		b.Fatal(err)
	}
	defer sn.release()
	some := search(b, s, query.SearchRequest{Limit: 1})[0]
	day := audit.TimeOf(time.Date(2026, 10, 20, 0, 0, 0, 0, time.UTC))
	count := func(cond string) time.Duration {
		t0 := time.Now()
		sql := "SELECT count(*) FROM read_parquet(" + filesSQL(sn.Segments) + ") WHERE " + cond
		if err := s.eng.query(b.Context(), sql, func(*chunk) error { return nil }); err != nil {
			b.Fatal(err)
		}
		return time.Since(t0)
	}
	for _, q := range []struct{ name, pruned, full string }{
		{"audit ID, stored", "audit_id = " + quoteText(some.AuditID), "suffix(audit_id, " + quoteText(some.AuditID) + ")"},
		{"audit ID, not stored", "audit_id = '8'", "suffix(audit_id, '888')"},
		{"user, not stored", `"user" = 'nobody'`, `suffix("user", 'nobody')`},
		{"name, not stored", `"name" = 'nothing'`, `suffix("name", 'nothing')`},
		{
			"one day of thirty", "time >= " + quoteTime(day) + " AND time < " + quoteTime(day+86400e6),
			"epoch_us(time) + latency_us - latency_us BETWEEN " + quoteInt(int64(day)) + " AND " + quoteInt(int64(day)+86400e6-1),
		},
	} {
		b.Run(q.name, func(b *testing.B) {
			var pruned, full time.Duration
			for range b.N {
				pruned += count(q.pruned)
				full += count(q.full)
			}
			b.ReportMetric(float64(pruned.Microseconds())/1000/float64(b.N), "pruned-ms")
			b.ReportMetric(float64(full.Microseconds())/1000/float64(b.N), "full-ms")
			b.ReportMetric(float64(full)/float64(pruned), "times-faster")
		})
	}
}
