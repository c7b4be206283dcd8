package audit

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// DecodeError says why a line is not an audit event.
type DecodeError struct {
	// Offset is the position in the line, in bytes, at which that was seen.
	Offset int
	Reason string
}

func (e *DecodeError) Error() string {
	return "decode audit event: " + e.Reason + " at byte " + strconv.Itoa(e.Offset)
}

// Decode sets e to the event in line, which it copies. For many lines a [Batch]
// is faster. The error is a *[DecodeError], and e then the zero Event.
//
// A line is an event if encoding/json.Valid accepts it, bodies included, and it is an
// object with kind Event and an apiVersion of audit.k8s.io: v1, v1beta1 or v1alpha1.
// As in the API server's decoder (sigs.k8s.io/json) keys are case-sensitive, of a
// key that is there twice the last counts, objects that are there twice are merged,
// null leaves a text as it is and empties a list, a map or a reference, bad UTF-8 becomes
// U+FFFD in columns, and a column's field of the wrong type (a code in quotes, a user
// that is a number) is an error; what is no column may have any type. Timestamps
// are RFC 3339 with any offset and fraction; below a microsecond is dropped.
func Decode(line []byte, e *Event) error {
	mem := arena{size: len(line) + pad + 256, single: true}
	*e = Event{}
	if err := decode(mem.line(line), len(line), &mem, e); err != nil {
		*e = Event{}
		return err
	}
	return nil
}

// group is what apiVersion begins with.
const group = "audit.k8s.io/"

// decoder decodes one line. Its methods take the offset of a value and return
// the one behind it, or a negative one as in [src], with err set where the JSON is
// right but not its meaning.
type decoder struct {
	src
	mem *arena
	err *DecodeError

	kind, version string
	// Fields that only versions before v1 have; an error in them counts only there.
	timestamp, created Time
	oldErr             *DecodeError
}

// decode sets e to the event in the first n bytes of s.
func decode(s src, n int, mem *arena, e *Event) error {
	d := decoder{src: s, mem: mem}
	i := d.space(0)
	if i == n {
		return &DecodeError{Offset: 0, Reason: "the line is empty"}
	}
	if d.at(i) != '{' {
		return d.notObject(i, n)
	}
	if i = d.event(i, e); i >= 0 {
		if i = d.space(i); i != n {
			return &DecodeError{Offset: i, Reason: "more text follows the event"}
		}
	}
	if i < 0 {
		if d.err != nil {
			return d.err
		}
		return &DecodeError{Offset: ^i, Reason: d.unexpected(^i, n)}
	}
	if d.kind != "Event" {
		return &DecodeError{Offset: 0, Reason: fmt.Sprintf("kind is %q, not Event", clip(d.kind))}
	}
	if len(d.version) < len(group) || d.version[:len(group)] != group {
		return &DecodeError{Offset: 0, Reason: fmt.Sprintf("apiVersion is %q, not audit.k8s.io/v1", clip(d.version))}
	}
	e.Version = d.version[len(group):]
	switch e.Version {
	case "v1":
	case "v1beta1", "v1alpha1":
		if d.oldErr != nil {
			return d.oldErr
		}
		d.convert(e)
	default:
		return &DecodeError{Offset: 0, Reason: fmt.Sprintf("apiVersion is %q; known are v1, v1beta1 and v1alpha1", clip(d.version))}
	}
	e.derive()
	e.Raw = d.str(0, n)
	return nil
}

// derive sets the columns that follow from others.
func (e *Event) derive() {
	if e.Time != 0 && e.Received != 0 {
		e.LatencyUS = int64(e.Time - e.Received)
	}
	e.Final = e.Stage == StageResponseComplete || e.Stage == StagePanic || e.Stage == StageResponseStarted && e.User == ""
}

