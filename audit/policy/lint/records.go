package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit/policy"
)

// stages checks what is left out of what would be recorded.
func (c *checker) stages() {
	p := c.policy
	// A place is the policy's omitStages (-1) or a rule's; each is named once.
	told := map[string]bool{}
	tell := func(name string, i int, stages policy.Stages, msg, fix string) {
		at, who := "omitStages", "the policy"
		if !p.OmitStages.Has(stages) {
			at, who = fmt.Sprintf("rules[%d].omitStages", i), fmt.Sprintf("rule %d", i+1)
			if p.OmitStages&stages != 0 {
				who += " together with the policy"
			}
		}
		if told[name+at] {
			return
		}
		told[name+at] = true
		c.report(name, at, who+" "+msg, "", fix)
	}
	for i, r := range p.Rules {
		omits := p.OmitStages | r.OmitStages
		switch {
		case r.Level == policy.None || c.dead[i] != "":
			continue
		case omits.Has(policy.RequestReceived | policy.ResponseComplete):
			tell("all-stages-omitted", i, policy.RequestReceived|policy.ResponseComplete, "omits RequestReceived and ResponseComplete: ordinary requests leave no event", "omitStages: [RequestReceived]")
		case omits.Has(policy.ResponseComplete):
			tell("response-complete-omitted", i, policy.ResponseComplete, "omits ResponseComplete: how requests ended is not recorded", "omitStages: [RequestReceived]")
		}
		if c.Mode == ModeStrict && omits.Has(policy.RequestReceived) {
			tell("request-received-omitted", i, policy.RequestReceived, "omits RequestReceived, which turns blocking-strict off", "take RequestReceived out of omitStages, or run with blocking")
		}
	}
	for _, a := range failedLogins {
		d := c.eval.Decide(&a)
		if d.Level > policy.None && d.OmitStages.Has(policy.ResponseStarted) {
			tell("response-started-omitted", d.Rule, policy.ResponseStarted, "omits ResponseStarted, the only stage of requests that fail to log in", "omitStages: [RequestReceived]")
		}
	}
}

// failedLogins are requests whose credentials are refused: they have no user.
var failedLogins = []policy.Attributes{
	{NoUser: true, Verb: "list", Resource: "pods", Namespace: fresh},
	{NoUser: true, Verb: "get", Resource: "secrets", Namespace: "kube-system", Name: fresh},
	{NoUser: true, Verb: "create", Resource: "pods", Namespace: fresh},
	{NoUser: true, Verb: "delete", APIGroup: "apps", Resource: "deployments", Namespace: fresh, Name: fresh},
	{NoUser: true, Verb: "list", Resource: "nodes"},
	{NoUser: true, Verb: "get", Path: "/api", NonResource: true},
	{NoUser: true, Verb: "get", Path: "/version", NonResource: true},
}

// content is a resource whose bodies should not be in a log.
type content struct {
	kind                 string
	what                 string
	group, resource, sub string
	asked                []string // verbs whose request holds it: recorded from Request on
	answered             []string // verbs whose answer holds it: recorded with RequestResponse
}

var contents = []content{
	{
		kind: "secret-bodies", what: "the content of Secrets", resource: "secrets",
		asked: []string{"create", "update", "patch"}, answered: []string{"get", "list", "delete", "deletecollection"},
	},
	{
		kind: "configmap-bodies", what: "the content of ConfigMaps", resource: "configmaps",
		asked: []string{"create", "update", "patch"}, answered: []string{"get", "list", "delete", "deletecollection"},
	},
	{kind: "token-review-bodies", what: "tokens under review", group: "authentication.k8s.io", resource: "tokenreviews", asked: []string{"create"}},
	{kind: "token-request-bodies", what: "new service account tokens", resource: "serviceaccounts", sub: "token", answered: []string{"create"}},
}

