package logfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/ktrail/ktrail/audit"
)

// testLine is an event as the API server writes it; seq is its audit ID and time.
func testLine(seq, size int) string {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC).Add(time.Duration(seq) * time.Second).Format("2006-01-02T15:04:05.000000Z")
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"%08d","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/prod/pods/web","verb":"create","user":{"username":"alice","groups":["system:authenticated"]},"sourceIPs":["10.2.0.15"],"objectRef":{"resource":"pods","namespace":"prod","name":"web"},"responseStatus":{"metadata":{},"code":201},"requestObject":{"kind":"Event","apiVersion":"v1","note":%q},"requestReceivedTimestamp":"%s","stageTimestamp":"%s","annotations":{}}`,
		seq, strings.Repeat("x", size), at, at)
}

// sim is a log directory and what happened to it.
type sim struct {
	t       *testing.T
	dir     string
	live    string
	f       *os.File // the writer's
	clock   time.Time
	seq     int
	rnd     *rand.Rand
	partial string       // of a line that is begun
	torn    map[int]bool // events that a truncation cut in two
	ops     []string
}

func newSim(t *testing.T, seed uint64) *sim {
	dir := t.TempDir()
	return &sim{torn: map[int]bool{}, t: t, dir: dir, live: filepath.Join(dir, "audit.log"), clock: time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC), rnd: rand.New(rand.NewPCG(seed, 1))}
}

func (s *sim) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *sim) op(format string, args ...any) { s.ops = append(s.ops, fmt.Sprintf(format, args...)) }

func (s *sim) file() *os.File {
	if s.f == nil {
		var err error
		s.f, err = os.OpenFile(s.live, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		s.must(err)
	}
	return s.f
}

func (s *sim) put(text string) {
	_, err := s.file().WriteString(text)
	s.must(err)
}

// write writes n lines; the last may stay unfinished until the next write.
func (s *sim) write(n int) {
	s.op("write %d from %d", n, s.seq)
	s.put(s.partial)
	s.partial = ""
	for range n {
		line := testLine(s.seq, s.rnd.IntN(3000)) + "\n"
		s.seq++
		s.put(line)
	}
	if s.rnd.IntN(3) == 0 {
		line := testLine(s.seq, s.rnd.IntN(3000)) + "\n"
		s.seq++
		cut := 1 + s.rnd.IntN(len(line)-1)
		s.put(line[:cut])
		s.partial = line[cut:]
	}
}

// rotate is what the API server does. It never rotates within a line.
func (s *sim) rotate() {
	s.file()
	s.put(s.partial)
	s.partial = ""
	s.clock = s.clock.Add(time.Second)
	to := filepath.Join(s.dir, "audit-"+s.clock.Format(stampLayout)+".log")
	s.op("rotate to %s", filepath.Base(to))
	s.must(os.Rename(s.live, to))
	s.must(s.f.Close())
	s.f = nil
}

func (s *sim) rotated() []string {
	all, err := filepath.Glob(filepath.Join(s.dir, "audit-*"))
	s.must(err)
	slices.Sort(all)
	return all
}

// compress makes a .gz of a plain rotated file, the way the API server does.
func (s *sim) compress() {
	for _, path := range s.rotated() {
		if strings.HasSuffix(path, ".gz") {
			continue
		}
		s.op("compress %s", filepath.Base(path))
		gzipFile(s.t, path)
		s.must(os.Remove(path))
		return
	}
}

func gzipFile(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err1 := z.Write(data)
	if err := errors.Join(err1, z.Close(), os.WriteFile(path+".gz", b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// prune deletes the oldest files over keep.
func (s *sim) prune(keep int) {
	all := s.rotated()
	for len(all) > keep {
		s.op("delete %s", filepath.Base(all[0]))
		s.must(os.Remove(all[0]))
		all = all[1:]
	}
}

// copyTruncate is logrotate's; the copy is what audit.log.N is.
func (s *sim) copyTruncate(keepCopy bool) {
	data, err := os.ReadFile(s.live)
	if err != nil {
		return
	}
	s.op("copytruncate of %d bytes, copy %v", len(data), keepCopy)
	if keepCopy {
		for i := 20; i > 0; i-- {
			from := fmt.Sprintf("%s.%d", s.live, i)
			if _, err := os.Stat(from); err == nil {
				s.must(os.Rename(from, fmt.Sprintf("%s.%d", s.live, i+1)))
			}
		}
		s.must(os.WriteFile(s.live+".1", data, 0o600))
	}
	if s.partial != "" {
		s.torn[s.seq-1] = true
	}
	s.must(os.Truncate(s.live, 0))
}

// sink is a store that may crash: what was not committed is gone.
type sink struct {
	t      *testing.T
	path   string
	r      *Reader
	cursor json.RawMessage
	lines  map[string]int
	bad    []string
	gaps   [][2]audit.Time
	// not committed
	newLines []string
	newBad   []string
	newGaps  int
	pend     int // gaps that wait for an event
	at       audit.Time
}

func newSink(t *testing.T, path string) *sink {
	k := &sink{t: t, path: path, lines: map[string]int{}}
	k.restart()
	return k
}

func (k *sink) restart() {
	if k.r != nil {
		k.r.Close()
	}
	r, err := NewReader(Options{Path: k.path, Cursor: k.cursor})
	if err != nil {
		k.t.Fatal(err)
	}
	k.gaps = k.gaps[:len(k.gaps)-k.newGaps]
	k.r, k.newLines, k.newBad, k.newGaps, k.pend, k.at = r, nil, nil, 0, 0, r.LastEvent()
}

// read takes up to n records and reports whether that was all.
func (k *sink) read(n int) (all bool) {
	for range n {
		rec, err := k.r.Next()
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			k.t.Fatal(err)
		}
		switch rec.Kind {
		case Gap:
			k.gaps = append(k.gaps, [2]audit.Time{k.at, 1 << 62})
			k.newGaps++
			k.pend++
		case Bad:
			k.newBad = append(k.newBad, string(rec.Line))
		case Line:
			take := func(b []byte) error {
				var e audit.Event
				if err := audit.Decode(b, &e); err != nil {
					return err
				}
				for i := range k.pend {
					k.gaps[len(k.gaps)-1-i][1] = e.Time
				}
				k.pend, k.at = 0, e.Time
				k.newLines = append(k.newLines, string(b))
				return nil
			}
			if take(rec.Line) != nil {
				for _, p := range Recover(rec.Line, take) {
					if !p.Event {
						k.newBad = append(k.newBad, string(p.Data))
					}
				}
			}
		}
	}
	return false
}

func (k *sink) commit() {
	c := k.r.Cursor(k.at)
	if c == nil {
		return
	}
	k.cursor = c
	for _, l := range k.newLines {
		k.lines[l]++
	}
	k.bad = append(k.bad, k.newBad...)
	k.newLines, k.newBad, k.newGaps = nil, nil, 0
}

func timeOf(seq int) audit.Time {
	return audit.TimeOf(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC).Add(time.Duration(seq) * time.Second))
}

// seqs returns which events are stored.
func (k *sink) seqs() map[audit.Time]int {
	have := map[audit.Time]int{}
	for l, n := range k.lines {
		var e audit.Event
		if err := audit.Decode([]byte(l), &e); err != nil {
			k.t.Fatal(err)
		}
		have[e.Time] += n
	}
	return have
}
