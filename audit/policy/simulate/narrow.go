package simulate

import (
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit/policy"
)

// narrowed is the rule that matches only what both match, with the level of one and what
// else the other says. It may match less than it could: a rule cannot say that a user
// must be in a group of each of two lists. It is not ok if nothing is left.
func narrowed(r policy.Rule, own *policy.Rule) (_ policy.Rule, ok bool) {
	var fits [4]bool
	r.Users, fits[0] = both(r.Users, own.Users)
	r.UserGroups, fits[1] = both(r.UserGroups, own.UserGroups)
	r.Verbs, fits[2] = both(r.Verbs, own.Verbs)
	r.Namespaces, fits[3] = both(r.Namespaces, own.Namespaces)
	if slices.Contains(fits[:], false) {
		return r, false
	}
	forResources := len(own.Resources) > 0 || len(own.Namespaces) > 0
	switch {
	case len(r.NonResourceURLs) > 0:
		if forResources {
			return r, false
		}
		r.NonResourceURLs = slices.DeleteFunc(slices.Clone(r.NonResourceURLs), func(url string) bool {
			return len(own.NonResourceURLs) > 0 && !slices.ContainsFunc(own.NonResourceURLs, func(o string) bool { return covers(o, url) })
		})
		ok = len(r.NonResourceURLs) > 0
	case len(r.Resources) > 0:
		if !forResources && len(own.NonResourceURLs) > 0 {
			return r, false
		}
		r.Resources = narrower(r.Resources, own.Resources)
		ok = len(r.Resources) > 0
	default:
		r.Resources, r.NonResourceURLs = own.Resources, own.NonResourceURLs
		ok = true
	}
	r.OmitStages |= own.OmitStages
	if r.Level == policy.None {
		r.OmitStages = 0
	} else {
		r.OmitManagedFields = own.OmitManagedFields
	}
	return r, ok
}

// both are the values of both lists, of which an empty one has all.
func both(a, b []string) ([]string, bool) {
	switch {
	case len(a) == 0:
		return b, true
	case len(b) == 0:
		return a, true
	}
	var out []string
	for _, v := range a {
		if slices.Contains(b, v) {
			out = append(out, v)
		}
	}
	return out, len(out) > 0
}

// covers is whether a non-resource URL of a policy matches all that url does.
func covers(own, url string) bool {
	if own == "*" || own == url {
		return true
	}
	start, ok := strings.CutSuffix(own, "*")
	return ok && strings.HasPrefix(url, strings.TrimRight(start, "*"))
}

// narrower are the resources of r, plain names, that own matches too. What own has for
// some names only is kept as own has it.
func narrower(r, own []policy.GroupResources) []policy.GroupResources {
	if len(own) == 0 {
		return r
	}
	var out []policy.GroupResources
	for _, gr := range r {
		for _, o := range own {
			if o.Group != gr.Group && o.Group != "*" {
				continue
			}
			n := policy.GroupResources{Group: gr.Group, ResourceNames: o.ResourceNames}
			if len(o.Resources) == 0 {
				n.ResourceNames = nil // the API server does not look at them then
			}
			for _, name := range gr.Resources {
				if len(o.Resources) == 0 || slices.ContainsFunc(o.Resources, func(p string) bool { return matchesResource(p, name) }) {
					n.Resources = append(n.Resources, name)
				}
			}
			if len(n.Resources) > 0 {
				out = append(out, n)
			}
		}
	}
	return out
}

// matchesResource is whether a resource of a policy matches "pods" or "pods/log".
func matchesResource(pattern, name string) bool {
	resource, sub, _ := strings.Cut(name, "/")
	if pattern == "*" || pattern == name {
		return true
	}
	if s, ok := strings.CutPrefix(pattern, "*/"); ok && sub != "" && s == sub {
		return true
	}
	r, ok := strings.CutSuffix(pattern, "/*")
	return ok && r == resource
}
