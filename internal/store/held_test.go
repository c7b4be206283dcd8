package store

import (
	"testing"

	"github.com/ktrail/ktrail/internal/durable"
)

// A file that is imported again adds nothing to quarantine, in the same process
// or a later one; the same garbage at another place does.
func TestQuarantineOnce(t *testing.T) {
	fsys := durable.NewMemFS()
	at := func(source string, offset int64, line string) Commit {
		return Commit{Source: source, Quarantined: []Quarantined{{File: source, Offset: offset, Reason: "no JSON", Line: []byte(line)}}}
	}
	open := func() *Store {
		s, err := Open(t.Context(), Options{Dir: "/data", FS: fsys, Logger: quiet(), NoBackground: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	add := func(s *Store, c Commit) {
		t.Helper()
		if _, err := s.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	count := func(s *Store) (n int64) {
		for _, v := range s.State().Quarantined {
			n += v
		}
		return n
	}
	s := open()
	add(s, at("import:audit.log", 10, "garbage"))
	add(s, at("import:audit.log.gz", 10, "garbage"))
	if n := count(s); n != 1 {
		t.Errorf("%d lines in quarantine after the same one came twice, want 1", n)
	}
	add(s, at("import:audit.log", 20, "garbage"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	for _, offset := range []int64{10, 20} {
		add(s, at("import:copy.log", offset, "garbage"))
	}
	if n := count(s); n != 2 {
		t.Errorf("%d lines in quarantine after a restart, want the 2 from before", n)
	}
	add(s, at("import:copy.log", 20, "other garbage"))
	if n := count(s); n != 3 {
		t.Errorf("%d lines in quarantine after a new one, want 3", n)
	}
	// A followed log whose files have the same hole at the same place.
	for range 2 {
		hole := at("/var/log/audit.log", 0, "\x00\x00")
		hole.Cursor = []byte(`{}`)
		add(s, hole)
	}
	if n := count(s); n != 5 {
		t.Errorf("%d lines in quarantine after two holes of a followed log, want 5", n)
	}
}

// A batch that is posted again while its first try is still waiting shares a commit with it.
func TestQuarantineOnceInACommit(t *testing.T) {
	s := mustOpen(t, durable.NewMemFS())
	defer s.Close()
	again := func(offset int64) *request {
		return &request{
			c:    &Commit{Source: "webhook", Quarantined: []Quarantined{{Offset: offset, Reason: "no event", Line: []byte("5")}}},
			gone: t.Context().Err, done: make(chan struct{}),
		}
	}
	if err := s.commit(t.Context(), []*request{again(1), again(2), again(1)}); err != nil {
		t.Fatal(err)
	}
	if n := s.State().Quarantined["webhook"]; n != 2 {
		t.Errorf("%d lines in quarantine, want 2", n)
	}
}
