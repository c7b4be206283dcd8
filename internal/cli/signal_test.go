package cli

import (
	"bufio"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A reader that goes away ends a search quietly, with the status of SIGPIPE.
func TestBrokenPipe(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if out, err := exec.CommandContext(t.Context(), "ktrail", "import", "--data", data, "--min-free", "1MB", samplePath).CombinedOutput(); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	for _, format := range []string{"table", "json", "yaml", "csv", "raw"} {
		cmd := exec.CommandContext(t.Context(), "ktrail", "search", "--data", data, "--stage", "all", "--limit", "0", "-o", format)
		var notes strings.Builder
		cmd.Stderr = &notes
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(io.LimitReader(out, 100)).ReadByte(); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		if code := status(cmd.Wait()); code != exitSignal+int(syscall.SIGPIPE) || notes.String() != "" {
			t.Errorf("%s: status %d, %q; want 141 and no word", format, code, notes.String())
		}
	}
}

// Ctrl-C ends a followed search with the status of SIGINT, and serve with 0.
func TestInterrupt(t *testing.T) {
	dir := t.TempDir()
	s, err := startServe(dir, "--data", filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.kill()
	// One that has printed its filter is following.
	cmd := exec.CommandContext(t.Context(), "ktrail", "search", "--follow", "--show-filter", "--server", s.url)
	notes, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first, err := bufio.NewReader(notes).ReadString('\n')
	if err != nil || first != "filter: final\n" {
		t.Fatalf("search --follow says %q, %v", first, err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := status(cmd.Wait()); code != exitSignal+int(syscall.SIGINT) {
		t.Errorf("search --follow after SIGINT: status %d, want 130", code)
	}
	s.stop(t.Context(), t)
}
