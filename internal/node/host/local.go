package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ktrail/ktrail/internal/durable"
)

// Local is the machine that the program runs on.
type Local struct {
	// Root, if set, is put in front of every path of a file, so that a test has a
	// tree of its own. Programs and connections are the machine's.
	Root string
}

var _ Host = Local{}

// Name implements [Host].
func (Local) Name() string { return "local" }

// Close implements [Host].
func (Local) Close() error { return nil }

// at is where path's file is on this machine.
func (l Local) at(ctx context.Context, op, path string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if !filepath.IsAbs(path) {
		return "", notAbsolute(op, path)
	}
	return filepath.Join(l.Root, path), nil
}

func notAbsolute(op, path string) error {
	return &fs.PathError{Op: op, Path: path, Err: fmt.Errorf("%w: not an absolute path", fs.ErrInvalid)}
}

// ReadFile implements [Host].
func (l Local) ReadFile(ctx context.Context, path string) ([]byte, error) {
	name, err := l.at(ctx, "read", path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(path, f)
}

// readAll reads up to MaxFile bytes. A file under /proc has a size of 0, so the
// size is not asked.
func readAll(path string, r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > MaxFile {
		return nil, TooLong(path, int64(len(data)))
	}
	return data, nil
}

// ReadAt implements [Host].
func (l Local) ReadAt(ctx context.Context, path string, offset int64, n int) ([]byte, int64, error) {
	name, err := l.at(ctx, "read", path)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	return readAt(path, f, offset, n)
}

// readAt asks for the size last, so that it covers what was read.
func readAt(path string, f interface {
	io.ReaderAt
	Stat() (fs.FileInfo, error)
}, offset int64, n int,
) ([]byte, int64, error) {
	data := make([]byte, n)
	read, err := f.ReadAt(data, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, fmt.Errorf("read %s at %d: %w", path, offset, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("stat %s: %w", path, err)
	}
	return data[:read], info.Size(), nil
}

// WriteFile implements [Host]. A symbolic link at path stays, and what it points
// to is replaced.
func (l Local) WriteFile(ctx context.Context, path string, data []byte, o WriteOptions) error {
	name, err := l.at(ctx, "write", path)
	if err != nil {
		return err
	}
	temp := filepath.Dir(name)
	if o.Temp != "" {
		if temp, err = l.at(ctx, "write", o.Temp); err != nil {
			return err
		}
	}
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	err = replace(ctx, name, temp, data, o.Mode)
	if errors.Is(err, syscall.EXDEV) && temp != filepath.Dir(name) {
		err = replace(ctx, name, filepath.Dir(name), data, o.Mode)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// owner is who owns the file of that name: root if there is none.
func owner(name string) (uid, gid int) {
	if st, err := os.Stat(name); err == nil {
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			return int(sys.Uid), int(sys.Gid)
		}
	}
	return 0, 0
}

func replace(ctx context.Context, name, temp string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(temp, TempPrefix+"*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode.Perm()) // not what umask leaves of it
	}
	if err == nil && os.Geteuid() == 0 {
		err = f.Chown(owner(name))
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error counts
		return err
	}
	return syncDirs(filepath.Dir(name), temp)
}

func syncDirs(dirs ...string) error {
	for i, d := range dirs {
		if i > 0 && d == dirs[i-1] {
			continue
		}
		if err := (durable.OS{}).SyncDir(d); err != nil {
			return fmt.Errorf("sync directory %s: %w", d, err)
		}
	}
	return nil
}

func infoOf(name string, st fs.FileInfo) Info {
	return Info{Name: name, Size: st.Size(), Mode: st.Mode(), ModTime: st.ModTime()}
}

// Stat implements [Host].
func (l Local) Stat(ctx context.Context, path string) (Info, error) {
	name, err := l.at(ctx, "stat", path)
	if err != nil {
		return Info{}, err
	}
	st, err := os.Stat(name)
	if err != nil {
		return Info{}, err
	}
	return infoOf(filepath.Base(path), st), nil
}

// ReadDir implements [Host].
func (l Local) ReadDir(ctx context.Context, path string) ([]Info, error) {
	name, err := l.at(ctx, "readdir", path)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	var list []Info
	for _, e := range entries {
		st, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, infoOf(e.Name(), st))
	}
	return list, nil
}

// MkdirAll implements [Host].
func (l Local) MkdirAll(ctx context.Context, path string, perm fs.FileMode) error {
	name, err := l.at(ctx, "mkdir", path)
	if err != nil {
		return err
	}
	return mkdirAll(name, perm.Perm())
}

func mkdirAll(name string, perm fs.FileMode) error {
	st, err := os.Stat(name)
	switch {
	case err == nil && st.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: name, Err: errors.New("a file of this name is in the way")}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := mkdirAll(filepath.Dir(name), perm); err != nil {
		return err
	}
	if err := os.Mkdir(name, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Chmod(name, perm); err != nil { // not what umask leaves of it
		return err
	}
	return syncDirs(filepath.Dir(name))
}

// Remove implements [Host].
func (l Local) Remove(ctx context.Context, path string) error {
	name, err := l.at(ctx, "remove", path)
	if err != nil {
		return err
	}
	switch err := os.Remove(name); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return syncDirs(filepath.Dir(name))
}

// Free implements [Host].
func (l Local) Free(ctx context.Context, path string) (free, total int64, err error) {
	name, err := l.at(ctx, "free", path)
	if err != nil {
		return 0, 0, err
	}
	for {
		free, total, err = durable.OS{}.Free(name)
		if up := filepath.Dir(name); errors.Is(err, fs.ErrNotExist) && up != name {
			name = up
			continue
		}
		if err != nil {
			return 0, 0, &fs.PathError{Op: "statfs", Path: name, Err: err}
		}
		return free, total, nil
	}
}

// stopGrace is how long a program may take to end after it was told to.
const stopGrace = 5 * time.Second

// Run implements [Host].
func (l Local) Run(ctx context.Context, argv []string, stdin []byte) (Result, error) {
	if len(argv) == 0 {
		return Result{}, errors.New("run: no program named")
	}
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.WaitDelay = stopGrace
	c.Stdin = bytes.NewReader(stdin)
	var stdout, stderr limited
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	if cerr := ctx.Err(); err != nil && cerr != nil {
		return Result{}, fmt.Errorf("run %s: %w", argv[0], cerr)
	}
	r := Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		if r.Status = exit.ExitCode(); r.Status < 0 {
			return r, fmt.Errorf("run %s: ended by %s", argv[0], exit.ProcessState)
		}
	case errors.Is(err, exec.ErrNotFound):
		return r, noProgram(argv[0])
	case err != nil:
		return r, fmt.Errorf("run %s: %w", argv[0], err)
	}
	return r, nil
}

func noProgram(name string) error {
	return &fs.PathError{Op: "run", Path: name, Err: fs.ErrNotExist}
}

// limited holds at most MaxFile bytes of a program's output, and fails beyond.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > MaxFile {
		return 0, fmt.Errorf("more than %d bytes of output", MaxFile)
	}
	return l.Buffer.Write(p)
}

// Dial implements [Host].
func (l Local) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}
