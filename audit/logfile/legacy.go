package logfile

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// AppendLegacy appends e as --audit-log-format=legacy has it, without a newline: one line
// of text, as EventString of k8s.io/apiserver's pkg/audit/format.go makes it. The time has
// microseconds and is in UTC, as an event's always has; the API server takes its own clock's, with
// nanoseconds and in its time zone.
func AppendLegacy(dst []byte, e *audit.Event) []byte {
	user, groups := "<none>", "<none>"
	if e.User != "" {
		user = e.User
		if len(e.Groups) > 0 {
			groups = quoted(e.Groups)
		}
	}
	impersonated, answered := hidden(e)
	asUser, asGroups := "<self>", "<lookup>"
	if impersonated {
		asUser = e.AsUser
		if e.AsGroups != nil {
			asGroups = quoted(e.AsGroups)
		}
	}
	ip := "<unknown>"
	if len(e.SourceIPs) > 0 {
		ip = e.SourceIPs[0]
	}
	namespace := "<none>"
	if e.Namespace != "" {
		namespace = e.Namespace
	}
	at := time.Time{}
	if e.Received != 0 {
		at = e.Received.Std()
	}
	dst = at.AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, " AUDIT:"...)
	for _, f := range [...]struct{ key, value string }{
		{" id=", e.AuditID},
		{" stage=", e.Stage},
		{" ip=", ip},
		{" method=", e.Verb},
		{" user=", user},
		{" groups=", groups},
		{" as=", asUser},
		{" asgroups=", asGroups},
		{" user-agent=", e.Agent},
		{" namespace=", namespace},
		{" uri=", e.URI},
	} {
		dst = append(dst, f.key...)
		dst = strconv.AppendQuote(dst, f.value)
	}
	dst = append(dst, ` response="`...)
	if answered {
		dst = strconv.AppendInt(dst, int64(e.Code), 10)
	} else {
		dst = append(dst, "<deferred>"...)
	}
	return append(dst, '"')
}

// quoted is a list as fmt's %q has its members, with commas.
func quoted(list []string) string {
	var b []byte
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, s)
	}
	return string(b)
}

// hidden tells whether e has an impersonated user and a response status. Where no column says so
// they may still be there and empty, which only the line knows.
func hidden(e *audit.Event) (impersonated, answered bool) {
	impersonated = e.AsUser != "" || e.AsGroups != nil
	answered = e.Code != 0 || e.Reason != "" || e.Message != ""
	const user, status = "impersonatedUser", "responseStatus"
	if !impersonated && strings.Contains(e.Raw, user) || !answered && strings.Contains(e.Raw, status) {
		var top map[string]json.RawMessage
		if json.Unmarshal([]byte(e.Raw), &top) == nil {
			there := func(key string) bool { v, ok := top[key]; return ok && string(v) != "null" }
			impersonated = impersonated || there(user)
			answered = answered || there(status)
		}
	}
	return impersonated, answered
}
