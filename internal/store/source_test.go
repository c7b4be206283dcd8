package store

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// logEvents decodes a log; the events live as long as the batch that holds them.
func logEvents(t testing.TB, path string) []audit.Event {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = bufio.NewReader(f)
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	b := &audit.Batch{Cluster: "c1", Source: filepath.Base(path)}
	for line := range bytes.Lines(text) {
		if err := b.Add(bytes.TrimRight(line, "\n")); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.Events) < 1000 {
		t.Fatalf("%s has %d events, too few to prove anything", path, len(b.Events))
	}
	return b.Events
}

// sampleEvents are those of the shipped log, and of the logs that KTRAIL_TEST_LOGS
// names, and hostile ones made up here.
func sampleEvents(t testing.TB) []audit.Event {
	t.Helper()
	events := logEvents(t, filepath.Join("..", "..", "testdata", "audit-sample.log.gz"))
	for _, path := range filepath.SplitList(os.Getenv("KTRAIL_TEST_LOGS")) {
		events = append(events, logEvents(t, path)...)
	}
	return append(events, hostileEvents(events[0].Time)...)
}

// hostileEvents have in their columns what breaks quoting, ordering and sizes.
func hostileEvents(at audit.Time) []audit.Event {
	var events []audit.Event
	for i, s := range hostileTexts() {
		e := audit.Event{
			Time: at + audit.Time(i/3), Received: at, Cluster: s, Source: s, AuditID: s, Stage: audit.StageResponseComplete, Level: audit.LevelMetadata,
			Verb: s, User: s, UserUID: s, Agent: s, URI: s, APIGroup: s, APIVersion: s, Resource: s, Subresource: s, Namespace: s, Name: s,
			ObjectUID: s, Code: int32(i*100 - 200), Reason: s, Message: s, Decision: s, DecisionReason: s, LatencyUS: int64(i) - 3,
			CredentialID: s, Pod: s, Truncated: i%2 == 0, Final: i%3 != 0, Raw: fmt.Sprintf(`{"n":%d,"s":%q}`, i, s),
		}
		if i > 0 {
			e.Groups = []string{s, "system:authenticated", hostileTexts()[i-1]}
			e.AsGroups = []string{s, s}
			e.SourceIPs = []string{"10.0.0." + strconv.Itoa(i)}
		}
		events = append(events, e)
	}
	events[1].Time, events[1].Received = -1_500_000, 0 // before 1970
	events[2].Time = -86_400_000_000
	events[3].Raw = "{\"not\":\"UTF-8 \xff\xfe\",\x00}"
	return events
}

