package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"github.com/parquet-go/parquet-go"
)

// rawReader reads single raw lines of segments by their row number. It decodes
// one page at a time and keeps it, so that rows in order, forwards or backwards,
// cost one decompression a page. It is for one goroutine.
type rawReader struct {
	files map[string]*rawFile
	clock int64
}

// rawFiles is how many segments a rawReader has open at a time; each holds one
// page, of about a megabyte.
const rawFiles = 16

type rawFile struct {
	file   *os.File
	parq   *parquet.File
	column int
	used   int64

	first  int64 // row of the page's first line, in the file
	values []parquet.Value
	page   parquet.Page
	pages  parquet.Pages // of row group group
	group  int
}

func newRawReader() *rawReader { return &rawReader{files: map[string]*rawFile{}} }

func (r *rawReader) close() {
	for _, f := range r.files {
		f.close()
	}
	r.files = nil
}

// line returns a raw line, valid until the next call.
func (r *rawReader) line(g *segment, row int64) (string, error) {
	r.clock++
	f := r.files[g.Path]
	if f == nil {
		if len(r.files) >= rawFiles {
			r.evict()
		}
		var err error
		if f, err = openRaw(g.Path); err != nil {
			return "", &engineError{msg: fmt.Sprintf("%s: %v", g.Path, err)}
		}
		r.files[g.Path] = f
	}
	f.used = r.clock
	s, err := f.line(row)
	if err != nil {
		return "", &engineError{msg: fmt.Sprintf("%s: raw line of row %d: %v", g.Path, row, err)}
	}
	return s, nil
}

func (r *rawReader) evict() {
	var oldest string
	for path, f := range r.files {
		if oldest == "" || f.used < r.files[oldest].used {
			oldest = path
		}
	}
	r.files[oldest].close()
	delete(r.files, oldest)
}

func openRaw(path string) (_ *rawFile, err error) {
	f := &rawFile{group: -1}
	if f.file, err = os.Open(path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.file.Close()
		}
	}()
	info, err := f.file.Stat()
	if err != nil {
		return nil, err
	}
	f.parq, err = guard(func() (*parquet.File, error) {
		return parquet.OpenFile(f.file, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(256<<10))
	})
	if err != nil {
		return nil, err
	}
	leaf, ok := f.parq.Schema().Lookup("raw")
	if !ok {
		return nil, errors.New("it has no column raw")
	}
	f.column = leaf.ColumnIndex
	return f, nil
}

func (f *rawFile) close() {
	f.drop()
	f.file.Close()
}

func (f *rawFile) drop() {
	if f.page != nil {
		parquet.Release(f.page)
	}
	f.page, f.values = nil, f.values[:0]
	if f.pages != nil {
		f.pages.Close()
	}
	f.pages, f.group = nil, -1
}

func (f *rawFile) line(row int64) (string, error) {
	if row < f.first || row >= f.first+int64(len(f.values)) {
		if _, err := guard(func() (struct{}, error) { return struct{}{}, f.load(row) }); err != nil {
			f.drop()
			return "", err
		}
	}
	b := f.values[row-f.first].ByteArray()
	return unsafe.String(unsafe.SliceData(b), len(b)), nil
}

// load decodes the page that holds row.
func (f *rawFile) load(row int64) error {
	groups := f.parq.RowGroups()
	g, start := 0, int64(0)
	for g < len(groups) && row >= start+groups[g].NumRows() {
		start += groups[g].NumRows()
		g++
	}
	if g == len(groups) {
		return fmt.Errorf("the file ends at row %d", start)
	}
	chunk := groups[g].ColumnChunks()[f.column]
	if f.page != nil {
		parquet.Release(f.page)
	}
	f.page, f.values = nil, f.values[:0]
	if f.group != g {
		f.drop()
		f.pages, f.group = chunk.Pages(), g
	}
	// A page read after a seek begins at the row sought; the page's own beginning
	// is wanted, for the rows before it in a search that goes backwards.
	index, err := chunk.OffsetIndex()
	if err != nil {
		return err
	}
	first := int64(0)
	for lo, hi := 0, index.NumPages(); lo < hi; {
		mid := (lo + hi) / 2
		if at := index.FirstRowIndex(mid); at <= row-start {
			first, lo = at, mid+1
		} else {
			hi = mid
		}
	}
	if err := f.pages.SeekToRow(first); err != nil {
		return err
	}
	if f.page, err = f.pages.ReadPage(); err != nil {
		return err
	}
	n := int(f.page.NumValues())
	if cap(f.values) < n {
		f.values = make([]parquet.Value, n)
	}
	f.values = f.values[:n]
	k, err := f.page.Values().ReadValues(f.values)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	f.values, f.first = f.values[:k], start+first
	if row >= f.first+int64(k) {
		return fmt.Errorf("page at row %d has %d rows", f.first, k)
	}
	return nil
}

// guard turns a panic of the Parquet reader, which damaged bytes can provoke,
// into an error.
func guard[T any](fn func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot decode: %v", p)
		}
	}()
	return fn()
}
