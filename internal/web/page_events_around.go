package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// nearEvents is how many neighbours are shown before and after an event.
const nearEvents = 5

// nearAtOnce is how many searches for neighbours run at a time: each is too small
// to keep two cores busy.
const nearAtOnce = 3

// nearSpan is how far before and after an event its neighbours are looked for.
const nearSpan = 7 * 24 * time.Hour

// around is what else there is of an open event: the stages of its request, and
// what the same user and what happened to the same object before and after it.
type around struct {
	Stages []nearby
	Lists  []neighbours
}

// neighbours are events in the order of time, newest first, the open one among them.
type neighbours struct {
	Title, All string // All is the address of a search for them
	Days       int    // how far they were looked for
	Rows       []nearby
}

// nearby is an event in a list beside another one.
type nearby struct {
	URL, Exact    string
	Gap           string // how far it is from the open one
	Who           string
	Verb, Object  string
	Stage, Code   string
	Failed, Write bool
	Open          bool
}

func newNearby(e, open *audit.Event, q pageQuery) nearby {
	q.Event = strconv.FormatInt(e.ID, 10)
	n := nearby{
		URL: q.URL(), Exact: e.Time.String(), Who: e.User, Verb: e.Verb, Stage: e.Stage, Object: objectText(e),
		Failed: e.Code >= 400, Open: e.ID == open.ID, Write: slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, e.Verb),
	}
	if e.AsUser != "" {
		n.Who += " as " + e.AsUser
	}
	if e.Code != 0 {
		n.Code = strconv.Itoa(int(e.Code))
	}
	if !n.Open {
		n.Gap = apartText(time.Duration(e.Time-open.Time) * time.Microsecond)
	}
	return n
}

// objectText is resource/name in short, or the path of what is no resource.
func objectText(e *audit.Event) string {
	if e.Resource == "" {
		return e.URI
	}
	text := e.Resource
	if e.Subresource != "" {
		text += "/" + e.Subresource
	}
	if e.Name != "" {
		text += " " + e.Name
	}
	if e.Namespace != "" {
		text += " in " + e.Namespace
	}
	return text
}

// apartText is how far two events are apart, with a sign.
func apartText(d time.Duration) string {
	sign := "+"
	if d < 0 {
		sign, d = "−", -d
	}
	return sign + spanText(d)
}

func spanText(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < time.Hour:
		return fmt.Sprintf("%d m %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d m", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

// objectCEL finds what happened to an event's object, "" if it has none.
func objectCEL(e *audit.Event) string {
	if e.Resource == "" || e.Name == "" {
		return ""
	}
	parts := []string{celEquals("resource", e.Resource), celEquals("name", e.Name)}
	for _, p := range [][2]string{{"namespace", e.Namespace}, {"api_group", e.APIGroup}, {"cluster", e.Cluster}} {
		if p[1] != "" {
			parts = append(parts, celEquals(p[0], p[1]))
		}
	}
	return strings.Join(parts, " && ")
}

func (s *server) getAround(w http.ResponseWriter, r *http.Request) error {
	q := readPageQuery(r, eventsOwn()...)
	q.Event, q.Cursor = "", ""
	e, err := s.event(r, r.PathValue("id"))
	if err != nil {
		return err
	}
	ctx, _, stop := s.limit(r.Context())
	defer stop()
	a, err := s.around(ctx, e, q)
	if err != nil {
		return limited(ctx, err)
	}
	return s.render(w, http.StatusOK, "around", a)
}

func (s *server) around(ctx context.Context, e *audit.Event, q pageQuery) (a around, err error) {
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(nearAtOnce)
	var stages []*audit.Event
	if e.AuditID != "" {
		work.Go(func() (err error) {
			stages, err = s.some(ctx, query.SearchQuestion{Scope: query.Scope{Filter: requestCEL(e)}, Limit: 20, Ascending: true})
			return err
		})
	}
	type list struct {
		title, cel   string
		older, newer []*audit.Event
	}
	var lists []*list
	if e.Time != 0 && e.User != "" {
		lists = append(lists, &list{title: "Same user", cel: celEquals("user", e.User)})
	}
	if cel := objectCEL(e); e.Time != 0 && cel != "" {
		lists = append(lists, &list{title: "Same object", cel: cel})
	}
	for _, l := range lists {
		for _, side := range []struct {
			to    *[]*audit.Event
			after bool
		}{{&l.older, false}, {&l.newer, true}} {
			work.Go(func() (err error) {
				*side.to, err = s.near(ctx, l.cel, e.Time, side.after)
				return err
			})
		}
	}
	if err := work.Wait(); err != nil {
		return a, err
	}
	for _, x := range stages {
		a.Stages = append(a.Stages, newNearby(x, e, q))
	}
	for _, l := range lists {
		n := neighbours{Title: l.title, Days: int(nearSpan.Hours() / 24), All: pageQuery{Filter: l.cel, Since: q.Since, Until: q.Until}.URL()}
		// At the same microsecond both searches find the same ones; the open one
		// is not found if it is not its request's last stage.
		all := append(slices.Concat(l.newer, l.older), e)
		slices.SortStableFunc(all, func(a, b *audit.Event) int { return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(b.ID, a.ID)) })
		all = slices.CompactFunc(all, func(a, b *audit.Event) bool { return a.ID == b.ID })
		for _, x := range all {
			n.Rows = append(n.Rows, newNearby(x, e, q))
		}
		a.Lists = append(a.Lists, n)
	}
	return a, nil
}

// near finds the events next to a time, itself included. It looks within an hour
// first, which reads little of a large store, then within nearSpan and no further:
// to learn that a rare user did nothing else would take reading all there is.
func (s *server) near(ctx context.Context, cel string, at audit.Time, after bool) (found []*audit.Event, err error) {
	for _, span := range []time.Duration{time.Hour, nearSpan} {
		r := query.Range{From: max(1, at-audit.Time(span.Microseconds())), To: at + 1}
		if after {
			r = query.Range{From: at, To: at + audit.Time(span.Microseconds())}
		}
		found, err = s.some(ctx, query.SearchQuestion{Scope: query.Scope{Filter: cel, Range: r}, Limit: nearEvents + 1, Ascending: after})
		if err != nil || len(found) > nearEvents {
			return found, err
		}
	}
	return found, nil
}

// requestCEL finds all stages of an event's request.
func requestCEL(e *audit.Event) string { return celEquals("audit_id", e.AuditID) + ` && stage != ""` }

// some are the few events that a question finds.
func (s *server) some(ctx context.Context, q query.SearchQuestion) ([]*audit.Event, error) {
	var out []*audit.Event
	q.NoRaw = true
	_, err := s.Questions.Search(ctx, q, func(e *audit.Event) error {
		out = append(out, ownEvent(e))
		return nil
	})
	return out, err
}
