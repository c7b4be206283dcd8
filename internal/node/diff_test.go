package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	lines := func(s string) string { return strings.ReplaceAll(s, " ", "\n") + "\n" }
	for name, c := range map[string]struct{ a, b, want string }{
		"same":   {"a\n", "a\n", ""},
		"new":    {"", "a\nb\n", "@@ -0,0 +1,2 @@\n+a\n+b\n"},
		"gone":   {"a\n", "", "@@ -1 +0,0 @@\n-a\n"},
		"middle": {lines("1 2 3 4 5 6 7 8 9"), lines("1 2 3 4 x 6 7 8 9"), "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n"},
		"near":   {lines("1 2 3 4 5 6 7 8"), lines("x 2 3 4 5 6 7 y"), "@@ -1,8 +1,8 @@\n-1\n+x\n 2\n 3\n 4\n 5\n 6\n 7\n-8\n+y\n"},
		"far":    {lines("1 2 3 4 5 6 7 8 9"), lines("x 2 3 4 5 6 7 8 y"), "@@ -1,4 +1,4 @@\n-1\n+x\n 2\n 3\n 4\n@@ -6,4 +6,4 @@\n 6\n 7\n 8\n-9\n+y\n"},
		"no end": {"a", "a\n", "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := unified("f", "f", c.a, c.b)
			if got != "" {
				got = strings.TrimPrefix(got, "--- f\n+++ f\n")
			}
			if got != c.want {
				t.Fatalf("got\n%s\nwant\n%s", got, c.want)
			}
			patched(t, c.a, c.b)
		})
	}
}

// patched holds that patch(1) makes b out of a with the diff.
func patched(t *testing.T, a, b string) {
	if _, err := exec.LookPath("patch"); err != nil || a == b {
		return
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte(a), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("patch", "-s", file)
	cmd.Stdin = strings.NewReader(unified("f", "f", a, b))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("patch: %v: %s", err, out)
	}
	got, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if string(got) != b {
		t.Fatalf("patch makes %q, want %q", got, b)
	}
}
