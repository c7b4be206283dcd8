package logfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// Options say what a Reader follows.
type Options struct {
	// Path is the live log. It need not be there yet.
	Path string
	// Cursor is what Reader.Cursor returned, or nil to begin with the oldest
	// rotated file that is there.
	Cursor json.RawMessage
	// MaxLine is the longest line in bytes, 0 for DefaultMaxLine. Longer ones
	// become Bad records.
	MaxLine int
	// Grow is asked before the reader holds more than 128 KiB, for a long line:
	// it will hold up to size bytes until Shrink is called; once more, with a
	// larger size, if that is not enough. An error of Grow is returned by Next.
	// Both may be nil.
	Grow   func(size int) error
	Shrink func()
	// Logger gets what is worth knowing and is no record; nil for none.
	Logger *slog.Logger
}

// Reader follows one log. It is not safe for concurrent use.
type Reader struct {
	opt     Options
	path    string
	maxLine int
	log     *slog.Logger

	cur, next *file // next is held open, so that deleting it does not lose it
	// prev is the place reached before cur gave its first record.
	prev     mark
	hasPrev  bool
	prevName string
	again    mark // to find before going on, unless resumed
	resumed  bool
	done     []mark
	old      []string
	gap      string // to be told

	set       []member // when the directory was last read
	heads     map[string]cachedHead
	dirTime   time.Time
	looked    time.Time
	pending   map[string]string // unread files behind next: head sum to path
	lost      string            // what vanished of them, to be told before the file behind
	follower  string            // head sum of the file directly behind the chain's last
	backlog   int64             // bytes in files not yet opened
	damaged   map[string]bool
	lastEvent audit.Time
}

// How often the directory is read again though nothing seems to have changed
// there: while reading, to hold the next file before it can be deleted, and at
// the end, for a finished file that grew.
const (
	lookReading = time.Second
	lookIdle    = 5 * time.Second
)

