package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
)

func TestQuarantineIsListed(t *testing.T) {
	m := durable.NewMemFS()
	s := mustOpen(t, m)
	defer s.Close()
	ask := func(source string, limit int) (string, bool) {
		t.Helper()
		lines, more, err := s.Quarantine(t.Context(), QuarantineRequest{Source: source, Limit: limit, LineBytes: 10})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, l := range lines {
			fmt.Fprintf(&b, "%s@%d:%s/%d ", l.Source, l.Offset, l.Line, l.Bytes)
		}
		return strings.TrimSpace(b.String()), more
	}
	if got, more := ask("", 5); got != "" || more {
		t.Errorf("of a new store: %q %v", got, more)
	}
	commit := func(source string, from, n int) {
		var lines []Quarantined
		for i := from; i < from+n; i++ {
			lines = append(lines, Quarantined{Source: source, File: source, Offset: int64(i), Reason: "not JSON", At: audit.Time(i), Line: []byte(strings.Repeat("x", i))})
		}
		mustAppend(t, s, Commit{Source: source, Quarantined: lines, Cursor: []byte(`{}`)})
	}
	commit("/a", 1, 3)
	commit("/b", 20, 2)
	commit("/a", 4, 1)
	all := "/a@4:xxxx/4 /b@21:xxxxxxxxxx/21 /b@20:xxxxxxxxxx/20 /a@3:xxx/3 /a@2:xx/2 /a@1:x/1"
	for _, tt := range []struct {
		source string
		limit  int
		want   string
		more   bool
	}{
		{"", 100, all, false},
		{"", 6, all, false},
		{"", 5, strings.TrimSuffix(all, " /a@1:x/1"), true},
		{"", 1, "/a@4:xxxx/4", true},
		{"/a", 100, "/a@4:xxxx/4 /a@3:xxx/3 /a@2:xx/2 /a@1:x/1", false},
		{"/a", 2, "/a@4:xxxx/4 /a@3:xxx/3", true},
		{"/b", 2, "/b@21:xxxxxxxxxx/21 /b@20:xxxxxxxxxx/20", false},
		{"/c", 2, "", false},
	} {
		if got, more := ask(tt.source, tt.limit); got != tt.want || more != tt.more {
			t.Errorf("%q, limit %d: %q %v, want %q %v", tt.source, tt.limit, got, more, tt.want, tt.more)
		}
	}
	// A damaged line hides nothing else; a file of no commit's is not shown.
	if err := m.Corrupt(s.path(quarantinePath(2)), func(b []byte) []byte { return append([]byte("{torn\n"), b...) }); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(m, s.path(quarantinePath(999)), []byte(`{"source":"/z","line":"eA=="}`+"\n")); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(m, s.path(quarantineDir+"/000003.parquet"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if got, _ := ask("", 100); got != all {
		t.Errorf("beside damage: %q", got)
	}
	if _, _, err := s.Quarantine(t.Context(), QuarantineRequest{}); err == nil {
		t.Error("no limit is accepted")
	}
}
