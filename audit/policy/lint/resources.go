package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/internal/nearest"
)

// removed are resources that Kubernetes had, by group, with the minor version in
// which the last version of them was gone and what took their place
// (https://kubernetes.io/docs/reference/using-api/deprecation-guide/).
var removed = map[string]map[string]removal{
	"extensions": {
		"deployments": {16, "apps"}, "daemonsets": {16, "apps"}, "replicasets": {16, "apps"}, "networkpolicies": {16, "networking.k8s.io"},
		"podsecuritypolicies": {16, ""}, "ingresses": {22, "networking.k8s.io"},
	},
	"policy":                       {"podsecuritypolicies": {25, ""}},
	"auditregistration.k8s.io":     {"auditsinks": {19, ""}},
	"settings.k8s.io":              {"podpresets": {20, ""}},
	"admissionregistration.k8s.io": {"initializerconfigurations": {14, ""}},
	"resource.k8s.io":              {"resourceclasses": {31, ""}, "resourceclaimparameters": {31, ""}, "resourceclassparameters": {31, ""}, "podschedulingcontexts": {32, ""}},
}

type removal struct {
	minor int
	now   string // the group that has it now, "" for none
}

// resources checks the resources of a rule against the catalog.
func (c *checker) resources(i int) {
	r := &c.policy.Rules[i]
	for j, gr := range r.Resources {
		at := fmt.Sprintf("rules[%d].resources[%d]", i, j)
		known := c.group(i, at+".group", gr.Group)
		if len(gr.Resources) == 0 {
			c.goneGroup(i, at+".group", gr.Group)
		}
		for k, spec := range gr.Resources {
			c.resource(i, fmt.Sprintf("%s.resources[%d]", at, k), gr, spec, known)
		}
		for k, name := range gr.ResourceNames {
			if strings.Contains(name, "*") {
				c.star(fmt.Sprintf("%s.resourceNames[%d]", at, k), i, "resourceNames", name, "take resourceNames out to match every name, or list them")
			}
		}
		c.namesOnCreate(i, gr)
	}
	c.execVerbs(i)
	c.eventGroups(i)
}

// group checks one group; it returns whether the catalog knows its resources.
func (c *checker) group(i int, at, group string) bool {
	if group == "*" {
		switch {
		case c.Minor == 0:
			c.report("group-wildcard", at, fmt.Sprintf(`rule %d: group "*" needs Kubernetes 1.36`, i+1), "Before 1.36 the API server does not start with such a policy. Say --kubernetes VERSION to have it checked.", "")
			c.as(finding.Note)
		case c.Minor < 36:
			c.report("group-wildcard", at, fmt.Sprintf(`rule %d: group "*" is refused by Kubernetes 1.%d`, i+1, c.Minor), "", "list the groups, or take resources out and write namespaces or no condition at all")
		}
		return true
	}
	groups := c.Catalog.Groups()
	if slices.Contains(groups, group) {
		return true
	}
	if _, ok := removed[group]; ok {
		return true
	}
	msg, want := fmt.Sprintf("rule %d: Kubernetes has no API group %q", i+1, group), ""
	for _, g := range groups {
		if strings.HasPrefix(g, group+".") {
			want = g
		}
	}
	if want == "" {
		want = nearGroup(group, groups)
	}
	switch {
	case group == "core" || group == "v1" || group == "api" || group == "legacy":
		c.report("unknown-group", at, msg+`: the core group is ""`, "", `group: ""`)
	case want != "":
		c.report("unknown-group", at, msg+didYouMean(want), "", fmt.Sprintf("group: %q", want))
	case len(c.Catalog.Resolve(group)) > 0:
		res := c.Catalog.Resolve(group)[0]
		c.report("unknown-group", at, fmt.Sprintf("%s: it is a resource of %s", msg, groupName(res.Group)), "", fmt.Sprintf("group: %q\nresources: [%q]", res.Group, res.Name))
	case c.Complete:
		c.report("unknown-group", at, fmt.Sprintf("rule %d: the cluster has no API group %q", i+1, group), "It is not in the list of API resources that was given.", "")
	case !strings.Contains(group, "."):
		c.report("unknown-group", at, msg, "Groups of custom resources have a dot in their name, so it is no such group either.", "")
	default:
		c.report("unknown-group", at, msg, "It may be a group of custom resources or of an aggregated API server. Give the cluster's list with --api-resources to have its resources checked.", "")
		c.as(finding.Note)
	}
	return false
}

// groupName is a group in a sentence.
func groupName(group string) string {
	switch group {
	case "":
		return "the core group"
	case "*":
		return "any group"
	}
	return fmt.Sprintf("the group %q", group)
}

