package logfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// file is an open log file and how far it is read.
type file struct {
	window
	path string
	f    *os.File
	info os.FileInfo
	z    io.ReadCloser // the uncompressed content; nil if the file is plain
	head head

	scanned int  // buf[start:scanned] holds no newline
	live    bool // it is at the log's path
	used    bool // a record of it was handed out
	final   bool // a successor was seen: what follows until EOF is the rest
	idle    bool // at its end, nothing follows yet
	gap     string
	err     error // the compressed content is damaged

	hole   int64 // NUL bytes before start that were not reported
	holeAt int64
	over   *overlong
}

// overlong is a line that is skipped because it is too long.
type overlong struct {
	offset int64
	tail   []byte // what precedes it, for the cursor
	head   []byte
}

func baseName(path string) string { return filepath.Base(path) }

// open opens the file at path for reading from its beginning.
func (r *Reader) open(path string) (*file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	x := &file{path: path, f: f, window: window{max: r.maxLine, grow: r.opt.Grow, shrink: r.opt.Shrink}}
	if x.info, err = f.Stat(); err == nil && !x.info.Mode().IsRegular() {
		err = fmt.Errorf("open %s: not a regular file", path)
	}
	var h io.ReadCloser
	var compressed bool
	if err == nil {
		h, compressed, err = Decompress(io.NewSectionReader(f, 0, 1<<62))
	}
	if err == nil {
		x.head, err = readHead(h)
		if compressed {
			h.Close()
			x.z, _, err = Decompress(f)
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return x, nil
}

func (x *file) close() {
	if x == nil {
		return
	}
	x.forget()
	if x.z != nil {
		x.z.Close()
	}
	x.f.Close()
}

// seek moves to off and reports whether the bytes before it are those of tail.
func (x *file) seek(off int64, tail string) (bool, error) {
	if x.z != nil {
		for x.readAt() < off {
			n, err := x.fill()
			if err != nil && !errors.Is(err, io.EOF) {
				return false, err
			}
			x.start = min(x.end, int(off-x.base))
			if n == 0 && x.readAt() < off {
				return false, nil
			}
		}
		x.start = int(off - x.base)
		x.scanned = x.start
		return tailSum(x.before()) == tail, nil
	}
	n := min(off, tailSize)
	buf := make([]byte, windowSize)
	if m, err := x.f.ReadAt(buf[:n], off-n); int64(m) < n {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return false, err
	}
	x.buf, x.base, x.start, x.end, x.scanned = buf, off-n, int(n), int(n), int(n)
	return tailSum(x.before()) == tail, nil
}

// errReplaced says that the content that was read is no longer there: the file
// was truncated, perhaps written anew.
var errReplaced = errors.New("file was truncated")

// fill reads once. n is 0 only with an error or at the end. What it read is taken
// only if the file, looked at after that, still has what was read before: so it
// is of the same generation.
func (x *file) fill() (n int, err error) {
	before := x.start
	room, err := x.space()
	x.scanned += x.start - before
	if err != nil {
		return 0, err
	}
	if x.z == nil {
		n, err = x.f.ReadAt(room, x.readAt())
		if n > 0 || errors.Is(err, io.EOF) {
			if gone, err := x.replaced(); err != nil || gone {
				return 0, cmp.Or(err, errReplaced)
			}
		}
	} else {
		for n == 0 && err == nil {
			n, err = x.z.Read(room)
		}
	}
	x.head.grow(room[:n], x.readAt())
	x.end += n
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// next returns a record out of the window, or ok false if it must be filled.
func (x *file) next() (rec Record, ok bool) {
	if x.over != nil {
		return x.skipLong()
	}
	for x.start < x.end {
		if x.buf[x.start] == 0 {
			x.skipHole()
			continue
		}
		if x.hole > 0 {
			return x.reportHole()
		}
		x.scanned = max(x.scanned, x.start)
		i := bytes.IndexByte(x.buf[x.scanned:x.end], '\n')
		if i < 0 {
			return x.cutAtHole()
		}
		at, line := x.offset(), x.buf[x.start:x.scanned+i]
		if len(line) > x.max {
			x.over = &overlong{offset: at, head: line[:min(len(line), badSize)]}
			return x.skipLong()
		}
		x.start = x.scanned + i + 1
		x.scanned = x.start
		x.used = true
		if line = trim(line, at); len(line) > 0 {
			return Record{Kind: Line, File: x.path, Offset: at, Line: line}, true
		}
	}
	return Record{}, false
}

// trim cuts a carriage return and, at the file's beginning, a byte order mark.
// A line of white space becomes empty.
func trim(line []byte, offset int64) []byte {
	line = bytes.TrimSuffix(line, []byte{'\r'})
	if offset == 0 {
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	}
	if len(line) > 0 && line[0] <= ' ' && len(bytes.TrimSpace(line)) == 0 {
		return nil
	}
	return line
}

func (x *file) skipHole() {
	if x.hole == 0 {
		x.holeAt = x.offset()
	}
	text := bytes.TrimLeft(x.unread(), "\x00")
	n := x.end - x.start - len(text)
	x.hole += int64(n)
	x.start += n
	x.scanned = x.start
}

// reportHole ends a hole. One at the beginning is copytruncate's and hides
// nothing; behind written bytes it is what a crash left of lines.
func (x *file) reportHole() (Record, bool) {
	n := x.hole
	x.hole = 0
	if x.holeAt == 0 {
		return x.next()
	}
	x.used = true
	return Record{Kind: Bad, File: x.path, Offset: x.holeAt, Reason: lostInHole(n)}, true
}

func lostInHole(n int64) string {
	return fmt.Sprintf("a hole of %d NUL bytes: what was written there is lost", n)
}

// cutAtHole hands out the beginning of a line that ends in NUL bytes: its rest is
// lost, and what comes after the hole is a line of its own.
func (x *file) cutAtHole() (Record, bool) {
	x.scanned = x.end
	if x.buf[x.end-1] != 0 {
		return Record{}, false
	}
	n := bytes.IndexByte(x.unread(), 0)
	at, part := x.offset(), x.buf[x.start:x.start+n]
	x.start += n
	x.scanned = x.start
	x.used = true
	return Record{Kind: Bad, File: x.path, Offset: at, Line: part[:min(n, badSize)], Reason: "torn line, followed by NUL bytes"}, true
}

// tooLong begins to skip the line in the window.
func (x *file) tooLong() {
	x.over = &overlong{offset: x.offset(), tail: bytes.Clone(x.before()), head: bytes.Clone(x.buf[x.start:min(x.end, x.start+badSize)])}
	x.start = x.end
	x.small()
	x.scanned = x.start
}

func (x *file) skipLong() (Record, bool) {
	i := bytes.IndexByte(x.unread(), '\n')
	if i < 0 {
		x.start = x.end
		x.scanned = x.start
		return Record{}, false
	}
	x.start += i + 1
	x.scanned = x.start
	return x.endLong(x.offset() - 1), true
}

// endLong returns the record of a line that was too long and ended at end.
func (x *file) endLong(end int64) Record {
	o := x.over
	x.over, x.used = nil, true
	return Record{
		Kind: Bad, File: x.path, Offset: o.offset, Line: o.head,
		Reason: fmt.Sprintf("line of %d bytes is longer than %d; its first %d bytes are kept", end-o.offset, x.max, len(o.head)),
	}
}

// rest hands out what stands behind the last newline of a finished file.
func (x *file) rest() (Record, bool) {
	if x.over != nil {
		return x.endLong(x.readAt()), true
	}
	at, line := x.offset(), trim(x.unread(), x.offset())
	x.start = x.end
	x.scanned = x.start
	if len(line) == 0 {
		return Record{}, false
	}
	x.used = true
	return Record{Kind: Line, File: x.path, Offset: at, Line: line, Unended: true}, true
}

// consumed is the offset up to which records were handed out.
func (x *file) consumed() int64 {
	if x.over != nil {
		return x.over.offset
	}
	return x.offset()
}

// mark returns the file's place up to the last record.
func (x *file) mark() mark {
	off, before := x.consumed(), x.before()
	if x.over != nil {
		before = x.over.tail
	}
	// What is not consumed may yet be cut off and written anew.
	n := min(int64(headSize), max(0, off-x.head.skip))
	return mark{fp: x.head.print(int(n)), off: off, tail: tailSum(before), open: !x.final}
}

// replaced reports whether the content that was read is no longer there.
func (x *file) replaced() (bool, error) {
	if x.z != nil {
		return false, nil
	}
	st, err := x.f.Stat()
	if err != nil {
		return false, fmt.Errorf("check %s: %w", x.path, err)
	}
	if st.Size() < x.readAt() {
		return true, nil
	}
	tail := x.lastTail()
	now := make([]byte, max(len(tail), len(x.head.b)))
	if n, _ := x.f.ReadAt(now[:len(tail)], x.readAt()-int64(len(tail))); !bytes.Equal(now[:n], tail) {
		return true, nil
	}
	n, _ := x.f.ReadAt(now[:len(x.head.b)], x.head.skip)
	return !bytes.Equal(now[:n], x.head.b), nil
}

// size is the file's size now, compressed if it is.
func (x *file) size() int64 {
	if st, err := x.f.Stat(); err == nil {
		return st.Size()
	}
	return x.info.Size()
}
