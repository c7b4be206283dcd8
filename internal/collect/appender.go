package collect

import (
	"context"
	"encoding/json"

	"github.com/ktrail/ktrail/audit"
)

// Appender takes what was collected. Append returns when all of c is durable
// and can be asked for, or with an error when none of it is. It may be called
// from many goroutines at once; concurrent calls share one commit.
type Appender interface {
	Append(ctx context.Context, c Commit) (Result, error)
}

// Commit is what one source hands over at a time. It becomes durable as a
// whole: events, cursor, quarantine and gaps, or nothing.
// Events are borrowed until Append returns; Source and Cluster are set in each.
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
	Offset int64      `json:"offset"` // bytes from the file's (uncompressed) beginning
	Reason string     `json:"reason"`
	At     audit.Time `json:"at"`
	Line   []byte     `json:"line"`
}

// Gap is a loss that is known: between From and To events of Source may be missing.
type Gap struct {
	Source string     `json:"source"`
	From   audit.Time `json:"from"` // last event before, zero if unknown
	To     audit.Time `json:"to"`   // first event after, zero if unknown
	Reason string     `json:"reason"`
	At     audit.Time `json:"at"`
}
