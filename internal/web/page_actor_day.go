package web

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

const (
	dayRows = 200 // rows of a list
	// leastBar keeps a short session visible in its lane, which is 1000 wide.
	leastBar = 4.0
)

// actorDay is what the user did in the range.
type actorDay struct {
	actorPart
	Answer   query.DayAnswer
	Sessions []sessionRow
	Lanes    []sessionLane
	From, To audit.Time // of the lanes
	Heat     heatMap
	News     []newsRow
	Chains   []chain
	// Judged says what is called new, and how sure that is; if by a part of the 30
	// days, Reach is their beginning.
	Judged string
	Reach  audit.Time
	Recent string // where the range has a start, "" if it has one
}

type sessionRow struct {
	query.Session
	URL, Credential      string
	NewAddress, NewAgent bool
	Length               string
	X, Width             float64
	Title                string
}

// sessionLane is the sessions with one credential from one address.
type sessionLane struct {
	Credential, Full, Address string
	NewAddress                bool
	Bars                      []sessionRow
}

// heatMap is verbs by resource.
type heatMap struct {
	Verbs []string
	Rows  []heatRow
	Cut   bool
}

type heatRow struct {
	Resource string
	Total    int64
	Cells    []heatCell
}

type heatCell struct {
	Verb, Resource, URL string
	Count, Failed       int64
	Shade               int
	New                 bool
}

type newsRow struct {
	query.News
	What, URL, All string
}

// chain is where a service account's requests came from.
type chain struct {
	query.Origin
	Steps []chainStep
	URL   string // its requests
}

type chainStep struct {
	query.OriginStep
	Noun              string
	Event, Object, By string
}

func (s *server) getActorDay(w http.ResponseWriter, r *http.Request) error {
	p, err := s.actorPart(r)
	if err != nil {
		return err
	}
	d := actorDay{actorPart: p}
	if d.Error == nil {
		ctx, _, stop := s.limit(r.Context())
		defer stop()
		d.Answer, err = s.Questions.Day(ctx, query.DayQuestion{Scope: p.question(), User: p.User, Limit: dayRows})
		if d.Error, err = s.partError(r, p.Query, limited(ctx, err)); err != nil {
			return err
		}
	}
	d.fill()
	return s.render(w, http.StatusOK, "actor-day", d)
}

func (d *actorDay) fill() {
	fresh := map[string]bool{}
	for _, n := range d.Answer.News {
		fresh[n.Kind+"\x00"+strings.Join(n.Keys, "\x00")] = true
		row := newsRow{News: n, URL: d.Event(n.ID)}
		own := d.own()
		switch n.Kind {
		case query.NewAddress:
			row.What, row.All = "from", d.Query.events(own+" && "+query.Quote(n.Keys[0])+" in source_ips")
		case query.NewAgent:
			row.What, row.All = "with", d.Query.events(own+" && "+celEquals("agent", n.Keys[0]))
		default:
			row.What, row.All = "did", d.Query.events(own+" && "+actionCEL(n.Keys))
		}
		d.News = append(d.News, row)
	}
	d.judge()
	d.lanes(fresh)
	d.Heat = newHeatMap(d.Answer.Heat, fresh, func(keys []string) string { return d.Query.events(d.own() + " && " + actionCEL(keys)) })
	for _, o := range d.Answer.Origin {
		c := chain{Origin: o, URL: d.Query.events(d.own() + " && " + celEquals("pod", o.Pod))}
		for _, step := range o.Steps {
			k := step.Object
			cs := chainStep{OriginStep: step, Noun: query.Noun(k), By: d.Actor(step.User)}
			if step.ID != 0 {
				q := pageQuery{Filter: keyCEL(k), Since: d.Query.Since, Until: d.Query.Until, Event: strconv.FormatInt(step.ID, 10)}
				cs.Event = q.URL()
			}
			q := pageQuery{Path: "/objects"}
			q.Own = map[string][]string{"object": {keyParam(k)}}
			cs.Object = q.URL()
			c.Steps = append(c.Steps, cs)
		}
		d.Chains = append(d.Chains, c)
	}
}

// judge says against what the news are new.
func (d *actorDay) judge() {
	const month = "the 30 days before"
	switch {
	case d.Range.From == 0:
		d.Judged = "The range has no start, so nothing was before it. Choose one, and what the actor did for the first time is marked."
		q := d.Query
		q.Since = "24h"
		d.Recent = q.URL()
	case d.Answer.Before:
		d.Judged = "Against " + month + " the range."
	case d.Answer.Since == 0 || d.Answer.Since >= d.Range.From:
		d.Judged = "The store holds nothing from before the range, so nothing can be called new."
	default:
		d.Judged = "The store does not reach back " + strings.TrimPrefix(month, "the ") + " the range: this is against what it has since"
		d.Reach = d.Answer.Since
	}
}

