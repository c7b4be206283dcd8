package query_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/golden"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/query/querytest"
)

func engine(events ...audit.Event) *query.Engine { return query.NewEngine(querytest.New(events...)) }

func usage(t *testing.T, err error, want string) {
	t.Helper()
	var bad *query.UsageError
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want a usage error with %q", err, want)
	}
}

func TestSearchPages(t *testing.T) {
	events := sample(t)[:600]
	// Times that are equal make the ID decide.
	for i := 100; i < 160; i++ {
		events[i].Time = events[100].Time
	}
	g := engine(events...)
	for _, ascending := range []bool{false, true} {
		q := query.SearchQuestion{Scope: query.Scope{Filter: `stage != "" && verb != "watch"`}, Ascending: ascending}
		var whole []int64
		answer, err := g.Search(t.Context(), q, func(e *audit.Event) error { whole = append(whole, e.ID); return nil })
		if err != nil || answer.Next != "" || len(whole) < 400 {
			t.Fatalf("%d events, %+v, %v", len(whole), answer, err)
		}
		for _, size := range []int{1, 7, len(whole) - 1, len(whole), len(whole) + 1} {
			q.Limit, q.Cursor = size, ""
			var paged []int64
			for pages := 0; ; pages++ {
				n := 0
				answer, err := g.Search(t.Context(), q, func(e *audit.Event) error { n++; paged = append(paged, e.ID); return nil })
				if err != nil || n > size || pages > len(whole) {
					t.Fatalf("%d events on page %d, %v", n, pages, err)
				}
				if q.Cursor = answer.Next; q.Cursor == "" {
					break
				}
				if n != size {
					t.Errorf("page of %d is not full: %d", size, n)
				}
			}
			if !slices.Equal(whole, paged) {
				t.Errorf("ascending %v, pages of %d: %d events, want %d", ascending, size, len(paged), len(whole))
			}
		}
	}
}

// TestPagesHaveOneNow: now is the time of the first page on all of them, or the
// last ones would lose events.
func TestPagesHaveOneNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []audit.Event
		for i := range 10 {
			at := audit.TimeOf(time.Now().Add(-time.Duration(i) * time.Minute))
			events = append(events, audit.Event{
				ID: int64(10 - i), Time: at, Final: true, Verb: "delete", Resource: "pods", Name: "a", Code: 200,
			})
		}
		g := engine(events...)
		for _, ascending := range []bool{false, true} {
			q := query.SearchQuestion{Scope: query.Scope{Filter: `time > now - duration("9m30s")`}, Ascending: ascending, Limit: 3}
			n := 0
			for {
				a, err := g.Search(t.Context(), q, func(*audit.Event) error { n++; return nil })
				if err != nil {
					t.Fatal(err)
				}
				if q.Cursor = a.Next; q.Cursor == "" {
					break
				}
				time.Sleep(time.Minute)
			}
			if n != 10 {
				t.Errorf("ascending %v: %d events on all pages, want 10", ascending, n)
			}
			// For the next round, the events are as old as before.
			for i := range events {
				events[i].Time += audit.Time(3 * time.Minute / time.Microsecond)
			}
			g = engine(events...)
		}
		h := query.HistoryQuestion{Resource: "pods", Name: "a", Limit: 3, Scope: query.Scope{Filter: `time > now - duration("9m30s")`}}
		n := 0
		for {
			a, err := g.History(t.Context(), h)
			if err != nil {
				t.Fatal(err)
			}
			n += len(a.Changes)
			if h.Cursor = a.Next; h.Cursor == "" {
				break
			}
			time.Sleep(time.Minute)
		}
		if n != 10 {
			t.Errorf("history: %d changes on all pages, want 10", n)
		}
	})
}

