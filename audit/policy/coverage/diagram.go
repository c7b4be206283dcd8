package coverage

import (
	"encoding/binary"
	"errors"

	"github.com/ktrail/ktrail/audit/policy"
)

// ErrTooLarge is the answer where policies have so many rules that depend on
// each other that what they mean cannot be told within the limits below.
var ErrTooLarge = errors.New("the policies are too entangled to compare all requests")

// The limits keep a hostile policy from taking all memory and time. A policy of
// 1,000 rules stays below them, where its rules are about different things.
const (
	maxNodes = 200_000    // of a diagram
	maxWork  = 50_000_000 // values and clauses looked at: a few seconds
	maxBoxes = 5_000      // of a region before it is put into words
)

// clause is one condition on requests: a set for each dimension, nil for all of
// it. A rule is one clause, and one more for each set of resource names.
type clause struct {
	sets []set
	rule int // index of the rule, -1 for "no rule matched"
}

// clauses are a policy's rules in their order and, last, what no rule matches.
func (s *space) clauses(rules []policy.Rule) []clause {
	var cs []clause
	for i := range rules {
		for _, sets := range s.rule(&rules[i]) {
			cs = append(cs, clause{sets: sets, rule: i})
		}
	}
	return append(cs, clause{sets: make([]set, len(s.size)), rule: -1})
}

// rule is what a rule matches: the union of products of sets.
func (s *space) rule(r *policy.Rule) [][]set {
	base := make([]set, len(s.size))
	pick := func(d int, have, want []string) {
		if len(want) == 0 {
			return
		}
		named := map[string]bool{}
		for _, w := range want {
			named[w] = true
		}
		base[d] = newSet(len(have))
		for i, h := range have {
			if named[h] {
				base[d].add(i)
			}
		}
	}
	pick(dimVerb, s.verbs, r.Verbs)
	pick(dimNamespace, s.namespaces, r.Namespaces)
	if len(r.Users) > 0 {
		pick(dimUser, s.users, r.Users)
		base[dimUser].remove(s.nobody()) // no user, whatever the name
	}
	var alternatives [][]set
	if len(r.UserGroups) > 0 {
		// Being in one of the groups is enough, so each class is an alternative.
		for i, class := range s.groups {
			for _, g := range r.UserGroups {
				if class[0] == g {
					in := append([]set(nil), base...)
					in[dimGroups+i] = newSet(2)
					in[dimGroups+i].add(member)
					alternatives = append(alternatives, in)
					break
				}
			}
		}
	} else {
		alternatives = [][]set{base}
	}
	var all [][]set
	for _, b := range alternatives {
		all = append(all, s.things(r, b)...)
	}
	return all
}

// things are base for each thing that the rule is about.
func (s *space) things(r *policy.Rule, base []set) [][]set {
	with := func(things, names set) []set {
		b := append([]set(nil), base...)
		b[dimWhat] = things
		if names != nil {
			b[dimName] = names
		}
		return b
	}
	switch {
	case len(r.Resources) > 0:
		var all [][]set
		unnamed := newSet(len(s.what))
		for i := range r.Resources {
			gr := &r.Resources[i]
			things := newSet(len(s.what))
			for _, p := range allPatterns(gr) {
				s.addMatches(things, p)
			}
			if len(gr.ResourceNames) == 0 || len(gr.Resources) == 0 {
				unnamed = unnamed.or(things)
				continue
			}
			names := newSet(len(s.names))
			for j, n := range s.names[:len(s.names)-1] {
				for _, want := range gr.ResourceNames {
					if n == want {
						names.add(j)
					}
				}
			}
			all = append(all, with(things, names))
		}
		if !unnamed.empty() {
			all = append(all, with(unnamed, nil))
		}
		return all
	case len(r.Namespaces) > 0:
		return [][]set{with(s.resources, nil)}
	case len(r.NonResourceURLs) > 0:
		things := newSet(len(s.what))
		for i := range s.what {
			w := &s.what[i]
			if w.path == "" {
				continue
			}
			for _, spec := range r.NonResourceURLs {
				if pathFits(spec, w.path) {
					things.add(i)
					break
				}
			}
		}
		return [][]set{with(things, nil)}
	}
	return [][]set{base}
}

