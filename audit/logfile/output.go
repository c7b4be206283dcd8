package logfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/ktrail/ktrail/internal/durable"
)

const (
	// lookLive is how often it is looked whether the log is still where it was. A look takes as
	// long as writing an event.
	lookLive = time.Second
	// retryRotate is after how long a rotation that failed is tried again.
	retryRotate = 10 * time.Second
	// syncAfter is the second of SyncSecond.
	syncAfter = time.Second
)

// output is the live file of a Writer. Its lock is held while something is written.
type output struct {
	w    *Writer
	path string
	fs   durable.FS
	sync string
	max  int64 // bytes, 0 for no rotation

	mu     sync.Mutex
	f      durable.File // nil if it is to be opened
	stream bool         // standard output, a pipe or a device: neither rotated, cut nor synced
	size   int64        // of f
	torn   bool         // f does not end with a line's end
	looked time.Time
	retry  time.Time // before which no rotation is tried
	stamp  time.Time // in the name of the last rotated file

	dirty bool        // written since the last sync
	timer *time.Timer // of SyncSecond
	// unsynced is the error of the last sync that nobody waited for, nil if it went well.
	unsynced error
}

// open opens the log for appending; like is of the file that it takes the place of, or nil.
func (o *output) open(like fs.FileInfo) error {
	_, err := o.fs.Stat(o.path)
	fresh := errors.Is(err, fs.ErrNotExist)
	if fresh {
		if err := o.fs.MkdirAll(filepath.Dir(o.path)); err != nil {
			return err
		}
	}
	f, err := o.fs.Append(o.path)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	stream := !st.Mode().IsRegular()
	if fresh && !stream {
		if like != nil {
			if err := f.Inherit(like); err != nil {
				o.w.log.Warn("audit log does not have the mode and owner that it had", slog.String("file", o.path), slog.Any("error", err))
			}
		}
		if o.synced() {
			if err := o.fs.SyncDir(filepath.Dir(o.path)); err != nil {
				_ = f.Close()
				return err
			}
		}
	}
	o.f, o.stream, o.size, o.looked = f, stream, 0, time.Now()
	if !stream {
		o.size = st.Size()
	}
	o.torn = o.size > 0 && !stream && !o.ended()
	return nil
}

// ended reports whether the live file's last byte is the end of a line. If it cannot be
// read it is not: an empty line does less harm than two events in one.
func (o *output) ended() bool {
	r, err := o.fs.Open(o.path)
	if err != nil {
		return false
	}
	defer func() { _ = r.Close() }()
	var last [1]byte
	n, err := r.ReadAt(last[:], r.Size()-1)
	return n == 1 && (err == nil || errors.Is(err, io.EOF)) && last[0] == '\n'
}

func (o *output) synced() bool { return o.sync == SyncSecond || o.sync == SyncAlways }

// write writes g and sets what became of it. After an error that is not for want
// of room the file is opened anew, once.
func (o *output) write(g *group) {
	o.look()
	line := 0 // the first that is not written
	for again := true; ; again = false {
		line, g.err = o.lines(g, line)
		if g.err != nil && inDoubt(g.err) {
			break
		}
		if err := o.settle(g, line); err != nil {
			g.err = err
			break
		}
		if g.err == nil || isFull(g.err) || o.path == Stdout {
			break
		}
		o.shut()
		if !again || line == len(g.ends) {
			break
		}
	}
	o.later()
}

// syncError is an error of a sync. What was written before is in doubt, and trying
// again would not tell.
type syncError struct{ err error }

func (e *syncError) Error() string { return "sync: " + e.err.Error() }
func (e *syncError) Unwrap() error { return e.err }

func inDoubt(err error) bool {
	var e *syncError
	return errors.As(err, &e)
}

// settle counts the lines of g before n as taken, when they are durable if that is asked for.
func (o *output) settle(g *group, n int) error {
	if o.sync == SyncAlways {
		if err := o.flush(); err != nil {
			o.shut()
			return err
		}
	}
	g.taken = n
	return nil
}

