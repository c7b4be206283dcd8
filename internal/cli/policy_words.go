package cli

import (
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/internal/nearest"
	"github.com/ktrail/ktrail/internal/visible"
)

// asked is one request that the API server would get, and what is to know of it.
type asked struct {
	policy.Attributes
	note string
}

// step is one request of a kubectl command: a verb and the subresource it goes to.
type step struct {
	verb, sub, note string
	// of is the resource where it is not the one that the words name. A step that is
	// not wide is in the same namespace, and of no name that could be known.
	of   string
	wide bool // in all namespaces
}

// kubectlVerbs are kubectl's commands that are no verb of the API, as the requests
// that they make (kubectl 1.37).
var kubectlVerbs = map[string][]step{
	"exec":            streams("exec"),
	"attach":          streams("attach"),
	"port-forward":    streams("portforward"),
	"cp":              streams("exec"),
	"logs":            {{verb: "get", sub: "log"}},
	"log":             {{verb: "get", sub: "log"}},
	"apply":           {{verb: "get"}, {verb: "patch"}, {verb: "create", note: "if there is none yet; not with --server-side"}},
	"diff":            {{verb: "get"}, {verb: "patch", note: "a dry run"}, {verb: "create", note: "a dry run, if there is none yet"}},
	"edit":            readThen("patch", ""),
	"label":           readThen("patch", ""),
	"annotate":        readThen("patch", ""),
	"set":             readThen("patch", ""),
	"rollout":         readThen("patch", ""), // restart, pause, resume
	"rollout undo":    {{verb: "get"}, revisions, {verb: "patch"}},
	"rollout history": {{verb: "get"}, revisions},
	"rollout status":  {{verb: "get"}, {verb: "list", note: byName}, {verb: "watch", note: byName}},
	"wait":            {{verb: "get"}, {verb: "list", note: byName}, {verb: "watch", note: byName}},
	"run":             {{verb: "create"}},
	"expose":          {{verb: "get"}, {verb: "create", of: "services"}},
	"autoscale":       {{verb: "get"}, {verb: "create", of: "horizontalpodautoscalers.autoscaling"}},
	"events":          {{verb: "list"}},
	"drain": {
		{verb: "get"},
		{verb: "patch"},
		{verb: "list", of: "pods", wide: true, note: "those on the node"},
		{verb: "create", of: "pods", sub: "eviction", note: "of each pod, in its namespace"},
	},
	"can-i":    {{verb: "create"}},
	"top":      {{verb: "get"}},
	"taint":    readThen("patch", ""),
	"cordon":   readThen("patch", ""),
	"uncordon": readThen("patch", ""),
	"scale":    readThen("patch", "scale"),
	"replace":  readThen("update", ""),
	"describe": {{verb: "get"}},
	"debug":    readThen("patch", "ephemeralcontainers"),
	"evict":    {{verb: "create", sub: "eviction"}},
	"approve":  readThen("update", "approval"),
	"deny":     readThen("update", "approval"),
}

// streams are the requests of what upgrades its connection: by WebSocket, which is
// a GET, or as it was, by SPDY and POST. Since Kubernetes 1.35 the GET needs
// permission to create as well; its verb is get all the same.
func streams(sub string) []step {
	return []step{
		{verb: "get", sub: sub, note: "kubectl 1.31 and later (WebSocket)"},
		{verb: "create", sub: sub, note: "older clients (SPDY), and where a proxy forbids WebSocket"},
	}
}

func readThen(verb, sub string) []step { return []step{{verb: "get"}, {verb: verb, sub: sub}} }

// revisions are what a deployment was before.
var revisions = step{verb: "list", of: "replicasets.apps", note: "controllerrevisions.apps of daemon sets and stateful sets"}

const byName = "of one name, which a policy sees, by its field selector"

// apiVerbs are the verbs of the API that a request may have.
var apiVerbs = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "proxy"}

// permissions are verbs that RBAC knows and no request has.
var permissions = map[string]string{
	"impersonate": "it is checked beside the request that is made --as somebody",
	"bind":        "it is checked when a role is bound",
	"escalate":    "it is checked when a role is written",
	"use":         "it is checked when a pod is admitted",
}

