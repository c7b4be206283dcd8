package hosttest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ktrail/ktrail/internal/node/host"
)

// Fault says what becomes of an operation. The zero Fault lets it pass.
type Fault struct {
	// Err is reported instead of the result.
	Err error
	// Lost drops the connection: this operation and all later ones on it fail with
	// a [host.LostError].
	Lost bool
	// Crash stops the program under test: the operation panics with [ErrCrashed], and
	// so does every later one on this connection. [Survive] catches it.
	Crash bool
	// Done does the operation all the same, before it fails.
	Done bool
	// Litter makes a failing write leave its temporary file behind.
	Litter bool
}

// ErrCrashed is what the operation of a program that stopped panics with.
var ErrCrashed = errors.New("the program was stopped here")

// Survive calls fn and tells whether a Fault stopped it.
func Survive(fn func() error) (crashed bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			if e, ok := v.(error); !ok || !errors.Is(e, ErrCrashed) {
				panic(v)
			}
			crashed = true
		}
	}()
	return false, fn()
}

// Conn is a connection to a [Machine].
type Conn struct {
	// Decide is given the operation's number on this connection, from 1, its name
	// (read, readat, write, stat, readdir, mkdir, remove, free, run, dial)
	// and what it is about: a path or a command line. Nil lets everything pass.
	Decide func(n int, op, about string) Fault

	machine *Machine
	name    string

	mu      sync.Mutex
	n       int
	lost    bool
	crashed bool
}

var _ host.Host = (*Conn)(nil)

// Ops tells how many operations there were.
func (c *Conn) Ops() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

var errDropped = errors.New("dropped by the test")

// begin numbers an operation and decides its fate. What it returns is to be
// passed to end when the operation is done, or instead of doing it.
func (c *Conn) begin(ctx context.Context, op, about string) (Fault, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.crashed {
		panic(ErrCrashed)
	}
	if c.lost {
		return Fault{}, &host.LostError{Host: c.name, Err: errDropped}
	}
	if err := ctx.Err(); err != nil {
		return Fault{}, err
	}
	c.n++
	c.machine.mu.Lock()
	c.machine.log = append(c.machine.log, op+" "+about)
	c.machine.mu.Unlock()
	var f Fault
	if c.Decide != nil {
		f = c.Decide(c.n, op, about)
	}
	if !f.Done {
		return f, c.fail(f)
	}
	return f, nil
}

// fail needs the lock.
func (c *Conn) fail(f Fault) error {
	switch {
	case f.Crash:
		c.crashed = true
		panic(ErrCrashed)
	case f.Lost:
		c.lost = true
		return &host.LostError{Host: c.name, Err: errDropped}
	}
	return f.Err
}

