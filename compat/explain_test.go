package compat

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit/capture"
)

const (
	requestNote = "annotations." + capture.RequestBodyAnnotation
	answerNote  = "annotations." + capture.ResponseBodyAnnotation
)

// explain is the difference of the table that a field shows, "" for none. It looks at what both recorded,
// and holds that against what was sent and answered: that upstream has less is no reason to have just anything.
func (x *trial) explain(b *both, field string) string {
	ours := b.fields[1]
	switch {
	case field == "answer":
		return x.explainRefusal(b)
	case ours["stage"] == `"ResponseStarted"` && b.fields[0][field] == "" && strings.HasPrefix(field, "annotations.b.example/"):
		switch {
		case x.informs():
			return "informational"
		case ours["responseStatus.code"] >= "400":
			return "late annotation"
		}
	case ours["stage"] == `"ResponseStarted"` && ours[field] == "" && strings.HasPrefix(field, "annotations.b.example/") && slices.Contains(x.script, "flush"):
		return "flushed" // and so later in the API server's
	case field == answerNote || strings.HasPrefix(field, "response"):
		return x.explainAnswer(b, field)
	case field == requestNote || strings.HasPrefix(field, "requestObject"):
		return x.explainBody(b, field)
	case strings.HasPrefix(field, "objectRef."):
		// The name that a body has which upstream could not decode.
		key := strings.TrimPrefix(field, "objectRef.")
		if b.fields[0][field] == "" && !has(b.fields[0], "requestObject") && ours[field] == flat("", plain(x.contentType(), x.body))["metadata."+key] {
			return "refused body"
		}
	}
	return ""
}

// explainRefusal is explain for the answer: nothing differs but how the refusal of a request is written that goes no further.
func (x *trial) explainRefusal(b *both) string {
	status, _, _ := strings.Cut(b.answers[0].head, "\n")
	reason := map[string]string{"401 Unauthorized": "Unauthorized", "400 Bad Request": "BadRequest"}[status]
	if reason == "" || reason == "BadRequest" && !strings.Contains(x.call().target, "timeout") || !strings.HasPrefix(b.answers[1].head, status+"\n") || b.answers[1].contentType != "application/json" {
		return ""
	}
	var theirs, ours struct{ Message, Reason string }
	switch {
	case x.method == "HEAD":
		return "refusal"
	case json.Unmarshal([]byte(b.answers[1].body), &ours) != nil, ours.Reason != reason:
	case json.Unmarshal([]byte(plain(b.answers[0].contentType, b.answers[0].body)), &theirs) == nil && theirs != ours:
	default:
		return "refusal"
	}
	return ""
}

// explainAnswer is explain for what is recorded of the answer.
func (x *trial) explainAnswer(b *both, field string) string {
	theirs, ours, told := b.fields[0], b.fields[1], b.answers[1]
	object := strings.HasPrefix(field, "responseObject")
	text, known := x.told(b)
	switch {
	case x.informs() && !object && field != answerNote, x.informs() && x.unseen() && ours["stage"] == `"ResponseStarted"` && !has(theirs, "responseObject"):
		return "informational"
	case slices.Contains(x.script, "flush") && strings.HasPrefix(field, "responseStatus.") && ours["responseStatus.code"] == "200" && strings.HasPrefix(told.head, "200 OK\n"):
		if theirs["responseStatus.code"] != "200" || theirs["responseStatus.message"] == `"Connection closed early"` {
			return "flushed"
		}
		return ""
	case field == "responseStatus.code":
		return ""
	case has(ours, "responseObject") && known && !within(ours, "responseObject", text):
		return ""
	case strings.Contains(ours["responseStatus.message"]+ours["responseObject.message"], "cannot be encoded to a protobuf message"):
		return "unencoded answer"
	case x.unseen() && !has(ours, "responseObject") && (object || !has(ours, "responseStatus.status")) && (has(theirs, "responseObject") || has(theirs, "responseStatus.status")) && field != answerNote && (ours["responseStatus.code"] < "400" || ours["stage"] == `"Panic"`):
		return "long-running object"
	case strings.HasPrefix(told.contentType, "application/vnd.kubernetes.protobuf") && has(theirs, "responseObject") && !has(ours, "responseObject") &&
		(object || ours[field] == fmt.Sprintf(`"left out: %d bytes of application/vnd.kubernetes.protobuf"`, len(told.body))):
		return "protobuf answer"
	case field == answerNote && !has(theirs, "responseObject"):
		return "own answer"
	case object && !has(theirs, "responseObject") && (known || ours["responseObject.kind"] == `"Status"` || has(ours, "responseObject.status")):
		return "own answer"
	case strings.HasPrefix(field, "responseStatus.") && !has(theirs, "responseStatus.status") && (!known || ours[field] == flat("responseStatus", text)[field]):
		return "own answer"
	}
	return ""
}

