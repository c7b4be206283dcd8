//go:build unix

package durable

import (
	"errors"
	"io/fs"
	"syscall"
)

// Inherit implements [File]. Only root may give files away: for others the owner stays.
func (f osFile) Inherit(from fs.FileInfo) error {
	err := f.Chmod(from.Mode().Perm())
	theirs, ok := from.Sys().(*syscall.Stat_t)
	if !ok {
		return err
	}
	if err := f.Chown(int(theirs.Uid), int(theirs.Gid)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return err
}
