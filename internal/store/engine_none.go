//go:build !cgo

package store

import "context"

// engine cannot be had in this build.
type engine struct{}

func openEngine(engineOptions) (*engine, error) { return nil, ErrNoEngine }

func (e *engine) close() {}

func (e *engine) query(context.Context, string, func(*chunk) error) error { return ErrNoEngine }

func (e *engine) run(context.Context, string, []string, func(*chunk) error) error {
	return ErrNoEngine
}

func defaultThreads() int { return 1 }

// chunk is never made in this build.
type chunk struct{ n int }

func (c *chunk) integer(col, row int) int64               { return 0 }
func (c *chunk) number(col, row int) int64                { return 0 }
func (c *chunk) int32(col, row int) int32                 { return 0 }
func (c *chunk) flag(col, row int) bool                   { return false }
func (c *chunk) text(col, row int) string                 { return "" }
func (c *chunk) texts(col, row int, to []string) []string { return to }
func (c *chunk) null(col, row int) bool                   { return true }
func (c *chunk) names() []string                          { return nil }
func (c *chunk) value(col, row int) (any, error)          { return nil, ErrNoEngine }
