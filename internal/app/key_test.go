package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/internal/durable"
)

func TestRedactKey(t *testing.T) {
	dir := t.TempDir()
	first, made, err := redactKey(durable.OS{}, dir)
	if err != nil || !made || len(first) != keySize {
		t.Fatalf("first: %d bytes, made %v, %v", len(first), made, err)
	}
	second, made, err := redactKey(durable.OS{}, dir)
	if err != nil || made || !bytes.Equal(first, second) {
		t.Fatalf("second: equal %v, made %v, %v", bytes.Equal(first, second), made, err)
	}
	path := filepath.Join(dir, keyFile)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if err := os.WriteFile(path, first[:5], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := redactKey(durable.OS{}, dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a cut-off key: %v, want an error that names %s", err, path)
	}
	if b, err := os.ReadFile(path); err != nil || len(b) != 5 {
		t.Errorf("the cut-off key was touched: %d bytes, %v", len(b), err)
	}
}
