package web

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// endless is questions whose searches find copies of one event for ever.
type endless struct {
	query.Questions
	event audit.Event
	fail  int // the event that cannot be read, from 1; 0 for none
}

func (e *endless) Search(_ context.Context, q query.SearchQuestion, yield func(*audit.Event) error) (query.SearchAnswer, error) {
	return e.answer(q, yield)
}

// stuck is questions that take for ever. It tells when one begins, and why it ended.
type stuck struct {
	query.Questions
	began, ended chan error
}

func (s *stuck) wait(ctx context.Context) error {
	s.began <- nil
	<-ctx.Done()
	s.ended <- context.Cause(ctx)
	return ctx.Err()
}

func (s *stuck) Search(ctx context.Context, _ query.SearchQuestion, _ func(*audit.Event) error) (query.SearchAnswer, error) {
	return query.SearchAnswer{}, s.wait(ctx)
}

func (s *stuck) Follow(ctx context.Context, _ query.SearchQuestion, _ func(*audit.Event) error) error {
	return s.wait(ctx)
}

func (s *stuck) Histogram(ctx context.Context, _ query.HistogramQuestion) (a query.HistogramAnswer, err error) {
	return a, s.wait(ctx)
}

func (s *stuck) Top(ctx context.Context, _ query.TopQuestion) (a query.TopAnswer, err error) {
	return a, s.wait(ctx)
}

func (s *stuck) History(ctx context.Context, _ query.HistoryQuestion) (a query.HistoryAnswer, err error) {
	return a, s.wait(ctx)
}

func (s *stuck) Actor(ctx context.Context, _ query.ActorQuestion) (a query.ActorAnswer, err error) {
	return a, s.wait(ctx)
}

func (s *stuck) Day(ctx context.Context, _ query.DayQuestion) (a query.DayAnswer, err error) {
	return a, s.wait(ctx)
}

func (s *stuck) Facets(ctx context.Context, _ query.FacetsQuestion) (a query.FacetsAnswer, err error) {
	return a, s.wait(ctx)
}

func (s *stuck) Objects(ctx context.Context, _ query.ObjectsQuestion) (a query.ObjectsAnswer, err error) {
	return a, s.wait(ctx)
}

func (s *stuck) Lanes(ctx context.Context, _ query.LanesQuestion) (a query.LanesAnswer, err error) {
	return a, s.wait(ctx)
}

func (s *stuck) SQL(ctx context.Context, _ string, _ func(query.SQLRow) error) (query.Warnings, error) {
	return nil, s.wait(ctx)
}

// questions are requests that ask the store.
var questions = []struct{ method, path, body string }{
	{"GET", "/api/v1/events", ""},
	{"GET", "/api/v1/events/7", ""},
	{"GET", "/api/v1/histogram", ""},
	{"GET", "/api/v1/top?by=user", ""},
	{"GET", "/api/v1/history?resource=pods&name=x", ""},
	{"GET", "/api/v1/actor?user=x", ""},
	{"GET", "/api/v1/day?user=x", ""},
	{"GET", "/api/v1/facets?columns=user", ""},
	{"GET", "/api/v1/objects", ""},
	{"GET", "/api/v1/lanes", ""},
	{"GET", "/api/v1/export?format=jsonl", ""},
	{"GET", "/api/v1/export?format=csv", ""},
	{"GET", "/api/v1/export?format=html", ""},
	{"GET", "/api/v1/quarantine", ""},
	{"POST", "/api/v1/sql", `{"sql":"SELECT 1"}`},
}

// TestDroppedRequestsStop: when the client goes away, its question ends.
func TestDroppedRequestsStop(t *testing.T) {
	s := &stuck{began: make(chan error, 1), ended: make(chan error, 1)}
	ts := newTestServer(t, nil, func(o *Options) {
		o.Questions = s
		o.Quarantine = func(ctx context.Context, _ QuarantineQuestion) (QuarantineAnswer, error) {
			return QuarantineAnswer{}, s.wait(ctx)
		}
	})
	more := append(questions, struct{ method, path, body string }{"GET", "/api/v1/events/follow", ""})
	for _, q := range more {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, q.method, ts.URL+q.path, strings.NewReader(q.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", typeJSON)
		gone := make(chan error, 1)
		go func() {
			resp, err := http.DefaultClient.Do(req)
			if err == nil {
				resp.Body.Close()
			}
			gone <- err
		}()
		<-s.began
		cancel()
		<-gone
		if cause := <-s.ended; cause != context.Canceled { //nolint:errorlint // the very one
			t.Errorf("%s %s ended for %v", q.method, q.path, cause)
		}
	}
}

// TestQuestionsTakeLimitedTime: each says how to ask for less.
func TestQuestionsTakeLimitedTime(t *testing.T) {
	s := &stuck{began: make(chan error, 1), ended: make(chan error, 1)}
	ts := newTestServer(t, nil, func(o *Options) {
		o.QueryTimeout = time.Millisecond
		o.Questions = s
		o.Quarantine = func(ctx context.Context, _ QuarantineQuestion) (QuarantineAnswer, error) {
			return QuarantineAnswer{}, s.wait(ctx)
		}
	})
	for _, q := range questions {
		resp, body := fetch(t, q.method, ts.URL+q.path, q.body, "Content-Type", typeJSON)
		<-s.began
		<-s.ended
		if resp.StatusCode != 504 || !strings.Contains(body, "narrow the range of time") {
			t.Errorf("%s: %d %s", q.path, resp.StatusCode, body)
		}
	}
}
