package config

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// File is one of several that make a configuration together.
type File struct {
	Name string
	Data []byte
}

// Merge is what k3s and RKE2 make of their config.yaml and the files of
// config.yaml.d, in their order. main is the file in which a flag takes effect: a
// later one that has kube-apiserver-arg without + replaces what is before it. The
// lines in the settings are those of each flag's own file.
func Merge(kind Kind, files []File) (s *Settings, main int, err error) {
	all := &rancher{root: mapping()}
	where := make([]*rancher, len(files))
	var problems []Problem
	for i, f := range files {
		if blank(f.Data) {
			where[i] = &rancher{}
			continue
		}
		src, err := parse(f.Data)
		if err != nil {
			return nil, 0, fmt.Errorf("read %s: %w", f.Name, err)
		}
		c, err := findRancher(src)
		if err != nil {
			return nil, 0, fmt.Errorf("read %s: %w", f.Name, err)
		}
		where[i] = c
		for _, p := range rancherProblems(src, c) {
			problems = append(problems, Problem{Text: fmt.Sprintf("%s:%d: %s", f.Name, p.Line, p.Text)})
		}
		if c.root == nil {
			continue
		}
		if get(c.root, argKey) != nil {
			main = i
		}
		all.root.Content = append(all.root.Content, c.root.Content...)
	}
	if all, err = findRancher(&source{docs: []*yaml.Node{{Kind: yaml.DocumentNode, Content: []*yaml.Node{all.root}}}}); err != nil {
		return nil, 0, err
	}
	s = &Settings{Kind: kind, Problems: problems}
	if kind == RKE2 {
		s.Args, s.Mounts = all.added(), all.mounts()
	}
	for _, f := range all.flags {
		s.Args = append(s.Args, f.Arg)
	}
	for i, c := range where {
		if i == main {
			continue
		}
		for _, f := range c.flags {
			if isAuditFlag(f.Name) {
				s.Problems = append(s.Problems, Problem{Text: fmt.Sprintf("%s:%d: %s stands here and not in %s, where it is changed: move it there", files[i].Name, f.Line, f.Name, files[main].Name)})
			}
		}
		if n := get(c.root, policyKey); n != nil && kind == RKE2 {
			s.Problems = append(s.Problems, Problem{Text: fmt.Sprintf("%s:%d: %s stands here and not in %s, where it is changed: move it there", files[i].Name, n.Line, policyKey, files[main].Name)})
		}
	}
	return s, main, nil
}

// IsDropIn tells whether k3s and RKE2 read a file of that name in config.yaml.d.
func IsDropIn(name string) bool {
	name = strings.ToLower(name)
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}
