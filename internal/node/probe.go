package node

import (
	"net/http"
	"strings"

	"github.com/ktrail/ktrail/audit/policy"
)

// probe is a request that changes nothing and leaks nothing, and what the policy
// is asked about it.
type probe struct {
	request
	attributes policy.Attributes
	text       string // for people
}

const probeName = "ktrail-verify"

// probes are requests in the order in which they are preferred: reads first.
// Writes are dry runs, or ask a question that has no effect.
func probes() []probe {
	read := func(text, path, verb, resource, namespace, name string) probe {
		return probe{
			request:    request{method: http.MethodGet, path: path},
			attributes: policy.Attributes{Resource: resource, Verb: verb, Namespace: namespace, Name: name},
			text:       text,
		}
	}
	core := "/api/v1/namespaces/kube-system/"
	all := []probe{
		read("get namespace kube-system", "/api/v1/namespaces/kube-system", "get", "namespaces", "kube-system", "kube-system"),
		read("get configmap "+probeName, core+"configmaps/"+probeName, "get", "configmaps", "kube-system", probeName),
		read("list pods", core+"pods?limit=1", "list", "pods", "kube-system", ""),
		read("list nodes", "/api/v1/nodes?limit=1", "list", "nodes", "", ""),
		{request: request{method: http.MethodGet, path: "/version"}, attributes: policy.Attributes{NonResource: true, Path: "/version", Verb: "get"}, text: "get /version"},
		{
			request: request{
				method: http.MethodPost, path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", contentType: "application/json",
				body: []byte(`{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"nonResourceAttributes":{"path":"/version","verb":"get"}}}`),
			},
			attributes: policy.Attributes{APIGroup: "authorization.k8s.io", Resource: "selfsubjectaccessreviews", Verb: "create"},
			text:       "create selfsubjectaccessreview",
		},
	}
	// Policies that record writes only, and those that name one kind.
	for _, resource := range []string{"configmaps", "secrets", "serviceaccounts", "services"} {
		object := `{"apiVersion":"v1","kind":"` + map[string]string{
			"configmaps": "ConfigMap", "secrets": "Secret", "serviceaccounts": "ServiceAccount", "services": "Service",
		}[resource] + `","metadata":{"name":"` + probeName + `"}`
		if resource == "services" {
			object += `,"spec":{"ports":[{"port":1}]}`
		}
		one := core + resource + "/" + probeName
		at := func(verb, name string) policy.Attributes {
			return policy.Attributes{Resource: resource, Verb: verb, Namespace: "kube-system", Name: name}
		}
		all = append(all,
			probe{request{method: http.MethodPost, path: core + resource + "?dryRun=All", contentType: "application/json", body: []byte(object + "}")}, at("create", ""), "create " + resource + " (dry run)"},
			probe{request{method: http.MethodPatch, path: one + "?dryRun=All", contentType: "application/merge-patch+json", body: []byte(`{}`)}, at("patch", probeName), "patch " + resource + " (dry run)"},
			probe{request{method: http.MethodDelete, path: one + "?dryRun=All"}, at("delete", probeName), "delete " + resource + " (dry run)"},
			probe{request{method: http.MethodGet, path: one}, at("get", probeName), "get " + resource},
			probe{request{method: http.MethodGet, path: core + resource + "?limit=1"}, at("list", ""), "list " + resource},
		)
	}
	return all
}

// choose is the first probe that the policy records at its end, made by this
// user: nil if there is none.
func choose(p *policy.Policy, user string, groups []string) (*probe, policy.Decision) {
	evaluator := policy.Compile(p)
	for _, pr := range probes() {
		pr.attributes.User, pr.attributes.Groups = user, groups
		d := evaluator.Decide(&pr.attributes)
		if d.Level != policy.None && !d.OmitStages.Has(policy.ResponseComplete) {
			return &pr, d
		}
	}
	return nil, policy.Decision{}
}

// mark puts a fresh marker into a request, where every event has it, at any level
// and in any format: in the audit ID, which a client may choose, and in the user agent.
func (p *probe) mark(marker string) request {
	r := p.request
	r.header = map[string]string{"Audit-ID": marker, "User-Agent": "ktrail-verify/" + marker}
	return r
}

// recordedLevel reads the level out of an event's line, "" if it has none: the
// legacy format does not.
func recordedLevel(line string) string {
	_, rest, ok := strings.Cut(line, `"level":"`)
	if !ok {
		return ""
	}
	level, _, _ := strings.Cut(rest, `"`)
	return level
}
