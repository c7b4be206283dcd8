#!/usr/bin/env bash
# Builds a real etcd and kube-apiserver from their Go modules into a directory.
# Several minutes on two cores when nothing is cached, seconds afterwards.
# usage: e2e/build.sh OUT_DIR      KUBERNETES=v1.37.2 ETCD=v3.7.0 override the versions
set -euo pipefail
kubernetes=${KUBERNETES:-v1.37.2}
etcd=${ETCD:-v3.7.0}
mkdir -p "$1"
out=$(cd "$1" && pwd)
stamp="$out/.built"
if [ "$(cat "$stamp" 2>/dev/null)" = "$kubernetes $etcd" ]; then exit 0; fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=mod

# A module that imports the wanted command, so that its dependencies are resolved as its authors pinned them.
module() { # name, import path
  mkdir "$work/$1"
  cd "$work/$1"
  go mod init "e2e/$1" 2>/dev/null
  printf '//go:build tools\n\npackage tools\n\nimport _ "%s"\n' "$2" >tools.go
}

module apiserver k8s.io/kubernetes/cmd/kube-apiserver
go mod edit -require="k8s.io/kubernetes@$kubernetes"
# Inside its own repository Kubernetes takes its libraries from local folders; from outside they are taken from their tags.
pinned=$(go mod download -json "k8s.io/kubernetes@$kubernetes" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
for library in $(sed -n 's#^[[:space:]]*\(k8s.io/[a-z-]*\) => ./staging.*#\1#p' "$pinned"); do
  go mod edit -replace="$library=$library@v0.${kubernetes#v1.}"
done
go mod tidy -e >/dev/null 2>&1 || true
go build -o "$out/kube-apiserver" -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$kubernetes" k8s.io/kubernetes/cmd/kube-apiserver

module etcd go.etcd.io/etcd/server/v3
go mod edit -require="go.etcd.io/etcd/server/v3@$etcd"
go mod tidy -e >/dev/null 2>&1 || true
go build -o "$out/etcd" -ldflags "-s -w" go.etcd.io/etcd/server/v3

echo "$kubernetes $etcd" >"$stamp"
