package simulate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit/policy"
)

// principal is somebody whose requests may be taken together in one rule.
type principal struct {
	name   string // for the title
	users  []string
	groups []string
}

func (p *principal) has(c *cell) bool {
	if slices.Contains(p.users, c.user) {
		return true
	}
	return slices.ContainsFunc(groupsOf(c.groups), func(g string) bool { return slices.Contains(p.groups, g) })
}

// controlPlane are the users of the control plane's own programs
// (kubeadm and https://kubernetes.io/docs/reference/access-authn-authz/rbac/#core-component-roles).
var controlPlane = []string{"system:apiserver", "system:cloud-controller-manager", "system:kube-controller-manager", "system:kube-scheduler"}

// A 401 has no user and no group, so that no rule with one of these hides it.
var (
	anybody  = []string{"system:authenticated", "system:unauthenticated"}
	loggedIn = []string{"system:authenticated"}
)

// refusals is what every rule that drops requests gives up beside them: the log can
// tell only of those that were.
const refusals = "; such a request that is refused (403) from now on is dropped unseen too, a failed login (401) is not"

// service is what the name of a service account begins with.
const service = "system:serviceaccount:"

// principals are those that the log knows: the parts of the cluster itself, and the
// service accounts that read most.
func (g *greedy) principals() []principal {
	all := []principal{
		{name: "nodes", groups: []string{"system:nodes"}},
		{name: "the control plane", users: controlPlane},
		{name: "service accounts in kube-system", groups: []string{"system:serviceaccounts:kube-system"}},
	}
	reads := map[string]int64{}
	for _, c := range g.cells {
		if c.folded == 0 && strings.HasPrefix(c.user, service) && !strings.HasPrefix(c.user, service+"kube-system:") && isRead(c.verb) {
			reads[c.user] += c.now.sum()
		}
	}
	names := make([]string, 0, len(reads))
	for name := range reads {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(reads[b], reads[a]), cmp.Compare(a, b)) })
	const most = 5
	for _, name := range names[:min(len(names), most)] {
		all = append(all, principal{name: strings.TrimPrefix(name, service), users: []string{name}})
	}
	return all
}

func isRead(verb string) bool { return verb == "get" || verb == "list" || verb == "watch" }

