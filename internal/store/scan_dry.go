package store

import (
	"sync"

	"github.com/ktrail/ktrail/internal/query"
)

// dryMemory is how many bytes what is remembered of dry runs may take: those of
// over a hundred million events.
const dryMemory = 16 << 20

// dryEntry is about what a row group takes beside its bits: most have no dry run.
const dryEntry = 192

// dryRuns remembers which events are dry runs. Only URIs tell, and a row group's
// are the most that it has of anything but raw lines; what a segment holds never
// changes, so they are read once.
type dryRuns struct {
	mu    sync.Mutex
	known map[dryGroup][]byte
	bytes int
}

// dryGroup is a row group of what a segment holds: whoever puts a backup back
// beside a reader may give a number to other contents.
type dryGroup struct {
	sha256 string
	group  int
}

// of gives a bit for each row of the scanner's row group: whether it is a write
// that was a dry run. It is empty if none was.
func (d *dryRuns) of(w *scanner) ([]byte, error) {
	key := dryGroup{w.segment.sha256, w.index}
	d.mu.Lock()
	bits, ok := d.known[key]
	d.mu.Unlock()
	if ok {
		return bits, nil
	}
	bits, err := w.dryRuns()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil || d.bytes > dryMemory {
		d.known, d.bytes = map[dryGroup][]byte{}, 0
	}
	if _, ok := d.known[key]; !ok { // two questions may have read the same
		d.known[key] = bits
		d.bytes += len(bits) + dryEntry
	}
	return bits, nil
}

// dryRuns reads the URIs of the row group's writes: of nothing else it matters
// whether it is a dry run.
func (w *scanner) dryRuns() ([]byte, error) {
	writes := condition{usedBy(query.Writes()), query.Writes().Match}
	matching := w.rows
	defer func() { w.rows = matching }()
	w.rows = make([]int32, w.group.NumRows())
	for i := range w.rows {
		w.rows[i] = int32(i)
	}
	if err := w.filter(writes); err != nil || len(w.rows) == 0 {
		return nil, err
	}
	uris, err := w.column("uri")
	if err != nil {
		return nil, err
	}
	const unknown, no, yes = 0, 1, 2
	known := make([]byte, uris.n)
	var bits []byte
	for _, row := range w.rows {
		k := &known[uris.codes[row]]
		if *k == unknown {
			uris.set(uris.codes[row])
			if *k = no; query.DryRun().Match(&w.event) {
				*k = yes
			}
		}
		if *k == yes {
			if bits == nil {
				bits = make([]byte, (w.group.NumRows()+7)/8)
			}
			bits[row/8] |= 1 << (row % 8)
		}
	}
	return bits, nil
}
