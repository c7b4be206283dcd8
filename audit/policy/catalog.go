package policy

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"
)

// Resource is one resource of the Kubernetes API.
type Resource struct {
	Group      string // "" is the core group
	Name       string // plural and lower case, as a policy and a URL have it
	Singular   string // "" if it is not known
	Kind       string
	Namespaced bool
	Versions   []string
	ShortNames []string
	// Verbs are those that discovery lists; empty if they are not known.
	Verbs        []string
	Subresources []Subresource
	// Partial is set where the source told nothing of subresources, as
	// `kubectl api-resources` does: there may be some.
	Partial bool
}

// Subresource is a part of a resource that has a path of its own.
type Subresource struct {
	Name  string
	Verbs []string
}

// String is the resource as kubectl writes it: deployments.apps.
func (r *Resource) String() string {
	if r.Group == "" {
		return r.Name
	}
	return r.Name + "." + r.Group
}

// Sub is the subresource of that name, nil if there is none.
func (r *Resource) Sub(name string) *Subresource {
	for i := range r.Subresources {
		if r.Subresources[i].Name == name {
			return &r.Subresources[i]
		}
	}
	return nil
}

// usualVerbs are what a resource that is stored can do.
var usualVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// Catalog is a list of API resources. It does not change: [Catalog.With] makes
// a longer one.
type Catalog struct {
	resources []Resource // by group and name
}

//go:embed catalog.txt
var builtInText string

// BuiltIn is the catalog of Kubernetes' own resources, of the version that
// catalog.txt names in its first line, alpha APIs included.
var BuiltIn = sync.OnceValue(func() *Catalog {
	c := &Catalog{}
	for line := range strings.Lines(builtInText) {
		if f := strings.Fields(line); len(f) >= 8 && f[0] != "#" {
			c.add(builtInResource(f))
		}
	}
	return c
})

// builtInResource reads the fields of a line of catalog.txt.
func builtInResource(f []string) Resource {
	for i, s := range f {
		if s == "-" {
			f[i] = ""
		}
	}
	r := Resource{
		Group: f[0], Name: f[1], Singular: f[2], Kind: f[3], Namespaced: f[4] == "namespaced",
		Versions: list(f[5]), ShortNames: list(f[6]), Verbs: verbList(f[7]),
	}
	for _, s := range f[8:] {
		name, verbs, _ := strings.Cut(s, ":")
		r.Subresources = append(r.Subresources, Subresource{name, verbList(verbs)})
	}
	return r
}

func verbList(s string) []string {
	if s == "*" {
		return slices.Clone(usualVerbs)
	}
	return list(s)
}

// list splits at commas; nothing is an empty list.
func list(s string) []string {
	if s == "" || s == "<none>" {
		return nil
	}
	return strings.Split(s, ",")
}

// Resources are all of them, by group and name. The caller must not change them.
func (c *Catalog) Resources() []Resource { return c.resources }

// Groups are the API groups in order; "", the core group, is the first.
func (c *Catalog) Groups() []string {
	var groups []string
	for i := range c.resources {
		if g := c.resources[i].Group; len(groups) == 0 || groups[len(groups)-1] != g {
			groups = append(groups, g)
		}
	}
	return groups
}

// Lookup is the resource of that group and plural name, nil if there is none.
func (c *Catalog) Lookup(group, name string) *Resource {
	i, ok := slices.BinarySearchFunc(c.resources, Resource{Group: group, Name: name}, compareResources)
	if !ok {
		return nil
	}
	return &c.resources[i]
}

// Resolve are the resources that a person may mean by a word: the plural, the
// singular, a short name or the kind in any case, each also with ".group" behind
// it, as kubectl takes them.
func (c *Catalog) Resolve(word string) []Resource {
	name, group, grouped := strings.Cut(strings.ToLower(word), ".")
	var found []Resource
	for _, r := range c.resources {
		if grouped && r.Group != group {
			continue
		}
		if name != "" && (r.Name == name || r.Singular == name || strings.ToLower(r.Kind) == name || slices.Contains(r.ShortNames, name)) {
			found = append(found, r)
		}
	}
	return found
}

func compareResources(a, b Resource) int {
	if n := strings.Compare(a.Group, b.Group); n != 0 {
		return n
	}
	return strings.Compare(a.Name, b.Name)
}

// add puts r in its place, or what it tells beside what is known of it.
func (c *Catalog) add(r Resource) {
	i, ok := slices.BinarySearchFunc(c.resources, r, compareResources)
	if !ok {
		c.resources = slices.Insert(c.resources, i, r)
		return
	}
	have := &c.resources[i]
	have.Versions = union(have.Versions, r.Versions)
	have.ShortNames = union(have.ShortNames, r.ShortNames)
	have.Verbs = union(have.Verbs, r.Verbs)
	have.Partial = have.Partial && r.Partial
	subs := slices.Clone(have.Subresources)
	for _, s := range r.Subresources {
		j := slices.IndexFunc(subs, func(h Subresource) bool { return h.Name == s.Name })
		if j < 0 {
			subs = append(subs, s)
		} else {
			subs[j].Verbs = union(subs[j].Verbs, s.Verbs)
		}
	}
	have.Subresources = subs
}

