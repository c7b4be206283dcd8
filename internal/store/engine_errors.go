package store

import (
	"errors"
	"strings"

	"github.com/ktrail/ktrail/internal/query"
)

// ErrNoEngine means that this build cannot query a store: it was made without cgo.
var ErrNoEngine = errors.New("this build has no embedded store (it was built without cgo); use --server")

// engineOptions bound an engine.
type engineOptions struct {
	Dirs        []string // directories below which files may be read
	Paths       []string // files that may be read
	MemoryLimit int64    // bytes
	Threads     int
	Queries     int      // at a time; more wait
	KeepOrder   bool     // keep the order of rows where SQL asks for none
	Setup       []string // statements to run before the settings are locked
}

const (
	// defaultMemory is enough for the questions of this package over ten million
	// events, and leaves room for the rest of serve in half a gigabyte.
	defaultMemory = 192 << 20
	// sqlMemory bounds a person's SQL, in an engine of its own.
	sqlMemory = 128 << 20
	// sqlQueries is how many statements of people run at a time, each with its memory.
	sqlQueries = 2
	// defaultQueries is how many queries run at a time; each uses all threads.
	defaultQueries = 4
	// lateRows is how many rows of a top-N are fetched late.
	lateRows = 4096
)

func (o engineOptions) withDefaults() engineOptions {
	if o.MemoryLimit == 0 {
		o.MemoryLimit = defaultMemory
	}
	if o.Threads == 0 {
		o.Threads = defaultThreads()
	}
	if o.Queries == 0 {
		o.Queries = defaultQueries
	}
	return o
}

// errMemory is what a query gets that needs more memory than it may use.
func errMemory() error {
	return &query.UsageError{Message: "the question needs more memory than a query may use; ask for a shorter time (--since, --until), a narrower filter, fewer columns or a LIMIT"}
}

// engineError is what the engine says of a statement. The statements of this
// package are right, so it comes from what was read; a person's may be wrong.
type engineError struct {
	msg   string
	fatal bool // the instance is of no more use
}

func (e *engineError) Error() string { return "query segments: " + e.msg }

// damaged tells whether a person's statement failed for what it read rather
// than for what it says: the segments are worth a check then.
func (e *engineError) damaged() bool {
	if e.fatal || strings.Contains(e.msg, ".parquet") {
		return true
	}
	kind, _, _ := strings.Cut(e.msg, ":")
	return kind == "IO Error" || kind == "Invalid Error" || kind == "Serialization Error"
}

// sqlMistake is an error that the writer of the SQL can mend.
func sqlMistake(msg string) error { return &query.UsageError{Message: "sql: " + msg} }

// oneLine makes a message of the engine fit for one line: its first paragraph,
// then the candidates that it suggests.
func oneLine(s string) string {
	s, _, _ = strings.Cut(s, "\n\nLINE ")
	return strings.Join(strings.Fields(s), " ")
}
