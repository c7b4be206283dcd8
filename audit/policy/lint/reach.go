package lint

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/policy"
)

// fresh is a name that stands in no policy. A rule compares for equality only, so
// where a rule asks for nothing a fresh name is matched by the fewest others: what
// earlier rules do with it they do with every name.
const fresh = "zz-ktrail-any"

// maxPoints bounds the work on one rule, maxAsked that on a policy. Of a rule that
// has more points, and of those behind the bound, it is said that nothing is known.
const (
	maxPoints = 200_000
	maxAsked  = 3_000_000
)

// points are requests that rule i matches, taken by itself: enough of them that if
// earlier rules take all points they take all requests. Values that no request has
// make no points.
func (c *checker) points(i int) iter.Seq[policy.Attributes] {
	r := &c.policy.Rules[i]
	return func(yield func(policy.Attributes) bool) {
		n := 0
		for who := range c.who(r) {
			for a := range c.what(r) {
				a.User, a.Groups = who.User, who.Groups
				n++
				c.asked++
				if n > maxPoints+1 || c.asked > maxAsked || !yield(a) {
					return
				}
			}
		}
	}
}

// who are the users and groups that a rule asks for.
func (c *checker) who(r *policy.Rule) iter.Seq[policy.Attributes] {
	return func(yield func(policy.Attributes) bool) {
		users, groups := r.Users, r.UserGroups
		if len(users) == 0 {
			users = []string{fresh}
		}
		for _, u := range users {
			if strings.Contains(u, "*") || isGroup(u) {
				continue
			}
			if len(groups) == 0 {
				if !yield(policy.Attributes{User: u, Groups: impliedGroups(u)}) {
					return
				}
				continue
			}
			for _, g := range groups {
				who := u
				if u == fresh && g == unauthenticated {
					who = anonymous
				}
				// Only who is anonymous is unauthenticated, and is nothing else.
				if strings.Contains(g, "*") || isUser(g) || (who == anonymous) != (g == unauthenticated) {
					continue
				}
				if !yield(policy.Attributes{User: who, Groups: append(impliedGroups(who, g), g)}) {
					return
				}
			}
		}
	}
}

const (
	anonymous       = "system:anonymous"
	unauthenticated = "system:unauthenticated"
)

// impliedGroups are those that the API server itself gives to a user, or to the
// members of other groups.
func impliedGroups(user string, groups ...string) []string {
	var all []string
	parts := strings.Split(user, ":")
	switch {
	case user == anonymous:
		return []string{unauthenticated}
	case strings.HasPrefix(user, saUser) && len(parts) == 4:
		all = append(all, "system:serviceaccounts", saGroup+parts[2], "system:authenticated")
	case user != fresh:
		all = append(all, "system:authenticated")
	}
	for _, g := range groups {
		if strings.HasPrefix(g, saGroup) {
			all = append(all, "system:serviceaccounts")
		}
		all = append(all, "system:authenticated")
	}
	return all
}

// what are the requests that a rule asks for, whoever makes them.
func (c *checker) what(r *policy.Rule) iter.Seq[policy.Attributes] {
	return func(yield func(policy.Attributes) bool) {
		onResources := len(r.Resources) > 0 || len(r.Namespaces) > 0
		if !onResources && !c.whatURLs(r, yield) || len(r.NonResourceURLs) > 0 && !onResources {
			return
		}
		groups := r.Resources
		if len(groups) == 0 {
			groups = []policy.GroupResources{{Group: fresh}}
		}
		for _, gr := range groups {
			if !c.whatResources(r, gr, yield) {
				return
			}
		}
	}
}

