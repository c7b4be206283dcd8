package capture

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/ktrail/ktrail/audit/internal/status"
	"github.com/ktrail/ktrail/audit/policy"
)

// The annotations that tell of a body that the level asks for and the event has not.
const (
	RequestBodyAnnotation  = "capture.ktrail.io/request-body"
	ResponseBodyAnnotation = "capture.ktrail.io/response-body"
)

// kept is what is kept of a body that passes by: all of it up to a limit, nothing of a larger one.
type kept struct {
	buf  []byte
	size int64 // of the body so far
	max  int
}

func (k *kept) add(p []byte, expect int64) {
	k.size += int64(len(p))
	if k.size > int64(k.max) {
		k.buf = nil
		return
	}
	if k.buf == nil && expect > int64(len(p)) {
		// A client may announce more than it sends: what it announced is not made room for at once.
		const first = 16 << 10
		k.buf = make([]byte, 0, max(min(expect, int64(k.max), first), int64(len(p))))
	}
	k.buf = append(k.buf, p...)
}

func (k *kept) tooLarge() bool { return k.size > int64(k.max) }

// leftOut is the note for a body that is not recorded.
func (k *kept) leftOut(why string) string {
	return "left out: " + strconv.FormatInt(k.size, 10) + " bytes " + why
}

func (k *kept) overLimit() string {
	return k.leftOut("are over the limit of " + strconv.Itoa(k.max))
}

// notePart is text from outside as a part of a note.
func notePart(s string) string {
	const most = 100
	if len(s) > most {
		s = s[:most]
	}
	return strconv.Quote(s)
}

// reading is the body of a request. It is handed on as it is read, neither sooner nor
// later, and what was read is kept. A transport may still be reading when the handler
// has returned, hence the lock.
type reading struct {
	io.ReadCloser
	expect int64 // Content-Length, -1 if unknown

	mu    sync.Mutex
	kept  kept
	ended bool // the end was read
	taken bool // the event is made: what is read from now on is not for it
}

// Read implements [io.Reader].
func (b *reading) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.taken {
		if n > 0 {
			b.kept.add(p[:n], b.expect)
		}
		b.ended = b.ended || err == io.EOF || b.expect >= 0 && b.kept.size >= b.expect
	}
	return n, err
}

// take ends the keeping and returns what was read, and whether that is all of it.
func (b *reading) take() (k kept, whole bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken = true
	k = b.kept
	b.kept.buf = nil
	return k, b.ended
}

// wantsBody is whether the request's body is needed: for the event, or, where the
// object is written whole, for the reference to the object.
func (x *exchange) wantsBody(r *http.Request) bool {
	if x.long || !x.info.IsResource || r.Body == nil || r.Body == http.NoBody {
		return false
	}
	switch x.info.Verb {
	case "create", "update":
		return true
	case "patch", "delete", "deletecollection":
		return x.decision.Level >= policy.Request
	}
	return false
}

// takeRequest puts into the record what the request's body tells. x.mu is held.
//
// As in the API server the handler decides what is recorded: a body that it did not read
// to the end, because it refused the request first, is not.
func (x *exchange) takeRequest(contentType, encoding string) {
	if x.in.ReadCloser == nil {
		return
	}
	k, whole := x.in.take()
	if k.size == 0 {
		return
	}
	body, f := k.buf, formatOf(contentType)
	note := ""
	switch {
	case k.tooLarge():
		note = k.overLimit()
	case encoding != "" && !strings.EqualFold(encoding, "identity") && !x.h.readable(k.buf, f):
		note = k.leftOut("are encoded in " + notePart(encoding))
	case f == formatProtobuf:
		if m, ok := metaOfProtobuf(body); ok && x.info.writesWhole() {
			x.complete(m)
		}
		note = k.leftOut("of application/vnd.kubernetes.protobuf")
	case f == formatOther:
		note = k.leftOut("of " + notePart(contentType))
	default:
		note = x.takeObject(&k, f, whole)
	}
	if note != "" && x.decision.Level >= policy.Request {
		if !whole {
			note += " (not read to the end)"
		}
		x.annotate(RequestBodyAnnotation, note)
	}
}