// records checks what the policy as a whole records, by deciding requests.
func (c *checker) records() {
	anything := false
	for i, r := range c.policy.Rules {
		anything = anything || r.Level > policy.None && c.dead[i] == ""
	}
	if !anything {
		c.reportRules("records-nothing", "the policy records nothing: every rule that can match has the level None", "- level: Metadata")
		return
	}
	c.catchAll()
	callers, namespaces, names := c.callers()
	for _, s := range contents {
		c.bodies(s, callers, namespaces, names)
	}
	c.watches(callers, namespaces)
	c.heartbeats()
}

// catchAll reports requests that come to the end of the policy.
func (c *checker) catchAll() {
	resource := c.eval.Decide(&policy.Attributes{User: fresh, Verb: "create", APIGroup: fresh, Resource: fresh, Namespace: fresh, Name: fresh}).Rule < 0
	other := c.eval.Decide(&policy.Attributes{User: fresh, Verb: "get", Path: "/" + fresh, NonResource: true}).Rule < 0
	what := "requests for other URLs"
	switch {
	case resource && other:
		what = "requests that nobody thought of"
	case resource:
		what = "requests for resources that no rule lists"
	case !other:
		return
	}
	c.reportRules("no-catch-all", "no rule matches everything: "+what+" are not recorded", "- level: Metadata   # as the last rule")
}

// reportRules adds a finding about the rules as a whole, at their key.
func (c *checker) reportRules(name, message, fix string) {
	line, column := c.policy.Position("rules")
	if c.root != nil {
		for i := 0; i+1 < len(c.root.Content); i += 2 {
			if key := c.root.Content[i]; key.Value == "rules" {
				line, column = key.Line, key.Column
			}
		}
	}
	c.reportAt(name, line, column, message, "", fix)
}

// Bounds of what one policy is asked, so that a long one is checked in a moment.
const (
	mostCallers    = 300
	mostNamespaces = 40
	mostNames      = 20
)

// callers are those whom the policy may treat differently: somebody, and everybody
// whom it names; likewise namespaces and objects' names.
func (c *checker) callers() (callers []policy.Attributes, namespaces, names []string) {
	callers = []policy.Attributes{{User: fresh, Groups: []string{"system:authenticated"}}}
	namespaces, names = []string{fresh, "kube-system"}, []string{fresh}
	seen := map[string]bool{}
	once := func(kind, s string) bool {
		was := seen[kind+s]
		seen[kind+s] = true
		return !was
	}
	for i := range c.policy.Rules {
		r, n := &c.policy.Rules[i], 0
		for who := range c.who(r) {
			if n++; len(callers) >= mostCallers || n > maxPoints {
				break
			}
			if len(r.Users)+len(r.UserGroups) > 0 && once("w", who.User+"\x00"+strings.Join(who.Groups, "\x00")) {
				callers = append(callers, who)
			}
		}
		for _, ns := range r.Namespaces {
			if len(namespaces) < mostNamespaces && once("n", ns) && !strings.Contains(ns, "*") && ns != "kube-system" {
				namespaces = append(namespaces, ns)
			}
		}
		for _, gr := range r.Resources {
			for _, n := range gr.ResourceNames {
				if len(names) < mostNames && once("o", n) {
					names = append(names, n)
				}
			}
		}
	}
	return callers, namespaces, names
}

// recorded is, by the rule that decides, which verbs it records and at which level.
type recorded map[int]map[string]policy.Level

func (m recorded) add(d policy.Decision, verb string) {
	if m[d.Rule] == nil {
		m[d.Rule] = map[string]policy.Level{}
	}
	m[d.Rule][verb] = max(m[d.Rule][verb], d.Level)
}

// verbs says what a rule records: "create, update at Request".
func (m recorded) verbs(i int) string {
	var parts []string
	for _, l := range policy.Levels() {
		var verbs []string
		for v, at := range m[i] {
			if at == l {
				verbs = append(verbs, v)
			}
		}
		slices.Sort(verbs)
		if len(verbs) > 0 {
			parts = append(parts, strings.Join(verbs, ", ")+" at "+l.String())
		}
	}
	return strings.Join(parts, ", ")
}

