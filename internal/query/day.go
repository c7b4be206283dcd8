package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

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
	// Keys are the columns' values: source_ips, agent, or api_group, resource, subresource, verb.
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
	// maxNews is how many values of a kind are compared with those before.
	maxNews = 1000
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
	a := DayAnswer{Filter: f.String(), User: q.User, Sessions: []Session{}, Heat: []GroupRow{}, News: []News{}}
	kinds := []newsKind{
		{kind: NewAction, by: []string{"api_group", "resource", "subresource", "verb"}},
		{kind: NewAddress, by: []string{"source_ips"}},
		{kind: NewAgent, by: []string{"agent"}},
	}
	if q.Range.From == 0 {
		kinds = kinds[:1] // the heat; nothing can be new
	}
	var active []ActivityRow
	var warnings [4]Warnings
	work, stop := errgroup.WithContext(ctx)
	work.Go(func() (err error) {
		active, warnings[0], err = g.src.Activity(stop, ActivityRequest{Filter: f, Range: q.Range, Width: sessionPause, Limit: maxActivity})
		return err
	})
	work.Go(func() (err error) {
		var tasks []groupTask
		for i := range kinds {
			k := &kinds[i]
			tasks = append(tasks, groupTask{GroupRequest{Filter: f, Range: q.Range, By: k.by, Limit: maxNews}, &k.rows})
		}
		warnings[1], err = g.groups(stop, tasks...)
		return err
	})
	if err := work.Wait(); err != nil {
		return DayAnswer{}, err
	}
	a.Sessions = sessions(active)
	a.MoreSessions = len(a.Sessions) > n || len(active) == maxActivity
	a.Sessions = a.Sessions[:min(n, len(a.Sessions))]
	a.Heat = append(a.Heat, kinds[0].rows[:min(n, len(kinds[0].rows))]...)
	work, stop = errgroup.WithContext(ctx)
	work.Go(func() (err error) {
		warnings[2], err = g.news(stop, q, WithFinal(user), f, kinds, n, &a)
		return err
	})
	work.Go(func() (err error) {
		if strings.HasPrefix(q.User, accountPrefix) {
			a.Origin, warnings[3], err = g.origins(stop, q, f, firstUses(active))
		}
		return err
	})
	if err := work.Wait(); err != nil {
		return DayAnswer{}, err
	}
	a.Warnings = joinWarnings(warnings[:]...)
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

// firstUses is when each credential was used first.
func firstUses(rows []ActivityRow) map[string]audit.Time {
	first := map[string]audit.Time{}
	for _, r := range rows {
		if at, ok := first[r.Credential]; !ok || r.First < at {
			first[r.Credential] = r.First
		}
	}
	return first
}

// newsKind is the values of some columns in the range, those unknown so far.
type newsKind struct {
	kind string
	by   []string
	rows []GroupRow
}

// news takes what the user had before the range out of kinds and tells the rest.
// What is known is decided by all that the user did, whatever the question's
// filter. It looks back in steps: most values were there yesterday too.
func (g *Engine) news(ctx context.Context, q DayQuestion, all, f *Filter, kinds []newsKind, n int, a *DayAnswer) (Warnings, error) {
	b, err := g.src.Bounds(ctx)
	if err != nil {
		return nil, err
	}
	// An event without a time does not show that the source reaches back to 1970.
	first, warnings, err := g.firstDated(ctx, b)
	if err != nil {
		return nil, err
	}
	from := q.Range.From
	start := max(from-audit.Time(beforeDay), 1)
	a.Before = from != 0 && first != 0 && first <= start
	if !a.Before {
		a.Since = first
	}
	if from == 0 || first == 0 || first >= from {
		return warnings, nil // nothing was before
	}
	for i := range kinds {
		if k := &kinds[i]; len(k.rows) == maxNews {
			warnings = append(warnings, Warning{Text: fmt.Sprintf("only the %d most frequent values of %s are compared with those before; ask for a shorter time", maxNews, strings.Join(k.by, ", "))})
		}
	}
	to := from
	for _, back := range []int64{day, 4 * day, beforeDay} {
		since := max(from-audit.Time(back), 1)
		known := make([][]GroupRow, len(kinds))
		var tasks []groupTask
		for i, k := range kinds {
			if len(k.rows) > 0 && since < to {
				tasks = append(tasks, groupTask{GroupRequest{Filter: And(all, among(k.by, k.rows)), Range: Range{From: since, To: to}, By: k.by, CountOnly: true}, &known[i]})
			}
		}
		w, err := g.groups(ctx, tasks...)
		if err != nil {
			return nil, err
		}
		warnings = joinWarnings(warnings, w)
		for i := range kinds {
			seen := map[string]bool{}
			for _, r := range known[i] {
				seen[strings.Join(r.Keys, "\x00")] = true
			}
			k := &kinds[i]
			k.rows = slices.DeleteFunc(k.rows, func(r GroupRow) bool { return seen[strings.Join(r.Keys, "\x00")] })
		}
		to = since
	}
	// Where they stand is asked for those alone.
	var tasks []groupTask
	found := make([][]GroupRow, len(kinds))
	for i := range kinds {
		k := &kinds[i]
		if k.rows = k.rows[:min(n, len(k.rows))]; len(k.rows) > 0 {
			tasks = append(tasks, groupTask{GroupRequest{Filter: And(f, among(k.by, k.rows)), Range: q.Range, By: k.by, FirstID: true}, &found[i]})
		}
	}
	w, err := g.groups(ctx, tasks...)
	if err != nil {
		return nil, err
	}
	warnings = joinWarnings(warnings, w)
	for i, k := range kinds {
		for _, r := range found[i] {
			if !slices.ContainsFunc(k.rows, func(x GroupRow) bool { return slices.Equal(x.Keys, r.Keys) }) {
				continue
			}
			news := News{Kind: k.kind, Value: r.Keys[0], Keys: r.Keys, First: r.First, ID: r.FirstID, Count: r.Count}
			if k.kind == NewAction {
				news.Value = r.Keys[3] + " " + resourceText(r.Keys[0], r.Keys[1], r.Keys[2])
			}
			a.News = append(a.News, news)
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

// among is true of events whose columns have one of the rows' values each. It
// narrows the work; which rows are meant is checked afterwards.
func among(by []string, rows []GroupRow) *Filter {
	and, texts := make([]Expr, len(by)), make([]string, len(by))
	uses := map[string]bool{}
	for i, name := range by {
		in := &In{}
		var quoted []string
		seen := map[string]bool{}
		for _, r := range rows {
			if v := r.Keys[i]; !seen[v] {
				seen[v] = true
				in.Values = append(in.Values, v)
				quoted = append(quoted, Quote(v))
			}
		}
		uses[name] = true
		list := "[" + strings.Join(quoted, ", ") + "]"
		if column(name).Type == Strings {
			and[i] = &Any{Column: name, X: in}
			texts[i] = name + ".exists(x, x in " + list + ")"
		} else {
			in.Column = name
			and[i] = in
			texts[i] = name + " in " + list
		}
	}
	x := logic("&&", and...)
	// The text is the filter's own: questions with the same one are asked as one.
	return &Filter{text: strings.Join(texts, " && "), expr: x, match: compile(x), uses: uses}
}
