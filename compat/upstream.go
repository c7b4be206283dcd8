package compat

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/ktrail/ktrail/audit/policy"
)

// ToUpstream is p in the API server's types.
func ToUpstream(p *policy.Policy) *auditinternal.Policy {
	up := &auditinternal.Policy{OmitStages: ToStages(p.OmitStages), OmitManagedFields: p.OmitManagedFields}
	up.Name = p.Name
	for i := range p.Rules {
		r := &p.Rules[i]
		ur := auditinternal.PolicyRule{
			Level: auditinternal.Level(r.Level.String()), Users: r.Users, UserGroups: r.UserGroups, Verbs: r.Verbs,
			Namespaces: r.Namespaces, NonResourceURLs: r.NonResourceURLs, OmitStages: ToStages(r.OmitStages), OmitManagedFields: r.OmitManagedFields,
		}
		for _, gr := range r.Resources {
			ur.Resources = append(ur.Resources, auditinternal.GroupResources{Group: gr.Group, Resources: gr.Resources, ResourceNames: gr.ResourceNames})
		}
		up.Rules = append(up.Rules, ur)
	}
	return up
}

// ToStages is a set in the API server's types.
func ToStages(s policy.Stages) []auditinternal.Stage {
	var list []auditinternal.Stage
	for _, n := range s.Names() {
		list = append(list, auditinternal.Stage(n))
	}
	return list
}

// FromUpstream is a policy in our types, as it is, whether valid or not: what has no
// value in our types is an error.
func FromUpstream(up *auditinternal.Policy) (*policy.Policy, error) {
	p := &policy.Policy{Name: up.Name, OmitManagedFields: up.OmitManagedFields}
	var err error
	if p.OmitStages, err = FromStages(up.OmitStages); err != nil {
		return nil, err
	}
	for i := range up.Rules {
		ur := &up.Rules[i]
		r := policy.Rule{Users: ur.Users, UserGroups: ur.UserGroups, Verbs: ur.Verbs, Namespaces: ur.Namespaces, NonResourceURLs: ur.NonResourceURLs, OmitManagedFields: ur.OmitManagedFields}
		if r.Level, err = policy.ParseLevel(string(ur.Level)); err != nil {
			return nil, err
		}
		if r.OmitStages, err = FromStages(ur.OmitStages); err != nil {
			return nil, err
		}
		if ur.Resources != nil {
			r.Resources = []policy.GroupResources{}
		}
		for _, gr := range ur.Resources {
			r.Resources = append(r.Resources, policy.GroupResources{Group: gr.Group, Resources: gr.Resources, ResourceNames: gr.ResourceNames})
		}
		p.Rules = append(p.Rules, r)
	}
	return p, nil
}

// FromStages is the set of a list.
func FromStages(list []auditinternal.Stage) (all policy.Stages, err error) {
	for _, s := range list {
		one, err := policy.ParseStage(string(s))
		if err != nil {
			return 0, err
		}
		all |= one
	}
	return all, nil
}

// SameStages is whether a set and a list hold the same.
func SameStages(s policy.Stages, list []auditinternal.Stage) bool {
	return sets.New(ToStages(s)...).Equal(sets.New(list...))
}

// Attributes are a request in the API server's types.
func Attributes(a *policy.Attributes) authorizer.Attributes {
	r := authorizer.AttributesRecord{
		Verb: a.Verb, Namespace: a.Namespace, APIGroup: a.APIGroup, Resource: a.Resource, Subresource: a.Subresource,
		Name: a.Name, ResourceRequest: !a.NonResource, Path: a.Path,
	}
	if !a.NoUser {
		r.User = &user.DefaultInfo{Name: a.User, Groups: a.Groups}
	}
	return &r
}

// FromAttributes are a request in our types.
func FromAttributes(u authorizer.Attributes) *policy.Attributes {
	a := &policy.Attributes{
		Verb: u.GetVerb(), Namespace: u.GetNamespace(), APIGroup: u.GetAPIGroup(), Resource: u.GetResource(), Subresource: u.GetSubresource(),
		Name: u.GetName(), NonResource: !u.IsResourceRequest(), Path: u.GetPath(), NoUser: u.GetUser() == nil,
	}
	if who := u.GetUser(); who != nil {
		a.User, a.Groups = who.GetName(), slices.Clone(who.GetGroups())
	}
	return a
}

// KubernetesVersion is the release whose scripts are read.
const KubernetesVersion = "v1.37.2"

// GCEPolicy is the policy that Kubernetes' own script for GCE writes: the script's
// function is run, out of the module cache.
func GCEPolicy() ([]byte, error) {
	dir, err := moduleDir("k8s.io/kubernetes@" + KubernetesVersion)
	if err != nil {
		return nil, err
	}
	script, err := os.ReadFile(filepath.Join(dir, "cluster", "gce", "gci", "configure-helper.sh"))
	if err != nil {
		return nil, err
	}
	function := regexp.MustCompile(`(?ms)^function create-master-audit-policy \{$.*?^\}$`).Find(script)
	if function == nil {
		return nil, fmt.Errorf("configure-helper.sh of %s has no function create-master-audit-policy", KubernetesVersion)
	}
	return exec.Command("bash", "-euc", string(function)+"\ncreate-master-audit-policy /dev/stdout").Output()
}

// moduleDir is where the module cache has a module; it is fetched if it has not.
func moduleDir(module string) (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", module).Output()
	var found struct{ Dir, Error string }
	if bad := json.Unmarshal(out, &found); bad == nil && found.Error != "" {
		return "", fmt.Errorf("download %s: %s", module, found.Error)
	} else if err != nil {
		return "", fmt.Errorf("download %s: %w", module, err)
	} else if bad != nil {
		return "", fmt.Errorf("download %s: %w", module, bad)
	}
	return found.Dir, nil
}
