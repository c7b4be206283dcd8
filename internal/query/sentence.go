package query

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/ktrail/ktrail/audit"
)

// Part is a piece of a sentence. Column is the column that Value stands in, so
// that a page can link it; both are "" for the words between. Value is as in
// the event and hostile; Text is for showing: without control and invisible
// characters, cut if it is long, in quotes if it could be taken for other words
// of the sentence. Escape both all the same.
type Part struct {
	Text   string `json:"text"`
	Column string `json:"column,omitempty"`
	Value  string `json:"value,omitempty"`
}

// Sentence tells e in one line: "alice@example.com, as dev-admin, patched
// deployment web in prod from 10.2.0.15 at 2026-11-22 10:00:00 UTC: 200, allowed
// by RBAC: ...".
func Sentence(e *audit.Event) string {
	var b strings.Builder
	for _, p := range Parts(e) {
		b.WriteString(p.Text)
	}
	return b.String()
}

// longest is the most of one value that a sentence shows, in code points.
const longest = 160

// Parts is [Sentence] in pieces.
func Parts(e *audit.Event) []Part {
	s := sentence{e: e}
	s.subject()
	s.action()
	if len(e.SourceIPs) > 0 {
		s.words(" from ")
		s.value("source_ips", e.SourceIPs[0])
	}
	if e.Time != 0 {
		s.words(" at ")
		s.parts = append(s.parts, Part{Text: e.Time.Std().Format("2006-01-02 15:04:05") + " UTC", Column: "time", Value: e.Time.String()})
	}
	s.outcome()
	return s.parts
}

type sentence struct {
	e     *audit.Event
	parts []Part
}

func (s *sentence) words(w string) {
	if n := len(s.parts); n > 0 && s.parts[n-1].Column == "" {
		s.parts[n-1].Text += w
		return
	}
	s.parts = append(s.parts, Part{Text: w})
}

func (s *sentence) value(column, v string) {
	s.parts = append(s.parts, Part{Text: shown(v), Column: column, Value: v})
}

// shown is v for a sentence: in quotes if it has what words do not have.
func shown(v string) string {
	plain := v != ""
	for _, r := range v {
		if r <= ' ' || strings.ContainsRune("\",;\\\u00a0", r) || !strconv.IsPrint(r) {
			plain = false
		}
	}
	if plain {
		return shorten(v, longest)
	}
	return quoted(v)
}

// quoted is v in quotes that nothing in it can end.
func quoted(v string) string {
	return `"` + strings.ReplaceAll(shorten(printable(v), longest), `"`, `\"`) + `"`
}

func (s *sentence) subject() {
	switch {
	case s.e.User != "":
		s.value("user", s.e.User)
	case s.e.Code == 401 || s.e.Final:
		s.words("somebody who did not authenticate")
	default:
		s.words("somebody")
	}
	if s.e.AsUser != "" {
		s.words(", as ")
		s.value("as_user", s.e.AsUser)
		s.words(",")
	}
	s.words(" ")
}

// action is a verb in the past and after "to", and what stands between it and the object.
type action struct{ past, base, of string }

// actions are what verbs mean on a resource itself.
var actions = map[string]action{
	"get": {"read", "read", ""}, "list": {"listed", "list", ""}, "watch": {"watched", "watch", ""},
	"create": {"created", "create", ""}, "update": {"updated", "update", ""}, "patch": {"patched", "patch", ""},
	"delete": {"deleted", "delete", ""}, "deletecollection": {"deleted", "delete", "all "},
	"head": {"looked for", "look for", ""}, "options": {"asked for the options of", "ask for the options of", ""},
	"post": {"posted to", "post to", ""}, "put": {"wrote to", "write to", ""},
}

// reviews are resources that are created to ask something.
var reviews = map[string]action{
	"tokenreviews":              {"had a token checked", "have a token checked", ""},
	"subjectaccessreviews":      {"asked what somebody may do", "ask what somebody may do", ""},
	"localsubjectaccessreviews": {"asked what somebody may do", "ask what somebody may do", ""},
	"selfsubjectaccessreviews":  {"asked what they may do", "ask what they may do", ""},
	"selfsubjectrulesreviews":   {"asked what they may do", "ask what they may do", ""},
	"selfsubjectreviews":        {"asked who they are", "ask who they are", ""},
}

