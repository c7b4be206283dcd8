// Package coverage owns what audit policies record over the space of all
// requests: what changes between two policies in meaning (Diff), whether a
// policy records what somebody needs to see (Check), and what it records of a
// requester's work as a table (Of).
//
// Diff and Check are exact, not sampled. The values that the policies name, and
// one fresh value that stands for any other, cut each field of a request into
// classes that no rule can tell further apart; a decision diagram over these
// classes then holds every request there can be. Where a pair of policies is so
// entangled that the diagram would grow past a limit, the answer is an error
// (ErrTooLarge), never a guess.
package coverage

import (
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit/policy"
)

// The dimensions of a request, in the order in which the diagram asks for them.
// After dimUser comes one for each class of groups: is the requester a member
// of any of them? Membership is a dimension a group because one requester has
// many groups.
const (
	dimWhat = iota // a resource, or a path that is none
	dimVerb
	dimNamespace
	dimName
	dimUser
	dimGroups
)

// member and noMember are the values of a group dimension.
const (
	noMember = iota
	member
)

// space is all requests, cut into the classes that some policies can tell apart.
type space struct {
	what       []what
	verbs      []string // the last stands for any other, here and below
	namespaces []string
	names      []string
	users      []string // the last but one stands for any other, the last for nobody: a failed login
	groups     [][]string
	size       []int // values by dimension
	resources  set   // of dimWhat: those that are resources
}

// what is one class of things that a request can be for: a path if there is
// one, else a resource. The flags say where a fresh value stands for all that
// are not named.
type what struct {
	group, resource, subresource     string
	anyGroup, anyResource, anySubres bool

	path    string
	below   string // all paths that begin so, but for those named themselves
	anyPath bool   // all paths that are not named
}

// standardVerbs are what the API server makes of HTTP methods on resources.
var standardVerbs = [...]string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}

var (
	readVerbs  = standardVerbs[:3]
	writeVerbs = standardVerbs[3:]
)

// newSpace is the space that the rules can tell apart.
func newSpace(rules []*policy.Rule) *space {
	s := &space{verbs: slices.Clone(standardVerbs[:]), namespaces: []string{""}, names: []string{""}}
	groupRules := map[string][]byte{} // by group, which rules name it
	for i, r := range rules {
		s.verbs = append(s.verbs, r.Verbs...)
		s.namespaces = append(s.namespaces, r.Namespaces...)
		s.users = append(s.users, r.Users...)
		for _, gr := range r.Resources {
			s.names = append(s.names, gr.ResourceNames...)
		}
		for _, g := range r.UserGroups {
			groupRules[g] = append(groupRules[g], byte(i), byte(i>>8), byte(i>>16))
		}
	}
	s.verbs = withOther(s.verbs, "other-verb")
	s.namespaces = withOther(s.namespaces, "other-namespace")
	s.names = withOther(s.names, "other-name")
	s.users = append(withOther(s.users, "other-user"), "")
	classes := map[string]int{}
	for _, g := range sortedKeys(groupRules) {
		in := string(groupRules[g])
		i, ok := classes[in]
		if !ok {
			i = len(s.groups)
			classes[in] = i
			s.groups = append(s.groups, nil)
		}
		s.groups[i] = append(s.groups[i], g)
	}
	s.what = append(resourceAtoms(rules), pathAtoms(rules)...)
	s.size = []int{len(s.what), len(s.verbs), len(s.namespaces), len(s.names), len(s.users)}
	for range s.groups {
		s.size = append(s.size, 2)
	}
	s.resources = newSet(len(s.what))
	for i := range s.what {
		if s.what[i].path == "" {
			s.resources.add(i)
		}
	}
	return s
}

// nobody is the value of dimUser that stands for a request nobody was
// authenticated for.
func (s *space) nobody() int { return len(s.users) - 1 }

