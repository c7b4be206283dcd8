package query

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit"
)

// DayQuestion asks for what a user did in a range, in sessions, against what
// the user did in the 30 days before.
type DayQuestion struct {
	Scope
	User  string `json:"user"`
	Limit int    `json:"limit,omitempty"` // rows a list, default 100
}

// DayAnswer is a user's range.
type DayAnswer struct {
	Filter   string    `json:"filter"`
	User     string    `json:"user"`
	Sessions []Session `json:"sessions"` // newest first
	// MoreSessions is whether there are older ones.
	MoreSessions bool `json:"more_sessions,omitempty"`
	// Heat is verbs by resource: keys api_group, resource, subresource, verb. The
	// resource is "" for requests that are not of one.
	Heat []GroupRow `json:"heat"`
	// News are values that the user did not have in the 30 days before the range,
	// whatever the question's filter, oldest first.
	News []News `json:"news"`
	// Before is whether the store reaches back 30 days before the range; if not,
	// Since is from when on it does. Without anything before the range there are no news.
	Before bool       `json:"before"`
	Since  audit.Time `json:"since,omitzero"`
	// Origin is where a service account's requests came from, as far as the trail tells.
	Origin   []Origin `json:"origin,omitempty"`
	Warnings Warnings `json:"warnings,omitempty"`
}

// Session is requests with one credential from one address without a pause of
// over 30 minutes.
type Session struct {
	Credential string     `json:"credential,omitempty"`
	Address    string     `json:"address"`
	Agent      string     `json:"agent"` // the most frequent
	Agents     int        `json:"agents"`
	First      audit.Time `json:"first"`
	Last       audit.Time `json:"last"`
	Count      int64      `json:"count"`
	Writes     int64      `json:"writes"`
	Failed     int64      `json:"failed"`
}

// News is something seen for the first time.
type News struct {
	Kind  string `json:"kind"` // address, agent, action (verb on resource)
	Value string `json:"value"`
	// Keys are the columns' values: source_ips, agent, or verb, api_group, resource, subresource.
	Keys  []string   `json:"keys"`
	First audit.Time `json:"first"`
	ID    int64      `json:"id"` // of the event
	Count int64      `json:"count"`
}

// The kinds of news.
const (
	NewAddress = "address"
	NewAgent   = "agent"
	NewAction  = "action"
)

// The limits of a day.
const (
	sessionPause = 30 * minute
	defaultDay   = 100
	maxDay       = 1000
	beforeDay    = 30 * day
	// maxActivity bounds what sessions are made of: half an hour of one agent each.
	maxActivity = 50_000
)

// Day implements [Questions].
func (g *Engine) Day(ctx context.Context, q DayQuestion) (DayAnswer, error) {
	if q.User == "" {
		return DayAnswer{}, usagef("name a user, such as alice@example.com")
	}
	scope, err := scoped(q.Scope)
	if err != nil {
		return DayAnswer{}, err
	}
	n, err := limit(q.Limit, defaultDay, maxDay)
	if err != nil {
		return DayAnswer{}, err
	}
	user, err := Parse("user == " + Quote(q.User))
	if err != nil {
		return DayAnswer{}, err
	}
	f := And(user, scope)
	a := DayAnswer{Filter: f.String(), User: q.User, Sessions: []Session{}, News: []News{}}
	active, warnings, err := g.src.Activity(ctx, ActivityRequest{Filter: f, Range: q.Range, Width: sessionPause, Limit: maxActivity})
	if err != nil {
		return DayAnswer{}, err
	}
	a.Sessions = sessions(active)
	if len(active) == maxActivity {
		a.MoreSessions = true
	}
	if len(a.Sessions) > n {
		a.Sessions, a.MoreSessions = a.Sessions[:n], true
	}
	w, err := g.groups(ctx, groupTask{GroupRequest{Filter: f, Range: q.Range, By: []string{"api_group", "resource", "subresource", "verb"}, Limit: n}, &a.Heat})
	if err != nil {
		return DayAnswer{}, err
	}
	a.Heat = notNil(a.Heat)
	warnings = joinWarnings(warnings, w)
	w, err = g.news(ctx, q, WithFinal(user), f, n, &a)
	if err != nil {
		return DayAnswer{}, err
	}
	warnings = joinWarnings(warnings, w)
	if strings.HasPrefix(q.User, accountPrefix) {
		if a.Origin, w, err = g.origins(ctx, q, f); err != nil {
			return DayAnswer{}, err
		}
		warnings = joinWarnings(warnings, w)
	}
	a.Warnings = warnings
	return a, nil
}