// convert does what the API server's conversions from the old versions do
// (pkg/apis/audit/v1alpha1 and v1beta1/conversion.go in k8s.io/apiserver before 1.24).
func (d *decoder) convert(e *Event) {
	if e.Time == 0 {
		e.Time = d.created
	}
	if e.Received == 0 {
		e.Received = d.timestamp
	}
	if e.Version == "v1alpha1" {
		if k := strings.LastIndexByte(e.APIVersion, '/'); k >= 0 {
			e.APIGroup, e.APIVersion = e.APIVersion[:k], e.APIVersion[k+1:]
		}
	}
}

// open takes the offset of an object and returns that of its first key, or with
// more false that behind the object.
func (s src) open(i int) (_ int, more bool) {
	i++
	if s.at(i) != '"' {
		if i = s.space(i); s.at(i) == '}' {
			return i + 1, false
		}
	}
	return i, true
}

// next takes the offset behind a member's value and returns that of the next key,
// or with more false that behind the object.
func (s src) next(i int) (_ int, more bool) {
	if i < 0 {
		return i, false
	}
	if isSpace(s.at(i)) {
		i = s.space(i)
	}
	switch s.at(i) {
	case ',':
		if i++; s.at(i) != '"' {
			i = s.space(i)
		}
		return i, true
	case '}':
		return i + 1, false
	}
	return ^i, false
}

// key returns the name of the key at i and the offset of its value.
func (d *decoder) key(i int) (string, int) {
	if d.at(i) != '"' {
		return "", ^i
	}
	end, plain := d.scanString(i + 1)
	if end < 0 {
		return "", end
	}
	var name string
	if plain {
		name = d.str(i+1, end-1)
	} else {
		name = d.unquote(i+1, end-1)
	}
	i = end
	if d.at(i) != ':' {
		if i = d.space(i); d.at(i) != ':' {
			return "", ^i
		}
	}
	i++
	if isSpace(d.at(i)) {
		i = d.space(i)
	}
	return name, i
}

// head is how the API server begins each line.
const head = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"`

const _ = uint(pad - len(head)) // has reads no more than the padding

// has reports whether lit is at i. It reads len(lit) bytes: at most pad.
func (s src) has(i int, lit string) bool { return s.str(i, i+len(lit)) == lit }

// usual decodes the fields from the level at i on in the order in which the API server writes
// them, for as long as that is what there is: a quarter of all work is finding keys.
func (d *decoder) usual(i int, e *Event) int {
	const (
		auditID    = `,"auditID":"`
		stage      = `,"stage":"`
		requestURI = `,"requestURI":"`
		verb       = `,"verb":"`
		user       = `,"user":{`
	)
	d.kind, d.version = "Event", "audit.k8s.io/v1"
	if i = d.text(i, &e.Level, "level"); i < 0 || !d.has(i, auditID) {
		return i
	}
	if i = d.text(i+len(auditID)-1, &e.AuditID, "auditID"); i < 0 || !d.has(i, stage) {
		return i
	}
	if i = d.text(i+len(stage)-1, &e.Stage, "stage"); i < 0 || !d.has(i, requestURI) {
		return i
	}
	if i = d.text(i+len(requestURI)-1, &e.URI, "requestURI"); i < 0 || !d.has(i, verb) {
		return i
	}
	if i = d.text(i+len(verb)-1, &e.Verb, "verb"); i < 0 || !d.has(i, user) {
		return i
	}
	return d.user(i+len(user)-1, e)
}

