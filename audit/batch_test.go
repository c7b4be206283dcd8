package audit_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
)

// TestBatchMemory: a batch that is used again does not grow, whatever the order of
// long and short lines in it.
func TestBatchMemory(t *testing.T) {
	short := []byte(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","user":{"groups":["a","b"]},"x":"` + strings.Repeat("x", 100<<10) + `"}`)
	long := []byte(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","user":{"groups":[` + strings.Repeat(`"a",`, 10<<10) + `"b"]},"x":"` + strings.Repeat("x", 1<<20) + `"}`)
	var b audit.Batch
	fill := func() {
		b.Reset()
		for _, line := range [][]byte{long, short, short, short, short, short, short} {
			if err := b.Add(line); err != nil {
				t.Fatal(err)
			}
		}
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	fill()
	before := heap()
	for range 50 {
		fill()
	}
	if after := heap(); after > before+8<<20 {
		t.Errorf("50 batches more hold %d MiB, one holds %d MiB", after>>20, before>>20)
	}
	runtime.KeepAlive(&b)
}
