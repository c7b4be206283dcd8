package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/pkg/sftp"
)

// servers are where distributions keep OpenSSH's server for files: Debian,
// Fedora and RHEL, Alpine and SUSE, Arch, Gentoo.
var servers = []string{
	"/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server",
	"/usr/libexec/sftp-server", "/usr/lib64/misc/sftp-server",
}

// openFiles starts the server for files: the subsystem of sshd, or, where sudo
// is needed or sshd has none, the program itself.
func (s *SSH) openFiles(ctx context.Context) error {
	var err error
	if !s.sudo {
		var files *sftp.Client
		if err = s.do(ctx, func() (err error) { files, err = sftp.NewClient(s.client); return err }); err == nil {
			s.files = files
			return s.needs()
		}
		var lost *LostError
		if errors.As(err, &lost) || ctx.Err() != nil {
			return err
		}
	}
	r, rerr := s.Run(ctx, append([]string{"ls", "-d"}, servers...), nil)
	if rerr != nil {
		return fmt.Errorf("connect to %s: find its sftp-server: %w", s.name, rerr)
	}
	found, _, _ := strings.Cut(string(r.Stdout), "\n")
	if !slices.Contains(servers, found) {
		why := "its sshd offers no sftp, and"
		if s.sudo {
			why = "sudo needs a program that serves files, and"
		}
		return fmt.Errorf("connect to %s: %s there is no sftp-server at %s; install openssh-sftp-server (Debian) or openssh-server", s.name, why, strings.Join(servers, ", "))
	}
	if err := s.do(ctx, func() error { return s.startFiles(command(s.sudo, found)) }); err != nil {
		return fmt.Errorf("connect to %s: start %s: %w", s.name, found, err)
	}
	return s.needs()
}

func (s *SSH) startFiles(line string) error {
	session, err := s.client.NewSession()
	if err != nil {
		return err
	}
	in, err := session.StdinPipe()
	if err != nil {
		return err
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return err
	}
	if err := session.Start(line); err != nil {
		return err
	}
	s.files, err = sftp.NewClientPipe(out, in)
	return err
}

// needs refuses a server that cannot replace a file in one step.
func (s *SSH) needs() error {
	for _, e := range []string{"posix-rename@openssh.com", "statvfs@openssh.com"} {
		if _, ok := s.files.HasExtension(e); !ok {
			return fmt.Errorf("connect to %s: its sftp server lacks %s; use OpenSSH's", s.name, e)
		}
	}
	return nil
}

// change does an operation that changes name.
func (s *SSH) change(ctx context.Context, op, name string, fn func() error) error {
	if !path.IsAbs(name) {
		return notAbsolute(op, name)
	}
	return named(op, name, s.do(ctx, fn))
}

// look does an operation that only looks at name.
func look[T any](ctx context.Context, s *SSH, op, name string, fn func() (T, error)) (T, error) {
	if !path.IsAbs(name) {
		var none T
		return none, notAbsolute(op, name)
	}
	v, err := await(ctx, s, 0, fn)
	return v, named(op, name, err)
}