func (d *decoder) event(i int, e *Event) int {
	var name string
	var more bool
	if d.has(i, head) {
		i, more = d.next(d.usual(i+len(head)-1, e))
	} else {
		i, more = d.open(i)
	}
	for ; more; i, more = d.next(i) {
		if name, i = d.key(i); i < 0 {
			return i
		}
		switch name {
		case "kind":
			i = d.text(i, &d.kind, "kind")
		case "apiVersion":
			i = d.text(i, &d.version, "apiVersion")
		case "level":
			i = d.text(i, &e.Level, "level")
		case "auditID":
			i = d.text(i, &e.AuditID, "auditID")
		case "stage":
			i = d.text(i, &e.Stage, "stage")
		case "requestURI":
			i = d.text(i, &e.URI, "requestURI")
		case "verb":
			i = d.text(i, &e.Verb, "verb")
		case "userAgent":
			i = d.text(i, &e.Agent, "userAgent")
		case "sourceIPs":
			i = d.list(i, &e.SourceIPs, "sourceIPs")
		case "user":
			i = d.user(i, e)
		case "impersonatedUser":
			i = d.impersonated(i, e)
		case "objectRef":
			i = d.object(i, e)
		case "responseStatus":
			i = d.status(i, e)
		case "annotations":
			i = d.annotations(i, e)
		case "requestReceivedTimestamp":
			i = d.time(i, &e.Received, "requestReceivedTimestamp")
		case "stageTimestamp":
			i = d.time(i, &e.Time, "stageTimestamp")
		case "timestamp", "metadata":
			i = d.old(i, name)
		default:
			i = d.skipValue(i, 1)
		}
	}
	return i
}

// old decodes a field that counts only if the version turns out to be old.
func (d *decoder) old(i int, name string) int {
	end := d.skipValue(i, 1)
	if end < 0 {
		return end
	}
	k := i
	if name == "timestamp" {
		k = d.time(i, &d.timestamp, "timestamp")
	} else if d.isObject(i, "metadata") {
		var more bool
		for k, more = d.open(i); more; k, more = d.next(k) {
			if name, k = d.key(k); name == "creationTimestamp" {
				k = d.time(k, &d.created, "metadata.creationTimestamp")
			} else {
				k = d.skipValue(k, 2)
			}
		}
	} else if d.at(i) != 'n' {
		k = -1
	}
	if k < 0 {
		d.oldErr, d.err = d.err, nil
	}
	return end
}

func (d *decoder) user(i int, e *Event) int {
	if !d.isObject(i, "user") {
		return d.null(i)
	}
	var name string
	var more bool
	for i, more = d.open(i); more; i, more = d.next(i) {
		if name, i = d.key(i); i < 0 {
			return i
		}
		switch name {
		case "username":
			i = d.text(i, &e.User, "user.username")
		case "uid":
			i = d.text(i, &e.UserUID, "user.uid")
		case "groups":
			i = d.list(i, &e.Groups, "user.groups")
		case "extra":
			i = d.extra(i, e)
		default:
			i = d.skipValue(i, 2)
		}
	}
	return i
}

func (d *decoder) extra(i int, e *Event) int {
	if !d.isObject(i, "user.extra") {
		e.CredentialID, e.Pod = "", ""
		return d.null(i)
	}
	var name string
	var more bool
	for i, more = d.open(i); more; i, more = d.next(i) {
		if name, i = d.key(i); i < 0 {
			return i
		}
		switch name {
		case "authentication.kubernetes.io/credential-id":
			i = d.first(i, &e.CredentialID, "user.extra credential-id")
		case "authentication.kubernetes.io/pod-name":
			i = d.first(i, &e.Pod, "user.extra pod-name")
		default:
			i = d.skipValue(i, 3)
		}
	}
	return i
}

func (d *decoder) impersonated(i int, e *Event) int {
	if !d.isObject(i, "impersonatedUser") {
		e.AsUser, e.AsGroups = "", nil
		return d.null(i)
	}
	var name string
	var more bool
	for i, more = d.open(i); more; i, more = d.next(i) {
		if name, i = d.key(i); i < 0 {
			return i
		}
		switch name {
		case "username":
			i = d.text(i, &e.AsUser, "impersonatedUser.username")
		case "groups":
			i = d.list(i, &e.AsGroups, "impersonatedUser.groups")
		default:
			i = d.skipValue(i, 2)
		}
	}
	return i
}

