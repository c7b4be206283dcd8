package cli

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/internal/web"
)

// kills is how often the program is killed, half while it imports and half
// while it follows a log.
const kills = 50

// TestCrash kills the real program at random moments. After each kill the store
// holds no line twice and none that is not in the input, and at the end exactly
// the input: none lost, none twice.
func TestCrash(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	t.Run("import", func(t *testing.T) { crashImport(t, rnd) })
	t.Run("follow", func(t *testing.T) { crashFollow(t, rnd) })
}

func crashImport(t *testing.T, rnd *rand.Rand) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	lines := manyLines(t, 24_000)
	want := count16(t, lines)
	args := []string{"import", "--data", data, "--min-free", "1MB", "--quiet"}
	const files = 6
	for i := range files {
		path := filepath.Join(dir, fmt.Sprintf("audit-%d.log", i))
		text := strings.Join(lines[i*len(lines)/files:(i+1)*len(lines)/files], "")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	killed := 0
	for killed < kills/2 {
		if !runFor(t, rnd, args...) {
			// It was done before it was to be killed: the rest of the kills hit an
			// import of what is stored already, and that of an empty store.
			if err := os.RemoveAll(data); err != nil {
				t.Fatal(err)
			}
			continue
		}
		killed++
		holdsOnly(t, data, want)
	}
	if out, err := exec.CommandContext(t.Context(), "ktrail", args...).CombinedOutput(); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	holdsAll(t, data, want)
}

func crashFollow(t *testing.T, rnd *rand.Rand) {
	dir := t.TempDir()
	data, log := filepath.Join(dir, "data"), filepath.Join(dir, "audit.log")
	lines := manyLines(t, 12_000)
	want := count16(t, lines)

	writing := make(chan error, 1)
	go func() { writing <- writeRotated(t.Context(), rnd.Uint64(), log, lines) }()
	args := []string{"serve", "--data", data, "--audit-log", log, "--listen", "127.0.0.1:0", "--min-free", "1MB"}
	for range kills / 2 {
		if !runFor(t, rnd, args...) {
			t.Fatal("serve ended by itself")
		}
		holdsOnly(t, data, want)
	}
	if err := <-writing; err != nil {
		t.Fatal(err)
	}
	s, err := startServe(dir, args[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	defer s.kill()
	client, err := web.NewClient(s.url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := client.Status(ctx)
		if err != nil {
			t.Fatalf("%v\n%s", err, s.log.String())
		}
		if st.Store.Events >= int64(len(lines)) {
			break
		}
		select {
		case <-ctx.Done():
			holdsAll(t, data, want)
			t.Fatalf("%d of %d events after five minutes\n%s", st.Store.Events, len(lines), s.log.String())
		case <-tick.C:
		}
	}
	s.stop(t.Context(), t)
	holdsAll(t, data, want)
}

// runFor runs ktrail and kills it after a while. It is false if the program had
// ended by itself, in order.
func runFor(t *testing.T, rnd *rand.Rand, args ...string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(50+rnd.IntN(700))*time.Millisecond)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ktrail", args...) // kills with SIGKILL
	out, err := cmd.CombinedOutput()
	if err != nil && ctx.Err() == nil {
		t.Fatalf("ktrail %s: %v\n%s", args[0], err, out)
	}
	return err != nil
}

type hash [16]byte

func hashOf(line []byte) hash {
	sum := sha256.Sum256(line)
	return hash(sum[:16])
}

// count16 counts lines, which must all differ.
func count16(t *testing.T, lines []string) map[hash]int {
	t.Helper()
	m := make(map[hash]int, len(lines))
	for _, l := range lines {
		m[hashOf([]byte(strings.TrimSuffix(l, "\n")))]++
	}
	if len(m) != len(lines) {
		t.Fatalf("%d lines, %d differ", len(lines), len(m))
	}
	return m
}

// stored counts the store's lines.
func stored(t *testing.T, data string) map[hash]int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ktrail", "search", "--data", data, "--stage", "all", "--limit", "0", "-o", "raw")
	var notes bytes.Buffer
	cmd.Stderr = &notes
	out, err := cmd.Output()
	switch code := status(err); {
	case code == exitNothing, code == exitUnavailable && strings.Contains(notes.String(), "no ktrail store"):
		return nil // killed before anything was stored
	case code != exitOK:
		t.Fatalf("search %s: status %d: %s", data, code, notes.String())
	}
	m := map[hash]int{}
	for l := range bytes.Lines(out) {
		m[hashOf(bytes.TrimSuffix(l, []byte("\n")))]++
	}
	return m
}

