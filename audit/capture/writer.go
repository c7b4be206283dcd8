package capture

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/policy"
)

// errNotRecorded is what the handler gets for writing an answer that is given up
// because the sink did not take an event of the request (blocking-strict).
var errNotRecorded = errors.New("write answer: the request was not recorded, so it is not answered")

// holdMost is how much of an answer is held back in the mode blocking-strict until the request
// is recorded: an answer up to that size becomes a clean 500 when it is not. Of a larger one
// the last byte is held back, so that no client takes for whole what is not to be answered.
const holdMost = 64 << 10

// peekMost is how many bytes tell whether an answer may be a Status, and peekFirst how
// many are looked at of the piece that has the last of those.
const (
	peekMost  = 64
	peekFirst = 4096
)

// statusMost is how much is kept of the failed answer to a long-running request, which may come from a pod:
// a refusal of the API server's own is no larger.
const statusMost = 64 << 10

// taking is what is kept of an answer's body.
type taking uint8

const (
	takeNothing taking = iota
	takePeek           // its beginning, to see whether it is a Status
	takeStatus         // all of it, for the Status that it may be
	takeRecord         // all of it, for the event
)

// writer is the ResponseWriter that the handler sees, and the three around it are how
// it looks: a handler finds on it what the server's own has, no less and no more.
//
// Without body and strictness it only looks on. It delays an answer in two cases: the
// header of a failed long-running request waits for the first byte, which tells the
// reason; and in the mode blocking-strict see hold.
type writer struct {
	http.ResponseWriter

	x        *exchange
	code     int  // the final status, 0 before it is known
	waiting  bool // the header was written by the handler, and not handed on yet
	sent     bool // it was handed on
	started  bool // the stage ResponseStarted is over
	refused  bool // the answer was given up, and another given
	hijacked bool

	take     taking
	format   format
	encoding string
	kept     kept

	frozen http.Header // the header as it was when it began to wait
	hold   int         // the most that is held back; 0 for nothing
	held   []byte      // what is
}

// Unwrap is for [http.ResponseController]: deadlines and full duplex need no watching.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (w *writer) WriteHeader(code int) {
	if w.refused {
		return
	}
	if w.code != 0 || code < 200 && code != http.StatusSwitchingProtocols {
		if !w.waiting { // informational, or superfluous, which the server complains about
			w.ResponseWriter.WriteHeader(code)
		}
		return
	}
	w.begin(code)
	tells := w.x.long && w.mayTellReason()
	if !tells && w.x.long && w.start() != nil {
		return
	}
	if tells || w.hold > 1 {
		w.waiting, w.frozen = true, w.Header().Clone()
		return
	}
	w.sent = true
	w.ResponseWriter.WriteHeader(code)
}

// release hands the header on if it waits. What the handler put into it meanwhile can only
// mean trailers.
func (w *writer) release() {
	if !w.waiting {
		return
	}
	w.waiting, w.sent = false, true
	header := w.Header()
	now := maps.Clone(header)
	clear(header)
	maps.Copy(header, w.frozen)
	w.ResponseWriter.WriteHeader(w.code)
	clear(header)
	maps.Copy(header, now)
	w.frozen = nil
}

// begin takes note of the final status, and decides what is kept of the body.
func (w *writer) begin(code int) {
	x := w.x
	w.code = code
	x.mu.Lock()
	x.status = audit.Status{Code: int32(code)} //nolint:gosec // three digits
	x.rec.ResponseStatus = &x.status
	x.mu.Unlock()
	header := w.Header()
	if x.h.Strict {
		w.hold = holdMost
		if x.long {
			w.hold = 0
			if _, ok := lengthOf(header); ok {
				w.hold = 1
			}
		}
	}
	if !bodyAllowed(code) {
		return
	}
	contentType := header["Content-Type"]
	if len(contentType) == 0 {
		return // an API says what it answers
	}
	w.format = formatOf(contentType[0])
	if w.format == formatOther {
		return
	}
	failed := code >= 400
	switch {
	case x.long && !failed:
		return
	case x.decision.Level == policy.RequestResponse && (x.info.IsResource || failed || x.isDiscovery()):
		w.take = takeRecord
	case failed:
		w.take = takeStatus
	default:
		w.take = takePeek
	}
	w.encoding = header.Get("Content-Encoding")
	if w.encoding != "" && w.take == takePeek {
		w.take = takeNothing
	}
	w.kept.max = x.h.MaxBody
	if x.long {
		w.kept.max = min(w.kept.max, statusMost)
	}
}

