package pipeline

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/ktrail/ktrail/audit"
)

// MinKey is the least length of a Redactor's key in bytes.
const MinKey = 16

// Redactor replaces the secrets in the bodies of an event by their type, length
// and a keyed hash:
//
//	"data":{"password":"aHVudGVyMg=="}
//	"data":{"password":"redacted:string:12:hmac-0f1e2d3c4b5a6978"}
//
// so that it still shows whether a value changed, and the same line gives the same
// line for the same key. The hash is the beginning of HMAC-SHA256 of the type, a
// colon and the value: a string's text, and the JSON of anything else.
//
// Secrets are
//   - data and stringData of Secrets: in requests, answers, lists, tables, patches of
//     every kind, whatever the request's path says;
//   - in a request for secrets, fields that no Secret has (a misspelt data);
//   - spec.token and status.token of TokenReview and TokenRequest;
//   - the annotation kubectl.kubernetes.io/last-applied-configuration of Secrets;
//   - in requests for either, the event's annotations patch.webhook.admission.k8s.io/...: what
//     mutating webhooks put in.
//
// null and "" stay. A body of an unexpected shape is replaced as a whole. All
// else in the line stays as it is, byte for byte. A line that was redacted before,
// with any key, does not change.
//
// A Redactor may be used by many goroutines at once.
type Redactor struct {
	key   []byte
	rules Rules
}

// NewRedactor returns a Redactor with key, of at least MinKey bytes. Who has the key can
// find a short secret by trying.
func NewRedactor(key []byte) (*Redactor, error) {
	if len(key) < MinKey {
		return nil, fmt.Errorf("make redactor: the key has %d bytes and needs %d at least", len(key), MinKey)
	}
	return &Redactor{key: append([]byte(nil), key...), rules: Rules{BuiltIn: true}}, nil
}

// WithRules returns a Redactor that has rules beside, or instead of, those that are always
// on, and the same key.
func (r *Redactor) WithRules(rules *Rules) *Redactor { return &Redactor{key: r.key, rules: *rules} }

// Redact sets e.Raw to the line without its secrets, in memory of b, and e.URI with it, and
// reports whether that changed anything. e must come from a decoder; for an e.Raw that is no
// JSON object it returns an error, and the event must not be written.
func (r *Redactor) Redact(e *audit.Event, b *audit.Batch) (changed bool, err error) {
	line, err := r.edit(e)
	if line == nil {
		return false, err
	}
	if r.rules.query {
		var again audit.Event
		if err := audit.Decode(line, &again); err != nil {
			return false, err
		}
		e.URI = again.URI
	}
	e.Raw = b.CopyLine(line)
	return true, nil
}

// edit is e's line without its secrets, nil if it has none.
func (r *Redactor) edit(e *audit.Event) ([]byte, error) {
	var line []byte
	if r.rules.BuiltIn {
		var err error
		if line, err = r.builtIn(e); err != nil {
			return nil, err
		}
	}
	if len(r.rules.rules) == 0 {
		return line, nil
	}
	text := e.Raw
	if line != nil {
		text = string(line)
	}
	more, err := r.rulesOn(e, text)
	switch {
	case err != nil:
		return nil, err
	case more == nil:
		return line, nil
	}
	return more, nil
}

func (r *Redactor) builtIn(e *audit.Event) ([]byte, error) {
	about := subject(e)
	if !about.secret && !about.token && !mentions(e) {
		return nil, nil
	}
	doc, err := parse(e.Raw)
	if err != nil || doc.kind != '{' {
		return nil, notObject(e)
	}
	w := walk{r: r, text: e.Raw}
	for _, m := range doc.members {
		switch m.key {
		case "requestObject", "responseObject":
			w.body(m.value, about)
		case "annotations":
			if about.secret || about.token {
				w.admission(m.value)
			}
		}
	}
	if len(w.edits) == 0 {
		return nil, nil
	}
	return w.apply(), nil
}

func notObject(e *audit.Event) error {
	return fmt.Errorf("redact event %q: the line is no JSON object", e.AuditID)
}

// RedactBatch is Redact for each event of b. It returns the number of those that changed.
func (r *Redactor) RedactBatch(b *audit.Batch) (changed int, err error) {
	for i := range b.Events {
		c, err := r.Redact(&b.Events[i], b)
		if err != nil {
			return changed, err
		}
		if c {
			changed++
		}
	}
	return changed, nil
}

// RedactLine is for a line that no decoder takes, before it is put aside: half
// an event may hold a whole secret. It keeps what stands before the bodies,
// and nothing of a line that does not begin as the API server begins one; NULs, the holes of
// copytruncate, stay.
func (r *Redactor) RedactLine(line []byte) []byte {
	text := string(line)
	start := strings.TrimLeft(text, "\x00 \t\r")
	keep := len(text) - len(start)
	if strings.HasPrefix(start, `{"kind":"Event","apiVersion":"audit.k8s.io/`) {
		keep = len(text)
		for _, body := range []string{"requestObject", "responseObject"} {
			if k := strings.Index(text, body); k >= 0 {
				keep = min(keep, k+len(body))
			}
		}
	}
	if k := strings.IndexByte(text, '?'); r.rules.query && k >= 0 {
		keep = min(keep, k)
	}
	if keep == len(text) {
		return line
	}
	return append(append([]byte(nil), line[:keep]...), r.mark("line", text[keep:])...)
}

// about is what the columns tell about the bodies.
type about struct {
	secret bool // they are Secrets, or patches of them
	token  bool // they are TokenRequests or TokenReviews
}

func subject(e *audit.Event) about {
	return about{
		secret: e.Resource == "secrets",
		token:  e.Resource == "tokenreviews" || e.Resource == "serviceaccounts" && e.Subresource == "token",
	}
}

// mentions is the cheap test for lines whose path has nothing to do with secrets:
// a quoted kind that begins like one of ours, or a letter in disguise. The API server writes
// kinds plainly; the body of a request is as its client wrote it.
func mentions(e *audit.Event) bool {
	return quoted(e.Raw, "Secret") || quoted(e.Raw, "TokenRe") || disguised(e.Raw)
}

// disguised reports whether text has a letter as \u0041 to \u007a. No encoder does that.
func disguised(text string) bool {
	for {
		i := strings.Index(text, `\u00`)
		if i < 0 || i+4 == len(text) {
			return false
		}
		if c := text[i+4]; c >= '4' && c <= '7' {
			return true
		}
		text = text[i+4:]
	}
}

// quoted reports whether word stands behind a quote. To look for the word alone
// first takes less than half the time: its first letter, unlike a quote, is rare.
func quoted(text, word string) bool {
	for {
		i := strings.Index(text, word)
		if i < 0 {
			return false
		}
		if i > 0 && text[i-1] == '"' {
			return true
		}
		text = text[i+len(word):]
	}
}

const (
	marker  = "redacted:"
	hashLen = 8 // bytes of the HMAC that are shown
)

var marked = regexp.MustCompile(`^redacted:(string|number|boolean|object|array|line):[0-9]{1,19}:hmac-[0-9a-f]{16}$`)

// mark is what stands for a value.
func (r *Redactor) mark(kind, value string) string {
	h := hmac.New(sha256.New, r.key)
	h.Write([]byte(kind + ":" + value))
	return marker + kind + ":" + strconv.Itoa(len(value)) + ":hmac-" + hex.EncodeToString(h.Sum(nil)[:hashLen])
}
