package web

import (
	"context"
	"io"

	"github.com/ktrail/ktrail/audit"
)

// Status is what the pages and /readyz tell about the running server. The parts
// that know it are wired together in internal/app.
type Status struct {
	Version string        `json:"version"`
	Ready   bool          `json:"ready"`
	Reasons []string      `json:"reasons,omitempty"` // why not ready, or what to know: low disk, gaps, damage
	Sources []SourceState `json:"sources"`
	Store   StoreState    `json:"store"`
	Trends  *Trends       `json:"trends,omitempty"` // only where they were asked for
}

// SourceState is one followed log, or the webhook that API servers post to.
type SourceState struct {
	Name     string `json:"name"`
	Cluster  string `json:"cluster,omitempty"`
	File     string `json:"file,omitempty"` // being read now; of the webhook its address
	Offset   int64  `json:"offset"`         // bytes of File that are durable
	LagBytes int64  `json:"lag_bytes"`      // written but not yet durable here
	// LagSeconds is how far what is durable is behind, 0 while LagBytes is.
	LagSeconds float64 `json:"lag_seconds"`
	// EventsPerSecond are those stored over the last minute.
	EventsPerSecond float64    `json:"events_per_second"`
	LastEvent       audit.Time `json:"last_event,omitzero"`
	Events          int64      `json:"events"`      // stored since start
	Duplicates      int64      `json:"duplicates"`  // since start
	Quarantined     int64      `json:"quarantined"` // lines, in all
	Gaps            []Gap      `json:"gaps,omitempty"`
	State           string     `json:"state"` // following, catching up, waiting for file, paused, stopped, listening
	// LastSeen is when a batch was taken last, and Rejected counts the posts since start that were
	// not taken, or not whole. Of the webhook only.
	LastSeen audit.Time `json:"last_seen,omitzero"`
	Rejected int64      `json:"rejected,omitempty"`
	Error    string     `json:"error,omitempty"`
}

// Trends are what lag and rate of the sources were over the last hour, or since
// the server started.
type Trends struct {
	Now     audit.Time `json:"now"`   // by the server's clock, as are all of these
	Since   audit.Time `json:"since"` // when the server started
	Sources []Trend    `json:"sources"`
}

// Trend is the past of one source, the oldest first. It has one for each ten
// seconds, and begins when the source was first seen.
type Trend struct {
	Name    string        `json:"name"`
	Samples []TrendSample `json:"samples"`
}

// TrendSample is what [SourceState] said at a time.
type TrendSample struct {
	At              audit.Time `json:"at"`
	LagBytes        int64      `json:"lag_bytes"`
	LagSeconds      float64    `json:"lag_seconds"`
	EventsPerSecond float64    `json:"events_per_second"`
}

// Gap is a known loss: events of the source between From and To may be missing.
type Gap struct {
	From   audit.Time `json:"from,omitzero"`
	To     audit.Time `json:"to,omitzero"`
	Reason string     `json:"reason"`
	At     audit.Time `json:"at"`
}

// StoreState is the embedded store.
type StoreState struct {
	State     string `json:"state"` // ok, low disk, failed
	Events    int64  `json:"events"`
	Segments  int    `json:"segments"`
	Bytes     int64  `json:"bytes"`
	FreeBytes int64  `json:"free_bytes"`
	DiskBytes int64  `json:"disk_bytes"` // size of the volume
	// MinFreeBytes must stay free of it for events to be taken.
	MinFreeBytes int64 `json:"min_free_bytes"`
	// RetainSeconds and RetainBytes are what the store keeps; 0 is no limit.
	RetainSeconds int64      `json:"retain_seconds,omitempty"`
	RetainBytes   int64      `json:"retain_bytes,omitempty"`
	First         audit.Time `json:"first,omitzero"`
	Last          audit.Time `json:"last,omitzero"`
	LastID        int64      `json:"last_id"`          // of the newest event, 0 if there is none yet
	Quarantined   int64      `json:"quarantined"`      // lines that could not be decoded
	Damage        []string   `json:"damage,omitempty"` // damaged segments and records, with file and offset
}

// Importer takes one stream of audit events (any format that import knows) and
// returns when all of it is durable. name tells where it came from.
type Importer func(ctx context.Context, name, cluster string, r io.Reader) (ImportSummary, error)

// ImportSummary counts what became of an import.
type ImportSummary struct {
	Files       int   `json:"files"`
	Bytes       int64 `json:"bytes"`  // uncompressed
	Events      int64 `json:"events"` // added
	Duplicates  int64 `json:"duplicates"`
	Quarantined int64 `json:"quarantined"`
	OldVersion  int64 `json:"old_version"` // of audit.k8s.io/v1beta1 or v1alpha1
}
