package policy_test

import (
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/policy"
)

// who are the requesters of the table, by the word that stands in it.
var who = map[string]struct {
	user   string
	groups []string
}{
	"alice":       {"alice", []string{"dev", "system:authenticated"}},
	"nobody":      {"", nil}, // a failed login
	"anonymous":   {"system:anonymous", []string{"system:unauthenticated"}},
	"kubelet":     {"system:node:n1", []string{"system:nodes", "system:authenticated"}},
	"scheduler":   {"system:kube-scheduler", []string{"system:authenticated"}},
	"manager":     {"system:kube-controller-manager", []string{"system:authenticated"}},
	"proxy":       {"system:kube-proxy", []string{"system:node-proxier", "system:authenticated"}},
	"apiserver":   {"system:apiserver", []string{"system:masters"}},
	"deployments": {"system:serviceaccount:kube-system:deployment-controller", []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"}},
	"namespaces":  {"system:serviceaccount:kube-system:namespace-controller", []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"}},
	"app":         {"system:serviceaccount:prod:app", []string{"system:serviceaccounts", "system:serviceaccounts:prod", "system:authenticated"}},
}

// presetTable says what each preset records of a request: WHO VERB WHAT
// [in NAMESPACE], then a level per preset in the order of the columns:
// - None, M Metadata, Q Request, R RequestResponse.
const presetTable = `
                                              recommended metadata minimal forensic gce cis stig
# what must never have a body
alice get secrets in prod                               M        M       M        M   M   M    M
alice list secrets                                      M        M       M        M   M   M    M
app watch secrets in prod                               M        M       M        M   M   M    M
alice create secrets in prod                            M        M       M        M   M   M    M
manager update secrets in kube-system                   M        M       M        M   M   M    M
alice delete secrets in prod                            M        M       M        M   M   M    M
alice deletecollection secrets in prod                  M        M       M        M   M   M    M
alice patch configmaps in prod                          M        M       M        M   M   M    M
kubelet create serviceaccounts/token in prod            M        M       M        M   M   M    M
alice create serviceaccounts/token in prod              M        M       M        M   M   M    M
app create tokenreviews.authentication.k8s.io           M        M       M        M   M   M    M
# failed logins
nobody get /api                                         M        M       M        M   M   M    R
nobody list pods in prod                                M        M       M        M   M   M    R
nobody create pods in prod                              Q        M       M        R   R   Q    R
nobody list secrets in prod                             M        M       M        M   M   M    M
anonymous get /version                                  M        M       M        M   M   M    R
# ways into pods and nodes
alice create pods/exec in prod                          M        M       M        R   R   M    R
alice get pods/exec in prod                             M        M       M        M   M   M    R
app create pods/exec in prod                            M        M       M        R   R   M    R
app get pods/exec in prod                               M        M       M        M   M   M    R
alice create pods/portforward in prod                   M        M       M        R   R   M    R
alice create pods/attach in prod                        M        M       M        R   R   M    R
app get nodes/proxy                                     M        M       M        M   M   M    R
alice create services/proxy in prod                     M        M       M        R   R   M    R
alice get pods/log in prod                              M        M       M        M   M   M    R
alice patch pods/ephemeralcontainers in prod            Q        M       M        R   R   Q    R
# who may do what
alice create clusterrolebindings.rbac.authorization.k8s.io    R  M       M        R   R   M    R
alice delete roles.rbac.authorization.k8s.io in prod    R        M       M        R   R   M    R
alice deletecollection roles.rbac.authorization.k8s.io in prod  Q  M       M        Q   R   M    R
alice list clusterroles.rbac.authorization.k8s.io       M        M       M        M   M   M    R
alice create serviceaccounts in prod                    R        M       M        R   R   M    R
alice update certificatesigningrequests.certificates.k8s.io/approval  R  M  M        R   R   M    R
alice create mutatingwebhookconfigurations.admissionregistration.k8s.io  R  M  M     R   R   M    R
alice create selfsubjectaccessreviews.authorization.k8s.io  Q    M       M        R   R   M    R
app create subjectaccessreviews.authorization.k8s.io    Q        M       M        R   R   M    R
# ordinary work
alice get pods in prod                                  M        M       M        M   M   M    R
alice watch pods in prod                                M        M       M        M   M   M    M
alice create pods in prod                               Q        M       M        R   R   Q    R
alice patch deployments.apps in prod                    Q        M       M        R   R   Q    R
alice patch deployments.apps/scale in prod              Q        M       M        R   R   Q    R
alice delete namespaces                                 R        M       M        R   R   M    R
alice create widgets.example.com in prod                Q        M       M        R   M   M    R
alice deletecollection pods in prod                     Q        M       M        Q   R   Q    R
app list pods in prod                                   M        M       -        M   M   M    R
app update widgets.example.com/status in prod           Q        M       M        R   M   M    R
# noise
anonymous get /healthz                                  -        M       -        M   -   M    R
anonymous get /livez/ping                               -        M       -        M   -   M    R
anonymous get /readyz                                   -        M       -        M   -   M    R
anonymous post /healthz                                 M        M       M        M   M   M    R
alice get /metrics                                      M        M       M        M   M   M    R
kubelet update leases.coordination.k8s.io in kube-node-lease  -  M       -        M   M   M    M
kubelet update leases.coordination.k8s.io in prod       M        M       -        M   M   M    M
alice update leases.coordination.k8s.io in kube-system  M        M       M        M   M   M    M
scheduler update leases.coordination.k8s.io in kube-system  -    M       -        M   -   M    M
scheduler delete leases.coordination.k8s.io in kube-system  M    M       M        R   M   M    M
kubelet patch nodes/status                              M        M       -        M   M   M    M
alice patch nodes/status                                Q        M       M        R   R   M    M
kubelet patch pods/status in prod                       M        M       -        R   M   M    R
kubelet get nodes                                       M        M       -        M   -   M    R
scheduler create events in prod                         -        M       -        R   -   M    M
app create events.events.k8s.io in prod                 -        M       -        R   -   M    M
alice create events in prod                             M        M       M        R   -   M    M
app delete events in prod                               M        M       M        R   R   M    M
alice deletecollection events in prod                   M        M       M        Q   R   M    M
deployments update deployments.apps/status in prod      M        M       M        R   R   M    R
deployments create replicasets.apps in prod             Q        M       M        R   R   M    R
namespaces deletecollection pods in prod                Q        M       M        Q   Q   Q    R
proxy watch services                                    M        M       -        M   -   M    M
apiserver get namespaces                                M        M       -        M   -   M    R
manager list pods.metrics.k8s.io                        M        M       -        M   -   M    R
`

// TestPresets holds what each preset records, request by request.
func TestPresets(t *testing.T) {
	deciders := map[string]*policy.Evaluator{}
	for _, p := range policy.Presets() {
		loaded, err := policy.Load(p.YAML)
		if err != nil {
			t.Fatalf("%s: %v", p.Name, err)
		}
		if loaded.Name != p.Name {
			t.Errorf("%s: metadata.name is %q", p.Name, loaded.Name)
		}
		deciders[p.Name] = policy.Compile(loaded)
	}
	var columns []string
	rows := 0
	for line := range strings.Lines(presetTable) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || f[0] == "#":
			continue
		case columns == nil:
			columns = f
			continue
		}
		rows++
		request, want := f[:len(f)-len(columns)], f[len(f)-len(columns):]
		a := readRequest(t, request)
		for i, name := range columns {
			d := deciders[name].Decide(a)
			if got := "-MQR"[d.Level : d.Level+1]; got != want[i] {
				t.Errorf("%s: %s: %s by rule %d, want %s", name, strings.Join(request, " "), got, d.Rule+1, want[i])
			}
			if d.OmitStages.Has(policy.ResponseStarted) || d.OmitStages.Has(policy.Panic) {
				t.Errorf("%s: %s: omits %v", name, strings.Join(request, " "), d.OmitStages)
			}
		}
	}
	if rows < 50 || len(columns) != len(deciders) {
		t.Fatalf("%d rows of %d presets, there are %d", rows, len(columns), len(deciders))
	}
}

// readRequest reads WHO VERB WHAT [in NAMESPACE].
func readRequest(t *testing.T, f []string) *policy.Attributes {
	t.Helper()
	w, ok := who[f[0]]
	if !ok {
		t.Fatalf("%v: who?", f)
	}
	a := &policy.Attributes{User: w.user, Groups: w.groups, NoUser: f[0] == "nobody", Verb: f[1]}
	if strings.HasPrefix(f[2], "/") {
		a.NonResource, a.Path = true, f[2]
		return a
	}
	resource, sub, _ := strings.Cut(f[2], "/")
	a.Resource, a.APIGroup, _ = strings.Cut(resource, ".")
	a.Subresource = sub
	if len(f) == 5 && f[3] == "in" {
		a.Namespace = f[4]
	}
	return a
}
