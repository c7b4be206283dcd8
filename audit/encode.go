package audit

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// AppendJSON appends the line of r, without a newline, byte for byte as kube-apiserver
// 1.37 writes it: the fields of k8s.io/apiserver's audit/v1 types in their order, by
// the rules of encoding/json (maps sorted by key, <, > and & escaped, bytes that are not
// UTF-8 as \ufffd). The API server's order of status details is kept as it came.
//
// An error, for a body that is not JSON, leaves dst as it was. A body nested so deep
// that the line could not be decoded is one.
func (r *Record) AppendJSON(dst []byte) ([]byte, error) {
	var e encoder
	var some [8]member[[]string]
	var few [8]member[string]
	extra, annotations := sorted(some[:0], r.User.Extra), sorted(few[:0], r.Annotations)
	e.dst = slices.Grow(dst, r.size(extra, annotations))
	if err := e.record(r, extra, annotations); err != nil {
		return dst, err
	}
	return e.dst, nil
}

// Event encodes r and returns what [Decode] makes of the line, in one allocation unless a body was mostly spaces: its
// columns share the strings and lists of r, which must not be changed any more.
func (r *Record) Event() (ev Event, err error) {
	var e encoder
	var some [8]member[[]string]
	var few [8]member[string]
	extra, annotations := sorted(some[:0], r.User.Extra), sorted(few[:0], r.Annotations)
	e.dst = make([]byte, 0, r.size(extra, annotations))
	if err := e.record(r, extra, annotations); err != nil {
		return Event{}, err
	}
	r.columns(&ev, extra, annotations)
	if e.invalid {
		cleanColumns(&ev)
	}
	if spare := cap(e.dst) - len(e.dst); spare > 1024+len(e.dst)/2 {
		e.dst = bytes.Clone(e.dst) // a body was mostly spaces, and buffers count what they hold by the lines
	}
	ev.Raw = unsafe.String(unsafe.SliceData(e.dst), len(e.dst))
	return ev, nil
}

// size is how many bytes a line needs in which nothing is escaped, and the padding
// that checking a body takes.
func (r *Record) size(extra []member[[]string], annotations []member[string]) int {
	// All keys of an event, its user and its object are 620 bytes; the rest is for times and numbers.
	n := 704 + pad + len(r.Level) + len(r.AuditID) + len(r.Stage) + len(r.RequestURI) + len(r.Verb) +
		r.User.size(extra) + len(r.ImpersonationConstraint) + listSizeOf(r.SourceIPs) + len(r.UserAgent) +
		len(r.RequestObject) + len(r.ResponseObject)
	if u := r.ImpersonatedUser; u != nil {
		n += u.size(nil) + 64
		for k, v := range u.Extra {
			n += len(k) + listSizeOf(v) + 8
		}
	}
	if o := r.ObjectRef; o != nil {
		n += len(o.Resource) + len(o.Namespace) + len(o.Name) + len(o.UID) +
			len(o.APIGroup) + len(o.APIVersion) + len(o.ResourceVersion) + len(o.Subresource)
	}
	if s := r.ResponseStatus; s != nil {
		n += len(s.Status) + len(s.Message) + len(s.Reason) + len(s.Details)
	}
	for i := range annotations {
		n += len(annotations[i].key) + len(annotations[i].value) + 6
	}
	return n
}

func (u *UserInfo) size(extra []member[[]string]) int {
	n := len(u.Username) + len(u.UID) + listSizeOf(u.Groups)
	for i := range extra {
		n += len(extra[i].key) + listSizeOf(extra[i].value) + 8
	}
	return n
}

func listSizeOf(list []string) int {
	n := 3 * len(list)
	for _, s := range list {
		n += len(s)
	}
	return n
}

// encoder appends to a line.
type encoder struct {
	dst []byte
	// invalid is whether a string was not UTF-8.
	invalid bool
}

// member is a key of a map with its value. A map's members are taken out once: walking a map takes as long as
// writing it.
type member[V any] struct {
	key   string
	value V
}

// manyMembers is from where on a map is sorted otherwise: its keys are a client's to choose.
const manyMembers = 32

// sorted appends the members of m to list by their keys. It inserts: maps are small, and a
// function that compares would put list on the heap.
func sorted[V any](list []member[V], m map[string]V) []member[V] {
	if len(m) == 0 {
		return list
	}
	if len(m) > manyMembers {
		many := make([]member[V], 0, len(m))
		for k, v := range m {
			many = append(many, member[V]{k, v})
		}
		slices.SortFunc(many, func(a, b member[V]) int { return strings.Compare(a.key, b.key) })
		return many
	}
	for k, v := range m {
		i := len(list)
		list = append(list, member[V]{})
		for ; i > 0 && list[i-1].key > k; i-- {
			list[i] = list[i-1]
		}
		list[i] = member[V]{k, v}
	}
	return list
}

