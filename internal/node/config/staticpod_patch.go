package config

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ktrail/ktrail/audit/flags"
)

// patchStaticPod changes one thing after the other, and finds the pod anew after each.
func patchStaticPod(s *source, c Change) (*source, error) {
	p, err := findPod(s)
	if err != nil {
		return nil, err
	}
	for _, problem := range podProblems(s, p) {
		return nil, &RefusedError{problem.Line, problem.Column, problem.Text}
	}
	for _, name := range c.Unset {
		if s, err = unsetPodFlag(s, flags.Normalize(name)); err != nil {
			return nil, err
		}
	}
	for _, a := range c.Set {
		if s, err = setPodFlag(s, a); err != nil {
			return nil, err
		}
	}
	for _, name := range c.RemoveMounts {
		if s, err = removePodMount(s, name); err != nil {
			return nil, err
		}
	}
	for _, m := range c.AddMounts {
		if s, err = addPodMount(s, m); err != nil {
			return nil, err
		}
	}
	if c.Unstamp {
		return unstampPod(s)
	}
	if c.Stamp != "" {
		return stampPod(s, c.Stamp)
	}
	return s, nil
}

func stampPod(s *source, stamp string) (*source, error) {
	p, err := findPod(s)
	if err != nil {
		return nil, err
	}
	metadata, err := s.list(p.root, "metadata", yaml.MappingNode)
	if metadata == nil || err != nil {
		return s, err
	}
	annotations, err := s.list(metadata, "annotations", yaml.MappingNode)
	if err != nil {
		return nil, err
	}
	if annotations == nil {
		return s.add(metadata, sortedKey(metadata, "annotations"), text("annotations"), mapping(text(stampKey), text(stamp)))
	}
	if n, _ := child(annotations, stampKey); n != nil {
		return s.replace(n, stamp)
	}
	return s.add(annotations, sortedKey(annotations, stampKey), text(stampKey), text(stamp))
}

func unstampPod(s *source) (*source, error) {
	p, err := findPod(s)
	if err != nil {
		return nil, err
	}
	annotations := get(get(p.root, "metadata"), "annotations")
	if annotations == nil {
		return s, nil
	}
	if n, at := child(annotations, stampKey); n != nil {
		return s.remove(annotations, at)
	}
	return s, nil
}

// editable refuses a command in which flags have no place.
func (p *pod) editable() error {
	switch {
	case p.script != nil:
		return &RefusedError{p.script.line, p.script.column, "the API server is started by a shell, whose script cannot be edited safely: write its flags as the container's command, one a line, or add them to the script by hand"}
	case len(p.words) == 0:
		return refuse(p.container, "the kube-apiserver container has no command and no args: write command with kube-apiserver as its first element")
	case p.begin == 0 && !strings.HasPrefix(p.words[0].text, "-"):
		return refuse(p.nodes[0], "the command does not run kube-apiserver itself, so it is not known what becomes of its arguments: write kube-apiserver as the first element of command")
	}
	return nil
}

func (p *pod) names() []string {
	var out []string
	for _, f := range p.flags {
		out = append(out, f.Name)
	}
	return out
}

func unsetPodFlag(s *source, name string) (*source, error) {
	for {
		p, err := findPod(s)
		if err != nil {
			return nil, err
		}
		i := last(p.names(), name)
		if i < 0 {
			return s, nil
		}
		if err := p.editable(); err != nil {
			return nil, err
		}
		for at := p.flags[i].last; at >= p.flags[i].first; at-- {
			if p, err = findPod(s); err != nil {
				return nil, err
			}
			if s, err = s.removeWord(p.nodes[at]); err != nil {
				return nil, err
			}
		}
	}
}

// removeWord takes an element out of the list that it stands in.
func (s *source) removeWord(n *yaml.Node) (*source, error) {
	list := s.parent[n]
	for i, c := range list.Content {
		if c == n {
			return s.remove(list, i)
		}
	}
	return nil, unclear(n)
}