func (c *checker) whatURLs(r *policy.Rule, yield func(policy.Attributes) bool) bool {
	verbs := live(r.Verbs, httpVerbs, []string{fresh})
	specs := r.NonResourceURLs
	if len(specs) == 0 {
		specs = []string{"*"}
	}
	for _, spec := range specs {
		if deadURL(spec) != "" {
			continue
		}
		path := spec
		if strings.HasSuffix(spec, "*") {
			path = strings.TrimRight(spec, "*") + fresh
			if !strings.HasPrefix(path, "/") {
				path = "/" + path
			}
		}
		for _, v := range verbs {
			if !yield(policy.Attributes{Verb: v, Path: path, NonResource: true}) {
				return false
			}
		}
	}
	return true
}

func (c *checker) whatResources(r *policy.Rule, gr policy.GroupResources, yield func(policy.Attributes) bool) bool {
	group := gr.Group
	if group == "*" {
		group = fresh
	}
	specs, names := gr.Resources, gr.ResourceNames
	if len(specs) == 0 {
		specs = []string{"*"}
	}
	if len(names) == 0 {
		names = []string{fresh}
	}
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.Contains(n, "*") })
	verbs := live(r.Verbs, resourceVerbs, resourceVerbs)
	for _, spec := range specs {
		if c.deadSpec(gr.Group, spec) {
			continue
		}
		name, sub, _ := strings.Cut(spec, "/")
		if name == "*" {
			name = fresh
		}
		subs := []string{sub}
		if sub == "*" || spec == "*" {
			subs = []string{"", fresh}
		}
		for _, ns := range c.namespaces(r, group, name) {
			for _, sub := range subs {
				for _, object := range names {
					for _, v := range verbs {
						if len(gr.ResourceNames) > 0 && object != "" && nameless(v, sub) {
							continue
						}
						if !yield(policy.Attributes{Verb: v, APIGroup: group, Resource: name, Subresource: sub, Namespace: ns, Name: object}) {
							return false
						}
					}
				}
			}
		}
	}
	return true
}

// live are the verbs that requests of a kind can have; all if the rule asks for none.
func live(verbs, possible, all []string) []string {
	if len(verbs) == 0 {
		return all
	}
	var some []string
	for _, v := range verbs {
		if slices.Contains(possible, v) {
			some = append(some, v)
		}
	}
	return some
}

// deadSpec is whether no resource is meant by a value of resources: it has a * in
// a wrong place, or is a kind or a short name of a group that the catalog knows.
func (c *checker) deadSpec(group, spec string) bool {
	if deadPattern(spec) {
		return true
	}
	name, _, _ := strings.Cut(spec, "/")
	if name == "*" || group == "*" || !slices.Contains(c.Catalog.Groups(), group) {
		return false
	}
	return c.Catalog.Lookup(group, name) == nil && removed[group][name].minor == 0
}

// namespaces are those in which a rule's requests for a resource can be. A
// cluster-scoped resource has none; but a namespace is in itself.
func (c *checker) namespaces(r *policy.Rule, group, name string) []string {
	res := c.Catalog.Lookup(group, name)
	clusterScoped := res != nil && !res.Namespaced && name != "namespaces"
	if len(r.Namespaces) == 0 {
		if clusterScoped {
			return []string{""}
		}
		return []string{fresh}
	}
	var some []string
	for _, ns := range r.Namespaces {
		if !strings.Contains(ns, "*") && (!clusterScoped || ns == "") {
			some = append(some, ns)
		}
	}
	return some
}

// reach reports rules that no request comes to.
func (c *checker) reach() {
	all := c.catchAllRule()
	for i := range c.policy.Rules {
		if i > all && all >= 0 {
			c.dead[i] = "shadowed"
			c.shadowed(i, map[int]bool{all: true})
			continue
		}
		taken, n, reached := map[int]bool{}, 0, false
		for a := range c.points(i) {
			if n++; n > maxPoints {
				break
			}
			d := c.eval.Decide(&a)
			if d.Rule == i || d.Rule < 0 {
				reached = true
				break
			}
			taken[d.Rule] = true
		}
		at := fmt.Sprintf("rules[%d]", i)
		switch {
		case c.asked > maxAsked:
			c.unknown(at, fmt.Sprintf("the rules from %d on are not checked for requests that earlier rules leave them: the policy is too large", i+1))
			return
		case n > maxPoints:
			c.unknown(at, fmt.Sprintf("rule %d is not checked for requests that earlier rules leave it: it is too large", i+1))
		case n == 0:
			c.dead[i] = c.whyDead(i)
			c.report("never-matches", at, fmt.Sprintf("rule %d matches no request: %s", i+1, c.dead[i]), "", "")
		case !reached:
			c.dead[i] = "shadowed"
			c.shadowed(i, taken)
		}
	}
}