// end reports the fate of an operation that was done, or else its own error.
func (c *Conn) end(f Fault, err error) error {
	if !f.Done {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ferr := c.fail(f); ferr != nil {
		return ferr
	}
	return err
}

// change does an operation that changes names.
func (c *Conn) change(ctx context.Context, op, about string, fn func(files map[string]*file) error, names ...string) error {
	f, err := c.begin(ctx, op, about)
	if err != nil {
		return err
	}
	c.machine.mu.Lock()
	err = fn(c.machine.files)
	c.machine.mu.Unlock()
	if err == nil {
		c.machine.changed(names...)
	}
	return c.end(f, err)
}

// look does an operation that only reads one file or directory.
func (c *Conn) look(ctx context.Context, op, name string, fn func(files map[string]*file, f *file) error) error {
	if err := absolute(op, name); err != nil {
		return err
	}
	return c.change(ctx, op, name, func(files map[string]*file) error {
		f := files[name]
		if f == nil {
			return pathError(op, name, fs.ErrNotExist)
		}
		return fn(files, f)
	})
}

// Name implements [host.Host].
func (c *Conn) Name() string { return c.name }

// ReadFile implements [host.Host].
func (c *Conn) ReadFile(ctx context.Context, name string) (data []byte, err error) {
	err = c.look(ctx, "read", name, func(_ map[string]*file, f *file) error {
		switch {
		case f.mode.IsDir():
			return pathError("read", name, syscall.EISDIR)
		case len(f.data) > host.MaxFile:
			return host.TooLong(name, int64(len(f.data)))
		}
		data = slices.Clone(f.data)
		return nil
	})
	return data, err
}

// ReadAt implements [host.Host].
func (c *Conn) ReadAt(ctx context.Context, name string, offset int64, n int) (data []byte, size int64, err error) {
	err = c.look(ctx, "readat", name, func(_ map[string]*file, f *file) error {
		if f.mode.IsDir() {
			return pathError("read", name, syscall.EISDIR)
		}
		size = int64(len(f.data))
		if rest := f.data[min(offset, size):]; len(rest) > 0 {
			data = slices.Clone(rest[:min(n, len(rest))])
		}
		return nil
	})
	return data, size, err
}

// WriteFile implements [host.Host].
func (c *Conn) WriteFile(ctx context.Context, name string, data []byte, o host.WriteOptions) error {
	if err := absolute("write", name); err != nil {
		return err
	}
	temp := o.Temp
	if temp == "" {
		temp = path.Dir(name)
	}
	f, err := c.begin(ctx, "write", name)
	m := c.machine
	m.mu.Lock()
	litter := path.Join(temp, host.TempPrefix+"litter")
	switch {
	case err != nil && !f.Litter:
	case m.files[path.Dir(name)] == nil, m.files[temp] == nil:
		err = pathError("write", name, fs.ErrNotExist)
	case err != nil:
		m.files[litter] = &file{slices.Clone(data[:len(data)/2]), 0o600, time.Now()}
	case m.files[name] != nil && m.files[name].mode.IsDir():
		err = pathError("write", name, syscall.EISDIR)
	case m.free < int64(len(data)):
		err = pathError("write", name, syscall.ENOSPC)
	default:
		m.files[name] = &file{slices.Clone(data), o.Mode.Perm(), time.Now()}
	}
	m.mu.Unlock()
	if err != nil {
		if f.Litter {
			m.changed(litter)
		}
		return err
	}
	m.changed(name)
	return c.end(f, nil)
}

func (f *file) info(name string) host.Info {
	return host.Info{Name: path.Base(name), Size: int64(len(f.data)), Mode: f.mode, ModTime: f.changed}
}

// Stat implements [host.Host].
func (c *Conn) Stat(ctx context.Context, name string) (info host.Info, err error) {
	err = c.look(ctx, "stat", name, func(_ map[string]*file, f *file) error {
		info = f.info(name)
		return nil
	})
	return info, err
}

// ReadDir implements [host.Host].
func (c *Conn) ReadDir(ctx context.Context, name string) (list []host.Info, err error) {
	err = c.look(ctx, "readdir", name, func(files map[string]*file, f *file) error {
		if !f.mode.IsDir() {
			return pathError("readdir", name, syscall.ENOTDIR)
		}
		for n, child := range files {
			if n != "/" && path.Dir(n) == name {
				list = append(list, child.info(n))
			}
		}
		slices.SortFunc(list, func(a, b host.Info) int { return strings.Compare(a.Name, b.Name) })
		return nil
	})
	return list, err
}

// MkdirAll implements [host.Host].
func (c *Conn) MkdirAll(ctx context.Context, name string, perm fs.FileMode) error {
	if err := absolute("mkdir", name); err != nil {
		return err
	}
	return c.change(ctx, "mkdir", name, func(files map[string]*file) error {
		for d := name; ; d = path.Dir(d) {
			if f := files[d]; f != nil && !f.mode.IsDir() {
				return pathError("mkdir", d, syscall.ENOTDIR)
			} else if f != nil {
				break
			}
		}
		for d := name; files[d] == nil; d = path.Dir(d) {
			files[d] = &file{mode: fs.ModeDir | perm.Perm(), changed: time.Now()}
		}
		return nil
	}, name)
}

// Remove implements [host.Host].
func (c *Conn) Remove(ctx context.Context, name string) error {
	if err := absolute("remove", name); err != nil {
		return err
	}
	return c.change(ctx, "remove", name, func(files map[string]*file) error {
		for n := range files {
			if n != name && path.Dir(n) == name {
				return pathError("remove", name, syscall.ENOTEMPTY)
			}
		}
		delete(files, name)
		return nil
	}, name)
}

// Free implements [host.Host].
func (c *Conn) Free(ctx context.Context, name string) (free, total int64, err error) {
	err = c.change(ctx, "free", name, func(map[string]*file) error {
		free, total = c.machine.free, c.machine.total
		return absolute("free", name)
	})
	return free, total, err
}

// Run implements [host.Host].
func (c *Conn) Run(ctx context.Context, argv []string, stdin []byte) (host.Result, error) {
	f, err := c.begin(ctx, "run", strings.Join(argv, " "))
	if err != nil {
		return host.Result{}, err
	}
	if c.machine.Run == nil || len(argv) == 0 {
		return host.Result{}, c.end(f, pathError("run", strings.Join(argv, " "), fs.ErrNotExist))
	}
	r, err := c.machine.Run(ctx, argv, stdin)
	if err = c.end(f, err); err != nil {
		return host.Result{}, err
	}
	return r, nil
}

// Dial implements [host.Host].
func (c *Conn) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	f, err := c.begin(ctx, "dial", network+" "+address)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	if c.machine.Dial == nil {
		err = fmt.Errorf("dial %s %s: %w", network, address, syscall.ECONNREFUSED)
	} else {
		conn, err = c.machine.Dial(ctx, network, address)
	}
	if err = c.end(f, err); err != nil {
		if conn != nil {
			conn.Close()
		}
		return nil, err
	}
	return conn, nil
}

// Close implements [host.Host].
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = true
	return nil
}