// named puts the path into an error that has none: those of SFTP are bare.
func named(op, name string, err error) error {
	var lost *LostError
	var of *fs.PathError
	if err == nil || errors.As(err, &lost) || errors.As(err, &of) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// ReadFile implements [Host].
func (s *SSH) ReadFile(ctx context.Context, name string) ([]byte, error) {
	return look(ctx, s, "read", name, func() ([]byte, error) {
		f, err := s.files.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readAll(name, f)
	})
}

// ReadAt implements [Host].
func (s *SSH) ReadAt(ctx context.Context, name string, offset int64, n int) ([]byte, int64, error) {
	type part struct {
		data []byte
		size int64
	}
	p, err := look(ctx, s, "read", name, func() (p part, err error) {
		f, err := s.files.Open(name)
		if err != nil {
			return p, err
		}
		defer f.Close()
		p.data, p.size, err = readAt(name, f, offset, n)
		return p, err
	})
	if err != nil {
		return nil, 0, err
	}
	return p.data, p.size, nil
}

// WriteFile implements [Host]. A symbolic link at name stays, and what it points
// to is replaced.
func (s *SSH) WriteFile(ctx context.Context, name string, data []byte, o WriteOptions) error {
	temp := o.Temp
	if temp == "" {
		temp = path.Dir(name)
	}
	if !path.IsAbs(temp) {
		return notAbsolute("write", temp)
	}
	temp = path.Join(temp, TempPrefix+rand.Text())
	target := name
	err := s.change(ctx, "write", name, func() error {
		if real, err := s.files.RealPath(name); err == nil {
			target = real
		}
		st, err := s.files.Stat(target)
		if err == nil && st.IsDir() {
			return errors.New("a directory of this name is in the way")
		}
		var uid, gid int
		if err == nil {
			if sys, ok := st.Sys().(*sftp.FileStat); ok {
				uid, gid = int(sys.UID), int(sys.GID)
			}
		}
		err = s.replace(ctx, target, temp, data, o.Mode, uid, gid)
		var status *sftp.StatusError
		if own := path.Join(path.Dir(target), path.Base(temp)); errors.As(err, &status) && own != temp && ctx.Err() == nil {
			// SFTP does not tell that it is another file system (EXDEV).
			temp = own
			err = s.replace(ctx, target, temp, data, o.Mode, uid, gid)
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.syncNames(ctx, path.Dir(target), path.Dir(temp))
}

func (s *SSH) replace(ctx context.Context, target, temp string, data []byte, mode fs.FileMode, uid, gid int) error {
	f, err := s.files.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return fmt.Errorf("create %s: %w", temp, err)
	}
	err = f.Chmod(0o600) // before there is anything to read in it
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil && s.root {
		err = f.Chown(uid, gid)
	}
	if err == nil {
		err = f.Chmod(mode.Perm())
	}
	if err == nil {
		err = s.syncFile(ctx, f)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = s.files.PosixRename(temp, target)
	}
	if err != nil {
		_ = s.files.Remove(temp) // the first error counts
	}
	return err
}

func (s *SSH) syncFile(ctx context.Context, f *sftp.File) error {
	if _, ok := s.files.HasExtension("fsync@openssh.com"); ok {
		return f.Sync()
	}
	return s.sync(ctx, f.Name())
}

// syncNames makes the names in directories durable, which SFTP cannot.
func (s *SSH) syncNames(ctx context.Context, dirs ...string) error {
	slices.Sort(dirs)
	return s.sync(ctx, slices.Compact(dirs)...)
}

// sync has the machine's sync do it. Where that one takes no names, as in older
// busyboxes, it is everything that is synced.
func (s *SSH) sync(ctx context.Context, names ...string) error {
	r, err := s.Run(ctx, append([]string{"sync"}, names...), nil)
	if err == nil && r.Status != 0 {
		r, err = s.Run(ctx, []string{"sync"}, nil)
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", strings.Join(names, " "), err)
	}
	if r.Status != 0 {
		return fmt.Errorf("sync %s: %s", strings.Join(names, " "), strings.TrimSpace(string(r.Stderr)))
	}
	return nil
}

// Stat implements [Host].
func (s *SSH) Stat(ctx context.Context, name string) (Info, error) {
	return look(ctx, s, "stat", name, func() (Info, error) {
		st, err := s.files.Stat(name)
		if err != nil {
			return Info{}, err
		}
		return infoOf(path.Base(name), st), nil
	})
}

// ReadDir implements [Host].
func (s *SSH) ReadDir(ctx context.Context, name string) ([]Info, error) {
	return look(ctx, s, "readdir", name, func() ([]Info, error) {
		entries, err := s.files.ReadDir(name)
		if err != nil {
			return nil, err
		}
		var list []Info
		for _, st := range entries {
			list = append(list, infoOf(st.Name(), st))
		}
		slices.SortFunc(list, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
		return list, nil
	})
}

// MkdirAll implements [Host].
func (s *SSH) MkdirAll(ctx context.Context, name string, perm fs.FileMode) error {
	var made []string
	err := s.change(ctx, "mkdir", name, func() error { return s.mkdirAll(path.Clean(name), perm.Perm(), &made) })
	if err != nil || len(made) == 0 {
		return err
	}
	return s.syncNames(ctx, made...)
}

// mkdirAll adds to changed the directories that have new names in them.
func (s *SSH) mkdirAll(name string, perm fs.FileMode, changed *[]string) error {
	st, err := s.files.Stat(name)
	switch {
	case err == nil && st.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: name, Err: errors.New("a file of this name is in the way")}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := s.mkdirAll(path.Dir(name), perm, changed); err != nil {
		return err
	}
	if err := s.files.Mkdir(name); err != nil {
		return err
	}
	*changed = append(*changed, path.Dir(name))
	return s.files.Chmod(name, perm)
}

// Remove implements [Host].
func (s *SSH) Remove(ctx context.Context, name string) error {
	gone := false
	err := s.change(ctx, "remove", name, func() error {
		err := s.files.Remove(name)
		gone = errors.Is(err, fs.ErrNotExist)
		if gone {
			return nil
		}
		return err
	})
	if err != nil || gone {
		return err
	}
	return s.syncNames(ctx, path.Dir(name))
}

// Free implements [Host].
func (s *SSH) Free(ctx context.Context, name string) (free, total int64, err error) {
	v, err := look(ctx, s, "statvfs", name, func() (*sftp.StatVFS, error) {
		for at := path.Clean(name); ; at = path.Dir(at) {
			v, err := s.files.StatVFS(at)
			if errors.Is(err, fs.ErrNotExist) && at != "/" {
				continue
			}
			return v, err
		}
	})
	if err != nil {
		return 0, 0, err
	}
	return int64(v.Bavail * v.Frsize), int64(v.Blocks * v.Frsize), nil
}
