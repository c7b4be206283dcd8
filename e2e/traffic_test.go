package e2e

import (
	"fmt"
	"strings"
)

// step is a kubectl command, and what it has to print. A watch is killed after a while.
type step struct {
	user, args, stdin string
	fails             bool
	says              string
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1"}]}
`

const widgets = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

const pod = `apiVersion: v1
kind: Pod
metadata: {name: lost}
spec:
  nodeName: nowhere
  containers: [{name: c, image: "c:1"}]
`

// kubectlSteps is what people do: by a client certificate (dave), by a
// ServiceAccount's token (robot), by a token of a file (alice).
var kubectlSteps = []step{
	{"dave", "version", "", false, "Server Version"},
	{"dave", "api-resources", "", false, "configmaps"},
	{"dave", "api-versions", "", false, "apps/v1"},
	{"dave", "explain configmap.data", "", false, "FIELD: data"},
	{"dave", "auth whoami", "", false, "dave@example.com"},
	{"dave", "auth can-i delete nodes", "", false, "yes"},
	{"dave", "auth can-i --list", "", false, "selfsubjectreviews"},
	{"dave", "get namespaces", "", false, "kube-system"},
	{"dave", "get namespace default -o yaml", "", false, "phase: Active"},
	{"dave", "get pods -A", "", false, "No resources found"},
	{"dave", "get pods missing", "", true, "NotFound"},
	{"dave", "get --raw /version", "", false, "gitVersion"},
	{"dave", "get --raw /livez", "", false, "ok"},
	{"dave", "create configmap first --from-literal=a=<&>", "", false, "created"},
	{"dave", "create configmap first --from-literal=a=1", "", true, "already exists"},
	{"dave", "create secret generic hidden --from-literal=password=open-sesame", "", false, "created"},
	{"dave", "get secret hidden -o yaml", "", false, "password"},
	{"dave", "apply -f -", fmt.Sprintf(deployment, 1), false, "created"},
	{"dave", "apply -f -", fmt.Sprintf(deployment, 2), false, "configured"},
	{"dave", "apply -f - --dry-run=server", fmt.Sprintf(deployment, 3), false, "dry run"},
	{"dave", "apply --server-side --force-conflicts -f -", fmt.Sprintf(deployment, 4), false, "serverside-applied"},
	{"dave", "apply --server-side --field-manager=other -f -", fmt.Sprintf(deployment, 5), true, "conflict"},
	{"dave", "diff -f -", fmt.Sprintf(deployment, 6), true, "replicas: 6"},
	{"dave", "scale deployment web --replicas=3", "", false, "scaled"},
	{"dave", "get deployment web --subresource=status -o json", "", false, "\"status\""},
	{"dave", "set image deployment/web web=web:2", "", false, "updated"},
	{"dave", "rollout restart deployment/web", "", false, "restarted"},
	{"dave", "label configmap first colour=red", "", false, "labeled"},
	{"dave", "annotate configmap first note=x", "", false, "annotated"},
	{"dave", `patch configmap first --type=merge -p {"data":{"b":"2"}}`, "", false, "patched"},
	{"dave", `patch configmap first --type=json -p [{"op":"remove","path":"/data/b"}]`, "", false, "patched"},
	{"dave", `patch configmap first --type=strategic -p {"data":{"c":"3"}}`, "", false, "patched"},
	{"dave", `patch configmap first --type=json -p [{"op":"remove","path":"/data/none"}]`, "", true, "invalid"},
	{"dave", "replace -f -", "{apiVersion: v1, kind: ConfigMap, metadata: {name: first}, data: {d: '4'}}", false, "replaced"},
	{"dave", "create -f -", "{apiVersion: v1, kind: ConfigMap, metadata: {name: Not_A_Name}}", true, "Invalid value"},
	{"dave", "create -f -", "{apiVersion: v1, kind: ConfigMap, metadata: {name: big}, data: {text: '" + strings.Repeat("all work and no play ", 15000) + "'}}", false, "created"},
	{"dave", "get configmap big -o name", "", false, "configmap/big"},
	{"dave", "get configmaps --watch", "", true, "first"},
	{"dave", "get configmap first --watch-only -o json", "", true, ""},
	{"dave", "wait --for=delete configmap/first --timeout=1s", "", true, "timed out|deadline exceeded"},
	{"dave", "create -f -", widgets, false, "created"},
	{"dave", "wait --for=condition=established crd/widgets.example.com --timeout=30s", "", false, "condition met"},
	{"dave", "create -f -", "{apiVersion: example.com/v1, kind: Widget, metadata: {name: one}, spec: {b: 1.50, a: {z: null}}}", false, "created"},
	{"dave", "get widgets -o wide", "", false, "one"},
	{"dave", "delete widget one", "", false, "deleted"},
	{"dave", "create -f - --validate=false", pod, false, "created"},
	{"dave", "logs lost", "", true, "no such host|lookup nowhere|not found|nowhere"},
	{"dave", "exec lost -- date", "", true, "nowhere|dial|pod does not have a host"},
	{"dave", "exec missing -- date", "", true, "NotFound"},
	{"dave", "attach lost", "", true, "."},
	{"dave", "port-forward lost 0:80", "", true, "."},
	{"dave", "delete pod lost --force --grace-period=0", "", false, "deleted"},
	{"dave", "create token robot --duration=10m", "", false, "ey"},
	{"dave", "get configmaps --as=bob", "", false, "first"},
	{"dave", "get configmaps --as=carol --as-group=system:masters --as-group=crew --as-uid=77", "", false, "first"},
	{"dave", "delete configmap first --as=bob", "", true, "Forbidden"},
	{"dave", "get configmaps --as=system:serviceaccount:default:robot", "", false, "first"},

	{"robot", "auth whoami", "", false, "system:serviceaccount:default:robot"},
	{"robot", "auth can-i delete nodes", "", true, "no"},
	{"robot", "get configmaps", "", false, "first"},
	{"robot", "get nodes", "", true, "Forbidden"},
	{"robot", "get configmaps --as=bob", "", false, "first"},
	{"robot", "get configmaps --as=carol", "", true, "cannot impersonate"},
	{"robot", "get configmaps --as=bob --as-group=system:masters", "", true, "cannot impersonate"},
	{"robot", "apply -f -", "{apiVersion: v1, kind: ConfigMap, metadata: {name: of-robot}, data: {a: b}}", false, "created"},
	{"robot", "delete configmap of-robot", "", false, "deleted"},
	{"alice", "get configmap of-robot", "", true, "NotFound"},
	{"alice", "delete configmaps --all", "", false, "deleted"},
	{"alice", "delete deployment web --wait=false", "", false, "deleted"},
	{"wrong", "get configmaps", "", true, "Unauthorized|logged in"},
}