func hostileTexts() []string {
	return []string{
		"", "'", "''; DROP VIEW events; --", `"`, `\`, "\x00", "a\x00b", "%", "_", "a%b_c", "é", "e\u0301", "日本語", "🙂", "\uFFFD", "\u00ff",
		"$files", "$1", "?", "m1", "line\nbreak", "tab\t", "\r", "A", "a", "Ω", "ω", strings.Repeat("long ", 300), "user@example.com",
		"system:serviceaccount:kube-system:x", "[a-z]+", "(", "K", "\u212a", "ſ", "\u2028", "0", "-1", "NULL", "true",
	}
}

func openTestStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Dir: dir, Logger: slog.New(slog.DiscardHandler), NoBackground: true, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fill stores events in commits of which each takes every n-th, so that all
// segments overlap in time, and sets the events' IDs.
func fill(t testing.TB, s *Store, events []audit.Event, n int) {
	t.Helper()
	for i := range n {
		var part []audit.Event
		var at []int
		for j := i; j < len(events); j += n {
			part, at = append(part, events[j]), append(at, j)
		}
		res, err := s.Append(t.Context(), Commit{Source: "test", Events: part})
		if err != nil {
			t.Fatal(err)
		}
		if res.Added != len(part) {
			t.Fatalf("added %d of %d events; is a line in the sample twice?", res.Added, len(part))
		}
		for k, j := range at {
			events[j].ID = part[k].ID
		}
	}
}

// sorted is the events newest first.
func sorted(events []audit.Event) []*audit.Event {
	var list []*audit.Event
	for i := range events {
		list = append(list, &events[i])
	}
	slices.SortFunc(list, func(a, b *audit.Event) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(b.ID, a.ID))
	})
	return list
}

func search(t testing.TB, s *Store, r query.SearchRequest) []audit.Event {
	t.Helper()
	var got []audit.Event
	warn, err := s.Search(t.Context(), r, func(e *audit.Event) error {
		got = append(got, *cloneFollowed(e))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(warn) > 0 {
		t.Fatalf("warnings: %q", warn)
	}
	return got
}

// differs says in which column got is not want, "" if in none.
func differs(got, want *audit.Event) string {
	for _, c := range query.Columns() {
		g, w := c.Value(got), c.Value(want)
		if gl, ok := g.([]string); ok {
			if !slices.Equal(gl, w.([]string)) {
				return fmt.Sprintf("%s: got %q, want %q", c.Name, g, w)
			}
		} else if g != w {
			return fmt.Sprintf("%s: got %.200q, want %.200q", c.Name, fmt.Sprint(g), fmt.Sprint(w))
		}
	}
	return ""
}

func TestSearch(t *testing.T) {
	events := sampleEvents(t)
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 5)
	newest := sorted(events)

	t.Run("every column of every event", func(t *testing.T) {
		got := search(t, s, query.SearchRequest{})
		if len(got) != len(newest) {
			t.Fatalf("got %d events, want %d", len(got), len(newest))
		}
		for i := range got {
			if d := differs(&got[i], newest[i]); d != "" {
				t.Fatalf("event %d (id %d): %s", i, newest[i].ID, d)
			}
		}
	})
	t.Run("pages", func(t *testing.T) {
		for _, ascending := range []bool{false, true} {
			want := slices.Clone(newest)
			if ascending {
				slices.Reverse(want)
			}
			for _, limit := range []int{1, 7, 1000, len(want), len(want) + 1} {
				var after query.Position
				for at := 0; at < len(want) && at < 20*limit; {
					page := search(t, s, query.SearchRequest{Limit: limit, After: after, Ascending: ascending, NoRaw: true})
					if n := min(limit, len(want)-at); len(page) != n {
						t.Fatalf("ascending %v, limit %d: page at %d has %d events, want %d", ascending, limit, at, len(page), n)
					}
					for i := range page {
						if page[i].ID != want[at+i].ID {
							t.Fatalf("ascending %v, limit %d: event %d has id %d, want %d", ascending, limit, at+i, page[i].ID, want[at+i].ID)
						}
						if page[i].Raw != "" {
							t.Fatal("NoRaw gave a raw line")
						}
					}
					last := page[len(page)-1]
					after = query.Position{Time: last.Time, ID: last.ID}
					at += len(page)
				}
			}
		}
	})
	t.Run("range", func(t *testing.T) {
		r := query.Range{From: newest[900].Time, To: newest[100].Time}
		var want []int64
		for _, e := range newest {
			if e.Time >= r.From && e.Time < r.To {
				want = append(want, e.ID)
			}
		}
		if got := idsOf(search(t, s, query.SearchRequest{Range: r})); !slices.Equal(got, want) {
			t.Fatalf("got %d events, want %d", len(got), len(want))
		}
	})
	t.Run("the caller's error ends it and comes back", func(t *testing.T) {
		stop := errors.New("enough")
		n := 0
		_, err := s.Search(t.Context(), query.SearchRequest{}, func(*audit.Event) error {
			if n++; n == 3 {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) || n != 3 {
			t.Fatalf("err %v after %d events", err, n)
		}
	})
}

func idsOf(events []audit.Event) []int64 {
	var ids []int64
	for i := range events {
		ids = append(ids, events[i].ID)
	}
	return ids
}

func TestEmptyStore(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	if got := search(t, s, query.SearchRequest{Limit: 10}); len(got) != 0 {
		t.Errorf("search: %v", got)
	}
	rows, _, err := s.Group(t.Context(), query.GroupRequest{By: []string{"user"}})
	if err != nil || len(rows) != 0 {
		t.Errorf("group: %v, %v", rows, err)
	}
	if rows, _, err = s.Group(t.Context(), query.GroupRequest{}); err != nil || len(rows) != 1 || rows[0].Count != 0 {
		t.Errorf("group over all: %v, %v", rows, err)
	}
	if b, _, err := s.Histogram(t.Context(), query.HistogramRequest{Width: 1e6}); err != nil || len(b) != 0 {
		t.Errorf("histogram: %v, %v", b, err)
	}
	if b, err := s.Bounds(t.Context()); err != nil || b != (query.Bounds{}) {
		t.Errorf("bounds: %v, %v", b, err)
	}
}

func TestBounds(t *testing.T) {
	events := sampleEvents(t)
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 3)
	newest := sorted(events)
	want := query.Bounds{Events: int64(len(events)), First: newest[len(newest)-1].Time, Last: newest[0].Time, LastID: int64(len(events))}
	if got, err := s.Bounds(t.Context()); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

// keysOf is what Group promises: one key for each different member of a list.
func keysOf(c *query.Column, e *audit.Event) []string {
	switch v := c.Value(e).(type) {
	case []string:
		return slices.Compact(slices.Sorted(slices.Values(v)))
	case audit.Time:
		return []string{v.String()}
	default:
		return []string{fmt.Sprint(v)}
	}
}

func TestGroup(t *testing.T) { byBoth(t, testGroup) }

func testGroup(t *testing.T, open func(testing.TB) *Store) {
	events := sampleEvents(t)
	s := open(t)
	fill(t, s, events, 4)
	var by [][]string
	for _, c := range query.Columns() {
		if c.Name != "raw" {
			by = append(by, []string{c.Name})
		}
	}
	by = append(by, nil, []string{"user", "verb", "code"}, []string{"groups", "source_ips"}, []string{"groups", "as_groups"}, []string{"final", "time"})
	f, err := query.Parse(`verb != "get" || code >= 400`)
	if err != nil {
		t.Fatal(err)
	}
	for _, cols := range by {
		for _, filter := range []*query.Filter{nil, f} {
			want := map[string]*query.GroupRow{}
			for i := range events {
				e := &events[i]
				if !filter.Match(e) {
					continue
				}
				all := [][]string{{}}
				for _, name := range cols {
					c, err := query.LookupColumn(name)
					if err != nil {
						t.Fatal(err)
					}
					var next [][]string
					for _, prefix := range all {
						for _, k := range keysOf(c, e) {
							next = append(next, append(slices.Clone(prefix), k))
						}
					}
					all = next
				}
				for _, keys := range all {
					id := strings.Join(keys, "\x01")
					g := want[id]
					if g == nil {
						g = &query.GroupRow{Keys: keys, First: e.Time, Last: e.Time}
						want[id] = g
					}
					g.Count++
					if e.Code >= 400 {
						g.Failed++
					}
					g.First, g.Last = min(g.First, e.Time), max(g.Last, e.Time)
				}
			}
			rows, _, err := s.Group(t.Context(), query.GroupRequest{By: cols, Filter: filter})
			if err != nil {
				t.Fatalf("by %v: %v", cols, err)
			}
			if len(rows) != len(want) {
				t.Errorf("by %v: got %d rows, want %d", cols, len(rows), len(want))
			}
			for i, r := range rows {
				w := want[strings.Join(r.Keys, "\x01")]
				if w == nil || w.Count != r.Count || w.Failed != r.Failed || w.First != r.First || w.Last != r.Last {
					t.Errorf("by %v: got %+v, want %+v", cols, r, w)
				}
				if i > 0 && rows[i-1].Count < r.Count {
					t.Errorf("by %v: row %d is out of order", cols, i)
				}
			}
			top, _, err := s.Group(t.Context(), query.GroupRequest{By: cols, Filter: filter, Limit: 3})
			if err != nil || len(top) != min(3, len(rows)) {
				t.Errorf("by %v, limit 3: %d rows, %v", cols, len(top), err)
			}
			for i := range top {
				if !slices.Equal(top[i].Keys, rows[i].Keys) {
					t.Errorf("by %v, limit 3: row %d is %v, without limit %v", cols, i, top[i], rows[i])
				}
			}
		}
	}
	for _, bad := range []string{"raw", "nosuch", `user" FROM x --`} {
		var usage *query.UsageError
		if _, _, err := s.Group(t.Context(), query.GroupRequest{By: []string{bad}}); !errors.As(err, &usage) {
			t.Errorf("by %q: %v, want a usage error", bad, err)
		}
	}
}