func (s *space) addMatches(things set, p pattern) {
	for i := range s.what {
		w := &s.what[i]
		if w.path == "" && (p.group == nil || *p.group == w.group) && (p.resource == nil || *p.resource == w.resource) &&
			(p.subresource == nil || *p.subresource == w.subresource) {
			things.add(i)
		}
	}
}

// edge leads to a node for the values of a set.
type edge struct {
	values set
	to     int
}

// node asks for the value in one dimension, or is a leaf.
type node struct {
	dim   int // -1 for a leaf
	label int // of a leaf
	edges []edge
}

// diagram is a function from requests to labels. Equal parts of it are one node,
// so two functions are the same if and only if their roots are.
type diagram struct {
	space  *space
	lists  [][]clause
	leaf   func(rules []int) int
	nodes  []node
	leaves map[int]int
	known  map[string]int // node by content
	memo   map[string]int // node by what is left to decide
	work   int
	root   int
}

// newDiagram is the diagram of leaf, which labels the rules that decide: of each
// list the rule of the first clause that matches. The last clause of a list has
// no condition.
func newDiagram(s *space, lists [][]clause, leaf func(rules []int) int) (*diagram, error) {
	d := &diagram{space: s, lists: lists, leaf: leaf, leaves: map[int]int{}, known: map[string]int{}, memo: map[string]int{}}
	live := make([][]int, len(lists))
	for i := range lists {
		for j := range lists[i] {
			live[i] = append(live[i], j)
		}
	}
	var err error
	d.root, err = d.build(0, live)
	return d, err
}

// build is the node that decides between the clauses that are still alive when
// the dimensions before dim are settled.
func (d *diagram) build(dim int, live [][]int) (int, error) {
	if d.work++; d.work > maxWork || len(d.nodes) > maxNodes {
		return 0, ErrTooLarge
	}
	settled := true
	for i, list := range live {
		settled = settled && d.free(i, list[0], dim)
	}
	if settled {
		rules := make([]int, len(live))
		for i, list := range live {
			rules[i] = d.lists[i][list[0]].rule
		}
		return d.leafNode(d.leaf(rules)), nil
	}
	for !d.asked(dim, live) {
		dim++
	}
	key := memoKey(dim, live)
	if n, ok := d.memo[key]; ok {
		return n, nil
	}
	var edges []edge
	classes, anyValue := d.partition(dim, live)
	for _, block := range classes {
		next := make([][]int, len(live))
		for i := range live {
			next[i] = d.merge(i, dim+1, anyValue[i], block.clauses[i])
		}
		to, err := d.build(dim+1, next)
		if err != nil {
			return 0, err
		}
		edges = addEdge(edges, block.values, to)
	}
	n := edges[0].to
	if len(edges) > 1 {
		n = d.branchNode(dim, edges)
	}
	d.memo[key] = n
	return n, nil
}

// addEdge leads the values to a node.
func addEdge(edges []edge, values set, to int) []edge {
	for i := range edges {
		if edges[i].to == to {
			edges[i].values = edges[i].values.or(values)
			return edges
		}
	}
	return append(edges, edge{values, to})
}

// free is whether a clause has no condition in dim and after it.
func (d *diagram) free(policy, c, dim int) bool {
	for _, s := range d.lists[policy][c].sets[dim:] {
		if s != nil {
			return false
		}
	}
	return true
}

// asked is whether a live clause has a condition in the dimension.
func (d *diagram) asked(dim int, live [][]int) bool {
	for i, list := range live {
		for _, c := range list {
			if d.lists[i][c].sets[dim] != nil {
				return true
			}
		}
	}
	return false
}

// class are values that the live clauses do not tell apart.
type class struct {
	values  set
	clauses [][]int // of each policy, those with a condition that holds the values
}