// onSubresource is what verbs mean on a subresource.
func onSubresource(e *audit.Event) action {
	reads := e.Verb == "get" || e.Verb == "list" || e.Verb == "watch"
	var q url.Values
	in := ""
	switch e.Subresource {
	case "exec", "attach", "log":
		if q = queryOf(e.URI); q.Get("container") != "" {
			in = "container " + shown(q.Get("container")) + " of "
		}
	}
	switch e.Subresource {
	case "exec":
		if c := q["command"]; len(c) > 0 {
			return action{"ran", "run", quoted(strings.Join(c, " ")) + " in " + in}
		}
		return action{"ran a command in", "run a command in", in}
	case "attach":
		return action{"attached to", "attach to", in}
	case "portforward":
		return action{"forwarded ports of", "forward ports of", ""}
	case "log":
		return action{"read the logs of", "read the logs of", in}
	case "proxy":
		return action{"went through", "go through", "the proxy of "}
	case "eviction":
		return action{"evicted", "evict", ""}
	case "binding":
		return action{"bound", "bind", ""}
	case "token":
		return action{"requested a token for", "request a token for", ""}
	case "approval":
		if !reads {
			return action{"approved or denied", "approve or deny", ""}
		}
	case "finalize":
		return action{"finalized", "finalize", ""}
	case "scale":
		if !reads {
			return action{"scaled", "scale", ""}
		}
	case "resize":
		if !reads {
			return action{"resized", "resize", ""}
		}
	case "ephemeralcontainers":
		if !reads {
			return action{"added a debug container to", "add a debug container to", ""}
		}
	}
	a := verbAction(e.Verb)
	a.of = "the " + shown(e.Subresource) + " of "
	return a
}

func verbAction(verb string) action {
	if a, ok := actions[verb]; ok {
		return a
	}
	v := shown(verb)
	return action{"did " + v + " on", "do " + v + " on", ""}
}

func (s *sentence) action() {
	e := s.e
	var a action
	review := false
	switch {
	case e.Resource == "":
		a = verbAction(e.Verb)
		if e.Verb == "get" {
			a = action{"requested", "request", ""}
		}
	case e.Subresource != "":
		a = onSubresource(e)
	default:
		a = reviews[e.Resource]
		if review = a.past != "" && e.Verb == "create"; !review {
			a = verbAction(e.Verb)
		}
	}
	word := a.past
	switch {
	case e.Stage == audit.StageRequestReceived:
		word = "asked to " + a.base
	case e.Code >= 400:
		word = "tried to " + a.base
	case e.Stage == audit.StageResponseStarted && !e.Final:
		word = "began to " + a.base
	}
	s.parts = append(s.parts, Part{Text: word, Column: "verb", Value: e.Verb})
	if review {
		return
	}
	s.words(" " + a.of)
	if e.Resource == "" {
		s.value("uri", e.URI)
		return
	}
	s.object()
	s.details()
}

// object names what was acted on, and where.
func (s *sentence) object() {
	e := s.e
	k := findResource(e.Resource, e.APIGroup, true)
	noun := shown(e.Resource)
	if k != nil && k.plural == e.Resource {
		if many := e.Verb == "list" || e.Verb == "watch" || e.Verb == "deletecollection"; !many || e.Name != "" {
			noun = spaced(k.singular)
		} else {
			noun = spaced(k.plural)
		}
	}
	if e.Name == "" && (e.Verb == "create" || e.Verb == "get") && e.Subresource == "" && k != nil {
		s.words(article(noun))
	}
	s.parts = append(s.parts, Part{Text: noun, Column: "resource", Value: e.Resource})
	if e.Name != "" {
		s.words(" ")
		s.value("name", e.Name)
	}
	switch {
	case e.Namespace != "" && e.Resource != "namespaces":
		s.words(" in ")
		s.value("namespace", e.Namespace)
	case e.Namespace == "" && k != nil && k.namespaced && e.Name == "":
		s.words(" in all namespaces")
	}
}

