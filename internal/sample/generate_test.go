package sample_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/sample"
)

func options(events int) sample.Options {
	return sample.Options{Log: filepath.Join("..", "..", "testdata", "audit-sample.log.gz"), Events: events, Seed: 7}
}

func TestGenerate(t *testing.T) {
	const events = 60_000
	var log bytes.Buffer
	if err := sample.Generate(&log, options(events)); err != nil {
		t.Fatal(err)
	}
	size := log.Len()
	lines := bytes.Split(bytes.TrimSuffix(log.Bytes(), []byte("\n")), []byte("\n"))
	if len(lines) != events {
		t.Fatalf("%d lines, want %d", len(lines), events)
	}
	var b audit.Batch
	seen := map[[32]byte]bool{}
	namespaces, users, names := map[string]int{}, map[string]int{}, map[string]bool{}
	stages := map[string]audit.Event{} // audit ID → the last event
	var last, first audit.Time
	complete := 0
	for i, line := range lines {
		b.Reset()
		if err := b.Add(line); err != nil {
			t.Fatalf("line %d: %v\n%s", i+1, err, line)
		}
		e := b.Events[0]
		if sum := sha256.Sum256(line); seen[sum] {
			t.Fatalf("line %d was there before", i+1)
		} else {
			seen[sum] = true
		}
		if first == 0 {
			first = e.Time
		}
		if e.Time < last {
			t.Fatalf("line %d of %s comes after %s", i+1, e.Time, last)
		}
		last = e.Time
		namespaces[strings.Clone(e.Namespace)]++
		for _, u := range []string{e.User, e.AsUser} {
			if strings.HasSuffix(u, "@example.com") {
				users[strings.Clone(u)]++
			}
		}
		names[strings.Clone(e.Name)] = true
		if e.Namespace != "" && !strings.Contains(e.URI, "namespaces/"+e.Namespace) && e.Resource != "namespaces" {
			t.Fatalf("line %d: namespace %s, URI %s", i+1, e.Namespace, e.URI)
		}
		before, again := stages[e.AuditID]
		switch {
		case !again && e.Stage != audit.StageRequestReceived:
			t.Fatalf("line %d: request %s begins with %s", i+1, e.AuditID, e.Stage)
		case again && (before.Received != e.Received || before.User != e.User || before.Namespace != e.Namespace || before.Name != e.Name && before.Name != ""):
			t.Fatalf("line %d: request %s changed:\n%+v\n%+v", i+1, e.AuditID, before, e)
		case again && before.Stage >= e.Stage && e.Stage != audit.StageResponseComplete:
			t.Fatalf("line %d: request %s goes from %s to %s", i+1, e.AuditID, before.Stage, e.Stage)
		}
		if again {
			complete++
		}
		stages[strings.Clone(e.AuditID)] = audit.Event{Received: e.Received, User: strings.Clone(e.User), Stage: strings.Clone(e.Stage), Namespace: strings.Clone(e.Namespace), Name: strings.Clone(e.Name)}
	}
	span := last.Std().Sub(first.Std())
	if span < 29*24*time.Hour || span > 31*24*time.Hour {
		t.Errorf("from %s to %s is not 30 days", first, last)
	}
	if n := len(namespaces); n < 300 || n > 410 {
		t.Errorf("%d namespaces, want most of 400", n)
	}
	if n := len(users); n < 1000 || n > 2000 {
		t.Errorf("%d users, want most of 2000", n)
	}
	if namespaces["payments"] < 10*namespaces["ledger-sandbox"] {
		t.Errorf("payments has %d events, ledger-sandbox %d: not skewed", namespaces["payments"], namespaces["ledger-sandbox"])
	}
	if len(names) < 1000 {
		t.Errorf("%d names", len(names))
	}
	if complete < events*4/10 {
		t.Errorf("only %d of %d events are later stages", complete, events)
	}
	if mean := size / events; mean < 1700 || mean > 2500 {
		t.Errorf("%d bytes a line, the sample has about 2,030", mean)
	}
	t.Logf("%d bytes, %d namespaces, %d users, %d names", size, len(namespaces), len(users), len(names))
}

func TestDeterministic(t *testing.T) {
	sum := func(seed uint64) [32]byte {
		o := options(500)
		o.Seed = seed
		var log bytes.Buffer
		if err := sample.Generate(&log, o); err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(log.Bytes())
	}
	if first, again := sum(1), sum(1); first != again {
		t.Error("the same seed gave another log")
	}
	if sum(1) == sum(2) {
		t.Error("another seed gave the same log")
	}
}

func TestErrors(t *testing.T) {
	for _, o := range []sample.Options{{Events: 1}, {Log: "x", Events: -1}, {Log: filepath.Join(t.TempDir(), "none"), Events: 1}, {Log: "generate_test.go", Events: 1}} {
		if err := sample.Generate(io.Discard, o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
	full := errors.New("full")
	if err := sample.Generate(failing{full}, options(10)); !errors.Is(err, full) {
		t.Errorf("got %v, want the writer's error", err)
	}
	if err := sample.Generate(failing{full}, options(0)); err != nil {
		t.Errorf("no events: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// BenchmarkGenerate is for 100,000 events at a time; reading the sample is in it.
func BenchmarkGenerate(b *testing.B) {
	var n counter
	for b.Loop() {
		if err := sample.Generate(&n, options(100_000)); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(n) / int64(b.N))
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
