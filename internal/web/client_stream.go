package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// Search implements [query.Questions]. The events are streamed: memory does not
// grow with their number.
func (c *Client) Search(ctx context.Context, q query.SearchQuestion, yield func(*audit.Event) error) (query.SearchAnswer, error) {
	v := scopeQuery(q.Scope)
	v.Set("limit", strconv.Itoa(q.Limit))
	setText(v, "cursor", q.Cursor)
	setFlag(v, "ascending", q.Ascending)
	if q.NoRaw {
		v.Set("raw", "false")
	}
	resp, err := c.do(ctx, request{method: http.MethodGet, path: "/api/v1/events", query: v, accept: typeLines})
	if err != nil {
		return query.SearchAnswer{}, err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	for {
		var line eventLine
		if err := d.Decode(&line); err != nil {
			return query.SearchAnswer{}, c.cutShort(ctx, err)
		}
		switch {
		case line.Event != nil:
			if err := yield(line.Event.event()); err != nil {
				return query.SearchAnswer{}, err
			}
		case line.Error != nil:
			return query.SearchAnswer{}, line.Error.typed()
		case line.End != nil:
			drain(resp.Body)
			return *line.End, nil
		}
	}
}

// drain reads what is left, the end, so that the connection can be used again.
func drain(r io.Reader) { _, _ = io.CopyN(io.Discard, r, 1024) }

// SQL implements [query.Questions].
func (c *Client) SQL(ctx context.Context, sql string, yield func(query.SQLRow) error) (query.Warnings, error) {
	body, err := json.Marshal(map[string]string{"sql": sql})
	if err != nil {
		return nil, err
	}
	resp, err := c.do(ctx, request{
		method: http.MethodPost, path: "/api/v1/sql",
		body: bytes.NewReader(body), contentType: typeJSON, accept: typeLines,
	})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	var columns []string
	for {
		var line sqlLine
		if err := d.Decode(&line); err != nil {
			return nil, c.cutShort(ctx, err)
		}
		switch {
		case line.Columns != nil:
			columns = line.Columns
		case line.Error != nil:
			return nil, line.Error.typed()
		case line.End != nil:
			drain(resp.Body)
			return line.End.Warnings, nil
		default:
			row := query.SQLRow{Columns: columns, Values: make([]any, len(line.Row))}
			for i := range line.Row {
				row.Values[i] = line.Row[i].v
			}
			if err := yield(row); err != nil {
				return nil, err
			}
		}
	}
}

// reconnects is how often a follower tries again before it gives up on a server
// that went away, waiting reconnectWait, twice that, and so on.
const (
	reconnects    = 5
	reconnectWait = 250 * time.Millisecond
)

// errStopped is the wrapper of what yield returned, which is not the server's fault.
type errStopped struct{ error }

// Follow implements [query.Questions]. It survives a restart of the server: it
// connects again and goes on after the last event it saw, if it saw one.
func (c *Client) Follow(ctx context.Context, q query.SearchQuestion, yield func(*audit.Event) error) error {
	last := q.AfterID
	for try := 0; ; try++ {
		alive := false
		err := c.followOnce(ctx, q, &last, func(e *audit.Event) error {
			if err := yield(e); err != nil {
				return errStopped{err}
			}
			return nil
		}, &alive)
		if alive {
			try = 0
		}
		var stopped errStopped
		var unavailable *Error
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &stopped):
			return stopped.error
		case !errors.As(err, &unavailable) || unavailable.Code != CodeUnavailable || try == reconnects || last == 0:
			// Without a last event there is nothing to go on after: events between two
			// connections would be missed in silence.
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reconnectWait << try):
		}
	}
}

// followOnce reads one stream of server-sent events. alive is set when anything came.
func (c *Client) followOnce(ctx context.Context, q query.SearchQuestion, last *int64, yield func(*audit.Event) error, alive *bool) error {
	v := scopeQuery(q.Scope)
	if q.NoRaw {
		v.Set("raw", "false")
	}
	req := request{method: http.MethodGet, path: "/api/v1/events/follow", query: v, accept: typeSSE}
	if *last > 0 {
		req.lastEvent = strconv.FormatInt(*last, 10)
	}
	resp, err := c.do(ctx, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	r := bufio.NewReaderSize(resp.Body, 64<<10)
	var kind string
	var data []byte
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return c.cutShort(ctx, err)
		}
		*alive = true
		name, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), ": ")
		switch name {
		case "event":
			kind = value
		case "data":
			data = append(data, value...)
		case "": // the end of an event, or a heartbeat
			if len(data) == 0 {
				continue
			}
			if kind == "failure" {
				var a errorAnswer
				if err := json.Unmarshal(data, &a); err != nil {
					return c.cutShort(ctx, err)
				}
				return a.Error.typed()
			}
			var we wireEvent
			if err := json.Unmarshal(data, &we); err != nil {
				return c.cutShort(ctx, err)
			}
			e := we.event()
			if err := yield(e); err != nil {
				return err
			}
			*last, data = e.ID, data[:0]
		}
	}
}
