package simulate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/logfile"
)

// ReadStats is what was read.
type ReadStats struct {
	Events int64 `json:"events"`
	Bytes  int64 `json:"bytes"` // uncompressed
	// Bad counts lines that are no audit events, and are not counted anywhere else.
	Bad int64 `json:"bad_lines"`
}

// ErrNoEvents is a stream in which nothing is an audit event.
var ErrNoEvents = errors.New("no line of it is an audit event: is it an audit log?")

// Read takes the events of r: plain, gzip or zstd; one a line, or EventList objects
// and arrays. Lines are read by several goroutines at once. name is for errors. An
// empty stream is no error; one of other text is an [ErrNoEvents].
func (s *Simulation) Read(ctx context.Context, name string, r io.Reader) error {
	for len(s.shards) < s.opt.Workers {
		s.shard()
	}
	consumers := make([]consumer, s.opt.Workers)
	for i := range consumers {
		consumers[i] = s.shards[i]
	}
	stats, err := read(ctx, name, r, consumers)
	s.log.add(stats)
	return err
}

func (s *ReadStats) add(o ReadStats) {
	s.Events += o.Events
	s.Bytes += o.Bytes
	s.Bad += o.Bad
}

// consumer takes events, a block at a time. The events are valid during the call only.
type consumer interface {
	begin(block int)
	add(e *audit.Event)
}

// block is how much is read at once, and handed to one goroutine: 1 MiB is some five
// hundred events, and still fits a processor's cache.
const blockSize = 1 << 20

// noLog is how many lines are tried before a stream is taken for something else.
const noLog = 1000

type block struct {
	number int
	text   []byte // whole lines
	buf    []byte // all of its memory
}

func read(ctx context.Context, name string, r io.Reader, consumers []consumer) (ReadStats, error) {
	content, _, err := logfile.Decompress(r)
	if err != nil {
		return ReadStats{}, fmt.Errorf("read %s: %w", name, err)
	}
	defer func() { _ = content.Close() }() // nothing is written
	buffered := bufio.NewReaderSize(content, 64<<10)
	if isList(buffered) { // its lines, if any, are not for an event each
		return readStream(ctx, name, buffered, consumers[0])
	}
	b := &blocks{r: buffered, free: make(chan []byte, len(consumers)+2)}
	first, err := b.next(nil)
	if err != nil && !errors.Is(err, io.EOF) {
		return ReadStats{}, fmt.Errorf("read %s: %w", name, err)
	}
	if !linesOf(first.text) {
		rest := io.MultiReader(bytes.NewReader(first.buf[:b.have]), buffered)
		return readStream(ctx, name, rest, consumers[0])
	}
	stats, err := b.run(ctx, first, consumers)
	switch {
	case err != nil:
		return stats, fmt.Errorf("read %s after %d bytes: %w", name, stats.Bytes, err)
	case stats.Events == 0 && stats.Bad > 0:
		return stats, fmt.Errorf("read %s: %w", name, ErrNoEvents)
	}
	return stats, nil
}

// isList is whether a stream begins like an EventList or an array.
func isList(r *bufio.Reader) bool {
	head, _ := r.Peek(4096) // an error comes again when it is read
	head = bytes.TrimPrefix(bytes.TrimSpace(head), []byte("\xef\xbb\xbf"))
	first, _, _ := bytes.Cut(head, []byte{'\n'})
	return len(first) > 0 && (first[0] == '[' || bytes.Contains(first[:min(len(first), 200)], []byte(`"EventList"`)))
}

// linesOf is whether text has an event as a line, or nothing.
func linesOf(text []byte) bool {
	if len(bytes.TrimSpace(text)) == 0 {
		return true
	}
	var e audit.Event
	n := 0
	for line := range bytes.Lines(text) {
		if audit.Decode(trim(line), &e) == nil {
			return true
		}
		if n++; n == noLog {
			break
		}
	}
	return false
}

// trim takes away what may stand around a line: NUL bytes are what copytruncate leaves.
func trim(line []byte) []byte { return bytes.Trim(line, "\x00\r\n\t ") }

// blocks cuts a stream at the ends of lines.
type blocks struct {
	r      io.Reader
	free   chan []byte
	rest   []byte // the begun line behind the last block
	number int
	have   int // bytes in the memory of the last block, those behind its lines too
	err    error
}

