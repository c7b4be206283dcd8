package query

import (
	"strings"

	"github.com/ktrail/ktrail/internal/nearest"
)

// suggestColumn is the column nearest to name, "" if none is near. It knows the
// names that the fields have in an audit event (userAgent, objectRef.name).
func suggestColumn(name string) string {
	if name == "" || len(name) > 100 {
		return ""
	}
	lower := strings.ToLower(name)
	for i := range columns {
		c := &columns[i]
		last := c.Path[strings.LastIndexByte(c.Path, '.')+1:]
		if !strings.HasSuffix(c.Path, "]") && (strings.EqualFold(c.Path, name) || strings.EqualFold(last, name)) {
			return c.Name
		}
	}
	if s, ok := alsoKnown[lower]; ok {
		return s
	}
	return nearest.Name(lower, ColumnNames())
}

// alsoKnown are words that people use for a column.
var alsoKnown = map[string]string{
	"ip": "source_ips", "sourceip": "source_ips", "source_ip": "source_ips", "address": "source_ips",
	"ns": "namespace", "who": "user", "when": "time", "timestamp": "time", "ts": "time",
	"status": "code", "responsestatus": "code", "objectref": "resource", "kind": "resource",
	"impersonated": "as_user", "impersonateduser": "as_user", "as": "as_user", "group": "groups",
	"latency": "latency_us", "duration": "latency_us", "url": "uri", "path": "uri", "host": "source",
}
