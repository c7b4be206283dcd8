package policy

import (
	"math/bits"
)

// Evaluator decides what a policy makes of a request. It is made once, by
// [Compile], is never changed after that, and may be used by many goroutines.
//
// It does not try rules one after the other. Every rule is a clause, or several
// where it names several sets of resources, and a clause is one bit. For each thing
// that a request has (its verb, its user, ...) a table holds, by value, the set of
// clauses that the value fits; the AND of those sets is what matches, and its
// lowest bit is the first rule. Resource requests and others have an index each.
//
//	clause       3 2 1 0
//	verb get     1 1 0 1     from a table: value → set, or the set of the
//	group apps   1 0 1 1     clauses that do not ask, for a value not in it
//	resource     1 1 1 1
//	AND          1 0 0 1     → clause 0, unless its users or groups do not fit
type Evaluator struct {
	resource, other index
	decisions       []Decision // by rule + 1; the first is that of no rule
}

// Compile makes p ready for many decisions. It keeps nothing of p.
func Compile(p *Policy) *Evaluator {
	e := &Evaluator{decisions: make([]Decision, 0, len(p.Rules)+1)}
	var resource, other builder
	for i := range p.Rules {
		r := &p.Rules[i]
		forResources := len(r.Resources) > 0 || len(r.Namespaces) > 0
		if forResources || len(r.NonResourceURLs) == 0 {
			resource.addResources(i, r)
		}
		if !forResources {
			other.addPaths(i, r)
		}
	}
	for i := -1; i < len(p.Rules); i++ {
		e.decisions = append(e.decisions, p.decision(i))
	}
	e.resource, e.other = resource.index(), other.index()
	return e
}

// Decide is what the policy makes of a request. It does not allocate, and its time
// hardly depends on the number of rules.
func (e *Evaluator) Decide(a *Attributes) Decision {
	x := &e.resource
	if a.NonResource {
		x = &e.other
	}
	if x.words == 1 {
		return e.decisions[x.firstOf64(a)+1]
	}
	return e.decisions[x.first(a)+1]
}

// index finds the first clause that a request matches.
type index struct {
	words int     // of a set; clause c is bit c%64 of word c/64
	rules []int32 // the rule of each clause

	verbs, users, groups, namespaces, apiGroups, names table
	bare                                               table // resource without subresource
	pairs, anySub, subs                                table // resource and subresource; pods/*; */log
	exact, prefixes                                    table // paths
	lengths                                            []int // of prefixes, ascending
	always                                             *set  // has the clauses without a pivot in its pivots

	// Of the first 64 clauses: those that ask for a user, and so on, and those
	// that ask for any of these, which are looked at only where it matters.
	asksUser, asksGroup, asksNamespace, asksName, asks uint64
}

// firstOf64 is the first rule that a matches, -1 for none, of at most 64 clauses.
func (x *index) firstOf64(a *Attributes) int32 {
	m := x.verbs.find64(a.Verb)
	switch {
	case a.NonResource:
		m &= x.path64(a.Path)
	case a.Subresource == "":
		m &= x.apiGroups.find64(a.APIGroup) & x.bare.find64(a.Resource)
	default:
		m &= x.apiGroups.find64(a.APIGroup) & (x.anySub.find64(a.Resource) |
			x.subs.find64(a.Subresource) | x.pair64(a))
	}
	// What comes after the first clause that asks for nothing more cannot win.
	if sure := m &^ x.asks; sure != 0 {
		m &= sure ^ (sure - 1)
	}
	if m&x.asksNamespace != 0 {
		m &= x.namespaces.find64(a.Namespace)
	}
	if m&x.asksUser != 0 {
		if a.NoUser {
			m &^= x.asksUser
		} else {
			m &= x.users.find64(a.User)
		}
	}
	if m&x.asksName != 0 {
		m &= x.names.find64(a.Name)
	}
	if m&x.asksGroup != 0 {
		fit := ^x.asksGroup
		if !a.NoUser {
			for _, g := range a.Groups {
				fit |= x.groups.find64(g)
			}
		}
		m &= fit
	}
	if m == 0 {
		return -1
	}
	return x.rules[bits.TrailingZeros64(m)]
}

func (x *index) pair64(a *Attributes) uint64 {
	if s := x.pairs.pair(a.Resource, a.Subresource); s != nil {
		return s.set64
	}
	return x.pairs.miss64
}