// union is a new list of what is in a or b.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// With is c and the resources that data lists: the output of
// `kubectl api-resources` (a table, wide or not, or -o json or yaml), an
// APIResourceList as /api/v1 and /apis/GROUP/VERSION answer, or aggregated
// discovery (APIGroupDiscoveryList); several JSON documents may follow each other.
func (c *Catalog) With(data []byte) (*Catalog, error) {
	more := &Catalog{resources: slices.Clone(c.resources)}
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	if len(data) == 0 {
		return nil, errors.New("read API resources: the file is empty: write it with `kubectl api-resources -o json`")
	}
	for _, key := range []string{"kind:", "apiVersion:", "groupVersion:", "resources:", "---\n"} {
		if bytes.HasPrefix(data, []byte(key)) {
			var err error
			if data, err = yaml.YAMLToJSON(data); err != nil {
				return nil, fmt.Errorf("read API resources: %w", err)
			}
		}
	}
	if data[0] != '{' {
		return more, more.addTable(string(data))
	}
	for docs := json.NewDecoder(bytes.NewReader(data)); ; {
		var d discoveryDoc
		err := docs.Decode(&d)
		if errors.Is(err, io.EOF) {
			return more, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read API resources: byte %d: %w", docs.InputOffset(), err)
		}
		if err := more.addDoc(&d); err != nil {
			return nil, err
		}
	}
}

// addTable adds the table of `kubectl api-resources`. Its columns are found by
// the one that is "true" or "false": short names may be missing before it, and
// verbs and categories after it.
func (c *Catalog) addTable(text string) error {
	n := 0
	for line := range strings.Lines(text) {
		n++
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "NAME" {
			continue
		}
		at := slices.IndexFunc(f, func(s string) bool { return s == "true" || s == "false" })
		if at < 2 || at > 3 || len(f) < at+2 {
			return fmt.Errorf("read API resources: line %d is no line of `kubectl api-resources`: write the file with `kubectl api-resources -o json`", n)
		}
		group, version := splitGroupVersion(f[at-1])
		r := Resource{Group: group, Name: f[0], Kind: f[at+1], Namespaced: f[at] == "true", Versions: []string{version}, Partial: true}
		if at == 3 {
			r.ShortNames = list(f[1])
		}
		if len(f) > at+2 {
			r.Verbs = list(strings.Trim(f[at+2], "[]"))
		}
		c.add(r)
	}
	return nil
}

// discoveryDoc is an APIResourceList or an APIGroupDiscoveryList.
type discoveryDoc struct {
	Kind         string           `json:"kind"`
	GroupVersion string           `json:"groupVersion"`
	Resources    []listedResource `json:"resources"`
	Items        []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Versions []struct {
			Version   string `json:"version"`
			Resources []struct {
				Resource         string        `json:"resource"`
				ResponseKind     discoveryKind `json:"responseKind"`
				Scope            string        `json:"scope"`
				SingularResource string        `json:"singularResource"`
				Verbs            []string      `json:"verbs"`
				ShortNames       []string      `json:"shortNames"`
				Subresources     []struct {
					Subresource string   `json:"subresource"`
					Verbs       []string `json:"verbs"`
				} `json:"subresources"`
			} `json:"resources"`
		} `json:"versions"`
	} `json:"items"`
}

// listedResource is a resource, or "pods/log", in an APIResourceList.
type listedResource struct {
	Name         string   `json:"name"`
	SingularName string   `json:"singularName"`
	Group        string   `json:"group"`
	Version      string   `json:"version"`
	Kind         string   `json:"kind"`
	Namespaced   bool     `json:"namespaced"`
	Verbs        []string `json:"verbs"`
	ShortNames   []string `json:"shortNames"`
}

type discoveryKind struct {
	Kind string `json:"kind"`
}

func (c *Catalog) addDoc(d *discoveryDoc) error {
	switch d.Kind {
	case "APIResourceList":
		c.addList(d)
	case "APIGroupDiscoveryList":
		c.addDiscovery(d)
	default:
		return fmt.Errorf("read API resources: kind %q is neither APIResourceList nor APIGroupDiscoveryList: write the file with `kubectl api-resources -o json`", d.Kind)
	}
	return nil
}

// addList adds an APIResourceList. A server's has subresources as "pods/log",
// which follow their resource; kubectl's has none.
func (c *Catalog) addList(d *discoveryDoc) {
	partial := !slices.ContainsFunc(d.Resources, func(r listedResource) bool { return strings.Contains(r.Name, "/") })
	group, version := splitGroupVersion(d.GroupVersion)
	for _, l := range d.Resources {
		name, sub, isSub := strings.Cut(l.Name, "/")
		r := Resource{Group: group, Name: name, Versions: []string{version}, Namespaced: l.Namespaced, Partial: partial}
		if d.GroupVersion == "" {
			r.Group, r.Versions[0] = l.Group, l.Version
		}
		if isSub {
			r.Subresources = []Subresource{{sub, l.Verbs}}
		} else {
			r.Singular, r.Kind, r.ShortNames, r.Verbs = l.SingularName, l.Kind, l.ShortNames, l.Verbs
		}
		c.add(r)
	}
}

func (c *Catalog) addDiscovery(d *discoveryDoc) {
	for _, item := range d.Items {
		for _, v := range item.Versions {
			for _, l := range v.Resources {
				r := Resource{
					Group: item.Metadata.Name, Name: l.Resource, Singular: l.SingularResource, Kind: l.ResponseKind.Kind,
					Namespaced: l.Scope == "Namespaced", Versions: []string{v.Version}, ShortNames: l.ShortNames, Verbs: l.Verbs,
				}
				for _, s := range l.Subresources {
					r.Subresources = append(r.Subresources, Subresource{s.Subresource, s.Verbs})
				}
				c.add(r)
			}
		}
	}
}

// splitGroupVersion splits "apps/v1"; the core group has no slash.
func splitGroupVersion(gv string) (group, version string) {
	if i := strings.LastIndexByte(gv, '/'); i >= 0 {
		return gv[:i], gv[i+1:]
	}
	return "", gv
}
