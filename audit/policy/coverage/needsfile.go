package coverage

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/internal/nearest"
)

// The apiVersion and kind of a file of needs.
const (
	needsVersion = "ktrail/v1"
	needsKind    = "AuditNeeds"
)

// maxNeedsSize is far more than anybody writes.
const maxNeedsSize = 1 << 20

// NeedsError is a file of needs that cannot be read.
type NeedsError struct {
	Line int // from 1, 0 if the error has no place
	Msg  string
}

func (e *NeedsError) Error() string {
	if e.Line == 0 {
		return e.Msg
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Msg)
}

// LoadNeeds reads a file of needs: one YAML document, in which a key that is
// not known is an error. The error is a *NeedsError.
func LoadNeeds(data []byte) (*Needs, error) {
	if len(data) > maxNeedsSize {
		return nil, &NeedsError{Msg: fmt.Sprintf("is %d MiB large: that is no file of needs", len(data)>>20)}
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, &NeedsError{Msg: "is empty: it must have apiVersion " + needsVersion + " and kind " + needsKind}
	case err != nil:
		return nil, &NeedsError{Msg: "is no YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	if err := dec.Decode(&yaml.Node{}); err == nil {
		return nil, &NeedsError{Msg: "holds several documents: write one file for each"}
	}
	r := &needsReader{}
	needs := r.needs(doc.Content[0])
	if len(r.errs) > 0 {
		return nil, r.errs[0]
	}
	return needs, nil
}

// needsReader reads nodes and keeps what is wrong with them, in order.
type needsReader struct{ errs []*NeedsError }

func (r *needsReader) fail(n *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, &NeedsError{Line: n.Line, Msg: fmt.Sprintf(format, args...)})
}

// fields calls the function of each key of a mapping.
func (r *needsReader) fields(n *yaml.Node, what string, known map[string]func(*yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.fail(n, "%s must be a mapping of %s%s", what, strings.Join(sortedKeys(known), ", "), alias(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		read, ok := known[key]
		switch {
		case ok && seen[key]:
			r.fail(n.Content[i], "%s has %q twice", what, key)
		case ok:
			seen[key] = true
			read(n.Content[i+1])
		default:
			hint := "it has " + strings.Join(sortedKeys(known), ", ")
			if near := nearest.Name(key, sortedKeys(known)); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			r.fail(n.Content[i], "%s has no %q: %s", what, key, hint)
		}
	}
}

// alias says what to do about an alias: they are not followed, so that a small
// file cannot stand for millions of requests.
func alias(n *yaml.Node) string {
	if n.Kind == yaml.AliasNode {
		return ": write out what the alias *" + n.Value + " stands for"
	}
	return ""
}

func (r *needsReader) text(to *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.ScalarNode {
			r.fail(n, "must be a text%s", alias(n))
			return
		}
		*to = n.Value
	}
}

func (r *needsReader) texts(to *[]string) func(*yaml.Node) {
	return r.list(func(n *yaml.Node) {
		var s string
		r.text(&s)(n)
		*to = append(*to, s)
	})
}

func (r *needsReader) list(each func(*yaml.Node)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.SequenceNode {
			r.fail(n, "must be a list%s", alias(n))
			return
		}
		for _, item := range n.Content {
			each(item)
		}
	}
}

func (r *needsReader) needs(n *yaml.Node) *Needs {
	needs := &Needs{}
	var version, kind string
	r.fields(n, "a file of needs", map[string]func(*yaml.Node){
		"apiVersion": r.text(&version), "kind": r.text(&kind), "name": r.text(&needs.Name), "title": r.text(&needs.Title),
		"needs": r.list(func(n *yaml.Node) { needs.Needs = append(needs.Needs, r.need(n)) }),
	})
	switch {
	case version != needsVersion || kind != needsKind:
		r.errs = slices.Insert(r.errs, 0, &NeedsError{Line: n.Line, Msg: fmt.Sprintf("is no file of needs: it must have apiVersion %s and kind %s", needsVersion, needsKind)})
	case len(needs.Needs) == 0:
		r.fail(n, "holds no needs")
	}
	seen := map[string]int{}
	for _, need := range needs.Needs {
		if first, ok := seen[need.Name]; ok && need.Name != "" {
			r.errs = append(r.errs, &NeedsError{Line: need.Line, Msg: fmt.Sprintf("need %q is there already, in line %d", need.Name, first)})
		}
		seen[need.Name] = need.Line
	}
	return needs
}

func (r *needsReader) need(n *yaml.Node) Need {
	need := Need{Line: n.Line}
	var level string
	var stages []string
	pattern := func(to *[]Pattern) func(*yaml.Node) {
		return r.list(func(n *yaml.Node) { *to = append(*to, r.pattern(n)) })
	}
	r.fields(n, "a need", map[string]func(*yaml.Node){
		"name": r.text(&need.Name), "reason": r.text(&need.Reason), "source": r.text(&need.Source),
		"level": r.text(&level), "stages": r.texts(&stages), "requests": pattern(&need.Requests), "except": pattern(&need.Except),
	})
	if len(r.errs) > 0 {
		return need
	}
	var err error
	switch need.Level, err = policy.ParseLevel(level); {
	case need.Name == "":
		r.fail(n, "a need must have a name")
	case need.Reason == "":
		r.fail(n, "need %s must have a reason", need.Name)
	case err != nil || need.Level == policy.None:
		r.fail(n, "need %s must have a level: Metadata, Request or RequestResponse", need.Name)
	case len(need.Requests) == 0:
		r.fail(n, "need %s must have requests", need.Name)
	}
	for _, s := range stages {
		stage, err := policy.ParseStage(s)
		if err != nil {
			r.fail(n, "need %s: %v", need.Name, err)
		}
		need.Stages |= stage
	}
	if len(stages) == 0 {
		need.Stages = policy.ResponseComplete
	}
	return need
}

func (r *needsReader) pattern(n *yaml.Node) Pattern {
	p := Pattern{Rule: policy.Rule{Line: n.Line, Column: n.Column}}
	var failed string
	r.fields(n, "a request", map[string]func(*yaml.Node){
		"users": r.texts(&p.Users), "userGroups": r.texts(&p.UserGroups), "verbs": r.texts(&p.Verbs),
		"namespaces": r.texts(&p.Namespaces), "nonResourceURLs": r.texts(&p.NonResourceURLs),
		"resources": r.list(func(n *yaml.Node) {
			var gr policy.GroupResources
			r.fields(n, "an entry of resources", map[string]func(*yaml.Node){
				"group": r.text(&gr.Group), "resources": r.texts(&gr.Resources), "resourceNames": r.texts(&gr.ResourceNames),
			})
			p.Resources = append(p.Resources, gr)
		}),
		"unauthenticated": r.text(&failed),
	})
	switch failed {
	case "", "false":
	case "true":
		p.Unauthenticated = true
		if len(p.Users)+len(p.UserGroups) > 0 {
			r.fail(n, "who is unauthenticated is no user and in no group")
		}
	default:
		r.fail(n, "unauthenticated must be true or false")
	}
	if len(p.NonResourceURLs) > 0 && len(p.Resources)+len(p.Namespaces) > 0 {
		r.fail(n, "a request is for a resource or for a non-resource URL: write two entries")
	}
	return p
}