func (d *decoder) object(i int, e *Event) int {
	if !d.isObject(i, "objectRef") {
		e.APIGroup, e.APIVersion, e.Resource, e.Subresource = "", "", "", ""
		e.Namespace, e.Name, e.ObjectUID = "", "", ""
		return d.null(i)
	}
	var name string
	var more bool
	for i, more = d.open(i); more; i, more = d.next(i) {
		if name, i = d.key(i); i < 0 {
			return i
		}
		switch name {
		case "resource":
			i = d.text(i, &e.Resource, "objectRef.resource")
		case "subresource":
			i = d.text(i, &e.Subresource, "objectRef.subresource")
		case "namespace":
			i = d.text(i, &e.Namespace, "objectRef.namespace")
		case "name":
			i = d.text(i, &e.Name, "objectRef.name")
		case "uid":
			i = d.text(i, &e.ObjectUID, "objectRef.uid")
		case "apiGroup":
			i = d.text(i, &e.APIGroup, "objectRef.apiGroup")
		case "apiVersion":
			i = d.text(i, &e.APIVersion, "objectRef.apiVersion")
		default:
			i = d.skipValue(i, 2)
		}
	}
	return i
}

func (d *decoder) status(i int, e *Event) int {
	if !d.isObject(i, "responseStatus") {
		e.Code, e.Reason, e.Message = 0, "", ""
		return d.null(i)
	}
	var name string
	var more bool
	for i, more = d.open(i); more; i, more = d.next(i) {
		if name, i = d.key(i); i < 0 {
			return i
		}
		switch name {
		case "code":
			i = d.int32(i, &e.Code, "responseStatus.code")
		case "reason":
			i = d.text(i, &e.Reason, "responseStatus.reason")
		case "message":
			i = d.text(i, &e.Message, "responseStatus.message")
		default:
			i = d.skipValue(i, 2)
		}
	}
	return i
}

func (d *decoder) annotations(i int, e *Event) int {
	if !d.isObject(i, "annotations") {
		e.Decision, e.DecisionReason, e.Truncated = "", "", false
		return d.null(i)
	}
	var name string
	var more bool
	for i, more = d.open(i); more; i, more = d.next(i) {
		if name, i = d.key(i); i < 0 {
			return i
		}
		// A map's value, unlike a struct's field, does not survive a null.
		switch name {
		case "authorization.k8s.io/decision":
			e.Decision = ""
			i = d.text(i, &e.Decision, "annotation authorization.k8s.io/decision")
		case "authorization.k8s.io/reason":
			e.DecisionReason = ""
			i = d.text(i, &e.DecisionReason, "annotation authorization.k8s.io/reason")
		case "audit.k8s.io/truncated":
			var v string
			i = d.text(i, &v, "annotation audit.k8s.io/truncated")
			e.Truncated = v == "true"
		default:
			i = d.skipValue(i, 2)
		}
	}
	return i
}

// isObject reports whether the value at i is an object. If it is neither that nor
// null it sets err.
func (d *decoder) isObject(i int, field string) bool {
	switch d.at(i) {
	case '{':
		return true
	case 'n':
	default:
		d.wrong(i, field, "an object")
	}
	return false
}

// null skips the null at i; for any other value isObject has set err.
func (d *decoder) null(i int) int {
	if d.at(i) != 'n' {
		return ^i
	}
	return d.skipWord(i, "null")
}

// text sets v to the string at i; null leaves it.
func (d *decoder) text(i int, v *string, field string) int {
	if d.at(i) != '"' {
		if d.at(i) != 'n' {
			return d.wrong(i, field, "a string")
		}
		return d.null(i)
	}
	end, plain := d.scanString(i + 1)
	if end < 0 {
		return end
	}
	if plain {
		*v = d.str(i+1, end-1)
	} else {
		*v = d.unquote(i+1, end-1)
	}
	return end
}

