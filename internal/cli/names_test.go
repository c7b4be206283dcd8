package cli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/internal/web"
)

// A file's name is bytes, the store's columns and the metrics are text. A log
// whose name is none is imported and followed like others.
func TestNameThatIsNoText(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	lines := manyLines(t, 9)
	var paths []string
	for i, name := range []string{"a\xff.log", "b\xff.log", "c\xff.log"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Join(lines[i*3:i*3+3], "")), 0o600); err != nil {
			t.Skipf("this file system has no such names: %v", err)
		}
		paths = append(paths, path)
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "ktrail", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("import", "--data", data, "--min-free", "1MB", paths[0])
	for range 2 { // the second time from where the cursor is
		s, err := startServe(dir, "--data", data, "--audit-log", paths[1])
		if err != nil {
			t.Fatal(err)
		}
		defer s.kill()
		run("import", "--server", s.url, paths[2])
		waitFor(t, s, func(st web.Status) bool { return st.Store.Events == 9 && st.Sources[0].State == "following" })
		client, err := web.NewClient(s.url)
		if err != nil {
			t.Fatal(err)
		}
		if st, err := client.Status(t.Context()); err != nil || st.Sources[0].Duplicates != 0 || st.Sources[0].Name != filepath.Join(dir, `b\xff.log`) {
			t.Errorf("%+v, %v", st.Sources, err)
		}
		s.stop(t.Context(), t)
	}
	holdsAll(t, data, count16(t, lines))
	out := run("top", "--by", "source", "--data", data, "--stage", "all", "-o", "csv")
	for _, want := range []string{`import:a\xff.log,3`, `b\xff.log,3`, `import:c\xff.log,3`} {
		if !strings.Contains(out, want) {
			t.Errorf("top by source has no %s:\n%s", want, out)
		}
	}
}

// waitFor waits until the server's status is as wanted.
func waitFor(t *testing.T, s *served, ok func(web.Status) bool) {
	t.Helper()
	client, err := web.NewClient(s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := client.Status(ctx)
		if err != nil {
			t.Fatalf("%v\n%s", err, s.log.String())
		}
		if ok(st) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("in vain; the server is %+v\n%s", st, s.log.String())
		case <-tick.C:
		}
	}
}