func (x *index) path64(path string) uint64 {
	m := x.exact.find64(path)
	for _, n := range x.lengths {
		if n > len(path) {
			break
		}
		m |= x.prefixes.find64(path[:n])
	}
	return m
}

// first is firstOf64 for any number of clauses. It reads few of the words of its
// sets. Every clause has a pivot, the field in which it is most particular, and a set
// knows in which of its words there are clauses with its value as pivot: a clause
// can match only in those words of a request's sets. Of those it leaves out the ones
// in which some set has nothing, by the sets' summaries.
func (x *index) first(a *Attributes) int32 {
	// The sets of a request, but for those of its groups and its target, are ANDed.
	var all [5]*set
	n := 2
	all[0], all[1] = x.verbs.find(a.Verb), x.users.miss
	var who, target anyOf
	who.add(x.groups.miss)
	if !a.NoUser {
		all[1] = x.users.find(a.User)
		for i, g := range a.Groups {
			if s := x.groups.find(g); s != x.groups.miss && !who.add(s) {
				who.more, who.strings = &x.groups, a.Groups[i:]
				break
			}
		}
	}
	if a.NonResource {
		target.add(x.exact.find(a.Path))
		for i, n := range x.lengths {
			if n > len(a.Path) {
				break
			}
			if s := x.prefixes.find(a.Path[:n]); s != x.prefixes.miss && !target.add(s) {
				target.more, target.path, target.lengths = &x.prefixes, a.Path, x.lengths[i:]
				break
			}
		}
	} else {
		all[2], all[3], all[4] = x.apiGroups.find(a.APIGroup), x.namespaces.find(a.Namespace), x.names.find(a.Name)
		n = 5
		if a.Subresource == "" {
			target.add(x.bare.find(a.Resource))
		} else {
			target.add(x.anySub.find(a.Resource))
			target.add(x.subs.find(a.Subresource))
			if s := x.pairs.pair(a.Resource, a.Subresource); s != nil {
				target.add(s.set)
			}
		}
	}
	for i := range (x.words + 63) / 64 {
		m := x.always.pivots[i] | target.pivots(i) | who.pivots(i)
		for _, s := range all[:n] {
			m |= s.pivots[i]
		}
		for _, s := range all[:n] {
			m &= s.summary[i]
		}
		if m != 0 {
			m &= target.summary(i) & who.summary(i)
		}
		for ; m != 0; m &= m - 1 {
			w := i<<6 | bits.TrailingZeros64(m)
			fit := target.word(w)
			for _, s := range all[:n] {
				fit &= s.words[w]
			}
			if fit != 0 {
				fit &= who.word(w)
			}
			if fit != 0 {
				return x.rules[w<<6|bits.TrailingZeros64(fit)]
			}
		}
	}
	return -1
}

// anyOf is the union of a few sets, and of those of strings that there was no room
// for: they are looked up again each time, since nothing is to be allocated.
type anyOf struct {
	sets    [8]*set
	n       int
	more    *table // nil if there was room for all
	strings []string
	path    string // whose prefixes of these lengths are strings too
	lengths []int
}

// add is false if there was no room.
func (u *anyOf) add(s *set) bool {
	if u.n == len(u.sets) {
		return false
	}
	u.sets[u.n] = s
	u.n++
	return true
}

func (u *anyOf) pivots(i int) (m uint64) {
	for _, s := range u.sets[:u.n] {
		m |= s.pivots[i]
	}
	if u.more != nil {
		u.rest(func(s *set) { m |= s.pivots[i] })
	}
	return m
}

func (u *anyOf) summary(i int) (m uint64) {
	for _, s := range u.sets[:u.n] {
		m |= s.summary[i]
	}
	if u.more != nil {
		u.rest(func(s *set) { m |= s.summary[i] })
	}
	return m
}

func (u *anyOf) word(i int) (m uint64) {
	for _, s := range u.sets[:u.n] {
		m |= s.words[i]
	}
	if u.more != nil {
		u.rest(func(s *set) { m |= s.words[i] })
	}
	return m
}

func (u *anyOf) rest(f func(*set)) {
	for _, s := range u.strings {
		f(u.more.find(s))
	}
	for _, n := range u.lengths {
		if n > len(u.path) {
			return
		}
		f(u.more.find(u.path[:n]))
	}
}