func TestHistogram(t *testing.T) {
	events := sampleEvents(t)
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 4)
	for _, width := range []int64{1, 1000, 1e6, 60e6, 3600e6, 86400e6} {
		for _, rng := range []query.Range{{}, {From: events[10].Time, To: events[0].Time + 1e9}} {
			want := map[audit.Time]query.Bucket{}
			for i := range events {
				e := &events[i]
				if rng.From != 0 && (e.Time < rng.From || e.Time >= rng.To) {
					continue
				}
				start := int64(e.Time) / width
				if int64(e.Time)%width < 0 {
					start--
				}
				b := want[audit.Time(start*width)]
				b.Start = audit.Time(start * width)
				b.Count++
				if e.Code >= 400 {
					b.Failed++
				}
				switch {
				case e.Code == 401 || e.Code == 403:
					b.Denied++
				case e.Code >= 500:
					b.Errors++
				}
				want[b.Start] = b
			}
			got, _, err := s.Histogram(t.Context(), query.HistogramRequest{Width: width, Range: rng})
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(want) || len(got) == 0 {
				t.Errorf("width %d: %d buckets, want %d", width, len(got), len(want))
			}
			for i, b := range got {
				if want[b.Start] != b {
					t.Errorf("width %d: got %+v, want %+v", width, b, want[b.Start])
				}
				if i > 0 && got[i-1].Start >= b.Start {
					t.Errorf("width %d: bucket %d is out of order", width, i)
				}
			}
		}
	}
	var usage *query.UsageError
	if _, _, err := s.Histogram(t.Context(), query.HistogramRequest{}); !errors.As(err, &usage) {
		t.Errorf("width 0: %v, want a usage error", err)
	}
}

