#!/usr/bin/env bash
# Writes audit/policy/catalog.txt anew: the API resources that a real kube-apiserver serves with every API turned on.
# usage: scripts/catalog.sh BIN_DIR      a directory with etcd and kube-apiserver, as e2e/build.sh makes it; needs curl, jq, openssl
set -euo pipefail
bin=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'kill -KILL $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

openssl genrsa -out sa.key 2048 2>/dev/null
echo 'catalog,admin,1,"system:masters"' >tokens.csv
client=http://127.0.0.1:32379 peer=http://127.0.0.1:32380 server=https://127.0.0.1:32443
"$bin/etcd" --data-dir etcd --listen-client-urls $client --advertise-client-urls $client --listen-peer-urls $peer \
  --initial-advertise-peer-urls $peer --initial-cluster default=$peer >etcd.log 2>&1 &
"$bin/kube-apiserver" --etcd-servers $client --secure-port 32443 --bind-address 127.0.0.1 --cert-dir certs \
  --service-account-key-file sa.key --service-account-signing-key-file sa.key --service-account-issuer https://catalog \
  --service-cluster-ip-range 10.0.0.0/24 --authorization-mode AlwaysAllow --token-auth-file tokens.csv \
  --runtime-config api/all=true --feature-gates AllAlpha=true,AllBeta=true >apiserver.log 2>&1 &
auth=(-fsk -H "Authorization: Bearer catalog")
get() { curl "${auth[@]}" -H "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList" "$server$1"; }
for _ in $(seq 60); do [ "$(curl "${auth[@]}" "$server/readyz" || true)" = ok ] && break; sleep 1; done
get /api >api.json
get /apis >apis.json
version=$("$bin/kube-apiserver" --version | sed 's/Kubernetes //')
{
  echo "# The API resources of Kubernetes $version, every API turned on; made by scripts/catalog.sh."
  echo '# group plural singular kind scope versions short-names verbs subresource:verbs...'
  echo '# "-" is an empty field, "*" the eight usual verbs.'
  jq -rn -f "$here/catalog.jq" api.json apis.json
} >catalog.txt
mv catalog.txt "$here/../audit/policy/catalog.txt"