// next reads a block into buf. At the end of the stream its last block comes with
// io.EOF.
func (b *blocks) next(buf []byte) (block, error) {
	if cap(buf) < blockSize+len(b.rest) {
		buf = make([]byte, blockSize+len(b.rest))
	}
	buf = buf[:cap(buf)]
	n := copy(buf, b.rest)
	from := 0 // what is before has no newline
	for b.err == nil {
		for n < len(buf) && b.err == nil {
			var k int
			k, b.err = b.r.Read(buf[n:])
			n += k
		}
		if i := bytes.LastIndexByte(buf[from:n], '\n'); i >= 0 && b.err == nil {
			end := from + i + 1
			b.rest = append(b.rest[:0], buf[end:n]...)
			b.number++
			b.have = n
			return block{b.number - 1, buf[:end], buf}, nil
		}
		if b.err != nil {
			break
		}
		from = n
		if len(buf) > logfile.DefaultMaxLine {
			return block{}, fmt.Errorf("a line is longer than %d bytes", logfile.DefaultMaxLine)
		}
		buf = append(buf, make([]byte, len(buf))...)
	}
	b.rest = b.rest[:0]
	b.number++
	b.have = n
	return block{b.number - 1, buf[:n], buf}, b.err
}

// run hands blocks out until there are no more.
func (b *blocks) run(ctx context.Context, first block, consumers []consumer) (ReadStats, error) {
	work := make(chan block)
	var (
		mu    sync.Mutex
		total ReadStats
		wg    sync.WaitGroup
	)
	for _, c := range consumers {
		wg.Go(func() {
			var (
				batch audit.Batch
				stats ReadStats
			)
			for bl := range work {
				c.begin(bl.number)
				stats.lines(bl.text, &batch, c)
				select {
				case b.free <- bl.buf:
				default:
				}
			}
			mu.Lock()
			defer mu.Unlock()
			total.add(stats)
		})
	}
	bl, err := first, b.err
	for {
		if len(bl.text) > 0 {
			work <- bl
		}
		if err != nil {
			break
		}
		if err = ctx.Err(); err != nil {
			break
		}
		var buf []byte
		select {
		case buf = <-b.free:
		default:
		}
		bl, err = b.next(buf)
	}
	close(work)
	wg.Wait()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return total, err
}

// lines takes the events of whole lines. Of a torn line it takes what can be saved.
func (s *ReadStats) lines(text []byte, batch *audit.Batch, c consumer) {
	s.Bytes += int64(len(text))
	for len(text) > 0 {
		line := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line, text = bytes.TrimSuffix(text[:i], []byte{'\r'}), text[i+1:]
		} else {
			text = nil
		}
		if s.line(line, batch, c) {
			continue
		}
		if line = trim(line); len(line) == 0 {
			continue
		}
		bad := true
		for _, piece := range logfile.Recover(line, func(b []byte) error { return audit.Decode(b, new(audit.Event)) }) {
			if piece.Event {
				bad = !s.line(piece.Data, batch, c) && bad
			}
		}
		if bad {
			s.Bad++
		}
	}
}

func (s *ReadStats) line(line []byte, batch *audit.Batch, c consumer) bool {
	batch.Reset()
	if batch.Add(line) != nil {
		return false
	}
	s.Events++
	c.add(&batch.Events[0])
	return true
}

// readStream takes what is not a line for an event apart, on one goroutine.
func readStream(ctx context.Context, name string, r io.Reader, c consumer) (ReadStats, error) {
	var (
		batch audit.Batch
		stats ReadStats
	)
	split := logfile.NewSplitter(r, logfile.SplitOptions{
		Name: name,
		Decode: func(b []byte) error {
			batch.Reset()
			if err := batch.Add(b); err != nil {
				return err
			}
			if stats.Events%blockEvents == 0 {
				c.begin(int(stats.Events / blockEvents))
			}
			stats.Events++
			c.add(&batch.Events[0])
			return nil
		},
	})
	defer split.Close()
	for {
		rec, err := split.Next()
		stats.Bytes = split.Offset()
		if err == nil && rec.Kind == logfile.Bad {
			if stats.Bad++; stats.Bad == noLog && stats.Events == 0 {
				return stats, fmt.Errorf("read %s: %w", name, ErrNoEvents)
			}
		}
		if err == nil {
			err = ctx.Err()
		}
		switch {
		case errors.Is(err, io.EOF) && stats.Events == 0 && stats.Bad > 0:
			return stats, fmt.Errorf("read %s: %w", name, ErrNoEvents)
		case errors.Is(err, io.EOF):
			return stats, nil
		case err != nil:
			return stats, fmt.Errorf("read %s after %d bytes: %w", name, stats.Bytes, err)
		}
	}
}
