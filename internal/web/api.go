package web

import (
	_ "embed" // the OpenAPI document
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

//go:embed openapi.json
var openAPI []byte

func (s *server) routeAPI() {
	s.handle("GET /api/v1/events", s.getEvents)
	s.handle("GET /api/v1/events/{id}", s.getEvent)
	s.handle("GET /api/v1/events/follow", s.getFollow)
	s.handle("GET /api/v1/histogram", s.getHistogram)
	s.handle("GET /api/v1/top", s.getTop)
	s.handle("GET /api/v1/facets", s.getFacets)
	s.handle("GET /api/v1/objects", s.getObjects)
	s.handle("GET /api/v1/lanes", s.getLanes)
	s.handle("GET /api/v1/history", s.getHistory)
	s.handle("GET /api/v1/actor", s.getActor)
	s.handle("GET /api/v1/day", s.getDay)
	s.handle("GET /api/v1/export", s.getExport)
	s.handle("GET /api/v1/quarantine", s.getQuarantine)
	s.handle("POST /api/v1/sql", s.postSQL)
	s.handle("GET /api/v1/sources", s.getSources)
	s.handle("POST /api/v1/import", s.postImport)
	s.handle("GET /api/v1/openapi.json", func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-cache")
		_, err := w.Write(openAPI)
		return err
	})
}

// answer writes v as JSON, with all of its fields from one moment.
func answer(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	// A client that does not read must not hold an answer's memory for ever. A
	// writer without deadlines (a test's) cannot be held either.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	return encoder(w).Encode(v)
}

func (s *server) getEvents(w http.ResponseWriter, r *http.Request) error {
	accept := r.Header.Get("Accept")
	if strings.Contains(accept, typeSSE) {
		return s.getFollow(w, r)
	}
	lines := strings.Contains(accept, typeLines)
	p := newParams(r, known("limit", "cursor", "ascending", "raw")...)
	q := query.SearchQuestion{
		Scope:     p.scope(),
		Cursor:    p.text("cursor"),
		Ascending: p.flag("ascending", false),
		NoRaw:     !p.flag("raw", true),
	}
	if lines {
		q.Limit = int(p.number("limit", 0, 0, math.MaxInt32))
	} else {
		q.Limit = int(p.number("limit", defaultLimit, 1, maxJSONLimit))
	}
	if err := p.err(); err != nil {
		return err
	}
	if lines {
		return s.streamEvents(w, r, q)
	}
	return s.listEvents(w, r, q)
}

// eventAnswer is one event, and what it says in a sentence.
type eventAnswer struct {
	Event    wireEvent    `json:"event"`
	Sentence string       `json:"sentence"`
	Parts    []query.Part `json:"parts"`
}

func (s *server) getEvent(w http.ResponseWriter, r *http.Request) error {
	if err := newParams(r).err(); err != nil {
		return err
	}
	e, err := s.event(r, r.PathValue("id"))
	if err != nil {
		return err
	}
	return answer(w, eventAnswer{Event: sendable(e), Sentence: query.Sentence(e), Parts: query.Parts(e)})
}

// event finds one event by its ID, of whatever stage.
func (s *server) event(r *http.Request, id string) (*audit.Event, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n <= 0 {
		return nil, &query.UsageError{Message: fmt.Sprintf("event %.40q: not the number of an event", id)}
	}
	ctx, _, stop := s.limit(r.Context())
	defer stop()
	var found *audit.Event
	// Naming final keeps the default from being added.
	q := query.SearchQuestion{Scope: query.Scope{Filter: fmt.Sprintf("id == %d && (final || !final)", n)}, Limit: 1}
	_, err = s.Questions.Search(ctx, q, func(e *audit.Event) error {
		found = ownEvent(e)
		return nil
	})
	if err != nil {
		return nil, limited(ctx, err)
	}
	if found == nil {
		return nil, &Error{Code: CodeNotFound, Message: fmt.Sprintf("no event %d; it may be older than what the store keeps", n)}
	}
	return found, nil
}

func (s *server) getHistogram(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r, known("width_us", "buckets")...)
	q := query.HistogramQuestion{
		Scope:   p.scope(),
		WidthUS: p.number("width_us", 0, 0, math.MaxInt64),
		Buckets: int(p.number("buckets", 0, 0, maxJSONLimit)),
	}
	if err := p.err(); err != nil {
		return err
	}
	ctx, _, stop := s.limit(r.Context())
	defer stop()
	a, err := s.Questions.Histogram(ctx, q)
	if err != nil {
		return limited(ctx, err)
	}
	return answer(w, a)
}