// requests reads words such as "get secrets/db" or "exec web": what the API server
// is asked then.
func (o *policyExplainOptions) requests(args []string) ([]asked, error) {
	verb, rest := o.kubectlWords(strings.ToLower(args[0]), args[1:])
	steps := kubectlVerbs[verb]
	if steps == nil {
		if why := permissions[verb]; why != "" {
			return nil, usagef("%s is a permission, no request: %s", quote(verb), why)
		}
		if !slices.Contains(apiVerbs, verb) {
			return nil, unknown("verb", args[0], verbWords(), "it is one of "+strings.Join(apiVerbs, ", ")+", or a command of kubectl such as exec")
		}
		steps = []step{{verb: verb}}
	}
	about, err := parseSubject(rest)
	if err != nil {
		return nil, err
	}
	if o.subresource != "" {
		about.sub = o.subresource
	}
	if verb == "debug" && about.resource == "nodes" {
		steps = []step{{verb: "get"}, {verb: "create", of: "pods", note: "on the node"}}
	}
	if onPods := about.group == "" && about.resource == "pods"; podParts[steps[0].sub] && !onPods {
		// Of a deployment kubectl looks for a pod, and goes on with that.
		named := slices.Clone(steps)
		for i := range named {
			named[i].of = "pods"
		}
		steps = append([]step{{verb: "get"}, {verb: "list", of: "pods", note: "those that its selector fits"}}, named...)
	}
	var all []asked
	for _, s := range steps {
		on := about
		if s.of != "" {
			if on, err = parseSubject([]string{s.of}); err != nil {
				return nil, err
			}
		}
		r := o.request(s, on)
		if s.wide {
			r.Namespace = ""
		}
		all = append(all, r)
	}
	return all, nil
}

// podParts are the subresources that only a pod has, of those that commands go to.
var podParts = map[string]bool{"exec": true, "attach": true, "portforward": true, "log": true}

// kubectlWords puts what kubectl takes for granted into words: the verb, and the
// resource with its name.
func (o *policyExplainOptions) kubectlWords(verb string, rest []string) (string, []string) {
	second := ""
	if len(rest) > 0 {
		second = strings.ToLower(rest[0])
	}
	switch {
	case verb == "auth" && second == "can-i":
		return "can-i", []string{"selfsubjectaccessreviews.authorization.k8s.io"}
	case verb == "auth" && second == "whoami":
		return "create", []string{"selfsubjectreviews.authentication.k8s.io"}
	case verb == "certificate" && len(rest) > 1:
		verb, rest = second, rest[1:]
	case verb == "create" && second == "token" && len(rest) == 2:
		return verb, []string{"serviceaccounts/" + rest[1] + "/token"}
	case verb == "rollout" && len(rest) > 1:
		rest = rest[1:]
		if kubectlVerbs[verb+" "+second] != nil {
			verb += " " + second
		}
	case verb == "set" && len(rest) > 1: // set image deploy/web web=nginx
		rest = rest[1:2]
	case verb == "taint": // the taints have a colon, or end in a dash
		rest = slices.DeleteFunc(slices.Clone(rest), func(s string) bool { return strings.Contains(s, ":") || strings.HasSuffix(s, "-") })
	case verb == "events" && len(rest) == 0:
		return verb, []string{"events"}
	case verb == "top" && len(rest) > 0:
		kind, name, _ := strings.Cut(second, "/")
		if found := policy.BuiltIn().Resolve(kind); len(found) > 0 {
			rest = append([]string{found[0].Name + ".metrics.k8s.io"}, rest[1:]...)
			if name != "" {
				rest[0] += "/" + name
			}
		}
	case verb == "cp":
		if i := slices.IndexFunc(rest, func(s string) bool { return strings.Contains(s, ":") }); i >= 0 { // [NAMESPACE/]POD:FILE
			pod, _, _ := strings.Cut(rest[i], ":")
			if namespace, name, ok := strings.Cut(pod, "/"); ok {
				o.namespace, pod = namespace, name
			}
			rest = []string{pod}
		}
	}
	if (verb == "exec" || verb == "port-forward") && len(rest) > 0 {
		rest = rest[:1] // the others are the command, or ports
	}
	granted := ""
	switch verb {
	case "exec", "attach", "port-forward", "cp", "logs", "log", "debug", "evict", "run":
		granted = "pods/"
	case "taint", "cordon", "uncordon", "drain":
		granted = "nodes/"
	case "approve", "deny":
		granted = "certificatesigningrequests/"
	}
	if granted != "" && len(rest) > 0 && !strings.Contains(rest[0], "/") && len(rest) == 1 {
		rest = []string{granted + rest[0]}
	}
	return verb, rest
}

func verbWords() []string {
	words := slices.Clone(apiVerbs)
	for w := range kubectlVerbs {
		words = append(words, w)
	}
	slices.Sort(words)
	return words
}

