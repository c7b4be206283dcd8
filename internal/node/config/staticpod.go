package config

import (
	"fmt"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

// pod is a static pod manifest and the parts of it that matter. The nodes are
// nil where the manifest has none.
type pod struct {
	doc       int // which of the file's documents
	root      *yaml.Node
	spec      *yaml.Node
	container *yaml.Node
	words     []word
	nodes     []*yaml.Node // where the words stand
	begin     int          // the first word after the binary's name
	flags     []spot
	script    *word // the script of sh -c that hides the flags
}

func isPod(doc *yaml.Node) bool {
	return str(get(root(doc), "kind")) == "Pod" && get(root(doc), "spec") != nil
}

func isStaticPod(s *source) bool {
	for _, d := range s.docs {
		if isPod(d) {
			return true
		}
	}
	return false
}

// findPod finds the API server in a file.
func findPod(s *source) (*pod, error) {
	pods := 0
	for i, d := range s.docs {
		if !isPod(d) {
			continue
		}
		pods++
		p := &pod{doc: i, root: root(d)}
		p.spec = get(p.root, "spec")
		err := unique(p.root)
		if err != nil {
			return nil, err
		}
		if p.container, err = findContainer(p.spec); err != nil {
			return nil, err
		}
		if p.container != nil {
			p.parseCommand()
			return p, nil
		}
	}
	if pods == 0 {
		return nil, &RefusedError{Msg: "is no static pod manifest: no document is of kind Pod with a spec"}
	}
	return nil, &RefusedError{Msg: "has no kube-apiserver container: give the API server's own manifest, usually /etc/kubernetes/manifests/kube-apiserver.yaml"}
}

// findContainer picks the container named kube-apiserver, or the only one that
// runs or is made of it.
func findContainer(spec *yaml.Node) (*yaml.Node, error) {
	var runs []*yaml.Node
	for _, c := range items(get(spec, "containers")) {
		c = follow(c)
		if str(get(c, "name")) == "kube-apiserver" {
			return c, nil
		}
		words, _ := argv(c)
		image, _, _ := strings.Cut(path.Base(str(get(c, "image"))), ":")
		if findBinary(words) >= 0 || image == "kube-apiserver" {
			runs = append(runs, c)
		}
	}
	switch len(runs) {
	case 0:
		return nil, nil
	case 1:
		return runs[0], nil
	}
	return nil, &RefusedError{Line: runs[1].Line, Column: runs[1].Column, Msg: fmt.Sprintf("has two containers that run kube-apiserver (lines %d and %d) and none of that name: name the right one kube-apiserver", runs[0].Line, runs[1].Line)}
}

// argv is a container's command and arguments.
func argv(c *yaml.Node) ([]word, []*yaml.Node) {
	var words []word
	var nodes []*yaml.Node
	for _, key := range []string{"command", "args"} {
		for _, n := range items(get(c, key)) {
			words = append(words, word{text: str(n), line: n.Line, column: n.Column})
			nodes = append(nodes, n)
		}
	}
	return words, nodes
}

func (p *pod) parseCommand() {
	p.words, p.nodes = argv(p.container)
	if script, ok := shellScript(p.words); ok {
		inner := script.words()
		p.script = &script
		if at := findBinary(inner); at >= 0 {
			p.flags = parseFlags(untilEnd(inner, at+1), at+1)
		}
		return
	}
	p.begin = findBinary(p.words) + 1
	p.flags = parseFlags(p.words, p.begin)
}

func readStaticPod(s *source) (*Settings, error) {
	p, err := findPod(s)
	if err != nil {
		return nil, err
	}
	return &Settings{
		Kind:     StaticPod,
		Version:  imageVersion(str(get(p.container, "image"))),
		Args:     args(p.flags),
		Mounts:   podMounts(p),
		Stamp:    str(get(get(get(p.root, "metadata"), "annotations"), stampKey)),
		Problems: podProblems(s, p),
	}, nil
}

// imageVersion is the tag of an image where that is a version.
func imageVersion(image string) string {
	image, _, _ = strings.Cut(image, "@")
	_, tag, _ := strings.Cut(path.Base(image), ":")
	if digits := strings.TrimPrefix(tag, "v"); digits != "" && digits[0] >= '0' && digits[0] <= '9' && strings.Contains(digits, ".") {
		return tag
	}
	return ""
}

// podMounts are the container's mounts of the pod's volumes, in their order.
func podMounts(p *pod) []Mount {
	var out []Mount
	for _, n := range items(get(p.container, "volumeMounts")) {
		m := Mount{Name: str(get(n, "name")), MountPath: str(get(n, "mountPath")), ReadOnly: str(get(n, "readOnly")) == "true", Line: n.Line}
		for _, v := range items(get(p.spec, "volumes")) {
			if host := get(v, "hostPath"); str(get(v, "name")) == m.Name && host != nil {
				m.HostPath, m.Type = str(get(host, "path")), str(get(host, "type"))
				if sub := str(get(n, "subPath")); sub != "" {
					m.HostPath = path.Join(m.HostPath, sub)
				}
			}
		}
		out = append(out, m)
	}
	return out
}

// podProblems finds what guides get wrong: mounts where Kubernetes ignores
// them, names that stand twice or nowhere.
func podProblems(s *source, p *pod) []Problem {
	var out []Problem
	found := func(n *yaml.Node, format string, a ...any) {
		out = append(out, Problem{n.Line, n.Column, fmt.Sprintf(format, a...)})
	}
	if p.doc > 0 {
		found(p.root, "the pod is document %d of the file, and kubelet reads the first only: remove what stands before it", p.doc+1)
	}
	if trimmed := strings.TrimSpace(string(s.text)); strings.HasPrefix(trimmed, "{") && !s.json {
		found(p.root, "the file begins with { but is not valid JSON, and kubelet takes it for JSON: correct it or write it as YAML")
	}
	const ignored = ", where Kubernetes ignores it and the API server does not see its files: move it under "
	if n := get(p.spec, "volumeMounts"); n != nil {
		found(n, "volumeMounts stands under spec%sthe kube-apiserver container", ignored)
	}
	if n := get(p.root, "volumeMounts"); n != nil {
		found(n, "volumeMounts stands at the top%sthe kube-apiserver container", ignored)
	}
	if n := get(p.container, "volumes"); n != nil {
		found(n, "volumes stands under a container%sspec", ignored)
	}
	if n := get(p.root, "volumes"); n != nil {
		found(n, "volumes stands at the top%sspec", ignored)
	}
	for _, f := range p.flags {
		if f.lacks {
			out = append(out, Problem{f.Line, f.Column, fmt.Sprintf("--%s stands without a value, and takes the flag behind it for one if there is any: write --%s=VALUE", f.Name, f.Name)})
		}
	}
	names := map[string]int{}
	for _, v := range items(get(p.spec, "volumes")) {
		name := str(get(v, "name"))
		if before := names[name]; before > 0 {
			found(v, "volume %q stands twice, first on line %d, and the pod is refused: remove one or give it another name", name, before)
		}
		names[name] = v.Line
	}
	paths := map[string]int{}
	for _, n := range items(get(p.container, "volumeMounts")) {
		name, at := str(get(n, "name")), str(get(n, "mountPath"))
		if names[name] == 0 {
			found(n, "volumeMounts names the volume %q, which is not under spec.volumes, and the pod is refused: add it there or remove the mount", name)
		}
		if before := paths[at]; before > 0 {
			found(n, "%s is mounted twice, first on line %d, and the pod is refused: remove one", at, before)
		}
		paths[at] = n.Line
	}
	return out
}