func (s *server) getTop(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r, known("by", "limit", "writes", "writes_first")...)
	q := query.TopQuestion{
		Scope: p.scope(), Limit: int(p.number("limit", 0, 0, maxJSONLimit)), Writes: p.flag("writes", false), WritesFirst: p.flag("writes_first", false),
	}
	for _, by := range p.values["by"] {
		q.By = append(q.By, strings.Split(by, ",")...)
	}
	if err := p.err(); err != nil {
		return err
	}
	ctx, _, stop := s.limit(r.Context())
	defer stop()
	a, err := s.Questions.Top(ctx, q)
	if err != nil {
		return limited(ctx, err)
	}
	return answer(w, a)
}

func (s *server) getHistory(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r, known("resource", "api_group", "namespace", "name", "limit", "cursor", "diff", "noise")...)
	q := query.HistoryQuestion{
		Scope:     p.scope(),
		Resource:  p.required("resource"),
		APIGroup:  p.text("api_group"),
		Namespace: p.text("namespace"),
		Name:      p.required("name"),
		Limit:     int(p.number("limit", 0, 0, maxJSONLimit)),
		Cursor:    p.text("cursor"),
		Diff:      p.flag("diff", false),
		Noise:     p.flag("noise", false),
	}
	if err := p.err(); err != nil {
		return err
	}
	ctx, _, stop := s.limit(r.Context())
	defer stop()
	a, err := s.Questions.History(ctx, q)
	if err != nil {
		return limited(ctx, err)
	}
	return answer(w, a)
}

func (s *server) getActor(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r, known("user", "limit")...)
	q := query.ActorQuestion{Scope: p.scope(), User: p.required("user"), Limit: int(p.number("limit", 0, 0, maxJSONLimit))}
	if err := p.err(); err != nil {
		return err
	}
	ctx, _, stop := s.limit(r.Context())
	defer stop()
	a, err := s.Questions.Actor(ctx, q)
	if err != nil {
		return limited(ctx, err)
	}
	return answer(w, a)
}

func (s *server) getDay(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r, known("user", "limit")...)
	q := query.DayQuestion{Scope: p.scope(), User: p.required("user"), Limit: int(p.number("limit", 0, 0, maxJSONLimit))}
	if err := p.err(); err != nil {
		return err
	}
	ctx, _, stop := s.limit(r.Context())
	defer stop()
	a, err := s.Questions.Day(ctx, q)
	if err != nil {
		return limited(ctx, err)
	}
	return answer(w, a)
}

func (s *server) getSources(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r, "trends")
	trends := p.flag("trends", false)
	if err := p.err(); err != nil {
		return err
	}
	st := s.status()
	if trends && s.Trends != nil {
		t := s.Trends()
		st.Trends = &t
	}
	return answer(w, st)
}

// status is Status with this server's version and no list that is null.
func (s *server) status() Status {
	st := s.Status()
	if st.Version == "" {
		st.Version = s.Version
	}
	if st.Sources == nil {
		st.Sources = []SourceState{}
	}
	return st
}

func (s *server) postSQL(w http.ResponseWriter, r *http.Request) error {
	if err := newParams(r).err(); err != nil {
		return err
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != typeJSON {
		return &query.UsageError{Message: `the body must be application/json: {"sql": "SELECT ..."}`}
	}
	var body struct {
		SQL string `json:"sql"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSQLBody))
	d.DisallowUnknownFields()
	err := d.Decode(&body)
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return err
	}
	if err != nil {
		return &query.UsageError{Message: `the body is not {"sql": "SELECT ..."}: ` + err.Error()}
	}
	if strings.TrimSpace(body.SQL) == "" {
		return &query.UsageError{Message: "the statement is empty; try SELECT count(*) FROM events"}
	}
	return s.streamSQL(w, r, body.SQL)
}

func (s *server) postImport(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r, "name", "cluster")
	name, cluster := p.required("name"), p.text("cluster")
	if len(name) > maxNameBytes || len(cluster) > maxNameBytes {
		p.fail(fmt.Sprintf("a name may have %d bytes", maxNameBytes))
	}
	if err := p.err(); err != nil {
		return err
	}
	if s.Import == nil {
		return &Error{Code: CodeUnavailable, Message: "this server takes no imports"}
	}
	body := &patientReader{r: r.Body, rc: http.NewResponseController(w)}
	summary, err := s.Import(r.Context(), name, cluster, body)
	if err != nil {
		w.Header().Set("Connection", "close") // the rest of the body is not wanted
		return err
	}
	return answer(w, summary)
}

// patientReader reads an upload of any length, but not from a client that has
// stopped sending.
type patientReader struct {
	r  io.Reader
	rc *http.ResponseController
}

func (p *patientReader) Read(b []byte) (int, error) {
	_ = p.rc.SetReadDeadline(time.Now().Add(readTimeout)) // as in answer
	return p.r.Read(b)
}
