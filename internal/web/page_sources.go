package web

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/internal/visible"
)

func sourcesView() view {
	return view{
		Name: "sources", Title: "Sources", Path: "/sources", Routes: []string{"/sources"}, Go: "s",
		Keys: []keyHelp{{[]string{"r"}, "ask for the state now"}},
		load: loadSources,
	}
}

// sourcesData is what the Sources view shows.
type sourcesData struct {
	statusView
	Disk, Age, Size *meter // nil where there is nothing to measure against
	Quarantine      QuarantineAnswer
	// Unlisted is why the lines in quarantine cannot be shown, "" if they can.
	Unlisted string
}

// meter is a bar whose parts make up a whole.
type meter struct {
	Label string // all of it in words
	Parts []meterPart
}

// meterPart is one part; X and Width are in hundredths of the bar.
type meterPart struct {
	X, Width float64
	Class    string
}

// amount is a part before it is drawn.
type amount struct {
	n     int64
	class string
}

// least is the width of a part that there is hardly any of, so that it is seen.
const least = 0.8

// newMeter draws amounts against a whole. A part that there is at all is seen.
func newMeter(label string, whole int64, parts ...amount) *meter {
	if whole <= 0 {
		return nil
	}
	m := &meter{Label: label}
	sum := 0.0
	for _, p := range parts {
		width := 0.0
		if p.n > 0 {
			width = min(100, max(100*float64(p.n)/float64(whole), least))
		}
		m.Parts = append(m.Parts, meterPart{Width: width, Class: p.class})
		sum += width
	}
	x := 0.0
	for i := range m.Parts {
		p := &m.Parts[i]
		p.Width /= max(1, sum/100)
		p.X = x
		x += p.Width
	}
	return m
}

func newSourcesData(st Status) sourcesData {
	d := sourcesData{statusView: newStatusView(st)}
	s := st.Store
	if s.DiskBytes > 0 {
		others := s.DiskBytes - s.FreeBytes - s.Bytes
		reserve := min(s.MinFreeBytes, s.FreeBytes)
		d.Disk = newMeter(
			bytesText(s.Bytes)+" of events, "+bytesText(max(others, 0))+" of others, "+bytesText(s.FreeBytes)+" free, of which "+bytesText(s.MinFreeBytes)+" must stay free",
			s.DiskBytes, amount{s.Bytes, "own"}, amount{others, "others"}, amount{s.FreeBytes - reserve, "free"}, amount{reserve, "reserve"},
		)
	}
	if s.RetainSeconds > 0 && s.First != 0 {
		age := int64(s.Last.Std().Sub(s.First.Std()) / time.Second)
		d.Age = newMeter(daysText(age)+" of at most "+daysText(s.RetainSeconds), s.RetainSeconds, amount{age, "own"})
	}
	if s.RetainBytes > 0 {
		d.Size = newMeter(bytesText(s.Bytes)+" of at most "+bytesText(s.RetainBytes), s.RetainBytes, amount{s.Bytes, "own"})
	}
	return d
}

// daysText is a length of time in the largest unit that keeps it readable.
func daysText(seconds int64) string {
	switch {
	case seconds < 120:
		return countText(seconds, "second", "seconds")
	case seconds < 2*3600:
		return countText(seconds/60, "minute", "minutes")
	case seconds < 2*86400:
		return countText(seconds/3600, "hour", "hours")
	default:
		return countText(seconds/86400, "day", "days")
	}
}

// rateText is events a second.
func rateText(n float64) string {
	if n < 10 && n > 0 {
		return strconv.FormatFloat(n, 'f', 1, 64)
	}
	return numberText(int64(math.Round(n)))
}

// lagText is how far behind a source is.
func lagText(seconds float64) string {
	if seconds < 10 {
		return strconv.FormatFloat(seconds, 'f', 1, 64) + " s"
	}
	return daysText(int64(math.Round(seconds)))
}

// pageQuarantine is how many lines in quarantine the page shows.
const pageQuarantine = 100

func (s *server) sourcesData(r *http.Request) (sourcesData, error) {
	d := newSourcesData(s.status())
	if s.Quarantine == nil {
		d.Unlisted = "This server has no quarantine to show."
		return d, nil
	}
	ctx, _, stop := s.limit(r.Context())
	defer stop()
	a, err := s.Quarantine(ctx, QuarantineQuestion{Limit: pageQuarantine})
	if err = limited(ctx, err); err != nil {
		we := s.report(r, err)
		if we.Code == codeCanceled {
			return d, err
		}
		d.Unlisted = we.Message
		return d, nil
	}
	for i := range a.Lines {
		a.Lines[i].Text = visible.Marked(strings.TrimSuffix(string(a.Lines[i].Line), "\n"))
	}
	d.Quarantine = a
	return d, nil
}

func loadSources(s *server, r *http.Request, p *page) (int, error) {
	d, err := s.sourcesData(r)
	p.Data = d
	return http.StatusOK, err
}

func (s *server) getSourcesView(w http.ResponseWriter, r *http.Request) error {
	d, err := s.sourcesData(r)
	if err != nil {
		return err
	}
	return s.render(w, http.StatusOK, "sources-now", d)
}
