package app

import (
	"fmt"
	"slices"

	"github.com/ktrail/ktrail/internal/store"
	"github.com/ktrail/ktrail/internal/web"
)

// status tells the pages and /readyz how the server is.
func (a *App) status() web.Status {
	st := a.intake.store.State()
	s := web.Status{
		Version: a.o.Version, Ready: st.State == store.StateOK,
		Store: web.StoreState{
			State: st.State, Events: st.Events, Segments: st.Segments, Bytes: st.Bytes, FreeBytes: st.FreeBytes,
			First: st.First, Last: st.Last,
		},
	}
	if st.State != store.StateOK {
		s.Reasons = append(s.Reasons, fmt.Sprintf("store: %s: %s", st.State, st.Reason))
	}
	for _, n := range st.Quarantined {
		s.Store.Quarantined += n
	}
	for _, d := range st.Damage {
		s.Store.Damage = append(s.Store.Damage, d.String())
		s.Reasons = append(s.Reasons, d.String())
	}
	slices.Sort(s.Store.Damage)
	return s
}
