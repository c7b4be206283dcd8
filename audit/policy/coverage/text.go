package coverage

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Values are some values of one field of a request: those in Only, or all but
// those in AllBut. Values without either are all there are.
type Values struct {
	Only   []string `json:"only,omitempty"`
	AllBut []string `json:"allBut,omitempty"`
}

func (v Values) all() bool { return len(v.Only) == 0 && len(v.AllBut) == 0 }

func (v Values) String() string {
	switch {
	case len(v.Only) > 0:
		return list(v.Only)
	case len(v.AllBut) > 0:
		return "all but " + list(v.AllBut)
	}
	return "all"
}

// Requests are a class of requests: a field that is nil may be anything.
//
// Resources read as kubectl writes them, "deployments.apps/scale", or are said
// in words, "all of apps", "subresources of pods". Of Resources and Paths, if
// only one is there, the requests are for that kind only.
type Requests struct {
	Verbs      *Values `json:"verbs,omitempty"`
	Resources  *Values `json:"resources,omitempty"`
	Paths      *Values `json:"nonResourceURLs,omitempty"`
	Namespaces *Values `json:"namespaces,omitempty"` // "" is cluster-scoped, and all namespaces at once
	Names      *Values `json:"resourceNames,omitempty"`
	Users      *Values `json:"users,omitempty"`
	// NoUser is set for requests that nobody was authenticated for.
	NoUser bool `json:"noUser,omitempty"`
	// Members are the groups of which the requester is in at least one, for each list.
	Members [][]string `json:"userGroups,omitempty"`
	// Outside are groups that the requester is in none of.
	Outside []string `json:"notUserGroups,omitempty"`
}

// everyRequest is the class of all requests in words.
const everyRequest = "every request"

// String is the class in words: "reads of secrets in prod by bob".
func (r *Requests) String() string {
	var b strings.Builder
	verbs := ""
	if r.Verbs != nil {
		verbs = verbWords(*r.Verbs)
	}
	var things []string
	if r.Resources != nil {
		if r.Resources.all() {
			things = append(things, "resources")
		} else {
			things = append(things, thingWords(*r.Resources, "all resources"))
		}
	}
	if r.Paths != nil {
		if r.Paths.all() {
			things = append(things, "non-resource URLs")
		} else {
			things = append(things, thingWords(*r.Paths, "all non-resource URLs"))
		}
	}
	what := strings.Join(things, " and ")
	switch {
	case verbs == "" && what == "":
		b.WriteString(everyRequest)
	case verbs == "":
		b.WriteString("requests for " + what)
	case what == "":
		b.WriteString(verbs)
	default:
		b.WriteString(verbs + " of " + what)
	}
	if r.Names != nil {
		b.WriteString(" named " + quoteEmpty(*r.Names, "(no name)"))
	}
	if n := r.Namespaces; n != nil {
		switch {
		case slices.Equal(n.Only, []string{""}):
			b.WriteString(" without namespace")
		case slices.Equal(n.AllBut, []string{""}):
			b.WriteString(" in any namespace")
		default:
			b.WriteString(" in " + quoteEmpty(*n, "(no namespace)"))
		}
	}
	b.WriteString(r.by())
	return b.String()
}

func (r *Requests) by() string {
	who := ""
	switch {
	case r.NoUser:
		return " by nobody (failed logins)"
	case r.Users != nil:
		who = quoteEmpty(*r.Users, `""`)
	case len(r.Members) > 0 || len(r.Outside) > 0:
		who = "anyone"
	default:
		return ""
	}
	for _, any := range r.Members {
		who += " in " + strings.Join(any, " or ")
	}
	if len(r.Outside) > 0 {
		who += " not in " + strings.Join(r.Outside, " or ")
	}
	return " by " + who
}

func thingWords(v Values, all string) string {
	if len(v.Only) > 0 {
		return list(v.Only)
	}
	return all + " but " + list(v.AllBut)
}

// longest is how many names a text lists; the fields have them all.
const longest = 12

func list(names []string) string {
	if len(names) <= longest {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:longest-2], ", "), len(names)-longest+2)
}

