package app

import (
	"os"
	"runtime"
)

// heapFloor is memory that is taken for in use, so that the heap grows by as much again before it is
// collected. A proxy that holds next to nothing would otherwise be collected after each 4 MiB, some
// hundred requests, and all the stacks that requests made grow would shrink and grow again.
// It is never touched: what it costs is the garbage that may lie about meanwhile.
const heapFloor = 32 << 20

// HoldHeap keeps the collector of garbage from running for a heap of a few MiB, until release. It
// leaves it alone where GOGC or GOMEMLIMIT say what is wanted.
func HoldHeap() (release func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	floor := make([]byte, heapFloor)
	return func() { runtime.KeepAlive(floor) }
}
