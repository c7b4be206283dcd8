package web

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/ktrail/ktrail/audit"
)

// recordedParts is what the copying needs of the raw line.
type recordedParts struct {
	Annotations   map[string]string `json:"annotations"`
	RequestObject json.RawMessage   `json:"requestObject"`
}

func readRecorded(raw string) recordedParts {
	var r recordedParts
	_ = json.Unmarshal([]byte(raw), &r) // what cannot be read is as if it had not been recorded
	return r
}

// plainName is what Kubernetes allows in a resource's name or a group.
var plainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

// kubectlCommand is the command that sends the same request, "" if there is none.
// It is for a shell: what an event says cannot end its quotes, add a flag, or
// reach the terminal as a control character.
func kubectlCommand(e *audit.Event) string {
	path, query := e.URI, url.Values{}
	if u, err := url.ParseRequestURI(e.URI); err == nil {
		path, query = u.Path, u.Query()
	}
	k := kubectl{e: e, query: query, body: readRecorded(e.Raw).RequestObject}
	if !strings.HasPrefix(path, "/") {
		return ""
	}
	if e.Resource == "" {
		return k.raw()
	}
	named := e.Name != ""
	if !plainName.MatchString(e.Resource) || (e.APIGroup != "" && !plainName.MatchString(e.APIGroup)) || strings.HasPrefix(e.Name, "-") || strings.ContainsAny(e.Name, "/ ") {
		return k.raw()
	}
	switch e.Subresource {
	case "":
		return k.plain(named)
	case "log":
		return k.line("logs", append([]string{e.Name}, k.flags("container", "previous", "follow", "tailLines", "sinceSeconds", "timestamps")...)...)
	case "exec":
		args := append([]string{e.Name}, k.flags("stdin", "tty", "container")...)
		return k.line("exec", args...) + " --" + shellWords(query["command"])
	case "attach":
		return k.line("attach", append([]string{e.Name}, k.flags("stdin", "tty", "container")...)...)
	case "token":
		if e.Resource == "serviceaccounts" && e.Verb == "create" {
			return k.line("create", "token", e.Name)
		}
	case "scale":
		var scale struct {
			Spec struct {
				Replicas *int64 `json:"replicas"`
			} `json:"spec"`
		}
		if (e.Verb == "update" || e.Verb == "patch") && json.Unmarshal(k.body, &scale) == nil && scale.Spec.Replicas != nil {
			return k.line("scale", k.object(), fmt.Sprintf("--replicas=%d", *scale.Spec.Replicas))
		}
		return k.plain(named)
	case "status":
		return k.plain(named)
	}
	return k.raw()
}

type kubectl struct {
	e     *audit.Event
	query url.Values
	body  json.RawMessage
}

func (k kubectl) kind() string {
	if k.e.APIGroup != "" {
		return k.e.Resource + "." + k.e.APIGroup
	}
	return k.e.Resource
}

func (k kubectl) object() string { return k.kind() + "/" + k.e.Name }

// plain is the command for a whole object, or for its status or scale.
func (k kubectl) plain(named bool) string {
	var more []string
	if k.e.Subresource != "" {
		more = append(more, "--subresource="+k.e.Subresource)
	}
	if k.query.Get("dryRun") != "" {
		more = append(more, "--dry-run=server")
	}
	switch k.e.Verb {
	case "get":
		if named {
			return k.line("get", append([]string{k.object(), "-o", "yaml"}, more...)...)
		}
	case "list", "watch":
		args := []string{k.kind()}
		if k.e.Namespace == "" {
			args = append(args, "-A")
		}
		args = append(args, k.selectors()...)
		if k.e.Verb == "watch" {
			args = append(args, "--watch")
		}
		return k.line("get", args...)
	case "delete":
		if named {
			return k.line("delete", append([]string{k.object()}, more...)...)
		}
	case "deletecollection":
		which := k.selectors()
		if len(which) == 0 {
			which = []string{"--all"}
		}
		return k.line("delete", append(append([]string{k.kind()}, which...), more...)...)
	case "create":
		return k.withBody("create", more...)
	case "update":
		return k.withBody("replace", more...)
	case "patch":
		if k.query.Has("fieldManager") && k.query.Has("force") {
			return k.withBody("apply", append([]string{"--server-side", "--field-manager=" + k.query.Get("fieldManager"), "--force-conflicts=" + k.query.Get("force")}, more...)...)
		}
		if named && len(k.body) > 0 {
			return k.line("patch", append([]string{k.object(), "--type=" + k.patchType(), "-p", ascii(k.body)}, more...)...)
		}
		if named {
			return k.line("patch", append([]string{k.object(), "--patch-file=PATCH"}, more...)...)
		}
	}
	return k.raw()
}

