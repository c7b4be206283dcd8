package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/store"
	"github.com/ktrail/ktrail/internal/web"
)

// Data is a data directory opened read-only. It works beside a running server.
type Data struct {
	query.Questions
	store *store.Store
}

// OpenData opens the store in dir.
func OpenData(ctx context.Context, dir string, logger *slog.Logger) (*Data, error) {
	s, err := store.Open(ctx, store.Options{Dir: dir, ReadOnly: true, Logger: logger})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, fmt.Errorf("%s: %w: make one with ktrail serve --data %s or ktrail import --data %s FILE", dir, store.ErrNotFound, dir, dir)
	case err != nil:
		return nil, err
	}
	return &Data{query.NewEngine(s), s}, nil
}

// Close gives the directory back.
func (d *Data) Close() error { return d.store.Close() }

// IsDamage is whether err says that stored data is damaged, here or at a server.
func IsDamage(err error) bool {
	var here *store.DamageError
	var there *web.Error
	return errors.As(err, &here) || errors.As(err, &there) && there.Code == web.CodeDamaged
}

// classify is the API's code for the store's errors.
func classify(err error) web.Code {
	switch {
	case IsDamage(err):
		return web.CodeDamaged
	case errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrNoEngine):
		return web.CodeUnavailable
	}
	return ""
}
