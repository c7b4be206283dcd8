package golden_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/internal/golden"
)

// fake is a test that remembers how it failed.
type fake struct {
	testing.TB
	said  string
	fatal bool
}

func (f *fake) Helper()      {}
func (f *fake) Name() string { return "TestThat/with_a_part" }
func (f *fake) Errorf(format string, args ...any) {
	f.said += fmt.Sprintf(format, args...)
}

func (f *fake) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	f.fatal = true
	runtime.Goexit()
}
func (f *fake) Fatal(args ...any) { f.Fatalf("%s", fmt.Sprint(args...)) }

func check(file, got string) *fake {
	f := &fake{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		golden.Check(f, file, got)
	}()
	<-done
	return f
}

func TestCheck(t *testing.T) {
	const command = "go test ./internal/golden -run '^TestThat$' -rewrite"
	rewriting(t, false)
	file := filepath.Join(t.TempDir(), "testdata", "deep", "a.txt")
	if f := check(file, "one\n"); !f.fatal || !strings.Contains(f.said, command) {
		t.Errorf("no golden: fatal %v: %s", f.fatal, f.said)
	}
	rewriting(t, true)
	if f := check(file, "one\ntwo\n"); f.said != "" || !golden.Rewriting() {
		t.Errorf("rewriting %v: %s", golden.Rewriting(), f.said)
	}
	if f := check(filepath.Join(file, "below a file"), "x"); !f.fatal {
		t.Errorf("a golden that cannot be written: %q", f.said)
	}
	rewriting(t, false)
	if text, err := os.ReadFile(file); err != nil || string(text) != "one\ntwo\n" {
		t.Errorf("written: %q, %v", text, err)
	}
	if f := check(file, "one\ntwo\n"); f.said != "" {
		t.Errorf("equal: %s", f.said)
	}
	f := check(file, "one\nthree\n")
	if f.fatal || !strings.Contains(f.said, command) || !strings.HasSuffix(f.said, "@@ -1,2 +1,2 @@\n one\n-two\n+three\n") {
		t.Errorf("differs: fatal %v: %s", f.fatal, f.said)
	}
	golden.Check(t, file, []byte("one\ntwo\n"))
}

// rewriting sets the flag, and back to what it was when the test is over.
func rewriting(t *testing.T, on bool) {
	t.Helper()
	was := flag.Lookup("rewrite").Value.String()
	t.Cleanup(func() {
		if err := flag.Set("rewrite", was); err != nil {
			t.Error(err)
		}
	})
	if err := flag.Set("rewrite", fmt.Sprint(on)); err != nil {
		t.Fatal(err)
	}
}
