package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/pipeline"
	"github.com/ktrail/ktrail/internal/kubeconfig"
	"github.com/ktrail/ktrail/internal/visible"
)

// The API server's numbers (k8s.io/apiserver/pkg/util/webhook and k8s.io/client-go/rest).
const (
	tries = 5
	// again is how often a server that asks for patience with Retry-After is asked again
	// within one try.
	again   = 10
	factor  = 1.5
	jitter  = 0.2
	backoff = 10 * time.Second
	timeout = 30 * time.Second
)

// longest is for how long at most Retry-After is obeyed: meanwhile the events are in memory.
const longest = 5 * time.Minute

// keyHeader tells a receiver which posts are tries of the same batch
// (draft-ietf-httpapi-idempotency-key-header): the SHA-256 of the body, quoted.
const keyHeader = "Idempotency-Key"

// ClientOptions are a Client's.
type ClientOptions struct {
	// Kubeconfig is a file that says where the webhook is and how to sign on: the meaning of
	// --audit-webhook-config-file. Tokens and certificates in files of their own are read
	// again when these change. Credentials take https. The environment's proxies are not used, proxy-url is.
	Kubeconfig string
	// InitialBackoff is the time between the first try and the second, 10 s if 0: the meaning
	// of --audit-webhook-initial-backoff. Each further wait is 1.5 times as long, and up to a
	// fifth longer by chance.
	InitialBackoff time.Duration
	// UserAgent is sent with each post; "ktrail" if empty.
	UserAgent string
	// Log is told of each failed try; nil is silent.
	Log *slog.Logger
}