// sessions joins buckets of activity. A bucket is as wide as the pause that ends
// a session, so two events in one bucket are never further apart, and only the
// ends of buckets need to be compared: the answer is exact.
func sessions(rows []ActivityRow) []Session {
	type key struct{ credential, address string }
	type open struct {
		Session
		agents map[string]int64
	}
	latest := map[key]*open{}
	var all []*open
	for i := 0; i < len(rows); {
		// Rows of a bucket with one credential and address differ by agent only.
		b := rows[i]
		b.First, b.Last = rows[i].First, rows[i].Last
		j := i + 1
		for ; j < len(rows) && rows[j].Start == b.Start && rows[j].Credential == b.Credential && rows[j].Address == b.Address; j++ {
			b.First, b.Last = min(b.First, rows[j].First), max(b.Last, rows[j].Last)
		}
		k := key{b.Credential, b.Address}
		s := latest[k]
		if s == nil || s.First-b.Last > audit.Time(sessionPause) { // going back in time
			s = &open{Session: Session{Credential: b.Credential, Address: b.Address, First: b.First, Last: b.Last}, agents: map[string]int64{}}
			latest[k] = s
			all = append(all, s)
		}
		s.First = min(s.First, b.First)
		for _, r := range rows[i:j] {
			s.Count += r.Count
			s.Writes += r.Writes
			s.Failed += r.Failed
			s.agents[r.Agent] += r.Count
		}
		i = j
	}
	out := make([]Session, len(all))
	for i, s := range all {
		s.Agents = len(s.agents)
		most := int64(0)
		for agent, n := range s.agents {
			if n > most || n == most && agent < s.Agent {
				s.Agent, most = agent, n
			}
		}
		out[i] = s.Session
	}
	slices.SortFunc(out, func(a, b Session) int {
		return cmp.Or(cmp.Compare(b.Last, a.Last), cmp.Compare(b.First, a.First), cmp.Compare(a.Credential, b.Credential), cmp.Compare(a.Address, b.Address))
	})
	return out
}

// news finds what the user did for the first time. What is new is decided over
// everything that the user did; of that, what f matches in the range is told.
func (g *Engine) news(ctx context.Context, q DayQuestion, all, f *Filter, n int, a *DayAnswer) (Warnings, error) {
	b, err := g.src.Bounds(ctx)
	if err != nil {
		return nil, err
	}
	from := q.Range.From
	start := max(from-audit.Time(beforeDay), 1)
	a.Before = from != 0 && b.Events > 0 && b.First <= start
	if !a.Before {
		a.Since = b.First
	}
	if from == 0 || b.Events == 0 || b.First >= from {
		return nil, nil // nothing was before
	}
	kinds := []struct {
		kind string
		by   []string
		rows []GroupRow
	}{
		{kind: NewAddress, by: []string{"source_ips"}},
		{kind: NewAgent, by: []string{"agent"}},
		{kind: NewAction, by: []string{"verb", "api_group", "resource", "subresource"}},
	}
	var tasks []groupTask
	for i := range kinds {
		k := &kinds[i]
		tasks = append(tasks, groupTask{GroupRequest{
			Filter: all, Range: Range{From: start, To: q.Range.To}, By: k.by, Limit: n, FirstFrom: from, FirstID: true,
		}, &k.rows})
	}
	warnings, err := g.groups(ctx, tasks...)
	if err != nil {
		return nil, err
	}
	if q.Filter != "" {
		tasks = nil
		for i := range kinds {
			k := &kinds[i]
			if len(k.rows) == 0 {
				continue
			}
			tasks = append(tasks, groupTask{GroupRequest{
				Filter: And(among(k.by, k.rows), f), Range: q.Range, By: k.by, FirstID: true, Limit: maxRows,
			}, &k.rows})
		}
		fresh := map[string]bool{}
		for _, k := range kinds {
			for _, r := range k.rows {
				fresh[k.kind+"\x00"+strings.Join(r.Keys, "\x00")] = true
			}
		}
		w, err := g.groups(ctx, tasks...)
		if err != nil {
			return nil, err
		}
		warnings = joinWarnings(warnings, w)
		for i := range kinds {
			k := &kinds[i]
			k.rows = slices.DeleteFunc(k.rows, func(r GroupRow) bool { return !fresh[k.kind+"\x00"+strings.Join(r.Keys, "\x00")] })
		}
	}
	for _, k := range kinds {
		for _, r := range k.rows {
			v := r.Keys[0]
			if k.kind == NewAction {
				v = r.Keys[0] + " " + resourceText(r.Keys[1], r.Keys[2], r.Keys[3])
			}
			a.News = append(a.News, News{Kind: k.kind, Value: v, Keys: r.Keys, First: r.First, ID: r.FirstID, Count: r.Count})
		}
	}
	slices.SortFunc(a.News, func(a, b News) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Kind, b.Kind), slices.Compare(a.Keys, b.Keys))
	})
	return warnings, nil
}

// resourceText writes a resource as kubectl does: deployments.apps/scale.
func resourceText(group, resource, subresource string) string {
	switch {
	case resource == "":
		return "a URL"
	case group != "":
		resource += "." + group
	}
	if subresource != "" {
		resource += "/" + subresource
	}
	return resource
}

// among is true of events whose first column has one of the rows' first keys. It
// narrows the work; which rows are wanted is checked afterwards.
func among(by []string, rows []GroupRow) *Filter {
	seen := map[string]bool{}
	var values []string
	for _, r := range rows {
		if !seen[r.Keys[0]] {
			seen[r.Keys[0]] = true
			values = append(values, r.Keys[0])
		}
	}
	in := &In{}
	for _, v := range values {
		in.Values = append(in.Values, v)
	}
	var x Expr = in
	if column(by[0]).Type == Strings {
		x = &Any{Column: by[0], X: in}
	} else {
		in.Column = by[0]
	}
	return &Filter{text: "new", expr: x, match: compile(x), uses: map[string]bool{by[0]: true}}
}
