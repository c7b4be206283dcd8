package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// reloadEvery is how often files are looked at. Mounted Secrets and ConfigMaps
// are swapped a minute late anyway.
const reloadEvery = 5 * time.Second

// part is a piece of the configuration that is read anew when its files change.
type part struct {
	// what names it in messages: "audit policy".
	what  string
	files []string
	// load reads the files and puts what they hold to use. When it fails, what was in use stays.
	load func() error

	seen []os.FileInfo
	err  error
}

// parts reads configuration while the program runs.
type parts struct {
	log *slog.Logger

	mu   sync.Mutex
	list []*part
}

// add loads a part for the first time.
func (ps *parts) add(what string, load func() error, files ...string) error {
	p := &part{what: what, files: files, load: load}
	p.seen, _ = p.look()
	if err := p.load(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	ps.list = append(ps.list, p)
	return nil
}

// run looks for changes until ctx is done. What comes from hup reads everything.
func (ps *parts) run(ctx context.Context, hup <-chan os.Signal) {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			ps.log.LogAttrs(ctx, slog.LevelInfo, "SIGHUP: reading certificates and policy anew")
			ps.reload(ctx, true)
		case <-tick.C:
			ps.reload(ctx, false)
		}
	}
}

// reload loads the parts whose files are others than before, or all of them.
func (ps *parts) reload(ctx context.Context, all bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.list {
		// Looked at before they are read: what changes in between is seen the next time.
		now, changed := p.look()
		if !changed && !all && p.err == nil {
			continue
		}
		p.seen = now
		before := p.err
		if p.err = p.load(); p.err != nil {
			if !changed && !all && before.Error() == p.err.Error() {
				continue // tried again, as it may have been no fault of the file; told once
			}
			ps.log.LogAttrs(ctx, slog.LevelError, "what a file holds now is refused, what it held before stays in use", slog.String("what", p.what), slog.String("error", p.err.Error()))
			continue
		}
		ps.log.LogAttrs(ctx, slog.LevelInfo, "read anew", slog.String("what", p.what), slog.Any("files", p.files))
	}
}

// refused says which parts are older than their files, and why.
func (ps *parts) refused() []string {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var out []string
	for _, p := range ps.list {
		if p.err != nil {
			out = append(out, fmt.Sprintf("the new %s is refused, the old one is in use: %s", p.what, p.err))
		}
	}
	return out
}

// look says what the files are now, and whether they are others than those last seen.
func (p *part) look() (now []os.FileInfo, changed bool) {
	now = make([]os.FileInfo, len(p.files))
	for i, f := range p.files {
		now[i], _ = os.Stat(f) // one that is gone is a change, of which load tells
		var old os.FileInfo
		if p.seen != nil {
			old = p.seen[i]
		}
		switch {
		case now[i] == nil || old == nil:
			changed = changed || now[i] != old
		case !os.SameFile(now[i], old) || !now[i].ModTime().Equal(old.ModTime()) || now[i].Size() != old.Size():
			changed = true
		}
	}
	return now, changed
}
