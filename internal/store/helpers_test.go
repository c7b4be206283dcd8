package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/parquet-go/parquet-go"
)

// decodeSlow makes an event of a line with encoding/json: enough columns to
// exercise segments, and independent of the decoder that ktrail uses.
func decodeSlow(t testing.TB, line []byte) audit.Event {
	t.Helper()
	var v struct {
		AuditID, Stage, Level, Verb, UserAgent, RequestURI string
		RequestReceivedTimestamp, StageTimestamp           time.Time
		User, ImpersonatedUser                             struct {
			Username, UID string
			Groups        []string
			Extra         map[string][]string
		}
		SourceIPs []string
		ObjectRef struct{ APIGroup, APIVersion, Resource, Subresource, Namespace, Name, UID string }

		ResponseStatus struct {
			Code            int32
			Reason, Message string
		}
		Annotations map[string]string
	}
	if err := json.Unmarshal(line, &v); err != nil {
		t.Fatalf("decode %.80q: %v", line, err)
	}
	first := func(l []string) string {
		if len(l) == 0 {
			return ""
		}
		return l[0]
	}
	e := audit.Event{
		Time: audit.TimeOf(v.StageTimestamp), Received: audit.TimeOf(v.RequestReceivedTimestamp),
		AuditID: v.AuditID, Stage: v.Stage, Level: v.Level, Verb: v.Verb, User: v.User.Username, UserUID: v.User.UID,
		Groups: v.User.Groups, AsUser: v.ImpersonatedUser.Username, AsGroups: v.ImpersonatedUser.Groups,
		SourceIPs: v.SourceIPs, Agent: v.UserAgent, URI: v.RequestURI,
		APIGroup: v.ObjectRef.APIGroup, APIVersion: v.ObjectRef.APIVersion, Resource: v.ObjectRef.Resource,
		Subresource: v.ObjectRef.Subresource, Namespace: v.ObjectRef.Namespace, Name: v.ObjectRef.Name, ObjectUID: v.ObjectRef.UID,
		Code: v.ResponseStatus.Code, Reason: v.ResponseStatus.Reason, Message: v.ResponseStatus.Message,
		Decision: v.Annotations["authorization.k8s.io/decision"], DecisionReason: v.Annotations["authorization.k8s.io/reason"],
		Truncated:    v.Annotations["audit.k8s.io/truncated"] == "true",
		CredentialID: first(v.User.Extra["authentication.kubernetes.io/credential-id"]),
		Pod:          first(v.User.Extra["authentication.kubernetes.io/pod-name"]),
		Final:        v.Stage == audit.StageResponseComplete || v.Stage == audit.StagePanic,
		Raw:          string(line),
	}
	e.LatencyUS = int64(e.Time - e.Received)
	return e
}

// makeEvent makes event number i, whose time is i seconds after the first.
func makeEvent(t testing.TB, i int) audit.Event {
	t.Helper()
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second)
	line := fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a-%d","stage":"ResponseComplete",`+
		`"requestURI":"/api/v1/namespaces/ns-%d/pods/p-%d","verb":"get","user":{"username":"user-%d","groups":["g1","g%d"]},"sourceIPs":["10.0.0.%d"],`+
		`"objectRef":{"resource":"pods","namespace":"ns-%d","name":"p-%d","apiVersion":"v1"},"responseStatus":{"code":200},`+
		`"requestReceivedTimestamp":%q,"stageTimestamp":%q}`,
		i, i%7, i, i%5, i%3, i%250, i%7, i, at.Add(-time.Millisecond).Format("2006-01-02T15:04:05.000000Z07:00"), at.Format("2006-01-02T15:04:05.000000Z07:00"))
	return decodeSlow(t, []byte(line))
}

func makeEvents(t testing.TB, from, to int) []audit.Event {
	t.Helper()
	var list []audit.Event
	for i := from; i < to; i++ {
		list = append(list, makeEvent(t, i))
	}
	return list
}

