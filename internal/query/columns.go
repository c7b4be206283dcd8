package query

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ktrail/ktrail/audit"
)

// Type is the type of a column.
type Type int

// The types of columns. Each has its CEL type: string, int, bool, timestamp, list(string).
const (
	String Type = iota
	Int
	Bool
	Time
	Strings
)

// String names the type as error messages and documents do.
func (t Type) String() string {
	switch t {
	case String:
		return "string"
	case Int:
		return "int"
	case Bool:
		return "bool"
	case Time:
		return "time"
	case Strings:
		return "list of strings"
	}
	return "type " + strconv.Itoa(int(t))
}

// Column is one column of an event, under one name in the CLI, the API, SQL,
// the filter language and the page.
type Column struct {
	Name string
	Type Type
	// Doc is one line for a person.
	Doc string
	// Path is where the value stands in an audit.k8s.io/v1 event; "" if it does not.
	Path string
	// Filterable is false for the raw line, which filters do not see.
	Filterable bool

	text    func(*audit.Event) string
	integer func(*audit.Event) int64
	flag    func(*audit.Event) bool
	time    func(*audit.Event) audit.Time
	list    func(*audit.Event) []string
}

// Value is e's value: string, int64, bool, audit.Time or []string.
func (c *Column) Value(e *audit.Event) any {
	switch c.Type {
	case Int:
		return c.integer(e)
	case Bool:
		return c.flag(e)
	case Time:
		return c.time(e)
	case Strings:
		return c.list(e)
	default:
		return c.text(e)
	}
}

// Text is e's value for a person: a list's members joined by a comma, a number
// or time that the event does not have as "". It is hostile text.
func (c *Column) Text(e *audit.Event) string {
	switch c.Type {
	case Int:
		n := c.integer(e)
		if n == 0 {
			return ""
		}
		return strconv.FormatInt(n, 10)
	case Bool:
		return strconv.FormatBool(c.flag(e))
	case Time:
		return c.time(e).String()
	case Strings:
		return strings.Join(c.list(e), ",")
	default:
		return c.text(e)
	}
}

// Columns lists the columns in the order of [audit.Event]. The caller owns the slice.
func Columns() []Column { return slices.Clone(columns) }

// ColumnNames lists the names of the columns, in order.
func ColumnNames() []string {
	names := make([]string, len(columns))
	for i := range columns {
		names[i] = columns[i].Name
	}
	return names
}

// LookupColumn finds a column. If there is none of that name the error is a
// [*UsageError] that suggests the nearest one.
func LookupColumn(name string) (*Column, error) {
	if c := column(name); c != nil {
		return c, nil
	}
	err := &UsageError{Message: fmt.Sprintf("no column %s", quoteShort(name))}
	if s := suggestColumn(name); s != "" {
		err.Suggest = s
		err.Message += fmt.Sprintf("; did you mean %s?", s)
	} else {
		err.Message += "; the columns are " + strings.Join(ColumnNames(), ", ")
	}
	return nil, err
}

func column(name string) *Column {
	for i := range columns {
		if columns[i].Name == name {
			return &columns[i]
		}
	}
	return nil
}

func str(name, path, doc string, get func(*audit.Event) string) Column {
	return Column{Name: name, Type: String, Path: path, Doc: doc, Filterable: true, text: get}
}

func integer(name, path, doc string, get func(*audit.Event) int64) Column {
	return Column{Name: name, Type: Int, Path: path, Doc: doc, Filterable: true, integer: get}
}

func flag(name, path, doc string, get func(*audit.Event) bool) Column {
	return Column{Name: name, Type: Bool, Path: path, Doc: doc, Filterable: true, flag: get}
}

func instant(name, path, doc string, get func(*audit.Event) audit.Time) Column {
	return Column{Name: name, Type: Time, Path: path, Doc: doc, Filterable: true, time: get}
}

func list(name, path, doc string, get func(*audit.Event) []string) Column {
	return Column{Name: name, Type: Strings, Path: path, Doc: doc, Filterable: true, list: get}
}

