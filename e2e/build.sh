#!/usr/bin/env bash
# Builds real Kubernetes components, etcd and containerd from their Go modules
# into a directory, and installs what only the distribution has (runc, ip).
# About 15 minutes on two cores when nothing is cached, seconds afterwards.
# usage: e2e/build.sh OUT_DIR      KUBERNETES=v1.37.2 ETCD=v3.7.0 CONTAINERD=v2.4.2 override the versions
set -euo pipefail
cd "$(dirname "$0")"
kubernetes=${KUBERNETES:-v1.37.2}
etcd=${ETCD:-v3.7.0}
containerd=${CONTAINERD:-v2.4.2}
mkdir -p "$1"
out=$(cd "$1" && pwd)
export CGO_ENABLED=0 GOWORK=off

# Debian's runc is built with seccomp, which the one from `go build` is not. The
# test says what is missing where it cannot be installed.
missing=()
for program in runc:runc ip:iproute2; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "${program%:*}" >/dev/null 2>&1 || missing+=("${program#*:}")
done
if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing for the control plane: ${missing[*]}"
  apt-get update >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null ||
    echo "installing ${missing[*]} did not work" >&2
fi

go build -o "$out/pause" -ldflags "-s -w" ./pause
stamp="$out/.built"
want="$kubernetes $etcd $containerd"
if [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then exit 0; fi
rm -f "$stamp"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GOFLAGS=-mod=mod

# A module that imports the wanted commands, so that their dependencies are resolved as their authors pinned them.
module() { # name, version as module@version, import paths
  mkdir "$work/$1"
  cd "$work/$1"
  go mod init "e2e/$1" 2>/dev/null
  go mod edit -require="$2"
  shift 2
  {
    printf '//go:build tools\n\npackage tools\n\n'
    printf 'import _ "%s"\n' "$@"
  } >tools.go
}

commands=()
for c in kube-apiserver kubelet kubeadm kubectl; do commands+=("k8s.io/kubernetes/cmd/$c"); done
module kubernetes "k8s.io/kubernetes@$kubernetes" "${commands[@]}"
# Inside its own repository Kubernetes takes its libraries from local folders; from outside they are taken from their tags.
pinned=$(go mod download -json "k8s.io/kubernetes@$kubernetes" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
for library in $(sed -n 's#^[[:space:]]*\(k8s.io/[a-z-]*\) => ./staging.*#\1#p' "$pinned"); do
  go mod edit -replace="$library=$library@v0.${kubernetes#v1.}"
done
go mod tidy -e >/dev/null 2>&1 || true
go build -o "$out/" -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$kubernetes" "${commands[@]}"

module etcd "go.etcd.io/etcd/server/v3@$etcd" go.etcd.io/etcd/server/v3
go mod tidy -e >/dev/null 2>&1 || true
go build -o "$out/etcd" -ldflags "-s -w" go.etcd.io/etcd/server/v3

commands=()
for c in containerd containerd-shim-runc-v2 ctr; do commands+=("github.com/containerd/containerd/v2/cmd/$c"); done
module containerd "github.com/containerd/containerd/v2@$containerd" "${commands[@]}"
go mod tidy -e >/dev/null 2>&1 || true
go build -o "$out/" -tags "no_btrfs no_devmapper no_zfs no_aufs" -ldflags "-s -w" "${commands[@]}"

echo "$want" >"$stamp"
