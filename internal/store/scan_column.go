package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/ktrail/ktrail/audit"
)

// fieldsOf are pointers to an event's fields by the columns' names, which are
// their names in JSON.
func fieldsOf(e *audit.Event) map[string]any {
	fields := map[string]any{}
	v := reflect.ValueOf(e).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		fields[name] = v.Field(i).Addr().Interface()
	}
	return fields
}

// pages calls fn for each page of a column.
func (w *scanner) pages(path []string, fn func(parquet.Page) error) error {
	leaf, ok := w.file.Schema().Lookup(path...)
	if !ok {
		return fmt.Errorf("it has no column %s", path[0])
	}
	if w.bytes += w.chunks[leaf.ColumnIndex].MetaData.TotalUncompressedSize; w.bytes > scanTexts {
		return errEngine
	}
	pages := w.group.ColumnChunks()[leaf.ColumnIndex].Pages()
	defer pages.Close()
	for {
		p, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("column %s: %w", path[0], err)
		}
		err = fn(p)
		parquet.Release(p)
		if err != nil {
			return err
		}
	}
}

// ints are the numbers of a column that has no dictionary.
func (w *scanner) ints(name string) ([]int64, error) {
	if ns, ok := w.number[name]; ok {
		return ns, nil
	}
	ns := make([]int64, 0, w.group.NumRows())
	err := w.pages([]string{name}, func(p parquet.Page) error {
		values := p.Data()
		ns = append(ns, values.Int64()...)
		return nil
	})
	if err == nil && int64(len(ns)) != w.group.NumRows() {
		err = fmt.Errorf("column %s has %d rows, not %d", name, len(ns), w.group.NumRows())
	}
	w.number[name] = ns
	return ns, err
}

// column reads a column that has a dictionary.
func (w *scanner) column(name string) (*coded, error) {
	if c := w.coded[name]; c != nil {
		return c, nil
	}
	c := &coded{codes: w.codes()}
	var err error
	switch p := w.field[name].(type) {
	case *string:
		var texts []string
		if texts, err = w.texts(c, []string{name}, nil); err == nil {
			c.set = func(code int32) { *p = texts[code] }
		}
	case *[]string:
		err = w.lists(c, name, p)
	case *int32:
		err = w.statuses(c, name, p)
	case *bool:
		err = w.flags(c, name, p)
	default:
		err = errEngine
	}
	if err != nil {
		return nil, err
	}
	if int64(len(c.codes)) != w.group.NumRows() {
		return nil, fmt.Errorf("column %s has %d rows, not %d", name, len(c.codes), w.group.NumRows())
	}
	w.coded[name] = c
	return c, nil
}

// dictionary appends the codes of a column to c, page by page, and gives the dictionary.
func (w *scanner) dictionary(path []string, fn func(p parquet.Page, codes []int32)) (parquet.Dictionary, error) {
	var d parquet.Dictionary
	err := w.pages(path, func(p parquet.Page) error {
		if d = p.Dictionary(); d == nil {
			return errEngine
		}
		values := p.Data()
		fn(p, values.Int32())
		return nil
	})
	if err == nil && d == nil {
		err = errEngine // no page: the engine knows what to make of it
	}
	return d, err
}

// texts reads a column of texts.
func (w *scanner) texts(c *coded, path []string, fn func(p parquet.Page, codes []int32)) ([]string, error) {
	if fn == nil {
		fn = func(_ parquet.Page, codes []int32) { c.codes = append(c.codes, codes...) }
	}
	d, err := w.dictionary(path, fn)
	if err != nil {
		return nil, err
	}
	c.n = d.Len()
	texts := make([]string, c.n)
	values := d.Page().Data()
	bytes, ends := values.ByteArray()
	all := string(bytes) // once for all: who keeps a text for longer than the row group clones it
	for i := range texts {
		texts[i] = all[ends[i]:ends[i+1]]
	}
	return texts, nil
}

// lists reads a column of lists of texts: different lists have different codes.
func (w *scanner) lists(c *coded, name string, to *[]string) error {
	var all []int32 // members of all different lists
	var ends []int  // of each of them, in all
	at := map[string]int32{}
	var id []byte
	var list []int32
	var one []int32 // by member: 1 + the code of the list of it alone, which most are
	open := false
	flush := func() {
		if !open {
			return
		}
		code, ok := int32(0), false
		if len(list) == 1 {
			code = one[list[0]] - 1
			ok = code >= 0
		}
		if !ok {
			id = id[:0]
			for _, m := range list {
				id = binary.LittleEndian.AppendUint32(id, uint32(m))
			}
			if code, ok = at[string(id)]; !ok {
				code = int32(len(ends))
				at[string(id)] = code
				all = append(all, list...)
				ends = append(ends, len(all))
			}
			if len(list) == 1 {
				one[list[0]] = code + 1
			}
		}
		c.codes = append(c.codes, code)
		list = list[:0]
	}
	texts, err := w.texts(c, []string{name, "list", "element"}, func(p parquet.Page, members []int32) {
		if one == nil {
			one = make([]int32, p.Dictionary().Len())
		}
		repeated, defined := p.RepetitionLevels(), p.DefinitionLevels()
		k := 0
		for i, level := range repeated {
			if level == 0 {
				flush()
				open = true
			}
			if defined[i] == 1 {
				list = append(list, members[k])
				k++
			}
		}
	})
	if err != nil {
		return err
	}
	flush()
	values := make([][]string, len(ends))
	from := 0
	for i, end := range ends {
		for _, m := range all[from:end] {
			values[i] = append(values[i], texts[m])
		}
		from = end
	}
	c.n = len(values)
	c.set = func(code int32) { *to = slices.Clip(values[code]) }
	return nil
}

// statuses reads the column of HTTP codes.
func (w *scanner) statuses(c *coded, name string, to *int32) error {
	d, err := w.dictionary([]string{name}, func(_ parquet.Page, codes []int32) { c.codes = append(c.codes, codes...) })
	if err != nil {
		return err
	}
	values := make([]int32, d.Len())
	for i := range values {
		values[i] = d.Index(int32(i)).Int32()
	}
	c.n = len(values)
	c.set = func(code int32) { *to = values[code] }
	return nil
}

// flags reads a column of bools.
func (w *scanner) flags(c *coded, name string, to *bool) error {
	err := w.pages([]string{name}, func(p parquet.Page) error {
		values := p.Data()
		bits := values.Boolean()
		for i := range int(p.NumValues()) {
			c.codes = append(c.codes, int32(bits[i/8]>>(i%8)&1))
		}
		return nil
	})
	c.n = 2
	c.set = func(code int32) { *to = code == 1 }
	return err
}
