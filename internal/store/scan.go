package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"golang.org/x/sync/errgroup"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// Most columns have few different values, and segments hold those as a
// dictionary and a number, the code, for each row. A scan counts by codes: a
// condition is asked once for each combination of values, not for each event, and
// a text is looked at once for each row group. So it costs a fraction of what the
// engine takes, which sees each event's values. It is for counts by columns that
// have dictionaries; for all others, and where there are many groups, there is
// the engine.

// errEngine means that a question is one for the engine.
var errEngine = errors.New("scan: too many groups, or a column without a dictionary")

const (
	// scanGroup is about what a group takes beside its keys, in bytes.
	scanGroup = 256
	// scanTexts is how many bytes a row group's columns may have of which a scan
	// looks at the texts: clients choose how long those are.
	scanTexts = 16 << 20
	// scanNamed is how many matching rows a row group has at most if they are
	// counted by a column of many values, such as name: with more of them, the
	// groups would soon be too many.
	scanNamed = 4 << 10
	// scanSegments is how many files a scan opens at most.
	scanSegments = 128
)

// condition is a part of a filter that needs a few columns.
type condition struct {
	columns []string
	match   func(*audit.Event) bool
}

// conditionsOf is a filter as conditions, all of which must hold; ok is false if
// one needs a column that has no codes.
func conditionsOf(f *query.Filter) (all []condition, ok bool) {
	for _, part := range f.Conjuncts() {
		c := condition{match: part.Match, columns: usedBy(part)}
		if !haveCodes(c.columns) || len(c.columns) == 0 {
			return nil, false
		}
		all = append(all, c)
	}
	return all, true
}

// usedBy are the columns of a filter.
func usedBy(f *query.Filter) []string {
	return slices.DeleteFunc(query.ColumnNames(), func(name string) bool { return !f.Uses(name) })
}

// haveCodes reports whether a scan can read columns.
func haveCodes(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !codedColumns()[name] })
}

// codedColumns are those of few values: with dictionaries, and the flags.
var codedColumns = sync.OnceValue(func() map[string]bool {
	coded := map[string]bool{}
	for _, c := range columns() {
		coded[c.name] = c.flag != nil || c.enc.Encoding() == format.RLEDictionary
	}
	return coded
})

