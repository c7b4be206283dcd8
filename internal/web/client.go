package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// Client asks a running server. It answers as [query.Engine] does, with the same
// types of error; what has no type there is an [*Error]. A server that does not
// answer is one with [CodeUnavailable].
type Client struct {
	base *url.URL
	http *http.Client
}

var _ query.Questions = (*Client)(nil)

// NewClient returns a Client for a server: host:port, or an http or https URL.
// It asks nothing yet.
func NewClient(server string) (*Client, error) {
	text := server
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, &query.UsageError{Message: fmt.Sprintf("server %q: write host:port, such as 127.0.0.1:7433", server)}
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return &Client{base: u, http: &http.Client{
		// No proxy: the events would go through it. No overall timeout: answers are
		// streams, and the caller's context bounds them.
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second,
			DisableCompression:  true,
			IdleConnTimeout:     30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request is what differs between calls.
type request struct {
	method, path string
	query        url.Values
	body         io.Reader
	contentType  string
	accept       string
	lastEvent    string
}

// do sends a request; the caller closes the body. Answers other than 200 are errors.
func (c *Client) do(ctx context.Context, q request) (*http.Response, error) {
	u := *c.base
	u.Path += q.path
	u.RawQuery = q.query.Encode()
	req, err := http.NewRequestWithContext(ctx, q.method, u.String(), q.body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.base, err)
	}
	req.Header.Set("User-Agent", "ktrail")
	if q.accept != "" {
		req.Header.Set("Accept", q.accept)
	}
	if q.contentType != "" {
		req.Header.Set("Content-Type", q.contentType)
	}
	if q.lastEvent != "" {
		req.Header.Set("Last-Event-ID", q.lastEvent)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, c.refused(resp)
	}
	return resp, nil
}

// broken is the error of a connection that does not work. A caller that gave up
// gets its own reason.
func (c *Client) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	why := err
	if inner := (*url.Error)(nil); errors.As(err, &inner) {
		why = inner.Err // the URL is long, and said already
	}
	return &Error{Code: CodeUnavailable, Message: fmt.Sprintf(
		"no ktrail server answers at %s: %v; start one with ktrail serve, name it with --server, or open a data directory with --data", c.base, why)}
}

// refused is the error in an answer.
func (c *Client) refused(resp *http.Response) error {
	var a errorAnswer
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxSQLBody))
	if err == nil && json.Unmarshal(data, &a) == nil && a.Error.Code != "" {
		return a.Error.typed()
	}
	return &Error{Code: CodeUnavailable, Message: fmt.Sprintf("%s answers %s, and not as ktrail does; name the server with --server", c.base, resp.Status)}
}

// get asks for one JSON document.
func (c *Client) get(ctx context.Context, path string, q url.Values, into any) error {
	resp, err := c.do(ctx, request{method: http.MethodGet, path: path, query: q, accept: typeJSON})
	if err != nil {
		return err
	}
	return c.decode(ctx, resp, into)
}

func (c *Client) decode(ctx context.Context, resp *http.Response, into any) error {
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return c.cutShort(ctx, err)
	}
	return nil
}

func (c *Client) cutShort(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &Error{Code: CodeUnavailable, Message: fmt.Sprintf("the answer of %s ended early: %v; ask again", c.base, err)}
}

// Histogram implements [query.Questions].
func (c *Client) Histogram(ctx context.Context, q query.HistogramQuestion) (query.HistogramAnswer, error) {
	v := scopeQuery(q.Scope)
	setNumber(v, "width_us", q.WidthUS)
	setNumber(v, "buckets", int64(q.Buckets))
	var a query.HistogramAnswer
	err := c.get(ctx, "/api/v1/histogram", v, &a)
	return a, err
}

// Top implements [query.Questions].
func (c *Client) Top(ctx context.Context, q query.TopQuestion) (query.TopAnswer, error) {
	v := scopeQuery(q.Scope)
	v["by"] = q.By
	setNumber(v, "limit", int64(q.Limit))
	setFlag(v, "writes", q.Writes)
	setFlag(v, "writes_first", q.WritesFirst)
	var a query.TopAnswer
	err := c.get(ctx, "/api/v1/top", v, &a)
	return a, err
}

// History implements [query.Questions].
func (c *Client) History(ctx context.Context, q query.HistoryQuestion) (query.HistoryAnswer, error) {
	v := scopeQuery(q.Scope)
	setText(v, "resource", q.Resource)
	setText(v, "api_group", q.APIGroup)
	setText(v, "namespace", q.Namespace)
	setText(v, "name", q.Name)
	setNumber(v, "limit", int64(q.Limit))
	setText(v, "cursor", q.Cursor)
	setFlag(v, "diff", q.Diff)
	setFlag(v, "noise", q.Noise)
	var a query.HistoryAnswer
	err := c.get(ctx, "/api/v1/history", v, &a)
	return a, err
}

// Actor implements [query.Questions].
func (c *Client) Actor(ctx context.Context, q query.ActorQuestion) (query.ActorAnswer, error) {
	v := scopeQuery(q.Scope)
	setText(v, "user", q.User)
	setNumber(v, "limit", int64(q.Limit))
	var a query.ActorAnswer
	err := c.get(ctx, "/api/v1/actor", v, &a)
	return a, err
}

// Day implements [query.Questions].
func (c *Client) Day(ctx context.Context, q query.DayQuestion) (query.DayAnswer, error) {
	v := scopeQuery(q.Scope)
	setText(v, "user", q.User)
	setNumber(v, "limit", int64(q.Limit))
	var a query.DayAnswer
	err := c.get(ctx, "/api/v1/day", v, &a)
	return a, err
}

// Status asks for the state of the server's sources and store.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var st Status
	err := c.get(ctx, "/api/v1/sources", nil, &st)
	return st, err
}

// Event asks for one event by its ID, of whatever stage.
func (c *Client) Event(ctx context.Context, id int64) (*audit.Event, error) {
	var a eventAnswer
	if err := c.get(ctx, fmt.Sprintf("/api/v1/events/%d", id), nil, &a); err != nil {
		return nil, err
	}
	return a.Event.event(), nil
}

// Import sends r, which may be compressed, and returns when all of it is durable
// at the server. A caller shows progress by counting what is read from r.
func (c *Client) Import(ctx context.Context, name, cluster string, r io.Reader) (ImportSummary, error) {
	v := url.Values{}
	setText(v, "name", name)
	setText(v, "cluster", cluster)
	// NopCloser: the transport would close a file that is the caller's.
	resp, err := c.do(ctx, request{
		method: http.MethodPost, path: "/api/v1/import", query: v,
		body: io.NopCloser(r), contentType: "application/octet-stream", accept: typeJSON,
	})
	if err != nil {
		return ImportSummary{}, err
	}
	var sum ImportSummary
	err = c.decode(ctx, resp, &sum)
	return sum, err
}