// told is what the handler answered on our side, as JSON; known is false where that is nowhere to be seen.
func (x *trial) told(b *both) (text string, known bool) {
	a := b.answers[1]
	if whole := a.head != "" && !strings.HasSuffix(a.head, "no answer") && !strings.HasSuffix(a.head, "and then broken off"); whole && x.method != "HEAD" {
		if a.contentType == "application/cbor" && json.Valid([]byte(a.body)) {
			return a.body, true // made JSON for its order
		}
		return plain(a.contentType, a.body), true
	}
	contentType, text := x.script.writes()
	return plain(contentType, text), text != "" && b.ran
}

// explainBody is explain for what is recorded of the request's body.
func (x *trial) explainBody(b *both, field string) string {
	theirs, ours := b.fields[0], b.fields[1]
	sent := plain(x.contentType(), x.body)
	switch {
	case has(ours, "requestObject") && !within(ours, "requestObject", sent):
	case field == requestNote && !x.noted(ours[field], sent):
	case x.method == "DELETE" && has(theirs, "requestObject") && has(ours, "requestObject"):
		return "delete options"
	case has(theirs, "requestObject") && has(ours, "requestObject") && (x.method == "POST" || x.method == "PUT"):
		return "sent body"
	case has(theirs, "requestObject") && strings.Contains(ours[requestNote], "bytes of application/vnd.kubernetes.protobuf"):
		return "protobuf request"
	case !has(theirs, "requestObject"):
		return "refused body"
	}
	return ""
}

// noted is whether a note is true of the body that was sent.
func (x *trial) noted(note, sent string) bool {
	var text, why string
	var n int
	if json.Unmarshal([]byte(note), &text) != nil {
		return false
	}
	text, half := strings.CutSuffix(text, " (not read to the end)")
	if _, err := fmt.Sscanf(text, "left out: %d bytes", &n); err != nil {
		return false
	}
	_, why, _ = strings.Cut(text, " bytes ")
	if n > len(x.body) || !half && n != len(x.body) && n <= 3<<20 {
		return false
	}
	kind, _, _ := strings.Cut(strings.ToLower(x.contentType()), ";")
	written := x.contentType() == "" || slices.ContainsFunc([]string{"json", "yaml", "cbor"}, func(format string) bool {
		return strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, format)
	})
	object := strings.HasPrefix(strings.TrimSpace(sent), "{") && json.Valid([]byte(sent))
	switch {
	case why == "are over the limit of 3145728":
		return n > 3<<20
	case strings.HasPrefix(why, "are encoded in "):
		return slices.ContainsFunc(x.header, func(h string) bool { return strings.HasPrefix(h, "Content-Encoding: ") })
	case strings.HasPrefix(why, "of "):
		return !written
	case why == "were all that was read":
		return half
	}
	return written && (half || !object) // cannot be read, and the like
}

// flat are the fields of a text in JSON, below a name.
func flat(below, text string) map[string]string {
	into := map[string]string{}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if d.Decode(&v) == nil {
		flatten(into, below, v)
	}
	return into
}