// lines writes the lines of g from the one at n, and returns the first that is not written.
func (o *output) lines(g *group, n int) (int, error) {
	for n < len(g.ends) {
		if o.f == nil {
			if err := o.open(nil); err != nil {
				return n, err
			}
		}
		if o.torn {
			if _, err := o.put([]byte{'\n'}); err != nil {
				return n, err
			}
			o.torn = false
		}
		from := 0
		if n > 0 {
			from = g.ends[n-1]
		}
		m := len(g.ends)
		if o.max > 0 && !o.stream {
			if o.size > 0 && o.size+int64(g.ends[n]-from) > o.max {
				if err := o.settle(g, n); err != nil {
					return n, err
				}
				o.rotate()
			}
			// A line over the limit has a file for itself. So has every line if
			// the log cannot be rotated: it grows.
			for m = n + 1; m < len(g.ends) && o.size+int64(g.ends[m]-from) <= o.max; m++ {
			}
		}
		wrote, err := o.put(g.buf[from:g.ends[m-1]])
		whole := from
		for ; n < m && g.ends[n] <= from+wrote; n++ {
			whole = g.ends[n]
		}
		if rest := from + wrote - whole; rest > 0 {
			o.cut(int64(rest))
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// put writes b.
func (o *output) put(b []byte) (int, error) {
	n, err := o.f.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if n > 0 {
		o.size += int64(n)
		o.dirty = true
	}
	return n, err
}

// cut removes the beginning of a line that could not be finished, if it is the last
// thing in the file: somebody else may append to it too.
func (o *output) cut(n int64) {
	o.torn = true
	if o.stream {
		return
	}
	st, err := o.f.Stat()
	if err != nil || st.Size() != o.size || o.f.Truncate(o.size-n) != nil {
		return
	}
	o.size -= n
	o.torn = false
}

// look opens the log anew if it is no longer under its name.
func (o *output) look() {
	if o.stream || o.f == nil {
		return
	}
	if time.Since(o.looked) < lookLive { // half of a time.Now
		return
	}
	o.looked = time.Now()
	there, err := o.here()
	if err != nil || there {
		return
	}
	o.reopen()
}

// here reports whether the log's name leads to the file that is being written.
func (o *output) here() (bool, error) {
	st, err := o.f.Stat()
	if err != nil {
		return false, err
	}
	named, err := o.fs.Stat(o.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	o.size = st.Size() // logrotate's copytruncate cuts it
	return durable.SameFile(st, named), nil
}

// reopen leaves a file that is no longer under the log's name. If that cannot be it stays
// in use: it is better than none.
func (o *output) reopen() {
	old := o.f
	like, _ := old.Stat()
	if err := o.open(like); err != nil {
		o.w.log.Warn("audit log was deleted or renamed and cannot be opened again; still writing to the old file", slog.String("file", o.path), slog.Any("error", err))
		return
	}
	o.w.retire(old)
	o.w.mu.Lock()
	o.w.st.Reopened++
	o.w.mu.Unlock()
	o.w.log.Warn("audit log was deleted or renamed by somebody else; opened it again", slog.String("file", o.path))
}

// rotate gives the live file the name of a rotated one and begins another. If that cannot
// be, the live file grows, and it is tried again later.
func (o *output) rotate() {
	now := time.Now()
	if now.Before(o.retry) {
		return
	}
	if there, err := o.here(); err == nil && !there {
		o.reopen()
		return
	}
	if err := o.moveOn(now); err != nil {
		o.retry = now.Add(retryRotate)
		o.w.trouble(fmt.Errorf("rotate %s: %w", o.path, err))
	}
}

// moveOn renames the file and opens the next. If only that fails the file stays in
// use under its new name, until look finds that it can be.
func (o *output) moveOn(now time.Time) error {
	st, err := o.f.Stat()
	if err != nil {
		return err
	}
	name, err := o.rotatedName(now)
	if err != nil {
		return err
	}
	if err := o.fs.Rename(o.path, name); err != nil {
		return err
	}
	old := o.f
	if err := o.open(st); err != nil {
		return err
	}
	o.w.retire(old)
	o.w.mu.Lock()
	o.w.st.Rotations++
	o.w.mu.Unlock()
	return nil
}

// rotatedName returns a name that no file has, later than the ones before.
func (o *output) rotatedName(now time.Time) (string, error) {
	at := now.UTC().Truncate(time.Millisecond)
	if !at.After(o.stamp) {
		at = o.stamp.Add(time.Millisecond)
	}
	for ; ; at = at.Add(time.Millisecond) {
		name := stampedName(o.path, at)
		free := true
		for _, n := range []string{name, name + gzipSuffix} {
			_, err := o.fs.Stat(n)
			if err == nil {
				free = false
			} else if !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
		}
		if free {
			o.stamp = at
			return name, nil
		}
	}
}

// flush makes what was written durable.
func (o *output) flush() error {
	if !o.dirty || o.f == nil || o.stream {
		return nil
	}
	o.dirty = false
	if err := o.f.Sync(); err != nil {
		return &syncError{err}
	}
	return nil
}

// later arranges for a sync in a second, with SyncSecond.
func (o *output) later() {
	if o.sync == SyncSecond && o.dirty && o.timer == nil && !o.stream {
		o.timer = time.AfterFunc(syncAfter, o.syncNow)
	}
}

// syncNow does not keep writers waiting: they go on while the disk works.
func (o *output) syncNow() {
	o.mu.Lock()
	o.timer = nil
	f, dirty := o.f, o.dirty
	o.dirty = false
	o.mu.Unlock()
	if f == nil || !dirty {
		return
	}
	err := f.Sync()
	if errors.Is(err, fs.ErrClosed) {
		return // rotated meanwhile: whoever closes it syncs it
	}
	o.mu.Lock()
	was := o.unsynced
	o.unsynced = nil
	if err != nil {
		o.unsynced = &syncError{err}
		if o.f == f {
			o.shut() // trying again on the same file would not tell
		}
	}
	now := o.unsynced
	o.mu.Unlock()
	if was != nil || now != nil {
		o.w.enter(now)
	}
}

// shut closes the file; the next write opens it again.
func (o *output) shut() {
	if o.f != nil && !o.stream {
		_ = o.f.Close()
		o.f = nil
	}
}

func (o *output) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.timer != nil {
		o.timer.Stop()
	}
	if o.f == nil || o.path == Stdout {
		return nil
	}
	var err error
	if o.synced() {
		err = o.flush()
	}
	return errors.Join(err, o.f.Close())
}

// stream is standard output as a file.
type stream struct{ io.Writer }

func (stream) Sync() error                { return nil }
func (stream) Close() error               { return nil }
func (stream) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }
func (stream) Truncate(int64) error       { return errors.ErrUnsupported }
func (stream) Inherit(fs.FileInfo) error  { return errors.ErrUnsupported }
