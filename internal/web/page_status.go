package web

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// statusView is the state of sources and store for the page.
type statusView struct {
	Level   string // ok, warn or bad: the colour, which a word always goes with
	Summary string
	Alerts  []string // what to know before trusting an answer
	Sources []sourceView
	Store   StoreState
}

// stateListening is the state of a source that events are posted to.
const stateListening = "listening"

type sourceView struct {
	SourceState
	Level   string
	Behind  string
	Gaps    []string
	Webhook bool // events are posted to it: it has neither lag nor gaps that anybody knows of
}

func newStatusView(st Status) statusView {
	v := statusView{Level: "ok", Store: st.Store}
	worse := func(level string) {
		if v.Level == "ok" || level == "bad" {
			v.Level = level
		}
	}
	if !st.Ready {
		worse("bad")
	}
	v.Alerts = append(v.Alerts, st.Reasons...)
	if st.Store.State != "ok" {
		worse("bad")
	}
	for _, d := range st.Store.Damage {
		worse("bad")
		v.alert(d)
	}
	for _, src := range st.Sources {
		sv := sourceView{SourceState: src, Level: "ok", Behind: bytesText(src.LagBytes) + " behind"}
		if src.LagBytes == 0 {
			sv.Behind = "up to date"
		}
		switch src.State {
		case "following":
		case stateListening:
			sv.Webhook, sv.Behind = true, ""
		case "catching up", "waiting for file", "paused":
			sv.Level = "warn"
		default:
			sv.Level = "bad"
		}
		if src.Error != "" {
			sv.Level = "bad"
		}
		for _, g := range src.Gaps {
			text := gapText(g)
			sv.Gaps = append(sv.Gaps, text)
			worse("warn")
			v.alert(src.Name + ": " + text)
		}
		if sv.Level != "ok" {
			worse("warn")
		}
		v.Sources = append(v.Sources, sv)
	}
	v.Summary = countText(st.Store.Events, "event", "events")
	return v
}

// alert adds what no reason has said already.
func (v *statusView) alert(text string) {
	for _, a := range v.Alerts {
		if strings.Contains(a, text) || strings.Contains(text, a) {
			return
		}
	}
	v.Alerts = append(v.Alerts, text)
}

func (s *server) getStatusView(w http.ResponseWriter, _ *http.Request) error {
	return s.render(w, http.StatusOK, "status-update", newStatusView(s.status()))
}

// bytesText is a size as people read it, in powers of 1024.
func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return strconv.FormatInt(n, 10) + " B"
	}
	f, i := float64(n)/unit, 0
	for f >= unit && i < 4 {
		f, i = f/unit, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[i])
}

// numberText groups the digits of n by three.
func numberText(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func countText(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return numberText(n) + " " + many
}

// secondText is a time to the second, for states.
func secondText(t audit.Time) string {
	if t == 0 {
		return "–"
	}
	return t.Std().Format(time.DateTime)
}
