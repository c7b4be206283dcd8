package query

import (
	"slices"
	"strings"

	"github.com/ktrail/ktrail/internal/nearest"
)

// Resource is what a resource argument means.
type Resource struct {
	Resource    string // plural
	APIGroup    string // as given; or the built-in resource's, "" being core
	Version     string // only as given: deployments.v1.apps
	Name        string
	Subresource string
	Known       bool   // one of Kubernetes' own
	Namespaced  bool   // meaningful if Known
	GroupGiven  bool   // the argument named the group
	Suggest     string // a known plural that is near, if not Known
}

// ParseResource reads a resource argument as kubectl does: deploy/web,
// deployments.apps/web, deployments.v1.apps/web, pods/web/log, or two
// arguments, "deploy" "web". Short names, singulars and plurals are known for
// Kubernetes' own resources; what is unknown passes as it is (custom resources),
// with Suggest set if a known name is near. The error is a [*UsageError].
func ParseResource(args ...string) (Resource, error) {
	var parts []string
	for _, a := range args {
		parts = append(parts, strings.Split(a, "/")...)
	}
	if len(args) == 0 || parts[0] == "" {
		return Resource{}, usagef("name a resource, such as deploy/web")
	}
	whole := strings.Join(args, " ")
	switch {
	case len(args) > 2:
		return Resource{}, usagef("%s is more than one resource; ask for one, such as deploy/web", quoteShort(whole))
	case len(parts) > 3 || slices.Contains(parts, ""):
		return Resource{}, usagef("resource %s is not understood; write deploy/web, deployments.apps/web or pods/web/log", quoteShort(whole))
	case strings.ContainsAny(parts[0], " \t*,"):
		return Resource{}, usagef("resource %s is not understood; name one resource, such as deployments", quoteShort(parts[0]))
	}
	r := parseType(parts[0])
	if len(parts) > 1 {
		r.Name = parts[1]
	}
	if len(parts) > 2 {
		r.Subresource = parts[2]
	}
	return r, nil
}

// parseType reads deploy, deployments.apps or deployments.v1.apps.
func parseType(s string) Resource {
	name, group, dotted := strings.Cut(s, ".")
	r := Resource{Resource: name, APIGroup: group, GroupGiven: dotted}
	if dotted {
		if version, rest, more := strings.Cut(group, "."); isVersion(version) {
			r.Version, r.APIGroup = version, rest
			r.GroupGiven = more
		}
	}
	if k := findResource(name, r.APIGroup, r.GroupGiven); k != nil {
		r.Resource, r.Known, r.Namespaced = k.plural, true, k.namespaced
		if !r.GroupGiven {
			r.APIGroup = k.group
		}
		return r
	}
	if !dotted {
		r.Suggest = nearest.Name(strings.ToLower(name), resourceWords())
		if k := lookupResource(r.Suggest); k != nil {
			r.Suggest = k.plural
		}
	}
	return r
}

// isVersion reports whether s is v1, v1beta2, v2alpha1.
func isVersion(s string) bool {
	digits := func(s string) string { return strings.TrimLeft(s, "0123456789") }
	rest, ok := strings.CutPrefix(s, "v")
	if !ok || digits(rest) == rest {
		return false
	}
	rest = digits(rest)
	for _, stage := range []string{"alpha", "beta"} {
		if after, ok := strings.CutPrefix(rest, stage); ok {
			return after != "" && digits(after) == ""
		}
	}
	return rest == ""
}

// ResourceNames lists the plurals of Kubernetes' own resources, for completion.
func ResourceNames() []string {
	var names []string
	for _, k := range kubernetesResources {
		if !slices.Contains(names, k.plural) {
			names = append(names, k.plural)
		}
	}
	return names
}

func resourceWords() []string {
	var words []string
	for _, k := range kubernetesResources {
		words = append(words, k.plural, k.singular)
	}
	return words
}

// lookupResource finds a built-in resource by any of its names.
func lookupResource(name string) *kubernetesResource { return findResource(name, "", false) }

func findResource(name, group string, groupGiven bool) *kubernetesResource {
	name = strings.ToLower(name)
	for i := range kubernetesResources {
		k := &kubernetesResources[i]
		if groupGiven && k.group != group {
			continue
		}
		if name == k.plural || name == k.singular || slices.Contains(strings.Fields(k.short), name) {
			return k
		}
	}
	return nil
}

// subresources are those of Kubernetes' own resources.
var subresources = []string{
	"approval", "attach", "binding", "ephemeralcontainers", "eviction", "exec", "finalize", "log", "portforward",
	"proxy", "resize", "scale", "status", "token",
}

type kubernetesResource struct {
	plural, singular, short, group string
	namespaced                     bool
}