// NewReader opens nothing yet. The error is that of a cursor that cannot be read.
func NewReader(opt Options) (*Reader, error) {
	r := &Reader{opt: opt, path: filepath.Clean(opt.Path), maxLine: opt.MaxLine, log: opt.Logger, damaged: map[string]bool{}}
	if r.maxLine <= 0 {
		r.maxLine = DefaultMaxLine
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.resumed = true
	if opt.Cursor != nil {
		if err := r.restore(opt.Cursor); err != nil {
			return nil, err
		}
		r.again, r.resumed = r.prev, false
	}
	return r, nil
}

// Close closes the files.
func (r *Reader) Close() {
	r.cur.close()
	r.next.close()
	r.cur, r.next = nil, nil
}

// Next returns the next record, or io.EOF if there is none now: call again when
// the log may have grown. After any other error the call may be repeated too.
func (r *Reader) Next() (Record, error) {
	for {
		if !r.resumed {
			if err := r.resume(r.again); err != nil {
				return Record{}, err
			}
			r.resumed = true
		}
		if r.gap != "" {
			rec := Record{Kind: Gap, Reason: r.gap, File: r.path}
			if r.cur != nil {
				rec.File = r.cur.path
			}
			r.gap = ""
			return rec, nil
		}
		if r.cur == nil {
			if ok, err := r.advance(); err != nil {
				return Record{}, err
			} else if !ok {
				return Record{}, io.EOF
			}
			continue
		}
		r.cur.idle = false
		if rec, ok := r.cur.next(); ok {
			return rec, nil
		}
		n, err := r.cur.fill()
		switch {
		case n > 0:
			if time.Since(r.looked) > lookReading {
				if err := r.look4next(); err != nil {
					return Record{}, err
				}
			}
			continue
		case errors.Is(err, errReplaced):
			r.replaced()
			continue
		case errors.Is(err, errLong):
			r.cur.tooLong()
			continue
		case err != nil && !errors.Is(err, io.EOF):
			if r.cur.z == nil {
				return Record{}, fmt.Errorf("read %s at offset %d: %w", r.cur.path, r.cur.readAt(), err)
			}
			if r.cur.err == nil {
				r.cur.err = err
				r.gap = fmt.Sprintf("%s is damaged at uncompressed offset %d: %v", r.cur.path, r.cur.readAt(), err)
				continue
			}
		}
		if rec, ok, err := r.atEnd(); err != nil || ok {
			return rec, err
		}
		if r.cur != nil && r.cur.idle {
			return Record{}, io.EOF
		}
	}
}

// replaced leaves the current file, whose content is gone, for the copy that was
// made of it; if there is none, that is a gap.
func (r *Reader) replaced() {
	m, read, name := r.cur.mark(), r.cur.head, baseName(r.cur.path)
	r.log.Info("log was truncated or rewritten", slog.String("file", r.cur.path), slog.Int64("offset", m.off))
	r.Close()
	if m.off == 0 {
		m.fp = read.print(headSize) // of a line that had begun
	} else {
		r.prev, r.hasPrev, r.prevName = m, true, name
	}
	r.again, r.resumed = m, false
}

// resume opens the file that m is a place in, wherever it is now.
func (r *Reader) resume(m mark) error {
	if err := r.look4set(); err != nil {
		return err
	}
	for _, f := range r.set {
		if !m.fp.matches(f.head) || !f.rot.Compressed && f.info.Size() < m.off {
			continue
		}
		x, err := r.open(f.path)
		if errors.Is(err, fs.ErrNotExist) {
			return r.resume(m) // compressed or renamed this moment
		}
		if err != nil {
			return err
		}
		ok, err := x.seek(m.off, m.tail)
		if err != nil {
			r.log.Warn("cannot read file up to the cursor", slog.String("file", f.path), slog.Any("error", err))
		}
		if ok && err == nil {
			x.live = f.live
			r.cur = x
			return r.look4next()
		}
		x.close()
	}
	name := r.prevName
	if name == "" {
		name = baseName(r.path)
	}
	r.gap = fmt.Sprintf("%s, read up to offset %d, is gone or was rewritten: what followed there may be lost", name, m.off)
	return nil
}

// advance goes to the next unread file.
func (r *Reader) advance() (bool, error) {
	if r.next == nil {
		if err := r.look4next(); err != nil {
			return false, err
		}
	}
	if r.next == nil {
		return false, nil
	}
	r.cur, r.next = r.next, nil
	r.gap = r.cur.gap
	r.log.Debug("reading log", slog.String("file", r.cur.path), slog.Int64("offset", r.cur.offset()))
	return true, r.look4next()
}

// atEnd decides what the end of r.cur means: more to come, or the next file. It
// returns the record of an unfinished line if it is the latter.
func (r *Reader) atEnd() (Record, bool, error) {
	x := r.cur
	if x.final {
		if rec, ok := x.rest(); ok {
			return rec, true, nil
		}
		r.leave()
		return Record{}, false, nil
	}
	if r.next == nil && r.stale() {
		if err := r.look4next(); err != nil {
			return Record{}, false, err
		}
	}
	switch {
	case r.next == nil:
		x.idle = true
		x.giveBack()
	case x.live && r.isLive(x):
		r.leave() // an earlier file grew: that one first
	default:
		x.final = true // only now has the writer left it for sure: read to its end
	}
	return Record{}, false, nil
}

// giveBack frees a large buffer that holds the beginning of a line; it is read
// again when there is more.
func (x *file) giveBack() {
	if x.grown && x.z == nil {
		x.forget()
		x.scanned = x.start
	}
}

// leave closes the current file and notes how far it is read.
func (r *Reader) leave() {
	x := r.cur
	m := x.mark()
	r.finish(m)
	if m.off > 0 {
		r.prev, r.hasPrev, r.prevName = m, true, baseName(x.path)
	}
	x.close()
	r.cur = nil
}

// isLive reports whether x is what the log's path names.
func (r *Reader) isLive(x *file) bool {
	st, err := os.Stat(r.path)
	return err == nil && os.SameFile(st, x.info)
}

// stale reports whether the directory must be read again.
func (r *Reader) stale() bool {
	if !r.isLive(r.cur) || time.Since(r.looked) > lookIdle {
		return true
	}
	st, err := os.Stat(filepath.Dir(r.path))
	return err != nil || !st.ModTime().Equal(r.dirTime)
}

// look4set reads the directory.
func (r *Reader) look4set() error {
	// The time of before: a change during the look makes the next one stale.
	if st, err := os.Stat(filepath.Dir(r.path)); err == nil {
		r.dirTime = st.ModTime()
		if time.Since(r.dirTime) < 20*time.Millisecond {
			r.dirTime = time.Time{} // the clock of file times is coarse: look again
		}
	}
	set, err := r.list()
	if err != nil {
		return err
	}
	r.set, r.looked = set, time.Now()
	r.forget(set)
	return nil
}

// look4next reads the directory and opens the file to read behind the current one,
// if there is one and it is not open yet. If the chain of files is broken, so that
// others may have come and gone in between, that file begins with a gap.
func (r *Reader) look4next() error {
	for range 20 {
		if err := r.look4set(); err != nil {
			return err
		}
		unread, lastSeen := r.unread()
		r.vanished(unread)
		if r.next == nil && len(unread) > 0 {
			x, err := r.openAt(unread[0])
			if errors.Is(err, fs.ErrNotExist) || err == nil && x == nil {
				continue // renamed or compressed this moment
			}
			if err != nil {
				return err
			}
			x.gap, r.lost = r.lost, ""
			if known := r.follower != "" && r.follower == unread[0].head.full; r.cur != nil && !lastSeen && !known {
				x.gap = fmt.Sprintf("%s was deleted before the file that followed it was seen: others may be lost", baseName(r.cur.path))
			}
			delete(r.pending, unread[0].head.full)
			r.next, lastSeen = x, true
			unread = unread[1:]
		}
		r.backlog = 0
		for _, m := range unread {
			r.backlog += max(0, m.info.Size()-m.off)
		}
		if lastSeen {
			r.follower = ""
			if len(unread) > 0 {
				r.follower = unread[0].head.full
			}
		}
		return nil
	}
	return fmt.Errorf("read %s: it rotates faster than it can be opened", r.path)
}

// openAt opens m where it is to be continued, or returns nil if the path has
// another file by now.
func (r *Reader) openAt(m member) (*file, error) {
	x, err := r.open(m.path)
	if err != nil {
		return nil, err
	}
	if !os.SameFile(x.info, m.info) {
		x.close()
		return nil, nil
	}
	x.live = m.live
	if m.off == 0 {
		return x, nil
	}
	ok, err := x.seek(m.off, r.tailOf(m))
	if err == nil && ok {
		return x, nil
	}
	x.close() // not what it was: all of it
	return r.openAt(member{path: m.path, info: m.info, live: m.live})
}

func (r *Reader) tailOf(m member) string {
	for _, k := range r.done {
		if k.off == m.off && k.fp.matches(m.head) {
			return k.tail
		}
	}
	return ""
}

// unread returns the files of the set that are not read, oldest first, and whether
// the last file of the chain, next or else cur, is in the set.
func (r *Reader) unread() (list []member, lastSeen bool) {
	cur, next := linkOf(r.cur), linkOf(r.next)
	for _, m := range r.set {
		inCur, inNext := cur.is(m), next.is(m)
		if inNext || inCur && r.next == nil {
			lastSeen = true
		}
		if inCur || inNext || len(m.head.b) == 0 && !m.live {
			continue
		}
		// The live file comes after all others, even if nothing new is in it.
		if r.known(&m) && !(m.live && (r.cur == nil || !r.cur.live)) {
			continue
		}
		list = append(list, m)
	}
	return list, lastSeen
}

// link is an open file of the chain, to be found in the set.
type link struct {
	x *file
	k mark
}

func linkOf(x *file) link {
	if x == nil {
		return link{}
	}
	x.live = false
	return link{x, x.mark()}
}

// is reports whether m is the file, or a copy of it, compressed or not. It notes
// the name that the file has now.
func (l link) is(m member) bool {
	if l.x == nil {
		return false
	}
	if os.SameFile(l.x.info, m.info) {
		l.x.path, l.x.live = m.path, m.live
		return true
	}
	if l.k.fp.n >= strongHead {
		return l.k.fp.matches(m.head) && (m.rot.Compressed || m.info.Size() >= l.k.off && tailMatches(m.path, l.k))
	}
	// Nothing of it was handed out yet: compare what is known of its beginning.
	return len(l.x.head.b) >= strongHead && l.x.head.print(headSize).matches(m.head)
}

// vanished notes files that were seen unread behind the chain and are gone.
func (r *Reader) vanished(unread []member) {
	for sum, path := range r.pending {
		if !slices.ContainsFunc(r.set, func(m member) bool { return m.head.full == sum }) {
			r.lost = fmt.Sprintf("%s was deleted before it was read", baseName(path))
		}
	}
	r.pending = map[string]string{}
	for _, m := range unread {
		if m.head.full != "" {
			r.pending[m.head.full] = m.path
		}
	}
}

// unreadable tells once that a file of the set cannot be read.
func (r *Reader) unreadable(path string, err error) {
	if !r.damaged[path] {
		r.damaged[path] = true
		r.lost = fmt.Sprintf("%s cannot be read: %v", baseName(path), err)
	}
}

// Position is where a Reader is.
type Position struct {
	File   string // being read
	Offset int64  // of the next record, uncompressed
	Open   bool   // File is there and open
	Live   bool   // it is the live file
	// Lag is how many bytes are known to be written and not handed out. Of
	// compressed files the compressed size counts.
	Lag int64
}

// Position returns where the reader is.
func (r *Reader) Position() Position {
	p := Position{File: r.path}
	if r.cur != nil {
		p.File, p.Offset, p.Open, p.Live = r.cur.path, r.cur.consumed(), true, r.cur.live
		if r.cur.z == nil {
			p.Lag = max(0, r.cur.size()-p.Offset)
		} else if at, err := r.cur.f.Seek(0, io.SeekCurrent); err == nil {
			p.Lag = max(0, r.cur.size()-at)
		}
	}
	if r.next != nil {
		p.Lag += r.next.size()
	}
	p.Lag += r.backlog
	return p
}