// columns is the one table; a test holds it against the json tags of audit.Event.
var columns = []Column{
	integer("id", "", "position in the store, ascending by commit", func(e *audit.Event) int64 { return e.ID }),
	instant("time", "stageTimestamp", "when the stage was reached, UTC", func(e *audit.Event) audit.Time { return e.Time }),
	instant("received", "requestReceivedTimestamp", "when the request reached the API server", func(e *audit.Event) audit.Time { return e.Received }),
	str("cluster", "", "cluster that the log was collected from", func(e *audit.Event) string { return e.Cluster }),
	str("source", "", "log that the event was read from", func(e *audit.Event) string { return e.Source }),
	str("audit_id", "auditID", "the request's ID; a client may choose it", func(e *audit.Event) string { return e.AuditID }),
	str("stage", "stage", "RequestReceived, ResponseStarted, ResponseComplete or Panic", func(e *audit.Event) string { return e.Stage }),
	str("level", "level", "Metadata, Request or RequestResponse: how much was recorded", func(e *audit.Event) string { return e.Level }),
	str("verb", "verb", "get, list, watch, create, update, patch, delete, deletecollection, ...", func(e *audit.Event) string { return e.Verb }),
	str("user", "user.username", "who authenticated; empty if nobody did", func(e *audit.Event) string { return e.User }),
	str("user_uid", "user.uid", "the user's UID", func(e *audit.Event) string { return e.UserUID }),
	list("groups", "user.groups", "the user's groups", func(e *audit.Event) []string { return e.Groups }),
	str("as_user", "impersonatedUser.username", "whom the user impersonated", func(e *audit.Event) string { return e.AsUser }),
	list("as_groups", "impersonatedUser.groups", "groups of the impersonated user", func(e *audit.Event) []string { return e.AsGroups }),
	list("source_ips", "sourceIPs", "addresses that the request came from, the client's first", func(e *audit.Event) []string { return e.SourceIPs }),
	str("agent", "userAgent", "the client's User-Agent", func(e *audit.Event) string { return e.Agent }),
	str("uri", "requestURI", "the request's URI", func(e *audit.Event) string { return e.URI }),
	str("api_group", "objectRef.apiGroup", "API group of the resource; empty for core", func(e *audit.Event) string { return e.APIGroup }),
	str("api_version", "objectRef.apiVersion", "API version of the resource", func(e *audit.Event) string { return e.APIVersion }),
	str("resource", "objectRef.resource", "plural name of the resource; empty for other URLs", func(e *audit.Event) string { return e.Resource }),
	str("subresource", "objectRef.subresource", "log, exec, status, scale, token, ...", func(e *audit.Event) string { return e.Subresource }),
	str("namespace", "objectRef.namespace", "namespace of the object", func(e *audit.Event) string { return e.Namespace }),
	str("name", "objectRef.name", "name of the object", func(e *audit.Event) string { return e.Name }),
	str("object_uid", "objectRef.uid", "UID of the object", func(e *audit.Event) string { return e.ObjectUID }),
	integer("code", "responseStatus.code", "HTTP status; 0 before the response", func(e *audit.Event) int64 { return int64(e.Code) }),
	str("reason", "responseStatus.reason", "reason of a failed request, such as NotFound", func(e *audit.Event) string { return e.Reason }),
	str("message", "responseStatus.message", "message of a failed request", func(e *audit.Event) string { return e.Message }),
	str("decision", "annotations[authorization.k8s.io/decision]", "allow or forbid", func(e *audit.Event) string { return e.Decision }),
	str("decision_reason", "annotations[authorization.k8s.io/reason]", "why it was allowed or forbidden", func(e *audit.Event) string { return e.DecisionReason }),
	integer("latency_us", "", "microseconds from received to time", func(e *audit.Event) int64 { return e.LatencyUS }),
	str("credential_id", "user.extra[authentication.kubernetes.io/credential-id]", "ID of the certificate or token", func(e *audit.Event) string { return e.CredentialID }),
	str("pod", "user.extra[authentication.kubernetes.io/pod-name]", "pod whose service account token was used", func(e *audit.Event) string { return e.Pod }),
	flag("truncated", "annotations[audit.k8s.io/truncated]", "the API server left the bodies out for their size", func(e *audit.Event) bool { return e.Truncated }),
	flag("final", "", "last event of its request: counting these counts requests", func(e *audit.Event) bool { return e.Final }),
	{Name: "raw", Type: String, Doc: "the line as it came", text: func(e *audit.Event) string { return e.Raw }},
}
