package audit

import (
	"runtime"
	"strings"
	"testing"
)

// An event keeps what its line needs, not what its bodies needed before their spaces were removed:
// a buffer counts its events by their lines.
func TestRecordEventMemory(t *testing.T) {
	body := []byte("{" + strings.Repeat(" ", 1<<20) + "}")
	held := make([]Event, 20)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range held {
		r := Record{Level: "Request", RequestObject: body}
		var err error
		if held[i], err = r.Event(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if after.HeapAlloc > before.HeapAlloc+1<<20 {
		t.Errorf("%d events of %d bytes hold %d KiB", len(held), len(held[0].Raw), (after.HeapAlloc-before.HeapAlloc)>>10)
	}
	runtime.KeepAlive(held)
}
