// Package host owns access to a machine: its files, its commands, connections
// from it. The local machine and one over SSH look the same from above.
package host

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"time"
)

// Host is one machine. All paths are absolute. Errors of files wrap fs.ErrNotExist,
// fs.ErrPermission and so on, and name the path; an error that says that the
// connection is gone is a [*LostError].
type Host interface {
	// Name is what people call the machine: "local", or user@address.
	Name() string
	// ReadFile returns a file's content, [MaxFile] bytes at most: a longer one is an error.
	ReadFile(ctx context.Context, path string) ([]byte, error)
	// ReadAt returns at most n bytes from offset on, and the file's size. It is
	// how a growing log is read.
	ReadAt(ctx context.Context, path string, offset int64, n int) (data []byte, size int64, err error)
	// WriteFile replaces path's content atomically and durably: it writes a file
	// whose name begins with a dot into temp (a directory on the same file
	// system; where it is not on the same after all, path's own), syncs it, gives it
	// mode and the owner of what it replaces, root if there was nothing, renames it
	// and syncs the directory. When it returns an error, path has its old content or the new one.
	WriteFile(ctx context.Context, path string, data []byte, o WriteOptions) error
	// Stat follows symbolic links.
	Stat(ctx context.Context, path string) (Info, error)
	// ReadDir returns a directory's entries in order of their names.
	ReadDir(ctx context.Context, path string) ([]Info, error)
	// MkdirAll creates a directory and its parents, with perm where it creates.
	MkdirAll(ctx context.Context, path string, perm fs.FileMode) error
	// Remove removes a file or an empty directory; that there is none is no error.
	Remove(ctx context.Context, path string) error
	// Free is what an unprivileged writer may still write at path's file system, in
	// bytes. Where path is yet to be made its nearest parent answers.
	Free(ctx context.Context, path string) (free, total int64, err error)
	// Run runs a program, without a shell. A status other than 0 is no error; that
	// there is no such program is one that wraps fs.ErrNotExist.
	Run(ctx context.Context, argv []string, stdin []byte) (Result, error)
	// Dial connects from the machine: to its own loopback, too.
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	// Close ends the connection.
	Close() error
}

// MaxFile is the longest file that ReadFile returns, in bytes.
const MaxFile = 16 << 20

// WriteOptions says how a file is written.
type WriteOptions struct {
	Mode fs.FileMode
	// Temp is the directory for the temporary file, on path's file system; "" is
	// path's own directory.
	Temp string
}

// Info is what is known of a file.
type Info struct {
	Name    string // the last element of its path
	Size    int64
	Mode    fs.FileMode
	ModTime time.Time
}

// Result is what a program that ran left.
type Result struct {
	Stdout, Stderr []byte
	Status         int
}

// LostError says that a machine can no longer be reached.
type LostError struct {
	Host string
	Err  error
}

func (e *LostError) Error() string { return "connection to " + e.Host + " lost: " + e.Err.Error() }

func (e *LostError) Unwrap() error { return e.Err }

// TempPrefix begins the names of temporary files. Kubelet reads no file whose
// name begins with a dot.
const TempPrefix = ".ktrail-"

// TooLong says that a file is longer than [MaxFile].
func TooLong(path string, size int64) error {
	return &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%d bytes are too many, at most %d", size, MaxFile)}
}
