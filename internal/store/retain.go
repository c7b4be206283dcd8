package store

import (
	"context"
	"log/slog"
	"time"

	"github.com/ktrail/ktrail/audit"
)

const retainEvery = 30 * time.Second

// retain drops whole segments: those whose newest event is too old, then the
// oldest while all are too large together, but never the newest for its size.
// Queries that read them go on.
func (s *Store) retain(ctx context.Context) {
	if s.opts.RetainAge == 0 && s.opts.RetainBytes == 0 {
		return
	}
	s.compacting.Lock() // what is being merged must not be dropped
	defer s.compacting.Unlock()
	rec := &record{Type: recordDrop}
	var events, bytes int64
	segments := s.byTime(func(*segment) bool { return true })
	for _, g := range segments {
		bytes += g.Bytes
	}
	oldest := audit.TimeOf(time.Now().Add(-s.opts.RetainAge))
	for i, g := range segments {
		old := s.opts.RetainAge > 0 && g.MaxTime < oldest
		large := s.opts.RetainBytes > 0 && bytes > s.opts.RetainBytes && i < len(segments)-1
		if old || large {
			rec.Removed = append(rec.Removed, g.Seq)
			bytes -= g.Bytes
			events += g.Rows
		}
	}
	if len(rec.Removed) == 0 {
		return
	}
	s.writing.Lock()
	err := s.appendRecord(rec)
	if err == nil {
		s.mu.Lock()
		err = s.contents.apply(s.dir, rec)
		s.mu.Unlock()
	}
	s.writing.Unlock()
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "cannot drop old segments", slog.String("error", err.Error()))
		return
	}
	s.dedup.forget(rec.Removed)
	s.metrics.dropped.Add(float64(events))
	s.log.LogAttrs(ctx, slog.LevelInfo, "dropped old segments", slog.Int("segments", len(rec.Removed)), slog.Int64("events", events))
	s.deleteObsolete()
}
