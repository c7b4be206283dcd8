// Package saved owns the saved views: names that people give to a state of the
// page, kept in one file of the data directory. The file is replaced as a whole,
// so that it is the old one or the new one whenever the machine stops.
package saved

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
)

// The limits. The file is at most their product and a little.
const (
	MaxViews = 200
	MaxName  = 80      // code points
	MaxState = 8 << 10 // bytes
	maxFile  = 4 << 20 // bytes: MaxViews of MaxState each, twice as long as JSON
)

// fileName is the file in the data directory.
const fileName = "views.json"

// View is a name for a state of the page.
type View struct {
	Name string `json:"name"`
	// State is the page's address with all of its state, without scheme and host: /objects?filter=...
	State   string     `json:"state"`
	Created audit.Time `json:"created"`
	Changed audit.Time `json:"changed"`
}

// Errors that a caller can tell apart.
var (
	ErrNotFound = errors.New("there is no such view")
	ErrExists   = errors.New("a view of this name is there already; choose another name, or change that one")
)

// InvalidError is a view that cannot be kept. Message says what to do.
type InvalidError struct{ Message string }

func (e *InvalidError) Error() string { return e.Message }

func invalid(format string, args ...any) error {
	return &InvalidError{fmt.Sprintf(format, args...)}
}

// Store keeps views. Its methods may be called from many goroutines; what they
// return is durable.
type Store struct {
	fs   durable.FS
	name string

	mu    sync.Mutex
	views []View // by name
}

// file is what is on disk.
type file struct {
	Version int    `json:"version"`
	Views   []View `json:"views"`
}

// Open reads the views in the data directory dir. None is no error.
func Open(fsys durable.FS, dir string) (*Store, error) {
	s := &Store{fs: fsys, name: filepath.Join(dir, fileName)}
	info, err := fsys.Stat(s.name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("it has %d bytes, more than ktrail writes", info.Size())
	}
	var text []byte
	if err == nil {
		text, err = durable.ReadFile(fsys, s.name)
	}
	var f file
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err == nil && f.Version != 1 {
		err = fmt.Errorf("its version is %d; use a newer ktrail", f.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("read saved views %s: %w; mend the file or move it away", s.name, err)
	}
	for _, v := range f.Views {
		// A file may be edited by hand: what would be refused is not served either.
		if err := v.check(); err != nil {
			return nil, fmt.Errorf("read saved views %s: view %.80q: %w; mend the file or move it away", s.name, v.Name, err)
		}
	}
	s.views = f.Views
	slices.SortFunc(s.views, byName)
	return s, nil
}

// page is whether a path, escaped, is one of the page's.
func page(path string) bool {
	user, actor := strings.CutPrefix(path, "/actors/")
	switch {
	case actor:
		// To a browser %2e%2e is .. too, and leads to another page.
		name, err := url.PathUnescape(user)
		return err == nil && name != "" && name != "." && name != ".." && !strings.ContainsAny(user, `/\`)
	default:
		return slices.Contains([]string{"/", "/objects", "/actors", "/sources"}, path)
	}
}

func byName(a, b View) int { return strings.Compare(a.Name, b.Name) }

func (v *View) check() error {
	switch n := utf8.RuneCountInString(v.Name); {
	case v.Name == "":
		return invalid("the view has no name")
	case !utf8.ValidString(v.Name):
		return invalid("the name is not UTF-8")
	case n > MaxName:
		return invalid("the name has %d characters; at most %d are allowed", n, MaxName)
	case strings.TrimSpace(v.Name) != v.Name:
		return invalid("the name begins or ends with a space")
	case v.Name == "." || v.Name == "..":
		return invalid("the name %q means a directory; choose another", v.Name)
	}
	for _, r := range v.Name {
		// A name is shown in lists and stands in an address.
		if !unicode.IsPrint(r) || r == '/' || r == '\\' || r == utf8.RuneError {
			return invalid("the name has the character %U, which is not allowed", r)
		}
	}
	if len(v.State) > MaxState {
		return invalid("the state has %d bytes; at most %d are allowed: make the filter shorter", len(v.State), MaxState)
	}
	if !utf8.ValidString(v.State) {
		return invalid("the state is not UTF-8")
	}
	u, err := url.Parse(v.State)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		return invalid("the state is no address of this server's page; write /?filter=...")
	}
	// Browsers take // and /\ for the beginning of a host.
	if !page(u.EscapedPath()) {
		return invalid("the state %.80q is none of the pages /, /objects, /actors, /actors/USER and /sources", v.State)
	}
	if _, err := url.ParseQuery(u.RawQuery); err != nil || strings.ContainsFunc(v.State, unicode.IsControl) {
		return invalid("the state is not well-formed")
	}
	return nil
}

// List returns all views by name.
func (s *Store) List() []View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]View{}, s.views...)
}

// Get returns one view or [ErrNotFound].
func (s *Store) Get(name string) (View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := find(s.views, name)
	if !ok {
		return View{}, ErrNotFound
	}
	return s.views[i], nil
}

func find(views []View, name string) (int, bool) {
	return slices.BinarySearchFunc(views, name, func(v View, name string) int { return strings.Compare(v.Name, name) })
}

// Create keeps a new view.
func (s *Store) Create(name, state string) (View, error) {
	now := audit.TimeOf(time.Now())
	v := View{Name: name, State: state, Created: now, Changed: now}
	if err := v.check(); err != nil {
		return View{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := find(s.views, name)
	switch {
	case ok:
		return View{}, ErrExists
	case len(s.views) >= MaxViews:
		return View{}, invalid("%d views are kept already; delete one first", MaxViews)
	}
	return v, s.replace(slices.Insert(slices.Clone(s.views), i, v))
}

// Change gives the view called name another name, another state or both; "" leaves it.
func (s *Store) Change(name, newName, state string) (View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := find(s.views, name)
	if !ok {
		return View{}, ErrNotFound
	}
	v := s.views[i]
	if newName != "" {
		v.Name = newName
	}
	if state != "" {
		v.State = state
	}
	v.Changed = audit.TimeOf(time.Now())
	if err := v.check(); err != nil {
		return View{}, err
	}
	views := slices.Delete(slices.Clone(s.views), i, i+1)
	at, taken := find(views, v.Name)
	if taken {
		return View{}, ErrExists
	}
	return v, s.replace(slices.Insert(views, at, v))
}

// Delete forgets a view.
func (s *Store) Delete(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := find(s.views, name)
	if !ok {
		return ErrNotFound
	}
	return s.replace(slices.Delete(slices.Clone(s.views), i, i+1))
}

// replace makes views durable, then known. s.mu is held: changes come one at a time.
func (s *Store) replace(views []View) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // states are full of &, and the file's size is bounded
	e.SetIndent("", " ")
	err := e.Encode(file{1, views})
	if err == nil {
		err = durable.WriteFile(s.fs, s.name, text.Bytes())
	}
	if err != nil {
		return fmt.Errorf("save views: %w", err)
	}
	s.views = views
	return nil
}
