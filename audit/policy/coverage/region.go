package coverage

import (
	"slices"

	"github.com/ktrail/ktrail/audit/policy"
)

// box is a product of sets of requests, a set for each dimension, nil for all.
type box []set

// Labels below 1 are no region: noRegion keeps regions apart, anyRegion does not
// matter, so that a region may grow over it.
const (
	noRegion  = 0
	anyRegion = -1
)

// boxes are the requests of each region, by label, as products of sets without overlap.
func (d *diagram) boxes() (map[int][]box, error) {
	all := map[int][]box{}
	n := 0
	at := make(box, len(d.space.size))
	var walk func(node int) error
	walk = func(i int) error {
		nd := &d.nodes[i]
		if nd.dim < 0 {
			if nd.label <= 0 {
				return nil
			}
			if n++; n > maxBoxes {
				return ErrTooLarge
			}
			all[nd.label] = append(all[nd.label], append(box(nil), at...))
			return nil
		}
		for _, e := range nd.edges {
			at[nd.dim] = e.values
			if err := walk(e.to); err != nil {
				return err
			}
		}
		at[nd.dim] = nil
		return nil
	}
	if err := walk(d.root); err != nil {
		return nil, err
	}
	return all, nil
}

// only is whether every request of the box has the label, or does not matter.
func (d *diagram) only(b box, label int) bool {
	seen := make(map[int]bool)
	var walk func(i int) bool
	walk = func(i int) bool {
		nd := &d.nodes[i]
		if nd.dim < 0 {
			return nd.label == label || nd.label == anyRegion
		}
		if ok, known := seen[i]; known {
			return ok
		}
		ok := true
		for _, e := range nd.edges {
			d.work++
			if (b[nd.dim] == nil || b[nd.dim].meets(e.values)) && !walk(e.to) {
				ok = false
				break
			}
		}
		seen[i] = ok
		return ok
	}
	return walk(d.root)
}

// classes are, for each dimension, the values that no node tells apart.
func (d *diagram) classes() [][]set {
	all := make([][]set, len(d.space.size))
	for dim, n := range d.space.size {
		all[dim] = []set{fullSet(n)}
	}
	for i := range d.nodes {
		if nd := &d.nodes[i]; nd.dim >= 0 {
			for _, e := range nd.edges {
				all[nd.dim] = split(all[nd.dim], e.values)
			}
		}
	}
	return all
}

// few covers the requests of disjoint boxes with few large ones, which may
// overlap but hold no request of another label. It goes as far as a budget of
// work lets it; what is left over is covered by the boxes as they are.
//
// The second result is for each box the one it grew from: all requests of that
// have the label.
func (d *diagram) few(disjoint []box, label int, classes [][]set) (chosen, seeds []box) {
	for _, b := range disjoint {
		if covered(b, chosen) {
			continue
		}
		seeds = append(seeds, b)
		if d.work < maxWork {
			b = d.grow(b, label, classes)
		}
		chosen = append(chosen, b)
	}
	// A later box may have made an earlier one needless.
	for i := len(chosen) - 1; i >= 0 && len(chosen) <= 60; i-- {
		rest := slices.Concat(chosen[:i], chosen[i+1:])
		needed := false
		for _, b := range disjoint {
			if !covered(b, rest) {
				needed = true
				break
			}
		}
		if !needed {
			chosen, seeds = rest, slices.Concat(seeds[:i], seeds[i+1:])
		}
	}
	return chosen, seeds
}

func covered(b box, by []box) bool {
	for _, c := range by {
		if b.within(c) {
			return true
		}
	}
	return false
}

func (b box) within(c box) bool {
	for dim := range b {
		if c[dim] == nil {
			continue
		}
		if b[dim] == nil || !b[dim].within(c[dim]) {
			return false
		}
	}
	return true
}

// grow makes a box as large as its label goes. Who asks comes first: people
// look for what is done, by whomever, and then where.
func (d *diagram) grow(b box, label int, classes [][]set) box {
	b = append(box(nil), b...)
	order := make([]int, 0, len(b))
	for dim := dimGroups; dim < len(b); dim++ {
		order = append(order, dim)
	}
	for _, dim := range append(order, dimUser, dimName, dimNamespace, dimVerb, dimWhat) {
		was := b[dim]
		if was == nil {
			continue
		}
		if b[dim] = nil; d.only(b, label) {
			continue
		}
		b[dim] = was
		for _, c := range classes[dim] {
			if c.within(b[dim]) {
				continue
			}
			was := b[dim]
			if b[dim] = was.or(c); !d.only(b, label) {
				b[dim] = was
			}
		}
	}
	return b
}

// witness is one request of the box: of each dimension the first value, that is
// one with a name if there is any.
func (s *space) witness(b box) policy.Attributes {
	pick := func(dim int) int {
		if b[dim] == nil {
			return s.size[dim] - 1
		}
		return b[dim].first()
	}
	var a policy.Attributes
	if b[dimWhat] == nil {
		b = append(box(nil), b...)
		b[dimWhat] = fullSet(len(s.what))
	}
	if w := &s.what[b[dimWhat].first()]; w.path != "" {
		a.NonResource, a.Path = true, w.path
	} else {
		a.APIGroup, a.Resource, a.Subresource = w.group, w.resource, w.subresource
		a.Namespace, a.Name = s.namespaces[pick(dimNamespace)], s.names[pick(dimName)]
	}
	if b[dimVerb] == nil {
		a.Verb = "get"
	} else {
		a.Verb = s.verbs[b[dimVerb].first()]
	}
	user := s.size[dimUser] - 2 // any other
	if b[dimUser] != nil {
		user = b[dimUser].first()
	}
	if user == s.nobody() {
		a.NoUser = true
		return a
	}
	a.User = s.users[user]
	for i, class := range s.groups {
		if set := b[dimGroups+i]; set != nil && !set.has(noMember) {
			a.Groups = append(a.Groups, class[0])
		}
	}
	return a
}
