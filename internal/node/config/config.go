// Package config owns the API server's configuration as distributions keep it:
// static pod manifests, kubeadm's ClusterConfiguration, the config files of k3s
// and RKE2, and the pieces that declarative platforms take. It reads the audit
// settings out of one and patches them in, changing nothing else.
//
// Every function is pure: bytes in, bytes out.
package config

import (
	"fmt"

	"github.com/ktrail/ktrail/audit/flags"
)

// Mount is a directory or file of the host that the API server sees.
type Mount struct {
	Name      string // of the volume; "" means choose
	HostPath  string
	MountPath string // the same as HostPath in what ktrail writes
	ReadOnly  bool
	// Type is the hostPath's: DirectoryOrCreate, File, ...; "" is unchecked.
	Type string
	// Line is where the mount stands, from 1; 0 where that means nothing.
	Line int
}

// Settings is what a configuration says.
type Settings struct {
	// Kind is what kind of configuration it is.
	Kind Kind
	// Version is the Kubernetes version as far as the configuration tells
	// (the image's tag, kubernetesVersion), "" if it does not.
	Version string
	// Args are all flags of the API server, in their order, not only --audit-*.
	Args []flags.Arg
	// Mounts are the API server's host mounts. Nil where the distribution runs
	// the API server on the host itself.
	Mounts []Mount
	// Stamp is what [Change.Stamp] left, "" if nothing.
	Stamp string
	// Policy is the audit policy where the configuration has it inline (Talos,
	// kOps, Cluster API's files); nil otherwise.
	Policy []byte
	// PolicyLine is where it begins, from 1.
	PolicyLine int
	// Problems are what is wrong with the configuration beside the flags'
	// values: mounts in the wrong place, duplicate names. Patch refuses to work
	// on a file that has one.
	Problems []Problem
}

// Problem is something that the API server, kubelet or kubeadm reads differently
// from what whoever wrote it meant.
type Problem struct {
	Line, Column int // from 1; 0 where that means nothing
	Text         string
}

// RefusedError says why a configuration cannot be read or patched, and what to
// do about it. Nothing was changed.
type RefusedError struct {
	Line, Column int // from 1; 0 where that means nothing
	Msg          string
}

func (e *RefusedError) Error() string {
	if e.Line == 0 {
		return e.Msg
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Msg)
}

// Kind is a kind of configuration.
type Kind string

// The kinds. Those that a node keeps in a file can be patched, the others printed.
const (
	StaticPod     Kind = "static pod"  // a Pod manifest with a kube-apiserver container
	KubeadmConfig Kind = "kubeadm"     // ClusterConfiguration v1beta1 to v1beta4 and v1: alone, among other documents, or in the kubeadm-config ConfigMap
	K3s           Kind = "k3s"         // config.yaml with kube-apiserver-arg
	RKE2          Kind = "rke2"        // the same, and audit-policy-file
	ClusterAPI    Kind = "capi"        // KubeadmControlPlane, KubeadmControlPlaneTemplate
	Palette       Kind = "palette"     // a Kubernetes pack's values with kubeadmconfig
	Talos         Kind = "talos"       // machine config
	KOps          Kind = "kops"        // Cluster spec
	KindCluster   Kind = "kind"        // the Cluster of kind (Kubernetes in Docker)
	Minikube      Kind = "minikube"    // minikube start --extra-config
	CommandLine   Kind = "commandline" // kube-apiserver --flag=value ..., also NUL-separated as in /proc/PID/cmdline
)

// Change is what to make of a configuration. What it does not name stays.
type Change struct {
	// Set are flags to add or, where they stand with another value, to change.
	Set []flags.Arg
	// Unset are the names of flags to remove.
	Unset []string
	// AddMounts are mounts to add where nothing covers their MountPath yet. A
	// mount whose name is taken by another volume gets a number behind it.
	AddMounts []Mount
	// RemoveMounts are the names of volumes to remove with the API server's
	// mounts of them. One that another container uses stays.
	RemoveMounts []string
	// Stamp is put into a static pod's annotations, where it stands for the
	// policy's content: kubelet starts a pod anew whose manifest changed, without
	// the pause that it makes before it starts a container again. Other kinds, and
	// a pod without metadata, take none.
	Stamp string
	// Unstamp removes it.
	Unstamp bool
}

// stampKey is the annotation of [Change.Stamp].
const stampKey = "ktrail/audit-policy"
