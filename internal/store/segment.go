package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strconv"

	"github.com/klauspost/compress/zstd"
	"github.com/ktrail/ktrail/audit"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
)

const (
	// blockSize is the unit in which damage inside a segment is located.
	blockSize = 1 << 20
	// segmentFormat stands in each segment's key-value metadata.
	segmentFormat = 1
	// rowGroupRows is how many rows a row group has at most: the unit in which
	// queries run in parallel, compaction merges and duplicates are looked up.
	rowGroupRows = 128 << 10
	// pageRows bounds a page of any column but raw.
	pageRows = 16 << 10
	// fillRows is how many values go to a column at a time.
	fillRows = 256
)

// packing is how hard a segment is compressed.
type packing struct {
	level   zstd.EncoderLevel // of all columns but raw
	raw     zstd.EncoderLevel
	window  int // of raw, bytes; 0 is the level's own
	rawPage int // bytes of raw lines in a page
}

// Numbers measured: see docs/formats.md.
func commitPacking() packing {
	return packing{level: zstd.SpeedFastest, raw: zstd.SpeedFastest, rawPage: 1 << 20}
}

func compactPacking() packing {
	return packing{level: zstd.SpeedDefault, raw: zstd.SpeedBestCompression, rawPage: 8 << 20}
}

// segmentWriter writes segments, one after the other, column by column. It
// keeps its buffers.
type segmentWriter struct {
	cols    []column
	writers []*parquet.ColumnWriter
	file    *parquet.GenericWriter[any]
	values  []parquet.Value
	pages   []pageFill // by column
	rawPage int
	sum     *checksum
}

func newSegmentWriter(p packing) *segmentWriter {
	cols := columns()
	normal := &zstdCodec{level: p.level}
	raw := &zstdCodec{level: p.raw, window: p.window}
	schema := schemaOf(cols, func(name string) compress.Codec {
		if name == "raw" {
			return raw
		}
		return normal
	})
	sum := &checksum{}
	opts := []parquet.WriterOption{
		schema,
		parquet.CreatedBy("ktrail", "1", ""),
		parquet.KeyValueMetadata("ktrail.format", strconv.Itoa(segmentFormat)),
		parquet.PageBufferSize(256 << 10), // more than pageRows of any value with a fixed size
		parquet.WriteBufferSize(256 << 10),
		parquet.DataPageStatistics(false),
		// Version 2 leaves the levels of lists outside of the compressed block and its
		// checksum: a flipped byte there would change a list without a sound.
		parquet.DataPageVersion(1),
		parquet.SortingWriterConfig(parquet.SortingColumns(parquet.Ascending("time"), parquet.Ascending("id"))),
	}
	var blooms []parquet.BloomFilterColumn
	for i := range cols {
		if cols[i].bloom {
			blooms = append(blooms, parquet.SplitBlockFilter(10, cols[i].leafPath()...))
		}
		if !cols[i].bounds {
			opts = append(opts, parquet.SkipPageBounds(cols[i].leafPath()...))
		}
	}
	opts = append(opts, parquet.BloomFilters(blooms...))
	w := parquet.NewGenericWriter[any](sum, opts...)
	return &segmentWriter{cols: cols, pages: make([]pageFill, len(cols)), file: w, writers: w.ColumnWriters(), rawPage: p.rawPage, sum: sum}
}

// begin starts a segment on out.
func (w *segmentWriter) begin(out io.Writer) {
	w.sum.reset(out)
	w.file.Reset(w.sum)
}

// pageFill is what a column holds since its last one.
type pageFill struct{ rows, bytes int }

// writeEvents writes events as one or more row groups. They are sorted by time and ID.
func (w *segmentWriter) writeEvents(events []*audit.Event) error {
	for len(events) > 0 {
		n := min(len(events), rowGroupRows)
		clear(w.pages)
		// All columns of a few events before the next, and of those the line first, from
		// one end to the other: the others point into it, and find it in the processor's cache.
		for rest := events[:n]; len(rest) > 0; {
			k := min(len(rest), fillRows)
			for i := len(w.cols) - 1; i >= 0; i-- {
				if err := w.writeColumn(i, rest[:k]); err != nil {
					return fmt.Errorf("encode column %s: %w", w.cols[i].name, err)
				}
			}
			rest = rest[k:]
		}
		if err := w.file.Flush(); err != nil {
			return fmt.Errorf("write row group: %w", err)
		}
		events = events[n:]
	}
	return nil
}

// writeColumn writes the column i of at most fillRows events.
func (w *segmentWriter) writeColumn(i int, events []*audit.Event) error {
	c, out, page := &w.cols[i], w.writers[i], &w.pages[i]
	raw := i == len(w.cols)-1
	for len(events) > 0 {
		n := len(events)
		v := w.values[:0]
		for j, e := range events {
			v = c.fill(v, e, i)
			if raw {
				if page.bytes += len(e.Raw); page.bytes >= w.rawPage {
					n = j + 1
					break
				}
			}
		}
		w.values = v
		if _, err := out.WriteRowValues(v); err != nil {
			return err
		}
		page.rows += n
		if page.bytes >= w.rawPage || !raw && page.rows >= pageRows {
			if err := out.Flush(); err != nil {
				return err
			}
			*page = pageFill{}
		}
		events = events[n:]
	}
	clear(w.values) // the strings are borrowed
	return nil
}

// end finishes the segment. Its size and sums are in w.sum.
func (w *segmentWriter) end() error {
	if err := w.file.Close(); err != nil {
		return fmt.Errorf("finish segment: %w", err)
	}
	return nil
}

// checksum passes bytes on, counting and summing them.
type checksum struct {
	out    io.Writer
	n      int64
	sha    hash.Hash
	crc    uint32
	blocks []byte // hex
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func (c *checksum) reset(out io.Writer) {
	*c = checksum{out: out, sha: sha256.New()}
}

func (c *checksum) Write(p []byte) (int, error) {
	c.add(p)
	if c.out == nil {
		return len(p), nil
	}
	return c.out.Write(p)
}

func (c *checksum) add(p []byte) {
	c.sha.Write(p)
	table := castagnoli()
	for len(p) > 0 {
		room := blockSize - int(c.n%blockSize)
		k := min(room, len(p))
		c.crc = crc32.Update(c.crc, table, p[:k])
		c.n += int64(k)
		p = p[k:]
		if k == room {
			c.endBlock()
		}
	}
}

func (c *checksum) endBlock() {
	c.blocks = fmt.Appendf(c.blocks, "%08x", c.crc)
	c.crc = 0
}

// sums returns the SHA-256 and the block CRCs as hex. Call it once, at the end.
func (c *checksum) sums() (sha, blocks string) {
	if c.n%blockSize != 0 {
		c.endBlock()
	}
	return hex.EncodeToString(c.sha.Sum(nil)), string(c.blocks)
}
