package store

import (
	"encoding/json"
	"log/slog"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// The states of a store.
const (
	StateOK      = "ok"
	StateLowDisk = "low disk" // Append waits until there is space again
	StateFailed  = "failed"   // the last commit failed; the next one repairs the manifest first
)

// State is what there is to know about a store at a moment.
type State struct {
	State     string `json:"state"`
	Reason    string `json:"reason,omitempty"` // why the state is not ok
	Events    int64  `json:"events"`
	Segments  int    `json:"segments"`
	Bytes     int64  `json:"bytes"` // of the live segments
	FreeBytes int64  `json:"free_bytes"`
	// DiskBytes is the volume's size; MinFree is what must stay free of it for
	// events to be taken.
	DiskBytes int64 `json:"disk_bytes"`
	MinFree   int64 `json:"min_free"`
	// RetainAge and RetainBytes are as in [Options].
	RetainAge   time.Duration
	RetainBytes int64
	First       audit.Time
	Last        audit.Time
	LastID      int64            `json:"last_id"`
	Damage      []Damage         `json:"damage,omitempty"`
	Quarantined map[string]int64 `json:"quarantined,omitempty"` // lines, by source
	Gaps        map[string][]Gap `json:"gaps,omitempty"`        // the newest, by source
}

// State tells how the store is.
func (s *Store) State() State {
	s.tryRefresh()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := State{
		State: s.state, Reason: s.reason, Segments: len(s.live), LastID: s.nextID - 1,
		Damage:      append([]Damage(nil), s.damage...),
		Quarantined: make(map[string]int64, len(s.quarantined)),
		Gaps:        make(map[string][]Gap, len(s.gaps)),
	}
	for _, g := range s.live {
		if st.Events == 0 || g.MinTime < st.First {
			st.First = g.MinTime
		}
		st.Last = max(st.Last, g.MaxTime)
		st.Events += g.Rows
		st.Bytes += g.Bytes
	}
	for k, v := range s.quarantined {
		st.Quarantined[k] = v
	}
	for k, v := range s.gaps {
		st.Gaps[k] = append([]Gap(nil), v...)
	}
	if free, total, err := s.fs.Free(s.dir); err == nil {
		st.FreeBytes, st.DiskBytes, st.MinFree = free, total, s.minFree(total)
	}
	st.RetainAge, st.RetainBytes = s.opts.RetainAge, s.opts.RetainBytes
	return st
}

// Cursors returns each source's cursor, as durable as the events before it.
func (s *Store) Cursors() map[string]json.RawMessage {
	s.tryRefresh()
	s.mu.Lock()
	defer s.mu.Unlock()
	m := make(map[string]json.RawMessage, len(s.cursors))
	for k, v := range s.cursors {
		m[k] = v
	}
	return m
}

// tryRefresh is refresh for those who rather tell what was known before.
func (s *Store) tryRefresh() {
	if err := s.refresh(); err != nil {
		s.log.Warn("cannot read the manifest anew", slog.String("error", err.Error()))
	}
}