func (e *encoder) record(r *Record, extra []member[[]string], annotations []member[string]) error {
	e.dst = append(e.dst, head...)
	e.text(r.Level)
	e.field(`","auditID":"`, r.AuditID)
	e.field(`","stage":"`, r.Stage)
	e.field(`","requestURI":"`, r.RequestURI)
	e.field(`","verb":"`, r.Verb)
	e.dst = append(e.dst, `","user":`...)
	e.user(&r.User, extra)
	if r.ImpersonatedUser != nil {
		e.dst = append(e.dst, `,"impersonatedUser":`...)
		e.user(r.ImpersonatedUser, sorted(nil, r.ImpersonatedUser.Extra))
	}
	if r.ImpersonationConstraint != "" {
		e.dst = append(e.dst, `,"authenticationMetadata":{"impersonationConstraint":"`...)
		e.text(r.ImpersonationConstraint)
		e.dst = append(e.dst, `"}`...)
	}
	if len(r.SourceIPs) > 0 {
		e.dst = append(e.dst, `,"sourceIPs":`...)
		e.list(r.SourceIPs)
	}
	e.member(0, `"userAgent":"`, r.UserAgent)
	if r.ObjectRef != nil {
		e.object(r.ObjectRef)
	}
	if r.ResponseStatus != nil {
		if err := e.status(r.ResponseStatus); err != nil {
			return err
		}
	}
	if err := e.body(`,"requestObject":`, r.RequestObject, 1); err != nil {
		return err
	}
	if err := e.body(`,"responseObject":`, r.ResponseObject, 1); err != nil {
		return err
	}
	if err := e.time(`,"requestReceivedTimestamp":`, r.Received); err != nil {
		return err
	}
	if err := e.time(`,"stageTimestamp":`, r.Time); err != nil {
		return err
	}
	if len(annotations) > 0 {
		e.annotations(annotations)
	}
	e.dst = append(e.dst, '}')
	return nil
}

// field appends key, which ends the string before it and begins one, and s.
func (e *encoder) field(key, s string) {
	e.dst = append(e.dst, key...)
	e.text(s)
}

// member appends a member of the object whose first byte is at first, unless s is
// empty; key has its quotes, the colon and the quote that begins s.
func (e *encoder) member(first int, key, s string) {
	if s != "" {
		e.comma(first)
		e.field(key, s)
		e.dst = append(e.dst, '"')
	}
}

// comma separates members of the object whose first byte is at first.
func (e *encoder) comma(first int) {
	if len(e.dst) > first+1 {
		e.dst = append(e.dst, ',')
	}
}

func (e *encoder) user(u *UserInfo, extra []member[[]string]) {
	first := len(e.dst)
	e.dst = append(e.dst, '{')
	e.member(first, `"username":"`, u.Username)
	e.member(first, `"uid":"`, u.UID)
	if len(u.Groups) > 0 {
		e.comma(first)
		e.dst = append(e.dst, `"groups":`...)
		e.list(u.Groups)
	}
	if len(extra) > 0 {
		e.comma(first)
		e.dst = append(e.dst, `"extra":{`...)
		inner := len(e.dst) - 1
		for i := range extra {
			e.comma(inner)
			e.field(`"`, extra[i].key)
			if v := extra[i].value; v == nil {
				e.dst = append(e.dst, `":null`...)
			} else {
				e.dst = append(e.dst, `":`...)
				e.list(v)
			}
		}
		e.dst = append(e.dst, '}')
	}
	e.dst = append(e.dst, '}')
}

func (e *encoder) object(o *ObjectRef) {
	e.dst = append(e.dst, `,"objectRef":{`...)
	first := len(e.dst) - 1
	e.member(first, `"resource":"`, o.Resource)
	e.member(first, `"namespace":"`, o.Namespace)
	e.member(first, `"name":"`, o.Name)
	e.member(first, `"uid":"`, o.UID)
	e.member(first, `"apiGroup":"`, o.APIGroup)
	e.member(first, `"apiVersion":"`, o.APIVersion)
	e.member(first, `"resourceVersion":"`, o.ResourceVersion)
	e.member(first, `"subresource":"`, o.Subresource)
	e.dst = append(e.dst, '}')
}

func (e *encoder) status(s *Status) error {
	e.dst = append(e.dst, `,"responseStatus":{"metadata":{}`...)
	first := len(e.dst) - 2 // the object is not empty
	e.member(first, `"status":"`, s.Status)
	e.member(first, `"message":"`, s.Message)
	e.member(first, `"reason":"`, s.Reason)
	if err := e.body(`,"details":`, s.Details, 2); err != nil {
		return err
	}
	if s.Code != 0 {
		e.dst = append(e.dst, `,"code":`...)
		e.dst = strconv.AppendInt(e.dst, int64(s.Code), 10)
	}
	e.dst = append(e.dst, '}')
	return nil
}

