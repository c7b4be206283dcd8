package simulate

import "slices"

// table is rows by key, of which there are never more than a limit: when it is
// reached the lighter half of them is folded into fewer. What is heavy stays, what
// is sums over all rows stays exact.
type table[R any] struct {
	rows  map[string]*R
	limit int
	// weight orders rows; fold gives the key of the row that takes one in, or the
	// same key if it can go nowhere.
	weight func(*R) int64
	fold   func(key string, r *R) (string, *R)
	merge  func(to, from *R)
	// folded counts rows that lost their own name.
	folded int64
}

// room makes room for one more row.
func (t *table[R]) room() {
	for len(t.rows) >= t.limit {
		t.halve()
	}
}

func (t *table[R]) halve() {
	weights := make([]int64, 0, len(t.rows))
	for _, r := range t.rows {
		weights = append(weights, t.weight(r))
	}
	slices.Sort(weights)
	middle := weights[len(weights)/2]
	var light []string
	for key, r := range t.rows {
		if t.weight(r) <= middle {
			light = append(light, key)
		}
	}
	slices.Sort(light)
	stuck := true
	for _, key := range light {
		r := t.rows[key]
		into, empty := t.fold(key, r)
		if into == key {
			continue
		}
		stuck = false
		delete(t.rows, key)
		t.folded++
		if t.rows[into] == nil {
			t.rows[into] = empty
		}
		t.merge(t.rows[into], r)
	}
	if stuck { // only what cannot be folded any more is left
		t.limit = len(t.rows) + t.limit
	}
}

// take merges all rows of o, which is not used afterwards.
func (t *table[R]) take(o *table[R]) {
	t.folded += o.folded
	for key, r := range o.rows {
		if own := t.rows[key]; own != nil {
			t.merge(own, r)
		} else {
			t.rows[key] = r
		}
	}
	t.room()
}