// list sets v to the array of strings at i; null and [] make it nil, and a null
// in it is "".
func (d *decoder) list(i int, v *[]string, field string) int {
	*v = nil
	if d.at(i) != '[' {
		if d.at(i) != 'n' {
			return d.wrong(i, field, "a list of strings")
		}
		return d.null(i)
	}
	if i = d.space(i + 1); d.at(i) == ']' {
		return i + 1
	}
	list := d.mem.scratch[:0]
	for {
		var member string
		if i = d.text(d.space(i), &member, field); i < 0 {
			return i
		}
		list = append(list, member)
		if i = d.space(i); d.at(i) != ',' {
			break
		}
		i++
	}
	d.mem.scratch = list
	if d.at(i) != ']' {
		return ^i
	}
	*v = d.mem.keep(list)
	return i + 1
}

// first sets v to the first of the array of strings at i, or to "".
func (d *decoder) first(i int, v *string, field string) int {
	var list []string
	if i = d.list(i, &list, field); i < 0 {
		return i
	}
	*v = ""
	if len(list) > 0 {
		*v = list[0]
	}
	return i
}

func (d *decoder) int32(i int, v *int32, field string) int {
	c := d.at(i)
	if c == 'n' {
		return d.null(i)
	}
	if c != '-' && c-'0' > 9 {
		return d.wrong(i, field, "a whole number")
	}
	end := d.skipNumber(i)
	if end < 0 {
		return end
	}
	n, err := strconv.ParseInt(d.str(i, end), 10, 32)
	if err != nil {
		return d.wrong(i, field, "a whole number of 32 bits")
	}
	*v = int32(n)
	return end
}

func (d *decoder) time(i int, v *Time, field string) int {
	if d.at(i) == 'n' {
		*v = 0
		return d.null(i)
	}
	var text string
	end := d.text(i, &text, field)
	if end < 0 {
		return end
	}
	t, ok := parseTime(text)
	if !ok {
		d.err = &DecodeError{Offset: i, Reason: fmt.Sprintf("%s is %q, not an RFC 3339 time", field, clip(text))}
		return ^i
	}
	*v = t
	return end
}

// wrong sets err: the value at i has the wrong type. If it is no value at all
// that error is the better one.
func (d *decoder) wrong(i int, field, want string) int {
	if end := d.skipValue(i, 2); end < 0 {
		return end
	}
	found := "a number"
	switch d.at(i) {
	case '"':
		found = "a string"
	case '{':
		found = "an object"
	case '[':
		found = "an array"
	case 't', 'f':
		found = "a boolean"
	}
	d.err = &DecodeError{Offset: i, Reason: field + ": want " + want + ", found " + found}
	return ^i
}

// unexpected says why the byte at i, with n in the line, cannot stand there.
func (s src) unexpected(i, n int) string {
	switch c := s.at(i); {
	case i >= n:
		return "the line is cut off"
	case c == 0:
		return "not JSON: unexpected NUL byte"
	case c == '{' || c == '[':
		return fmt.Sprintf("not JSON: unexpected %q, or more than %d values in one another", c, maxDepth)
	case c < ' ' || c > '~':
		return fmt.Sprintf("not JSON: unexpected byte 0x%02x", c)
	default:
		return fmt.Sprintf("not JSON: unexpected %q", c)
	}
}

func (d *decoder) notObject(i, n int) error {
	if bytes.HasPrefix(d.bytes(0, n), []byte("\xef\xbb\xbf")) {
		return &DecodeError{Offset: 0, Reason: "the line begins with a byte order mark"}
	}
	if end := d.skipValue(i, 0); end >= 0 && d.space(end) == n {
		return &DecodeError{Offset: i, Reason: "JSON, but not an object"}
	}
	return &DecodeError{Offset: i, Reason: d.unexpected(i, n)}
}

// clip shortens what is quoted in an error.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	k := most
	for k > most-utf8.UTFMax && !utf8.RuneStart(s[k]) {
		k--
	}
	return s[:k] + "..."
}
