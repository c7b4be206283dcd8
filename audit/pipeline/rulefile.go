package pipeline

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ktrail/ktrail/audit"
)

// Rules say what a [Redactor] takes out beside what it always does: see [LoadRules].
type Rules struct {
	// BuiltIn is whether the rules that are always on are on.
	BuiltIn bool
	rules   []rule
	query   bool // a rule has parameters
}

// rule is what is taken out of the events about some resources.
type rule struct {
	resources []resource
	fields    [][]string // the steps of each path; * is any name
	query     []string   // names of parameters
}

// resource is a resource as people name it: "" is any.
type resource struct{ name, group, subresource string }

func (r *rule) about(e *audit.Event) bool {
	for _, res := range r.resources {
		if (res.name == "" || res.name == e.Resource) && (res.group == "" || res.group == e.APIGroup) && (res.subresource == "" || res.subresource == e.Subresource) {
			return e.Resource != ""
		}
	}
	return false
}

// RuleError is what is wrong with a file of rules.
type RuleError struct {
	File         string
	Line, Column int // from 1; 0 if that is not known
	Message      string
}

// Error is FILE:LINE:COLUMN: MESSAGE.
func (e *RuleError) Error() string {
	place := e.File
	if e.Line > 0 {
		place += ":" + strconv.Itoa(e.Line)
		if e.Column > 0 {
			place += ":" + strconv.Itoa(e.Column)
		}
	}
	return place + ": " + e.Message
}

// LoadRules reads rules of redaction. file is the name for errors: *[RuleError]s, joined.
//
//	builtIn: true                  # the default; false, and only that, turns what is always on off
//	rules:
//	- resources: [configmaps]      # in any group and with any subresource; or NAME.GROUP,
//	  fields: [data.*]             # NAME/SUBRESOURCE, *
//	- resources: [issuers.cert-manager.io]
//	  fields:
//	  - spec.acme.privateKey       # names from the object's top; lists are looked through
//	  - metadata.annotations["example.com/token"]
//	- resources: [pods/exec]
//	  query: [command]             # parameters of the URI
//
// A value at a field's path is replaced as a whole. Names match in any case, and * is any name. Where a rule has
// fields, the copy of the object in kubectl's last-applied-configuration is taken out too.
func LoadRules(file string, text []byte) (*Rules, error) {
	l := ruleLoader{file: file, rules: &Rules{BuiltIn: true}}
	l.load(text)
	if len(l.errs) == 0 {
		return l.rules, nil
	}
	slices.SortStableFunc(l.errs, func(a, b *RuleError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs := make([]error, len(l.errs))
	for i, e := range l.errs {
		errs[i] = e
	}
	return nil, errors.Join(errs...)
}

type ruleLoader struct {
	file  string
	rules *Rules
	errs  []*RuleError
}

func (l *ruleLoader) fail(n *yaml.Node, format string, args ...any) {
	e := &RuleError{File: l.file, Message: fmt.Sprintf(format, args...)}
	if n != nil {
		e.Line, e.Column = n.Line, n.Column
	}
	l.errs = append(l.errs, e)
}

var yamlSays = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func (l *ruleLoader) load(text []byte) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		m := yamlSays.FindStringSubmatch(err.Error())
		e := &RuleError{File: l.file, Message: "not YAML: " + yamlSays.ReplaceAllString(err.Error(), "")}
		if m != nil {
			e.Line, _ = strconv.Atoi(m[1])
		}
		l.errs = append(l.errs, e)
		return
	}
	if doc.Kind == 0 || doc.Content[0].Tag == "!!null" {
		l.fail(nil, "the file is empty: write rules: or remove it")
		return
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		l.fail(nil, "more than one document: write all rules under one rules:")
	}
	top := doc.Content[0]
	seen := l.mapping(top, "a file of rules", "builtIn", "rules")
	if n := seen["builtIn"]; n != nil {
		switch {
		case n.Kind != yaml.ScalarNode || n.Tag != "!!bool":
			l.fail(n, "builtIn is true or false")
		case n.Value == "false": // not False, nor any other word that only looks like it
			l.rules.BuiltIn = false
		case n.Value != "true":
			l.fail(n, "builtIn is true or false, written so")
		}
	}
	if n := seen["rules"]; n != nil {
		for _, item := range l.sequence(n, "rules") {
			l.rule(item)
		}
	} else if l.rules.BuiltIn && len(l.errs) == 0 {
		l.fail(top, "rules: is missing: the file changes nothing")
	}
}

