package logfile

import (
	"os"
	"strings"
	"testing"
)

// TestTorture does things to a log at random between reads, commits and crashes
// of its reader. What was written is stored, or lies within a gap that was told.
func TestTorture(t *testing.T) {
	seeds := 150
	if testing.Short() {
		seeds = 20
	}
	for _, mode := range []struct {
		name                            string
		rename, prune, truncate, nocopy bool
		lossless                        bool
	}{
		{name: "rename and compress", rename: true, lossless: true},
		{name: "deleted by maxbackup", rename: true, prune: true},
		{name: "copytruncate", truncate: true, lossless: true},
		{name: "truncate without a copy", truncate: true, nocopy: true},
	} {
		t.Run(mode.name, func(t *testing.T) {
			lost, gaps := 0, 0
			for seed := range uint64(seeds) {
				s := newSim(t, seed)
				k := newSink(t, s.live)
				s.write(1) // what is gone before the first commit nobody can know of
				k.read(1)
				k.commit()
				for range 60 {
					switch n := s.rnd.IntN(20); {
					case n < 6:
						s.write(1 + s.rnd.IntN(6))
					case n < 8 && mode.rename:
						s.rotate()
					case n < 10:
						s.compress()
					case n == 10 && mode.prune:
						s.prune(s.rnd.IntN(3))
					case n == 11 && mode.truncate && (s.partial == "" || !mode.lossless):
						s.copyTruncate(!mode.nocopy)
					case n < 16:
						k.read(1 + s.rnd.IntN(12))
						s.op("read to %d", len(k.newLines))
					case n < 18:
						k.commit()
						s.op("commit")
					case n == 18:
						k.restart()
						s.op("restart")
					}
				}
				s.put(s.partial)
				s.partial = ""
				for !k.read(1000) {
				}
				k.commit()
				k.restart()
				for !k.read(1000) {
				}
				k.commit()
				have := k.seqs()
				for seq := range s.seq {
					at := timeOf(seq)
					n := have[at]
					if n == 0 && s.torn[seq] && len(k.bad) > 0 {
						continue
					}
					if n == 1 || n > 1 && !mode.lossless {
						continue
					}
					inGap := false
					for _, g := range k.gaps {
						inGap = inGap || g[0] <= at && at <= g[1]
					}
					lost++
					if n > 1 || !inGap || mode.lossless {
						t.Fatalf("seed %d: event %d is stored %d times; gaps %v\n%s", seed, seq, n, k.gaps, strings.Join(s.ops, "\n")+"\n"+string(k.cursor))
					}
				}
				gaps += len(k.gaps)
				if mode.lossless && len(k.gaps) > 0 {
					t.Fatalf("seed %d: gaps %v without a loss\n%s", seed, k.gaps, strings.Join(s.ops, "\n"))
				}
				if mode.lossless && len(k.bad) > 0 {
					t.Fatalf("seed %d: quarantined %q\n%s", seed, k.bad, strings.Join(s.ops, "\n"))
				}
				k.r.Close()
				if s.f != nil {
					s.f.Close()
				}
				os.RemoveAll(s.dir)
			}
			t.Logf("%d events lost, %d gaps told", lost, gaps)
			if !mode.lossless && lost == 0 {
				t.Fatal("nothing was ever lost: the test has no teeth")
			}
		})
	}
}
