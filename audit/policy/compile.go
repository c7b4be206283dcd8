package policy

import (
	"slices"
	"strings"
)

// clause is what a rule asks of a request, at most one set of resources included.
// A nil list asks for nothing.
type clause struct {
	rule                                               int
	verbs, users, groups, namespaces, apiGroups, names []string
	resources                                          []string
	paths                                              []string

	// pivot is the field of which the fewest clauses share a value with this one;
	// fieldNone if the clause asks for nothing.
	pivot field
}

// field is one thing that a clause may ask for.
type field int

const (
	fieldNone field = iota
	fieldVerbs
	fieldUsers
	fieldGroups
	fieldNamespaces
	fieldAPIGroups
	fieldNames
	fieldResources
	fieldPaths
	fields
)

func (c *clause) values(f field) []string {
	return [fields][]string{nil, c.verbs, c.users, c.groups, c.namespaces, c.apiGroups, c.names, c.resources, c.paths}[f]
}

// choosePivots finds the pivot of every clause.
func (b *builder) choosePivots() {
	var have [fields]map[string]int
	for f := fieldVerbs; f < fields; f++ {
		have[f] = map[string]int{}
		for i := range b.clauses {
			for _, v := range b.clauses[i].values(f) {
				have[f][v]++
			}
		}
	}
	for i := range b.clauses {
		c, least := &b.clauses[i], 0
		for f := fieldVerbs; f < fields; f++ {
			sum := 0
			for _, v := range c.values(f) {
				sum += have[f][v]
			}
			if sum > 0 && (c.pivot == fieldNone || sum < least) {
				c.pivot, least = f, sum
			}
		}
	}
}

// builder collects the clauses of one index, in the order of their rules.
type builder struct{ clauses []clause }

func newClause(rule int, r *Rule) clause {
	return clause{rule: rule, verbs: r.Verbs, users: r.Users, groups: r.UserGroups}
}

// addPaths adds a rule that requests for no resource may match.
func (b *builder) addPaths(rule int, r *Rule) {
	c := newClause(rule, r)
	c.paths = r.NonResourceURLs
	if slices.Contains(c.paths, "*") {
		c.paths = nil
	}
	b.clauses = append(b.clauses, c)
}

// addResources adds a rule that resource requests may match: a clause for each set
// of resources. Groups that name the same resources are one set.
func (b *builder) addResources(rule int, r *Rule) {
	base := newClause(rule, r)
	base.namespaces = r.Namespaces
	if len(r.Resources) == 0 {
		b.clauses = append(b.clauses, base)
		return
	}
	first := len(b.clauses)
	for _, gr := range r.Resources {
		c := base
		if gr.Group != "*" {
			c.apiGroups = []string{gr.Group}
		}
		if len(gr.Resources) > 0 {
			c.names = gr.ResourceNames
			if !slices.Contains(gr.Resources, "*") {
				c.resources = gr.Resources
			}
		}
		same := slices.IndexFunc(b.clauses[first:], func(o clause) bool {
			return o.apiGroups != nil && c.apiGroups != nil && slices.Equal(o.resources, c.resources) && slices.Equal(o.names, c.names)
		})
		if same >= 0 {
			o := &b.clauses[first+same]
			o.apiGroups = append(o.apiGroups, gr.Group)
			continue
		}
		b.clauses = append(b.clauses, c)
	}
}

func (b *builder) index() index {
	b.choosePivots()
	x := index{words: max(1, (len(b.clauses)+63)/64), rules: make([]int32, len(b.clauses))}
	x.always = newSet(x.words)
	for i, c := range b.clauses {
		x.rules[i] = int32(c.rule)
		if c.pivot == fieldNone {
			x.always.putPivot(i)
		}
	}
	x.verbs = b.table(x.words, fieldVerbs)
	x.users = b.table(x.words, fieldUsers)
	x.groups = b.table(x.words, fieldGroups)
	x.namespaces = b.table(x.words, fieldNamespaces)
	x.apiGroups = b.table(x.words, fieldAPIGroups)
	x.names = b.table(x.words, fieldNames)
	b.resources(&x)
	b.paths(&x)
	for i := range b.clauses[:min(64, len(b.clauses))] {
		c, bit := &b.clauses[i], uint64(1)<<i
		for _, asks := range []struct {
			set  *uint64
			list []string
		}{{&x.asksUser, c.users}, {&x.asksGroup, c.groups}, {&x.asksNamespace, c.namespaces}, {&x.asksName, c.names}} {
			if len(asks.list) > 0 {
				*asks.set |= bit
				x.asks |= bit
			}
		}
	}
	return x
}

