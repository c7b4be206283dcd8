package app

import (
	"context"
	"errors"
)

// undo is what ends the parts that were begun, in the order in which they were.
type undo []func(context.Context) error

// all ends them, the last first, each once, and goes on behind an error.
func (u *undo) all(ctx context.Context) error {
	var errs []error
	for i := len(*u) - 1; i >= 0; i-- {
		errs = append(errs, (*u)[i](ctx))
	}
	*u = nil
	return errors.Join(errs...)
}
