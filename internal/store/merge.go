package store

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
	"github.com/parquet-go/parquet-go"
)

// run is so many rows of one input, in a row.
type run struct{ input, rows int }

// input is a segment being merged. Values pass from column to column as they
// are, without being made into events.
type input struct {
	reader  durable.Reader
	file    *parquet.File
	cursors []*columnCursor
}

func (s *Store) openInputs(segments []*segment) ([]*input, error) {
	var inputs []*input
	for _, g := range segments {
		r, err := s.openSegment(g)
		if err != nil {
			closeInputs(inputs)
			return nil, err
		}
		f, err := parquet.OpenFile(r, r.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
		if err != nil {
			_ = r.Close()
			closeInputs(inputs)
			return nil, fmt.Errorf("open segment %s: %w", g.Rel, err)
		}
		inputs = append(inputs, &input{reader: r, file: f, cursors: make([]*columnCursor, len(columns()))})
	}
	return inputs, nil
}

func closeInputs(inputs []*input) {
	for _, in := range inputs {
		for _, c := range in.cursors {
			if c != nil {
				c.close()
			}
		}
		_ = in.reader.Close()
	}
}

// ints reads a whole column of integers.
func (in *input) ints(col int) ([]int64, error) {
	list := make([]int64, 0, in.file.NumRows())
	for _, g := range in.file.RowGroups() {
		err := eachPage(g, col, func(p parquet.Page) {
			values := p.Data()
			list = append(list, values.Int64()...)
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// order tells in which runs the inputs' rows are to be read to be sorted by
// time and ID, and the times in that order.
func order(inputs []*input) ([]run, []audit.Time, error) {
	type key struct{ time, id int64 }
	type head struct {
		times, ids []int64
		input      int
	}
	var heads []*head
	total := 0
	for i, in := range inputs {
		times, err := in.ints(colTime)
		if err != nil {
			return nil, nil, err
		}
		ids, err := in.ints(colID)
		if err != nil {
			return nil, nil, err
		}
		if len(times) != len(ids) {
			return nil, nil, errors.New("merge segments: columns differ in length")
		}
		total += len(times)
		if len(times) > 0 {
			heads = append(heads, &head{times, ids, i})
		}
	}
	less := func(a, b *head) int {
		return cmp.Or(cmp.Compare(a.times[0], b.times[0]), cmp.Compare(a.ids[0], b.ids[0]))
	}
	slices.SortFunc(heads, less)
	runs, times := []run(nil), make([]audit.Time, 0, total)
	for len(heads) > 0 {
		h := heads[0]
		// Rows up to the next input's first come from this one.
		n := len(h.times)
		if len(heads) > 1 {
			next := key{heads[1].times[0], heads[1].ids[0]}
			for n = 1; n < len(h.times); n++ {
				if cmp.Or(cmp.Compare(h.times[n], next.time), cmp.Compare(h.ids[n], next.id)) > 0 {
					break
				}
			}
		}
		for _, t := range h.times[:n] {
			times = append(times, audit.Time(t))
		}
		runs = append(runs, run{h.input, n})
		h.times, h.ids = h.times[n:], h.ids[n:]
		if len(h.times) == 0 {
			heads = heads[1:]
			continue
		}
		// Move it back to its place.
		rest := heads[1:]
		at, _ := slices.BinarySearchFunc(rest, h, less)
		copy(heads, rest[:at])
		heads[at] = h
	}
	return runs, times, nil
}

// cutRuns takes n rows off the front of runs.
func cutRuns(runs []run, n int) (front, rest []run) {
	for i, r := range runs {
		if n < r.rows {
			front = append(slices.Clone(runs[:i]), run{r.input, n})
			rest = append([]run{{r.input, r.rows - n}}, runs[i+1:]...)
			if n == 0 {
				front = front[:i]
			}
			return front, rest
		}
		n -= r.rows
	}
	return runs, nil
}

// writeRuns writes one row group from the inputs. pace is called for each
// column and page, and its error ends it.
func (w *segmentWriter) writeRuns(inputs []*input, runs []run, pace func() error) error {
	for col := range w.cols {
		if err := pace(); err != nil {
			return err
		}
		if err := w.writeColumnRuns(col, inputs, runs, pace); err != nil {
			return fmt.Errorf("merge column %s: %w", w.cols[col].name, err)
		}
	}
	if err := w.file.Flush(); err != nil {
		return fmt.Errorf("write row group: %w", err)
	}
	return nil
}

func (w *segmentWriter) writeColumnRuns(col int, inputs []*input, runs []run, pace func() error) error {
	out, raw := w.writers[col], col == len(w.cols)-1
	var bytes, rows int
	for _, r := range runs {
		in := inputs[r.input]
		if in.cursors[col] == nil {
			in.cursors[col] = newColumnCursor(in.file, col, w.cols[col].list)
		}
		for left := r.rows; left > 0; {
			n, values, err := in.cursors[col].next(min(left, fillRows))
			if err != nil {
				return err
			}
			if raw { // cut the page where it is full
				for i := range values {
					if bytes += len(values[i].ByteArray()); bytes >= w.rawPage && i+1 < n {
						in.cursors[col].back(n - i - 1)
						n, values = i+1, values[:i+1]
						break
					}
				}
			}
			if _, err := out.WriteRowValues(values); err != nil {
				return err
			}
			left -= n
			rows += n
			if bytes >= w.rawPage || !raw && rows >= pageRows {
				if err := out.Flush(); err != nil {
					return err
				}
				if err := pace(); err != nil {
					return err
				}
				bytes, rows = 0, 0
			}
		}
	}
	return nil
}

// columnCursor reads a column of a file from its first row to its last.
type columnCursor struct {
	groups []parquet.RowGroup
	col    int
	list   bool
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	buf    []parquet.Value
	from   int // in buf: what is not handed out
	to     int
}

func newColumnCursor(f *parquet.File, col int, list bool) *columnCursor {
	return &columnCursor{groups: f.RowGroups(), col: col, list: list, buf: make([]parquet.Value, 2*fillRows)}
}

// next returns the values of up to n rows, at least one. They are valid until
// the next call.
func (c *columnCursor) next(n int) (rows int, values []parquet.Value, err error) {
	for {
		if rows, used := c.rows(n); rows > 0 {
			values := c.buf[c.from : c.from+used]
			c.from += used
			return rows, values, nil
		}
		if err := c.fill(); err != nil {
			return 0, nil, err
		}
	}
}

// back returns the last n values, one a row, to the cursor.
func (c *columnCursor) back(n int) { c.from -= n }

// rows counts the whole rows in the buffer, at most n, and their values.
func (c *columnCursor) rows(n int) (rows, used int) {
	have := c.buf[c.from:c.to]
	if !c.list {
		rows = min(n, len(have))
		return rows, rows
	}
	for i := range have {
		if have[i].RepetitionLevel() == 0 {
			if rows == n {
				return rows, i
			}
			rows++
			used = i
		}
	}
	if c.values == nil && rows > 0 { // the page has ended, and rows end with pages
		return rows, len(have)
	}
	return max(0, rows-1), used // the last row may go on
}

// fill reads more values behind those that are left.
func (c *columnCursor) fill() error {
	if c.values != nil {
		if c.from > 0 {
			c.to = copy(c.buf, c.buf[c.from:c.to])
			c.from = 0
		}
		if c.to == len(c.buf) {
			c.buf = append(c.buf, make([]parquet.Value, len(c.buf))...)
		}
		n, err := c.values.ReadValues(c.buf[c.to:])
		c.to += n
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			c.values = nil
			return nil
		}
		if err != nil {
			return fmt.Errorf("read values: %w", err)
		}
		return nil
	}
	c.from, c.to = 0, 0
	if c.page != nil {
		parquet.Release(c.page)
		c.page = nil
	}
	for {
		if c.pages == nil {
			if len(c.groups) == 0 {
				return io.ErrUnexpectedEOF
			}
			c.pages = c.groups[0].ColumnChunks()[c.col].Pages()
			c.groups = c.groups[1:]
		}
		p, err := c.pages.ReadPage()
		if errors.Is(err, io.EOF) {
			err = c.pages.Close()
			c.pages = nil
			if err != nil {
				return fmt.Errorf("read page: %w", err)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("read page: %w", err)
		}
		c.page, c.values = p, p.Values()
		return nil
	}
}

func (c *columnCursor) close() {
	if c.page != nil {
		parquet.Release(c.page)
	}
	if c.pages != nil {
		_ = c.pages.Close()
	}
}
