//go:build unix

package durable

import "golang.org/x/sys/unix"

// Free implements [FS].
func (OS) Free(name string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return 0, 0, err
	}
	size := int64(st.Bsize) //nolint:unconvert // its type differs between systems
	return int64(st.Bavail) * size, int64(st.Blocks) * size, nil
}
