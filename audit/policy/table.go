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

// table maps a string, or a pair of strings, to a set of clauses. It is a hash table
// with open addressing that is filled once and never more than a quarter full. Only
// the policy's author chooses what is in it; what clients send is looked up and
// meets the next free slot soon, whatever it is.
type table struct {
	slots   []slot // a power of two, or none
	longest int    // key: what is longer need not be looked up, nor hashed
	miss    *set   // of what is not in the table
	// miss64 and slot.set64 are the first words of the sets, at hand for policies
	// of at most 64 clauses, which most are.
	miss64 uint64
}

type slot struct {
	hash     uint64 // 0 in a free slot
	set64    uint64
	key, sub string
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

func (t *table) slot(key string) *slot {
	if len(key) > t.longest || len(t.slots) == 0 {
		return nil
	}
	return t.probe(hash(key), key, "")
}

// pair is the slot of a pair, nil if there is none.
func (t *table) pair(key, sub string) *slot {
	if max(len(key), len(sub)) > t.longest || len(t.slots) == 0 {
		return nil
	}
	return t.probe(hashPair(key, sub), key, sub)
}

func (t *table) probe(h uint64, key, sub string) *slot {
	for i := h; ; i++ {
		s := &t.slots[i&uint64(len(t.slots)-1)]
		if s.hash == h && s.key == key && s.sub == sub {
			return s
		}
		if s.hash == 0 {
			return nil
		}
	}
}

// put is called with a key that the table does not have.
func (t *table) put(h uint64, key, sub string, s *set) {
	i, mask := h, uint64(len(t.slots)-1)
	for t.slots[i&mask].hash != 0 {
		i++
	}
	t.longest = max(t.longest, len(key), len(sub))
	t.slots[i&mask] = slot{hash: h, key: key, sub: sub, set: s, set64: s.words[0]}
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