func (e *encoder) annotations(list []member[string]) {
	e.dst = append(e.dst, `,"annotations":{`...)
	first := len(e.dst) - 1
	for i := range list {
		e.comma(first)
		e.field(`"`, list[i].key)
		e.field(`":"`, list[i].value)
		e.dst = append(e.dst, '"')
	}
	e.dst = append(e.dst, '}')
}

func (e *encoder) list(list []string) {
	first := len(e.dst)
	e.dst = append(e.dst, '[')
	for _, s := range list {
		e.comma(first)
		e.field(`"`, s)
		e.dst = append(e.dst, '"')
	}
	e.dst = append(e.dst, ']')
}

// body appends a member whose value is JSON, unless there is none.
func (e *encoder) body(key string, value []byte, depth int) error {
	if len(value) == 0 {
		return nil
	}
	e.dst = append(e.dst, key...)
	var bad int
	if e.dst, bad = appendBody(e.dst, value, depth); bad >= 0 {
		return fmt.Errorf("encode audit event: %s is not JSON: unexpected byte at %d of %d", key[2:len(key)-2], bad, len(value))
	}
	return nil
}

func (e *encoder) time(key string, t Time) error {
	e.dst = append(e.dst, key...)
	if t == 0 || t == yearOne {
		e.dst = append(e.dst, "null"...)
		return nil
	}
	var ok bool
	if e.dst, ok = appendTime(e.dst, t); !ok {
		return fmt.Errorf("encode audit event: %s is outside the years 0 to 9999", key[2:len(key)-2])
	}
	return nil
}

// columns sets ev to what Decode finds in the line of r, but for strings that are not UTF-8.
func (r *Record) columns(ev *Event, extra []member[[]string], annotations []member[string]) {
	*ev = Event{
		Time: r.Time, Received: r.Received,
		AuditID: r.AuditID, Stage: r.Stage, Level: r.Level, Verb: r.Verb,
		User: r.User.Username, UserUID: r.User.UID, Groups: noneIfEmpty(r.User.Groups),
		SourceIPs: noneIfEmpty(r.SourceIPs), Agent: r.UserAgent, URI: r.RequestURI,
		Version: "v1",
		Rule:    r.Rule,
	}
	for i := range extra {
		switch v := extra[i].value; extra[i].key {
		case "authentication.kubernetes.io/credential-id":
			ev.CredentialID = firstOf(v)
		case "authentication.kubernetes.io/pod-name":
			ev.Pod = firstOf(v)
		}
	}
	for i := range annotations {
		switch v := annotations[i].value; annotations[i].key {
		case "authorization.k8s.io/decision":
			ev.Decision = v
		case "authorization.k8s.io/reason":
			ev.DecisionReason = v
		case "audit.k8s.io/truncated":
			ev.Truncated = v == "true"
		}
	}
	if ev.Time == yearOne {
		ev.Time = 0
	}
	if ev.Received == yearOne {
		ev.Received = 0
	}
	if u := r.ImpersonatedUser; u != nil {
		ev.AsUser, ev.AsGroups = u.Username, noneIfEmpty(u.Groups)
	}
	if o := r.ObjectRef; o != nil {
		ev.APIGroup, ev.APIVersion, ev.Resource, ev.Subresource = o.APIGroup, o.APIVersion, o.Resource, o.Subresource
		ev.Namespace, ev.Name, ev.ObjectUID = o.Namespace, o.Name, o.UID
	}
	if s := r.ResponseStatus; s != nil {
		ev.Code, ev.Reason, ev.Message = s.Code, s.Reason, s.Message
	}
	ev.derive()
}

func noneIfEmpty(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

func firstOf(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// cleanColumns replaces what is not UTF-8 as the line has it: U+FFFD for each byte.
func cleanColumns(e *Event) {
	for _, s := range []*string{
		&e.AuditID, &e.Stage, &e.Level, &e.Verb, &e.User, &e.UserUID, &e.AsUser, &e.Agent, &e.URI,
		&e.APIGroup, &e.APIVersion, &e.Resource, &e.Subresource, &e.Namespace, &e.Name, &e.ObjectUID,
		&e.Reason, &e.Message, &e.Decision, &e.DecisionReason, &e.CredentialID, &e.Pod,
	} {
		*s = cleanText(*s)
	}
	for _, list := range []*[]string{&e.Groups, &e.AsGroups, &e.SourceIPs} {
		*list = slices.Clone(*list)
		for i, s := range *list {
			(*list)[i] = cleanText(s)
		}
	}
	e.derive() // a stage or a user is what it is in the line
}

func cleanText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}