// quiet discards what is logged.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// openMem opens a store on fsys without background work.
func openMem(t testing.TB, fsys durable.FS, change ...func(*Options)) (*Store, error) {
	t.Helper()
	o := Options{Dir: "/data", FS: fsys, Logger: quiet(), NoBackground: true, CommitEvery: time.Nanosecond}
	for _, c := range change {
		c(&o)
	}
	return Open(t.Context(), o)
}

func mustOpen(t testing.TB, fsys durable.FS, change ...func(*Options)) *Store {
	t.Helper()
	s, err := openMem(t, fsys, change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func mustAppend(t testing.TB, s *Store, c Commit) Result {
	t.Helper()
	r, err := s.Append(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// lines reads every line of the live segments, sorted, with parquet-go.
func lines(t testing.TB, s *Store) []string {
	t.Helper()
	sn, err := s.acquire(query.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer sn.release()
	list, err := snapshotLines(s, sn)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func snapshotLines(s *Store, sn *snapshot) ([]string, error) {
	var list []string
	for _, g := range sn.Segments {
		r, err := s.openSegment(g)
		if err != nil {
			return nil, err
		}
		f, err := parquet.OpenFile(r, r.Size())
		if err != nil {
			return nil, err
		}
		for _, rg := range f.RowGroups() {
			err := eachPage(rg, len(rg.ColumnChunks())-1, func(p parquet.Page) {
				values := p.Data()
				data, offsets := values.ByteArray()
				for i := 1; i < len(offsets); i++ {
					list = append(list, string(data[offsets[i-1]:offsets[i]]))
				}
			})
			if err != nil {
				return nil, err
			}
		}
		if err := r.Close(); err != nil {
			return nil, err
		}
	}
	slices.Sort(list)
	return list, nil
}

// rawLines are the lines of events, sorted.
func rawLines(events ...[]audit.Event) []string {
	var list []string
	for _, l := range events {
		for i := range l {
			list = append(list, l[i].Raw)
		}
	}
	slices.Sort(list)
	return list
}

func sameLines(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: the store has %d lines, want %d", what, len(got), len(want))
	}
}

// rows reads whole rows as events, for comparing every column.
func rows(t testing.TB, s *Store, g *segment) []audit.Event {
	t.Helper()
	r, err := s.openSegment(g)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	f, err := parquet.OpenFile(r, r.Size())
	if err != nil {
		t.Fatal(err)
	}
	cols := columns()
	out := make([]audit.Event, f.NumRows())
	for i := range cols {
		cur := newColumnCursor(f, i, cols[i].list)
		for row := range out {
			n, v, err := cur.next(1)
			if err != nil || n != 1 {
				t.Fatalf("column %s row %d: %d rows, %v", cols[i].name, row, n, err)
			}
			setColumn(t, &out[row], cols[i].name, v)
		}
		if _, _, err := cur.next(1); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("column %s has more rows than the file: %v", cols[i].name, err)
		}
		cur.close()
	}
	return out
}

// setColumn goes by the json tags, not by the code under test.
func setColumn(t testing.TB, e *audit.Event, name string, v []parquet.Value) {
	t.Helper()
	var value any
	switch v[0].Kind() {
	case parquet.ByteArray:
		value = v[0].String()
	case parquet.Int64:
		value = v[0].Int64()
	case parquet.Int32:
		value = v[0].Int32()
	case parquet.Boolean:
		value = v[0].Boolean()
	}
	switch name {
	case "groups", "as_groups", "source_ips":
		list := []string{}
		for _, x := range v {
			if x.DefinitionLevel() == 1 {
				list = append(list, x.String())
			}
		}
		value = list
	case "time", "received":
		value = audit.Time(v[0].Int64())
	}
	b, err := json.Marshal(map[string]any{name: value})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, e); err != nil {
		t.Fatalf("column %s: %v", name, err)
	}
}
