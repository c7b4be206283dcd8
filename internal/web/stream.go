package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

const (
	typeJSON  = "application/json"
	typeLines = "application/x-ndjson"
	typeSSE   = "text/event-stream"

	// writeTimeout is how long a client may leave written bytes unread. Nothing is
	// kept for a slow one: the query waits, and ends with the connection.
	writeTimeout = 30 * time.Second
	// readTimeout is how long an upload may stand still.
	readTimeout = 2 * time.Minute
	// flushEvery is how long a row may wait for the ones after it.
	flushEvery = 100 * time.Millisecond
	// maxStreams is how many follow streams and streamed answers may be open. A
	// client that does not read holds what the store has read ahead for it, with
	// lines up to some 35 MB (measured); 60 of them took 2.4 GB.
	maxStreams = 24
)

// begin takes one of the streams there may be; end gives it back.
func (s *server) begin() (end func(), err error) {
	select {
	case s.streams <- struct{}{}:
		return func() { <-s.streams }, nil
	default:
		return nil, &Error{Code: CodeUnavailable, Message: fmt.Sprintf("%d streams are open already: end one, or try again later", maxStreams)}
	}
}

// ownEvent copies an event that is valid during a call only.
func ownEvent(e *audit.Event) *audit.Event {
	c := *e
	c.Groups, c.AsGroups, c.SourceIPs = cloneTexts(e.Groups), cloneTexts(e.AsGroups), cloneTexts(e.SourceIPs)
	for _, s := range []*string{
		&c.Cluster, &c.Source, &c.AuditID, &c.Stage, &c.Level, &c.Verb, &c.User, &c.UserUID, &c.AsUser, &c.Agent, &c.URI,
		&c.APIGroup, &c.APIVersion, &c.Resource, &c.Subresource, &c.Namespace, &c.Name, &c.ObjectUID, &c.Reason, &c.Message,
		&c.Decision, &c.DecisionReason, &c.CredentialID, &c.Pod, &c.Raw, &c.Version,
	} {
		*s = strings.Clone(*s)
	}
	return &c
}

func cloneTexts(list []string) []string {
	if list == nil {
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.Clone(s)
	}
	return out
}

// listEvents answers one JSON document, written as the events come: memory does
// not grow with their bodies.
func (s *server) listEvents(w http.ResponseWriter, r *http.Request, q query.SearchQuestion) error {
	ctx, more, stop := s.limit(r.Context())
	defer stop()
	out := newChunks(w, typeJSON)
	n := 0
	a, err := s.Questions.Search(ctx, q, func(e *audit.Event) error {
		more()
		s.meters.events.Inc()
		before := ","
		if n == 0 {
			before = `{"events":[`
		}
		n++
		return out.write(before, sendable(e))
	})
	if err != nil {
		return limited(ctx, err) // broken off if a part was sent
	}
	if n == 0 {
		return answer(w, struct {
			Events []wireEvent `json:"events"`
			query.SearchAnswer
		}{[]wireEvent{}, a})
	}
	tail, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := out.text("]," + string(tail[1:]) + "\n"); err != nil {
		return err
	}
	return out.flush()
}

// streamEvents answers one line an event and a line that closes.
func (s *server) streamEvents(w http.ResponseWriter, r *http.Request, q query.SearchQuestion) error {
	end, err := s.begin()
	if err != nil {
		return err
	}
	defer end()
	ctx, more, stop := s.limit(r.Context())
	defer stop()
	out := newChunks(w, typeLines)
	a, err := s.Questions.Search(ctx, q, func(e *audit.Event) error {
		more()
		s.meters.events.Inc()
		we := sendable(e)
		return out.write("", eventLine{Event: &we})
	})
	if err != nil {
		err = limited(ctx, err)
		if !out.began() || r.Context().Err() != nil {
			return err
		}
		we := s.report(r, err)
		return out.last(eventLine{Error: &we})
	}
	return out.last(eventLine{End: &a})
}

func (s *server) streamSQL(w http.ResponseWriter, r *http.Request, sql string) error {
	end, err := s.begin()
	if err != nil {
		return err
	}
	defer end()
	ctx, more, stop := s.limit(r.Context())
	defer stop()
	out := newChunks(w, typeLines)
	first := true
	warnings, err := s.Questions.SQL(ctx, sql, func(row query.SQLRow) error {
		more()
		if first {
			first = false
			if err := out.write("", sqlLine{Columns: row.Columns}); err != nil {
				return err
			}
		}
		return out.write("", sqlLine{Row: wireRow(row.Values)})
	})
	if err != nil {
		err = limited(ctx, err)
		if !out.began() || r.Context().Err() != nil {
			return err
		}
		we := s.report(r, err)
		return out.last(sqlLine{Error: &we})
	}
	return out.last(sqlLine{End: &sqlEnd{Warnings: warnings}})
}

