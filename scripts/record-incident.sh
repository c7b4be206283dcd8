#!/usr/bin/env bash
# Records testdata/audit-incident.log.gz: a real etcd, API server, controller manager and scheduler in a network namespace of their own, some minutes
# of usual traffic, then one person's incident among it. The usual traffic is told as of ten hours earlier; nothing else is changed.
# Needs root, iproute2, python3, and the programs that e2e/build.sh makes. usage: record-incident.sh BIN_DIR OUT.log.gz
set -euo pipefail
if [ "${INSIDE:-}" != 1 ]; then
  BIN=$(cd "$1" && pwd) OUT=$(realpath -m "$2") INSIDE=1 exec unshare -n bash "$0"
fi
D=$(mktemp -d)
pids=()
trap 'for p in "${pids[@]}"; do kill -9 "$p" 2>/dev/null || true; done; wait 2>/dev/null; rm -rf "$D"' EXIT
ip link set lo up
server=10.40.0.1
for a in $server 10.40.8.12 10.40.8.31 10.40.2.7 10.40.2.8 203.0.113.77; do ip addr add $a/32 dev lo; done
from() { ip route replace table local local $server dev lo src "$1"; } # where the next connections come from

cat >"$D/policy.yaml" <<'E'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/api", "/api/*", "/apis", "/apis/*", "/openapi/*", "/version"]
- level: None
  resources: [{group: coordination.k8s.io, resources: [leases]}, {group: "", resources: [events]}, {group: events.k8s.io, resources: [events]}]
- level: Metadata
  resources: [{group: "", resources: [secrets, configmaps, serviceaccounts/token]}, {group: authentication.k8s.io}]
- level: Metadata
  verbs: [get, list, watch]
- level: RequestResponse
E
tok() { printf '%s,%s,%s,"%s"\n' "t-$1" "$2" "$1" "$3"; }
{ tok breakglass breakglass@example.com system:masters; tok alice alice@example.com sre; tok dana dana@example.com platform; tok cm system:kube-controller-manager ""; tok sched system:kube-scheduler ""; } >"$D/tokens.csv"
openssl genrsa -out "$D/sa.key" 2048 2>/dev/null
"$BIN/etcd" --data-dir "$D/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 >"$D/etcd.log" 2>&1 & pids+=($!)
from 10.40.0.1
"$BIN/kube-apiserver" --etcd-servers http://127.0.0.1:2379 --bind-address $server --advertise-address $server --secure-port 6443 --cert-dir "$D/pki" --authorization-mode Node,RBAC \
  --token-auth-file "$D/tokens.csv" --service-account-issuer https://kubernetes.default.svc --service-account-signing-key-file "$D/sa.key" --service-account-key-file "$D/sa.key" \
  --service-cluster-ip-range 10.96.0.0/16 --audit-policy-file "$D/policy.yaml" --audit-log-path "$D/audit.log" >"$D/apiserver.log" 2>&1 & pids+=($!)
config() { # NAME TOKEN
  cat >"$D/$1.conf" <<E
apiVersion: v1
kind: Config
clusters: [{name: shop, cluster: {server: "https://$server:6443", insecure-skip-tls-verify: true}}]
users: [{name: me, user: {token: "$2"}}]
contexts: [{name: shop, context: {cluster: shop, user: me}}]
current-context: shop
E
}
for u in breakglass alice dana cm sched; do config $u t-$u; done
export HOME=$D # kubectl's cache
as() { local who=$1; shift; "$BIN/kubectl" --kubeconfig "$D/$who.conf" "$@" >/dev/null 2>>"$D/kubectl.log" || true; } # what is refused is part of the story
for _ in $(seq 100); do "$BIN/kubectl" --kubeconfig "$D/breakglass.conf" get --raw /readyz >/dev/null 2>&1 && break; sleep 0.3; done
"$BIN/kube-controller-manager" --kubeconfig "$D/cm.conf" --use-service-account-credentials --service-account-private-key-file "$D/sa.key" --leader-elect=false --controllers '*,-node-lifecycle-controller' --bind-address 127.0.0.1 >"$D/cm.log" 2>&1 & pids+=($!)
"$BIN/kube-scheduler" --kubeconfig "$D/sched.conf" --leader-elect=false --bind-address 127.0.0.1 >"$D/sched.log" 2>&1 & pids+=($!)
sleep 4

# A cluster with a shop in it.
b() { as breakglass "$@"; }
b create -f - <<'E'
apiVersion: v1
kind: Node
metadata: {name: worker-1}
E
b patch node worker-1 --subresource=status --type=merge -p '{"status":{"capacity":{"cpu":"8","memory":"16Gi","pods":"110"},"allocatable":{"cpu":"8","memory":"16Gi","pods":"110"},"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady"}]}}'
b taint node worker-1 node.kubernetes.io/not-ready-
for ns in shop monitoring; do b create namespace $ns; done
b create clusterrolebinding sre --clusterrole=view --group=sre
b create -f - <<'E'
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: onboarding}
rules:
- {apiGroups: [rbac.authorization.k8s.io], resources: [clusterrolebindings], verbs: [create, get, list]}
- {apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [bind, get, list]}
E
b create clusterrole nodes --verb=get,list --resource=nodes; b create clusterrolebinding metrics-nodes --clusterrole=nodes --serviceaccount=monitoring:metrics
b create clusterrolebinding platform-onboarding --clusterrole=onboarding --group=platform
b create clusterrolebinding platform-view --clusterrole=view --group=platform
b -n shop create serviceaccount deployer; b -n shop create rolebinding deployer --clusterrole=edit --serviceaccount=shop:deployer
b -n monitoring create serviceaccount metrics; b create clusterrolebinding metrics --clusterrole=view --serviceaccount=monitoring:metrics
b -n shop create secret generic db --from-literal=password=hunter2; b -n shop create secret generic payments-key --from-literal=key=not-a-key
b -n shop create deployment checkout --image=shop/checkout:41 --replicas=3; b -n shop create deployment catalog --image=shop/catalog:17 --replicas=2
b -n shop create deployment runner --image=shop/runner:3; b -n monitoring create deployment metrics --image=metrics:1
b -n shop set serviceaccount deployment runner deployer; b -n monitoring set serviceaccount deployment metrics metrics
sleep 6
bound() { # CONF NAMESPACE ACCOUNT APP: a token as the kubelet would have given the pod
  local pod; pod=$("$BIN/kubectl" --kubeconfig "$D/breakglass.conf" -n "$2" get pods -l app="$4" --sort-by=.metadata.creationTimestamp -o jsonpath='{.items[-1:].metadata.name}')
  config "$1" "$("$BIN/kubectl" --kubeconfig "$D/breakglass.conf" -n "$2" create token "$3" --bound-object-kind Pod --bound-object-name "$pod")"
}
bound runner shop deployer runner; bound metrics monitoring metrics metrics
n=41
usual() {
  from 10.40.2.7; n=$((n + 1)); as runner -n shop set image deployment/checkout "checkout=shop/checkout:$n"; as runner -n shop get deployment checkout -o name
  from 10.40.2.8; as metrics get pods -A; as metrics get nodes
  from 10.40.8.31; as alice -n shop get pods; as alice -n shop get deployments
}
for round in 1 2 3 4 5 6; do
  usual
  from 10.40.8.12; as dana get namespaces; as dana -n shop get deployments; [ $((round % 2)) = 0 ] && as dana get clusterrolebindings
  [ $round = 3 ] && { from 10.40.2.7; as runner -n shop set env deployment/catalog "ROUND=$round"; }
  [ $round = 4 ] && { from 10.40.8.12; as dana create clusterrolebinding onboard-erin --clusterrole=view --user=erin@example.com; }
  sleep 2
done
sleep 3; night=$(date -u +%Y-%m-%dT%H:%M:%S); sleep 2

# The incident.
d() { from 203.0.113.77; as dana "$@"; sleep 1; }
usual
d -n shop get secrets
d auth can-i --list
d create clusterrolebinding ops-temp --clusterrole=cluster-admin --user=dana@example.com
d get secrets -A
d -n shop get secret db -o yaml; d -n shop get secret payments-key -o yaml
usual
d -n shop create token deployer
d -n shop exec deployment/checkout -- cat /etc/passwd
d -n shop scale deployment catalog --replicas=0
d -n shop delete deployment checkout
usual
from 10.40.8.31; as alice -n shop get events; as alice -n shop get deployment checkout
d get clusterrolebindings
d get nodes
usual
d -n shop get secrets
sleep 1

python3 - "$D/audit.log" "$OUT" "$night" <<'P'
import gzip, re, sys, datetime
log, out, night = sys.argv[1:]
stamp = re.compile(r'(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?=[.Z])')
back = datetime.timedelta(hours=10)
def told(m):
    if m.group(1) >= night:
        return m.group(1)
    return (datetime.datetime.fromisoformat(m.group(1)) - back).isoformat()
with open(log) as f, open(out, 'wb') as raw, gzip.GzipFile('', 'wb', 9, raw, 0) as z:
    for line in f:
        z.write(stamp.sub(told, line).encode())
P
tail -3 "$D/kubectl.log" >&2
