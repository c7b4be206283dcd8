package policy

import (
	"slices"
	"strings"
)

// This file is the meaning of a policy, written to be read: one rule after the
// other, one field after the other, in the order of the API server's evaluator.
// Explain walks it; the Evaluator is the fast form of it and is tested against it.

// decide is the first rule that matches.
func (p *Policy) decide(a *Attributes) Decision {
	for i := range p.Rules {
		if p.Rules[i].mismatch(a) == matches {
			return p.decision(i)
		}
	}
	return p.decision(-1)
}

// decision is what rule i decides, -1 for no rule.
func (p *Policy) decision(i int) Decision {
	d := Decision{Level: None, OmitStages: p.OmitStages, OmitManagedFields: p.OmitManagedFields, Rule: i}
	if i < 0 {
		return d
	}
	r := &p.Rules[i]
	d.Level = r.Level
	d.OmitStages |= r.OmitStages
	if r.OmitManagedFields != nil {
		d.OmitManagedFields = *r.OmitManagedFields
	}
	return d
}

// The fields of a rule that can keep it from matching, as they are spelled.
const (
	matches       = ""
	onUsers       = "users"
	onGroups      = "userGroups"
	onVerbs       = "verbs"
	onNamespaces  = "namespaces"
	onResources   = "resources"
	onNonResource = "nonResourceURLs"
)

// mismatch is the first field of the rule that a does not match.
func (r *Rule) mismatch(a *Attributes) string {
	if len(r.Users) > 0 && (a.NoUser || !slices.Contains(r.Users, a.User)) {
		return onUsers
	}
	if len(r.UserGroups) > 0 && (a.NoUser || !slices.ContainsFunc(a.Groups, func(g string) bool { return slices.Contains(r.UserGroups, g) })) {
		return onGroups
	}
	if len(r.Verbs) > 0 && !slices.Contains(r.Verbs, a.Verb) {
		return onVerbs
	}
	if len(r.Namespaces) > 0 && (a.NonResource || !slices.Contains(r.Namespaces, a.Namespace)) {
		return onNamespaces
	}
	if len(r.Resources) > 0 && (a.NonResource || !r.matchesResource(a)) {
		return onResources
	}
	// A rule for resources looks at no URLs. Validation lets no rule have both.
	if len(r.NonResourceURLs) > 0 && len(r.Namespaces) == 0 && len(r.Resources) == 0 &&
		(!a.NonResource || !slices.ContainsFunc(r.NonResourceURLs, func(spec string) bool { return matchesPath(spec, a.Path) })) {
		return onNonResource
	}
	return matches
}

func (r *Rule) matchesResource(a *Attributes) bool {
	combined := a.Resource
	if a.Subresource != "" {
		combined += "/" + a.Subresource
	}
	return slices.ContainsFunc(r.Resources, func(gr GroupResources) bool {
		if gr.Group != a.APIGroup && gr.Group != "*" {
			return false
		}
		if len(gr.Resources) == 0 {
			return true
		}
		if len(gr.ResourceNames) > 0 && !slices.Contains(gr.ResourceNames, a.Name) {
			return false
		}
		return slices.ContainsFunc(gr.Resources, func(spec string) bool {
			if spec == combined || spec == "*" {
				return true
			}
			if sub, ok := strings.CutPrefix(spec, "*/"); ok && a.Subresource != "" && sub == a.Subresource {
				return true
			}
			// "pods/*" matches the bare pods too.
			res, ok := strings.CutSuffix(spec, "/*")
			return ok && res == a.Resource
		})
	})
}

// matchesPath is whether a URL of a rule matches a path.
func matchesPath(spec, path string) bool {
	if spec == "*" || spec == path {
		return true
	}
	return strings.HasSuffix(spec, "*") && strings.HasPrefix(path, strings.TrimRight(spec, "*"))
}
