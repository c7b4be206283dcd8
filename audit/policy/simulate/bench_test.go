package simulate

import (
	"bytes"
	"context"
	"testing"
)

// The whole way of the sample's lines: read, decode, decide, cut, count.
func BenchmarkSimulate(b *testing.B) {
	log := bytes.Repeat(sampleLog(b), 8)
	p := preset(b, "gce")
	b.SetBytes(int64(len(log)))
	b.ReportAllocs()
	for b.Loop() {
		s := New(Options{Policy: p})
		if err := s.Read(context.Background(), "log", bytes.NewReader(log)); err != nil {
			b.Fatal(err)
		}
		if s.Report().Log.Events == 0 {
			b.Fatal("nothing was read")
		}
	}
}

// What a cut costs: finding the bodies in a line.
func BenchmarkCut(b *testing.B) {
	events := sampleEvents(b)
	var n int64
	for _, e := range events {
		n += int64(len(e.Raw))
	}
	b.SetBytes(n)
	for b.Loop() {
		for _, e := range events {
			p := partsOf(e, nil)
			if p.size(1, true) == 0 {
				b.Fatal("no size")
			}
		}
	}
}
