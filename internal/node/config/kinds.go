package config

import (
	"bytes"
	"fmt"
)

// MaxSize is the longest configuration that is read, in bytes: a hundred times
// kubeadm's manifest. What is written to keep the parser busy takes it seconds
// for a megabyte.
const MaxSize = 512 << 10

// format is what can be done with one kind of configuration.
type format struct {
	kind Kind
	// detect says whether the documents of a file are of this kind.
	detect func(*source) bool
	read   func(*source) (*Settings, error)
	// patch is nil for a kind that is only read.
	patch func(*source, Change) (*source, error)
}

// formats are the kinds that are YAML or JSON, in the order in which Detect asks.
func formats() []format {
	return []format{
		{StaticPod, isStaticPod, readStaticPod, patchStaticPod},
		{KubeadmConfig, isKubeadm, readKubeadm, patchKubeadm},
		{ClusterAPI, isClusterAPI, readClusterAPI, nil},
		{KindCluster, isKindCluster, readKindCluster, nil},
		{KOps, isKOps, readKOps, nil},
		{Talos, isTalos, readTalos, nil},
		{Palette, isPalette, readPalette, nil},
		{RKE2, isRKE2, readRKE2, patchRKE2},
		{K3s, isK3s, readK3s, patchK3s},
	}
}

func formatOf(kind Kind) (format, bool) {
	for _, f := range formats() {
		if f.kind == kind {
			return f, true
		}
	}
	return format{}, false
}

// Detect says what kind of configuration data is.
func Detect(data []byte) (Kind, error) {
	s, err := parse(data)
	if err == nil {
		for _, f := range formats() {
			if f.detect(s) {
				return f.kind, nil
			}
		}
	}
	if isMinikube(data) {
		return Minikube, nil
	}
	if isCommandLine(data) {
		return CommandLine, nil
	}
	if program := programOf(data); program != "" {
		return "", &RefusedError{Msg: fmt.Sprintf("is the command line of %q, not of kube-apiserver", program)}
	}
	if err != nil {
		return "", err
	}
	return "", &RefusedError{Msg: "is no configuration of an API server that is known: expected a static pod manifest, a configuration of kubeadm, k3s, RKE2, Cluster API, Palette, Talos, kOps, kind or minikube, or a command line of kube-apiserver"}
}

// Read returns the settings in data. Errors about the content are a [*RefusedError].
func Read(kind Kind, data []byte) (*Settings, error) {
	switch {
	case kind == CommandLine:
		return readCommandLine(data)
	case kind == Minikube:
		return readMinikube(data)
	case (kind == K3s || kind == RKE2) && blank(data):
		return &Settings{Kind: kind}, nil
	}
	f, ok := formatOf(kind)
	if !ok {
		return nil, fmt.Errorf("read configuration: kind %q cannot be read", kind)
	}
	s, err := parse(data)
	if err != nil {
		return nil, err
	}
	return f.read(s)
}

// Patch makes change in data and returns the new content, which is data itself
// where there is nothing to change. All that change does not name stays as it
// is, to the byte; what cannot be edited so is refused with a [*RefusedError].
//
// Patching twice is patching once. Unsetting what was set and removing the
// mounts that were added gives the bytes from before.
func Patch(kind Kind, data []byte, change Change) ([]byte, error) {
	f, ok := formatOf(kind)
	if !ok || f.patch == nil {
		return nil, &RefusedError{Msg: fmt.Sprintf("a configuration of kind %q is not kept in a file that can be patched", kind)}
	}
	s, err := parse(data)
	if (kind == K3s || kind == RKE2) && blank(data) {
		s, err = &source{text: bytes.TrimPrefix(data, []byte(bom)), bom: bytes.HasPrefix(data, []byte(bom))}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := change.validate(); err != nil {
		return nil, err
	}
	s, err = f.patch(s, change)
	if err != nil {
		return nil, err
	}
	out := s.bytes()
	if bytes.Equal(out, data) {
		return data, nil
	}
	return out, nil
}