func quoteEmpty(v Values, empty string) string {
	show := func(in []string) (out []string) {
		for _, s := range in {
			if s == "" {
				s = empty
			}
			out = append(out, s)
		}
		return out
	}
	return Values{Only: show(v.Only), AllBut: show(v.AllBut)}.String()
}

// verbWords says "reads" for get, list and watch together, and "writes" for all
// that change something.
func verbWords(v Values) string {
	short := func(verbs []string) string {
		var out []string
		for _, w := range []struct {
			verbs []string
			word  string
		}{{readVerbs, "reads"}, {writeVerbs, "writes"}} {
			has := func(verb string) bool { return slices.Contains(verbs, verb) }
			if !slices.ContainsFunc(w.verbs, func(verb string) bool { return !has(verb) }) {
				out = append(out, w.word)
				verbs = slices.DeleteFunc(slices.Clone(verbs), func(verb string) bool { return slices.Contains(w.verbs, verb) })
			}
		}
		return strings.Join(append(out, verbs...), ", ")
	}
	if len(v.Only) > 0 {
		return short(v.Only)
	}
	if !slices.ContainsFunc(standardVerbs[:], func(verb string) bool { return !slices.Contains(v.AllBut, verb) }) {
		return "unusual verbs"
	}
	return "all but " + short(v.AllBut)
}

// absorb makes r the union of both if they differ in one group that the
// requester is in, and is whether it could.
func (r *Requests) absorb(o *Requests) bool {
	if len(r.Members) != 1 || len(o.Members) != 1 {
		return false
	}
	x, y := *r, *o
	x.Members, y.Members = nil, nil
	if !reflect.DeepEqual(x, y) {
		return false
	}
	groups := slices.Concat(r.Members[0], o.Members[0])
	slices.Sort(groups)
	r.Members = [][]string{groups}
	return true
}

// absorb adds a class to a list, or to one of the list from an index on that
// can take it in.
func absorb[T any](list []T, from int, one T, of func(*T) *Requests) []T {
	for i := from; i < len(list); i++ {
		if of(&list[i]).absorb(of(&one)) {
			return list
		}
	}
	return append(list, one)
}

// requests puts a box into words.
func (s *space) requests(b box) Requests {
	var r Requests
	r.Verbs = valuesOf(b[dimVerb], s.verbs, len(s.verbs)-1)
	r.Namespaces = valuesOf(b[dimNamespace], s.namespaces, len(s.namespaces)-1)
	r.Names = valuesOf(b[dimName], s.names, len(s.names)-1)
	if u := b[dimUser]; u != nil {
		if u.len() == 1 && u.has(s.nobody()) {
			r.NoUser = true
		} else {
			r.Users = valuesOf(u, s.users, len(s.users)-2)
		}
	}
	for i, class := range s.groups {
		switch in := b[dimGroups+i]; {
		case in == nil:
		case in.has(member):
			r.Members = append(r.Members, class)
		default:
			r.Outside = append(r.Outside, class...)
		}
	}
	if things := b[dimWhat]; things != nil {
		paths := fullSet(len(s.what)).minus(s.resources)
		if some := things.and(s.resources); !some.empty() {
			r.Resources = &Values{}
			if !some.equal(s.resources) {
				*r.Resources = s.resourceWords(some)
			}
		}
		if some := things.and(paths); !some.empty() {
			r.Paths = &Values{}
			if !some.equal(paths) {
				*r.Paths = s.pathWords(some)
			}
		}
	}
	return r
}

// valuesOf are the values of a set of one dimension, in which other is the
// value that stands for all that are not named. What comes after it is left out.
func valuesOf(in set, values []string, other int) *Values {
	if in == nil || in.len() == len(values) {
		return nil
	}
	v := &Values{}
	for i, name := range values[:other] {
		switch {
		case in.has(other) && !in.has(i):
			v.AllBut = append(v.AllBut, name)
		case !in.has(other) && in.has(i):
			v.Only = append(v.Only, name)
		}
	}
	if v.all() {
		return nil
	}
	return v
}
