package config

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ktrail/ktrail/audit/flags"
)

// k3s and RKE2 read the same kind of file, and k3s' pkg/configfilearg says how:
// its keys are their own flags; a key with + behind it appends to the value from
// before, one without replaces it; of several documents the first counts.
const (
	argKey    = "kube-apiserver-arg"
	policyKey = "audit-policy-file" // RKE2's own
	mountKey  = "kube-apiserver-extra-mount"

	// rke2Policy is RKE2's policy where its CIS profile asks for one and nobody
	// names another. RKE2 writes it where it is missing, with one rule of level
	// None (pkg/podexecutor, writeDefaultPolicyFile): it records nothing.
	rke2Policy = "/etc/rancher/rke2/audit-policy.yaml"
	rke2Log    = "/var/lib/rancher/rke2/server/logs/audit.log"
)

// rancher is a config.yaml of k3s or RKE2. Of a file that says nothing, root is nil.
type rancher struct {
	root  *yaml.Node
	flags []rancherFlag // in the order in which they count
}

// rancherFlag is a flag of the API server: node is "name=value", in list, or the
// value of key where that is no list.
type rancherFlag struct {
	flags.Arg
	node *yaml.Node
	list *yaml.Node
}

// blank reports whether a file says nothing. k3s and RKE2 need none at all.
func blank(data []byte) bool {
	return len(bytes.TrimSpace(bytes.TrimPrefix(data, []byte(bom)))) == 0
}

// ofRancher are keys by which such a file is known.
var (
	rke2Keys = []string{policyKey, mountKey, "profile", "cni", "ingress-controller", "pod-security-admission-config-file", "kube-apiserver-extra-env", "control-plane-resource-requests", "etcd-extra-mount", "cloud-provider-name"}
	k3sKeys  = []string{argKey, "kubelet-arg", "tls-san", "cluster-init", "write-kubeconfig-mode", "write-kubeconfig", "flannel-backend", "node-label", "node-taint", "node-ip", "cluster-cidr", "service-cidr", "secrets-encryption", "etcd-expose-metrics", "datastore-endpoint", "kube-controller-manager-arg", "kube-scheduler-arg", "protect-kernel-defaults"}
)

func hasKey(s *source, keys []string) bool {
	if len(s.docs) == 0 {
		return false
	}
	r := root(s.docs[0])
	if r == nil || r.Kind != yaml.MappingNode || get(r, "apiVersion") != nil || get(r, "kind") != nil {
		return false
	}
	for i := 0; i < len(r.Content); i += 2 {
		if slices.Contains(keys, strings.TrimSuffix(r.Content[i].Value, "+")) {
			return true
		}
	}
	return false
}

func isRKE2(s *source) bool { return hasKey(s, rke2Keys) }
func isK3s(s *source) bool  { return hasKey(s, k3sKeys) }

func findRancher(s *source) (*rancher, error) {
	c := &rancher{}
	if len(s.docs) == 0 {
		return c, nil
	}
	c.root = root(s.docs[0])
	if c.root == nil || c.root.ShortTag() == "!!null" {
		c.root = nil
		return c, nil
	}
	if c.root.Kind != yaml.MappingNode {
		return nil, refuse(c.root, "is no config.yaml of k3s or RKE2: expected keys such as %s", argKey)
	}
	for i := 0; i+1 < len(c.root.Content); i += 2 {
		k, v := c.root.Content[i], follow(c.root.Content[i+1])
		switch k.Value {
		case argKey:
			c.flags = nil
		case argKey + "+":
		default:
			continue
		}
		if v.Kind == yaml.ScalarNode && v.ShortTag() != "!!null" {
			c.flags = append(c.flags, flagOf(c.root.Content[i+1], nil))
		}
		for _, n := range items(v) {
			c.flags = append(c.flags, flagOf(n, v))
		}
	}
	return c, nil
}

// flagOf reads name=value, without = a switch. Behind the name may stand + or -,
// by which k3s adds to a value of its own; it has none of an audit flag.
func flagOf(n, list *yaml.Node) rancherFlag {
	name, value, has := strings.Cut(str(n), "=")
	if !has {
		value = "true"
	}
	name = flags.Normalize(strings.TrimRight(name, "+-"))
	return rancherFlag{flags.Arg{Name: name, Value: value, Line: n.Line, Column: n.Column}, n, list}
}

func (c *rancher) names() []string {
	var out []string
	for _, f := range c.flags {
		out = append(out, f.Name)
	}
	return out
}