// isDiscovery is whether the request asks for a list of the API's groups or resources: the
// API server records the answer although it is about no object.
func (x *exchange) isDiscovery() bool {
	return x.h.Resolver.isAPI(x.info.Path)
}

// lengthOf is the Content-Length that the handler gave.
func lengthOf(h http.Header) (n int64, ok bool) {
	v := h["Content-Length"]
	if len(v) == 0 {
		return -1, false
	}
	n, err := strconv.ParseInt(v[0], 10, 64)
	return n, err == nil
}

// bodyAllowed is whether an answer of that status may have a body (RFC 9110, 6.4.1).
func bodyAllowed(code int) bool {
	return code >= 200 && code != http.StatusNoContent && code != http.StatusNotModified
}

// mayTellReason is whether a failed answer may have a Status in its first bytes.
func (w *writer) mayTellReason() bool { return w.take >= takeStatus && w.encoding == "" }

// keep keeps what the event needs of p, which comes next in the body.
func (w *writer) keep(p []byte) {
	if w.take == takePeek {
		start := p
		if w.kept.size > 0 {
			start = append(w.kept.buf, p[:min(len(p), peekFirst)]...)
		}
		switch {
		case mayBeStatus(start, w.format):
			w.take = takeStatus
		case len(start) >= peekMost:
			w.take, w.kept.buf = takeNothing, nil
			return
		}
	}
	expect := int64(-1)
	if w.kept.size == 0 {
		expect, _ = lengthOf(w.Header())
	}
	w.kept.add(p, expect)
}

// start makes the stage ResponseStarted, once. An error means that the answer was given up.
func (w *writer) start() error {
	if w.started {
		return nil
	}
	w.started = true
	if err := w.x.emit(audit.StageResponseStarted, policy.ResponseStarted); err != nil && w.x.h.Strict {
		w.refuse()
		return errNotRecorded
	}
	return nil
}

// settle ends the waiting of a failed long-running answer: what it tells is known, or will not be.
// Its header waits on while nothing was written but what says that it is CBOR, unless that is the last.
func (w *writer) settle(last bool) error {
	if !w.waiting || !w.x.long || !last && w.onlyTag() {
		return nil
	}
	if !w.kept.tooLarge() {
		w.x.mu.Lock()
		_, _, _ = w.x.takeStatus(w.kept.buf) // what is kept stays for the last event, which says why it cannot be read
		w.x.mu.Unlock()
	}
	if err := w.start(); err != nil {
		return err
	}
	w.release()
	return nil
}

// onlyTag is whether all of the answer so far is the tag in front of CBOR, which is written by itself.
func (w *writer) onlyTag() bool {
	return w.format == formatCBOR && w.kept.size > 0 && w.kept.size <= 3
}

// refuse answers a 500 in place of an answer of which nothing went out yet.
func (w *writer) refuse() {
	w.refused, w.waiting, w.held = true, false, nil
	w.x.mu.Lock()
	w.code = http.StatusInternalServerError
	w.x.status = audit.Status{Code: http.StatusInternalServerError}
	w.x.rec.ResponseStatus, w.x.rec.ResponseObject = &w.x.status, nil
	w.take = takeNothing
	w.x.mu.Unlock()
	header := w.Header()
	for k := range header {
		if k != auditIDHeader {
			delete(header, k)
		}
	}
	internalError(w.ResponseWriter, w.x.rec.RequestURI)
}

// Write implements [http.ResponseWriter].
func (w *writer) Write(p []byte) (int, error) {
	if w.code == 0 && !w.refused {
		w.WriteHeader(http.StatusOK)
	}
	if w.refused {
		return 0, errNotRecorded
	}
	if w.waiting && !bodyAllowed(w.code) {
		return 0, http.ErrBodyNotAllowed // as the server says, to whom the header is not handed yet
	}
	if w.take != takeNothing {
		w.keep(p)
	}
	if err := w.settle(false); err != nil {
		return 0, err
	}
	if w.waiting && w.x.long {
		w.held = append(w.held, p...)
		return len(p), nil
	}
	if w.hold > 0 && bodyAllowed(w.code) {
		return w.holdBack(p)
	}
	w.letGo()
	return w.ResponseWriter.Write(p)
}

