package web

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// same fails if two answers differ.
func same(t *testing.T, what string, got, want any, gotErr, wantErr error) {
	t.Helper()
	if !reflect.DeepEqual(gotErr, wantErr) {
		t.Errorf("%s: the client's error is %#v, the engine's %#v", what, gotErr, wantErr)
	}
	if wantErr == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("%s: the client answers\n%+v\nthe engine\n%+v", what, got, want)
	}
}

// TestClientAnswersAsEngine asks both everything.
func TestClientAnswersAsEngine(t *testing.T) {
	events := append(sampleEvents(t), decoded(t, hostile))
	odd := decoded(t, hostile)
	odd.Raw = "\xff\xfe not text " + odd.Raw
	ts := newTestServer(t, append(events, odd))
	ts.source.Warn = query.Warnings{{Text: "a segment is damaged", Damage: true}, {Text: "no creation was found"}}
	ctx := context.Background()
	from, to := sampleTime("2026-11-22T19:44:31.000000Z"), sampleTime("2026-11-22T19:49:00.123456Z")
	scopes := []query.Scope{
		{},
		{Filter: `user == "kubernetes-super-admin" && code >= 400`},
		{Filter: `stage == "RequestReceived"`, Range: query.Range{From: from, To: to}},
		{Range: query.Range{From: to}},
		{Filter: `name.contains("\u202e")`},
		{Filter: `verb == "nothing"`},
		{Filter: `verbb == "get"`},
		{Filter: "verb ==\n  7"},
		{Filter: `verb == "get" &&`},
		{Range: query.Range{From: to, To: from}},
	}
	ask := func(q query.Questions, sq query.SearchQuestion) ([]audit.Event, query.SearchAnswer, error) {
		var found []audit.Event
		a, err := q.Search(ctx, sq, func(e *audit.Event) error {
			found = append(found, *ownEvent(e))
			return nil
		})
		a.Next = unasked(t, a.Next)
		return found, a, err
	}
	for _, scope := range scopes {
		for _, sq := range []query.SearchQuestion{
			{Scope: scope}, {Scope: scope, Limit: 7}, {Scope: scope, Limit: 3, Ascending: true, NoRaw: true}, {Scope: scope, Cursor: "nonsense"},
		} {
			want, wantAnswer, wantErr := ask(ts.engine, sq)
			got, gotAnswer, gotErr := ask(ts.client, sq)
			same(t, "search "+scope.Filter, got, want, gotErr, wantErr)
			same(t, "end of search "+scope.Filter, gotAnswer, wantAnswer, gotErr, wantErr)
			if sq.Limit == 7 && wantErr == nil && wantAnswer.Next != "" {
				first, err := ts.client.Search(ctx, sq, func(*audit.Event) error { return nil })
				if err != nil {
					t.Fatal(err)
				}
				sq.Cursor = first.Next
				want, wantAnswer, wantErr = ask(ts.engine, sq)
				got, gotAnswer, gotErr = ask(ts.client, sq)
				same(t, "second page", got, want, gotErr, wantErr)
				same(t, "its end", gotAnswer, wantAnswer, gotErr, wantErr)
			}
		}
		for _, q := range []query.HistogramQuestion{{Scope: scope}, {Scope: scope, Buckets: 13}, {Scope: scope, WidthUS: 60_000_000}, {Scope: scope, Buckets: 9999}} {
			want, wantErr := ts.engine.Histogram(ctx, q)
			got, gotErr := ts.client.Histogram(ctx, q)
			same(t, "histogram "+scope.Filter, got, want, gotErr, wantErr)
		}
		for _, q := range []query.TopQuestion{{Scope: scope, By: []string{"user"}}, {Scope: scope, By: []string{"verb", "resource"}, Limit: 3}, {Scope: scope, By: []string{"groups"}, Writes: true}, {Scope: scope, By: []string{"verb"}, WritesFirst: true}, {Scope: scope}, {Scope: scope, By: []string{"usr"}}} {
			want, wantErr := ts.engine.Top(ctx, q)
			got, gotErr := ts.client.Top(ctx, q)
			same(t, "top "+scope.Filter, got, want, gotErr, wantErr)
		}
		for _, q := range []query.HistoryQuestion{
			{Scope: scope, Resource: "deployments", Name: "web", Namespace: "payments", Diff: true},
			{Scope: scope, Resource: "deployments", APIGroup: "apps", Name: "api", Limit: 2},
			{Scope: scope, Resource: "secrets", Name: "db", Diff: true, Noise: true},
			{Scope: scope, Resource: "secrets", Name: "db", Cursor: "nonsense"},
		} {
			want, wantErr := ts.engine.History(ctx, q)
			got, gotErr := ts.client.History(ctx, q)
			want.Next, got.Next = unasked(t, want.Next), unasked(t, got.Next)
			same(t, "history "+q.Resource+"/"+q.Name+" "+scope.Filter, got, want, gotErr, wantErr)
		}
		for _, q := range []query.ActorQuestion{{Scope: scope, User: "kubernetes-super-admin"}, {Scope: scope, User: "mallory@example.com", Limit: 2}, {Scope: scope, User: "nobody at all"}} {
			want, wantErr := ts.engine.Actor(ctx, q)
			got, gotErr := ts.client.Actor(ctx, q)
			same(t, "actor "+q.User+" "+scope.Filter, got, want, gotErr, wantErr)
		}
	}
	e, err := ts.client.Event(ctx, int64(len(events)+1))
	if err != nil || e.Raw != odd.Raw {
		t.Errorf("a line that is no text arrives as %q (%v)", e.Raw, err)
	}
	st, err := ts.client.Status(ctx)
	same(t, "status", st, ts.status, err, nil)
}

