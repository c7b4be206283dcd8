package simulate

import "slices"

// table is rows by key, of which there are never more than a limit, nor keys of more
// than maxKeys bytes: when it is reached the lighter half of them is folded into fewer.
// What is heavy stays, what is sums over all rows stays exact.
type table[R any] struct {
	rows  map[string]*R
	limit int
	keys  int // bytes
	spare int // bytes of keys above maxKeys, of rows that cannot be folded
	// weight orders rows; fold gives the key of the row that takes one in, or the
	// same key if it can go nowhere.
	weight func(*R) int64
	fold   func(key string, r *R) (string, *R)
	merge  func(to, from *R)
	// folded counts rows that lost their own name.
	folded int64
}

// maxKeys bounds the bytes of a table's keys: a client may be in many groups with long
// names. All keys of the longest table stay below it if they are short.
const maxKeys = 32 << 20

// put adds a row under a key that the table does not have.
func (t *table[R]) put(key string, r *R) {
	t.room()
	t.rows[key] = r
	t.keys += len(key)
}

// room makes room for one more row.
func (t *table[R]) room() {
	for len(t.rows) >= t.limit || t.keys >= maxKeys+t.spare {
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
		t.keys -= len(key)
		t.folded++
		if t.rows[into] == nil {
			t.rows[into] = empty
			t.keys += len(into)
		}
		t.merge(t.rows[into], r)
	}
	if stuck { // only what cannot be folded any more is left
		t.limit += len(t.rows)
		t.spare += t.keys
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
			t.keys += len(key)
		}
	}
	t.room()
}
