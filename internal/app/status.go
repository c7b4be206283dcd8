package app

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ktrail/ktrail/internal/collect"
	"github.com/ktrail/ktrail/internal/store"
	"github.com/ktrail/ktrail/internal/web"
)

// collector follows o.Logs into the store, from where the store's cursors are.
func (in *Intake) collector(o *Options, r prometheus.Registerer) (*collect.Service, error) {
	return collect.New(collect.Options{
		Appender: in, Logger: o.Logger, Registerer: r,
		Paths: o.Logs, Cluster: o.Cluster, Cursors: in.store.Cursors(),
	})
}

// status tells the pages and /readyz how the server is.
func (a *App) status() web.Status {
	var sources []collect.State
	if a.collector != nil {
		sources = a.collector.States()
	}
	st := a.intake.store.State()
	s := statusOf(a.o.Version, st, sources)
	if a.hook != nil {
		a.hook.show(&s, st.Quarantined[webhookSource])
	}
	return s
}

// statusOf joins what the store and the collector know. The server is ready
// while the store takes events and no source is held up. A gap makes it no less
// ready, nothing would mend it, but is told for as long as the store knows it.
func statusOf(version string, st store.State, sources []collect.State) web.Status {
	s := web.Status{
		Version: version, Ready: st.State == store.StateOK, Sources: []web.SourceState{},
		Store: web.StoreState{
			State: st.State, Events: st.Events, Segments: st.Segments, Bytes: st.Bytes, FreeBytes: st.FreeBytes,
			First: st.First, Last: st.Last, LastID: st.LastID,
			DiskBytes: st.DiskBytes, MinFreeBytes: st.MinFree, RetainSeconds: int64(st.RetainAge.Seconds()), RetainBytes: st.RetainBytes,
		},
	}
	if st.State != store.StateOK {
		s.Reasons = append(s.Reasons, strings.TrimSuffix(fmt.Sprintf("store: %s: %s", st.State, st.Reason), ": "))
	}
	for _, n := range st.Quarantined {
		s.Store.Quarantined += n
	}
	for _, d := range st.Damage {
		s.Store.Damage = append(s.Store.Damage, d.String())
	}
	slices.Sort(s.Store.Damage)
	s.Reasons = append(s.Reasons, s.Store.Damage...)

	followed := map[string]bool{}
	for _, c := range sources {
		followed[c.Name] = true
		src := web.SourceState{
			Name: c.Name, Cluster: c.Cluster, File: c.File, Offset: c.Offset, LagBytes: c.LagBytes, LagSeconds: c.Lag.Seconds(), EventsPerSecond: c.Rate, LastEvent: c.LastEvent,
			Events: c.Events, Duplicates: c.Duplicates, Quarantined: max(st.Quarantined[c.Name], c.Quarantined),
			Gaps: gapsOf(st.Gaps[c.Name], c.Gaps), State: c.State, Error: c.Error,
		}
		s.Sources = append(s.Sources, src)
		switch c.State {
		case collect.StatePaused, collect.StateStopped:
			s.Ready = false
			fallthrough
		case collect.StateWaiting:
			s.Reasons = append(s.Reasons, strings.TrimSuffix(fmt.Sprintf("source %s: %s: %s", c.Name, c.State, c.Error), ": "))
		}
	}
	// Sources of an earlier run whose gaps the store still knows.
	for name, gaps := range st.Gaps {
		if !followed[name] && len(gaps) > 0 {
			s.Sources = append(s.Sources, web.SourceState{
				Name: name, State: collect.StateStopped, Quarantined: st.Quarantined[name], Gaps: gapsOf(gaps, nil),
			})
		}
	}
	slices.SortFunc(s.Sources, func(a, b web.SourceState) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// gapsOf lists the store's gaps and those found that are not stored yet.
func gapsOf(stored []store.Gap, found []collect.Gap) []web.Gap {
	var gaps []web.Gap
	for _, g := range stored {
		gaps = append(gaps, web.Gap{From: g.From, To: g.To, Reason: g.Reason, At: g.At})
	}
	for _, g := range found {
		known := slices.ContainsFunc(stored, func(s store.Gap) bool { return s.At == g.At && s.Reason == g.Reason })
		if !known {
			gaps = append(gaps, web.Gap{From: g.From, To: g.To, Reason: g.Reason, At: g.At})
		}
	}
	return gaps
}

// quarantineBytes is how much of a quarantined line is shown.
const quarantineBytes = 4 << 10

// quarantine lists lines that could not be decoded, as they were kept: redacted.
func (a *App) quarantine(ctx context.Context, q web.QuarantineQuestion) (web.QuarantineAnswer, error) {
	lines, more, err := a.intake.store.Quarantine(ctx, store.QuarantineRequest{Source: q.Source, Limit: q.Limit, LineBytes: quarantineBytes})
	if err != nil {
		return web.QuarantineAnswer{}, err
	}
	answer := web.QuarantineAnswer{More: more}
	for _, l := range lines {
		answer.Lines = append(answer.Lines, web.QuarantineLine{
			Source: l.Source, File: l.File, Offset: l.Offset, Reason: l.Reason, At: l.At, Line: l.Line, Bytes: l.Bytes, Cut: len(l.Line) < l.Bytes,
		})
	}
	return answer, nil
}