// readable is whether a body can be read as it is, in spite of a Content-Encoding: an API server
// takes no notice of a request's, so a client may write what it likes there.
func (h *handler) readable(body []byte, f format) bool {
	if f == formatProtobuf {
		return bytes.HasPrefix(body, protobufMagic)
	}
	body, err := h.toJSON(body, f)
	return err == nil && json.Valid(body)
}

// takeObject is takeRequest for what can be recorded. It returns why it was not, if it was not.
func (x *exchange) takeObject(k *kept, f format, whole bool) (note string) {
	if !whole && f == formatYAML && !json.Valid(k.buf) {
		return k.leftOut("were all that was read") // the half of it may be YAML too, and say something else
	}
	body, err := x.h.toJSON(k.buf, f)
	if err != nil {
		return k.leftOut("cannot be read: " + notePart(err.Error()))
	}
	if x.info.writesWhole() {
		m, ok := metaOfJSON(body)
		if !ok {
			if !whole {
				return k.leftOut("were all that was read")
			}
			return k.leftOut("are no JSON object")
		}
		x.complete(m)
	} else if !whole && skipSpace(body, max(0, skipValue(body, skipSpace(body, 0)))) != len(body) {
		return k.leftOut("were all that was read")
	}
	if x.decision.Level < policy.Request {
		return ""
	}
	if x.decision.OmitManagedFields && x.info.writesWhole() {
		body = withoutManagedFields(body)
	}
	x.rec.RequestObject = body
	return ""
}

// writesWhole is whether the body of the request is the object that it is about.
func (i *RequestInfo) writesWhole() bool { return i.Verb == "create" || i.Verb == "update" }

// complete fills in what the URL did not tell of the object.
func (x *exchange) complete(m objectMeta) {
	o := &x.object
	o.Namespace = cmp.Or(o.Namespace, m.namespace)
	o.Name = cmp.Or(o.Name, m.name)
	o.UID = cmp.Or(o.UID, m.uid)
	o.ResourceVersion = cmp.Or(o.ResourceVersion, m.resourceVersion)
}

// takeAnswer puts into the record what the answer's body tells. x.mu is held.
func (x *exchange) takeAnswer() {
	w := &x.out
	if w.take < takeStatus || w.kept.size == 0 {
		return
	}
	note := x.takeAnswerOf(&w.kept)
	w.kept.buf = nil
	if note != "" && w.take == takeRecord && !x.long { // of a stream nothing is asked for
		x.annotate(ResponseBodyAnnotation, note)
	}
}

// takeAnswerOf returns why the body is not in the record, "" if it is.
func (x *exchange) takeAnswerOf(k *kept) (note string) {
	w := &x.out
	if k.tooLarge() {
		return k.overLimit()
	}
	body, err := decompress(k.buf, w.encoding, k.max)
	if err != nil {
		return k.leftOut("cannot be decompressed: " + notePart(err.Error()))
	}
	body, isStatus, err := x.takeStatus(body)
	switch {
	case isStatus:
	case w.format == formatProtobuf:
		return k.leftOut("of application/vnd.kubernetes.protobuf")
	case err != nil:
		return k.leftOut("cannot be read: " + notePart(err.Error()))
	case w.take == takeRecord && !x.long: // of a stream, or of what a pod answers behind proxy, a Status alone
		if x.decision.OmitManagedFields {
			body = withoutManagedFields(body)
		}
		x.rec.ResponseObject = body
	}
	return ""
}

// takeStatus puts the Status that body is into the record, and is whether it is one. It returns body
// as JSON, or why it cannot be read. x.mu is held.
func (x *exchange) takeStatus(body []byte) (asJSON []byte, isStatus bool, err error) {
	var s status.Status
	if x.out.format == formatProtobuf {
		if s, isStatus = statusOfProtobuf(body); isStatus {
			body = s.JSON()
		}
	} else if body, err = x.h.toJSON(body, x.out.format); err == nil {
		s, isStatus = statusOfJSON(body)
	}
	if isStatus {
		x.answered(&s)
		if x.out.take == takeRecord {
			x.rec.ResponseObject = body
		}
	}
	return body, isStatus, err
}
