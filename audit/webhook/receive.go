package webhook

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/internal/status"
	"github.com/ktrail/ktrail/internal/visible"
)

// answer is what a request is told.
type answer struct {
	code    int
	reason  string // a word of Kubernetes': metav1.StatusReason
	message string
	causes  []status.Cause
	stored  int // events of the batch that are durable, where code is 400
	partial bool
	retry   time.Duration
	err     error // for the log alone: it may name files
}

// The waits that are asked for: until other bodies are stored, and until there is space or
// a store that works. The API server holds its batches in memory meanwhile, so they are short.
const (
	retryBusy  = time.Second
	retryStore = 5 * time.Second
)

var okay = answer{code: http.StatusOK}

func refuse(code int, reason, format string, args ...any) *answer {
	return &answer{code: code, reason: reason, message: fmt.Sprintf(format, args...)}
}

// ServeHTTP implements [http.Handler].
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	// For bodies that are not taken, too: the server reads a little of them. A server that
	// cannot set it has one of its own.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(r.o.ReadTimeout))
	var read int64
	a := r.admit(req)
	if a == nil {
		a = r.take(req, &read)
	}
	r.done(req, a, read)
	// An answer that names many items is longer than what the network takes from us unread.
	_ = rc.SetWriteDeadline(time.Now().Add(r.o.ReadTimeout))
	a.write(w)
}

// admit says why a request is not even read, or nil.
func (r *Receiver) admit(req *http.Request) *answer {
	// A page in a browser on this machine can post to loopback, too; and only browsers say
	// where they come from.
	if req.Header.Get("Origin") != "" || req.Header.Get("Sec-Fetch-Site") != "" {
		return refuse(http.StatusForbidden, "Forbidden", "browsers do not post audit events")
	}
	if r.o.Authorize != nil {
		if err := r.o.Authorize(req); err != nil {
			a := refuse(http.StatusUnauthorized, "Unauthorized", "a client certificate or a bearer token is needed that this receiver knows")
			a.err = err
			return a
		}
	}
	if req.Method != http.MethodPost {
		return refuse(http.StatusMethodNotAllowed, "MethodNotAllowed", "audit events are posted: this address is for kube-apiserver's --audit-webhook-config-file")
	}
	if t, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return refuse(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "the body must be an EventList of audit.k8s.io as application/json")
	}
	switch strings.ToLower(req.Header.Get("Content-Encoding")) {
	case "", "identity", "gzip":
	default:
		return refuse(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "the body may be packed with gzip only")
	}
	if req.ContentLength > r.o.MaxBytes {
		return r.tooLarge()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		a := refuse(http.StatusServiceUnavailable, "ServiceUnavailable", "the server is stopping")
		a.retry = retryStore
		return a
	}
	return nil
}

func (r *Receiver) tooLarge() *answer {
	return refuse(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "the body is over %d bytes: lower --audit-webhook-batch-max-size, or set --audit-webhook-truncate-enabled", r.o.MaxBytes)
}

func busy() *answer {
	a := refuse(http.StatusTooManyRequests, "TooManyRequests", "too many bytes are being stored; try again")
	a.retry = retryBusy
	return a
}

// Errors of reading a body.
var (
	errTooLarge = errors.New("the body is too large")
	errBusy     = errors.New("no memory for a large item")
	errPacking  = errors.New("the body is not packed as it says")
)