// lanes lays the sessions out in time.
func (d *actorDay) lanes(fresh map[string]bool) {
	d.From, d.To = d.Range.From, d.Range.To
	all := d.Answer.Sessions
	for i, s := range all {
		if d.Range.From == 0 && (i == 0 || s.First < d.From) {
			d.From = s.First
		}
		if d.Range.To == 0 {
			d.To = max(d.To, s.Last)
		}
	}
	span := float64(max(d.To-d.From, 1))
	at := map[[2]string]int{}
	for _, s := range all {
		row := sessionRow{Session: s, Credential: credentialText(s.Credential)}
		row.NewAddress = fresh[query.NewAddress+"\x00"+s.Address]
		row.NewAgent = fresh[query.NewAgent+"\x00"+s.Agent]
		row.Length = lengthText(s.Last.Std().Sub(s.First.Std()))
		row.URL = d.session(s)
		row.Width = max(1000*float64(s.Last-s.First)/span, leastBar)
		row.X = min(1000*float64(s.First-d.From)/span, 1000-row.Width)
		row.Title = countText(s.Count, "request", "requests") + ", " + countText(s.Writes, "write", "writes") + ", " + numberText(s.Failed) + " failed"
		d.Sessions = append(d.Sessions, row)
		key := [2]string{s.Credential, s.Address}
		i, ok := at[key]
		if !ok {
			i = len(d.Lanes)
			at[key] = i
			d.Lanes = append(d.Lanes, sessionLane{Credential: row.Credential, Full: s.Credential, Address: s.Address, NewAddress: row.NewAddress})
		}
		d.Lanes[i].Bars = append(d.Lanes[i].Bars, row)
	}
}

// session is the address of a session's events.
func (d *actorDay) session(s query.Session) string {
	cel := d.own() + " && " + celEquals("credential_id", s.Credential)
	if s.Address == "" {
		cel += " && size(source_ips) == 0"
	} else {
		cel += " && " + query.Quote(s.Address) + " in source_ips"
	}
	q := d.Query
	q.Since, q.Until = s.First.String(), (s.Last + 1).String()
	return q.events(cel)
}

// actionCEL is the condition of a verb on a resource: api_group, resource, subresource, verb.
func actionCEL(keys []string) string {
	return celEquals("verb", keys[3]) + " && " + celEquals("resource", keys[1]) + " && " + celEquals("api_group", keys[0]) + " && " + celEquals("subresource", keys[2])
}

func keyCEL(k query.ObjectKey) string {
	cel := ""
	if k.Cluster != "" {
		cel = celEquals("cluster", k.Cluster) + " && "
	}
	cel += celEquals("resource", k.Resource) + " && " + celEquals("api_group", k.APIGroup) + " && " + celEquals("namespace", k.Namespace)
	if k.Name != "" {
		cel += " && " + celEquals("name", k.Name)
	}
	return cel
}

// newHeatMap lays out rows of api_group, resource, subresource, verb.
func newHeatMap(rows []query.GroupRow, fresh map[string]bool, link func(keys []string) string) heatMap {
	known := []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
	var most int64
	h := heatMap{Cut: len(rows) >= dayRows}
	at := map[[3]string]int{}
	for _, r := range rows {
		most = max(most, r.Count)
		if !slices.Contains(h.Verbs, r.Keys[3]) {
			h.Verbs = append(h.Verbs, r.Keys[3])
		}
	}
	slices.SortFunc(h.Verbs, func(a, b string) int {
		rank := func(v string) int {
			if i := slices.Index(known, v); i >= 0 {
				return i
			}
			return len(known)
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
	})
	for _, r := range rows {
		key := [3]string{r.Keys[0], r.Keys[1], r.Keys[2]}
		i, ok := at[key]
		if !ok {
			i = len(h.Rows)
			at[key] = i
			h.Rows = append(h.Rows, heatRow{Resource: resourceName(key), Cells: make([]heatCell, len(h.Verbs))})
		}
		h.Rows[i].Total += r.Count
		h.Rows[i].Cells[slices.Index(h.Verbs, r.Keys[3])] = heatCell{
			Verb: r.Keys[3], Resource: h.Rows[i].Resource, URL: link(r.Keys), Count: r.Count, Failed: r.Failed, Shade: shade(r.Count, most),
			New: fresh[query.NewAction+"\x00"+strings.Join(r.Keys, "\x00")],
		}
	}
	slices.SortStableFunc(h.Rows, func(a, b heatRow) int { return cmp.Compare(b.Total, a.Total) })
	return h
}

// resourceName writes group, resource and subresource as kubectl does: deployments.apps/scale.
func resourceName(k [3]string) string {
	name := k[1]
	if name == "" {
		return "other URLs"
	}
	if k[0] != "" {
		name += "." + k[0]
	}
	if k[2] != "" {
		name += "/" + k[2]
	}
	return name
}

// lengthText is how long something took.
func lengthText(d time.Duration) string {
	switch {
	case d < time.Second:
		return "a moment"
	case d < 2*time.Minute:
		return countText(int64(d/time.Second), "second", "seconds")
	case d < 2*time.Hour:
		return countText(int64(d/time.Minute), "minute", "minutes")
	default:
		return countText(int64(d/time.Hour), "hour", "hours")
	}
}