func (o *ClientOptions) validate() error {
	switch {
	case o.Kubeconfig == "":
		return errors.New("no kubeconfig given")
	case o.InitialBackoff < 0:
		return errors.New("the initial backoff is negative")
	}
	if o.InitialBackoff == 0 {
		o.InitialBackoff = backoff
	}
	if o.UserAgent == "" {
		o.UserAgent = "ktrail"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Client posts events to a webhook. It is a [pipeline.Sink].
type Client struct {
	o      ClientOptions
	server string
	host   string
	http   *http.Client
}

// NewClient reads the kubeconfig. Nothing is sent yet.
func NewClient(o ClientOptions) (*Client, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("make webhook client: %w", err)
	}
	c, err := kubeconfig.Read(o.Kubeconfig)
	if err != nil {
		return nil, err
	}
	if c.Server.Scheme != "https" && c.SignsOn() {
		return nil, fmt.Errorf("read kubeconfig %s: it has credentials for %s://%s, where everybody on the way could read them: use https (kube-apiserver leaves them out)", o.Kubeconfig, c.Server.Scheme, c.Server.Host)
	}
	c.Direct = true
	client := c.Client()
	client.Timeout = timeout
	return &Client{o: o, server: c.Server.String(), host: c.Server.Host, http: client}, nil
}

// Send implements [pipeline.Sink]: it posts the events as one EventList and returns nil when
// the webhook has answered that it has them. Every failure is tried again, as the API server
// does, 5 times in all: whatever a webhook says, it may be mended. What cannot be mended is
// not: a list that is too large is sent in halves, and items that a ktrail receiver
// names as bad are given up alone, as [pipeline.ReasonRefused]; so are those for which another
// one refuses the list they are in, if it takes an empty list: it is them then. The rest is then
// [pipeline.ReasonDown], or [pipeline.ReasonStop] if ctx ended first.
func (c *Client) Send(ctx context.Context, events []audit.Event) error {
	if len(events) == 0 {
		return nil
	}
	b := newBody(events)
	wait := c.o.InitialBackoff
	var last error
	for try := 1; ; try++ {
		err := c.patiently(ctx, b)
		if err == nil {
			return nil
		}
		if e := (*answerError)(nil); errors.As(err, &e) {
			if e.code == http.StatusRequestEntityTooLarge {
				return c.halves(ctx, events, err)
			}
			if bad := e.refused(events); bad != nil {
				return &pipeline.Loss{Sink: "webhook", Reason: pipeline.ReasonRefused, Events: bad, Err: err}
			}
		}
		last = err
		if ctx.Err() != nil {
			break
		}
		c.o.Log.LogAttrs(ctx, slog.LevelWarn, "webhook: a batch was not taken", slog.Int("try", try), slog.Int("tries", tries),
			slog.Int("events", len(events)), slog.String("error", err.Error()))
		if try == tries && refuses(err) && c.patiently(ctx, newBody(nil)) == nil {
			return c.sift(ctx, events, err)
		}
		if try == tries {
			return &pipeline.Loss{Sink: "webhook", Reason: pipeline.ReasonDown, Events: events, Err: fmt.Errorf("post to webhook, %d times: %w", tries, last)}
		}
		if !sleep(ctx, wait+time.Duration(rand.Float64()*jitter*float64(wait))) { //nolint:gosec // no secret
			break
		}
		wait = time.Duration(factor * float64(wait))
	}
	return &pipeline.Loss{Sink: "webhook", Reason: pipeline.ReasonStop, Events: events, Err: fmt.Errorf("post to webhook: %w", errors.Join(ctx.Err(), last))}
}

// Close implements [pipeline.Sink].
func (c *Client) Close(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// halves sends a list that is too large in two parts.
func (c *Client) halves(ctx context.Context, events []audit.Event, err error) error {
	n := len(events) / 2
	if n == 0 {
		return &pipeline.Loss{Sink: "webhook", Reason: pipeline.ReasonRefused, Events: events, Err: err}
	}
	return errors.Join(c.Send(ctx, events[:n]), c.Send(ctx, events[n:]))
}

// sift finds those of events for which the webhook refused them all with err, and sends the others.
func (c *Client) sift(ctx context.Context, events []audit.Event, err error) error {
	if len(events) == 1 {
		return &pipeline.Loss{Sink: "webhook", Reason: pipeline.ReasonRefused, Events: events, Err: err}
	}
	var errs error
	n := len(events) / 2
	for _, part := range [][]audit.Event{events[:n], events[n:]} {
		if err := c.patiently(ctx, newBody(part)); refuses(err) {
			errs = errors.Join(errs, c.sift(ctx, part, err))
		} else if err != nil {
			errs = errors.Join(errs, &pipeline.Loss{Sink: "webhook", Reason: pipeline.ReasonDown, Events: part, Err: err})
		}
	}
	return errs
}

// refuses is whether err is an answer that is about what was sent.
func refuses(err error) bool {
	e := (*answerError)(nil)
	return errors.As(err, &e) && (e.code == http.StatusBadRequest || e.code == http.StatusUnprocessableEntity)
}

// patiently is one try, in which a server may ask for patience.
func (c *Client) patiently(ctx context.Context, b *body) error {
	for n := 0; ; n++ {
		err := c.post(ctx, b)
		e := (*answerError)(nil)
		if !errors.As(err, &e) || e.retryAfter < 0 || n == again {
			return err
		}
		if !sleep(ctx, min(e.retryAfter, longest)) {
			return err
		}
	}
}

func (c *Client) post(ctx context.Context, b *body) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.server, b.reader())
	if err != nil {
		return err
	}
	// Asked for by HTTP/2, which may have to send anew what a server has not looked at.
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(b.reader()), nil }
	r.ContentLength = b.size
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, */*")
	r.Header.Set("User-Agent", c.o.UserAgent)
	r.Header.Set(keyHeader, `"`+b.sum+`"`)
	res, err := c.http.Do(r)
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return fmt.Errorf("%s: %w", c.host, u.Err) // the whole address may hold a secret
	}
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	// Read to its end, so that the connection can be used again, if it is not endless.
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode/100 == 2 {
		return nil // it has them, even if the rest of its answer was lost
	}
	e := &answerError{code: res.StatusCode, status: res.Status, retryAfter: -1, location: res.Header.Get("Location"), stored: res.Header.Get(storedHeader), text: text, err: err}
	if res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500 {
		if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s >= 0 {
			e.retryAfter = time.Duration(min(s, int(longest/time.Second))) * time.Second
		}
	}
	return e
}

// sleep waits for d, and reports false if ctx was done first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// answerError is an answer that is no success.
type answerError struct {
	code       int
	status     string
	retryAfter time.Duration // below 0 if the server does not ask for patience
	location   string
	stored     string // storedHeader
	text       []byte
	err        error // of reading text
}

// Error tells the answer; of what a server wrote only the beginning.
func (e *answerError) Error() string {
	s := "the webhook answers " + e.status
	switch answer, err := parseStatus(e.text); {
	case e.code/100 == 3:
		s += " to " + strconv.Quote(visible.Clip(e.location, 200)) + ": redirects are not followed, name that address in the kubeconfig"
	case err == nil && answer.Message != "":
		s += ": " + visible.Clip(answer.Message, 300)
	case len(e.text) > 0:
		s += ": " + visible.Clip(strings.TrimSpace(string(e.text)), 300)
	}
	return visible.Line(s)
}

// Unwrap is why the answer could not be read whole.
func (e *answerError) Unwrap() error { return e.err }

// refused returns the events that a ktrail receiver refused while it stored the others; nil
// if that is not what the answer says.
func (e *answerError) refused(events []audit.Event) []audit.Event {
	stored, err := strconv.Atoi(e.stored)
	if e.code != http.StatusBadRequest || err != nil {
		return nil
	}
	answer, err := parseStatus(e.text)
	if err != nil || answer.Details == nil || stored+len(answer.Details.Causes) != len(events) {
		return nil
	}
	var bad []audit.Event
	seen := map[int]bool{}
	for _, cause := range answer.Details.Causes {
		var i int
		if _, err := fmt.Sscanf(cause.Field, "items[%d]", &i); err != nil || i < 0 || i >= len(events) || seen[i] {
			return nil
		}
		seen[i] = true
		bad = append(bad, events[i])
	}
	return bad
}