// unasked is the place in a cursor, without when it was asked.
func unasked(t *testing.T, cursor string) string {
	t.Helper()
	if cursor == "" {
		return ""
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(b) < 4 {
		t.Fatalf("cursor %s: %v", cursor, err)
	}
	at, n := binary.Varint(b[2:])
	id, _ := binary.Varint(b[2+n:])
	return fmt.Sprintf("%d %d", at, id)
}

func TestClientSQL(t *testing.T) {
	ts := newTestServer(t, nil)
	columns := []string{"a", "b"}
	at := time.Date(2026, 11, 22, 19, 44, 31, 14243000, time.UTC)
	values := []any{
		nil, true, false, "text", "", `{"int":"7"}`, "\xff not text", int64(0), int64(1 << 53), int64(math.MaxInt64), int64(math.MinInt64), uint64(math.MaxUint64),
		1.5, 2.0, math.Copysign(0, -1), 1e300, math.Inf(1), math.Inf(-1), at,
		[]byte{0, 1, 255},
		[]byte{},
		[]any{int64(1), "x", nil, []any{at}},
		[]any{},
		map[string]any{"k": int64(math.MaxInt64), "n": nil},
	}
	for _, v := range values {
		ts.source.rows = append(ts.source.rows, query.SQLRow{Columns: columns, Values: []any{v, int64(7)}})
	}
	ts.source.Warn = query.Warnings{{Text: "a segment is damaged", Damage: true}, {Text: "no creation was found"}}
	var got []query.SQLRow
	collect := func(r query.SQLRow) error { got = append(got, r); return nil }
	warnings, err := ts.client.SQL(context.Background(), "SELECT 1", collect)
	same(t, "sql", got, ts.source.rows, err, nil)
	same(t, "its warnings", warnings, ts.source.Warn, err, nil)

	ts.source.rows = []query.SQLRow{{Columns: columns, Values: []any{math.NaN(), at.Add(0)}}}
	got = nil
	if _, err := ts.client.SQL(context.Background(), "SELECT 1", collect); err != nil || !math.IsNaN(got[0].Values[0].(float64)) {
		t.Errorf("NaN arrives as %v (%v)", got, err)
	}
	_, err = ts.client.SQL(context.Background(), "DROP TABLE events", collect)
	same(t, "a statement that is refused", nil, nil, err, error(&query.UsageError{Message: "only a single SELECT is run here"}))
	ts.source.err = errTestUnavailable
	_, err = ts.client.SQL(context.Background(), "SELECT 1", collect)
	same(t, "an error after rows", nil, nil, err, error(&Error{Code: CodeUnavailable, Message: errTestUnavailable.Error()}))
}

func TestClientFollow(t *testing.T) {
	events := sampleEvents(t)[:200]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var want []int64
	stop := errors.New("enough")
	err := newTestServer(t, events).engine.Follow(ctx, query.SearchQuestion{AfterID: 10, Scope: query.Scope{Filter: `verb == "get"`}}, func(e *audit.Event) error {
		if want = append(want, e.ID); len(want) == 20 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	tenth := want[9]
	ts := newTestServer(t, events[:tenth])
	f := newFaultyServer(t, ts)
	var got []int64
	err = ts.client.Follow(ctx, query.SearchQuestion{AfterID: 10, Scope: query.Scope{Filter: `verb == "get"`}}, func(e *audit.Event) error {
		if got = append(got, e.ID); len(got) == 10 {
			ts.Server.CloseClientConnections() // as a restart does
			ts.source.Append(events[tenth:]...)
		}
		if len(got) == 20 {
			return stop
		}
		return nil
	})
	same(t, "follow", got, want, err, stop)
	if n := f.count("/api/v1/events/follow"); n < 2 {
		t.Errorf("connected %d times, though the connection was cut", n)
	}

	_, wantErr := query.Parse("verbb == 1")
	err = ts.client.Follow(ctx, query.SearchQuestion{Scope: query.Scope{Filter: "verbb == 1"}}, func(*audit.Event) error { return nil })
	same(t, "follow a wrong filter", nil, nil, err, wantErr)
	err = ts.client.Follow(ctx, query.SearchQuestion{AfterID: 1}, func(*audit.Event) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestClientImport(t *testing.T) {
	ts := newTestServer(t, nil)
	data := bytes.Repeat([]byte("x"), 3<<20)
	sum, err := ts.client.Import(context.Background(), "a.log", "demo", bytes.NewReader(data))
	same(t, "import", sum, ImportSummary{Files: 1, Bytes: 3 << 20, Events: 4}, err, nil)
	_, err = ts.client.Import(context.Background(), "bad", "", strings.NewReader("x"))
	same(t, "a bad import", nil, nil, err, error(&query.UsageError{Message: "bad: offset 0: no audit event here"}))
}

func TestClientStopsWhenTold(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t))
	enough := errors.New("enough")
	n := 0
	_, err := ts.client.Search(context.Background(), query.SearchQuestion{}, func(*audit.Event) error {
		if n++; n == 5 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 5 {
		t.Errorf("after %d events: %v", n, err)
	}
}

func TestClientWithoutServer(t *testing.T) {
	dead := httptest.NewServer(nil)
	dead.Close()
	c, err := NewClient(dead.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Status(context.Background())
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeUnavailable || !strings.Contains(e.Message, "ktrail serve") || strings.Contains(e.Message, "\n") {
		t.Errorf("no server: %v", err)
	}
	if err := c.Follow(context.Background(), query.SearchQuestion{}, nil); !errors.As(err, &e) || e.Code != CodeUnavailable {
		t.Errorf("follow without server: %v", err)
	}
	stranger := httptest.NewServer(nil) // answers 404 in its own way
	defer stranger.Close()
	if c, err = NewClient(stranger.URL); err != nil {
		t.Fatal(err)
	}
	if _, err = c.Status(context.Background()); !errors.As(err, &e) || e.Code != CodeUnavailable {
		t.Errorf("another server: %v", err)
	}
	for _, server := range []string{"", "ftp://x", "http://", "http://a/?q=1", "http://u:p@h", "a b"} {
		if _, err := NewClient(server); err == nil {
			t.Errorf("server %q is accepted", server)
		}
	}
}

func TestServe(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t)[:10])
	ctx, cancel := context.WithCancel(context.Background())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, ts.inner.handler(), discard()) }()
	c, err := NewClient(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	followed := make(chan error, 1)
	follower, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	seen := make(chan struct{}, 100)
	go func() {
		followed <- c.Follow(follower, query.SearchQuestion{AfterID: 1}, func(*audit.Event) error { seen <- struct{}{}; return nil })
	}()
	<-seen
	cancel()
	if err := <-done; err != nil { // hangs if a follower keeps the server up
		t.Error(err)
	}
	giveUp() // it would try for some seconds to connect again
	if err := <-followed; !errors.Is(err, context.Canceled) {
		t.Errorf("the follower of a server that stopped: %v", err)
	}
}