// spaced writes a resource's name as words where it is made of several.
func spaced(name string) string {
	for _, w := range [][2]string{
		{"clusterrolebinding", "cluster role binding"},
		{"rolebinding", "role binding"},
		{"clusterrole", "cluster role"},
		{"serviceaccount", "service account"},
		{"configmap", "config map"},
		{"customresourcedefinition", "custom resource definition"},
		{"persistentvolumeclaim", "persistent volume claim"},
		{"persistentvolume", "persistent volume"},
		{"statefulset", "stateful set"},
		{"replicaset", "replica set"},
		{"daemonset", "daemon set"},
		{"networkpolicy", "network policy"},
		{"networkpolicies", "network policies"},
		{"storageclass", "storage class"},
		{"cronjob", "cron job"},
		{"resourcequota", "resource quota"},
		{"limitrange", "limit range"},
		{"endpointslice", "endpoint slice"},
		{"certificatesigningrequest", "certificate signing request"},
		{"validatingwebhookconfiguration", "validating webhook configuration"},
		{"mutatingwebhookconfiguration", "mutating webhook configuration"},
		{"poddisruptionbudget", "pod disruption budget"},
		{"horizontalpodautoscaler", "horizontal pod autoscaler"},
		{"priorityclass", "priority class"},
	} {
		if rest, ok := strings.CutPrefix(name, w[0]); ok && len(rest) <= 2 {
			return w[1] + rest
		}
	}
	return name
}

func article(noun string) string {
	if noun != "" && strings.IndexByte("aeio", noun[0]) >= 0 {
		return "an "
	}
	return "a "
}

// details tells what stands in the URI: selectors, and that it is a dry run.
func (s *sentence) details() {
	e := s.e
	if !strings.Contains(e.URI, "?") {
		return
	}
	q := queryOf(e.URI)
	for _, k := range []string{"labelSelector", "fieldSelector"} {
		if v := q.Get(k); v != "" && e.Name == "" {
			s.words(" with " + shown(v))
		}
	}
	if DryRun().Match(e) {
		s.words(", as a dry run,")
	}
}

func (s *sentence) outcome() {
	e := s.e
	switch {
	case e.Stage == audit.StagePanic:
		s.words(": the API server panicked")
	case e.Stage == audit.StageRequestReceived, e.Code == 0 && e.Decision == "":
		return
	default:
		s.words(":")
	}
	sep := " "
	if e.Stage == audit.StagePanic {
		sep = ", "
	}
	if e.Code != 0 {
		s.words(sep)
		s.parts = append(s.parts, Part{Text: strconv.Itoa(int(e.Code)), Column: "code", Value: strconv.Itoa(int(e.Code))})
		sep = ", "
		if e.Code >= 400 && e.Reason != "" {
			s.words(" ")
			s.value("reason", e.Reason)
		}
	}
	s.decision(sep)
	if e.Code >= 400 && e.Message != "" && e.Message != e.Reason && e.Decision != "forbid" {
		s.words("; " + shorten(printable(e.Message), 2*longest))
	}
}

// decision tells who allowed or forbade: RBAC gives its reason as
// `RBAC: allowed by ClusterRoleBinding "x" of ...`, the node authorizer none.
func (s *sentence) decision(sep string) {
	e := s.e
	if e.Decision == "" {
		return
	}
	s.words(sep)
	word := shown(e.Decision)
	switch e.Decision {
	case "allow":
		word = "allowed"
	case "forbid":
		word = "denied"
	}
	s.parts = append(s.parts, Part{Text: word, Column: "decision", Value: e.Decision})
	reason := shorten(printable(e.DecisionReason), 2*longest)
	if rest, ok := strings.CutPrefix(reason, "RBAC: "); ok {
		rest = strings.TrimPrefix(rest, "allowed by ")
		s.words(" by RBAC: " + rest)
	} else if reason != "" {
		s.words(": " + reason)
	}
}