// nearGroup is the group that somebody meant. What nearly all groups end in makes
// none of them nearer.
func nearGroup(group string, groups []string) string {
	const suffix = ".k8s.io"
	short, ok := strings.CutSuffix(group, suffix)
	if !ok {
		// A domain below another is not a slip of it.
		return nearest.Name(group, slices.DeleteFunc(groups, func(g string) bool { return strings.HasSuffix(group, "."+g) || strings.HasSuffix(g, "."+group) }))
	}
	var heads []string
	for _, g := range groups {
		if head, ok := strings.CutSuffix(g, suffix); ok {
			heads = append(heads, head)
		}
	}
	if head := nearest.Name(short, heads); head != "" {
		return head + suffix
	}
	if slices.Contains(groups, short) { // apps.k8s.io
		return short
	}
	return ""
}

// goneGroup reports a group of which nothing is left.
func (c *checker) goneGroup(i int, at, group string) {
	last := 0
	for _, r := range removed[group] {
		last = max(last, r.minor)
	}
	if last > 0 && (c.Minor == 0 || c.Minor >= last) && !slices.Contains(c.Catalog.Groups(), group) {
		c.report("removed-resource", at, fmt.Sprintf("rule %d: the group %q was removed in Kubernetes 1.%d", i+1, group, last), "", "take it out")
	}
}

// resource checks one value of resources. known says that the catalog knows the group.
func (c *checker) resource(i int, at string, gr policy.GroupResources, spec string, known bool) {
	name, sub, hasSub := strings.Cut(spec, "/")
	rule := fmt.Sprintf("rule %d: ", i+1)
	switch {
	case spec == "*":
		return
	case deadPattern(spec):
		fix := `"*"`
		if spec != "*/*" {
			fix = "write the whole name"
		}
		c.report("resource-wildcard", at, rule+fmt.Sprintf("%q matches nothing", spec), "", fix)
		return
	case sub == "*":
		if !slices.Contains(gr.Resources, name) {
			c.report("subresource-wildcard", at, rule+fmt.Sprintf("%q also matches bare %s", spec, name), "",
				fmt.Sprintf("list the subresources; or, if %s are meant too, say so: [%q, %q]", name, name, spec))
		}
	}
	if !known {
		return
	}
	if name == "*" {
		for _, r := range c.Catalog.Resources() {
			if (gr.Group == "*" || r.Group == gr.Group) && (r.Partial || r.Sub(sub) != nil) {
				return
			}
		}
		c.report("unknown-subresource", at, rule+fmt.Sprintf("no resource of %s has a subresource %q", groupName(gr.Group), sub), "", "")
		return
	}
	r := c.lookup(gr.Group, name)
	if r == nil {
		c.unknownResource(i, at, gr.Group, name, sub)
		return
	}
	if hasSub && sub != "*" && !r.Partial && r.Sub(sub) == nil {
		var subs []string
		for _, s := range r.Subresources {
			subs = append(subs, s.Name)
		}
		want, fix := near(sub, subs, map[string]string{"logs": "log", "port-forward": "portforward", "evictions": "eviction", "tokens": "token"}[sub]), ""
		if want != "" {
			want = name + "/" + want
			fix = fmt.Sprintf("%q", want)
		} else if len(subs) > 0 {
			fix = "it has " + strings.Join(subs, ", ")
		}
		c.report("unknown-subresource", at, rule+fmt.Sprintf("%s have no subresource %q%s", name, sub, didYouMean(want)), "", fix)
	}
}

// deadPattern is whether a value of resources has a * where it is none.
func deadPattern(spec string) bool {
	if spec == "*" {
		return false
	}
	name, sub, _ := strings.Cut(spec, "/")
	return name == "*" && sub == "*" ||
		strings.Contains(name, "*") && name != "*" ||
		strings.Contains(sub, "*") && sub != "*" || strings.Contains(sub, "/")
}

// lookup finds a resource in a group or, for "*", in any.
func (c *checker) lookup(group, name string) *policy.Resource {
	if group != "*" {
		return c.Catalog.Lookup(group, name)
	}
	for _, g := range c.Catalog.Groups() {
		if r := c.Catalog.Lookup(g, name); r != nil {
			return r
		}
	}
	return nil
}

