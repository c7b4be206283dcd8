package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/internal/nearest"
)

// near is the candidate that somebody meant, whatever the case; otherwise "".
func near(name string, candidates []string, otherwise string) string {
	for _, c := range candidates {
		if strings.EqualFold(c, name) {
			return c
		}
	}
	if n := nearest.Name(name, candidates); n != "" {
		return n
	}
	return otherwise
}

// didYouMean is a suggestion to put behind a message.
func didYouMean(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", name)
}

// Identities of Kubernetes' own. Those of serviceaccounts and nodes have the
// account's or the node's name behind a colon.
var (
	knownUsers = []string{
		"system:anonymous", "system:apiserver", "system:kube-proxy", "system:kube-scheduler", "system:kube-controller-manager",
		"system:cloud-controller-manager", "system:volume-scheduler", "system:konnectivity-server", "system:node-problem-detector", "system:aggregator",
	}
	knownGroups = []string{
		"system:masters", "system:nodes", "system:authenticated", "system:unauthenticated", "system:serviceaccounts",
		"system:bootstrappers", "system:monitoring", "system:node-proxier", "kubeadm:cluster-admins",
	}
)

const (
	saUser  = "system:serviceaccount:"
	saGroup = "system:serviceaccounts:"
)

func isGroup(name string) bool {
	return slices.Contains(knownGroups, name) || strings.HasPrefix(name, saGroup) || strings.HasPrefix(name, "system:bootstrappers:")
}

func isUser(name string) bool {
	return slices.Contains(knownUsers, name) || strings.HasPrefix(name, saUser) || strings.HasPrefix(name, "system:node:")
}

// identities checks who a rule is about.
func (c *checker) identities(i int) {
	r := &c.policy.Rules[i]
	for k, user := range r.Users {
		at := fmt.Sprintf("rules[%d].users[%d]", i, k)
		switch parts := strings.Split(user, ":"); {
		case strings.Contains(user, "*"):
			fix := "take users out to match everybody"
			if strings.HasPrefix(user, saUser) {
				fix = "userGroups: [\"" + strings.TrimRight(saGroup+strings.TrimRight(strings.TrimPrefix(user, saUser), "*"), ":") + `"]`
			} else if strings.HasPrefix(user, "system:node:") {
				fix = `userGroups: ["system:nodes"]`
			}
			c.star(at, i, "users", user, fix)
		case isGroup(user):
			c.report("group-in-users", at, fmt.Sprintf("rule %d: %q is a group, not a user", i+1, user), "", fmt.Sprintf("userGroups: [%q]", user))
		case strings.HasPrefix(user, saUser) && (len(parts) != 4 || parts[2] == "" || parts[3] == ""):
			c.report("unknown-identity", at, fmt.Sprintf("rule %d: %q is no service account: it is written system:serviceaccount:NAMESPACE:NAME", i+1, user), "", "")
		case strings.HasPrefix(user, "serviceaccount:"):
			c.report("unknown-identity", at, fmt.Sprintf("rule %d: %q is no service account: it is written system:serviceaccount:NAMESPACE:NAME", i+1, user), "", fmt.Sprintf("%q", "system:"+user))
		case user == "system:unsecured":
			c.report("unknown-identity", at, fmt.Sprintf("rule %d: system:unsecured, the user of the insecure port, is gone since Kubernetes 1.24", i+1),
				"The insecure port was removed; no request has this user.", "take it out")
			c.as(finding.Note)
		case strings.HasPrefix(user, "system:") && !isUser(user):
			if want := nearest.Name(user, knownUsers); want != "" {
				c.report("unknown-identity", at, fmt.Sprintf("rule %d: Kubernetes has no user %q%s", i+1, user, didYouMean(want)), "", fmt.Sprintf("%q", want))
			} else if want := nearest.Name(user, knownGroups); want != "" {
				c.report("unknown-identity", at, fmt.Sprintf("rule %d: Kubernetes has no user %q; there is a group %q", i+1, user, want), "", fmt.Sprintf("userGroups: [%q]", want))
			}
		}
	}
	for k, group := range r.UserGroups {
		at := fmt.Sprintf("rules[%d].userGroups[%d]", i, k)
		switch {
		case strings.Contains(group, "*"):
			fix := "take userGroups out to match everybody"
			if strings.HasPrefix(group, "system:serviceaccounts") {
				fix = `"system:serviceaccounts" is the group of all of them`
			}
			c.star(at, i, "userGroups", group, fix)
		case isUser(group):
			c.report("user-in-groups", at, fmt.Sprintf("rule %d: %q is a user, not a group", i+1, group), "", fmt.Sprintf("users: [%q]", group))
		case strings.HasPrefix(group, "system:") && !isGroup(group):
			if want := nearest.Name(group, knownGroups); want != "" {
				c.report("unknown-identity", at, fmt.Sprintf("rule %d: Kubernetes has no group %q%s", i+1, group, didYouMean(want)), "", fmt.Sprintf("%q", want))
			}
		}
	}
	for k, ns := range r.Namespaces {
		if strings.Contains(ns, "*") {
			c.star(fmt.Sprintf("rules[%d].namespaces[%d]", i, k), i, "namespaces", ns, "take namespaces out to match all, or list them")
		}
	}
}

