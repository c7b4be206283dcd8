package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"

	"github.com/ktrail/ktrail/audit"
)

// What is before, between and behind the items of an EventList as the API server encodes it,
// and what its lines have in front that its items have not.
const (
	listHead = `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`
	listTail = "]}\n"
	lineHead = `{"kind":"Event","apiVersion":"audit.k8s.io/v1",`
)

// body is an EventList that is made of events' lines, which it does not copy.
type body struct {
	parts []string
	size  int64
	sum   string // SHA-256, in hex
}

func newBody(events []audit.Event) *body {
	b := &body{parts: make([]string, 0, 2*len(events)+1)}
	before := listHead
	for i := range events {
		line, ok := strings.CutPrefix(events[i].Raw, lineHead)
		if ok {
			before += "{"
		}
		b.parts = append(b.parts, before, line)
		before = ","
	}
	if len(events) == 0 {
		b.parts = append(b.parts, listHead)
	}
	b.parts = append(b.parts, listTail)
	sum := sha256.New()
	for _, p := range b.parts {
		b.size += int64(len(p))
		_, _ = io.WriteString(sum, p) // a hash takes all
	}
	b.sum = hex.EncodeToString(sum.Sum(nil))
	return b
}

// reader reads the body from its beginning.
func (b *body) reader() io.Reader { return &bodyReader{parts: b.parts} }

type bodyReader struct {
	parts []string
	at    int // in the first
}

// Read implements [io.Reader].
func (r *bodyReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(r.parts) == 0 {
			if n == 0 {
				return 0, io.EOF
			}
			return n, nil
		}
		m := copy(p[n:], r.parts[0][r.at:])
		n += m
		if r.at += m; r.at == len(r.parts[0]) {
			r.parts, r.at = r.parts[1:], 0
		}
	}
	return n, nil
}
