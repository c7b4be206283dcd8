package logfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/ktrail/ktrail/internal/durable"
)

const (
	gzipSuffix = ".gz"
	// halfSuffix is what a compressed file has until it is complete and durable.
	halfSuffix = ".gz.tmp"
	// retryKeep is after how long what failed is tried again, lookOld how often files are
	// looked through for their age, in a log that does not rotate meanwhile.
	retryKeep = time.Minute
	lookOld   = time.Hour
	// quiet is how long nobody must have written to a rotated file before it is compressed. Another
	// process that writes the same log, as an old one does while a new one takes over, notices
	// a rotation after lookLive.
	quiet = 2 * lookLive
)

// keep looks after the rotated files of a Writer, in a goroutine of its own.
type keep struct {
	kick chan struct{} // nil if nothing is kept
	stop chan struct{}
	done chan struct{}

	oldMu sync.Mutex
	old   []durable.File // to be synced and closed
}

func (k *keep) start(w *Writer) {
	k.kick, k.stop, k.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	k.kick <- struct{}{}
	go w.tend()
}

// finish ends the goroutine.
func (k *keep) finish() {
	if k.kick != nil {
		close(k.stop)
		<-k.done
	}
}

// retire closes a file that is written no more.
func (w *Writer) retire(f durable.File) {
	if w.kick == nil {
		w.closeOld(f)
		return
	}
	w.oldMu.Lock()
	w.old = append(w.old, f)
	w.oldMu.Unlock()
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

func (w *Writer) closeOld(f durable.File) {
	if w.out.synced() {
		if err := f.Sync(); err != nil {
			w.enter(fmt.Errorf("sync a rotated file of %s: %w", w.out.path, err))
		}
	}
	if err := f.Close(); err != nil {
		w.log.Warn("cannot close a rotated audit log", slog.String("file", w.out.path), slog.Any("error", err))
	}
}

func (w *Writer) closeAllOld() {
	w.oldMu.Lock()
	old := w.old
	w.old = nil
	w.oldMu.Unlock()
	for _, f := range old {
		w.closeOld(f)
	}
}

// trouble tells of an error by which no event is lost.
func (w *Writer) trouble(err error) {
	w.mu.Lock()
	w.st.Keep = err
	w.mu.Unlock()
	if err != nil {
		w.log.Error("cannot keep rotated audit logs as asked", slog.String("file", w.out.path), slog.Any("error", err))
	}
}

func (w *Writer) tend() {
	defer close(w.done)
	defer w.closeAllOld()
	timer := time.NewTimer(lookOld)
	defer timer.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-w.kick:
		case <-timer.C:
		}
		w.closeAllOld()
		again, err := w.tidy()
		if errors.Is(err, ErrClosed) {
			return
		}
		w.trouble(err)
		timer.Stop()
		switch {
		case err != nil:
			timer.Reset(retryKeep)
		case again:
			timer.Reset(quiet)
		case w.opt.MaxAge > 0:
			timer.Reset(lookOld)
		}
	}
}

// oldFile is a rotated file.
type oldFile struct {
	name  string // without .gz
	at    time.Time
	wrote time.Time // the plain one, last
	plain bool
	gz    bool
	half  bool
}

// tidy deletes the rotated files that are too old or too many, the oldest first, and
// compresses those that are left. What cannot be done is told, and the rest done all the same. again
// is whether there is a file that may still be written.
func (w *Writer) tidy() (again bool, err error) {
	opt := &w.opt
	if opt.MaxAge == 0 && opt.MaxBackups == 0 && !opt.Compress {
		return false, nil
	}
	files, err := w.oldFiles()
	if err != nil {
		return false, err
	}
	var errs []error
	from := 0 // the first that stays
	if opt.MaxBackups > 0 {
		from = max(0, len(files)-opt.MaxBackups)
	}
	if opt.MaxAge > 0 {
		const most = 100_000 // days, 273 years: more than 292 are too many nanoseconds
		oldest := time.Now().Add(-24 * time.Hour * time.Duration(min(opt.MaxAge, most)))
		for from < len(files) && files[from].at.Before(oldest) {
			from++
		}
	}
	for _, f := range files[:from] {
		errs = append(errs, w.remove(f))
	}
	for _, f := range files[from:] {
		if !opt.Compress || !f.plain {
			if f.half && (f.plain || f.gz) {
				errs = append(errs, w.removeFile(f.name+halfSuffix)) // of a process that died
			}
			continue
		}
		if time.Since(f.wrote).Abs() < quiet {
			again = true
			continue
		}
		err := w.compress(f.name)
		switch {
		case errors.Is(err, ErrClosed):
			return false, err
		case errors.Is(err, durable.ErrLocked):
			again = true
		default:
			errs = append(errs, err)
		}
	}
	return again, errors.Join(errs...)
}

