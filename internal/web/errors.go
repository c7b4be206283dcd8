package web

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/ktrail/ktrail/internal/query"
)

// Code says what kind of error an answer is. It is part of the API.
type Code string

// The codes, and the status each has.
const (
	CodeFilter      Code = "filter"         // 400: a filter that is wrong, with its position
	CodeUsage       Code = "usage"          // 400: a question that cannot be asked
	CodeForbidden   Code = "forbidden"      // 403: another host's page asks
	CodeNotFound    Code = "not_found"      // 404
	CodeMethod      Code = "method"         // 405
	CodeConflict    Code = "conflict"       // 409: the name is taken
	CodeTooLarge    Code = "too_large"      // 413
	CodeUnavailable Code = "unavailable"    // 503: the store cannot answer now, or no server answers
	CodeTimeout     Code = "timeout"        // 504: the question took longer than the limit
	CodeDamaged     Code = "damaged"        // 500: the answer would have needed damaged data
	CodeInternal    Code = "internal"       // 500
	codeCanceled    Code = "client_dropped" // nothing is answered
)

// Status is the HTTP status of c.
func (c Code) Status() int {
	switch c {
	case CodeFilter, CodeUsage:
		return http.StatusBadRequest
	case CodeForbidden:
		return http.StatusForbidden
	case CodeNotFound:
		return http.StatusNotFound
	case CodeMethod:
		return http.StatusMethodNotAllowed
	case CodeConflict:
		return http.StatusConflict
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeUnavailable:
		return http.StatusServiceUnavailable
	case CodeTimeout:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}

// Error is an error of the API that has no type of its own in internal/query.
type Error struct {
	Code    Code
	Message string
}

func (e *Error) Error() string { return e.Message }

// wireError is an error as the API answers it: {"error": wireError}.
type wireError struct {
	Code     Code      `json:"code"`
	Message  string    `json:"message"`
	Position *position `json:"position,omitempty"`
	// Detail is the message without its place, and Filter the text that was
	// parsed, for a client that shows the place itself.
	Detail  string `json:"detail,omitempty"`
	Suggest string `json:"suggest,omitempty"`
	Filter  string `json:"filter,omitempty"`
}

// position is a place in a filter, both from 1; the column is in code points.
type position struct {
	Line   int `json:"line"`
	Column int `json:"column"`
}

type errorAnswer struct {
	Error wireError `json:"error"`
}

// wire is the one place where typed errors become answers.
func (s *server) wire(err error) wireError {
	var (
		filter *query.FilterError
		usage  *query.UsageError
		own    *Error
		large  *http.MaxBytesError
		sent   *net.OpError
	)
	switch {
	case errors.As(err, &filter):
		return wireError{
			Code: CodeFilter, Message: filter.Error(), Position: &position{Line: filter.Line, Column: filter.Column},
			Detail: filter.Message, Suggest: filter.Suggest, Filter: filter.Text,
		}
	case errors.As(err, &usage):
		return wireError{Code: CodeUsage, Message: usage.Error(), Suggest: usage.Suggest}
	case errors.As(err, &own):
		return wireError{Code: own.Code, Message: own.Error()}
	case errors.As(err, &large):
		return wireError{Code: CodeTooLarge, Message: "the request is too large; see the limits in /api/v1/openapi.json"}
	case errors.Is(err, errTimeout), errors.Is(err, context.DeadlineExceeded):
		return wireError{Code: CodeTimeout, Message: "the question took longer than " + s.QueryTimeout.String() +
			"; narrow the range of time, or filter by user, resource or name"}
	case errors.Is(err, context.Canceled), errors.As(err, &sent) && sent.Op == "write":
		// A write may see the end of a connection before the context does.
		return wireError{Code: codeCanceled, Message: "the client went away"}
	}
	if s.Classify != nil {
		if code := s.Classify(err); code != "" {
			return wireError{Code: code, Message: err.Error()}
		}
	}
	return wireError{Code: CodeInternal, Message: err.Error()}
}

// typed is the reverse of wire, for the client.
func (w *wireError) typed() error {
	switch w.Code {
	case CodeFilter:
		e := &query.FilterError{Text: w.Filter, Message: w.Detail, Suggest: w.Suggest}
		if w.Position != nil {
			e.Line, e.Column = w.Position.Line, w.Position.Column
		}
		return e
	case CodeUsage:
		return &query.UsageError{Message: w.Message, Suggest: w.Suggest}
	default:
		return &Error{Code: w.Code, Message: w.Message}
	}
}

// fail answers with err as JSON, if the answer has not begun.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	we := s.report(r, err)
	if we.Code == codeCanceled {
		// Nobody listens. An empty 200 would be a lie if somebody did.
		panic(http.ErrAbortHandler)
	}
	if state, ok := w.(*measured); ok && state.status != 0 {
		panic(http.ErrAbortHandler) // half an answer was sent: break it off, so that it shows
	}
	h := w.Header()
	if we.Code == CodeUnavailable {
		h.Set("Retry-After", "5")
	}
	if forPeople(r) && s.render(w, we.Code.Status(), "lost", newLost(we)) == nil {
		return
	}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(we.Code.Status())
	_ = encoder(w).Encode(errorAnswer{we})
}

// lost is a page for people who came to an address that leads nowhere.
type lost struct {
	Title, Message string
}

func newLost(we wireError) lost {
	v := lost{Title: "Something went wrong", Message: we.Message}
	switch we.Code {
	case CodeNotFound:
		v.Title = "There is nothing here"
	case CodeUnavailable:
		v.Title = "Not now"
	}
	return v
}

// forPeople is whether a browser's window asks for a page. The API, the pieces that
// the page asks for and the probes answer errors as JSON to whoever asks.
func forPeople(r *http.Request) bool {
	if r.Method != http.MethodGet || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return false
	}
	for _, path := range []string{"/api/", "/page/", "/assets/", "/metrics", "/livez", "/readyz"} {
		if strings.HasPrefix(r.URL.Path, path) {
			return false
		}
	}
	return true
}

// report maps err and logs it if it is the server's fault.
func (s *server) report(r *http.Request, err error) wireError {
	we := s.wire(err)
	level := slog.LevelDebug
	if we.Code == CodeInternal || we.Code == CodeDamaged {
		level = slog.LevelError
	}
	s.Logger.LogAttrs(r.Context(), level, "request failed", slog.String("route", r.Pattern),
		slog.String("code", string(we.Code)), slog.String("error", we.Message))
	return we
}

// encoder writes JSON that is not made safe for script elements: the API's type
// is application/json and browsers are told not to sniff.
func encoder(w interface{ Write([]byte) (int, error) }) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}