// patchType guesses, since the log does not have the content type: a list is a
// JSON patch; kubectl sends strategic ones for what Kubernetes itself serves.
func (k kubectl) patchType() string {
	switch {
	case strings.HasPrefix(string(k.body), "["):
		return "json"
	case k.e.APIGroup == "" || !strings.Contains(k.e.APIGroup, ".") || strings.HasSuffix(k.e.APIGroup, ".k8s.io"):
		return "strategic"
	}
	return "merge"
}

func (k kubectl) selectors() []string {
	var out []string
	for param, flag := range map[string]string{"labelSelector": "--selector=", "fieldSelector": "--field-selector="} {
		if v := k.query.Get(param); v != "" {
			out = append(out, flag+v)
		}
	}
	slices.Sort(out)
	return out
}

// flags are the parameters of logs and exec as flags.
func (k kubectl) flags(params ...string) []string {
	names := map[string]string{"tailLines": "tail", "sinceSeconds": "since"}
	var out []string
	for _, p := range params {
		v := k.query.Get(p)
		if v == "" || v == "false" || v == "0" {
			continue
		}
		name := p
		if names[p] != "" {
			name = names[p]
		}
		switch {
		case v == "true" || (v == "1" && (p == "stdin" || p == "tty")):
			out = append(out, "--"+name)
		case p == "sinceSeconds":
			out = append(out, "--since="+v+"s")
		default:
			out = append(out, "--"+name+"="+v)
		}
	}
	return out
}

// line is a whole command, with whose it is and where.
func (k kubectl) line(verb string, args ...string) string {
	words := append([]string{verb}, args...)
	if k.e.Namespace != "" {
		words = append(words, "--namespace="+k.e.Namespace)
	}
	return "kubectl" + shellWords(append(words, k.as()...))
}

// as is the impersonation. The groups that the API server adds by itself are left out.
func (k kubectl) as() []string {
	if k.e.AsUser == "" {
		return nil
	}
	out := []string{"--as=" + k.e.AsUser}
	for _, g := range k.e.AsGroups {
		if g != "system:authenticated" && g != "system:unauthenticated" && !(strings.HasPrefix(k.e.AsUser, "system:serviceaccount:") && strings.HasPrefix(g, "system:serviceaccounts")) {
			out = append(out, "--as-group="+g)
		}
	}
	return out
}

// withBody gives a command what was sent, on its standard input.
func (k kubectl) withBody(verb string, more ...string) string {
	if len(k.body) == 0 {
		return k.line(verb, append([]string{"-f", "OBJECT.yaml"}, more...)...)
	}
	// One line of ASCII: no line of it can be the end mark.
	return k.line(verb, append([]string{"-f", "-"}, more...)...) + " <<'EOF'\n" + ascii(k.body) + "\nEOF"
}

// raw sends the request by its path.
func (k kubectl) raw() string {
	verb := map[string]string{"get": "get", "list": "get", "create": "create", "post": "create", "update": "replace", "put": "replace", "delete": "delete"}[k.e.Verb]
	if verb == "" || !strings.HasPrefix(k.e.URI, "/") {
		return ""
	}
	out := "kubectl" + shellWords(append([]string{verb, "--raw", k.e.URI}, k.as()...))
	switch {
	case verb != "create" && verb != "replace":
		return out
	case len(k.body) == 0:
		return out + " -f OBJECT.json"
	}
	return out + " -f - <<'EOF'\n" + ascii(k.body) + "\nEOF"
}

// ascii is valid JSON on one line, everything else in it escaped.
func ascii(body json.RawMessage) string {
	var b strings.Builder
	for _, r := range string(body) {
		switch {
		case r == '\n' || r == '\r' || r == '\t': // only between values
		case r >= ' ' && r < 0x7f:
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// shellWords are words for a shell, each with a space before it.
func shellWords(words []string) string {
	var b strings.Builder
	for _, w := range words {
		b.WriteByte(' ')
		b.WriteString(shellWord(w))
	}
	return b.String()
}

var shellSafe = regexp.MustCompile(`^[A-Za-z0-9_./:=@,%+-]+$`)

// shellWord quotes a word for bash and zsh.
func shellWord(w string) string {
	if shellSafe.MatchString(w) {
		return w
	}
	if strings.IndexFunc(w, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) < 0 {
		return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	var b strings.Builder
	b.WriteString("$'")
	for i := 0; i < len(w); i++ {
		switch c := w[i]; {
		case c == '\'' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c >= ' ' && c < 0x7f:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
			// A digit behind would be read as part of the number.
			if i+1 < len(w) && strings.IndexByte("0123456789abcdefABCDEF", w[i+1]) >= 0 {
				b.WriteString("'$'")
			}
		}
	}
	b.WriteByte('\'')
	return b.String()
}