// scan calls fn for each row group that may have events in a range, from several
// goroutines, each with a scanner of its own.
func (s *Store) scan(ctx context.Context, segments []*segment, r query.Range, fn func(*scanner) error) error {
	files := make([]scanFile, len(segments))
	for i, g := range segments {
		files[i].segment = g
	}
	defer func() {
		for i := range files {
			files[i].close()
		}
	}()
	work, ctx := errgroup.WithContext(ctx)
	for range cap(s.scans) {
		work.Go(func() error {
			w := newScanner()
			for i := range files {
				f := &files[i]
				_, err := guard(func() (struct{}, error) { return struct{}{}, f.each(ctx, s.scans, r, w, fn) })
				if err != nil && !errors.Is(err, errEngine) && ctx.Err() == nil {
					err = &engineError{msg: fmt.Sprintf("%s: %v", f.segment.Path, err)}
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return work.Wait()
}

// scanFile is a segment that several goroutines read, a row group each at a time.
type scanFile struct {
	segment *segment
	open    sync.Once
	err     error
	file    *os.File
	parquet *parquet.File
	next    atomic.Int64 // row group that nobody has taken
}

func (f *scanFile) close() {
	if f.file != nil {
		f.file.Close()
	}
}

// check holds the row groups against the MANIFEST: the engine may be misled by a
// damaged footer, but nothing here asks for the memory that one names.
func (f *scanFile) check() error {
	left := f.segment.Rows
	for _, g := range f.parquet.RowGroups() {
		n := g.NumRows()
		if n < 0 || n > left {
			return fmt.Errorf("a row group has %d rows, the file at most %d more", n, left)
		}
		left -= n
	}
	if left > 0 {
		return fmt.Errorf("the file lacks %d rows", left)
	}
	return nil
}

func (f *scanFile) each(ctx context.Context, turns chan struct{}, r query.Range, w *scanner, fn func(*scanner) error) error {
	f.open.Do(func() {
		if f.file, f.err = os.Open(f.segment.Path); f.err != nil {
			return
		}
		f.parquet, f.err = guard(func() (*parquet.File, error) {
			return parquet.OpenFile(f.file, f.segment.Bytes, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(256<<10))
		})
		if f.err == nil {
			f.err = f.check()
		}
	})
	if f.err != nil {
		return f.err
	}
	groups := f.parquet.RowGroups()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		i := int(f.next.Add(1)) - 1
		if i >= len(groups) {
			return nil
		}
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := func() error {
			defer func() { w.end(); <-turns }()
			w.begin(f, i)
			bounds := &w.chunks[colTime].MetaData.Statistics
			whole, none := w.span(bounds.MinValue, bounds.MaxValue, r)
			if none {
				return nil
			}
			if !whole {
				times, err := w.ints("time")
				if err != nil {
					return err
				}
				w.keep(func(row int32) bool {
					t := audit.Time(times[row])
					return (r.From == 0 || t >= r.From) && (r.To == 0 || t < r.To)
				})
			}
			return fn(w)
		}()
		if err != nil {
			return err
		}
	}
}

// scanner reads columns of one row group after the other.
type scanner struct {
	event  audit.Event    // what set writes to
	bucket int64          // the same for buckets of time
	field  map[string]any // pointers to event's fields, by column

	segment *segment
	index   int // of the row group in it

	file   *parquet.File
	group  parquet.RowGroup
	chunks []format.ColumnChunk // of the group
	bytes  int64                // of the columns that were read
	rows   []int32              // those that match, ascending
	coded  map[string]*coded
	number map[string][]int64
	spare  [][]int32 // memory for codes
	folded []int32
	// answers of asked, valid until it is called again.
	answers []bool
}

// coded is a column of a row group: for each row the number of its value.
type coded struct {
	codes []int32
	n     int              // of values
	set   func(code int32) // writes a value to the scanner's event
}

func newScanner() *scanner {
	w := &scanner{}
	w.field = fieldsOf(&w.event)
	return w
}

func (w *scanner) begin(s *scanFile, i int) {
	f := s.parquet
	w.segment, w.index = s.segment, i
	w.file, w.group, w.chunks, w.bytes = f, f.RowGroups()[i], f.Metadata().RowGroups[i].Columns, 0
	w.coded, w.number = map[string]*coded{}, map[string][]int64{}
	w.rows = w.rows[:0]
	for i := range int32(w.group.NumRows()) {
		w.rows = append(w.rows, i)
	}
}

// end forgets the row group: whoever waits for their turn holds no texts.
func (w *scanner) end() {
	for _, c := range w.coded {
		w.spare = append(w.spare, c.codes)
	}
	w.coded, w.number = nil, nil
}

// codes is memory for codes, without any.
func (w *scanner) codes() (codes []int32) {
	if k := len(w.spare); k > 0 {
		codes, w.spare = w.spare[k-1][:0], w.spare[:k-1]
	}
	return codes
}

// span says whether all or none of the row group's events are in a range, by the
// least and the greatest time in the footer.
func (w *scanner) span(least, greatest []byte, r query.Range) (whole, none bool) {
	if len(least) != 8 || len(greatest) != 8 {
		return r == query.Range{}, false
	}
	from, to := audit.Time(binary.LittleEndian.Uint64(least)), audit.Time(binary.LittleEndian.Uint64(greatest))
	none = r.From != 0 && to < r.From || r.To != 0 && from >= r.To
	return (r.From == 0 || from >= r.From) && (r.To == 0 || to < r.To), none
}

func (w *scanner) keep(want func(row int32) bool) {
	kept := w.rows[:0]
	for _, row := range w.rows {
		if want(row) {
			kept = append(kept, row)
		}
	}
	w.rows = kept
}

// filter keeps the rows of which a condition is true.
func (w *scanner) filter(c condition) error {
	if len(w.rows) == 0 {
		return nil
	}
	yes, err := w.asked(c)
	if err != nil {
		return err
	}
	kept := w.rows[:0]
	for i, row := range w.rows {
		if yes[i] {
			kept = append(kept, row)
		}
	}
	w.rows = kept
	return nil
}

// asked is of which rows a condition is true, one for each of w.rows. It is asked
// once for each combination of values.
func (w *scanner) asked(c condition) ([]bool, error) {
	codes, n, err := w.fold(c.columns)
	if err != nil {
		return nil, err
	}
	const unknown, no, yes = 0, 1, 2
	known := make([]byte, n)
	w.answers = slices.Grow(w.answers[:0], len(w.rows))[:len(w.rows)]
	for i, row := range w.rows {
		k := &known[codes[i]]
		if *k == unknown {
			w.set(c.columns, row)
			if *k = no; c.match(&w.event) {
				*k = yes
			}
		}
		w.answers[i] = *k == yes
	}
	return w.answers, nil
}

// set writes a row's values of columns, which were read, to the event.
func (w *scanner) set(columns []string, row int32) {
	for _, name := range columns {
		c := w.coded[name]
		c.set(c.codes[row])
	}
}

// fold numbers the combinations of values that the matching rows have in columns:
// codes has one for each of w.rows, below n, and is valid until the next fold.
func (w *scanner) fold(columns []string) (codes []int32, n int, err error) {
	w.folded = slices.Grow(w.folded[:0], len(w.rows))[:len(w.rows)]
	clear(w.folded)
	codes, n = w.folded, 1
	for _, name := range columns {
		c, err := w.column(name)
		if err != nil {
			return nil, 0, err
		}
		n = combine(codes, n, w.rows, c)
	}
	return codes, n, nil
}

// combine makes codes, below n, those of both them and another column, and gives
// how many there are. They are numbered anew where there are more numbers than rows.
func combine(codes []int32, n int, rows []int32, c *coded) int {
	product := n * c.n
	if product <= 2*len(rows)+1024 {
		for i, row := range rows {
			codes[i] = codes[i]*int32(c.n) + c.codes[row]
		}
		return product
	}
	count := int32(0)
	if product <= 16*len(rows) {
		seen := make([]int32, product)
		for i, row := range rows {
			k := &seen[int(codes[i])*c.n+int(c.codes[row])]
			if *k == 0 {
				count++
				*k = count
			}
			codes[i] = *k - 1
		}
		return int(count)
	}
	seen := map[int]int32{}
	for i, row := range rows {
		k := int(codes[i])*c.n + int(c.codes[row])
		code, ok := seen[k]
		if !ok {
			code = count
			seen[k] = code
			count++
		}
		codes[i] = code
	}
	return int(count)
}

// buckets makes a column of the numbers of buckets of time: the first begins at
// origin. It is set as the scanner's bucket.
func (w *scanner) buckets(name string, origin audit.Time, width int64) error {
	times, err := w.ints("time")
	if err != nil {
		return err
	}
	c := &coded{codes: slices.Grow(w.codes(), len(times))[:len(times)]}
	var values []int64 // ascending, as the rows are
	for _, row := range w.rows {
		at := times[row] - int64(origin)
		b := at / width
		if at%width < 0 {
			b--
		}
		if k := len(values); k == 0 || values[k-1] != b {
			values = append(values, b)
		}
		c.codes[row] = int32(len(values) - 1)
	}
	c.n = len(values)
	c.set = func(code int32) { w.bucket = values[code] }
	w.coded[name] = c
	return nil
}
