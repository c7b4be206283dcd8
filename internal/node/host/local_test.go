package host_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ktrail/ktrail/internal/node/host"
	"github.com/ktrail/ktrail/internal/node/host/hosttest"
)

func TestLocal(t *testing.T) {
	hosttest.Test(t, host.Local{}, t.TempDir(), hosttest.Echo(t))
}

func TestLocalUnderRoot(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	hosttest.Test(t, host.Local{Root: root}, "/etc", hosttest.Echo(t))
	if _, err := os.Stat(filepath.Join(root, "etc/dirs/a/z")); err != nil {
		t.Error(err)
	}
}

// A manifest or a log directory may be a link to elsewhere.
func TestLocalFollowsLinks(t *testing.T) {
	testLinks(t, host.Local{}, t.TempDir())
}

func testLinks(t *testing.T, h host.Host, dir string) {
	for _, d := range []string{"real", "temp"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("real/file", link); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"one", "second"} {
		target := filepath.Join(dir, "real/file")
		if err := os.WriteFile(target, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		o := host.WriteOptions{Mode: 0o640, Temp: filepath.Join(dir, "temp")}
		if err := h.WriteFile(t.Context(), link, []byte(data), o); err != nil {
			t.Fatal(err)
		}
		if to, err := os.Readlink(link); err != nil || to != "real/file" {
			t.Errorf("the link is now %q, %v", to, err)
		}
		if got, err := os.ReadFile(target); err != nil || string(got) != data {
			t.Errorf("what it points to: %q, %v", got, err)
		}
		info, err := h.Stat(t.Context(), link)
		if err != nil || info.Size != int64(len(data)) || info.Mode != 0o640 || info.Name != "link" {
			t.Errorf("stat: %+v, %v", info, err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "temp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A policy that an API server reads that is not root stays that user's.
func TestLocalKeepsTheOwner(t *testing.T) { testOwner(t, host.Local{}, t.TempDir()) }

func testOwner(t *testing.T, h host.Host, dir string) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	name := filepath.Join(dir, "owned")
	for i, want := range []uint32{0, 1234} {
		if i > 0 {
			if err := os.Chown(name, int(want), int(want)+1); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.WriteFile(t.Context(), name, []byte("x"), host.WriteOptions{Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); !ok || sys.Uid != want || want > 0 && sys.Gid != want+1 {
			t.Errorf("owner %d:%d, want %d", sys.Uid, sys.Gid, want)
		}
	}
}

// Where the manifests' directory is a mount or a link to one, its parent is on
// another file system.
func TestLocalAcrossFileSystems(t *testing.T) { testAcross(t, host.Local{}, t.TempDir()) }

func testAcross(t *testing.T, h host.Host, dir string) {
	temp, err := os.MkdirTemp("/dev/shm", "ktrail-test-")
	if err != nil {
		t.Skip("no second file system: ", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(temp) })
	name := filepath.Join(dir, "file")
	if err := os.WriteFile(filepath.Join(temp, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(temp, "x"), name); err == nil {
		t.Skip("/dev/shm is on the same file system")
	}
	if err := h.WriteFile(t.Context(), name, []byte("x"), host.WriteOptions{Mode: 0o600, Temp: temp}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	for where, want := range map[string]int{temp: 1, dir: 1} {
		if left, err := os.ReadDir(where); err != nil || len(left) != want {
			t.Errorf("left in %s: %v, %v", where, left, err)
		}
	}
}
