package capture

import (
	"net/url"
	"strconv"
	"strings"
)

// param is the first value of a parameter, and whether there is one. It reads as
// url.ParseQuery does (pairs with a semicolon or a bad escape do not count), without making a map.
func param(query, key string) (string, bool) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" || strings.IndexByte(pair, ';') >= 0 {
			continue
		}
		k, v, _ := strings.Cut(pair, "=")
		if k != key {
			if !strings.ContainsAny(k, "%+") {
				continue
			}
			if plain, err := url.QueryUnescape(k); err != nil || plain != key {
				continue
			}
		}
		if plain, err := url.QueryUnescape(v); err == nil {
			return plain, true
		}
	}
	return "", false
}

// listOrWatch is what a GET of a collection is, and the name of the one object that
// its field selector leaves, if it does. A parameter that the API server cannot read has it forget them all but watch.
func listOrWatch(query string) (verb, name string) {
	verb = "list"
	if query == "" {
		return verb, ""
	}
	if v, ok := param(query, "watch"); ok && v != "0" && !strings.EqualFold(v, "false") {
		verb = "watch"
	}
	selector, ok := param(query, "fieldSelector")
	if !ok || selector == "" {
		return verb, ""
	}
	for _, number := range [...]string{"limit", "timeoutSeconds"} {
		if v, ok := param(query, number); ok {
			if _, err := strconv.ParseInt(v, 10, 64); err != nil {
				return verb, ""
			}
		}
	}
	if v, _ := param(query, "labelSelector"); !labelSelectorOK(v) {
		return verb, ""
	}
	name, ok = selectedName(selector)
	if !ok || name == "." || name == ".." || strings.ContainsAny(name, "/%") {
		return verb, ""
	}
	return verb, name
}

// selectedName is the value that a field selector wants of metadata.name exactly, and whether it does.
// It reads as k8s.io/apimachinery/pkg/fields does: terms with commas between them, a
// backslash before a comma, an equals sign or a backslash that is part of a value.
// Where several terms want a name, the first in the order of their text counts.
func selectedName(selector string) (name string, found bool) {
	first := ""
	for term := range splitTerms(selector) {
		if term == "" {
			continue
		}
		field, op, value, ok := splitTerm(term)
		if !ok {
			return "", false
		}
		value, ok = unescapeField(value)
		if !ok {
			return "", false
		}
		if op != "!=" && field == "metadata.name" && (!found || term < first) {
			name, found, first = value, true, term
		}
	}
	return name, found
}

// splitTerms are the terms of a selector between commas that no backslash precedes.
func splitTerms(selector string) func(func(string) bool) {
	return func(yield func(string) bool) {
		start := 0
		for i := 0; i < len(selector); i++ {
			switch selector[i] {
			case '\\':
				i++
			case ',':
				if !yield(selector[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(selector[start:])
	}
}

// splitTerm splits at the first operator that stands in a term.
func splitTerm(term string) (field, op, value string, ok bool) {
	for i := range term {
		for _, op := range [...]string{"!=", "==", "="} {
			if strings.HasPrefix(term[i:], op) {
				return term[:i], op, term[i+len(op):], true
			}
		}
	}
	return "", "", "", false
}

// unescapeField takes the backslashes out of a value, and is false for one that
// stands where it may not, and for an operator or comma without one.
func unescapeField(v string) (string, bool) {
	if !strings.ContainsAny(v, `\,=`) {
		return v, true
	}
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		switch c := v[i]; c {
		case '\\':
			i++
			if i == len(v) || strings.IndexByte(`\,=`, v[i]) < 0 {
				return "", false
			}
			out = append(out, v[i])
		case ',', '=':
			return "", false
		default:
			out = append(out, c)
		}
	}
	return string(out), true
}