// TestCancelled asks with a context that has ended, and ends one while rows come.
// TestSlowReaders: those who take their time over an answer do not keep others waiting.
func TestSlowReaders(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	fill(t, s, sampleEvents(t), 2)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // never, unless they do
	defer cancel()
	const readers = 2 * defaultQueries
	var reading, done sync.WaitGroup
	release := make(chan struct{})
	for i := range readers {
		reading.Add(1)
		var once sync.Once
		slow := func(*audit.Event) error {
			once.Do(func() {
				reading.Done()
				<-release
			})
			return nil
		}
		done.Go(func() {
			if i%2 == 0 {
				if _, err := s.Search(ctx, query.SearchRequest{}, slow); err != nil {
					t.Error(err)
				}
				return
			}
			ctx, cancel := context.WithCancel(ctx)
			err := s.Follow(ctx, query.FollowRequest{}, func(e *audit.Event) error {
				defer cancel()
				return slow(e)
			})
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	reading.Wait()
	if _, _, err := s.Group(ctx, query.GroupRequest{By: []string{"user"}}); err != nil {
		t.Error(err)
	}
	close(release)
	done.Wait()
}

func TestCancelled(t *testing.T) {
	events := sampleEvents(t)
	s := openTestStore(t, t.TempDir())
	fill(t, s, events, 2)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err := s.Search(ctx, query.SearchRequest{}, func(*audit.Event) error {
		if n++; n == 10 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || n == len(events) {
		t.Errorf("search: %v after %d events", err, n)
	}
	if _, _, err := s.Activity(ctx, query.ActivityRequest{Width: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("activity: %v", err)
	}
	if _, _, err := s.Group(ctx, query.GroupRequest{By: []string{"user"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("group: %v", err)
	}
	if got := search(t, s, query.SearchRequest{Limit: 1}); len(got) != 1 {
		t.Error("the store answers no more")
	}
}
