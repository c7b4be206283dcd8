package web

import (
	"cmp"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// The limits of the list of actors.
const (
	actorUsers   = 10_000 // users that are read
	actorRows    = 25     // of a kind beside the others
	actorAllRows = 1000   // of a kind alone
)

// actorsOwn are the Actors view's parameters: find is what names contain, kind
// shows one kind alone, sort is a column of the list. actor names a user whom
// the path cannot: browsers take "." and ".." out of it.
func actorsOwn() []string { return []string{"find", "kind", "sort", "actor"} }

func actorsView() view {
	return view{
		Name: "actors", Title: "Actors", Path: "/actors", Routes: []string{"/actors", "/actors/{user}"}, Go: "a",
		Own: actorsOwn(),
		Keys: []keyHelp{
			{[]string{"f"}, "find an actor"},
			{[]string{"j", "k"}, "next, previous actor or session"},
			{[]string{"Enter"}, "open it"},
			{[]string{"←", "→", "↑", "↓"}, "move in the map of verbs and resources"},
			{[]string{"r"}, "ask again"},
			{[]string{"u"}, "back to the list"},
		},
		load: loadActors,
	}
}

// routeActors are the parts of the view, each asked for on its own: the quick
// ones do not wait for the others.
func (s *server) routeActors() {
	s.handle("GET /page/actors/list", s.getActorsList)
	s.handle("GET /page/actors/now", s.getActorNow)
	s.handle("GET /page/actors/touched", s.getActorTouched)
	s.handle("GET /page/actors/day", s.getActorDay)
	s.handle("GET /page/actors/trail", s.getActorTrail)
	s.handle("GET /page/actors/follow", s.getActorsFollow)
}

// actorsData is what the view's template has; its module asks for the rest.
type actorsData struct {
	User string // "" for the list
	Find string
}

func loadActors(_ *server, r *http.Request, p *page) (int, error) {
	d := actorsData{User: r.PathValue("user"), Find: p.Query.Own.Get("find")}
	if d.User == "" {
		d.User = p.Query.Own.Get("actor")
	}
	p.Data = d
	return http.StatusOK, nil
}

// toActor is the page of a user in the same range, of all that the user did: a
// filter that led to the user would hide the rest.
func (q pageQuery) toActor(user string) pageQuery {
	to := pageQuery{Path: actorPath(user), Since: q.Since, Until: q.Until, Live: q.Live}
	if user == "." || user == ".." {
		to.Path, to.Own = "/actors", url.Values{"actor": {user}}
	}
	return to
}

// actorKind is a kind of user, by the name.
type actorKind struct{ Name, Title, What string }

func actorKinds() []actorKind {
	return []actorKind{
		{"people", "People", "and whoever did not say who they are"},
		{"accounts", "Service accounts", "what runs in pods"},
		{"nodes", "Nodes", "kubelets, and nodes that join"},
		{"control", "Control plane", "API servers, schedulers, managers"},
		{"impersonated", "Impersonated", "whom others acted as; counted for these requests alone"},
	}
}

// kindOf is the kind of a user. Kubernetes keeps names that begin with system:
// for itself; the exceptions are the administrators of k3s and OpenShift.
func kindOf(user string) string {
	switch {
	case user == "", user == "system:anonymous", user == "system:admin":
		return "people"
	case strings.HasPrefix(user, "system:serviceaccount:"):
		return "accounts"
	case strings.HasPrefix(user, "system:node:"), strings.HasPrefix(user, "system:bootstrap:"):
		return "nodes"
	case strings.HasPrefix(user, "system:"), strings.HasPrefix(user, "eks:"):
		return "control"
	}
	return "people"
}

// actorsList is the list of actors.
type actorsList struct {
	Query    pageQuery
	Error    *errorView
	Warnings query.Warnings
	Kinds    []actorGroup
	Heads    []actorHead
	Find     string
	Total    int64 // requests
	NoEvents bool
	Cut      bool // there are more users than were read
	Alone    bool // one kind is shown alone
}

// All is the address of the list of all kinds.
func (l actorsList) All() string { return l.Query.with("kind", "") }

// AllTime is the address of the same list without a range.
func (l actorsList) AllTime() string {
	l.Query.Since, l.Query.Until = "", ""
	return l.Query.URL()
}

// actorGroup is the actors of a kind.
type actorGroup struct {
	actorKind
	Rows  []actorRow
	Total int64  // of all that there are
	More  string // where all of them are shown, "" if they are here
}

// actorHead is the head of a column.
type actorHead struct {
	Title, URL, Class string
	Sorted            bool
}

// actorRow is one actor.
type actorRow struct {
	User, URL            string
	Prefix, Own          string
	Anonymous            bool
	Count, Failed, Write int64
	Last                 audit.Time
}

// with is the page's address with one of its view's own parameters set.
func (q pageQuery) with(name, value string) string {
	own := url.Values{}
	for n, values := range q.Own {
		own[n] = values
	}
	own.Del(name)
	setText(own, name, value)
	q.Own = own
	return q.URL()
}

func (s *server) getActorsList(w http.ResponseWriter, r *http.Request) error {
	q := readPageQuery(r, actorsOwn()...)
	q.Path = "/actors"
	l := actorsList{Query: q, Find: q.Own.Get("find")}
	ctx, _, stop := s.limit(r.Context())
	defer stop()
	sc, err := s.scope(r, q)
	if err != nil {
		return err
	}
	if l.Error = sc.Problem; l.Error != nil {
		return s.render(w, http.StatusOK, "actors-list", l)
	}
	scope := query.Scope{Filter: sc.CEL, Range: sc.Range}
	var users, as query.TopAnswer
	err = sideBySide(stop,
		func() (err error) {
			users, err = s.Questions.Top(ctx, query.TopQuestion{Scope: scope, By: []string{"user"}, Limit: actorUsers, Writes: true})
			return err
		},
		func() (err error) {
			scope := scope
			if scope.Filter, err = joined(scope.Filter, `as_user != ""`); err != nil {
				return err
			}
			as, err = s.Questions.Top(ctx, query.TopQuestion{Scope: scope, By: []string{"as_user"}, Limit: actorUsers, Writes: true})
			return err
		})
	if l.Error, err = s.partError(r, q, limited(ctx, err)); err != nil {
		return err
	}
	l.Warnings, l.Total = users.Warnings, users.Total
	for _, w := range as.Warnings {
		if !slices.Contains(users.Warnings, w) {
			l.Warnings = append(l.Warnings, w)
		}
	}
	l.Cut = len(users.Rows) == actorUsers
	l.NoEvents = len(users.Rows) == 0 && s.Status().Store.Events == 0
	l.fill(users.Rows, as.Rows)
	return s.render(w, http.StatusOK, "actors-list", l)
}

func (l *actorsList) fill(users, as []query.GroupRow) {
	sort, alone := l.Query.Own.Get("sort"), l.Query.Own.Get("kind")
	for _, h := range [][3]string{{"", "Actor", "who"}, {"requests", "Requests", "n"}, {"failed", "Failed", "n"}, {"writes", "Writes", "n"}, {"last", "Last seen", "when"}} {
		to := h[0]
		if to == "" {
			to = "name"
		}
		current := sort == to || sort == "" && to == "requests"
		if to == "requests" {
			to = ""
		}
		l.Heads = append(l.Heads, actorHead{Title: h[1], URL: l.Query.with("sort", to), Class: h[2], Sorted: current})
	}
	by := map[string][]actorRow{}
	add := func(kind string, r query.GroupRow) {
		if !contains(r.Keys[0], l.Find) || alone != "" && kind != alone {
			return
		}
		by[kind] = append(by[kind], newActorRow(r, l.Query))
	}
	for _, r := range users {
		add(kindOf(r.Keys[0]), r)
	}
	for _, r := range as {
		add("impersonated", r)
	}
	for _, k := range actorKinds() {
		g := actorGroup{actorKind: k, Rows: by[k.Name], Total: int64(len(by[k.Name]))}
		if g.Total == 0 {
			continue
		}
		sortActors(g.Rows, sort)
		most := actorRows
		if k.Name == alone {
			most, l.Alone = actorAllRows, true
		}
		if g.Total > int64(most) {
			g.Rows = g.Rows[:most]
			if k.Name != alone {
				g.More = l.Query.with("kind", k.Name)
			}
		}
		l.Kinds = append(l.Kinds, g)
	}
}

func newActorRow(r query.GroupRow, q pageQuery) actorRow {
	row := actorRow{User: r.Keys[0], Count: r.Count, Failed: r.Failed, Write: r.Writes, Last: r.Last}
	row.Prefix, row.Own = splitUser(row.User)
	row.Anonymous = row.User == "" || row.User == "system:anonymous"
	// The list's own filter goes along here: the list said what it counts.
	to := q.toActor(row.User)
	q.Path, q.Own, q.Event, q.Cursor = to.Path, to.Own, "", ""
	row.URL = q.URL()
	if row.User == "" {
		row.URL = q.events(`user == ""`)
	}
	return row
}

func sortActors(rows []actorRow, by string) {
	slices.SortStableFunc(rows, func(a, b actorRow) int {
		first := 0
		switch by {
		case "name":
			first = strings.Compare(a.User, b.User)
		case "failed":
			first = cmp.Compare(b.Failed, a.Failed)
		case "writes":
			first = cmp.Compare(b.Write, a.Write)
		case "last":
			first = cmp.Compare(b.Last, a.Last)
		}
		return cmp.Or(first, cmp.Compare(b.Count, a.Count), strings.Compare(a.User, b.User))
	})
}

// contains tells whether s contains part, in any case.
func contains(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}

// events is the address of Events with the same question and a condition more.
// It is "" if the question is wrong, which was told elsewhere.
func (q pageQuery) events(cel string) string {
	to := q.in("/")
	var err error
	if to.Filter, err = joined(q.Filter, cel); err != nil {
		return ""
	}
	return to.URL()
}

// joined is a filter and another, both in CEL.
func joined(filter, more string) (string, error) {
	f, err := query.Parse(filter)
	if err != nil {
		return "", err
	}
	m, err := query.Parse(more)
	if err != nil {
		return "", err
	}
	return query.And(f, m).String(), nil
}

// sideBySide asks questions at the same time. The first error stops the others.
func sideBySide(stop func(), questions ...func() error) error {
	errs := make(chan error)
	for _, ask := range questions {
		go func() { errs <- ask() }()
	}
	var first error
	for range questions {
		if err := <-errs; err != nil && first == nil {
			first = err
			stop()
		}
	}
	return first
}

// partError is an error as a part of the view shows it. The error is only that
// of a client that went away.
func (s *server) partError(r *http.Request, q pageQuery, err error) (*errorView, error) {
	if err == nil {
		return nil, nil
	}
	we := s.report(r, err)
	if we.Code == codeCanceled {
		return nil, err
	}
	v := newErrorView(err, we, q)
	v.InFilter = false // the part shows it where it stands
	return v, nil
}

// ageText is how long ago something was, in one unit.
func ageText(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return "just now"
	case d < 2*time.Minute:
		return countText(int64(d/time.Second), "second", "seconds") + " ago"
	case d < 2*time.Hour:
		return countText(int64(d/time.Minute), "minute", "minutes") + " ago"
	case d < 48*time.Hour:
		return countText(int64(d/time.Hour), "hour", "hours") + " ago"
	default:
		return countText(int64(d/(24*time.Hour)), "day", "days") + " ago"
	}
}

// shade is how dark a number's cell is beside the largest one, from 1 to 5; each
// is some times more than the one before.
func shade(n, most int64) int {
	if n <= 0 {
		return 0
	}
	if most <= 1 {
		return 1
	}
	return 1 + min(4, int(5*math.Log(float64(n))/math.Log(float64(most)+1)))
}

// credentialText is a credential's ID as people tell them apart: certificates are
// named by their hash, tokens by their JTI.
func credentialText(id string) string {
	for prefix, kind := range map[string]string{"X509SHA256=": "certificate ", "JTI=": "token "} {
		if rest, ok := strings.CutPrefix(id, prefix); ok && len(rest) > 8 && utf8.ValidString(rest[:8]) {
			return kind + rest[:8]
		}
	}
	if id == "" {
		return "no ID recorded"
	}
	return id
}
