//go:build unix

package durable

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrLocked is returned by [Lock] when another process or another part of this
// one holds the lock.
var ErrLocked = errors.New("locked by another process")

// FileLock is an advisory lock on a file. It ends with Close or with the process.
type FileLock struct{ f *os.File }

// Lock takes the lock of name at once or returns [ErrLocked]. An exclusive lock
// creates the file if need be; a shared one only needs to read it, and any
// number of holders may have it. Locks exclude each other inside a process too.
func Lock(name string, exclusive bool) (*FileLock, error) {
	flags, how := os.O_RDONLY, unix.LOCK_SH
	if exclusive {
		flags, how = os.O_RDWR|os.O_CREATE, unix.LOCK_EX
	}
	return lock(name, flags, how|unix.LOCK_NB)
}

// LockShared waits for a shared lock. Holders of the exclusive one are expected to be brief.
func LockShared(name string) (*FileLock, error) {
	return lock(name, os.O_RDONLY, unix.LOCK_SH)
}

func lock(name string, flags, how int) (*FileLock, error) {
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return &FileLock{f}, nil
}

// Close gives the lock back.
func (l *FileLock) Close() error { return l.f.Close() }

// Lock implements [FS].
func (OS) Lock(name string, exclusive bool) (io.Closer, error) {
	l, err := Lock(name, exclusive)
	if err != nil {
		return nil, err
	}
	return l, nil
}
