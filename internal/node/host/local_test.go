package host_test

import (
	"os"
	"path/filepath"
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
