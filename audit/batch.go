package audit

import (
	"slices"
	"unsafe"
)

// Batch is a list of events and all the memory that they point into.
// The zero Batch is ready for use. It is not safe for concurrent use.
//
// Events, and the strings and lists in them, are valid until Reset: whoever keeps
// one longer clones its strings. A batch that is reused does not allocate.
type Batch struct {
	// Events are the decoded events, in the order of Add. Callers may change
	// columns, reorder and cut the list.
	Events []Event
	// Cluster and Source are set in each event that is added.
	Cluster, Source string

	mem arena
}

// Add copies line, one JSON object without its newline, decodes it and appends
// the event. If it is not an audit event it adds nothing and returns a *[DecodeError].
func (b *Batch) Add(line []byte) error {
	mark := b.mem.mark()
	n := len(b.Events)
	if n == cap(b.Events) {
		b.Events = slices.Grow(b.Events, max(n, 64)) // append would copy them five times over
	}
	b.Events = append(b.Events, Event{Cluster: b.Cluster, Source: b.Source})
	if err := decode(b.mem.line(line), len(line), &b.mem, &b.Events[n]); err != nil {
		b.Events = b.Events[:n]
		b.mem.rewind(mark)
		return err
	}
	return nil
}

// Bytes is the memory in use: lines, decoded strings, lists and events.
func (b *Batch) Bytes() int64 {
	return b.mem.used + int64(len(b.Events))*int64(unsafe.Sizeof(Event{}))
}

// Reset empties the batch and keeps its memory for the next events, but for
// the chunks of lines larger than a chunk. Events handed out before are invalid.
func (b *Batch) Reset() {
	if b.mem.reset() {
		clear(b.Events[:cap(b.Events)]) // they would keep the large chunks alive
		clear(b.mem.scratch[:cap(b.mem.scratch)])
	}
	b.Events = b.Events[:0]
}

// CopyLine copies line into the batch's memory and returns it as a string that
// lives as long as the batch's events. It is for those who rewrite [Event.Raw].
func (b *Batch) CopyLine(line []byte) string {
	return b.mem.line(line).str(0, len(line))
}

// chunkSize is the size of an arena's chunks in bytes, and listSize in strings.
const (
	chunkSize = 512 << 10
	listSize  = 4 << 10
)

// arena owns bytes and lists of strings. Chunks never move, so that strings into
// them stay valid; at is the chunk in use, those behind it are free.
type arena struct {
	chunks [][]byte // len is what is used
	at     int
	lists  [][]string
	listAt int
	used   int64
	large  bool // a chunk is larger than chunkSize
	size   int  // of the first chunk if it is not to be chunkSize
	single bool // for one event, which may be kept long: nothing takes much more than it needs
	// scratch is for a list whose length is not known yet.
	scratch []string
}

// arenaMark is a state of an arena to go back to.
type arenaMark struct {
	at, n, listAt, listN int
	used                 int64
}

func (a *arena) mark() arenaMark {
	m := arenaMark{at: a.at, listAt: a.listAt, used: a.used}
	if a.at < len(a.chunks) {
		m.n = len(a.chunks[a.at])
	}
	if a.listAt < len(a.lists) {
		m.listN = len(a.lists[a.listAt])
	}
	return m
}

func (a *arena) rewind(m arenaMark) {
	for i := m.at; i < len(a.chunks) && i <= a.at; i++ {
		a.chunks[i] = a.chunks[i][:0]
	}
	for i := m.listAt; i < len(a.lists) && i <= a.listAt; i++ {
		a.lists[i] = a.lists[i][:0]
	}
	if m.at < len(a.chunks) {
		a.chunks[m.at] = a.chunks[m.at][:m.n]
	}
	if m.listAt < len(a.lists) {
		a.lists[m.listAt] = a.lists[m.listAt][:m.listN]
	}
	a.at, a.listAt, a.used = m.at, m.listAt, m.used
}

// reset frees everything and reports whether it dropped large chunks.
func (a *arena) reset() (dropped bool) {
	dropped = a.large
	if a.large {
		kept := a.chunks[:0]
		for _, c := range a.chunks {
			if cap(c) == chunkSize {
				kept = append(kept, c)
			}
		}
		clear(a.chunks[len(kept):])
		a.chunks = kept
	}
	for i := range a.chunks {
		a.chunks[i] = a.chunks[i][:0]
	}
	for i := range a.lists {
		a.lists[i] = a.lists[i][:0]
	}
	a.at, a.listAt, a.used, a.large = 0, 0, 0, false
	return dropped
}

// grow returns n bytes of undefined content.
func (a *arena) grow(n int) []byte {
	a.used += int64(n)
	if a.at < len(a.chunks) {
		c := a.chunks[a.at]
		if l := len(c); cap(c)-l >= n {
			a.chunks[a.at] = c[:l+n]
			return c[l : l+n : l+n]
		}
	}
	return a.growChunk(n)
}

func (a *arena) growChunk(n int) []byte {
	next := min(a.at+1, len(a.chunks))
	if next < len(a.chunks) && cap(a.chunks[next]) >= n {
		a.at = next
		a.chunks[next] = a.chunks[next][:n]
		return a.chunks[next][:n:n]
	}
	size := chunkSize
	switch {
	case n > size:
		size, a.large = n, true
	case a.size >= n:
		size, a.size = a.size, 0
	case a.single:
		size = max(n, 256)
	}
	c := make([]byte, n, size)
	a.chunks = slices.Insert(a.chunks, next, c) // the free ones stay behind it
	a.at = next
	return c[:n:n]
}

// shrink gives back the last n bytes of the last grow.
func (a *arena) shrink(n int) {
	a.used -= int64(n)
	a.chunks[a.at] = a.chunks[a.at][:len(a.chunks[a.at])-n]
}

// line copies line and pads it as the scanner needs.
func (a *arena) line(line []byte) src {
	c := a.grow(len(line) + pad)
	n := copy(c, line)
	*(*[pad]byte)(c[n:]) = [pad]byte{}
	return src{unsafe.Pointer(unsafe.SliceData(c))}
}

// keep copies a list.
func (a *arena) keep(list []string) []string {
	n := len(list)
	a.used += int64(n) * int64(unsafe.Sizeof(""))
	if n > listSize || a.single {
		return slices.Clone(list) // not to be used again
	}
	for ; a.listAt < len(a.lists); a.listAt++ {
		if c := a.lists[a.listAt]; cap(c)-len(c) >= n {
			l := len(c)
			a.lists[a.listAt] = append(c, list...)
			return a.lists[a.listAt][l : l+n : l+n]
		}
	}
	c := make([]string, 0, listSize)
	a.lists = append(a.lists, append(c, list...))
	a.listAt = len(a.lists) - 1
	return a.lists[a.listAt][:n:n]
}
