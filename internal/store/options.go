package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
	"github.com/prometheus/client_golang/prometheus"
)

// Options says where a store is and how much it may use.
type Options struct {
	// Dir is the data directory. A writer creates it.
	Dir string
	// ReadOnly takes no lock and writes nothing. It works beside a running writer.
	ReadOnly bool
	// Logger is required.
	Logger *slog.Logger
	// Registerer gets the metrics; nil for none.
	Registerer prometheus.Registerer

	// RetainAge drops segments whose newest event is older; 0 keeps them.
	RetainAge time.Duration
	// RetainBytes drops the oldest segments while all together are larger; 0 is no limit.
	RetainBytes int64
	// MinFree stops taking events while the volume has fewer bytes free. 0 means
	// 1 GiB, or a twentieth of the volume if that is less.
	MinFree int64

	// MemoryLimit (bytes) and Threads bound the query engine; 0 picks defaults.
	MemoryLimit int64
	Threads     int

	// CommitEvery is the least time between small commits, at most 1 s; 0 means
	// 200 ms. A large batch, and the first after a rest, do not wait.
	CommitEvery time.Duration
	// DedupMemory bounds the line hashes that are kept in memory, in bytes; 0 means 64 MiB.
	DedupMemory int64
	// NoBackground turns compaction, retention and scrubbing off, for tests and for
	// callers that run [Store.Compact] themselves.
	NoBackground bool
	// FS is the seam for writing; nil is the real file system. Queries read the
	// real one whatever this is.
	FS durable.FS

	lowDiskEvery time.Duration // 0 means the constant; for tests
}

func (o *Options) validate() error {
	switch {
	case o.Dir == "":
		return errors.New("open store: no directory given")
	case o.Logger == nil:
		return errors.New("open store: no logger given")
	case o.RetainAge < 0, o.RetainBytes < 0, o.MinFree < 0, o.MemoryLimit < 0, o.Threads < 0, o.DedupMemory < 0:
		return errors.New("open store: a limit is negative")
	case o.CommitEvery < 0 || o.CommitEvery > time.Second:
		return fmt.Errorf("open store: commit every %v: must be within 0s and 1s", o.CommitEvery)
	}
	if o.CommitEvery == 0 {
		o.CommitEvery = 200 * time.Millisecond
	}
	if o.lowDiskEvery == 0 {
		o.lowDiskEvery = lowDiskEvery
	}
	if o.DedupMemory == 0 {
		o.DedupMemory = 64 << 20
	}
	if o.FS == nil {
		o.FS = durable.OS{}
	}
	return nil
}

// Errors that a caller can tell apart with errors.Is. Damage is a [*DamageError].
var (
	// ErrLocked means that another process writes to the store.
	ErrLocked = errors.New("the store is in use by another ktrail process; ask that one with --server, or stop it")
	// ErrNotFound means that there is no store in the directory.
	ErrNotFound = errors.New("no ktrail store here")
	// ErrFormat means that the store was written by a newer ktrail. It is not damaged.
	ErrFormat = errors.New("the store has a format that this version of ktrail does not know; use a newer one")
	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("the store is closed")
	// ErrReadOnly means that the store was opened read-only.
	ErrReadOnly = errors.New("the store is open read-only")
)

// Damage is a file or a part of one that cannot be trusted. The rest of the
// store stays readable.
type Damage struct {
	File   string     `json:"file"`           // relative to the store's directory
	Offset int64      `json:"offset"`         // first byte that is wrong, as far as it is known
	Length int64      `json:"length"`         // bytes from Offset that cannot be trusted
	Reason string     `json:"reason"`         //
	Seq    int64      `json:"seq,omitempty"`  // of a segment
	Rows   int64      `json:"rows,omitempty"` // events that cannot be read any more
	From   audit.Time `json:"from,omitzero"`  // first and last event time of a segment
	To     audit.Time `json:"to,omitzero"`
	Moved  string     `json:"moved,omitempty"` // where the bytes are kept, relative to the directory
	At     audit.Time `json:"at,omitzero"`     // when it was found
}

// String is one sentence for a person.
func (d Damage) String() string {
	s := fmt.Sprintf("%s is damaged at offset %d: %s", d.File, d.Offset, d.Reason)
	if d.Rows > 0 {
		s += fmt.Sprintf("; %d events between %s and %s cannot be read", d.Rows, d.From, d.To)
	}
	if d.Moved != "" {
		s += "; the bytes are kept in " + d.Moved
	}
	return s
}

// DamageError is what an operation returns that met damage.
type DamageError struct{ Damage Damage }

func (e *DamageError) Error() string { return e.Damage.String() }

// Commit is what one source hands over at a time. It becomes durable as a
// whole: events, cursor, quarantine and gaps, or nothing.
// Events are borrowed until Append returns, which sets their ID.
type Commit struct {
	Source      string
	Events      []audit.Event
	Cursor      json.RawMessage // the source's new cursor; nil leaves the old one
	Quarantined []Quarantined
	Gaps        []Gap
}

// Result counts what became of a Commit's events.
type Result struct {
	Added      int
	Duplicates int // equal to the byte to an event that is stored already
}

// Quarantined is input that could not be decoded.
type Quarantined struct {
	Source string     `json:"source"`
	File   string     `json:"file"`
	Offset int64      `json:"offset"`
	Reason string     `json:"reason"`
	At     audit.Time `json:"at"`
	Line   []byte     `json:"line"`
}

// Gap is a loss that is known: between From and To events of Source may be missing.
type Gap struct {
	Source string     `json:"source"`
	From   audit.Time `json:"from,omitzero"`
	To     audit.Time `json:"to,omitzero"`
	Reason string     `json:"reason"`
	At     audit.Time `json:"at"`
}
