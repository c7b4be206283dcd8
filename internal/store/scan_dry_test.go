package store

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// TestDryRunsOfRestoredStore holds that what is remembered of a segment is not
// said of another one with its number: a reader sees such when a backup is put
// back beside it.
func TestDryRunsOfRestoredStore(t *testing.T) {
	const day = 86400e6
	stored := func(uri string) string {
		dir := filepath.Join(t.TempDir(), "data")
		s := openTestStore(t, dir)
		fill(t, s, []audit.Event{{
			Time: day, Stage: audit.StageResponseComplete, Verb: "delete", Resource: "pods", Name: "a", URI: uri, Code: 200, Final: true, AuditID: "1",
		}}, 1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dir, backup := stored("/pods/a?dryRun=All"), stored("/pods/a?propagationPolicy=Orphan")
	s, err := Open(t.Context(), Options{Dir: dir, ReadOnly: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	class := func() (class query.Class) {
		r := query.LanesRequest{Range: query.Range{From: 1, To: 2 * day}, Width: day, Objects: []query.ObjectKey{{Resource: "pods", Name: "a"}}}
		if _, err := s.Lanes(t.Context(), r, func(_ int, m query.Mark) error {
			class = m.Class
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return class
	}
	if got := class(); got != query.ClassOther {
		t.Fatalf("a dry run is %q", got)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(backup, dir); err != nil {
		t.Fatal(err)
	}
	if got := class(); got != query.ClassDelete {
		t.Errorf("in the store that was put back a deletion is %q", got)
	}
}
