package capture

import (
	"sync"
	"time"
)

// recent is a bounded map whose entries have an end. When it is full, what has
// ended goes first and then whatever comes: clients choose the keys, so neither
// its size nor the cost of keeping it small may be theirs to choose.
type recent[K comparable, V any] struct {
	most int

	mu sync.RWMutex
	m  map[K]held[V]
}

type held[V any] struct {
	value V
	until time.Time
}

func newRecent[K comparable, V any](most int) *recent[K, V] {
	return &recent[K, V]{most: most, m: map[K]held[V]{}}
}

func (c *recent[K, V]) get(key K) (V, bool) {
	c.mu.RLock()
	h, ok := c.m[key]
	c.mu.RUnlock()
	if !ok || !time.Now().Before(h.until) {
		var none V
		return none, false
	}
	return h.value, true
}

func (c *recent[K, V]) put(key K, value V, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.m[key]; !known && len(c.m) >= c.most {
		c.shrink()
	}
	c.m[key] = held[V]{value, until}
}

// shrink makes room for a sixteenth of the entries, so that a full map is not
// walked for every one that is put.
func (c *recent[K, V]) shrink() {
	now := time.Now()
	room := max(1, c.most/16)
	for k, h := range c.m {
		if !now.Before(h.until) {
			delete(c.m, k)
		}
	}
	for k := range c.m { // Go walks a map from a random place
		if len(c.m) <= c.most-room {
			return
		}
		delete(c.m, k)
	}
}

func (c *recent[K, V]) drop(key K) {
	c.mu.Lock()
	delete(c.m, key)
	c.mu.Unlock()
}