func (c *checker) bodies(s content, callers []policy.Attributes, namespaces, names []string) {
	found := recorded{}
	ask := func(verbs []string, from policy.Level) {
		for _, caller := range callers {
			for _, ns := range namespaces {
				for _, name := range names {
					for _, v := range verbs {
						a := caller
						a.Verb, a.APIGroup, a.Resource, a.Subresource, a.Namespace, a.Name = v, s.group, s.resource, s.sub, ns, name
						if nameless(v, s.sub) {
							a.Name = ""
						}
						if d := c.eval.Decide(&a); d.Level >= from {
							found.add(d, v)
						}
					}
				}
			}
		}
	}
	if s.resource == "tokenreviews" {
		namespaces, names = []string{""}, []string{""}
	}
	ask(s.asked, policy.Request)
	ask(s.answered, policy.RequestResponse)
	resource := s.resource
	if s.sub != "" {
		resource += "/" + s.sub
	}
	for i := range found {
		c.report(s.kind, fmt.Sprintf("rules[%d]", i), fmt.Sprintf("rule %d records %s: %s", i+1, s.what, found.verbs(i)), "",
			fmt.Sprintf("before rule %d:\n- level: Metadata\n  resources:\n  - group: %q\n    resources: [%s]", i+1, s.group, resource))
	}
}

// watches reports rules that record watches with bodies that they do not have.
func (c *checker) watches(callers []policy.Attributes, namespaces []string) {
	namespaces = append([]string{""}, namespaces...) // of all, or of a resource in none
	level, resources := map[int]policy.Level{}, map[int][]string{}
	for _, r := range c.Catalog.Resources() {
		if len(r.Verbs) > 0 && !slices.Contains(r.Verbs, "watch") {
			continue
		}
		in := namespaces
		if !r.Namespaced {
			in = namespaces[:1]
		}
		for _, caller := range callers {
			for _, ns := range in {
				a := caller
				a.Verb, a.APIGroup, a.Resource, a.Namespace = "watch", r.Group, r.Name, ns
				d := c.eval.Decide(&a)
				if d.Level < policy.Request {
					continue
				}
				level[d.Rule] = d.Level
				if name, told := r.String(), resources[d.Rule]; len(told) == 0 || told[len(told)-1] != name {
					resources[d.Rule] = append(told, name)
				}
			}
		}
	}
	for i, names := range resources {
		of := names[0]
		if len(names) > 1 {
			of = fmt.Sprintf("%s and %d more", names[0], len(names)-1)
		}
		c.report("watch-bodies", fmt.Sprintf("rules[%d]", i), fmt.Sprintf("rule %d records watches at %s (%s)", i+1, level[i], of), "",
			fmt.Sprintf("before rule %d:\n- level: Metadata\n  verbs: [watch]", i+1))
	}
}

// heartbeats reports rules that record the bodies of what kubelets send all day.
func (c *checker) heartbeats() {
	kubelet := policy.Attributes{User: "system:node:" + fresh, Groups: []string{"system:nodes", "system:authenticated"}, Name: fresh}
	found := map[int][]string{}
	ask := func(verb, group, resource, sub, ns string) {
		a := kubelet
		a.Verb, a.APIGroup, a.Resource, a.Subresource, a.Namespace = verb, group, resource, sub, ns
		if d := c.eval.Decide(&a); d.Level >= policy.Request {
			what := resource
			if sub != "" {
				what += "/" + sub
			}
			if !slices.Contains(found[d.Rule], what) {
				found[d.Rule] = append(found[d.Rule], what)
			}
		}
	}
	ask("update", "coordination.k8s.io", "leases", "", "kube-node-lease")
	ask("patch", "", "nodes", "status", "")
	for i, what := range found {
		c.report("node-heartbeats", fmt.Sprintf("rules[%d]", i), fmt.Sprintf("rule %d records node heartbeats (%s) at %s", i+1, strings.Join(what, ", "), c.policy.Rules[i].Level), "",
			fmt.Sprintf("before rule %d:\n- level: None\n  userGroups: [system:nodes]\n  verbs: [get, update, patch]\n  resources:\n  - group: coordination.k8s.io\n    resources: [leases]\n  - group: \"\"\n    resources: [nodes/status]", i+1))
	}
}
