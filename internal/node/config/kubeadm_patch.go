package config

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ktrail/ktrail/audit/flags"
)

func patchKubeadm(s *source, c Change) (*source, error) {
	if n := configMap(s); n != nil && findClusterDoc(s) == nil {
		return patchConfigMap(s, n, c)
	}
	var err error
	for _, name := range c.Unset {
		if s, err = unsetExtra(s, flags.Normalize(name)); err != nil {
			return nil, err
		}
	}
	for _, a := range c.Set {
		if s, err = setExtra(s, a); err != nil {
			return nil, err
		}
	}
	for _, name := range c.RemoveMounts {
		if s, err = removeExtra(s, name); err != nil {
			return nil, err
		}
	}
	for _, m := range c.AddMounts {
		if s, err = addExtra(s, m); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func unsetExtra(s *source, name string) (*source, error) {
	for {
		c, err := findCluster(s)
		if err != nil {
			return nil, err
		}
		_, names := c.flags()
		i := last(names, name)
		if i < 0 {
			return s, nil
		}
		if s, err = s.remove(c.extra, i); err != nil {
			return nil, err
		}
	}
}

func setExtra(s *source, a flags.Arg) (*source, error) {
	c, err := findCluster(s)
	if err != nil {
		return nil, err
	}
	have, names := c.flags()
	if i := last(names, a.Name); i >= 0 {
		if have[i].Value == a.Value {
			return s, nil
		}
		if !c.list {
			return s.replace(c.extra.Content[2*i+1], a.Value)
		}
		n := get(c.extra.Content[i], "value")
		if n == nil {
			return nil, refuse(c.extra.Content[i], "%s has no value: write one or remove the element", a.Name)
		}
		return s.replace(n, a.Value)
	}
	key, value := text(a.Name), text(a.Value)
	whole, kind := mapping(key, value), yaml.MappingNode
	if c.list {
		value = mapping(text("name"), key, text("value"), text(a.Value))
		whole, kind, key = sequence(value), yaml.SequenceNode, nil
	}
	extra, err := s.inAPI(c, "extraArgs", kind)
	if err != nil {
		return nil, err
	}
	if extra == nil {
		return s.addToAPI(c, "extraArgs", whole)
	}
	return s.add(extra, place(names, a.Name), key, value)
}

// inAPI is the collection that apiServer has for key, nil if it has none.
func (s *source) inAPI(c *cluster, key string, kind yaml.Kind) (*yaml.Node, error) {
	api, err := s.list(c.root, "apiServer", yaml.MappingNode)
	if api == nil || err != nil {
		return nil, err
	}
	return s.list(api, key, kind)
}

// addToAPI gives apiServer a key, and the configuration apiServer where it has
// none: as the last, which is how empty knows that it was made.
func (s *source) addToAPI(c *cluster, key string, value *yaml.Node) (*source, error) {
	switch {
	case c.api == nil:
		return s.add(c.root, len(c.root.Content)/2, text("apiServer"), mapping(text(key), value))
	case len(c.api.Content) == 0:
		return s.unfold(c.api, text(key), value)
	}
	return s.add(c.api, sortedKey(c.api, key), text(key), value)
}

func removeExtra(s *source, name string) (*source, error) {
	for {
		c, err := findCluster(s)
		if err != nil {
			return nil, err
		}
		list := get(c.api, "extraVolumes")
		at := named(list, name)
		if at < 0 {
			return s, nil
		}
		if s, err = s.remove(list, at); err != nil {
			return nil, err
		}
	}
}

func addExtra(s *source, m Mount) (*source, error) {
	c, err := findCluster(s)
	if err != nil {
		return nil, err
	}
	mounts := c.mounts()
	if covered, err := covers(mounts, m); covered || err != nil {
		return s, err
	}
	var taken []string
	for _, have := range mounts {
		taken = append(taken, have.Name)
	}
	item := mapping(text("hostPath"), text(m.host()), text("mountPath"), text(m.MountPath), text("name"), text(m.free(taken)))
	if m.Type != "" {
		item.Content = append(item.Content, text("pathType"), text(m.Type))
	}
	if m.ReadOnly {
		item.Content = append(item.Content, text("readOnly"), yes())
	}
	list, err := s.inAPI(c, "extraVolumes", yaml.SequenceNode)
	if err != nil {
		return nil, err
	}
	if list == nil {
		return s.addToAPI(c, "extraVolumes", sequence(item))
	}
	return s.add(list, len(list.Content), nil, item)
}

// patchConfigMap patches the text that the ConfigMap holds, and writes it back
// the way it was written.
func patchConfigMap(s *source, n *yaml.Node, c Change) (*source, error) {
	if err := s.touch(n); err != nil {
		return nil, err
	}
	inner, err := parse([]byte(n.Value))
	if err != nil {
		return nil, refuse(n, "ClusterConfiguration %v", err)
	}
	after, err := patchKubeadm(inner, c)
	if err != nil {
		return nil, err
	}
	value := string(after.bytes())
	if value == n.Value {
		return s, nil
	}
	from, to, write, ok := s.rewriter(n)
	if !ok {
		return nil, refuse(n, "ClusterConfiguration is written in a way that cannot be edited without touching more than the audit settings: print the ConfigMap with kubectl get -o yaml")
	}
	n.Value = value
	return s.apply(n, splice{from, to - from, write(value)})
}

// rewriter finds how a text of several lines is written, by writing the one
// that is there: as a block or in double quotes.
func (s *source) rewriter(n *yaml.Node) (from, to int, write func(string) string, ok bool) {
	var ways []func(string) string
	if n.Style&yaml.LiteralStyle != 0 {
		if n.Line >= s.lines() {
			return 0, 0, nil, false
		}
		margin, eol := spaces(indent(s.lineText(n.Line))), s.eol(n.Line)
		end := s.blockEnd(n.Line, len(margin)-1, false, true)
		from, to = s.line[n.Line], s.line[end+1]-len(s.text[s.line[end]:s.line[end+1]])+len(s.lineText(end))
		ways = append(ways, func(v string) string {
			lines := strings.Split(strings.TrimRight(v, "\n"), "\n")
			for i := range lines {
				if lines[i] != "" {
					lines[i] = margin + lines[i]
				}
			}
			return strings.Join(lines, eol)
		})
	} else {
		if from, to, ok = s.scalar(n); !ok {
			return 0, 0, nil, false
		}
		escape := strings.NewReplacer("<", `\u003c`, ">", `\u003e`, "&", `\u0026`)
		ways = append(ways, quote, func(v string) string { return escape.Replace(quote(v)) })
	}
	i := slices.IndexFunc(ways, func(w func(string) string) bool { return w(n.Value) == string(s.text[from:to]) })
	if i < 0 {
		return 0, 0, nil, false
	}
	return from, to, ways[i], true
}