// star reports a * that is no wildcard.
func (c *checker) star(at string, i int, field, value, fix string) {
	c.report("wildcard-ignored", at, fmt.Sprintf("rule %d: %q in %s is no wildcard and matches nothing", i+1, value, field), "", fix)
}

// The verbs that requests have.
var (
	resourceVerbs = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
	httpVerbs     = []string{"get", "head", "post", "put", "patch", "delete", "options", "connect", "trace"}
)

// otherVerbs are verbs of kubectl and of RBAC, and what requests have instead.
var otherVerbs = map[string]string{
	"exec": `verbs: ["get", "create"] with resources: ["pods/exec"]`, "cp": `verbs: ["get", "create"] with resources: ["pods/exec"]`,
	"attach": `verbs: ["get", "create"] with resources: ["pods/attach"]`, "portforward": `verbs: ["get", "create"] with resources: ["pods/portforward"]`,
	"port-forward": `verbs: ["get", "create"] with resources: ["pods/portforward"]`, "debug": `verbs: ["patch"] with resources: ["pods/ephemeralcontainers"]`,
	"log": `verbs: ["get"] with resources: ["pods/log"]`, "logs": `verbs: ["get"] with resources: ["pods/log"]`,
	"proxy": `resources: ["pods/proxy", "services/proxy", "nodes/proxy"] without verbs`, "apply": `verbs: ["create", "patch"]`, "edit": `verbs: ["patch"]`,
	"replace": `verbs: ["update"]`, "label": `verbs: ["patch"]`, "annotate": `verbs: ["patch"]`, "set": `verbs: ["patch"]`, "rollout": `verbs: ["patch"]`, "modify": `verbs: ["update", "patch"]`,
	"scale": `verbs: ["update", "patch"] with resources: ["deployments/scale"]`, "autoscale": `verbs: ["create"]`, "expose": `verbs: ["create"]`, "run": `verbs: ["create"]`,
	"describe": `verbs: ["get", "list"]`, "read": `verbs: ["get", "list", "watch"]`, "write": `verbs: ["create", "update", "patch", "delete", "deletecollection"]`, "remove": `verbs: ["delete", "deletecollection"]`,
	"drain": `verbs: ["create"] with resources: ["pods/eviction"]`, "evict": `verbs: ["create"] with resources: ["pods/eviction"]`, "cordon": `verbs: ["patch"] with resources: ["nodes"]`, "uncordon": `verbs: ["patch"] with resources: ["nodes"]`, "taint": `verbs: ["patch"] with resources: ["nodes"]`,
	"top": `group: metrics.k8s.io`, "auth": `group: authorization.k8s.io`, "deletecollections": `verbs: ["deletecollection"]`,
	"post": `verbs: ["create"]`, "put": `verbs: ["update"]`, "head": `verbs: ["get"]`,
	"login": "", "impersonate": "", "use": "", "bind": "", "escalate": "", "approve": "", "sign": "", "attest": "",
}

var rbacVerbs = []string{"impersonate", "use", "bind", "escalate", "approve", "sign", "attest"}

