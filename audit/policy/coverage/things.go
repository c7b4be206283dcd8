package coverage

import (
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit/policy"
)

// resourceWords are the resources of a set in as few words as tell them: what
// is in it, or what is not if it holds what no rule names.
func (s *space) resourceWords(in set) Values {
	for i := range in.values {
		if w := &s.what[i]; w.anyGroup && w.anyResource && w.subresource == "" {
			return Values{AllBut: s.listResources(s.resources.minus(in))}
		}
	}
	return Values{Only: s.listResources(in)}
}

// listResources lists a set of resources, group by group.
func (s *space) listResources(in set) []string {
	var words []string
	for _, all := range s.byField(s.resources, func(w *what) string { return w.group }) {
		some := all.and(in)
		if some.empty() {
			continue
		}
		w := &s.what[all.first()]
		group := groupName(w)
		if some.equal(all) {
			words = append(words, "all of "+group)
			continue
		}
		most := false // of the resources that no rule names
		for i := range some.values {
			most = most || s.what[i].anyResource && s.what[i].subresource == ""
		}
		if most {
			words = append(words, "all of "+group+" but ("+strings.Join(s.listGroup(all.minus(some), group), ", ")+")")
			continue
		}
		words = append(words, s.listGroup(some, group)...)
	}
	return words
}

// listGroup lists resources of one group.
func (s *space) listGroup(in set, group string) []string {
	var words []string
	all := s.resources.and(s.groupOf(in.first()))
	in = in.or(newSet(len(s.what))) // a copy
	// A subresource of all resources, as "*/status" matches it.
	for _, bySub := range s.byField(all, func(w *what) string { return w.subresource }) {
		w := &s.what[bySub.first()]
		if w.subresource == "" || w.anySubres {
			continue
		}
		every := true
		for _, r := range s.byField(all, func(w *what) string { return w.resource }) {
			// Where the name is not told apart, the class of others must be in.
			fits := r.and(bySub)
			if fits.empty() || !fits.within(in) {
				every = false
				break
			}
		}
		if every {
			words = append(words, "*/"+w.subresource+" of "+group)
			in = in.minus(bySub)
		}
	}
	for _, all := range s.byField(all, func(w *what) string { return w.resource }) {
		some := all.and(in)
		if some.empty() {
			continue
		}
		w := &s.what[all.first()]
		name := policy.QualifiedResource(w.group, w.resource)
		if w.anyGroup {
			name = w.resource + " of other groups"
		}
		if w.anyResource {
			name = "other resources of " + group
		}
		subs := newSet(len(s.what))
		for i := range all.values {
			if s.what[i].subresource != "" {
				subs.add(i)
			}
		}
		switch {
		case some.equal(all):
			words = append(words, name+" with subresources")
			continue
		case subs.within(some):
			words = append(words, "subresources of "+name)
			continue
		}
		for i := range some.values {
			switch sub := &s.what[i]; {
			case sub.anySubres:
				words = append(words, "other subresources of "+name)
			case sub.subresource == "":
				words = append(words, name)
			default:
				words = append(words, name+"/"+sub.subresource)
			}
		}
	}
	return words
}

func (s *space) groupOf(i int) set {
	in := newSet(len(s.what))
	for j := range s.what {
		if s.what[j].path == "" && s.what[j].group == s.what[i].group {
			in.add(j)
		}
	}
	return in
}

// byField cuts a set by a field of its members, in their order.
func (s *space) byField(in set, field func(*what) string) []set {
	var parts []set
	at := map[string]int{}
	for i := range in.values {
		f := field(&s.what[i])
		n, ok := at[f]
		if !ok {
			n = len(parts)
			at[f] = n
			parts = append(parts, newSet(len(s.what)))
		}
		parts[n].add(i)
	}
	return parts
}

func groupName(w *what) string {
	switch {
	case w.anyGroup:
		return "other groups"
	case w.group == "":
		return "core"
	}
	return w.group
}

// pathWords are the paths of a set: what is in it, or what is not if it holds
// the paths that no rule names.
func (s *space) pathWords(in set) Values {
	for i := range s.what {
		if s.what[i].anyPath && in.has(i) {
			return Values{AllBut: s.listPaths(fullSet(len(s.what)).minus(s.resources).minus(in))}
		}
	}
	return Values{Only: s.listPaths(in)}
}

// listPaths lists paths, "/healthz*" for all that begin so.
func (s *space) listPaths(in set) []string {
	var prefixes, words []string
	for i := range in.values {
		w := &s.what[i]
		if w.below == "" {
			continue
		}
		under := slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(w.below, p) })
		prefixes = append(prefixes, w.below)
		if under {
			continue
		}
		var but []string
		for j := range s.what {
			if o := &s.what[j]; o.path != "" && !in.has(j) && strings.HasPrefix(o.path, w.below) {
				if o.below != "" {
					but = append(but, o.below+"*")
				} else {
					but = append(but, o.path)
				}
			}
		}
		word := w.below + "*"
		if len(but) > 0 {
			word += " but (" + strings.Join(but, ", ") + ")"
		}
		words = append(words, word)
	}
	for i := range in.values {
		w := &s.what[i]
		if w.below == "" && !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(w.path, p) }) {
			words = append(words, w.path)
		}
	}
	slices.Sort(words)
	return words
}
