package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ktrail/ktrail/internal/durable"
)

// keyFile holds the key of the redactor's hashes: with another key the same
// secret gives another hash, and an imported line is no duplicate of itself.
const (
	keyFile = "redact.key"
	keySize = 32 // bytes
)

// redactKey reads the key in dir, or makes one and says so. dir's writer lock must be held.
func redactKey(fsys durable.FS, dir string) (key []byte, made bool, err error) {
	return redactKeyAt(fsys, filepath.Join(dir, keyFile))
}

// redactKeyAt is redactKey for a key in any file. Nobody else may make it at the same time.
func redactKeyAt(fsys durable.FS, path string) (key []byte, made bool, err error) {
	key, err = os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, false, fmt.Errorf("read redaction key: %w", err)
	case len(key) != keySize:
		return nil, false, fmt.Errorf("read redaction key: %s has %d bytes, not %d: put the file back from a backup; with a new key, lines imported again would be stored again", path, len(key), keySize)
	default:
		return key, false, nil
	}
	key = make([]byte, keySize)
	if _, err := rand.Read(key); err != nil {
		return nil, false, fmt.Errorf("make redaction key: %w", err)
	}
	if err := durable.WriteFile(fsys, path, key); err != nil {
		return nil, false, fmt.Errorf("write redaction key: %w", err)
	}
	return key, true, nil
}
