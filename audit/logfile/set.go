package logfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// member is a file of a log's set as it was when the directory was read.
type member struct {
	path string
	rot  Rotated
	live bool
	info os.FileInfo
	head head
	off  int64 // what is known to be read of it
}

// headKey says when a head that was read is still good.
type headKey struct {
	path    string
	size    int64
	modTime int64
}

// list returns the set at one instant: it looks again if the log rotated meanwhile.
func (r *Reader) list() ([]member, error) {
	set, names, err := r.look()
	for range 20 {
		if err != nil {
			break
		}
		again, more, err := r.look()
		if err != nil {
			return nil, err
		}
		same := slices.Equal(names, more) && slices.EqualFunc(set, again, func(a, b member) bool { return os.SameFile(a.info, b.info) })
		set, names = again, more
		if same {
			break
		}
	}
	return set, err
}

// look returns the set and the names that it was made of: rotated files, oldest first, then the live one. Of files
// that are the same (the plain one not yet removed beside its .gz, a copy of the
// live one not yet truncated) only one is in it.
func (r *Reader) look() (set []member, found []string, err error) {
	dir, base := filepath.Split(r.path)
	names, err := os.ReadDir(cmp.Or(dir, "."))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list rotated files of %s: %w", r.path, err)
	}
	there := map[string]bool{}
	for _, n := range names {
		there[n.Name()] = true
	}
	prefix := strings.TrimSuffix(base, filepath.Ext(base))
	heads := map[string]cachedHead{}
	for _, n := range names {
		m := member{path: filepath.Join(dir, n.Name()), live: n.Name() == base}
		if !strings.HasPrefix(n.Name(), prefix) {
			continue
		}
		if !m.live {
			var ok bool
			if m.rot, ok = ParseRotated(n.Name()); !ok || m.rot.Live != base {
				continue
			}
		}
		if m.rot.Compressed && there[strings.TrimSuffix(n.Name(), filepath.Ext(n.Name()))] {
			continue // not complete while the plain one is there
		}
		found = append(found, n.Name())
		if m.info, err = os.Stat(m.path); err != nil || !m.info.Mode().IsRegular() {
			continue // gone again, or none of ours
		}
		if err := r.readHead(&m, heads); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if !errors.Is(err, errUnreadable) {
				return nil, nil, err
			}
			r.unreadable(m.path, err)
			continue
		}
		set = append(set, m)
	}
	r.heads = heads
	slices.SortStableFunc(set, inOrder)
	return set, found, nil
}

// inOrder sorts oldest first.
func inOrder(a, b member) int {
	if a.live != b.live {
		if a.live {
			return 1
		}
		return -1
	}
	return cmp.Or(cmp.Compare(a.rot.Time, b.rot.Time), cmp.Compare(b.rot.Number, a.rot.Number), strings.Compare(a.path, b.path))
}

type cachedHead struct {
	key  headKey
	head head
}

// errUnreadable is a compressed file whose beginning is damaged.
var errUnreadable = errors.New("unreadable")

// readHead sets m's head, from the last look if the file has not changed.
func (r *Reader) readHead(m *member, heads map[string]cachedHead) error {
	key := headKey{path: m.path, size: m.info.Size(), modTime: m.info.ModTime().UnixNano()}
	if c, ok := r.heads[m.path]; ok && c.key == key && !m.live {
		m.head = c.head
		heads[m.path] = c
		return nil
	}
	f, err := os.Open(m.path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", m.path, err)
	}
	defer f.Close()
	content, _, err := Decompress(f)
	if err == nil {
		defer content.Close()
		m.head, err = readHead(content)
	}
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("look at %s: %w", m.path, err)
		}
		return fmt.Errorf("look at %s: %w: %w", m.path, errUnreadable, err)
	}
	heads[m.path] = cachedHead{key, m.head}
	return nil
}

// known sets m.off to what is read of m and reports whether that is all of it.
func (r *Reader) known(m *member) bool {
	for i := len(r.done) - 1; i >= 0; i-- {
		k := r.done[i]
		if !k.fp.matches(m.head) {
			continue
		}
		if m.rot.Compressed {
			m.off = k.off
			return !k.open
		}
		switch size := m.info.Size(); {
		case size < k.off:
			continue // cut back: not the one, or not any more
		case !tailMatches(m.path, k):
			continue
		default:
			m.off = k.off
			return size == k.off
		}
	}
	return m.head.full != "" && m.head.skip == 0 && slices.Contains(r.old, m.head.full)
}

// tailMatches reports whether the plain file at path has k's tail.
func tailMatches(path string, k mark) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	buf := make([]byte, min(k.off, tailSize))
	n, _ := f.ReadAt(buf, k.off-int64(len(buf)))
	return n == len(buf) && tailSum(buf) == k.tail
}