// added are the flags that RKE2 puts before those of the file, which win
// (pkg/podexecutor/staticpod.go, APIServer).
func (c *rancher) added() []flags.Arg {
	line, column := 0, 0
	file := str(get(c.root, policyKey))
	if n := get(c.root, policyKey); n != nil {
		line, column = n.Line, n.Column
	}
	if n := get(c.root, "profile"); file == "" && n != nil && strings.HasPrefix(str(n), "cis") {
		file, line, column = rke2Policy, n.Line, n.Column
	}
	if file == "" {
		return nil
	}
	dir := path.Clean(str(get(c.root, "data-dir")))
	log := rke2Log
	if path.IsAbs(dir) {
		log = path.Join(dir, "server/logs/audit.log")
	}
	out := []flags.Arg{
		{Name: flags.PolicyFile, Value: file},
		{Name: flags.LogMaxAge, Value: "30"},
		{Name: flags.LogMaxBackup, Value: "10"},
		{Name: flags.LogMaxSize, Value: "100"},
	}
	if last(c.names(), flags.LogPath) < 0 {
		out = append(out, flags.Arg{Name: flags.LogPath, Value: log})
	}
	for i := range out {
		out[i].Line, out[i].Column = line, column
	}
	return out
}

// mounts are RKE2's extra mounts: host:pod, host:pod:ro, or with a type behind.
// The files that flags name and the log's directory it mounts by itself, where
// they are.
func (c *rancher) mounts() []Mount {
	var out []Mount
	v := get(c.root, mountKey)
	list := items(v)
	if v != nil && v.Kind == yaml.ScalarNode {
		list = []*yaml.Node{v}
	}
	for i, n := range list {
		p := strings.Split(str(n), ":")
		if len(p) < 2 || len(p) > 4 {
			continue
		}
		m := Mount{Name: fmt.Sprintf("extra-mount-%d", i), HostPath: p[0], MountPath: p[1], Line: n.Line}
		if len(p) == 3 {
			m.ReadOnly = strings.EqualFold(p[2], "ro")
		}
		if len(p) == 4 {
			m.Type = p[3]
		}
		out = append(out, m)
	}
	return out
}

func readK3s(s *source) (*Settings, error) {
	c, err := findRancher(s)
	if err != nil {
		return nil, err
	}
	out := &Settings{Kind: K3s, Problems: rancherProblems(s, c)}
	for _, f := range c.flags {
		out.Args = append(out.Args, f.Arg)
	}
	return out, nil
}

func readRKE2(s *source) (*Settings, error) {
	out, err := readK3s(s)
	if err != nil {
		return nil, err
	}
	c, err := findRancher(s)
	if err != nil {
		return nil, err
	}
	out.Kind, out.Mounts, out.Args = RKE2, c.mounts(), append(c.added(), out.Args...)
	return out, nil
}

// rancherProblems finds what is read otherwise than it looks.
func rancherProblems(s *source, c *rancher) []Problem {
	var out []Problem
	if c.root == nil {
		return nil
	}
	replaces := -1 // the last key without +
	for i := 0; i < len(c.root.Content); i += 2 {
		if c.root.Content[i].Value == argKey {
			replaces = i
		}
	}
	for i := 0; i < len(c.root.Content); i += 2 {
		k := c.root.Content[i]
		if i < replaces && k.Value == argKey+"+" {
			out = append(out, Problem{k.Line, k.Column, fmt.Sprintf("%s+ has no effect: %s on line %d replaces it; put it behind", argKey, argKey, c.root.Content[replaces].Line)})
		}
		// As people write who think of the API server's own flags.
		if name := flags.Normalize(strings.TrimSuffix(k.Value, "+")); name != policyKey && isAuditFlag(name) {
			out = append(out, Problem{k.Line, k.Column, fmt.Sprintf("%s is no key of this file and is ignored: write it as an element of %s: %s=...", k.Value, argKey, name)})
		}
	}
	for _, d := range s.docs[1:] {
		if r := root(d); hasKey(&source{docs: []*yaml.Node{d}}, append([]string{argKey, policyKey}, k3sKeys...)) {
			out = append(out, Problem{r.Line, r.Column, "only the first document of the file is read: remove --- before this one"})
		}
	}
	return out
}

func isAuditFlag(name string) bool {
	_, known := flags.Lookup(name)
	return known && strings.HasPrefix(name, "audit-")
}