func (w *Writer) remove(f oldFile) error {
	var errs []error
	if f.half {
		errs = append(errs, w.removeFile(f.name+halfSuffix))
	}
	if f.gz {
		errs = append(errs, w.removeFile(f.name+gzipSuffix))
	}
	if f.plain {
		errs = append(errs, w.removeFile(f.name))
	}
	return errors.Join(errs...)
}

func (w *Writer) removeFile(name string) error {
	if err := w.out.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete old audit log: %w", err)
	}
	return nil
}

// oldFiles returns the rotated files, oldest first, but for the one that is still
// written because the log could not be opened under its name.
func (w *Writer) oldFiles() ([]oldFile, error) {
	o := &w.out
	dir, base := filepath.Dir(o.path), filepath.Base(o.path)
	ext := filepath.Ext(base)
	prefix := strings.TrimSuffix(base, ext) + "-"
	names, err := o.fs.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list rotated files of %s: %w", o.path, err)
	}
	o.mu.Lock()
	var held fs.FileInfo
	if o.f != nil {
		held, _ = o.f.Stat()
	}
	o.mu.Unlock()
	found := map[string]*oldFile{}
	for _, n := range names {
		name := n.Name()
		plain, half := strings.CutSuffix(name, halfSuffix)
		gz := false
		if !half {
			plain, gz = strings.CutSuffix(name, gzipSuffix)
		}
		stamp, ok := strings.CutPrefix(plain, prefix)
		if ok {
			stamp, ok = strings.CutSuffix(stamp, ext)
		}
		if !ok || n.IsDir() {
			continue
		}
		at, err := time.Parse(stampLayout, stamp)
		if err != nil {
			continue
		}
		path := filepath.Join(dir, plain)
		st, err := n.Info()
		if err != nil {
			continue // it is gone
		}
		if held != nil && durable.SameFile(st, held) {
			continue
		}
		f := found[path]
		if f == nil {
			f = &oldFile{name: path, at: at}
			found[path] = f
		}
		f.gz, f.half, f.plain = f.gz || gz, f.half || half, f.plain || !gz && !half
		if !gz && !half {
			f.wrote = st.ModTime()
		}
	}
	var files []oldFile
	for _, f := range found {
		files = append(files, *f)
	}
	slices.SortFunc(files, func(a, b oldFile) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	return files, nil
}

// stampedName is the name that lumberjack gives to a file rotated at a time in UTC.
func stampedName(path string, at time.Time) string {
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + "-" + at.Format(stampLayout) + ext
}

// compress replaces a rotated file by its .gz: the plain one goes when the other
// is complete and durable.
func (w *Writer) compress(name string) (err error) {
	fsys := w.out.fs
	defer func() {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = nil // another process has done it
		case err != nil && !errors.Is(err, ErrClosed):
			err = fmt.Errorf("compress %s: %w", name, err)
		}
	}()
	half := name + halfSuffix
	lock, err := fsys.Lock(half, true)
	if err != nil {
		return err // ErrLocked: another process that writes the same log does it
	}
	defer func() { _ = lock.Close() }()
	st, err := fsys.Stat(name)
	if err != nil {
		_ = fsys.Remove(half)
		return err
	}
	in, err := fsys.Open(name)
	if err != nil {
		_ = fsys.Remove(half)
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := fsys.Create(half)
	if err != nil {
		return err
	}
	err = w.gzip(out, in, st)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		// Another process may not have noticed yet that the log was rotated.
		if st, err = fsys.Stat(name); err == nil && st.Size() != in.Size() {
			err = errors.New("it is still written")
		}
	}
	if err == nil {
		err = fsys.Rename(half, name+gzipSuffix)
	}
	if err != nil {
		_ = fsys.Remove(half)
		return err
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return err
	}
	return fsys.Remove(name)
}

func (w *Writer) gzip(out durable.File, in durable.Reader, st fs.FileInfo) error {
	if err := out.Inherit(st); err != nil {
		w.log.Warn("compressed audit log does not have the mode and owner that it had", slog.Any("error", err))
	}
	z := gzip.NewWriter(out)
	n, err := io.Copy(z, &untilStop{r: io.NewSectionReader(in, 0, in.Size()), stop: w.stop})
	if err != nil {
		return err
	}
	if n != in.Size() {
		return fmt.Errorf("%d of %d bytes could be read", n, in.Size())
	}
	if err := z.Close(); err != nil {
		return err
	}
	return out.Sync()
}

// untilStop ends a copy when the writer is closed.
type untilStop struct {
	r    io.Reader
	stop chan struct{}
}

func (u *untilStop) Read(b []byte) (int, error) {
	select {
	case <-u.stop:
		return 0, ErrClosed
	default:
		return u.r.Read(b)
	}
}