// kubernetesResources is what "kubectl api-resources" of Kubernetes 1.37 prints,
// alpha and beta resources too. Of equal names the first is meant.
var kubernetesResources = []kubernetesResource{
	{"bindings", "binding", "", "", true},
	{"componentstatuses", "componentstatus", "cs", "", false},
	{"configmaps", "configmap", "cm", "", true},
	{"endpoints", "endpoint", "ep", "", true},
	{"events", "event", "ev", "", true},
	{"limitranges", "limitrange", "limits", "", true},
	{"namespaces", "namespace", "ns", "", false},
	{"nodes", "node", "no", "", false},
	{"persistentvolumeclaims", "persistentvolumeclaim", "pvc", "", true},
	{"persistentvolumes", "persistentvolume", "pv", "", false},
	{"pods", "pod", "po", "", true},
	{"podtemplates", "podtemplate", "", "", true},
	{"replicationcontrollers", "replicationcontroller", "rc", "", true},
	{"resourcequotas", "resourcequota", "quota", "", true},
	{"secrets", "secret", "", "", true},
	{"serviceaccounts", "serviceaccount", "sa", "", true},
	{"services", "service", "svc", "", true},
	{"mutatingadmissionpolicies", "mutatingadmissionpolicy", "", "admissionregistration.k8s.io", false},
	{"mutatingadmissionpolicybindings", "mutatingadmissionpolicybinding", "", "admissionregistration.k8s.io", false},
	{"mutatingwebhookconfigurations", "mutatingwebhookconfiguration", "", "admissionregistration.k8s.io", false},
	{"validatingadmissionpolicies", "validatingadmissionpolicy", "", "admissionregistration.k8s.io", false},
	{"validatingadmissionpolicybindings", "validatingadmissionpolicybinding", "", "admissionregistration.k8s.io", false},
	{"validatingwebhookconfigurations", "validatingwebhookconfiguration", "", "admissionregistration.k8s.io", false},
	{"customresourcedefinitions", "customresourcedefinition", "crd crds", "apiextensions.k8s.io", false},
	{"apiservices", "apiservice", "", "apiregistration.k8s.io", false},
	{"controllerrevisions", "controllerrevision", "", "apps", true},
	{"daemonsets", "daemonset", "ds", "apps", true},
	{"deployments", "deployment", "deploy", "apps", true},
	{"replicasets", "replicaset", "rs", "apps", true},
	{"statefulsets", "statefulset", "sts", "apps", true},
	{"selfsubjectreviews", "selfsubjectreview", "", "authentication.k8s.io", false},
	{"tokenreviews", "tokenreview", "", "authentication.k8s.io", false},
	{"localsubjectaccessreviews", "localsubjectaccessreview", "", "authorization.k8s.io", true},
	{"selfsubjectaccessreviews", "selfsubjectaccessreview", "", "authorization.k8s.io", false},
	{"selfsubjectrulesreviews", "selfsubjectrulesreview", "", "authorization.k8s.io", false},
	{"subjectaccessreviews", "subjectaccessreview", "", "authorization.k8s.io", false},
	{"horizontalpodautoscalers", "horizontalpodautoscaler", "hpa", "autoscaling", true},
	{"cronjobs", "cronjob", "cj", "batch", true},
	{"jobs", "job", "", "batch", true},
	{"certificatesigningrequests", "certificatesigningrequest", "csr", "certificates.k8s.io", false},
	{"clustertrustbundles", "clustertrustbundle", "", "certificates.k8s.io", false},
	{"podcertificaterequests", "podcertificaterequest", "", "certificates.k8s.io", true},
	{"leases", "lease", "", "coordination.k8s.io", true},
	{"leasecandidates", "leasecandidate", "", "coordination.k8s.io", true},
	{"endpointslices", "endpointslice", "", "discovery.k8s.io", true},
	{"events", "event", "ev", "events.k8s.io", true},
	{"flowschemas", "flowschema", "", "flowcontrol.apiserver.k8s.io", false},
	{"prioritylevelconfigurations", "prioritylevelconfiguration", "", "flowcontrol.apiserver.k8s.io", false},
	{"storageversions", "storageversion", "", "internal.apiserver.k8s.io", false},
	{"nodes", "node", "", "metrics.k8s.io", false},
	{"pods", "pod", "", "metrics.k8s.io", true},
	{"ingressclasses", "ingressclass", "", "networking.k8s.io", false},
	{"ingresses", "ingress", "ing", "networking.k8s.io", true},
	{"ipaddresses", "ipaddress", "ip", "networking.k8s.io", false},
	{"networkpolicies", "networkpolicy", "netpol", "networking.k8s.io", true},
	{"servicecidrs", "servicecidr", "", "networking.k8s.io", false},
	{"runtimeclasses", "runtimeclass", "", "node.k8s.io", false},
	{"poddisruptionbudgets", "poddisruptionbudget", "pdb", "policy", true},
	{"clusterrolebindings", "clusterrolebinding", "", "rbac.authorization.k8s.io", false},
	{"clusterroles", "clusterrole", "", "rbac.authorization.k8s.io", false},
	{"rolebindings", "rolebinding", "", "rbac.authorization.k8s.io", true},
	{"roles", "role", "", "rbac.authorization.k8s.io", true},
	{"deviceclasses", "deviceclass", "", "resource.k8s.io", false},
	{"devicetaintrules", "devicetaintrule", "", "resource.k8s.io", false},
	{"resourceclaims", "resourceclaim", "", "resource.k8s.io", true},
	{"resourceclaimtemplates", "resourceclaimtemplate", "", "resource.k8s.io", true},
	{"resourceslices", "resourceslice", "", "resource.k8s.io", false},
	{"priorityclasses", "priorityclass", "pc", "scheduling.k8s.io", false},
	{"csidrivers", "csidriver", "", "storage.k8s.io", false},
	{"csinodes", "csinode", "", "storage.k8s.io", false},
	{"csistoragecapacities", "csistoragecapacity", "", "storage.k8s.io", true},
	{"storageclasses", "storageclass", "sc", "storage.k8s.io", false},
	{"volumeattachments", "volumeattachment", "", "storage.k8s.io", false},
	{"volumeattributesclasses", "volumeattributesclass", "vac", "storage.k8s.io", false},
	{"storageversionmigrations", "storageversionmigration", "", "storagemigration.k8s.io", false},
}
