package saved

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/ktrail/ktrail/internal/durable"
)

const dir = "/data"

func open(t *testing.T, fsys durable.FS) *Store {
	t.Helper()
	s, err := Open(fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func memFS(t *testing.T) *durable.MemFS {
	t.Helper()
	m := durable.NewMemFS()
	if err := m.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
	return m
}

func names(s *Store) string {
	var out []string
	for _, v := range s.List() {
		out = append(out, v.Name+"="+v.State)
	}
	return strings.Join(out, " ")
}

func TestLifeOfAView(t *testing.T) {
	m := memFS(t)
	s := open(t, m)
	made, err := s.Create("deletes", `/?filter=verb+%3D%3D+%22delete%22`)
	if err != nil || made.Created == 0 || made.Created != made.Changed {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := s.Create("a", "/objects"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create("deletes", "/"); !errors.Is(err, ErrExists) {
		t.Errorf("the same name again: %v", err)
	}
	if _, err := s.Change("deletes", "a", ""); !errors.Is(err, ErrExists) {
		t.Errorf("a name that is taken: %v", err)
	}
	v, err := s.Change("deletes", "who deleted?", "")
	if err != nil || v.State != made.State || v.Created != made.Created {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := s.Change("who deleted?", "", "/actors?user=x"); err != nil {
		t.Error(err)
	}
	for _, err := range []error{s.Delete("deletes"), second(s.Get("deletes")), second(s.Change("deletes", "x", ""))} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("a name of the past: %v", err)
		}
	}
	const want = "a=/objects who deleted?=/actors?user=x"
	if got := names(s); got != want {
		t.Errorf("got %s", got)
	}
	// It is all there after the machine stopped.
	if got := names(open(t, m.Crash(rand.New(rand.NewPCG(1, 2))))); got != want {
		t.Errorf("after a crash: %s", got)
	}
	if err := s.Delete("a"); err != nil {
		t.Error(err)
	}
	if got := names(open(t, m)); got != "who deleted?=/actors?user=x" {
		t.Errorf("after a deletion: %s", got)
	}
}

func second[T any](_ T, err error) error { return err }

func TestHostileViews(t *testing.T) {
	s := open(t, memFS(t))
	for _, name := range []string{
		"", ".", "..", "a/b", `a\b`, " a", "a ", "a\nb", "a\x00", "\u202etxt", "a\u200bb", "\xff", "\ufffd", strings.Repeat("x", MaxName+1), "../../etc/passwd", "\u00a0",
	} {
		var invalid *InvalidError
		if _, err := s.Create(name, "/"); !errors.As(err, &invalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for _, state := range []string{
		"", "objects", "//evil.example/", "/\\evil.example", "https://evil.example/", "javascript:alert(1)", "/%2f/evil.example", "/?a#b", "/api/v1/sql", "/views/x",
		"/?filter=%zz", "/?a\r\nSet-Cookie: x", "/?\x00", "/?" + strings.Repeat("x", MaxState), "/?\xff", "/objects/../sources", "?x", "/objects/", "/actors/", "/actors/..", "/actors/%2e%2e", "/actors/%2E", "/actors/.%2e?x=1", "/actors/a/b",
	} {
		var invalid *InvalidError
		if _, err := s.Create("x", state); !errors.As(err, &invalid) {
			t.Errorf("state %q: %v", state, err)
		}
	}
	for i, state := range []string{"/actors/alice%2Fadmin?since=2h", "/actors/system:serviceaccount:shop:deployer", "/objects?filter=a"} {
		if _, err := s.Create(strings.Repeat("s", i+1), state); err != nil {
			t.Errorf("state %q: %v", state, err)
		}
	}
	for _, name := range []string{"<script>alert(1)", "日本語 🙂", "' OR 1=1", "%2e%2e", "a?b#c&d=e", strings.Repeat("ä", MaxName)} {
		if _, err := s.Create(name, "/?filter="+strings.Repeat("x", 100)); err != nil {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

func TestViewsAreBounded(t *testing.T) {
	m := memFS(t)
	s := open(t, m)
	for i := range MaxViews - 1 {
		v := View{Name: fmt.Sprintf("%03d", i) + strings.Repeat("🙂", MaxName-3), State: "/?" + strings.Repeat(`"&<`, (MaxState-2)/3)} // long as JSON
		if err := v.check(); err != nil {
			t.Fatal(err)
		}
		s.views = append(s.views, v)
	}
	if _, err := s.Create("the last", "/"); err != nil {
		t.Fatal(err)
	}
	var invalid *InvalidError
	if _, err := s.Create("one more", "/"); !errors.As(err, &invalid) {
		t.Errorf("got %v", err)
	}
	if got := open(t, m).List(); len(got) != MaxViews {
		t.Errorf("%d views after opening again", len(got))
	}
}

// TestFailedWrites: whatever step of a write fails, or fails and is done all the
// same, what was there stays, and the next write works.
func TestFailedWrites(t *testing.T) {
	for _, done := range []bool{false, true} {
		for n := 1; ; n++ {
			at := 0 // the operation that fails, 0 for none
			f := &durable.FaultFS{FS: memFS(t), Decide: func(i int, _, _ string) durable.Fault {
				if i == at {
					return durable.Fault{Err: errors.New("disk on fire"), Done: done}
				}
				return durable.Fault{}
			}}
			s := open(t, f)
			if _, err := s.Create("kept", "/"); err != nil {
				t.Fatal(err)
			}
			at = f.Ops() + n
			_, err := s.Create("new", "/")
			if f.Ops() < at {
				if n < 4 || err != nil {
					t.Errorf("a write has %d steps, %v", n-1, err)
				}
				break
			}
			at = 0
			if err == nil {
				t.Errorf("step %d failed and nobody was told", n)
			}
			if names(s) != "kept=/" {
				t.Errorf("step %d: %s", n, names(s))
			}
			if _, err := s.Create("again", "/"); err != nil {
				t.Errorf("step %d: the next write: %v", n, err)
			}
			if got := names(open(t, f)); got != "again=/ kept=/" {
				t.Errorf("step %d: on disk %s", n, got)
			}
		}
	}
}

func TestDamagedFile(t *testing.T) {
	for name, text := range map[string]string{
		"torn":         `{"version": 1, "views": [{"na`,
		"newer":        `{"version": 2}`,
		"another host": `{"version": 1, "views": [{"name": "a", "state": "//evil.example"}]}`,
		"too large":    strings.Repeat(" ", maxFile+1),
	} {
		m := memFS(t)
		if err := durable.WriteFile(m, dir+"/"+fileName, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(m, dir); err == nil || !strings.Contains(err.Error(), "views.json") || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(durable.NewMemFS(), "/nowhere"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestManyAtOnce(t *testing.T) {
	m := memFS(t)
	s := open(t, m)
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			if _, err := s.Create(fmt.Sprintf("v%02d", i), "/"); err != nil {
				t.Error(err)
			}
			s.List()
		})
	}
	wait.Wait()
	if got := len(open(t, m).List()); got != 20 {
		t.Errorf("%d views are kept", got)
	}
}
