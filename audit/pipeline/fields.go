package pipeline

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ktrail/ktrail/audit"
)

// rulesOn is text, e's line, without what the rules take out of it, nil if that is nothing.
func (r *Redactor) rulesOn(e *audit.Event, text string) ([]byte, error) {
	var paths [][]string
	var query []string
	for i := range r.rules.rules {
		if rule := &r.rules.rules[i]; rule.about(e) {
			paths = append(paths, rule.fields...)
			query = append(query, rule.query...)
		}
	}
	if len(paths)+len(query) == 0 {
		return nil, nil
	}
	doc, err := parse(text)
	if err != nil || doc.kind != '{' {
		return nil, notObject(e)
	}
	w := walk{r: r, text: text}
	for _, m := range doc.members {
		switch m.key {
		case "requestObject", "responseObject":
			if len(paths) > 0 {
				w.rulesBody(m.value, paths)
			}
		case "annotations":
			if len(paths) > 0 {
				w.admission(m.value)
			}
		case "requestURI":
			if len(query) > 0 && m.value.kind == '"' {
				w.query(m.value, query)
			}
		}
	}
	if len(w.edits) == 0 {
		return nil, nil
	}
	return w.apply(), nil
}

// rulesBody is for the body of a request or an answer: an object, a list or a table of them, or a patch.
func (w *walk) rulesBody(v value, paths [][]string) {
	switch v.kind {
	case '{':
	case '[':
		for _, op := range v.items {
			w.rulesOperation(op, paths)
		}
		return
	default:
		w.redact(v) // nothing in it can be found by name
		return
	}
	for _, m := range v.members {
		switch m.key {
		case "items": // of a list of objects, if not a field of that name
			w.value(m.value, append(follow(m.key, paths), paths...))
		case "rows": // of a table
			w.value(m.value, append(follow(m.key, paths), under("object", paths)...))
		default:
			w.value(m.value, follow(m.key, paths))
		}
	}
}

func under(step string, paths [][]string) [][]string {
	out := make([][]string, len(paths))
	for i, p := range paths {
		out[i] = append([]string{step}, p...)
	}
	return out
}

// value redacts v if a path ends at it, and otherwise what is at the ends of paths in it.
// Lists are looked through.
func (w *walk) value(v value, paths [][]string) {
	switch {
	case len(paths) == 0:
	case slices.ContainsFunc(paths, ended):
		w.redact(v)
	default:
		for _, item := range v.items {
			w.value(item, paths)
		}
		for _, m := range v.members {
			w.value(m.value, follow(m.key, paths))
		}
	}
}

func ended(path []string) bool { return len(path) == 0 }

// follow is what is left of the paths that begin with name.
func follow(name string, paths [][]string) [][]string {
	var rest [][]string
	for _, p := range paths {
		if p[0] == "*" || strings.EqualFold(p[0], name) {
			rest = append(rest, p[1:])
		}
	}
	return rest
}

// rulesOperation is for an operation of a JSON patch (RFC 6902).
func (w *walk) rulesOperation(v value, paths [][]string) {
	var at []string
	n := 0
	for _, m := range v.members {
		if m.key == "path" {
			n++
			if m.value.kind == '"' {
				at = append(at, unquote(w.text[m.value.start:m.value.end]))
			}
		}
	}
	odd := n != 1 || len(at) != 1 || at[0] != "" && at[0][0] != '/'
	for _, m := range v.members {
		switch {
		case m.key != "value":
		case odd:
			w.redact(m.value)
		default:
			w.value(m.value, below(at[0], paths))
		}
	}
}

// below is what is left of paths at the place that a JSON pointer (RFC 6901) leads to: an
// ended one if that is at the end of a path or beyond. A number may be a place in a
// list, which paths do not name, or a name.
func below(pointer string, paths [][]string) [][]string {
	for _, step := range strings.Split(pointer, "/")[1:] {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		next := follow(step, paths)
		if slices.ContainsFunc(next, ended) {
			return next
		}
		if _, err := strconv.Atoi(step); err == nil || step == "-" {
			for _, p := range paths { // each once: a pointer may be long
				if !slices.ContainsFunc(next, func(n []string) bool { return slices.Equal(n, p) }) {
					next = append(next, p)
				}
			}
		}
		paths = next
	}
	return paths
}

// query replaces the values of parameters in the URI v.
func (w *walk) query(v value, names []string) {
	uri := unquote(w.text[v.start:v.end])
	path, params, ok := strings.Cut(uri, "?")
	if !ok {
		return
	}
	parts := strings.Split(params, "&")
	changed := false
	for i, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		if value == "" || marked.MatchString(value) || !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, unescaped(name)) }) {
			continue
		}
		parts[i] = name + "=" + w.r.mark("string", value)
		changed = true
	}
	if !changed {
		return
	}
	out, err := json.Marshal(path + "?" + strings.Join(parts, "&"))
	if err != nil {
		w.redact(v)
		return
	}
	w.edits = append(w.edits, edit{v.start, v.end, string(out[1 : len(out)-1])})
}

func unescaped(name string) string {
	if plain, err := url.QueryUnescape(name); err == nil {
		return plain
	}
	return name
}
