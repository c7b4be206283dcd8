package config

import (
	"path"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ktrail/ktrail/audit/flags"
)

// cluster is a ClusterConfiguration of kubeadm.
type cluster struct {
	root  *yaml.Node
	api   *yaml.Node // apiServer, nil where there is none
	extra *yaml.Node // its extraArgs: a mapping to v1beta3, a list of name and value since v1beta4
	list  bool
}

func isKubeadm(s *source) bool {
	return findClusterDoc(s) != nil || configMap(s) != nil
}

func findClusterDoc(s *source) *yaml.Node {
	for _, d := range s.docs {
		if r := root(d); strings.HasPrefix(str(get(r, "apiVersion")), "kubeadm.k8s.io/") && str(get(r, "kind")) == "ClusterConfiguration" {
			return r
		}
	}
	return nil
}

// configMap is where the kubeadm-config ConfigMap has the ClusterConfiguration,
// which is a text; nil where s is no such object.
func configMap(s *source) *yaml.Node {
	for _, d := range s.docs {
		r := root(d)
		if str(get(r, "kind")) != "ConfigMap" {
			continue
		}
		if n := get(get(r, "data"), "ClusterConfiguration"); str(n) != "" {
			return n
		}
	}
	return nil
}

func findCluster(s *source) (*cluster, error) {
	r := findClusterDoc(s)
	if r == nil {
		return nil, &RefusedError{Msg: "has no ClusterConfiguration of kubeadm: expected apiVersion kubeadm.k8s.io/... and kind ClusterConfiguration"}
	}
	c := &cluster{root: r, api: get(r, "apiServer")}
	c.extra = get(c.api, "extraArgs")
	switch path.Base(str(get(r, "apiVersion"))) {
	case "v1alpha3", "v1beta1", "v1beta2", "v1beta3":
	default:
		c.list = true
	}
	want, form := yaml.MappingNode, "a mapping of flag to value"
	if c.list {
		want, form = yaml.SequenceNode, "a list of name and value"
	}
	if c.extra != nil && c.extra.Kind != want && c.extra.ShortTag() != "!!null" {
		return nil, &RefusedError{Line: c.extra.Line, Column: c.extra.Column, Msg: "extraArgs is not " + form + ", which " + str(get(r, "apiVersion")) + " needs: rewrite it, or correct apiVersion"}
	}
	return c, nil
}

// flags are the extra flags in their order, and their names.
func (c *cluster) flags() (out []flags.Arg, names []string) {
	if c.extra == nil {
		return nil, nil
	}
	if c.list {
		for _, n := range items(c.extra) {
			out = append(out, flags.Arg{Name: flags.Normalize(str(get(n, "name"))), Value: str(get(n, "value")), Line: n.Line, Column: n.Column})
		}
	} else {
		for i := 0; i+1 < len(c.extra.Content); i += 2 {
			k, v := c.extra.Content[i], c.extra.Content[i+1]
			out = append(out, flags.Arg{Name: flags.Normalize(k.Value), Value: str(v), Line: k.Line, Column: k.Column})
		}
	}
	for _, a := range out {
		names = append(names, a.Name)
	}
	return out, names
}

func (c *cluster) mounts() []Mount {
	var out []Mount
	for _, n := range items(get(c.api, "extraVolumes")) {
		out = append(out, Mount{
			Name: str(get(n, "name")), HostPath: str(get(n, "hostPath")), MountPath: str(get(n, "mountPath")),
			ReadOnly: str(get(n, "readOnly")) == "true", Type: str(get(n, "pathType")), Line: n.Line,
		})
	}
	return out
}

func readKubeadm(s *source) (*Settings, error) {
	if n := configMap(s); n != nil && findClusterDoc(s) == nil {
		inner, err := parse([]byte(n.Value))
		if err != nil {
			return nil, err
		}
		out, err := readKubeadm(inner)
		if err != nil {
			return nil, err
		}
		shift := 0
		if n.Style&yaml.LiteralStyle != 0 {
			shift = n.Line // the text begins on the line after |
		}
		for i := range out.Args {
			out.Args[i].Line, out.Args[i].Column = moved(out.Args[i].Line, shift, n.Line), 0
		}
		for i := range out.Mounts {
			out.Mounts[i].Line = moved(out.Mounts[i].Line, shift, n.Line)
		}
		return out, nil
	}
	c, err := findCluster(s)
	if err != nil {
		return nil, err
	}
	a, _ := c.flags()
	return &Settings{Kind: KubeadmConfig, Version: str(get(c.root, "kubernetesVersion")), Args: a, Mounts: c.mounts()}, nil
}

// moved is a line of an inner text as a line of the file: behind shift where the
// text stands line by line, else where it begins.
func moved(line, shift, begin int) int {
	if shift > 0 {
		return line + shift
	}
	return begin
}
