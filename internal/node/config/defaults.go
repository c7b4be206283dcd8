package config

import "github.com/ktrail/ktrail/audit/flags"

// Defaults are where a kind's policy and log go, where that is not where they go
// on a node of kubeadm: in a directory that exists there, that the API server sees,
// and that the platform's own guides name.
func Defaults(kind Kind) []flags.Arg {
	at := func(policy, log string) []flags.Arg {
		return []flags.Arg{{Name: flags.PolicyFile, Value: policy}, {Name: flags.LogPath, Value: log}}
	}
	switch kind {
	case K3s:
		return at("/var/lib/rancher/k3s/server/audit.yaml", "/var/lib/rancher/k3s/server/logs/audit.log")
	case RKE2:
		return at(rke2Policy, rke2Log)
	case Talos:
		return at(talosPolicy, talosLog)
	case KOps:
		// kOps mounts this directory into the API server's pod, and /var/log.
		return at("/srv/kubernetes/kube-apiserver/audit-policy.yaml", "/var/log/kube-apiserver-audit.log")
	case Minikube:
		// The pod sees the node's certificates, and no directory for a log.
		return at("/etc/ssl/certs/audit-policy.yaml", "-")
	}
	return nil
}