// holdBack writes p as far as it is not held back.
func (w *writer) holdBack(p []byte) (int, error) {
	if len(w.held)+len(p) <= w.hold {
		w.held = append(w.held, p...)
		return len(p), nil
	}
	if w.x.head {
		return len(p), nil // a client of HEAD has the whole answer with the header: it waits on
	}
	w.hold = 1
	w.release()
	if len(w.held) > 0 {
		if _, err := w.ResponseWriter.Write(w.held); err != nil {
			return 0, err
		}
	}
	last := len(p) - 1
	w.held = append(w.held[:0], p[last])
	if n, err := w.ResponseWriter.Write(p[:last]); err != nil {
		return n, err
	}
	return len(p), nil
}

// letGo hands on all that was held back: the request is recorded.
func (w *writer) letGo() {
	w.release()
	if len(w.held) > 0 {
		_, _ = w.ResponseWriter.Write(w.held) // the client may be gone
		w.held = nil
	}
}

// flush is Flush for the looks that have one.
func (w *writer) flush() error {
	if w.code == 0 && !w.refused {
		w.WriteHeader(http.StatusOK)
	}
	if err := w.settle(true); err != nil || w.refused {
		return errNotRecorded
	}
	if w.hold > 0 {
		if n, ok := lengthOf(w.Header()); w.x.head || !bodyAllowed(w.code) || ok && n <= 0 {
			return nil // the header is the whole answer
		}
		w.release()
		if last := len(w.held) - 1; last > 0 {
			if _, err := w.ResponseWriter.Write(w.held[:last]); err != nil {
				return err
			}
			w.held = append(w.held[:0], w.held[last])
		}
		w.hold = 1
	} else {
		w.letGo()
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// hijack is Hijack for the look that has one.
func (w *writer) hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.refused {
		return nil, nil, errNotRecorded
	}
	if w.code == 0 {
		w.begin(http.StatusSwitchingProtocols)
	}
	if w.x.long {
		if err := w.start(); err != nil {
			return nil, nil, err
		}
	}
	w.release()
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.hijacked = err == nil
	return conn, rw, err
}

// readFrom is ReadFrom for the look that has one: nothing of what passes by is wanted, so the kernel may copy.
func (w *writer) readFrom(from io.Reader) (int64, error) {
	if w.code == 0 && !w.refused {
		w.WriteHeader(http.StatusOK)
	}
	to, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok || w.take != takeNothing || w.hold > 0 || w.waiting || w.refused {
		return io.Copy(struct{ io.Writer }{w}, from)
	}
	return to.ReadFrom(from)
}

// look is w as the handler sees it.
func (w *writer) look() http.ResponseWriter {
	flushes, hijacks := abilities(w.ResponseWriter)
	switch {
	case hijacks && flushes:
		return hijacker{flusher{w}}
	case flushes:
		return flusher{w}
	}
	return w
}

// abilities are what a writer can do, or one that it wraps.
func abilities(rw http.ResponseWriter) (flushes, hijacks bool) {
	for {
		switch rw.(type) {
		case http.Flusher, interface{ FlushError() error }:
			flushes = true
		}
		if _, ok := rw.(http.Hijacker); ok {
			hijacks = true
		}
		inner, ok := rw.(interface{ Unwrap() http.ResponseWriter })
		if !ok || flushes && hijacks {
			return flushes, hijacks
		}
		rw = inner.Unwrap()
	}
}

// flusher is a writer of HTTP/2, which cannot be hijacked.
type flusher struct{ *writer }

func (f flusher) Flush()            { _ = f.flush() } // as http.Flusher has it
func (f flusher) FlushError() error { return f.flush() }

// CloseNotify is what the API server's handlers look for before they believe in Flush and
// Hijack (k8s.io/apiserver/pkg/endpoints/responsewriter): without it they refuse watches.
func (f flusher) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	context.AfterFunc(f.x.Context, func() { gone <- true })
	return gone
}

// hijacker is a writer of HTTP/1.
type hijacker struct{ flusher }

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.hijack() }
func (h hijacker) ReadFrom(from io.Reader) (int64, error)       { return h.readFrom(from) }