// partition are the classes of values in one dimension, and the clauses of each
// policy that have no condition there.
func (d *diagram) partition(dim int, live [][]int) (classes []class, anyValue [][]int) {
	n := d.space.size[dim]
	anyValue = make([][]int, len(live))
	in := make([][]byte, n) // the clauses that hold each value
	for i, list := range live {
		for _, c := range list {
			s := d.lists[i][c].sets[dim]
			if s == nil {
				anyValue[i] = append(anyValue[i], c)
				continue
			}
			for v := range s.values {
				in[v] = binary.AppendUvarint(binary.AppendUvarint(in[v], uint64(i)), uint64(c))
				d.work++
			}
		}
	}
	at := map[string]int{}
	for v := range in {
		k, ok := at[string(in[v])]
		if !ok {
			k = len(classes)
			at[string(in[v])] = k
			c := class{newSet(n), make([][]int, len(live))}
			for key := in[v]; len(key) > 0; {
				i, w := binary.Uvarint(key)
				id, x := binary.Uvarint(key[w:])
				c.clauses[i] = append(c.clauses[i], int(id))
				key = key[w+x:]
			}
			classes = append(classes, c)
		}
		classes[k].values.add(v)
	}
	d.work += n
	return classes, anyValue
}

// merge are the clauses of both lists in order, up to the first that has no
// condition in dim and after it: what comes later cannot matter.
func (d *diagram) merge(policy, dim int, a, b []int) []int {
	list := make([]int, 0, len(b)+1)
	for len(a)+len(b) > 0 {
		var c int
		if len(b) == 0 || len(a) > 0 && a[0] < b[0] {
			c, a = a[0], a[1:]
		} else {
			c, b = b[0], b[1:]
		}
		list = append(list, c)
		if d.work++; d.free(policy, c, dim) {
			break
		}
	}
	return list
}

// split cuts each block into what is in s and what is not.
func split(blocks []set, s set) []set {
	for i, n := 0, len(blocks); i < n; i++ {
		if blocks[i].meets(s) && !blocks[i].within(s) {
			blocks = append(blocks, blocks[i].minus(s))
			blocks[i] = blocks[i].and(s)
		}
	}
	return blocks
}

func (d *diagram) leafNode(label int) int {
	n, ok := d.leaves[label]
	if !ok {
		n = len(d.nodes)
		d.nodes = append(d.nodes, node{dim: -1, label: label})
		d.leaves[label] = n
	}
	return n
}

func (d *diagram) branchNode(dim int, edges []edge) int {
	key := binary.AppendVarint(nil, int64(dim))
	to := make([]int, d.space.size[dim])
	for _, e := range edges {
		for v := range e.values.values {
			to[v] = e.to
		}
	}
	for _, t := range to {
		key = binary.AppendUvarint(key, uint64(t))
	}
	d.work += len(key)
	n, ok := d.known[string(key)]
	if !ok {
		n = len(d.nodes)
		d.nodes = append(d.nodes, node{dim: dim, edges: edges})
		d.known[string(key)] = n
	}
	return n
}

// relabel is the diagram with other labels, whose parts that became equal are one.
func (d *diagram) relabel(label func(int) int) *diagram {
	r := &diagram{space: d.space, leaves: map[int]int{}, known: map[string]int{}}
	became := make([]int, len(d.nodes))
	for i := range d.nodes { // the nodes below one come before it
		nd := &d.nodes[i]
		if nd.dim < 0 {
			became[i] = r.leafNode(label(nd.label))
			continue
		}
		var edges []edge
		for _, e := range nd.edges {
			edges = addEdge(edges, e.values, became[e.to])
		}
		if became[i] = edges[0].to; len(edges) > 1 {
			became[i] = r.branchNode(nd.dim, edges)
		}
	}
	r.root, r.work = became[d.root], 0
	return r
}

func memoKey(dim int, live [][]int) string {
	key := binary.AppendVarint(nil, int64(dim))
	for _, list := range live {
		key = binary.AppendVarint(key, int64(len(list)))
		for _, c := range list {
			key = binary.AppendVarint(key, int64(c))
		}
	}
	return string(key)
}
