package config

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ktrail/ktrail/audit/flags"
)

func patchK3s(s *source, c Change) (*source, error)  { return patchRancher(s, c, false) }
func patchRKE2(s *source, c Change) (*source, error) { return patchRancher(s, c, true) }

// patchRancher needs no mounts: the API server of k3s is a process of the host,
// and RKE2 mounts the files that flags name, and the log's directory, where they are.
func patchRancher(s *source, c Change, rke2 bool) (*source, error) {
	r, err := findRancher(s)
	if err != nil {
		return nil, err
	}
	for _, p := range rancherProblems(s, r) {
		return nil, &RefusedError{p.Line, p.Column, p.Text}
	}
	for _, m := range c.AddMounts {
		if m.host() != m.MountPath {
			return nil, &RefusedError{Msg: "the API server sees its files where they are on the host: " + m.MountPath + " cannot be " + m.host()}
		}
	}
	for _, name := range c.Unset {
		if s, err = unsetRancher(s, flags.Normalize(name), rke2); err != nil {
			return nil, err
		}
	}
	for _, a := range c.Set {
		if s, err = setRancher(s, a, rke2); err != nil {
			return nil, err
		}
	}
	if !rke2 {
		return s, nil
	}
	// What RKE2 adds for its profile cannot be taken away here.
	if r, err = findRancher(s); err != nil {
		return nil, err
	}
	for _, a := range r.added() {
		if get(r.root, policyKey) == nil && slices.Contains(c.Unset, flags.PolicyFile) {
			return nil, &RefusedError{a.Line, a.Column, "the profile turns auditing on by itself, with the policy " + a.Value + ": remove profile, or write a policy that records nothing there"}
		}
	}
	return s, nil
}

func unsetRancher(s *source, name string, rke2 bool) (*source, error) {
	for {
		c, err := findRancher(s)
		if err != nil {
			return nil, err
		}
		if rke2 && name == policyKey {
			if _, at := topKey(c.root, policyKey); at >= 0 {
				if s, err = s.removeTop(c.root, at); err != nil {
					return nil, err
				}
				continue
			}
		}
		i := last(c.names(), name)
		if i < 0 {
			return s, nil
		}
		f := c.flags[i]
		switch up := s.parent[f.node]; {
		case f.list == nil:
			at := slices.Index(c.root.Content, f.node)
			if at < 0 {
				return nil, unclear(f.node)
			}
			s, err = s.removeTop(c.root, at/2)
		case len(f.list.Content) == 1 && len(c.root.Content) == 2 && s.madeList(c.root, f.list):
			s, err = s.removeTop(c.root, 0)
		default:
			s, err = s.remove(up, slices.Index(up.Content, f.node))
		}
		if err != nil {
			return nil, err
		}
	}
}

// topKey is a pair of the file's mapping, which may be nil.
func topKey(root *yaml.Node, key string) (*yaml.Node, int) {
	if root == nil {
		return nil, -1
	}
	return child(root, key)
}

// madeList reports whether the file's only key may go with its list: whether
// setRancher would write both.
func (s *source) madeList(root, list *yaml.Node) bool {
	key := root.Content[0]
	return list.Style&yaml.FlowStyle == 0 && list.Anchor == "" && strings.TrimSpace(s.lineText(key.Line-1)) == key.Value+":" && !s.commented(key.Line, s.pairEnd(root, 0))
}

// removeTop takes a key out of the file's mapping, the last one too.
func (s *source) removeTop(root *yaml.Node, i int) (*source, error) {
	if len(root.Content) > 2 {
		return s.remove(root, i)
	}
	if err := s.touch(root); err != nil {
		return nil, err
	}
	if root.Style&yaml.FlowStyle != 0 || s.anchored(root) || !s.ownLine(root.Content[0]) {
		return nil, unclear(root)
	}
	cut := s.cutLines(root.Content[0].Line-1, s.pairEnd(root, i))
	left := append(slices.Clone(s.text[:cut.at]), s.text[cut.at+cut.n:]...)
	if blank(left) {
		return &source{text: left, bom: s.bom}, nil
	}
	after, err := parse(left)
	if err != nil {
		return nil, unclear(root)
	}
	if c, err := findRancher(after); err != nil || c.root != nil {
		return nil, unclear(root)
	}
	after.bom = s.bom
	return after, nil
}

// addTop adds a key to the file's mapping, as its first where it says nothing.
func (s *source) addTop(root *yaml.Node, key string, value *yaml.Node) (*source, error) {
	if root != nil {
		return s.add(root, len(root.Content)/2, text(key), value)
	}
	eol := "\n"
	if len(s.line) > 1 {
		eol = s.eol(s.lines() - 1)
	}
	lines := strings.Join(s.pairLines(text(key), value, 0), eol)
	all := string(s.text)
	switch {
	case all == "":
		all = lines + eol
	case strings.HasSuffix(all, "\n"):
		all += lines + eol
	default:
		all += eol + lines
	}
	after, err := parse([]byte(all))
	if err != nil {
		return nil, &RefusedError{Msg: "says nothing, in a way to which nothing can be added: empty it"}
	}
	if c, err := findRancher(after); err != nil || c.root == nil || !same(c.root, mapping(text(key), value)) {
		return nil, &RefusedError{Msg: "says nothing, in a way to which nothing can be added: empty it"}
	}
	after.bom = s.bom
	return after, nil
}

func setRancher(s *source, a flags.Arg, rke2 bool) (*source, error) {
	c, err := findRancher(s)
	if err != nil {
		return nil, err
	}
	names := c.names()
	if i := last(names, a.Name); i >= 0 {
		f := c.flags[i]
		if f.Value == a.Value {
			return s, nil
		}
		written, _, _ := strings.Cut(str(f.node), "=")
		return s.replace(f.node, written+"="+a.Value)
	}
	if rke2 && a.Name == policyKey {
		n, _ := topKey(c.root, policyKey)
		switch {
		case n == nil:
			return s.addTop(c.root, policyKey, text(a.Value))
		case str(n) == a.Value:
			return s, nil
		}
		return s.replace(n, a.Value)
	}
	item := text(a.Name + "=" + a.Value)
	plain, _ := topKey(c.root, argKey)
	more, _ := topKey(c.root, argKey+"+")
	switch {
	case plain == nil && more == nil:
		return s.addTop(c.root, argKey, sequence(item))
	case plain != nil && (plain.Kind != yaml.ScalarNode || plain.ShortTag() == "!!null"):
	case more != nil:
		plain = more
	default:
		// One flag as a text: those with + behind the key are added to it.
		return s.addTop(c.root, argKey+"+", sequence(item))
	}
	key := argKey
	if plain == more {
		key += "+"
	}
	list, err := s.list(c.root, key, yaml.SequenceNode)
	if err != nil {
		return nil, err
	}
	var here []string
	for _, f := range c.flags {
		if f.list == list {
			here = append(here, f.Name)
		}
	}
	if n := list.Content; len(n) > 0 {
		item.Style = n[0].Style & (yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle)
	}
	return s.add(list, place(here, a.Name), nil, item)
}
