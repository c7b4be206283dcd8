// Package logfile reads audit logs as the API server leaves them on disk: a live
// file that rotates by rename, by copy and truncate or by deletion, with rotated
// files that are compressed and deleted meanwhile.
//
// [Reader] follows one log across all of that and hands out its lines once, in
// order, each with its file and offset. It promises that what it could not read
// is told: a record of kind [Gap] stands where lines may be missing, one of kind
// [Bad] where bytes are no line. Its cursor is small JSON; a new Reader that is
// given it goes on after the last line handed out.
//
// A file is known by its content: by a hash of its first 4096 bytes (less while
// it is smaller; leading NUL bytes do not count) and by a hash of the 4096 bytes
// before the cursor. Names, inodes and times only serve to ask the right file first.
//
// What cannot be known: a file that came and went between two looks, while the one
// before it stayed, leaves no trace. The API server deletes the oldest first, so
// this takes a hand.
//
// [Splitter] takes any stream of events apart for an import: JSON lines, EventList
// objects and arrays of any size, in bounded memory.
package logfile

// Kind says what a [Record] is.
type Kind uint8

const (
	// Line is a line, without its end. Whether it is an event is for the caller
	// to find out; if it is none, [Recover] tells what can be saved.
	Line Kind = iota
	// Bad is bytes that cannot be a line: Reason says why, Line holds at most
	// the first 64 KiB of them.
	Bad
	// Gap is a loss: lines may be missing between the record before and the next.
	Gap
)

// Record is one piece of a log.
type Record struct {
	Kind   Kind
	File   string // the path it was read under
	Offset int64  // of its first byte in the uncompressed file
	Line   []byte // valid until the next call
	Reason string // for Bad and Gap
	// Unended is whether the line came without a newline, as the last one of a
	// finished file.
	Unended bool
}

// Limits and their reasons.
const (
	// DefaultMaxLine is far above what an API server writes: a list of all pods
	// of a large cluster, recorded with its answer, is some tens of MiB.
	DefaultMaxLine = 64 << 20
	// headSize is how much of a file its fingerprint covers, tailSize how much
	// is checked before the cursor. Two events or so, and one read.
	headSize = 4096
	tailSize = 4096
	// windowSize is the buffer of an open file. It grows for longer lines only.
	windowSize = 128 << 10
	// longSize is what Grow is asked for first: most answers that an event
	// holds are smaller.
	longSize = 2 << 20
	// badSize is how much of an oversized line is kept as evidence.
	badSize = 64 << 10
	// strongHead is how many bytes make a head that no other file has: less may
	// be the common beginning of all events.
	strongHead = 256
)
