package coverage

import (
	"slices"

	"github.com/ktrail/ktrail/audit/policy"
)

// Requester is whose requests a matrix shows.
type Requester struct {
	// User is "" for a user whom no rule names; Groups nil for such a user's.
	User   string
	Groups []string
	// Namespace is where namespaced resources are asked for, "" for one that no
	// rule names.
	Namespace string
}

// Matrix is what a policy records of one requester's work: a row for each
// resource and for some non-resource URLs, a column for each verb.
type Matrix struct {
	Who       Requester `json:"-"`
	Resources []Row     `json:"resources"`
	Paths     []Row     `json:"nonResourceURLs"`
	// Apart are the rules that a requester with another name, group or namespace,
	// or an object with another name, may meet instead; indexes.
	Apart []int `json:"-"`
}

// Row is what is recorded of the requests for one resource or path.
type Row struct {
	// Name is the resource as kubectl writes it, "deployments.apps/scale", or a
	// path. A row that stands for others has its name in words.
	Name string `json:"name"`
	// Group is the API group of a resource, "" for the core group and other rows.
	Group string `json:"group,omitempty"`
	Cells []Cell `json:"cells"`
}

// Cell is what is recorded of one verb.
type Cell struct {
	Verb  string       `json:"verb"`
	Level policy.Level `json:"level"`
	Rule  int          `json:"rule"` // index, -1 if none matches
	// Offered is whether the API has the verb for the resource.
	Offered bool `json:"offered"`
}

// pathVerbs are the verbs of non-resource URLs.
var pathVerbs = []string{"get", "post", "put", "patch", "delete"}

// usualPaths are what API servers serve beside resources.
var usualPaths = []string{"/api", "/apis", "/healthz", "/livez", "/logs", "/metrics", "/openapi/v3", "/readyz", "/version"}

// Of is the matrix of a policy for a requester and the resources of a catalog,
// with one row more for custom resources.
func Of(p *policy.Policy, who Requester, catalog *policy.Catalog) *Matrix {
	s := newSpace(rulesOf(p))
	m := &Matrix{Who: who}
	base := policy.Attributes{User: who.User, Groups: who.Groups}
	if who.User == "" {
		base.User = s.users[s.nobody()-1]
	}
	if who.Groups == nil {
		base.Groups = []string{authenticated}
	}
	namespace := who.Namespace
	if namespace == "" {
		namespace = s.namespaces[len(s.namespaces)-1]
	}
	name := s.names[len(s.names)-1]
	e := policy.Compile(p)
	row := func(title, group, resource, sub string, namespaced bool, offered []string) {
		r := Row{Name: title, Group: group}
		for _, verb := range standardVerbs {
			a := base
			a.Verb, a.APIGroup, a.Resource, a.Subresource = verb, group, resource, sub
			if namespaced {
				a.Namespace = namespace
			}
			if sub != "" || verb == "get" || verb == "update" || verb == "patch" || verb == "delete" {
				a.Name = name
			}
			d := e.Decide(&a)
			r.Cells = append(r.Cells, Cell{verb, level(&d), d.Rule, len(offered) == 0 || slices.Contains(offered, verb)})
		}
		m.Resources = append(m.Resources, r)
	}
	for _, r := range catalog.Resources() {
		row(r.String(), r.Group, r.Name, "", r.Namespaced, r.Verbs)
		for _, sub := range r.Subresources {
			row(r.String()+"/"+sub.Name, r.Group, r.Name, sub.Name, r.Namespaced, sub.Verbs)
		}
	}
	custom := s.what[slices.IndexFunc(s.what, func(w what) bool { return w.anyGroup && w.anyResource })]
	row("custom resources", custom.group, custom.resource, "", true, nil)
	m.Resources[len(m.Resources)-1].Group = ""

	paths := slices.Clone(usualPaths)
	for _, w := range s.what {
		if w.path != "" && w.below == "" && !w.anyPath {
			paths = append(paths, w.path)
		}
	}
	slices.Sort(paths)
	titles := map[string]string{}
	for _, w := range s.what {
		switch {
		case w.anyPath:
			paths = append(paths, w.path)
			titles[w.path] = "other URLs"
		case w.below != "" && !slices.Contains(paths, w.below):
			paths = append(paths, w.path)
			titles[w.path] = w.below + "*"
		}
	}
	for _, path := range slices.Compact(paths) {
		r := Row{Name: path}
		if t, ok := titles[path]; ok {
			r.Name = t
		}
		for _, verb := range pathVerbs {
			a := base
			a.Verb, a.NonResource, a.Path = verb, true, path
			d := e.Decide(&a)
			r.Cells = append(r.Cells, Cell{verb, level(&d), d.Rule, true})
		}
		m.Paths = append(m.Paths, r)
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		named := slices.ContainsFunc(r.Resources, func(gr policy.GroupResources) bool { return len(gr.ResourceNames) > 0 })
		if len(r.Users)+len(r.UserGroups)+len(r.Namespaces) > 0 || named {
			m.Apart = append(m.Apart, i)
		}
	}
	return m
}

// level is what is recorded: nothing where all stages are omitted.
func level(d *policy.Decision) policy.Level {
	if d.OmitStages.Has(policy.AllStages) {
		return policy.None
	}
	return d.Level
}

// Fold puts rows of which the same is recorded together, in the order of their
// first.
func Fold(rows []Row) [][]Row {
	var folded [][]Row
	at := map[string]int{}
	for _, r := range rows {
		key := make([]byte, len(r.Cells))
		for i, c := range r.Cells {
			key[i] = byte(c.Level)
		}
		i, ok := at[string(key)]
		if !ok {
			i = len(folded)
			at[string(key)] = i
			folded = append(folded, nil)
		}
		folded[i] = append(folded[i], r)
	}
	return folded
}
