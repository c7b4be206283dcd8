// Package durable owns the seam between ktrail and the file system: the few
// operations that must survive a crash, what each of them promises, and the
// atomic write that is built from them. [MemFS] and [FaultFS] are the same seam
// for tests: one forgets what was not synced, the other fails on demand.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS is a file system. What is promised after a crash:
//
//   - a file's content: what was written before the last Sync of it that succeeded;
//   - a name (created, renamed, removed): what it was at the last SyncDir of its directory that succeeded.
//
// Anything newer may be there in full, in part or not at all.
type FS interface {
	// Create opens name for writing, empty, mode 0600.
	Create(name string) (File, error)
	// Append opens name for writing at its end, creating it if need be, mode 0600.
	Append(name string) (File, error)
	// Open opens name for reading.
	Open(name string) (Reader, error)
	// MkdirAll creates name and its missing parents, mode 0700, and makes their names durable.
	MkdirAll(name string) error
	// Rename replaces newName with oldName. Both directories need a SyncDir.
	Rename(oldName, newName string) error
	Remove(name string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// Lock takes the advisory lock of name at once or returns [ErrLocked]; see [Lock].
	Lock(name string, exclusive bool) (io.Closer, error)
	// Free tells the bytes that may still be written on name's volume, and its size.
	Free(name string) (free, total int64, err error)
}

// File is a file being written.
type File interface {
	io.Writer
	// Sync makes what was written durable. After an error nothing is known about
	// what is on disk, and trying again on the same file does not help: the kernel
	// may have dropped the pages that it could not write.
	Sync() error
	Close() error
	// Stat tells about this file, whatever its name leads to by now; see [SameFile].
	Stat() (fs.FileInfo, error)
	// Truncate cuts the file to size bytes.
	Truncate(size int64) error
	// Inherit gives the file the mode, and where it can the owner, of another.
	Inherit(from fs.FileInfo) error
}

// SameFile reports whether a and b, from one file system, are of one file.
func SameFile(a, b fs.FileInfo) bool {
	if x, ok := a.(memInfo); ok {
		y, ok := b.(memInfo)
		return ok && x.node != nil && x.node == y.node
	}
	return os.SameFile(a, b)
}

// Reader is a file being read.
type Reader interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// OS is the real file system.
type OS struct{}

// Create implements [FS].
func (OS) Create(name string) (File, error) {
	return openFile(name, os.O_TRUNC)
}

// Append implements [FS].
func (OS) Append(name string) (File, error) {
	return openFile(name, os.O_APPEND)
}

type osFile struct{ *os.File }

func openFile(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

type osReader struct {
	*os.File
	size int64
}

func (r osReader) Size() int64 { return r.size }

// Open implements [FS].
func (OS) Open(name string) (Reader, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return osReader{f, st.Size()}, nil
}

// MkdirAll implements [FS].
func (OS) MkdirAll(name string) error {
	return mkdirAll(name)
}

func mkdirAll(name string) error {
	if st, err := os.Stat(name); err == nil {
		if !st.IsDir() {
			return fmt.Errorf("make directory %s: a file of this name is in the way", name)
		}
		return nil
	}
	parent := filepath.Dir(name)
	if parent != name {
		if err := mkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return OS{}.SyncDir(parent)
}

// Rename implements [FS].
func (OS) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }

// Remove implements [FS].
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncDir implements [FS].
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// ReadDir implements [FS].
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// Stat implements [FS].
func (OS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// WriteFile replaces name with data in one step: whenever the machine stops,
// name is the old file or the new one, whole. When it returns nil the new one is durable.
func WriteFile(fsys FS, name string, data []byte) error {
	tmp := name + ".tmp"
	f, err := fsys.Create(tmp)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		_ = fsys.Remove(tmp)
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// ReadFile reads a whole file.
func ReadFile(fsys FS, name string) ([]byte, error) {
	r, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	b := make([]byte, r.Size())
	n, err := r.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b[:n], nil
}