func (l *ruleLoader) rule(n *yaml.Node) {
	before := len(l.errs)
	seen := l.mapping(n, "a rule", "resources", "fields", "query")
	var r rule
	if seen["resources"] != nil {
		for _, item := range l.words(seen["resources"], "resources") {
			r.resources = append(r.resources, l.resource(item))
		}
	} else if len(l.errs) == before {
		l.fail(n, "the rule has no resources: name them, or * for all")
	}
	if seen["fields"] != nil {
		for _, item := range l.words(seen["fields"], "fields") {
			if path, why := steps(item.Value); why != "" {
				l.fail(item, "field %q: %s", item.Value, why)
			} else {
				r.fields = append(r.fields, path)
			}
		}
	}
	if seen["query"] != nil {
		for _, item := range l.words(seen["query"], "query") {
			r.query = append(r.query, item.Value)
		}
	}
	if len(l.errs) > before {
		return
	}
	if r.fields == nil && r.query == nil {
		l.fail(n, "the rule takes nothing out: it needs fields or query")
		return
	}
	if r.fields != nil {
		r.fields = append(r.fields, []string{"metadata", "annotations", lastApplied})
	}
	l.rules.rules = append(l.rules.rules, r)
	l.rules.query = l.rules.query || r.query != nil
}

func (l *ruleLoader) resource(n *yaml.Node) resource {
	var r resource
	name, sub, has := strings.Cut(n.Value, "/")
	r.name, r.group, _ = strings.Cut(name, ".")
	r.subresource = sub
	switch {
	case r.name == "" || has && sub == "" || strings.HasSuffix(name, "."):
		l.fail(n, "resource %q: write NAME, NAME.GROUP, NAME/SUBRESOURCE or *", n.Value)
	case strings.ToLower(n.Value) != n.Value || strings.ContainsAny(n.Value, " \t,"):
		l.fail(n, "resource %q: resources are named in the plural and in lower case, like configmaps, one in each item", n.Value)
	case strings.Contains(r.name, "*") && r.name != "*" || strings.Contains(r.group, "*") || strings.Contains(r.subresource, "*") && r.subresource != "*":
		l.fail(n, "resource %q: * stands for a whole name only, and for no group: leave the group out", n.Value)
	}
	if r.name == "*" {
		r.name = ""
	}
	if r.subresource == "*" {
		r.subresource = ""
	}
	return r
}

// steps are those of a field's path, or why is what is wrong with it.
func steps(path string) (out []string, why string) {
	for rest := path; ; {
		if strings.HasPrefix(rest, "[") {
			quoted, behind, ok := strings.Cut(rest[1:], "]")
			for ok && strings.Count(quoted, `"`) == 1 { // a ] in the name
				var more string
				more, behind, ok = strings.Cut(behind, "]")
				quoted += "]" + more
			}
			name := strings.Trim(quoted, `"`)
			if !ok || name == "" || quoted != `"`+name+`"` || strings.ContainsAny(name, `"\`) {
				return nil, `names with other characters are written ["like/this"]; lists need no brackets`
			}
			out, rest = append(out, name), behind
		} else {
			k := strings.IndexAny(rest, ".[")
			if k < 0 {
				k = len(rest)
			}
			name := rest[:k]
			switch {
			case name == "":
				return nil, "a name is missing"
			case name != "*" && strings.ContainsFunc(name, odd):
				return nil, fmt.Sprintf(`%q is no plain name: write ["like/this"]`, name)
			}
			out, rest = append(out, name), rest[k:]
		}
		switch {
		case rest == "":
			return out, ""
		case rest[0] == '.':
			rest = rest[1:]
		case rest[0] != '[':
			return nil, "a dot is missing"
		}
	}
}

func odd(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '$')
}

// mapping is n by its keys, each known and there once.
func (l *ruleLoader) mapping(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		l.fail(n, "%s is a mapping with %s", what, strings.Join(known, ", "))
		return nil
	}
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case !slices.Contains(known, key.Value):
			l.fail(key, "%q is not known; %s has %s", key.Value, what, strings.Join(known, ", "))
		case seen[key.Value] != nil:
			l.fail(key, "%s is there twice", key.Value)
		default:
			seen[key.Value] = n.Content[i+1]
		}
	}
	return seen
}

func (l *ruleLoader) sequence(n *yaml.Node, what string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		l.fail(n, "%s is a list, and not an empty one", what)
		return nil
	}
	return n.Content
}

// words are the items of a list of texts.
func (l *ruleLoader) words(n *yaml.Node, what string) []*yaml.Node {
	items := l.sequence(n, what)
	for _, item := range items {
		if item.Kind != yaml.ScalarNode || item.Value == "" || item.Tag == "!!null" {
			l.fail(item, "%s is a list of texts", what)
			return nil
		}
	}
	return items
}
