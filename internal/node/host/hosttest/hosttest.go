// Package hosttest owns machines for tests: a [Machine] is a tree of files in
// memory with a function that runs its programs, and a [Conn] is a [host.Host]
// connected to it, whose every operation can be made to fail.
//
// A machine outlives its connections, so that a test can cut one anywhere and
// look at what a second one finds. [Test] holds what all hosts have in common.
package hosttest

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ktrail/ktrail/internal/node/host"
)

// Machine is a machine in memory. Its functions are called without a lock held,
// from the goroutine of the operation, and may use the machine; set them before
// it is used.
type Machine struct {
	// Changed is told after a file or directory was written, renamed or removed:
	// the place for what watches files, such as a kubelet.
	Changed func(path string)
	// Run runs programs; without it there are none.
	Run func(ctx context.Context, argv []string, stdin []byte) (host.Result, error)
	// Dial makes connections from the machine; without it they are refused.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu          sync.Mutex
	files       map[string]*file
	free, total int64
	log         []string
}

type file struct {
	data    []byte
	mode    fs.FileMode
	changed time.Time
}

// NewMachine returns a machine with an empty root directory and 10 GB free of 20.
func NewMachine() *Machine {
	return &Machine{
		files: map[string]*file{"/": {mode: fs.ModeDir | 0o755}},
		free:  10 << 30, total: 20 << 30,
	}
}

// SetFree sets what Free answers.
func (m *Machine) SetFree(free, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free, m.total = free, total
}

// Put writes a file as the machine itself would: without telling Changed,
// without a line in the log, with directories made as needed.
func (m *Machine) Put(name string, data []byte, mode fs.FileMode) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for d := path.Dir(name); m.files[d] == nil; d = path.Dir(d) {
		m.files[d] = &file{mode: fs.ModeDir | 0o755, changed: time.Now()}
	}
	m.files[name] = &file{slices.Clone(data), mode, time.Now()}
}

// Append adds to a file as the machine itself would, as to a log.
func (m *Machine) Append(name string, data []byte) {
	old, _ := m.Get(name)
	m.Put(name, append(old, data...), 0o600)
}

// Delete removes a file or a directory with all that is in it, as Put writes.
func (m *Machine) Delete(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := range m.files {
		if n == name || strings.HasPrefix(n, name+"/") {
			delete(m.files, n)
		}
	}
}

// Get returns a file's content, and whether there is such a file.
func (m *Machine) Get(name string) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.files[name]
	if f == nil || f.mode.IsDir() {
		return nil, false
	}
	return slices.Clone(f.data), true
}

// Tree returns every file below dir by its path, and directories with a slash
// at their end and their mode as content: two trees can be compared.
func (m *Machine) Tree(dir string) map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	tree := map[string]string{}
	for name, f := range m.files {
		switch {
		case name != dir && !strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/"):
		case f.mode.IsDir():
			tree[strings.TrimSuffix(name, "/")+"/"] = f.mode.String()
		default:
			tree[name] = f.mode.String() + "\n" + string(f.data)
		}
	}
	return tree
}

// Log returns what was asked of the machine by all connections, an operation a
// line: its name and what it was about.
func (m *Machine) Log() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.log)
}

// Connect returns a new connection.
func (m *Machine) Connect(name string) *Conn {
	return &Conn{machine: m, name: name}
}

func (m *Machine) changed(names ...string) {
	if m.Changed == nil {
		return
	}
	for _, name := range names {
		m.Changed(name)
	}
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func absolute(op, name string) error {
	if !path.IsAbs(name) || path.Clean(name) != name {
		return pathError(op, name, fmt.Errorf("%w: not a clean absolute path", fs.ErrInvalid))
	}
	return nil
}
