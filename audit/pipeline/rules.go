package pipeline

import (
	"strings"
)

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// walk collects the edits of one line.
type walk struct {
	r     *Redactor
	text  string
	edits []edit
}

// edit replaces text[start:end] by a string. Edits are in order and do not overlap:
// each rule either replaces a value or looks into it, and values are visited in order.
type edit struct {
	start, end int
	mark       string
}

func (w *walk) apply() []byte {
	out := make([]byte, 0, len(w.text)+len(w.edits)*48)
	at := 0
	for _, e := range w.edits {
		out = append(out, w.text[at:e.start]...)
		out = append(out, '"')
		out = append(out, e.mark...)
		out = append(out, '"')
		at = e.end
	}
	return append(out, w.text[at:]...)
}

// redact replaces v, but for null, "" and what was redacted before.
func (w *walk) redact(v value) {
	raw := w.text[v.start:v.end]
	kind, text := "string", raw
	switch v.kind {
	case 'n':
		return
	case '"':
		if text = unquote(raw); text == "" || marked.MatchString(text) {
			return
		}
	case '{':
		kind = "object"
	case '[':
		kind = "array"
	case 't':
		kind = "boolean"
	default:
		kind = "number"
	}
	w.edits = append(w.edits, edit{v.start, v.end, w.r.mark(kind, text)})
}

// body is for a requestObject or responseObject.
func (w *walk) body(v value, a about) {
	switch {
	case v.kind == '{' && a.secret:
		w.secret(v, true)
	case v.kind == '{' && a.token:
		w.token(v)
	case v.kind == '[' && a.secret:
		for _, op := range v.items {
			w.operation(op)
		}
	case a.secret || a.token:
		w.redact(v)
	default:
		w.any(v, false)
	}
}

// admission is for an event's annotations: those that hold what mutating webhooks put into
// the object, at level Request and above.
func (w *walk) admission(v value) {
	for _, m := range v.members {
		if strings.HasPrefix(m.key, "patch.webhook.admission.k8s.io/") {
			w.redact(m.value)
		}
	}
}

// any is for a value of which nothing is known. inSecret says that it is part of
// a Secret, whose annotations may hold a copy of it.
func (w *walk) any(v value, inSecret bool) {
	for _, item := range v.items {
		w.any(item, inSecret)
	}
	if v.kind != '{' {
		return
	}
	kind := kindOf(v, w.text)
	switch {
	case kind.secret:
		w.secret(v, false)
	case kind.secrets:
		w.list(v)
	case kind.token:
		w.token(v)
	default:
		for _, m := range v.members {
			if inSecret && m.key == lastApplied {
				w.redact(m.value)
			} else {
				w.any(m.value, inSecret)
			}
		}
	}
}

// list is for a SecretList, whose items say no kind.
func (w *walk) list(v value) {
	for _, m := range v.members {
		if m.key == "items" {
			w.secrets(m.value)
		} else {
			w.any(m.value, true)
		}
	}
}

func (w *walk) secrets(v value) {
	if v.kind != '[' {
		w.redact(v)
		return
	}
	for _, item := range v.items {
		if item.kind == '{' {
			w.secret(item, false)
		} else {
			w.redact(item)
		}
	}
}

// secret is for a Secret, a patch of one, or, if strict, whatever else stands in the
// body of a request for secrets: lists and tables of them, a Status, DeleteOptions.
// strict also redacts fields that it does not know, unless another kind is named.
func (w *walk) secret(v value, strict bool) {
	if strict {
		if kind := kindOf(v, w.text); kind.named && !kind.secret {
			strict = false
		}
	}
	for _, m := range v.members {
		switch key := m.key; {
		case strings.EqualFold(key, "data"), strings.EqualFold(key, "stringData"):
			w.data(m.value)
		case key == lastApplied:
			w.redact(m.value)
		case key == "items":
			w.secrets(m.value)
		case key == "rows":
			w.rows(m.value)
		case key == "metadata":
			if m.value.kind == '{' {
				w.any(m.value, true)
			} else {
				w.redact(m.value)
			}
		case strict && !known(m):
			w.redact(m.value)
		default:
			w.any(m.value, true)
		}
	}
}

// known reports whether m is a field of Secrets and their patches whose value is
// no secret.
func known(m member) bool {
	switch m.key {
	case "apiVersion", "kind", "type":
		return m.value.kind == '"'
	case "immutable":
		return m.value.kind == 't'
	}
	return false
}

// rows is for the rows of a Table: a row's object is the Secret, if the client asked for it.
func (w *walk) rows(v value) {
	if v.kind != '[' {
		w.redact(v)
		return
	}
	for _, row := range v.items {
		if row.kind != '{' {
			w.redact(row)
		}
		for _, m := range row.members {
			if m.key == "object" && m.value.kind == '{' {
				w.secret(m.value, false)
			} else {
				w.any(m.value, true)
			}
		}
	}
}

// data is for the value of data or stringData: the names in it stay.
func (w *walk) data(v value) {
	if v.kind != '{' {
		w.redact(v)
		return
	}
	for _, m := range v.members {
		w.redact(m.value)
	}
}

// operation is for one operation of a JSON patch (RFC 6902) of a Secret.
func (w *walk) operation(v value) {
	var paths []string
	for _, m := range v.members {
		if m.key == "path" && m.value.kind == '"' {
			paths = append(paths, unquote(w.text[m.value.start:m.value.end]))
		}
	}
	if v.kind != '{' {
		w.redact(v)
		return
	}
	for _, m := range v.members {
		switch {
		case (m.key == "op" || m.key == "path" || m.key == "from") && m.value.kind == '"':
		case m.key == "value" && len(paths) == 1:
			w.operand(paths[0], m.value)
		default:
			w.redact(m.value)
		}
	}
}

// operand is for the value that an operation puts at path.
func (w *walk) operand(path string, v value) {
	steps := strings.Split(path, "/")
	for i, s := range steps {
		steps[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(s)
	}
	switch {
	case path == "" && v.kind == '{':
		w.secret(v, true)
	case len(steps) < 2 || steps[0] != "":
		w.redact(v)
	case len(steps) == 2 && (strings.EqualFold(steps[1], "data") || strings.EqualFold(steps[1], "stringData")):
		w.data(v)
	case steps[1] == "metadata" && steps[len(steps)-1] != lastApplied:
		w.any(v, true)
	case len(steps) == 2 && known(member{steps[1], v}):
	default:
		w.redact(v)
	}
}

// token is for a TokenRequest or a TokenReview, or the Status that is the answer instead.
func (w *walk) token(v value) {
	kind := kindOf(v, w.text)
	for _, m := range v.members {
		if !strings.EqualFold(m.key, "spec") && !strings.EqualFold(m.key, "status") {
			w.any(m.value, false)
			continue
		}
		if m.value.kind != '{' && (kind.token || !kind.named) {
			w.redact(m.value)
		}
		for _, f := range m.value.members {
			if strings.EqualFold(f.key, "token") {
				w.redact(f.value)
			} else {
				w.any(f.value, false)
			}
		}
	}
}

// kinds is what an object says that it is.
type kinds struct{ named, secret, secrets, token bool }

func kindOf(v value, text string) (k kinds) {
	for _, m := range v.members {
		if m.key != "kind" || m.value.kind != '"' {
			continue
		}
		k.named = true
		switch unquote(text[m.value.start:m.value.end]) {
		case "Secret":
			k.secret = true
		case "SecretList":
			k.secrets = true
		case "TokenReview", "TokenRequest":
			k.token = true
		}
	}
	return k
}