func setPodFlag(s *source, a flags.Arg) (*source, error) {
	p, err := findPod(s)
	if err != nil {
		return nil, err
	}
	names := p.names()
	if i := last(names, a.Name); i >= 0 {
		f := p.flags[i]
		if f.Value == a.Value {
			return s, nil
		}
		if err := p.editable(); err != nil {
			return nil, err
		}
		n, value := p.nodes[f.last], a.Value
		if f.first == f.last {
			written, _, _ := strings.Cut(p.words[f.first].text, "=")
			value = written + "=" + a.Value
		}
		return s.replace(n, value)
	}
	if err := p.editable(); err != nil {
		return nil, err
	}
	// A flag goes behind the one before it, or the binary's name; only where
	// it is the first word of all, before what follows.
	near, before := len(p.nodes)-1, false
	switch i := place(names, a.Name); {
	case len(p.flags) == 0:
	case i > 0:
		near = p.flags[i-1].last
	default:
		near, before = p.flags[0].first, true
	}
	n := p.nodes[near]
	list := s.parent[n]
	at := 0
	for list.Content[at] != n {
		at++
	}
	if !before {
		at++
	}
	item := text("--" + a.Name + "=" + a.Value)
	item.Style = n.Style & (yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle)
	return s.add(list, at, nil, item)
}

func removePodMount(s *source, name string) (*source, error) {
	for {
		p, err := findPod(s)
		if err != nil {
			return nil, err
		}
		at := named(get(p.container, "volumeMounts"), name)
		if at < 0 {
			break
		}
		if s, err = s.remove(get(p.container, "volumeMounts"), at); err != nil {
			return nil, err
		}
	}
	p, err := findPod(s)
	if err != nil {
		return nil, err
	}
	for _, key := range []string{"containers", "initContainers", "ephemeralContainers"} {
		for _, c := range items(get(p.spec, key)) {
			if named(get(c, "volumeMounts"), name) >= 0 {
				return s, nil
			}
		}
	}
	if at := named(get(p.spec, "volumes"), name); at >= 0 {
		return s.remove(get(p.spec, "volumes"), at)
	}
	return s, nil
}

// named is the first of a list's mappings with that name, -1 if there is none.
func named(list *yaml.Node, name string) int {
	for i, n := range items(list) {
		if str(get(n, "name")) == name {
			return i
		}
	}
	return -1
}

func addPodMount(s *source, m Mount) (*source, error) {
	p, err := findPod(s)
	if err != nil {
		return nil, err
	}
	if covered, err := covers(podMounts(p), m); covered || err != nil {
		return s, err
	}
	var taken []string
	name := ""
	for _, v := range items(get(p.spec, "volumes")) {
		taken = append(taken, str(get(v, "name")))
		host := get(v, "hostPath")
		if host != nil && str(get(host, "path")) == m.host() && taken[len(taken)-1] == m.Name {
			name = m.Name // it is there and only not mounted
		}
	}
	if name == "" {
		name = m.free(taken)
		host := mapping(text("path"), text(m.host()))
		if m.Type != "" {
			host.Content = append(host.Content, text("type"), text(m.Type))
		}
		if s, err = s.addNamed(p.spec, "volumes", mapping(text("hostPath"), host, text("name"), text(name)), name); err != nil {
			return nil, err
		}
		if p, err = findPod(s); err != nil {
			return nil, err
		}
	}
	mount := mapping(text("mountPath"), text(m.MountPath), text("name"), text(name))
	if m.ReadOnly {
		mount.Content = append(mount.Content, text("readOnly"), yes())
	}
	return s.addNamed(p.container, "volumeMounts", mount, name)
}

// addNamed adds an element to the list that in has for key, which is made if
// there is none: at the place of its name if the others are sorted so.
func (s *source) addNamed(in *yaml.Node, key string, item *yaml.Node, name string) (*source, error) {
	list, err := s.list(in, key, yaml.SequenceNode)
	if err != nil {
		return nil, err
	}
	if list == nil {
		return s.add(in, sortedKey(in, key), text(key), sequence(item))
	}
	var names []string
	for _, n := range list.Content {
		names = append(names, str(get(n, "name")))
	}
	return s.add(list, sortedPlace(names, name), nil, item)
}