// candidates are all changes worth trying. A rule is a narrower copy of the one before
// which it goes, so that it takes over nothing but requests of that one.
func (g *greedy) candidates() []candidate {
	all := []candidate{
		{Suggestion: Suggestion{
			Name: "omit-request-received", Title: "Record each request once, when it is answered",
			YAML:    "omitStages:\n  - RequestReceived\n",
			GivesUp: "the event at the start of each request; a request during which the API server dies leaves no trace, and blocking-strict mode no longer refuses requests that cannot be recorded",
			change:  change{omitStages: policy.RequestReceived},
		}},
		{Suggestion: Suggestion{
			Name: "omit-managed-fields", Title: "Leave managedFields out of bodies",
			YAML:    "omitManagedFields: true\n",
			GivesUp: "which program set which field of an object",
			change:  change{omitManaged: true},
		}},
	}
	if g.policy != nil {
		omit := g.policy.OmitStages | policy.RequestReceived
		all[0].YAML = listYAML("", "omitStages", omit.Names())
	}
	of := map[int][]int{} // cells by rule
	for i, c := range g.cells {
		if c.folded == 0 {
			of[int(c.rule)] = append(of[int(c.rule)], i)
		}
	}
	rules := make([]int, 0, len(of))
	for r := range of {
		rules = append(rules, r)
	}
	slices.Sort(rules)
	for _, r := range rules {
		own := g.rule(r)
		for _, i := range g.ideas(of[r], own.Level) {
			narrow, ok := narrowed(i.rule, own)
			if !ok {
				continue
			}
			if narrow.Level == policy.None {
				i.givesUp += refusals
			}
			s := Suggestion{Name: i.name, Title: i.title, GivesUp: i.givesUp, YAML: ruleYAML(i.title, &narrow), change: change{before: max(r, 0)}}
			// What is checked is what will be pasted, whatever names are in it.
			p, err := policy.Load([]byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n" + s.YAML))
			if err != nil {
				continue
			}
			s.change.rule = &p.Rules[0]
			if c := (candidate{s, g.matching(of[r], s.change.rule)}); len(c.cells) > 0 {
				all = append(all, c)
			}
		}
	}
	return all
}

// matching are the cells that a rule matches, their namespaces and names aside: those
// it has from the rule that matched them.
func (g *greedy) matching(cells []int, r *policy.Rule) []int {
	loose := *r
	loose.Namespaces, loose.Resources = nil, slices.Clone(r.Resources)
	for i := range loose.Resources {
		loose.Resources[i].ResourceNames = nil
	}
	if len(r.Namespaces) > 0 && len(loose.Resources) == 0 {
		loose.Resources = nil
	}
	e := policy.Compile(&policy.Policy{Rules: []policy.Rule{loose}})
	var out []int
	for _, i := range cells {
		a := g.cells[i].attributes()
		if e.Decide(&a).Rule == 0 && !(len(r.Namespaces) > 0 && a.NonResource) {
			out = append(out, i)
		}
	}
	return out
}

// idea is what might be done about some requests of a rule.
type idea struct {
	name, title, givesUp string
	rule                 policy.Rule
}

var writes = []string{"create", "update", "patch", "delete", "deletecollection"}

// ideas are those for a rule of that level, whose cells these are.
func (g *greedy) ideas(cells []int, level policy.Level) []idea {
	watched := level
	if g.policy == nil {
		watched = policy.Metadata // a watch has no bodies, and nobody knows where the rule will stand
	}
	all := []idea{
		{
			"drop-probes", "Leave out health probes", "who asks whether the API server is well",
			policy.Rule{UserGroups: anybody, Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz*", "/livez*", "/readyz*"}},
		},
		{
			"drop-discovery", "Leave out discovery", "who asks which APIs there are, as every client does when it starts",
			policy.Rule{UserGroups: loggedIn, Verbs: []string{"get"}, NonResourceURLs: []string{"/api", "/api/*", "/apis", "/apis/*", "/openapi/*", "/version", "/version/"}},
		},
		{
			"drop-metrics", "Leave out scrapes of the metrics", "who reads the API server's metrics",
			policy.Rule{UserGroups: loggedIn, Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics", "/metrics/*"}},
		},
		{
			"omit-watch-started", "Record a watch once, when it ends", "the event at the start of a watch; its end has both times",
			policy.Rule{Level: watched, UserGroups: loggedIn, Verbs: []string{"watch"}, OmitStages: policy.ResponseStarted},
		},
		{
			"omit-reads-received", "Record each read once, when it is answered", "the event at the start of each read",
			policy.Rule{Level: level, Verbs: []string{"get", "list", "watch"}, OmitStages: policy.RequestReceived},
		},
	}
	if level == policy.RequestResponse {
		all = append(all, idea{
			"writes-request", "Record writes with what was sent, not with the result",
			"the object as it was stored, with defaults; of a patch only the patch stays",
			policy.Rule{Level: policy.Request, Verbs: writes},
		})
	}
	if level > policy.Metadata {
		all = append(all,
			idea{
				"reads-metadata", "Record reads without what was read",
				"the answers to get and list; who read what, and when, stays",
				policy.Rule{Level: policy.Metadata, Verbs: []string{"get", "list"}},
			},
			idea{
				"secrets-metadata", "Record secrets and config maps without their contents",
				"what is in them, which the log should not hold; who read or wrote them stays",
				policy.Rule{Level: policy.Metadata, Resources: []policy.GroupResources{{Resources: []string{"secrets", "configmaps", "serviceaccounts/token"}}}},
			})
	}
	for _, p := range g.principals() {
		if resources, verbs := g.worth(cells, &p, harmlessRead); len(resources) > 0 {
			all = append(all, idea{
				"drop-system-reads", "Leave out reads by " + p.name,
				"reads of " + listed(resources) + " by " + p.name + ": whoever steals such an identity reads these unseen",
				policy.Rule{Users: p.users, UserGroups: p.groups, Verbs: verbs, Resources: resources},
			})
		}
		if level == policy.Metadata {
			continue
		}
		if resources, verbs := g.worth(cells, &p, housekeeping); len(resources) > 0 {
			all = append(all, idea{
				"system-writes-metadata", "Record housekeeping by " + p.name + " without bodies",
				"what " + p.name + " wrote to " + listed(resources) + "; that it did, and when, stays",
				policy.Rule{Level: policy.Metadata, Users: p.users, UserGroups: p.groups, Verbs: verbs, Resources: resources},
			})
		}
	}
	return all
}

// harmlessRead is a request that may be left out. Whoever asks for a resource named "*",
// which there is none of, wants a rule made of it that hides all others.
func harmlessRead(c *cell) bool {
	a := c.attributes()
	return isRead(c.verb) && !strings.Contains(c.group+c.resource+c.subresource, "*") && !sensitive(&a) && !changes(&a) && c.subresource != "log"
}

// housekeeping is a write that says again what is known: heartbeats, elections,
// events, states, reviews. Its body is not worth its bytes.
func housekeeping(c *cell) bool {
	if c.verb != "create" && c.verb != "update" && c.verb != "patch" {
		return false
	}
	switch c.resource {
	case "leases", "events", "endpoints", "endpointslices", "tokenreviews", "subjectaccessreviews":
		return true
	}
	return c.subresource == "status"
}

// worth lists the resources, and the verbs on them, that make a difference among those
// of p's requests that fit. A resource with a refusal in the log is left alone: a policy
// cannot tell it from the others.
func (g *greedy) worth(cells []int, p *principal, fits func(*cell) bool) ([]policy.GroupResources, []string) {
	type resource struct{ group, name string }
	type worth struct {
		bytes  int64
		denied bool
		verbs  []string
	}
	by := map[resource]*worth{}
	for _, i := range cells {
		c := g.cells[i]
		if c.folded > 0 || c.resource == "" || !fits(c) || !p.has(c) {
			continue
		}
		r := resource{c.group, c.resource}
		if c.subresource != "" {
			r.name += "/" + c.subresource
		}
		if by[r] == nil {
			by[r] = &worth{}
		}
		w := by[r]
		w.bytes += c.now.sum()
		w.denied = w.denied || c.denied > 0 && isRead(c.verb)
		if !slices.Contains(w.verbs, c.verb) {
			w.verbs = append(w.verbs, c.verb)
		}
	}
	var names []resource
	for r, w := range by {
		if !w.denied && float64(w.bytes) >= least/2*float64(g.total) {
			names = append(names, r)
		}
	}
	slices.SortFunc(names, func(a, b resource) int { return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.name, b.name)) })
	var (
		out   []policy.GroupResources
		verbs []string
	)
	for _, r := range names {
		if n := len(out); n == 0 || out[n-1].Group != r.group {
			out = append(out, policy.GroupResources{Group: r.group})
		}
		last := &out[len(out)-1]
		last.Resources = append(last.Resources, r.name)
		verbs = append(verbs, by[r].verbs...)
	}
	slices.Sort(verbs)
	return out, slices.Compact(verbs)
}

func listed(resources []policy.GroupResources) string {
	var names []string
	for _, gr := range resources {
		names = append(names, gr.Resources...)
	}
	if n := len(names); n > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:4], ", "), n-4)
	}
	return strings.Join(names, ", ")
}