// unknown says of which rules it is not known whether a request comes to them.
func (c *checker) unknown(at, message string) {
	c.report("shadowed", at, message, fmt.Sprintf("To find out every request that a rule asks for is decided: at most %d of one rule, and %d of a policy.", maxPoints, maxAsked), "")
	c.as(finding.Note)
}

func (c *checker) shadowed(i int, taken map[int]bool) {
	c.report("shadowed", fmt.Sprintf("rules[%d]", i), fmt.Sprintf("rule %d never decides: %s", i+1, c.shadows(i, taken)), "", "move it up, before what takes its requests, or take it out")
}

// catchAllRule is the first rule without any condition, -1 if there is none.
func (c *checker) catchAllRule() int {
	return slices.IndexFunc(c.policy.Rules, func(r policy.Rule) bool {
		return len(r.Users)+len(r.UserGroups)+len(r.Verbs)+len(r.Resources)+len(r.Namespaces)+len(r.NonResourceURLs) == 0
	})
}

// whyDead says which condition of a rule no request meets.
func (c *checker) whyDead(i int) string {
	r := &c.policy.Rules[i]
	for range c.who(r) {
		// Somebody is meant; so the request is what cannot be.
		switch {
		case len(r.NonResourceURLs) > 0 && len(live(r.Verbs, httpVerbs, httpVerbs)) == 0, len(r.NonResourceURLs) == 0 && len(live(r.Verbs, resourceVerbs, resourceVerbs)) == 0:
			return "no request of its kind has one of its verbs"
		case len(r.NonResourceURLs) > 0:
			return "no non-resource request has one of its URLs"
		}
		everywhere := *r
		everywhere.Namespaces = nil
		if len(r.Resources) == 0 {
			return "no namespace has one of these names"
		}
		for range c.what(&everywhere) {
			return "its resources are in none of its namespaces"
		}
		for _, gr := range r.Resources {
			if len(gr.ResourceNames) > 0 {
				return "no request of its verbs has one of its resourceNames, or there is no such resource"
			}
		}
		return "there are no such resources"
	}
	return "nobody meets its users and userGroups"
}

// shadows names the rules that take all requests of rule i: one if one does.
func (c *checker) shadows(i int, taken map[int]bool) string {
	var by []int
	for j := range taken {
		by = append(by, j)
	}
	slices.Sort(by)
	name := func(j int) string {
		return fmt.Sprintf("rule %d (line %d, %s)", j+1, c.policy.Rules[j].Line, c.policy.Rules[j].Level)
	}
	for _, j := range by {
		if len(by) > 1 && c.takesAll(j, i) {
			by = []int{j}
		}
	}
	if len(by) == 1 {
		return name(by[0]) + " matches all that it would"
	}
	const most = 4
	var names []string
	for _, j := range by[:min(len(by), most)] {
		names = append(names, name(j))
	}
	if len(by) > most {
		names = append(names, fmt.Sprintf("%d more", len(by)-most))
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last] + " match all that it would"
}

// takesAll is whether rule j alone matches all that rule i does.
func (c *checker) takesAll(j, i int) bool {
	alone := policy.Compile(&policy.Policy{Rules: c.policy.Rules[j : j+1]})
	for a := range c.points(i) {
		if alone.Decide(&a).Rule < 0 {
			return false
		}
	}
	return c.asked <= maxAsked // otherwise those that are left were not asked
}
