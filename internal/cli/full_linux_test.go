package cli

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ktrail/ktrail/internal/web"
)

// TestFullDisk fills a real file system: serve says so, stores nothing more, goes
// on by itself when there is space again, and has lost nothing.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	volume, log := filepath.Join(dir, "volume"), filepath.Join(dir, "audit.log")
	if err := os.Mkdir(volume, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", volume, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("mount a tmpfs: %v: this test needs root", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(volume, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", volume, err)
		}
	})
	data := filepath.Join(volume, "data")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := startServe(dir, "--data", data, "--audit-log", log, "--min-free", "512KiB")
	if err != nil {
		t.Fatal(err)
	}
	defer s.kill()

	lines := manyLines(t, 40_000)
	next := 0
	write := func(n int) {
		t.Helper()
		end := min(len(lines), next+n)
		if _, err := f.WriteString(strings.Join(lines[next:end], "")); err != nil {
			t.Fatal(err)
		}
		next = end
	}
	full := false
	for !full {
		if next == len(lines) {
			t.Fatal("the log is too small to fill the volume")
		}
		write(500)
		waitFor(t, s, func(st web.Status) bool {
			full = st.Store.State == "low disk"
			return full || st.Store.Events == int64(next)
		})
	}
	write(500) // what is written meanwhile waits in the log
	status, text := get(t, s.url+"/readyz")
	if status != http.StatusServiceUnavailable || !strings.Contains(text, "store: low disk: ") {
		t.Errorf("/readyz of a full disk: %d %s", status, text)
	}
	if _, text := get(t, s.url+"/metrics"); !strings.Contains(text, "\nktrail_store_accepting 0\n") {
		t.Error("/metrics says that events are taken")
	}
	// Questions are answered all the same.
	if status, text := get(t, s.url+"/api/v1/events?limit=1"); status != http.StatusOK || !strings.Contains(text, `"audit_id"`) {
		t.Errorf("a question to a full disk: %d %s", status, text)
	}

	if err := unix.Mount("tmpfs", volume, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, s, func(st web.Status) bool { return st.Ready && st.Store.Events == int64(next) })
	if status, text := get(t, s.url+"/readyz"); status != http.StatusOK {
		t.Errorf("/readyz with space again: %d %s", status, text)
	}
	s.stop(t.Context(), t)
	holdsAll(t, data, count16(t, lines[:next]))
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
