package audit_test

import (
	"testing"

	"github.com/ktrail/ktrail/audit"
)

func BenchmarkBatch(b *testing.B) {
	lines := sampleLines(b)
	size := 0
	for _, l := range lines {
		size += len(l)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	var batch audit.Batch
	for b.Loop() {
		for i, line := range lines {
			if i%1024 == 0 {
				batch.Reset()
			}
			if err := batch.Add(line); err != nil {
				b.Fatal(err)
			}
		}
	}
}
