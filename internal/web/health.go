package web

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ktrail/ktrail/internal/visible"
)

func (s *server) routeHealth() {
	s.handle("GET /livez", func(w http.ResponseWriter, _ *http.Request) error {
		return plain(w, http.StatusOK, "ok\n")
	})
	s.handle("GET /readyz", s.getReady)
	if s.Gatherer != nil {
		h := promhttp.HandlerFor(s.Gatherer, promhttp.HandlerOpts{})
		s.handle("GET /metrics", func(w http.ResponseWriter, r *http.Request) error {
			h.ServeHTTP(w, r)
			return nil
		})
	}
}

func plain(w http.ResponseWriter, status int, text string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, err := w.Write([]byte(text))
	return err
}

// getReady answers 200 if events are taken and questions answered. Known gaps do
// not make a server unready, nothing would mend them, but they are always said.
func (s *server) getReady(w http.ResponseWriter, r *http.Request) error {
	st := s.status()
	var b strings.Builder
	status, word := http.StatusOK, "ready"
	if !st.Ready {
		status, word = http.StatusServiceUnavailable, "not ready"
	}
	b.WriteString(word + "\n")
	for _, reason := range st.Reasons {
		b.WriteString("- " + visible.Marked(reason) + "\n")
	}
	for _, src := range st.Sources {
		for _, gap := range src.Gaps {
			fmt.Fprintf(&b, "- gap in %s: %s\n", visible.Marked(src.Name), visible.Marked(gapText(gap)))
		}
	}
	if r.URL.Query().Has("verbose") {
		fmt.Fprintf(&b, "store: %s, %d events, %d segments, %d bytes, %d bytes free, %d lines quarantined\n",
			st.Store.State, st.Store.Events, st.Store.Segments, st.Store.Bytes, st.Store.FreeBytes, st.Store.Quarantined)
		for _, d := range st.Store.Damage {
			b.WriteString("damage: " + visible.Marked(d) + "\n")
		}
		for _, src := range st.Sources {
			state := src.State
			if state != stateListening {
				state += fmt.Sprintf(", %d bytes behind", src.LagBytes)
			}
			fmt.Fprintf(&b, "source %s: %s, last event %s, %d events, %d duplicates, %d quarantined\n",
				visible.Marked(src.Name), state, orDash(src.LastEvent.String()), src.Events, src.Duplicates, src.Quarantined)
			if src.Error != "" {
				fmt.Fprintf(&b, "  %s\n", visible.Marked(src.Error))
			}
		}
	}
	return plain(w, status, b.String())
}

// gapText tells a gap in one sentence.
func gapText(g Gap) string {
	var between string
	switch {
	case g.From != 0 && g.To != 0:
		between = fmt.Sprintf("events between %s and %s may be missing", g.From, g.To)
	case g.From != 0:
		between = fmt.Sprintf("events after %s may be missing", g.From)
	case g.To != 0:
		between = fmt.Sprintf("events before %s may be missing", g.To)
	default:
		between = "events may be missing"
	}
	return between + ": " + g.Reason
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
