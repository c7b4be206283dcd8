// Package golden owns what tests compare their output with: files in testdata,
// read as what is right and written anew by -rewrite, reviewed as diffs. Tests
// alone import it; with it they get the flag.
package golden

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/internal/diff"
)

var rewrite = flag.Bool("rewrite", false, "write the goldens anew instead of comparing with them")

// Rewriting is whether goldens are written anew, for tests whose files are not
// compared to the byte, as pictures are not.
func Rewriting() bool { return *rewrite }

// Check fails the test with a diff where got is not what the file holds. With
// -rewrite the file holds it from then on, in a directory made for it if need be.
func Check[Text ~string | ~[]byte](t testing.TB, file string, got Text) {
	t.Helper()
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; make it with: %s", err, command(t))
	}
	if d := diff.Unified(file, "got", string(want), string(got)); d != "" {
		t.Errorf("%s differs; if that is right, write it anew and review it with: %s && git diff\n%s", file, command(t), d)
	}
}

// command is what rewrites the goldens of t, from the module's root.
func command(t testing.TB) string {
	dir := "."
	if b, ok := debug.ReadBuildInfo(); ok {
		dir += strings.TrimSuffix(strings.TrimPrefix(b.Path, b.Main.Path), ".test")
	}
	test, _, _ := strings.Cut(t.Name(), "/")
	return fmt.Sprintf("go test %s -run '^%s$' -rewrite", dir, test)
}
