package policy

import "math/bits"

// set is a set of clauses.
type set struct {
	words   []uint64
	summary []uint64 // bit w: words[w] is not zero
	pivots  []uint64 // bit w: words[w] has a clause whose pivot is this set's value
}

func newSet(words int) *set {
	sums := (words + 63) / 64
	return &set{words: make([]uint64, words), summary: make([]uint64, sums), pivots: make([]uint64, sums)}
}

func (s *set) put(clause int) {
	s.words[clause>>6] |= 1 << (clause & 63)
	s.summary[clause>>12] |= 1 << (clause >> 6 & 63)
}

func (s *set) putPivot(clause int) { s.pivots[clause>>12] |= 1 << (clause >> 6 & 63) }

func (s *set) add(t *set) {
	for i, w := range t.words {
		s.words[i] |= w
	}
	for i, w := range t.summary {
		s.summary[i] |= w
	}
}

// table maps a string, or a pair of strings, to a set of clauses. It has the strings
// apart by their length, since that alone tells most of what a policy does not name,
// and much of what it does. Where a length has more than a few they are in a hash table
// with open addressing that is filled once and never more than a quarter full. Only
// the policy's author chooses what is in it; what clients send is looked up and meets
// the next free slot soon, whatever it is.
type table struct {
	byLength [][]slot // of keys; at maxLength is what is longer, too
	miss     *set     // of what is not in the table
	// miss64 and slot.set64 are the first words of the sets, at hand for policies
	// of at most 64 clauses, which most are.
	miss64 uint64
}

const (
	maxLength = 255 // of keys that have a list of their own length
	maxList   = 4   // slots that are compared one after the other, without a hash
)

type slot struct {
	key, sub string
	set64    uint64
	hash     uint64 // 0 in a free slot
	set      *set
}

// find is the set of a key.
func (t *table) find(key string) *set {
	if s := t.slot(key); s != nil {
		return s.set
	}
	return t.miss
}

// find64 is the first word of the set of a key.
func (t *table) find64(key string) uint64 {
	if s := t.slot(key); s != nil {
		return s.set64
	}
	return t.miss64
}

// slot is the slot of a key, nil if there is none.
func (t *table) slot(key string) *slot {
	n := min(len(key), maxLength)
	if n >= len(t.byLength) {
		return nil
	}
	slots := t.byLength[n]
	if len(slots) > maxList {
		return probe(slots, hash(key), key, "")
	}
	for i := range slots {
		if slots[i].key == key {
			return &slots[i]
		}
	}
	return nil
}

// pair is the slot of a pair, nil if there is none.
func (t *table) pair(key, sub string) *slot {
	n := min(len(key), maxLength)
	if n >= len(t.byLength) {
		return nil
	}
	slots := t.byLength[n]
	if len(slots) > maxList {
		return probe(slots, hashPair(key, sub), key, sub)
	}
	for i := range slots {
		if slots[i].key == key && slots[i].sub == sub {
			return &slots[i]
		}
	}
	return nil
}

// probe is the slot of a key, or a pair, in a hash table; nil if there is none.
func probe(slots []slot, h uint64, key, sub string) *slot {
	for i := h; ; i++ {
		s := &slots[i&uint64(len(slots)-1)]
		if s.hash == h && s.key == key && s.sub == sub {
			return s
		}
		if s.hash == 0 {
			return nil
		}
	}
}

// newTable has the slots of keys that differ.
func newTable(all []slot, miss *set) table {
	t := table{miss: miss, miss64: miss.words[0]}
	lists := map[int][]slot{}
	longest := -1
	for _, s := range all {
		n := min(len(s.key), maxLength)
		lists[n] = append(lists[n], s)
		longest = max(longest, n)
	}
	t.byLength = make([][]slot, longest+1)
	for n, list := range lists {
		t.byLength[n] = list
		if len(list) > maxList {
			t.byLength[n] = hashed(list)
		}
	}
	return t
}

// hashed are the slots as a hash table, a power of two of them.
func hashed(list []slot) []slot {
	size := 1
	for size < 4*len(list) {
		size *= 2
	}
	slots := make([]slot, size)
	for _, s := range list {
		i, mask := s.hash, uint64(size-1)
		for slots[i&mask].hash != 0 {
			i++
		}
		slots[i&mask] = s
	}
	return slots
}

func hashPair(key, sub string) uint64 { return mix(hash(key), hash(sub)) | 1<<63 }

// hash is never 0.
func hash(s string) uint64 {
	h := uint64(len(s)) ^ k0
	for ; len(s) > 16; s = s[16:] {
		h = mix(h^le64(s), k2^le64(s[8:]))
	}
	var a, b uint64
	switch n := len(s); {
	case n >= 8:
		a, b = le64(s), le64(s[n-8:])
	case n >= 4:
		a, b = uint64(le32(s)), uint64(le32(s[n-4:]))
	case n > 0:
		a = uint64(s[0])<<16 | uint64(s[n>>1])<<8 | uint64(s[n-1])
	}
	return mix(a^h, b^k1) | 1<<63
}

// Constants with as many ones as zeros, of wyhash.
const (
	k0 = 0xa0761d6478bd642f
	k1 = 0xe7037ed1a0b428db
	k2 = 0x8ebc6af09c88c6e3
)

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func le64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func le32(s string) uint32 {
	_ = s[3]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}
