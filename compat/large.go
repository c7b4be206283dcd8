package compat

import (
	"fmt"

	"github.com/ktrail/ktrail/audit/policy"
)

// LargePolicy is a policy of n rules as large clusters grow them: for each team a
// few rules about its own users, groups, namespaces and kinds, and one rule for
// everything at the end; and 2,000 requests that meet its rules evenly.
func LargePolicy(n int) (*policy.Policy, []*policy.Attributes) {
	p := &policy.Policy{}
	var meets []policy.Attributes
	for i := range n - 1 {
		team := fmt.Sprintf("team-%d", i/6)
		namespace, group := team+"-prod", team+".example.com"
		robot := "system:serviceaccount:" + namespace + ":controller"
		r := policy.Rule{Level: policy.Level(i % 4), OmitStages: policy.RequestReceived}
		a := policy.Attributes{User: "alice", Groups: []string{"developers", "system:authenticated"}, Verb: "get", Namespace: namespace, Resource: "pods", Name: "web-1"}
		switch i % 6 {
		case 0:
			r.Users, r.Verbs, r.Resources = []string{robot}, []string{"get", "list", "watch"}, []policy.GroupResources{{Resources: []string{"endpoints", "services", "services/status"}}}
			a.User, a.Groups, a.Resource, a.Verb = robot, []string{"system:serviceaccounts", "system:authenticated"}, "services", "watch"
		case 1:
			r.UserGroups, r.Verbs, r.Resources = []string{team + "-admins"}, []string{"create", "delete"}, []policy.GroupResources{{Group: "apps"}, {Group: "batch"}}
			a.Groups, a.Verb, a.APIGroup, a.Resource = []string{team + "-admins", "system:authenticated"}, "delete", "batch", "jobs"
		case 2:
			r.Namespaces, r.Resources = []string{namespace}, []policy.GroupResources{{Resources: []string{"secrets", "configmaps", "serviceaccounts/token"}}}
			a.Resource = "secrets"
		case 3:
			r.Resources = []policy.GroupResources{{Group: group, Resources: []string{"widgets", "widgets/status"}}}
			a.APIGroup, a.Resource, a.Subresource, a.Verb = group, "widgets", "status", "patch"
		case 4:
			r.Verbs, r.Namespaces = []string{"update", "patch"}, []string{namespace, team + "-test"}
			a.Verb, a.Namespace = "update", team+"-test"
		default:
			r.NonResourceURLs = []string{"/" + team + "/healthz*", "/" + team + "/metrics"}
			a.NonResource, a.Path = true, "/"+team+"/healthz/ping"
		}
		p.Rules = append(p.Rules, r)
		meets = append(meets, a)
	}
	p.Rules = append(p.Rules, policy.Rule{Level: policy.Metadata})
	requests := make([]*policy.Attributes, 2000)
	for i := range requests {
		a := meets[i*7919%len(meets)]
		requests[i] = &a
	}
	return p, requests
}
