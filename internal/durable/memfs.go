package durable

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// MemFS is a file system in memory for tests. It knows what was synced, so
// [MemFS.Crash] can show what a machine finds after its power was cut.
type MemFS struct {
	mu      sync.Mutex
	names   map[string]*memNode // what a running program sees
	durable map[string]*memNode // names as of the last SyncDir
	dirs    map[string]bool
	locks   map[string]int // -1 exclusive, else the number of shared holders
	// capacity makes writes beyond so many bytes fail with ENOSPC; 0 is no limit.
	capacity int64
	log      []string
}

type memNode struct {
	data   []byte
	synced int         // bytes of data that survive
	mode   fs.FileMode // 0 is 0600
}

// NewMemFS returns an empty file system.
func NewMemFS() *MemFS {
	return &MemFS{
		names: map[string]*memNode{}, durable: map[string]*memNode{},
		dirs: map[string]bool{"/": true, ".": true}, locks: map[string]int{},
	}
}

// SetCapacity makes writes beyond n bytes in all fail with ENOSPC; 0 is no limit.
func (m *MemFS) SetCapacity(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = n
}

// Crash returns what is left after a power cut: everything that was synced, and
// of the rest nothing if rnd is nil, otherwise a random part.
func (m *MemFS) Crash(rnd *rand.Rand) *MemFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	luck := func() bool { return rnd != nil && rnd.IntN(2) == 0 }
	n := NewMemFS()
	for d := range m.dirs {
		n.dirs[d] = true
	}
	all := map[string]bool{}
	for name := range m.names {
		all[name] = true
	}
	for name := range m.durable {
		all[name] = true
	}
	sorted := make([]string, 0, len(all))
	for name := range all {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	for _, name := range sorted {
		node := m.durable[name]
		if now := m.names[name]; now != node && luck() {
			node = now
		}
		if node == nil {
			continue
		}
		keep := node.synced
		if rest := len(node.data) - keep; rest > 0 && luck() {
			keep += rnd.IntN(rest + 1)
		}
		c := &memNode{data: slices.Clone(node.data[:keep]), synced: keep}
		n.names[name], n.durable[name] = c, c
	}
	return n
}

// Log returns the operations that change something, in order, one a line.
// Writes to one file that follow each other are one line.
func (m *MemFS) Log() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.log)
}

// Corrupt replaces the content of a file with what edit makes of it, synced.
func (m *MemFS) Corrupt(name string, edit func([]byte) []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.names[name]
	if n == nil {
		return &fs.PathError{Op: "corrupt", Path: name, Err: fs.ErrNotExist}
	}
	n.data = edit(slices.Clone(n.data))
	n.synced = len(n.data)
	return nil
}

func (m *MemFS) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if strings.HasPrefix(line, "write ") && len(m.log) > 0 && m.log[len(m.log)-1] == line {
		return
	}
	m.log = append(m.log, line)
}

func (m *MemFS) used() int64 {
	seen := map[*memNode]bool{}
	var n int64
	for _, node := range m.names {
		if !seen[node] {
			seen[node] = true
			n += int64(len(node.data))
		}
	}
	return n
}

type memFile struct {
	fs   *MemFS
	name string
	node *memNode
}

func (f *memFile) Write(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.note("write %s", f.name)
	if c := f.fs.capacity; c > 0 {
		if room := max(0, c-f.fs.used()); int64(len(p)) > room {
			f.node.data = append(f.node.data, p[:room]...)
			return int(room), &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
		}
	}
	f.node.data = append(f.node.data, p...)
	return len(p), nil
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.note("sync %s", f.name)
	f.node.synced = len(f.node.data)
	return nil
}

func (f *memFile) Close() error { return nil }

// Stat implements [File].
func (f *memFile) Stat() (fs.FileInfo, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.node.info(f.name), nil
}

// Truncate implements [File]. It is durable at once.
func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.note("truncate %s", f.name)
	if size < int64(len(f.node.data)) {
		f.node.data = f.node.data[:size]
	}
	f.node.synced = min(f.node.synced, len(f.node.data))
	return nil
}

// Inherit implements [File].
func (f *memFile) Inherit(from fs.FileInfo) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.node.mode = from.Mode().Perm()
	return nil
}

