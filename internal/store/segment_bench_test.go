package store

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// BenchmarkWriteSegment prints how many events a commit's segment writer takes
// in a second of CPU, all threads of the process together.
func BenchmarkWriteSegment(b *testing.B) {
	sample := logEvents(b, "../../testdata/audit-sample.log.gz")
	rng := rand.New(rand.NewPCG(1, 2))
	var batch audit.Batch // as an import's: columns point into the lines
	for i := range 16 << 10 {
		e := sample[rng.IntN(len(sample))]
		id := fmt.Sprintf("%08x-0000-4000-8000-%012x", rng.Uint32(), i)
		if err := batch.Add([]byte(strings.Replace(e.Raw, e.AuditID, id, 1))); err != nil {
			b.Fatal(err)
		}
	}
	events := make([]*audit.Event, len(batch.Events))
	for i := range events {
		events[i] = &batch.Events[i]
	}
	w := newSegmentWriter(commitPacking())
	write := func() {
		w.begin(io.Discard)
		if err := w.writeEvents(events); err != nil {
			b.Fatal(err)
		}
		if err := w.end(); err != nil {
			b.Fatal(err)
		}
	}
	write() // its buffers grow once
	began := cpuTime(b)
	b.ReportAllocs()
	for b.Loop() {
		write()
	}
	b.ReportMetric(float64(b.N*len(events))/(cpuTime(b)-began).Seconds(), "events/cpu-s")
	b.ReportMetric(float64(w.sum.n)/float64(len(events)), "bytes/event")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