// subject is what a request is about.
type subject struct {
	group, resource, sub, name string
	clusterWide                bool
}

// parseSubject reads pods, pods/web, pods/web/log, pods/log, "pods web" and deploy.apps/web.
func parseSubject(args []string) (subject, error) {
	if len(args) == 0 || args[0] == "" {
		return subject{}, usagef("name a resource, such as secrets/db or pods")
	}
	var parts []string
	for _, a := range args {
		parts = append(parts, strings.Split(a, "/")...)
	}
	if len(parts) > 3 || len(args) > 2 || slices.Contains(parts, "") {
		return subject{}, usagef("resource %s is not understood; write secrets/db, deployments.apps/web or pods/web/log", quote(strings.Join(args, " ")))
	}
	catalog := policy.BuiltIn()
	t := subject{}
	found := catalog.Resolve(parts[0])
	if len(found) == 0 {
		resource, group, grouped := strings.Cut(strings.ToLower(parts[0]), ".")
		if !grouped {
			var words []string
			for _, r := range catalog.Resources() {
				words = append(words, r.Name)
			}
			if near := nearest.Name(resource, words); near != "" {
				return subject{}, usagef("unknown resource %s: did you mean %s? A custom resource needs its group: %s.example.com", quote(parts[0]), near, visible.Line(resource))
			}
			return subject{}, usagef("unknown resource %s: of a custom resource write the plural and the group, %s.example.com", quote(parts[0]), visible.Line(resource))
		}
		t.group, t.resource = group, resource
	} else {
		r := preferred(found)
		t.group, t.resource, t.clusterWide = r.Group, r.Name, !r.Namespaced
		if len(parts) == 2 && len(args) == 1 && r.Sub(parts[1]) != nil {
			// pods/log, as a policy writes it
			t.sub, parts = parts[1], parts[:1]
		}
	}
	if len(parts) > 1 {
		t.name = parts[1]
	}
	if len(parts) > 2 {
		t.sub = parts[2]
	}
	return t, nil
}

// preferred is the resource that kubectl takes where several have a name: the core
// group's, else the first, metrics only if there is nothing else.
func preferred(found []policy.Resource) policy.Resource {
	for _, r := range found {
		if r.Group == "" {
			return r
		}
	}
	for _, r := range found {
		if r.Group != "metrics.k8s.io" {
			return r
		}
	}
	return found[0]
}

// request is what the API server makes of one step.
func (o *policyExplainOptions) request(s step, t subject) asked {
	a := asked{Attributes: o.who(), note: s.note}
	a.Verb, a.APIGroup, a.Resource, a.Subresource, a.Name = s.verb, t.group, t.resource, t.sub, t.name
	if s.sub != "" {
		a.Subresource = s.sub
	}
	if !t.clusterWide && !o.allNamespaces {
		a.Namespace = o.namespace
	}
	if t.group == "" && t.resource == "namespaces" && (a.Verb != "create" || a.Subresource != "") {
		a.Namespace = t.name // its own, to the API server
	}
	switch {
	case a.Verb == "get" && o.watch && a.Subresource == "":
		a.Verb = "watch"
	case a.Name == "" && a.Subresource == "" && a.Verb == "get":
		a.Verb = "list"
	case a.Name == "" && a.Subresource == "" && a.Verb == "delete":
		a.Verb, a.note = "deletecollection", "a delete without a name; kubectl --all lists and deletes one by one"
	case a.Verb == "create" && a.Subresource == "" && a.Name != "":
		a.Name, a.note = "", strings.TrimPrefix(a.note+"; ", "; ")+"the URL of a create has no name, so resourceNames cannot match"
	}
	if o.verb != "" {
		a.Verb = strings.ToLower(o.verb)
	}
	return a
}

// who is who asks: the original user with the groups that the API server adds.
func (o *policyExplainOptions) who() policy.Attributes {
	a := policy.Attributes{User: o.as, Groups: slices.Clone(o.groups)}
	add := func(g string) {
		if !slices.Contains(a.Groups, g) {
			a.Groups = append(a.Groups, g)
		}
	}
	if o.as == "system:anonymous" {
		add("system:unauthenticated")
		return a
	}
	if rest, ok := strings.CutPrefix(o.as, "system:serviceaccount:"); ok {
		if namespace, _, ok := strings.Cut(rest, ":"); ok {
			add("system:serviceaccounts")
			add("system:serviceaccounts:" + namespace)
		}
	}
	if strings.HasPrefix(o.as, "system:node:") {
		add("system:nodes")
	}
	add("system:authenticated")
	return a
}