// Create implements [FS].
func (m *MemFS) Create(name string) (File, error) { return m.open(name, true) }

// Append implements [FS].
func (m *MemFS) Append(name string) (File, error) { return m.open(name, false) }

func (m *MemFS) open(name string, empty bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirs[filepath.Dir(name)] {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrNotExist}
	}
	n := m.names[name]
	if n == nil || empty {
		m.note("create %s", name)
		n = &memNode{}
		m.names[name] = n
	}
	return &memFile{m, name, n}, nil
}

type memReader struct {
	data []byte
}

func (r *memReader) Size() int64  { return int64(len(r.data)) }
func (r *memReader) Close() error { return nil }
func (r *memReader) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(r.data)) {
		return 0, io.EOF
	}
	n := copy(p, r.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Open implements [FS].
func (m *MemFS) Open(name string) (Reader, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.names[name]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &memReader{slices.Clone(n.data)}, nil
}

// MkdirAll implements [FS].
func (m *MemFS) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirs[name] {
		m.note("mkdir %s", name)
	}
	for d := name; !m.dirs[d]; d = filepath.Dir(d) {
		m.dirs[d] = true
	}
	return nil
}

// Rename implements [FS].
func (m *MemFS) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.names[oldName]
	if n == nil || !m.dirs[filepath.Dir(newName)] {
		return &fs.PathError{Op: "rename", Path: oldName, Err: fs.ErrNotExist}
	}
	m.note("rename %s %s", oldName, newName)
	delete(m.names, oldName)
	m.names[newName] = n
	return nil
}

// Remove implements [FS].
func (m *MemFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	m.note("remove %s", name)
	delete(m.names, name)
	return nil
}

// SyncDir implements [FS].
func (m *MemFS) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.note("syncdir %s", name)
	for n := range m.durable {
		if filepath.Dir(n) == name && m.names[n] == nil {
			delete(m.durable, n)
		}
	}
	for n, node := range m.names {
		if filepath.Dir(n) == name {
			m.durable[n] = node
		}
	}
	return nil
}

type memInfo struct {
	name string
	size int64
	dir  bool
	mode fs.FileMode
	node *memNode
}

func (n *memNode) info(name string) memInfo {
	return memInfo{name: filepath.Base(name), size: int64(len(n.data)), mode: n.mode, node: n}
}

func (i memInfo) Name() string               { return i.name }
func (i memInfo) Size() int64                { return i.size }
func (i memInfo) IsDir() bool                { return i.dir }
func (i memInfo) ModTime() time.Time         { return time.Time{} }
func (i memInfo) Sys() any                   { return nil }
func (i memInfo) Type() fs.FileMode          { return i.Mode().Type() }
func (i memInfo) Info() (fs.FileInfo, error) { return i, nil }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	if i.mode != 0 {
		return i.mode
	}
	return 0o600
}

// ReadDir implements [FS].
func (m *MemFS) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirs[name] {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	var list []fs.DirEntry
	for d := range m.dirs {
		if filepath.Dir(d) == name && d != name {
			list = append(list, memInfo{name: filepath.Base(d), dir: true})
		}
	}
	for n, node := range m.names {
		if filepath.Dir(n) == name {
			list = append(list, node.info(n))
		}
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

// Stat implements [FS].
func (m *MemFS) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dirs[name] {
		return memInfo{name: filepath.Base(name), dir: true}, nil
	}
	if n := m.names[name]; n != nil {
		return n.info(name), nil
	}
	return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
}

// Free implements [FS].
func (m *MemFS) Free(string) (free, total int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.capacity == 0 {
		return 1 << 50, 1 << 50, nil
	}
	return max(0, m.capacity-m.used()), m.capacity, nil
}

// Lock implements [FS].
func (m *MemFS) Lock(name string, exclusive bool) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	held := m.locks[name]
	if held < 0 || exclusive && held > 0 {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	if exclusive {
		m.locks[name] = -1
	} else {
		m.locks[name]++
	}
	return &memLock{m, name, exclusive}, nil
}

type memLock struct {
	fs        *MemFS
	name      string
	exclusive bool
}

func (l *memLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if l.exclusive {
		l.fs.locks[l.name] = 0
	} else {
		l.fs.locks[l.name]--
	}
	return nil
}
