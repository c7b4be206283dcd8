package query

import (
	"context"

	"github.com/ktrail/ktrail/audit"
)

// Engine answers [Questions] from a [Source].
type Engine struct{ src Source }

var _ Questions = (*Engine)(nil)

// NewEngine returns an Engine over src.
func NewEngine(src Source) *Engine { return &Engine{src: src} }

// Search implements [Questions].
func (g *Engine) Search(ctx context.Context, q SearchQuestion, yield func(*audit.Event) error) (SearchAnswer, error) {
	return SearchAnswer{}, nil
}

// Follow implements [Questions].
func (g *Engine) Follow(ctx context.Context, q SearchQuestion, yield func(*audit.Event) error) error {
	return nil
}

// Histogram implements [Questions].
func (g *Engine) Histogram(ctx context.Context, q HistogramQuestion) (HistogramAnswer, error) {
	return HistogramAnswer{}, nil
}

// Top implements [Questions].
func (g *Engine) Top(ctx context.Context, q TopQuestion) (TopAnswer, error) { return TopAnswer{}, nil }

// History implements [Questions].
func (g *Engine) History(ctx context.Context, q HistoryQuestion) (HistoryAnswer, error) {
	return HistoryAnswer{}, nil
}

// Actor implements [Questions].
func (g *Engine) Actor(ctx context.Context, q ActorQuestion) (ActorAnswer, error) {
	return ActorAnswer{}, nil
}

// SQL implements [Questions].
func (g *Engine) SQL(ctx context.Context, sql string, yield func(SQLRow) error) (Warnings, error) {
	return g.src.SQL(ctx, sql, yield)
}