// table is the table of one field.
func (b *builder) table(words int, of field) table {
	f := filler{words: words, wild: newSet(words), sets: map[[2]string]*set{}}
	for i := range b.clauses {
		values := b.clauses[i].values(of)
		if len(values) == 0 {
			f.wild.put(i)
		}
		for _, v := range values {
			f.put(i, v, "", b.clauses[i].pivot == of)
		}
	}
	return f.table(func(key [2]string) uint64 { return hash(key[0]) })
}

// resources fills the four tables of resources. "pods/log" is matched by comparing
// it with the request's resource and subresource joined by a slash, which is why
// it is taken apart at every slash it has.
func (b *builder) resources(x *index) {
	wild := newSet(x.words)
	one := func() *filler { return &filler{words: x.words, wild: wild, sets: map[[2]string]*set{}} }
	bare, pairs, anySub, subs := one(), one(), one(), one()
	for i := range b.clauses {
		specs, pivot := b.clauses[i].resources, b.clauses[i].pivot == fieldResources
		if len(specs) == 0 {
			wild.put(i)
		}
		for _, spec := range specs {
			bare.put(i, spec, "", pivot)
			for at := range len(spec) {
				if spec[at] == '/' && at+1 < len(spec) {
					pairs.put(i, spec[:at], spec[at+1:], pivot)
				}
			}
			if sub, ok := strings.CutPrefix(spec, "*/"); ok && sub != "" {
				subs.put(i, sub, "", pivot)
			}
			if res, ok := strings.CutSuffix(spec, "/*"); ok {
				anySub.put(i, res, "", pivot)
				bare.put(i, res, "", pivot)
			}
		}
	}
	one0 := func(key [2]string) uint64 { return hash(key[0]) }
	x.bare, x.anySub, x.subs = bare.table(one0), anySub.table(one0), subs.table(one0)
	x.pairs = pairs.table(func(key [2]string) uint64 { return hashPair(key[0], key[1]) })
}

// paths fills the tables of URLs.
func (b *builder) paths(x *index) {
	wild := newSet(x.words)
	exact := &filler{words: x.words, wild: wild, sets: map[[2]string]*set{}}
	prefixes := &filler{words: x.words, wild: wild, sets: map[[2]string]*set{}}
	for i := range b.clauses {
		specs, pivot := b.clauses[i].paths, b.clauses[i].pivot == fieldPaths
		if len(specs) == 0 {
			wild.put(i)
		}
		for _, spec := range specs {
			if !strings.HasSuffix(spec, "*") {
				exact.put(i, spec, "", pivot)
				continue
			}
			prefix := strings.TrimRight(spec, "*")
			prefixes.put(i, prefix, "", pivot)
			if !slices.Contains(x.lengths, len(prefix)) {
				x.lengths = append(x.lengths, len(prefix))
			}
		}
	}
	slices.Sort(x.lengths)
	one := func(key [2]string) uint64 { return hash(key[0]) }
	x.exact, x.prefixes = exact.table(one), prefixes.table(one)
}

// filler collects what a table will hold.
type filler struct {
	words int
	wild  *set // clauses that do not ask
	sets  map[[2]string]*set
	keys  [][2]string // in the order of the policy, so that tables are alike from run to run
}

func (f *filler) put(clause int, key, sub string, pivot bool) {
	k := [2]string{key, sub}
	s := f.sets[k]
	if s == nil {
		s = newSet(f.words)
		f.sets[k] = s
		f.keys = append(f.keys, k)
	}
	s.put(clause)
	if pivot {
		s.putPivot(clause)
	}
}

func (f *filler) table(hashOf func([2]string) uint64) table {
	var slots []slot
	for _, k := range f.keys {
		s := f.sets[k]
		s.add(f.wild)
		slots = append(slots, slot{hash: hashOf(k), key: k[0], sub: k[1], set: s, set64: s.words[0]})
	}
	return newTable(slots, f.wild)
}
