package web

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/query/querytest"
	"github.com/ktrail/ktrail/internal/saved"
	"github.com/prometheus/client_golang/prometheus"
)

// hostile is an event whose every text tries something.
const hostile = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"\"><script>window.hurt=1</script>","stage":"ResponseComplete",` +
	`"requestURI":"/api/v1/namespaces/<b>bold/pods/\u202etxt.exe","verb":"delete","user":{"username":"<script>window.hurt=1</script>","groups":["{{.}}"]},` +
	`"sourceIPs":["javascript:window.hurt=1"],"userAgent":"\"><img src=x onerror=window.hurt=1>","objectRef":{"resource":"pods","namespace":"' onclick='window.hurt=1","name":"\u202etxt.exe\u0007\u200b","apiVersion":"v1"},` +
	`"responseStatus":{"metadata":{},"code":403,"reason":"Forbidden","message":"</pre><script>window.hurt=1</script>"},"requestReceivedTimestamp":"2026-11-22T19:50:10.000000Z","stageTimestamp":"2026-11-22T19:50:10.100000Z",` +
	`"annotations":{"authorization.k8s.io/decision":"forbid","authorization.k8s.io/reason":"<svg onload=window.hurt=1>"}}`

// decoded is the event in a line.
func decoded(t testing.TB, line string) audit.Event {
	t.Helper()
	var e audit.Event
	if err := audit.Decode([]byte(line), &e); err != nil {
		t.Fatal(err)
	}
	e.Cluster, e.Source = "demo", "/var/log/kubernetes/audit/audit.log"
	e.Version = "" // no column: it does not travel
	return e
}

// sampleEvents is the repository's sample log.
func sampleEvents(t testing.TB) []audit.Event { return recorded(t, "audit-sample.log.gz", 3000) }

// incidentEvents is the log of an incident: see testdata/README.md.
func incidentEvents(t testing.TB) []audit.Event { return recorded(t, "audit-incident.log.gz", 900) }

// recorded reads a log of testdata, which has at least so many events.
func recorded(t testing.TB, name string, least int) []audit.Event {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var events []audit.Event
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		events = append(events, decoded(t, lines.Text()))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(events) < least {
		t.Fatalf("%s has %d events", name, len(events))
	}
	return events
}

// sqlSource adds an answer to SQL to the in-memory source.
type sqlSource struct {
	*querytest.Source
	rows []query.SQLRow
	err  error
}

func (s *sqlSource) SQL(_ context.Context, sql string, yield func(query.SQLRow) error) (query.Warnings, error) {
	if strings.Contains(sql, "DROP") {
		return nil, &query.UsageError{Message: "only a single SELECT is run here"}
	}
	for _, r := range s.rows {
		if err := yield(r); err != nil {
			return nil, err
		}
	}
	return s.Warn, s.err
}

// testServer is a whole server over events.
type testServer struct {
	*httptest.Server
	source   *sqlSource
	engine   *query.Engine
	client   *Client
	mu       sync.Mutex // of status
	status   Status
	registry *prometheus.Registry
	inner    *server
}

// trends is half an hour of every source, as a server has it that started then:
// it caught up once in between.
func (ts *testServer) trends() Trends {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	const samples = 180
	now := time.Now()
	at := func(i int) audit.Time { return audit.TimeOf(now.Add(time.Duration(i-samples) * 10 * time.Second)) }
	t := Trends{Now: audit.TimeOf(now), Since: at(0), Sources: []Trend{}}
	for _, s := range ts.status.Sources {
		trend := Trend{Name: s.Name}
		for i := range samples {
			trend.Samples = append(trend.Samples, TrendSample{At: at(i), LagBytes: int64(max(0, i-60)) << 12 * int64(max(0, 90-i)), EventsPerSecond: 5 + 2*math.Sin(float64(i)/9)})
		}
		t.Sources = append(t.Sources, trend)
	}
	return t
}

func newTestServer(t testing.TB, events []audit.Event, change ...func(*Options)) *testServer {
	t.Helper()
	ts := &testServer{source: &sqlSource{Source: querytest.New(events...)}, registry: prometheus.NewRegistry(), status: sampleStatus(int64(len(events)))}
	ts.engine = query.NewEngine(ts.source)
	o := Options{
		Questions: ts.engine,
		Status: func() Status {
			ts.mu.Lock()
			defer ts.mu.Unlock()
			return ts.status
		},
		Import: func(_ context.Context, name, cluster string, r io.Reader) (ImportSummary, error) {
			n, err := io.Copy(io.Discard, r)
			if name == "bad" {
				return ImportSummary{}, &query.UsageError{Message: "bad: offset 0: no audit event here"}
			}
			return ImportSummary{Files: 1, Bytes: n, Events: int64(len(cluster))}, err
		},
		Logger:     slog.New(slog.DiscardHandler),
		Gatherer:   ts.registry,
		Registerer: ts.registry,
		Version:    "v0.1.0",
		Address:    "127.0.0.1:7433",
		Classify: func(err error) Code {
			if errors.Is(err, errTestUnavailable) {
				return CodeUnavailable
			}
			return ""
		},
	}
	var err error
	if o.Views, err = saved.Open(durable.OS{}, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	o.Quarantine = func(_ context.Context, q QuarantineQuestion) (QuarantineAnswer, error) {
		line := QuarantineLine{Source: "/var/log/a.log", File: "/var/log/a.log", Offset: 7, Reason: "not JSON", At: sampleTime("2026-11-22T05:00:00.000000Z"), Line: []byte("<script>\xff\u202e"), Bytes: 9000, Cut: true}
		if q.Source != "" && q.Source != line.Source {
			return QuarantineAnswer{}, nil
		}
		return QuarantineAnswer{Lines: []QuarantineLine{line}[:min(1, q.Limit)], More: true}, nil
	}
	o.Trends = ts.trends
	for _, f := range change {
		f(&o)
	}
	inner, err := newServer(o)
	if err != nil {
		t.Fatal(err)
	}
	ts.inner = inner
	ts.Server = httptest.NewServer(inner.handler())
	t.Cleanup(ts.Server.Close)
	// Close waits for answers under way; follow streams end with their clients.
	t.Cleanup(ts.Server.CloseClientConnections)
	if ts.client, err = NewClient(ts.URL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ts.client.Close)
	return ts
}

var errTestUnavailable = errors.New("the store is being repaired")

func sampleTime(t string) audit.Time {
	var at audit.Time
	if err := at.UnmarshalJSON([]byte(`"` + t + `"`)); err != nil {
		panic(err) // a constant of a test
	}
	return at
}

// sampleStatus is a server in good health.
func sampleStatus(events int64) Status {
	return Status{
		Version: "v0.1.0", Ready: true,
		Sources: []SourceState{{
			Name: "/var/log/kubernetes/audit/audit.log", Cluster: "demo", File: "/var/log/kubernetes/audit/audit.log",
			Offset: 7701187, LastEvent: sampleTime("2026-11-22T19:50:03.120000Z"), Events: events, State: "following", EventsPerSecond: 6.4,
		}},
		Store: StoreState{
			State: "ok", Events: events, LastID: events, Segments: 3, Bytes: 612_000, FreeBytes: 210 << 30, DiskBytes: 460 << 30, MinFreeBytes: 1 << 30, RetainSeconds: 30 * 86400,
			First: sampleTime("2026-11-22T19:44:31.014243Z"), Last: sampleTime("2026-11-22T19:50:03.120000Z"),
		},
	}
}

// troubledStatus has everything that can be wrong.
func troubledStatus() Status {
	st := sampleStatus(3802)
	st.Reasons = []string{"low disk: 512 MiB free of the 1 GiB that must stay free; events are not taken until there is space"}
	st.Ready = false
	st.Store.State = "low disk"
	st.Store.Quarantined = 3
	st.Store.FreeBytes, st.Store.RetainBytes = 512<<20, 50<<30
	st.Store.Damage = []string{"segments/2026/11/22/000017.parquet is damaged at offset 4096: the checksum differs"}
	st.Sources = append(st.Sources, SourceState{
		Name: "/var/log/<b>/audit.log", State: "catching up", LagBytes: 48 << 20, LagSeconds: 754, EventsPerSecond: 1890, Quarantined: 3, Error: "read audit.log: permission denied",
		Gaps: []Gap{{From: sampleTime("2026-11-22T03:00:00.000000Z"), To: sampleTime("2026-11-22T04:10:00.000000Z"), Reason: "audit-2026-11-22T03-40-00.000.log was deleted before it was read", At: sampleTime("2026-11-22T05:00:00.000000Z")}},
	})
	return st
}