// take reads a body and hands it over piece by piece.
func (r *Receiver) take(req *http.Request, read *int64) *answer {
	// The window, what of it becomes a piece, and the copy that redaction or packing makes.
	window, piece, again := int64(windowBytes), int64(pieceBytes), int64(pieceBytes)
	packed := strings.EqualFold(req.Header.Get("Content-Encoding"), "gzip")
	if n := req.ContentLength; n >= 0 && !packed {
		// Of events as the API server writes them the columns take less than the lines do.
		window, piece, again = min(window, n+1), min(piece, max(leastPiece, 3*n)), min(again, n)
	}
	var held int64
	defer func() { r.release(held) }()
	if !r.reserve(&held, window+piece+again) {
		return busy()
	}
	batch, _ := r.batches.Get().(*audit.Batch)
	if batch == nil {
		batch = &audit.Batch{Cluster: r.o.Cluster, Source: r.o.Source}
	}
	defer func() {
		batch.Reset()
		r.batches.Put(batch)
	}()
	var body io.Reader = &limited{r: req.Body, left: r.o.MaxBytes, n: read}
	if packed {
		var none int64
		z, err := gzip.NewReader(&limited{r: req.Body, left: r.o.MaxBytes, n: &none})
		if err != nil {
			return r.broken(nil, packing(err))
		}
		body = &limited{r: unpacked{z}, left: r.o.MaxBytes, n: read}
	}
	t := &taking{
		r: r, batch: batch, limit: piece, from: host(req.RemoteAddr),
		// What is here is stored even if its sender has gone: the API server may be gone for good.
		ctx: context.WithoutCancel(req.Context()),
		list: audit.NewListReader(body, audit.ListOptions{
			Window: int(max(window, 1)), MaxItem: r.o.MaxItem,
			Grow: func(n int) error {
				// In the window, in the piece behind what is there already, and in the copy.
				if !r.reserve(&held, 3*int64(n)+piece+again-held) {
					return errBusy
				}
				return nil
			},
		}),
	}
	return t.run()
}

// taking is one body on its way to the store.
type taking struct {
	r     *Receiver
	list  *audit.ListReader
	batch *audit.Batch
	limit int64
	from  string
	ctx   context.Context //nolint:containedctx // of the request

	bad      []Bad // of this piece
	badBytes int64
	causes   []status.Cause // of the body's bad items
	refused  int            // how many these are; only the first maxBad are kept and named
	stored   int
}

// run reads to the end, or until it cannot go on.
func (t *taking) run() *answer {
	for {
		err := t.list.Next(t.batch)
		if item := (*audit.ItemError)(nil); errors.As(err, &item) {
			t.refuse(item)
			err = nil
		}
		if err == nil && t.batch.Bytes()+t.badBytes < t.limit {
			continue
		}
		// What came before an error is complete, and kept: its sender may never try again.
		if a := t.flush(); a != nil {
			return a
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return t.end()
		default:
			return t.r.broken(t, err)
		}
	}
}

// refuse keeps and names a bad item, if there are not too many: what is behind it may be good.
func (t *taking) refuse(item *audit.ItemError) {
	if t.refused++; t.refused > maxBad {
		return
	}
	reason := visible.Line(item.Err.Error())
	t.bad = append(t.bad, Bad{Index: item.Index, Offset: item.Offset, Reason: reason, Item: bytes.Clone(item.Item)})
	t.badBytes += int64(len(item.Item)) + 256 // and what is noted of it
	t.causes = append(t.causes, status.Cause{Reason: "FieldValueInvalid", Message: visible.Clip(reason, 200), Field: fmt.Sprintf("items[%d]", item.Index)})
}

// flush has the piece stored; an answer if that fails.
func (t *taking) flush() *answer {
	p := Piece{Events: t.batch.Events, Bad: t.bad, From: t.from}
	if len(p.Events)+len(p.Bad) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(t.ctx, t.r.o.AppendTimeout)
	defer cancel()
	taken, err := t.r.o.Append(ctx, p)
	if err != nil {
		a := refuse(http.StatusServiceUnavailable, "ServiceUnavailable", "the events could not be stored: the log of this server says why")
		if errors.Is(err, context.DeadlineExceeded) {
			a = refuse(http.StatusTooManyRequests, "TooManyRequests", "the events could not be stored in time: the store is busy, or its disk is full")
		}
		a.retry, a.err = retryStore, err
		return a
	}
	t.r.took(&p, taken)
	t.stored += len(p.Events)
	t.batch.Reset()
	clear(t.bad)
	t.bad, t.badBytes = t.bad[:0], 0
	return nil
}