func holdsOnly(t *testing.T, data string, want map[hash]int) map[hash]int {
	t.Helper()
	got := stored(t, data)
	for h, n := range got {
		if want[h] == 0 {
			t.Fatal("a line is stored that is not in the input")
		}
		if n != 1 {
			t.Fatalf("a line is stored %d times", n)
		}
	}
	return got
}

func holdsAll(t *testing.T, data string, want map[hash]int) {
	t.Helper()
	if got := holdsOnly(t, data, want); len(got) != len(want) {
		t.Fatalf("%d of %d lines are stored", len(got), len(want))
	}
}

// manyLines makes n lines with their newlines from the sample's, each with an
// audit ID of its own. Lines that redaction changes are left out.
func manyLines(t *testing.T, n int) []string {
	t.Helper()
	f, err := os.Open(samplePath)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	const key = `"auditID":"`
	var sample []string
	scan := bufio.NewScanner(z)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		l := scan.Text()
		if len(l) < 4000 && strings.Contains(l, key) && !strings.Contains(l, "Secret") && !strings.Contains(l, "secrets") && !strings.Contains(l, "Token") && !strings.Contains(l, "/token") {
			sample = append(sample, l)
		}
	}
	if err := scan.Err(); err != nil || len(sample) < 1000 {
		t.Fatalf("%d lines of the sample, %v", len(sample), err)
	}
	lines := make([]string, n)
	for i := range lines {
		l := sample[i%len(sample)]
		at := strings.Index(l, key) + len(key)
		end := at + strings.IndexByte(l[at:], '"')
		lines[i] = fmt.Sprintf("%s%08d-%s%s\n", l[:at], i, l[at:end], l[end:])
	}
	return lines
}

// writeRotated writes lines as the API server does, rotating by rename and
// compressing afterwards. Now and then a line comes in two halves.
func writeRotated(ctx context.Context, seed uint64, path string, lines []string) error {
	rnd := rand.New(rand.NewPCG(seed, 2))
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	at := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	for i := 0; i < len(lines); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		for end := min(len(lines), i+1+rnd.IntN(8)); i < end; i++ {
			l := lines[i]
			half := 0
			if rnd.IntN(10) == 0 {
				half = rnd.IntN(len(l))
			}
			for _, part := range []string{l[:half], l[half:]} {
				if _, err := f.WriteString(part); err != nil {
					return err
				}
			}
		}
		if rnd.IntN(80) > 0 {
			continue
		}
		at = at.Add(time.Minute)
		if f, err = rotate(f, path, at, rnd.IntN(2) == 0); err != nil {
			return err
		}
	}
	return nil
}

func rotate(f *os.File, path string, at time.Time, compress bool) (*os.File, error) {
	if err := f.Close(); err != nil {
		return nil, err
	}
	old := strings.TrimSuffix(path, ".log") + "-" + at.Format("2006-01-02T15-04-05.000") + ".log"
	if err := os.Rename(path, old); err != nil {
		return nil, err
	}
	f, err := os.Create(path)
	if err != nil || !compress {
		return f, err
	}
	text, err := os.ReadFile(old)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(old+".gz", b.Bytes(), 0o600); err != nil {
		return nil, err
	}
	return f, os.Remove(old)
}
