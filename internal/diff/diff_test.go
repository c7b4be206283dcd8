package diff_test

import (
	"strings"
	"testing"

	"github.com/ktrail/ktrail/internal/diff"
)

func TestUnified(t *testing.T) {
	numbers := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(strings.Repeat("i", i+1) + "\n")
		}
		return b.String()
	}
	for _, c := range []struct{ name, old, new, want string }{
		{"equal", "a\n", "a\n", ""},
		{"new file", "", "a\nb\n", "--- old\n+++ new\n@@ -0,0 +1,2 @@\n+a\n+b\n"},
		{"removed file", "a\n", "", "--- old\n+++ new\n@@ -1 +0,0 @@\n-a\n"},
		{"one line", "a\nb\nc\n", "a\nB\nc\n", "--- old\n+++ new\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"},
		{"no newline at the end", "a\nb", "a\nb\n", "--- old\n+++ new\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n"},
		{"two hunks", numbers(12), "x\n" + numbers(12) + "y\n", "--- old\n+++ new\n@@ -1,3 +1,4 @@\n+x\n i\n ii\n iii\n@@ -10,3 +11,4 @@\n iiiiiiiiii\n iiiiiiiiiii\n iiiiiiiiiiii\n+y\n"},
		{"near changes share a hunk", numbers(6), "x\n" + numbers(6) + "y\n", "--- old\n+++ new\n@@ -1,6 +1,8 @@\n+x\n i\n ii\n iii\n iiii\n iiiii\n iiiiii\n+y\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := diff.Unified("old", "new", c.old, c.new); got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

func TestTooDifferentShowsAll(t *testing.T) {
	old, new := strings.Repeat("a\n", 5000), strings.Repeat("b\n", 5000)
	got := diff.Unified("old", "new", old, new)
	if want := "--- old\n+++ new\n@@ -1,5000 +1,5000 @@\n"; !strings.HasPrefix(got, want) {
		t.Errorf("begins with %q, want %q", got[:60], want)
	}
	if after, err := patch(old, got); err != nil || after != new {
		t.Errorf("the diff does not make new of old: %v", err)
	}
}

// FuzzUnified holds the promise: the diff makes new of old.
func FuzzUnified(f *testing.F) {
	for _, s := range [][2]string{{"", "a"}, {"a\nb\nc\n", "b\nc\nd"}, {"a\na\na\nb\n", "b\na\na\n"}, {"x\n\n\n", "\n\nx\n"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, old, new string) {
		d := diff.Unified("old", "new", old, new)
		if (d == "") != (old == new) {
			t.Fatalf("diff %q of %q and %q", d, old, new)
		}
		if after, err := patch(old, d); err != nil || after != new {
			t.Fatalf("%q with\n%s\nis %q, %v; want %q", old, d, after, err, new)
		}
	})
}
