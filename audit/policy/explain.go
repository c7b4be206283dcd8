package policy

import (
	"strconv"
	"strings"
)

// Explanation is a decision with its reasons.
type Explanation struct {
	Decision
	// Steps are the rules that were tried, in order; the last one matched unless
	// Decision.Rule is -1.
	Steps []Step `json:"steps"`
}

// Step is one rule that was tried.
type Step struct {
	// Rule is the rule's index. People count from 1.
	Rule int `json:"rule"`
	// Line is where the rule begins, 0 for a policy that was not loaded.
	Line    int   `json:"line,omitempty"`
	Level   Level `json:"level"`
	Matched bool  `json:"matched"`
	// Field is the first field that did not match, in the order of the API
	// server's evaluator: users, userGroups, verbs, namespaces, resources,
	// nonResourceURLs. FieldLine is where it stands.
	Field     string `json:"field,omitempty"`
	FieldLine int    `json:"fieldLine,omitempty"`
	// Wants is what the rule asks of that field, Has what the request has.
	Wants []string `json:"wants,omitempty"`
	Has   []string `json:"has,omitempty"`
}

// Explain decides as [Evaluator.Decide] does and says why.
func (p *Policy) Explain(a *Attributes) Explanation {
	e := Explanation{Decision: p.decide(a)}
	tried := e.Rule + 1
	if e.Rule < 0 {
		tried = len(p.Rules)
	}
	for i := range tried {
		r := &p.Rules[i]
		s := Step{Rule: i, Line: r.Line, Level: r.Level, Matched: i == e.Rule}
		if !s.Matched {
			s.Field = r.mismatch(a)
			s.FieldLine, _ = p.Position("rules[" + strconv.Itoa(i) + "]." + s.Field)
			s.Wants, s.Has = r.wants(s.Field), a.has(s.Field)
		}
		e.Steps = append(e.Steps, s)
	}
	return e
}

func (r *Rule) wants(field string) []string {
	switch field {
	case onUsers:
		return r.Users
	case onGroups:
		return r.UserGroups
	case onVerbs:
		return r.Verbs
	case onNamespaces:
		return r.Namespaces
	case onNonResource:
		return r.NonResourceURLs
	}
	var wants []string
	for _, gr := range r.Resources {
		wants = append(wants, gr.strings()...)
	}
	return wants
}

// strings are the resources as kubectl writes them: deployments.apps, pods/log,
// clusterroles.rbac.authorization.k8s.io/cluster-admin would be ambiguous, so
// names follow an "=".
func (gr *GroupResources) strings() []string {
	resources := gr.Resources
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	names := ""
	if len(gr.ResourceNames) > 0 {
		names = "=" + strings.Join(gr.ResourceNames, "|")
	}
	var all []string
	for _, res := range resources {
		all = append(all, QualifiedResource(gr.Group, res)+names)
	}
	return all
}

// QualifiedResource names a resource of a group as kubectl does: pods, pods/log,
// deployments.apps, deployments.apps/scale.
func QualifiedResource(group, resource string) string {
	if group == "" {
		return resource
	}
	res, sub, ok := strings.Cut(resource, "/")
	res += "." + group
	if ok {
		res += "/" + sub
	}
	return res
}

func (a *Attributes) has(field string) []string {
	switch field {
	case onUsers:
		if a.NoUser {
			return nil
		}
		return []string{a.User}
	case onGroups:
		return a.Groups
	case onVerbs:
		return []string{a.Verb}
	case onNonResource:
		if !a.NonResource {
			return []string{a.object()}
		}
		return []string{a.Path}
	}
	if a.NonResource {
		return []string{a.Path}
	}
	if field == onNamespaces {
		return []string{a.Namespace}
	}
	return []string{a.object()}
}

// object is the resource of the request with its name.
func (a *Attributes) object() string {
	res := a.Resource
	if a.Subresource != "" {
		res += "/" + a.Subresource
	}
	res = QualifiedResource(a.APIGroup, res)
	if a.Name != "" {
		res += "=" + a.Name
	}
	return res
}