func TestSearchErrors(t *testing.T) {
	g := engine(sample(t)[:50]...)
	none := func(*audit.Event) error { return nil }
	first, err := g.Search(t.Context(), query.SearchQuestion{Limit: 1}, none)
	if err != nil || first.Next == "" || first.Filter != "final" {
		t.Fatalf("%+v, %v", first, err)
	}
	for _, tt := range []struct {
		q    query.SearchQuestion
		want string
	}{
		{query.SearchQuestion{Limit: -1}, "negative"},
		{query.SearchQuestion{Cursor: "x"}, "damaged"},
		{query.SearchQuestion{Cursor: first.Next[:len(first.Next)-1] + "_"}, "damaged"},
		{query.SearchQuestion{Cursor: first.Next + "AAAA"}, "damaged"},
		{query.SearchQuestion{Cursor: first.Next, Ascending: true}, "other order"},
		{query.SearchQuestion{Scope: query.Scope{Filter: "usr == 1"}}, "did you mean user"},
		{query.SearchQuestion{Scope: query.Scope{Range: query.Range{From: 5, To: 5}}}, "empty"},
		{query.SearchQuestion{Scope: query.Scope{Range: query.Range{From: -5}}}, "1970"},
	} {
		_, err := g.Search(t.Context(), tt.q, none)
		usage(t, err, tt.want)
	}
	stop := errors.New("stop")
	if _, err := g.Search(t.Context(), query.SearchQuestion{}, func(*audit.Event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	src := querytest.New(sample(t)[:9]...)
	src.Warn = query.Warnings{{Text: "a segment is missing", Damage: true}}
	a, err := query.NewEngine(src).Search(t.Context(), query.SearchQuestion{}, none)
	if err != nil || !slices.Equal(a.Warnings, src.Warn) {
		t.Errorf("%+v, %v", a, err)
	}
	top, err := query.NewEngine(src).Top(t.Context(), query.TopQuestion{By: []string{"verb"}})
	if err != nil || !slices.Equal(top.Warnings, src.Warn) {
		t.Errorf("%+v, %v", top, err)
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := sample(t)[:40]
		src := querytest.New(events[:10]...)
		g := query.NewEngine(src)
		ctx, cancel := context.WithCancel(t.Context())
		var fromNow, fromThird, fromFirst []int64
		collect := func(q query.SearchQuestion, ids *[]int64) {
			err := g.Follow(ctx, q, func(e *audit.Event) error {
				if q.NoRaw != (e.Raw == "") {
					t.Errorf("raw of %d: %q", e.ID, e.Raw)
				}
				*ids = append(*ids, e.ID)
				return nil
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		}
		all := query.Scope{Filter: `stage != ""`}
		go collect(query.SearchQuestion{Scope: all, NoRaw: true}, &fromNow)
		go collect(query.SearchQuestion{Scope: all, AfterID: 3}, &fromThird)
		go collect(query.SearchQuestion{Scope: all, AfterID: query.FollowAll}, &fromFirst)
		synctest.Wait()
		src.Append(events[10:12]...)
		synctest.Wait()
		src.Append(events[12:]...)
		synctest.Wait()
		cancel()
		synctest.Wait()
		want := func(from, to int64) (ids []int64) {
			for i := from; i <= to; i++ {
				ids = append(ids, i)
			}
			return ids
		}
		if !slices.Equal(fromNow, want(11, 40)) || !slices.Equal(fromThird, want(4, 40)) || !slices.Equal(fromFirst, want(1, 40)) {
			t.Errorf("got %v, %v and %v", fromNow, fromThird, fromFirst)
		}
	})
	usage(t, engine().Follow(t.Context(), query.SearchQuestion{AfterID: -2}, nil), "negative")
}

func TestHistogram(t *testing.T) {
	events := sample(t)
	g := engine(events...)
	var finals int64
	for i := range events {
		if events[i].Final {
			finals++
		}
	}
	a, err := g.Histogram(t.Context(), query.HistogramQuestion{})
	if err != nil || a.Total != finals || len(a.Buckets) > 60 || len(a.Buckets) < 20 || a.WidthUS != 10_000_000 {
		t.Fatalf("%d of %d in %d buckets of %d, %v", a.Total, finals, len(a.Buckets), a.WidthUS, err)
	}
	var sum, empty int64
	for i, b := range a.Buckets {
		sum += b.Count
		if b.Count == 0 {
			empty++
		}
		if int64(b.Start)%a.WidthUS != 0 || i > 0 && int64(b.Start-a.Buckets[i-1].Start) != a.WidthUS {
			t.Errorf("bucket %d starts at %s", i, b.Start)
		}
	}
	if sum != finals || empty == 0 {
		t.Errorf("sum %d, %d empty", sum, empty)
	}
	if a.Range.From != events[0].Time && a.Range.From > events[0].Time || a.Range.To == 0 {
		t.Errorf("range %+v", a.Range)
	}
	// Every number of buckets is kept to, and every range has a width.
	from := a.Range.From
	for _, length := range []audit.Time{1, 999, 1e6, 61e6, 3600e6, 86400e6 * 45, 86400e6 * 365 * 12, 86400e6 * 365 * 800} {
		for _, n := range []int{1, 2, 60, 2000} {
			a, err := g.Histogram(t.Context(), query.HistogramQuestion{Scope: query.Scope{Range: query.Range{From: from, To: from + length}}, Buckets: n})
			if err != nil || len(a.Buckets) == 0 || len(a.Buckets) > n && a.WidthUS > 1 {
				t.Errorf("%d for %d: %d buckets of %d, %v", n, length, len(a.Buckets), a.WidthUS, err)
				continue
			}
			last := a.Buckets[len(a.Buckets)-1].Start + audit.Time(a.WidthUS)
			if a.Buckets[0].Start > from || last < from+length {
				t.Errorf("%d for %d: buckets do not cover the range", n, length)
			}
		}
	}
	for _, tt := range []struct {
		q    query.HistogramQuestion
		want string
	}{
		{query.HistogramQuestion{WidthUS: 1}, "more than 2000"},
		{query.HistogramQuestion{WidthUS: -1}, "negative"},
		{query.HistogramQuestion{Buckets: 2001}, "not between 1 and 2000"},
	} {
		_, err := g.Histogram(t.Context(), tt.q)
		usage(t, err, tt.want)
	}
	if a, err := engine().Histogram(t.Context(), query.HistogramQuestion{}); err != nil || a.Buckets == nil || len(a.Buckets) != 0 {
		t.Errorf("empty: %+v, %v", a, err)
	}
	if a, err := g.Histogram(t.Context(), query.HistogramQuestion{Scope: query.Scope{Range: query.Range{From: from + 1e12}}}); err != nil || a.Total != 0 {
		t.Errorf("after the end: %+v, %v", a, err)
	}
}

// TestHistogramOfNoTime: an event without a time does not put 1970 on the axis.
func TestHistogramOfNoTime(t *testing.T) {
	events := sample(t)
	want, err := engine(events...).Histogram(t.Context(), query.HistogramQuestion{})
	if err != nil {
		t.Fatal(err)
	}
	last := events[len(events)-1].ID
	undated := []audit.Event{{ID: last + 1, Final: true}, {ID: last + 2, Final: true, Time: -1}, {ID: last + 3}}
	g := engine(append(events, undated...)...)
	got, err := g.Histogram(t.Context(), query.HistogramQuestion{})
	if err != nil || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0].Text, "2 events without a time") {
		t.Errorf("warnings %v, %v", got.Warnings, err)
	}
	if got.Warnings = nil; !reflect.DeepEqual(got, want) {
		t.Errorf("%d bars of %d from %s, want %d of %d", len(got.Buckets), got.WidthUS, got.Range.From, len(want.Buckets), want.WidthUS)
	}
	if a, err := g.Histogram(t.Context(), query.HistogramQuestion{Scope: query.Scope{Filter: "verb == \"create\""}}); err != nil || a.Warnings != nil {
		t.Errorf("the filter leaves them out: %v, %v", a.Warnings, err)
	}
	// There is nothing but such events: one bar has them.
	if a, err := engine(undated[:2]...).Histogram(t.Context(), query.HistogramQuestion{}); err != nil || len(a.Buckets) != 1 || a.Total != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := g.Top(t.Context(), query.TopQuestion{By: []string{"time"}, Scope: query.Scope{Filter: "time < timestamp(\"1971-01-01T00:00:00Z\")"}}); err != nil || a.Total != 2 || len(a.Rows) != 2 {
		t.Errorf("top: %+v, %v", a, err)
	}
}

func TestTop(t *testing.T) {
	g := engine(sample(t)...)
	var b strings.Builder
	for _, q := range []query.TopQuestion{
		{By: []string{"user"}},
		{By: []string{"verb", "resource"}, Limit: 5},
		{By: []string{"groups"}, Limit: 5},
		{By: []string{"code"}, Scope: query.Scope{Filter: "code >= 400"}},
		{By: []string{"as_user"}, Scope: query.Scope{Filter: `as_user != ""`}},
		{By: []string{"final"}, Scope: query.Scope{Filter: `stage != ""`}},
	} {
		a, err := g.Top(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%v of %s: %d\n", a.By, a.Filter, a.Total)
		rows(&b, a.Rows)
	}
	golden.Check(t, "testdata/top.txt", b.String())
	for _, tt := range []struct {
		by    []string
		limit int
		want  string
	}{
		{nil, 0, "1 to 8 columns"},
		{[]string{"usr"}, 0, "did you mean user?"},
		{[]string{"raw"}, 0, "cannot be counted by"},
		{[]string{"verb", "verb"}, 0, "given twice"},
		{[]string{"verb"}, -1, "limit -1"},
		{[]string{"verb"}, 10_001, "limit 10001"},
	} {
		_, err := g.Top(t.Context(), query.TopQuestion{By: tt.by, Limit: tt.limit})
		usage(t, err, tt.want)
	}
	const writes = `user == "kubernetes-super-admin" && verb in ["create", "update", "patch", "delete", "deletecollection"]`
	all, err := g.Top(t.Context(), query.TopQuestion{By: []string{"user"}, Writes: true, Scope: query.Scope{Filter: `user == "kubernetes-super-admin"`}})
	some, err2 := g.Top(t.Context(), query.TopQuestion{By: []string{"user"}, Scope: query.Scope{Filter: writes + ` && !(api_group in ["authentication.k8s.io", "authorization.k8s.io"])`}})
	if err != nil || err2 != nil || len(all.Rows) != 1 || all.Rows[0].Writes == 0 || all.Rows[0].Writes != some.Rows[0].Count || some.Rows[0].Writes != 0 {
		t.Errorf("writes: %+v and %+v, %v, %v", all.Rows, some.Rows, err, err2)
	}
	first, err := g.Top(t.Context(), query.TopQuestion{By: []string{"verb"}, WritesFirst: true, Limit: 100})
	if err != nil || !slices.IsSortedFunc(first.Rows, func(a, b query.GroupRow) int { return cmp.Compare(b.Writes, a.Writes) }) || first.Rows[0].Writes == 0 || slices.IsSortedFunc(first.Rows, func(a, b query.GroupRow) int { return cmp.Compare(b.Count, a.Count) }) {
		t.Errorf("those who write most do not come first: %+v, %v", first.Rows, err)
	}
	if a, err := engine().Top(t.Context(), query.TopQuestion{By: []string{"verb"}}); err != nil || a.Rows == nil || a.Total != 0 {
		t.Errorf("%+v, %v", a, err)
	}
}

func rows(b *strings.Builder, rows []query.GroupRow) {
	for _, r := range rows {
		fmt.Fprintf(b, "  %5d %4d failed  %s - %s  %q\n", r.Count, r.Failed, r.First, r.Last, r.Keys)
	}
}

func TestActor(t *testing.T) {
	g := engine(sample(t)...)
	var b strings.Builder
	for _, user := range []string{"kubernetes-super-admin", "mallory@example.com", "system:node:cp1"} {
		a, err := g.Actor(t.Context(), query.ActorQuestion{User: user, Limit: 6})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s (%s): %d requests, %d failed, %s - %s\n", a.User, a.Filter, a.Requests, a.Failed, a.First, a.Last)
		v := reflect.ValueOf(a)
		for i := range v.NumField() {
			if list, ok := v.Field(i).Interface().([]query.GroupRow); ok {
				if list == nil {
					t.Errorf("%s is null", v.Type().Field(i).Name)
				}
				fmt.Fprintf(&b, " %s\n", v.Type().Field(i).Name)
				rows(&b, list)
			}
		}
	}
	golden.Check(t, "testdata/actor.txt", b.String())
	_, err := g.Actor(t.Context(), query.ActorQuestion{})
	usage(t, err, "name a user")
	// A hostile name is a name.
	a, err := g.Actor(t.Context(), query.ActorQuestion{User: `" || true || "`})
	if err != nil || a.Requests != 0 {
		t.Errorf("%+v, %v", a, err)
	}
}

// failing is a Source whose second question for groups fails.
type failing struct {
	*querytest.Source
	err   error
	calls chan struct{}
}

func (f *failing) Group(ctx context.Context, r query.GroupRequest) ([]query.GroupRow, query.Warnings, error) {
	f.calls <- struct{}{}
	if len(f.calls) == 2 {
		return nil, nil, f.err
	}
	<-ctx.Done()
	return nil, nil, ctx.Err()
}

func (f *failing) Groups(ctx context.Context, rs []query.GroupRequest) ([][]query.GroupRow, query.Warnings, error) {
	_, w, err := f.Group(ctx, rs[0])
	return nil, w, err
}

func TestActorFails(t *testing.T) {
	src := &failing{querytest.New(), errors.New("disk on fire"), make(chan struct{}, 100)}
	if _, err := query.NewEngine(src).Actor(t.Context(), query.ActorQuestion{User: "x"}); !errors.Is(err, src.err) {
		t.Errorf("got %v", err)
	}
}

// TestAnswersEncode holds that an answer survives JSON, as a client gets it.
func TestAnswersEncode(t *testing.T) {
	g := engine(sample(t)...)
	a, err := g.History(t.Context(), query.HistoryQuestion{Resource: "deployments", Namespace: "payments", Name: "web", Diff: true, Limit: 20})
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.Changes {
		a.Changes[i].Event.Version = "" // no column
	}
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var again query.HistoryAnswer
	if err := json.Unmarshal(b, &again); err != nil || !reflect.DeepEqual(a, again) {
		t.Errorf("differs after JSON: %v", err)
	}
}