// chunks writes values that come one after the other. The status is sent with
// the first bytes, so an error before them still has its own.
type chunks struct {
	rc      *http.ResponseController
	w       http.ResponseWriter
	buf     *bufio.Writer
	enc     *json.Encoder
	flushed time.Time
	sent    bool
	kind    string
}

func newChunks(w http.ResponseWriter, kind string) *chunks {
	c := &chunks{rc: http.NewResponseController(w), w: w, kind: kind}
	c.buf = bufio.NewWriterSize(deadlineWriter{c}, 64<<10)
	c.enc = encoder(c.buf)
	return c
}

// deadlineWriter gives each write to the client its own time.
type deadlineWriter struct{ c *chunks }

func (d deadlineWriter) Write(p []byte) (int, error) {
	d.c.sent = true
	_ = d.c.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // as in answer
	return d.c.w.Write(p)
}

func (c *chunks) began() bool { return c.sent || c.buf.Buffered() > 0 }

func (c *chunks) begin() {
	if c.began() {
		return
	}
	h := c.w.Header()
	h.Set("Content-Type", c.kind)
	h.Set("Cache-Control", "no-store")
	c.flushed = time.Now()
}

// write writes text, then v and a newline.
func (c *chunks) write(before string, v any) error {
	c.begin()
	if _, err := c.buf.WriteString(before); err != nil {
		return err
	}
	if err := c.enc.Encode(v); err != nil {
		return err
	}
	if time.Since(c.flushed) < flushEvery {
		return nil
	}
	return c.flush()
}

func (c *chunks) text(t string) error {
	_, err := c.buf.WriteString(t)
	return err
}

func (c *chunks) flush() error {
	c.flushed = time.Now()
	if err := c.buf.Flush(); err != nil {
		return err
	}
	return c.rc.Flush()
}

func (c *chunks) last(v any) error {
	if err := c.write("", v); err != nil {
		return err
	}
	return c.flush()
}

// getFollow answers server-sent events: one for each audit event as it is
// committed, its ID as the event's. A browser that reconnects sends the last one
// it saw, and misses nothing.
func (s *server) getFollow(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r, known("after", "raw")...)
	q := query.SearchQuestion{Scope: p.scope(), NoRaw: !p.flag("raw", true)}
	q.AfterID = p.number("after", 0, 0, 1<<62)
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || n < 0 {
			p.fail(fmt.Sprintf("Last-Event-ID is %.40q, not the number of an event", id))
		}
		q.AfterID = n
	}
	if err := p.err(); err != nil {
		return err
	}
	return s.follow(w, r, q, func(e *audit.Event) (string, []byte, error) {
		var b strings.Builder
		err := encoder(&b).Encode(sendable(e))
		return "audit", []byte(strings.TrimSuffix(b.String(), "\n")), err
	})
}

// follow streams what format makes of each event until the client goes away. An
// event of kind "" is left out.
func (s *server) follow(w http.ResponseWriter, r *http.Request, q query.SearchQuestion, format func(*audit.Event) (string, []byte, error)) error {
	if _, err := query.Parse(q.Filter); err != nil {
		return err // while there still is a status to say it with
	}
	end, err := s.begin()
	if err != nil {
		return err
	}
	defer end()
	s.meters.follows.Inc()
	defer s.meters.follows.Dec()
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)

	out := &sse{w: w, rc: http.NewResponseController(w)}
	w.Header().Set("Content-Type", typeSSE)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	if err := out.send("retry: 1000\n\n"); err != nil {
		return err
	}
	beat := time.NewTicker(s.Heartbeat)
	defer beat.Stop()
	var beats sync.WaitGroup
	defer beats.Wait()
	defer cancel(nil)
	beats.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-beat.C:
				if err := out.send(": alive\n\n"); err != nil {
					cancel(err)
					return
				}
			}
		}
	})
	err = s.Questions.Follow(ctx, q, func(e *audit.Event) error {
		kind, data, err := format(e)
		if err != nil {
			return err
		}
		if kind == "" {
			return nil
		}
		s.meters.events.Inc()
		return out.event(e.ID, kind, data)
	})
	if ctx.Err() != nil || err == nil {
		return nil // the client went away, or the server stops
	}
	we := s.report(r, err)
	data, err := json.Marshal(errorAnswer{we})
	if err != nil {
		return err
	}
	return out.event(0, "failure", data)
}

// sse writes server-sent events from two goroutines.
type sse struct {
	mu sync.Mutex
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (s *sse) event(id int64, kind string, data []byte) error {
	var b strings.Builder
	if id > 0 {
		fmt.Fprintf(&b, "id: %d\n", id)
	}
	fmt.Fprintf(&b, "event: %s\n", kind)
	// A newline ends a field: each line of the data is a field of its own. A
	// carriage return would end one too.
	for line := range strings.SplitSeq(strings.ReplaceAll(string(data), "\r", ""), "\n") {
		b.WriteString("data: " + line + "\n")
	}
	b.WriteString("\n")
	return s.send(b.String())
}

func (s *sse) send(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // as in answer
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.rc.Flush()
}