// end is the answer to a body that was read to its end.
func (t *taking) end() *answer {
	if len(t.causes) == 0 {
		return &okay
	}
	kept := "they are"
	if t.refused > maxBad {
		kept = fmt.Sprintf("the first %d are", maxBad)
	}
	a := refuse(http.StatusBadRequest, "BadRequest", "%d of %d items are no audit events, %s in quarantine; the others are stored. The first is %s: %s",
		t.refused, t.refused+t.stored, kept, t.causes[0].Field, t.causes[0].Message)
	a.stored, a.partial, a.causes = t.stored, t.refused <= maxBad, t.causes
	return a
}

// broken is the answer to a body that could not be read to its end. t may be nil.
func (r *Receiver) broken(t *taking, err error) *answer {
	var a *answer
	doc := (*audit.DecodeError)(nil)
	switch {
	case errors.As(err, &doc):
		a = refuse(http.StatusBadRequest, "BadRequest", "the body is no EventList of audit.k8s.io: %s at byte %d; what is complete before that is stored", visible.Line(doc.Reason), doc.Offset)
		a.causes = []status.Cause{{Reason: "FieldValueInvalid", Message: visible.Clip(visible.Line(doc.Reason), 200), Field: fmt.Sprintf("byte %d", doc.Offset)}}
	case errors.Is(err, audit.ErrItemTooLarge):
		a = refuse(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "%v: set --audit-webhook-truncate-enabled", err)
	case errors.Is(err, errTooLarge):
		a = r.tooLarge()
	case errors.Is(err, errBusy):
		a = busy()
	case errors.Is(err, errPacking):
		a = refuse(http.StatusBadRequest, "BadRequest", "the body is not packed with gzip as it says, or was cut off")
	case errors.Is(err, os.ErrDeadlineExceeded):
		a = refuse(http.StatusRequestTimeout, "Timeout", "the body did not come within %v", r.o.ReadTimeout)
	default:
		a = refuse(http.StatusBadRequest, "BadRequest", "the body was cut off")
	}
	a.err = err
	if t != nil {
		a.causes = append(a.causes, t.causes...)
	}
	return a
}

// write answers with a Status of Kubernetes'.
func (a *answer) write(w http.ResponseWriter) {
	s := status.Status{Kind: "Status", APIVersion: "v1", Status: "Success", Code: int32(a.code)} //nolint:gosec // three digits
	h := w.Header()
	if a.code != http.StatusOK {
		s = status.Failure(s.Code, a.reason, a.message)
	}
	if len(a.causes) > 0 || a.retry > 0 {
		s.Details = &status.Details{Group: "audit.k8s.io", Kind: "EventList", Causes: a.causes, RetryAfterSeconds: int32(a.retry / time.Second)}
	}
	if a.partial {
		h.Set(storedHeader, strconv.Itoa(a.stored))
	}
	switch a.code {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusMethodNotAllowed:
		h.Set("Allow", http.MethodPost)
	}
	if a.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(a.retry/time.Second)))
	}
	text := s.JSON()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(a.code)
	_, _ = w.Write(append(text, '\n')) // whoever asked is gone
}

// limited reads at most so many bytes, and then fails. It counts them.
type limited struct {
	r    io.Reader
	left int64
	n    *int64
}

// Read implements [io.Reader].
func (l *limited) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if int64(n) > l.left {
		n, err = int(l.left), errTooLarge
	}
	l.left -= int64(n)
	*l.n += int64(n)
	return n, err
}

// unpacked tells the errors of a packed body from those of its connection.
type unpacked struct{ z *gzip.Reader }

// Read implements [io.Reader].
func (u unpacked) Read(p []byte) (int, error) {
	n, err := u.z.Read(p)
	if err == nil || err == io.EOF { //nolint:errorlint // this one, unwrapped, is the end
		return n, err
	}
	return n, packing(err)
}

func packing(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", errPacking, err)
}

// host is the address of a peer without its port.
func host(addr string) string {
	if h, _, err := net.SplitHostPort(addr); err == nil {
		return h
	}
	return addr
}