func (c *checker) unknownResource(i int, at, group, name, sub string) {
	rule := fmt.Sprintf("rule %d: ", i+1)
	if sub != "" {
		sub = "/" + sub
	}
	if gone, ok := removed[group][name]; ok && c.Catalog.Lookup(group, name) == nil {
		if c.Minor != 0 && c.Minor < gone.minor {
			return
		}
		msg, fix := rule+fmt.Sprintf("%s of the group %q were removed in Kubernetes 1.%d", name, group, gone.minor), "take it out"
		if gone.now != "" {
			fix = fmt.Sprintf("group: %q", gone.now)
		}
		c.report("removed-resource", at, msg, "", fix)
		return
	}
	have := c.Catalog.Resolve(name)
	for _, r := range have {
		if (r.Group == group || group == "*") && r.Name != name {
			c.report("unknown-resource", at, rule+fmt.Sprintf("%q matches nothing: requests name it %q", name+sub, r.Name+sub), "", fmt.Sprintf("%q", r.Name+sub))
			return
		}
	}
	if len(have) > 0 {
		r := have[0]
		c.report("wrong-group", at, rule+fmt.Sprintf("%s are not in %s but in %s", r.Name, groupName(group), groupName(r.Group)), "", fmt.Sprintf("- group: %q\n  resources: [%q]", r.Group, r.Name+sub))
		return
	}
	var inGroup, all []string
	for _, r := range c.Catalog.Resources() {
		all = append(all, r.Name)
		if r.Group == group || group == "*" {
			inGroup = append(inGroup, r.Name)
		}
	}
	msg, fix := rule+fmt.Sprintf("%s has no resource %q", groupName(group), name+sub), ""
	if want := near(name, inGroup, ""); want != "" {
		msg, fix = msg+didYouMean(want+sub), fmt.Sprintf("%q", want+sub)
	} else if want := near(name, all, ""); want != "" && len(name) > 5 { // short words are near to many
		r := c.lookup("*", want)
		msg, fix = msg+didYouMean(want+sub), fmt.Sprintf("- group: %q\n  resources: [%q]", r.Group, want+sub)
	}
	c.report("unknown-resource", at, msg, "", fix)
}

// namesOnCreate reports names beside verbs whose requests have no name.
func (c *checker) namesOnCreate(i int, gr policy.GroupResources) {
	verbs := c.policy.Rules[i].Verbs
	if len(gr.ResourceNames) == 0 || slices.Contains(gr.ResourceNames, "") {
		return
	}
	for k, v := range verbs {
		if !nameless(v, "") || slices.ContainsFunc(gr.Resources, func(s string) bool { return strings.Contains(s, "/") }) {
			continue
		}
		c.report("names-on-create", fmt.Sprintf("rules[%d].verbs[%d]", i, k), fmt.Sprintf("rule %d: a request to %s never has one of its resourceNames", i+1, map[string]string{"create": "create", "deletecollection": "delete a collection"}[v]), "",
			"a rule of its own for "+v+", without resourceNames")
		return
	}
}

// nameless is whether no request of that verb has a name in its URL.
func nameless(verb, sub string) bool {
	return (verb == "create" || verb == "deletecollection") && sub == ""
}

// execVerbs reports rules that see the old form of an exec and miss the new one.
func (c *checker) execVerbs(i int) {
	r := &c.policy.Rules[i]
	if r.Level == policy.None || !slices.Contains(r.Verbs, "create") || slices.Contains(r.Verbs, "get") {
		return
	}
	for j, gr := range r.Resources {
		for k, spec := range gr.Resources {
			name, sub, _ := strings.Cut(spec, "/")
			if gr.Group != "" || name != "pods" || !slices.Contains([]string{"exec", "attach", "portforward"}, sub) {
				continue
			}
			for a := range c.points(i) {
				if a.Resource != name || a.Subresource != sub || a.Verb != "create" || c.eval.Decide(&a).Rule != i {
					continue
				}
				a.Verb = "get"
				if d := c.eval.Decide(&a); d.Level < r.Level {
					c.report("exec-verbs", fmt.Sprintf("rules[%d].resources[%d].resources[%d]", i, j, k),
						fmt.Sprintf("rule %d: %s opened with a GET is recorded at %s, not at %s", i+1, spec, d.Level, r.Level), "", `verbs: ["get", "create"]`)
				}
				break
			}
		}
	}
}

// eventGroups reports rules that decide about events of one group while the same
// events, through the other group, are decided otherwise.
func (c *checker) eventGroups(i int) {
	for j, gr := range c.policy.Rules[i].Resources {
		other := map[string]string{"": "events.k8s.io", "events.k8s.io": ""}
		to, ok := other[gr.Group]
		k := slices.Index(gr.Resources, "events")
		if !ok || k < 0 {
			continue
		}
		for a := range c.points(i) {
			if a.Resource != "events" || a.APIGroup != gr.Group || c.eval.Decide(&a).Rule != i {
				continue
			}
			a.APIGroup = to
			if d := c.eval.Decide(&a); d.Level != c.policy.Rules[i].Level {
				c.report("events-in-two-groups", fmt.Sprintf("rules[%d].resources[%d].resources[%d]", i, j, k),
					fmt.Sprintf("rule %d: events of %s have the level %s, those of %s %s", i+1, groupName(gr.Group), c.policy.Rules[i].Level, groupName(to), d.Level), "",
					"- group: \"\"\n  resources: [events]\n- group: events.k8s.io\n  resources: [events]")
			}
			break
		}
	}
}
