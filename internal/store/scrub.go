package store

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

const (
	scrubEvery = 24 * time.Hour
	// scrubRate bounds the bytes that are read in a second.
	scrubRate = 32 << 20
)

// scrubDaily reads every segment at start-up and once a day, so that damage is
// found before the data is needed.
func (s *Store) scrubDaily(ctx context.Context) {
	for {
		if err := s.scrub(ctx); err != nil && ctx.Err() == nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "cannot check all segments", slog.String("error", err.Error()))
		}
		if !pause(ctx, scrubEvery) {
			return
		}
	}
}

// scrub checks every live segment and sets damaged ones aside.
func (s *Store) scrub(ctx context.Context) error {
	var errs []error
	for _, g := range s.byTime(func(*segment) bool { return true }) {
		held, done := s.hold([]*segment{g})
		if len(held) > 0 {
			var damage *DamageError
			err := s.verifySlowly(g, func(n int) error {
				if !pause(ctx, time.Duration(n)*time.Second/scrubRate) {
					return ctx.Err()
				}
				return nil
			})
			if err != nil && !errors.As(err, &damage) {
				errs = append(errs, err)
			}
		}
		done()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	s.metrics.scrubs.Add(1)
	return errors.Join(errs...)
}