// verbs checks what requests a rule asks for.
func (c *checker) verbs(i int) {
	r := &c.policy.Rules[i]
	onResources := len(r.Resources) > 0 || len(r.Namespaces) > 0
	for k, verb := range r.Verbs {
		at := fmt.Sprintf("rules[%d].verbs[%d]", i, k)
		if strings.Contains(verb, "*") {
			c.star(at, i, "verbs", verb, "take verbs out to match every verb")
			continue
		}
		isResource, isHTTP := slices.Contains(resourceVerbs, verb), slices.Contains(httpVerbs, verb)
		switch {
		case onResources && isHTTP && !isResource:
			c.report("mixed-verb", at, fmt.Sprintf("rule %d: no request for a resource has the verb %q", i+1, verb), "", otherVerbs[verb])
		case len(r.NonResourceURLs) > 0 && isResource && !isHTTP:
			fix := map[string]string{"create": `verbs: ["post"]`, "update": `verbs: ["put"]`, "list": `verbs: ["get"]`, "watch": `verbs: ["get"]`, "deletecollection": `verbs: ["delete"]`}[verb]
			c.report("mixed-verb", at, fmt.Sprintf("rule %d: no request for a non-resource URL has the verb %q", i+1, verb), "", fix)
		case isResource || isHTTP:
		default:
			c.unknownVerb(at, i, verb)
		}
	}
}

func (c *checker) unknownVerb(at string, i int, verb string) {
	lower := strings.ToLower(verb)
	if slices.Contains(rbacVerbs, lower) {
		c.report("unknown-verb", at, fmt.Sprintf("rule %d: %q is a verb of RBAC; no request has it", i+1, verb),
			"RBAC asks for it in addition, in the midst of a request that has another verb and is recorded under that. Who impersonates stands in impersonatedUser of each event.", "take it out")
		return
	}
	if slices.Contains(resourceVerbs, lower) {
		c.report("unknown-verb", at, fmt.Sprintf("rule %d: verbs are in lower case: no request has the verb %q", i+1, verb), "", fmt.Sprintf("%q", lower))
		return
	}
	if instead, ok := otherVerbs[lower]; ok {
		c.report("unknown-verb", at, fmt.Sprintf("rule %d: no request has the verb %q", i+1, verb),
			"kubectl's commands are not verbs of the API. Verbs are compared letter by letter: "+strings.Join(resourceVerbs, ", ")+", and HTTP methods in lower case.", instead)
		return
	}
	want := nearest.Name(lower, resourceVerbs)
	fix := ""
	if want != "" {
		fix = fmt.Sprintf("%q", want)
	}
	c.report("unknown-verb", at, fmt.Sprintf("rule %d: no request has the verb %q%s", i+1, verb, didYouMean(want)), "", fix)
}

// urls checks paths that can only be resources.
func (c *checker) urls(i int) {
	for k, spec := range c.policy.Rules[i].NonResourceURLs {
		if why := deadURL(spec); why != "" {
			c.report("url-never-matches", fmt.Sprintf("rules[%d].nonResourceURLs[%d]", i, k), fmt.Sprintf("rule %d: %q %s", i+1, spec, why), "", "")
		}
	}
}

// deadURL says why no non-resource request has a path that spec matches, "" if
// one may. k8s.io/apiserver/pkg/endpoints/request/requestinfo.go tells resources
// by the number of parts: /api/v1/X, /apis/GROUP/VERSION/X.
func deadURL(spec string) string {
	path := strings.TrimRight(spec, "*")
	if strings.ContainsAny(path, "?#") {
		return "has a query: the path is compared without it"
	}
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if len(parts) > 2 && parts[0] == "api" || len(parts) > 3 && parts[0] == "apis" {
		return "is the path of a resource: write resources, and namespaces where they matter"
	}
	return ""
}

// duplicates reports values that stand twice.
func (c *checker) duplicates(i int) {
	r := &c.policy.Rules[i]
	at := fmt.Sprintf("rules[%d].", i)
	c.twice(i, at+"users", r.Users)
	c.twice(i, at+"userGroups", r.UserGroups)
	c.twice(i, at+"verbs", r.Verbs)
	c.twice(i, at+"namespaces", r.Namespaces)
	c.twice(i, at+"nonResourceURLs", r.NonResourceURLs)
	for k, gr := range r.Resources {
		c.twice(i, fmt.Sprintf("%sresources[%d].resources", at, k), gr.Resources)
		c.twice(i, fmt.Sprintf("%sresources[%d].resourceNames", at, k), gr.ResourceNames)
	}
}

func (c *checker) twice(i int, field string, values []string) {
	seen := map[string]bool{}
	for k, v := range values {
		if seen[v] {
			c.report("duplicate-value", fmt.Sprintf("%s[%d]", field, k), fmt.Sprintf("rule %d: %q stands twice in %s", i+1, v, field[strings.LastIndexByte(field, '.')+1:]), "", "take the second one out")
		}
		seen[v] = true
	}
}