// withOther are the values without repetition, in their order, and a fresh one.
func withOther(values []string, fresh string) []string {
	seen := map[string]bool{}
	out := make([]string, 0, len(values)+1)
	for _, v := range values {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	for seen[fresh] {
		fresh += "-x"
	}
	return append(out, fresh)
}

// pattern is one entry of a rule's resources, spelled out: nil is anything.
type pattern struct{ group, resource, subresource *string }

// patterns are what the resource spec of a rule matches, as the API server
// reads it. Resources and subresources come out of a URL's path, so they hold
// no slash.
func patterns(gr *policy.GroupResources, spec string) []pattern {
	var g *string
	if gr.Group != "*" {
		g = &gr.Group
	}
	if spec == "*" {
		return []pattern{{group: g}}
	}
	none := ""
	resource, sub, slash := strings.Cut(spec, "/")
	if !slash {
		return []pattern{{g, &resource, &none}}
	}
	var ps []pattern
	if strings.Contains(sub, "/") || sub == "" {
		return nil // no request is like that
	}
	if sub == "*" {
		ps = append(ps, pattern{g, &resource, nil})
	}
	if resource == "*" {
		ps = append(ps, pattern{g, nil, &sub})
	}
	if len(ps) == 0 {
		ps = append(ps, pattern{g, &resource, &sub})
	}
	return ps
}

// allPatterns are the patterns of an entry: one that names no resource is for all.
func allPatterns(gr *policy.GroupResources) []pattern {
	if len(gr.Resources) == 0 {
		return patterns(gr, "*")
	}
	var ps []pattern
	for _, spec := range gr.Resources {
		ps = append(ps, patterns(gr, spec)...)
	}
	return ps
}

// resourceAtoms are the classes of resources: a tree of groups, of the
// resources that patterns of a group name, of their subresources.
func resourceAtoms(rules []*policy.Rule) []what {
	var all []pattern
	for _, r := range rules {
		for i := range r.Resources {
			all = append(all, allPatterns(&r.Resources[i])...)
		}
	}
	var atoms []what
	branch(all, func(p pattern) *string { return p.group }, []string{""}, "other.example.com", func(g string, otherGroup bool, ps []pattern) {
		branch(ps, func(p pattern) *string { return p.resource }, nil, "others", func(r string, otherResource bool, ps []pattern) {
			branch(ps, func(p pattern) *string { return p.subresource }, []string{""}, "other", func(sub string, otherSub bool, _ []pattern) {
				atoms = append(atoms, what{group: g, resource: r, subresource: sub, anyGroup: otherGroup, anyResource: otherResource, anySubres: otherSub})
			})
		})
	})
	return atoms
}

// branch calls visit for each value that the patterns name in one field, and
// for a fresh one, with the patterns that match it.
func branch(ps []pattern, field func(pattern) *string, always []string, fresh string, visit func(value string, other bool, ps []pattern)) {
	values := slices.Clone(always)
	for _, p := range ps {
		if v := field(p); v != nil {
			values = append(values, *v)
		}
	}
	values = withOther(values, fresh)
	slices.Sort(values[:len(values)-1])
	for i, v := range values {
		var fit []pattern
		for _, p := range ps {
			if f := field(p); f == nil || *f == v {
				fit = append(fit, p)
			}
		}
		visit(v, i == len(values)-1, fit)
	}
}

// pathAtoms are the classes of paths: each that is named, for each prefix what
// only it and shorter ones match, and all others.
func pathAtoms(rules []*policy.Rule) []what {
	var exact, prefixes []string
	for _, r := range rules {
		for _, spec := range r.NonResourceURLs {
			if prefix, ok := strings.CutSuffix(spec, "*"); ok {
				if prefix = strings.TrimRight(prefix, "*"); prefix != "" {
					prefixes = append(prefixes, prefix)
				}
			} else {
				exact = append(exact, spec)
			}
		}
	}
	slices.Sort(exact)
	slices.Sort(prefixes)
	exact, prefixes = slices.Compact(exact), slices.Compact(prefixes)
	named := func(path string) bool {
		return slices.Contains(exact, path) || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(path, p) })
	}
	var atoms []what
	for _, p := range exact {
		atoms = append(atoms, what{path: p})
	}
	for _, p := range prefixes {
		// Neither an exact path nor a longer prefix may match the fresh one.
		path := p
		for slices.Contains(exact, path) || slices.ContainsFunc(prefixes, func(q string) bool { return len(q) > len(p) && strings.HasPrefix(path, q) }) {
			path += "~"
		}
		atoms = append(atoms, what{path: path, below: p})
	}
	if slices.Contains(prefixes, "/") {
		return atoms // every path begins with a slash
	}
	other := ""
	for r := 'a'; other == "" || named(other); r++ {
		other = "/" + string(r) + "/other"
	}
	return append(atoms, what{path: other, anyPath: true})
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// pathFits is whether a URL of a rule matches a path.
func pathFits(spec, path string) bool {
	if spec == "*" || spec == path {
		return true
	}
	return strings.HasSuffix(spec, "*") && strings.HasPrefix(path, strings.TrimRight(spec, "*"))
}
