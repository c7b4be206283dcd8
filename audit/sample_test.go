package audit_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
)

// sampleLines are the lines of the sample log.
func sampleLines(t testing.TB) [][]byte {
	t.Helper()
	return logLines(t, filepath.Join("..", "testdata", "audit-sample.log.gz"))
}

func logLines(t testing.TB, path string) [][]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = bufio.NewReader(f)
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if len(lines) < 1000 {
		t.Fatalf("%s has %d lines, too few to prove anything", path, len(lines))
	}
	return lines
}

// TestSample holds every column of every line against the reference, in the
// sample and in the logs that KTRAIL_TEST_LOGS names (paths with colons between).
func TestSample(t *testing.T) {
	paths := []string{filepath.Join("..", "testdata", "audit-sample.log.gz")}
	if more := os.Getenv("KTRAIL_TEST_LOGS"); more != "" {
		paths = append(paths, filepath.SplitList(more)...)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			var b audit.Batch
			lines := logLines(t, path)
			for i, line := range lines {
				if err := b.Add(line); err != nil {
					t.Fatalf("line %d: %v", i+1, err)
				}
			}
			for i, line := range lines {
				want, err := reference(line)
				if err != nil {
					t.Fatalf("line %d: reference: %v", i+1, err)
				}
				if got := &b.Events[i]; !reflect.DeepEqual(got, want) {
					t.Fatalf("line %d:\n got %+v\nwant %+v", i+1, got, want)
				}
			}
			t.Logf("%d lines agree in every column", len(lines))
		})
	}
}
