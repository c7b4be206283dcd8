package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ktrail/ktrail/internal/query"
)

func (s *server) routePages() {
	for _, v := range views() {
		for _, path := range v.Routes {
			s.handle("GET "+path, s.getView(v))
		}
	}
	s.handle("GET /page/scope", s.getScope)
	s.handle("GET /page/results", s.getResults)
	s.handle("GET /page/event/{id}", s.getEventView)
	s.handle("GET /page/event/{id}/around", s.getAround)
	s.handle("GET /page/status", s.getStatusView)
	s.handle("GET /page/follow", s.getFollowRows)
	s.handle("GET /page/sources", s.getSourcesView)
	s.routeActors()
	s.handle("GET /assets/{hash}/{name...}", s.getAsset)
}

// view is one of the page's views over the same filter and range. What belongs to
// one is found under its name: css/NAME.css, js/NAME.js (its parts: js/NAME-*.js),
// templates/NAME.html with the template view-NAME, page_NAME.go.
type view struct {
	Name, Title string
	Path        string   // where the navigation leads
	Routes      []string // the paths it answers
	Go          string   // the key that goes there, after g
	Own         []string // the URL's parameters that no other view knows
	Keys        []keyHelp
	// load makes what the view's template gets as .Data, or sets p.Problem. Its
	// error is only that of a client that went away. A status of 0 is 200.
	load func(s *server, r *http.Request, p *page) (status int, err error)
}

// keyHelp is a line of the sheet of keys.
type keyHelp struct {
	Keys []string
	What string
}

// views are all views, in the order of the navigation.
func views() []view {
	return []view{eventsView(), objectsView(), actorsView(), sourcesView()}
}

// sharedKeys work in every view.
func sharedKeys() []keyHelp {
	return []keyHelp{
		{[]string{"/"}, "to the filter"},
		{[]string{"l"}, "live"},
		{[]string{"z"}, "local time or UTC"},
		{[]string{"v"}, "saved views"},
		{[]string{"e"}, "export"},
		{[]string{"Esc"}, "close, leave a field"},
		{[]string{"?"}, "this sheet"},
	}
}

// pageQuery is the state of the page. All of it is in the URL, under these names.
type pageQuery struct {
	Path                                    string // "" is that of Events
	Filter, Verb, User, Namespace, Resource string
	Failed, Writes                          bool
	Include, Exclude                        []string // what was chosen in facets, each as COLUMN=VALUE
	Since, Until                            string
	Live                                    bool
	Event                                   string // ID of the open event
	Cursor                                  string
	Own                                     url.Values // parameters of one view alone, without Event and Cursor
}

// readPageQuery reads a view's state; own are the parameters that it has to itself.
func readPageQuery(r *http.Request, own ...string) pageQuery {
	v := r.URL.Query()
	q := pageQuery{
		Filter: strings.TrimSpace(v.Get("filter")), Verb: v.Get("verb"), User: v.Get("user"), Namespace: v.Get("namespace"),
		Resource: v.Get("resource"), Failed: v.Get("failed") != "", Writes: v.Get("writes") != "",
		Since: v.Get("since"), Until: v.Get("until"), Live: v.Get("live") != "", Event: v.Get("event"), Cursor: v.Get("cursor"),
		Include: v["include"], Exclude: v["exclude"],
	}
	for _, name := range own {
		if values := v[name]; len(values) > 0 && name != "event" && name != "cursor" {
			if q.Own == nil {
				q.Own = url.Values{}
			}
			q.Own[name] = values
		}
	}
	return q
}

// URL is the page's address in this state.
func (q pageQuery) URL() string {
	v := url.Values{}
	for name, values := range q.Own {
		v[name] = slices.Clone(values)
	}
	for _, p := range [][2]string{
		{"filter", q.Filter},
		{"verb", q.Verb},
		{"user", q.User},
		{"namespace", q.Namespace},
		{"resource", q.Resource},
		{"since", q.Since},
		{"until", q.Until},
		{"event", q.Event},
		{"cursor", q.Cursor},
	} {
		setText(v, p[0], p[1])
	}
	for name, values := range map[string][]string{"include": q.Include, "exclude": q.Exclude} {
		if len(values) > 0 {
			v[name] = slices.Clone(values)
		}
	}
	for name, on := range map[string]bool{"failed": q.Failed, "writes": q.Writes, "live": q.Live} {
		if on {
			v.Set(name, "1")
		}
	}
	path := q.Path
	if path == "" {
		path = "/"
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// in is the same question in another view: what only this one knows is left behind.
func (q pageQuery) in(path string) pageQuery {
	q.Path, q.Event, q.Cursor, q.Own = path, "", "", nil
	return q
}

// actorPath is where the day of a user is.
func actorPath(user string) string { return "/actors/" + url.PathEscape(user) }

// cel is the filter box, the controls and what was chosen in facets as one
// filter. base is the same without the facets: each of them is narrowed by the others only.
func (q pageQuery) cel() (cel, base string, err error) {
	one := func(s string) []string {
		if s = strings.TrimSpace(s); s == "" {
			return nil
		}
		return []string{s}
	}
	f := query.Flags{
		Verb: one(q.Verb), User: one(q.User), Namespace: one(q.Namespace), Resource: one(q.Resource),
		Failed: q.Failed, Writes: q.Writes,
	}
	filter, err := f.Filter(q.Filter)
	if err != nil {
		return "", "", err
	}
	if filter != nil {
		base = filter.String()
	}
	chosen, err := q.chosen()
	if err != nil {
		return "", "", err
	}
	for _, c := range chosen {
		more, err := query.Parse(c.CEL)
		if err != nil {
			return "", "", err
		}
		filter = query.And(filter, more)
	}
	if filter != nil {
		cel = filter.String()
	}
	return cel, base, nil
}

// condition is what was chosen in one column's facet.
type condition struct {
	CEL     string
	Without string   // address of the page without it
	Include []string // its parameters
	Exclude []string
}

// chosen are the conditions of the facets, in the order of the columns' first mention.
func (q pageQuery) chosen() ([]condition, error) {
	all, err := conditions(url.Values{"include": q.Include, "exclude": q.Exclude})
	if err != nil {
		return nil, err
	}
	out := make([]condition, len(all))
	for i, c := range all {
		if out[i].CEL, err = c.CEL(); err != nil {
			return nil, err
		}
		own := url.Values{}
		setConditions(own, []query.FacetCondition{c})
		rest := url.Values{}
		setConditions(rest, slices.Delete(slices.Clone(all), i, i+1))
		out[i].Include, out[i].Exclude = own["include"], own["exclude"]
		without := q
		without.Include, without.Exclude, without.Cursor = rest["include"], rest["exclude"], ""
		out[i].Without = without.URL()
	}
	return out, nil
}

// asFilter is the address of the page with the conditions written into the filter box.
func (q pageQuery) asFilter(chosen []condition) string {
	filter, err := query.Parse(q.Filter)
	if err != nil {
		return ""
	}
	for _, c := range chosen {
		more, err := query.Parse(c.CEL)
		if err != nil {
			return ""
		}
		filter = query.And(filter, more)
	}
	q.Filter, q.Include, q.Exclude, q.Cursor = filter.String(), nil, nil, ""
	return q.URL()
}

// page is the whole page: what all views share, and one view's data.
type page struct {
	Query     pageQuery
	View      view
	Views     []view
	Shared    []keyHelp
	Version   string
	Presets   []preset
	Status    statusView
	Columns   []query.Column
	Data      any  // what the view's load made
	EventOpen bool // the view shows an event beside it
	scope
}

// scope is a state's question, read.
type scope struct {
	CEL     string // box, controls and facets together
	Base    string // the same without the facets
	Chosen  []condition
	AsCEL   string // address of the page with them in the filter box
	Range   query.Range
	Problem *errorView // why nothing can be asked; stands below the filter
	Last    int64      // ID: all events up to it are in what is shown, a live stream goes on behind
}

// Wrong is whether a field of the form has what cannot be asked.
func (sc scope) Wrong(field string) bool { return sc.Problem != nil && sc.Problem.Field == field }

// scope reads the question. Its error is only that of a client that went away.
func (s *server) scope(r *http.Request, q pageQuery) (scope, error) {
	// Before any search: an event that is committed meanwhile may be told twice,
	// and the page knows it by its ID, but none is missed.
	sc := scope{Last: s.Status().Store.LastID}
	var err error
	if sc.Chosen, err = q.chosen(); err != nil {
		// What cannot be read can still be taken away.
		without := q
		without.Include, without.Exclude, without.Cursor = nil, nil, ""
		sc.Chosen = []condition{{CEL: strings.Join(slices.Concat(q.Include, q.Exclude), " "), Without: without.URL()}}
	} else if len(sc.Chosen) > 0 {
		sc.AsCEL = q.asFilter(sc.Chosen)
	}
	if sc.CEL, sc.Base, err = q.cel(); err == nil {
		sc.Range, err = query.NewRange(q.Since, q.Until, query.AskedAt(q.Cursor, time.Now()), time.UTC)
	}
	if err == nil {
		return sc, nil
	}
	sc.Range = query.Range{}
	we := s.report(r, err)
	if we.Code == codeCanceled {
		return sc, err
	}
	sc.Problem = newErrorView(err, we, q)
	return sc, nil
}

// getScope answers with a state's question: the page asks for it before it asks a view.
func (s *server) getScope(w http.ResponseWriter, r *http.Request) error {
	q := readPageQuery(r, r.URL.Query()["own"]...)
	q.Path = r.URL.Query().Get("path")
	if !strings.HasPrefix(q.Path, "/") || strings.HasPrefix(q.Path, "//") {
		q.Path = ""
	}
	sc, err := s.scope(r, q)
	if err != nil {
		return err
	}
	return s.render(w, http.StatusOK, "scope-update", sc)
}

// To is the address of the same question in another view.
func (p page) To(v view) string { return p.Query.in(v.Path).URL() }

// preset is a range that is one click away.
type preset struct {
	Label, URL, Since string
	Current           bool
}

func presets(q pageQuery) []preset {
	q.Cursor = ""
	out := []preset{
		{Label: "15m", Since: "15m"},
		{Label: "1h", Since: "1h"},
		{Label: "6h", Since: "6h"},
		{Label: "24h", Since: "24h"},
		{Label: "7d", Since: "7d"},
		{Label: "30d", Since: "30d"},
		{Label: "All"},
	}
	for i := range out {
		out[i].Current = q.Until == "" && q.Since == out[i].Since
		to := q
		to.Since, to.Until = out[i].Since, ""
		out[i].URL = to.URL()
	}
	return out
}

// getView answers with the whole page of a view.
func (s *server) getView(v view) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		p := page{Query: readPageQuery(r, v.Own...), View: v, Views: views(), Shared: sharedKeys(), Version: s.Version, Columns: query.Columns()}
		p.Query.Path = r.URL.EscapedPath()
		p.Presets, p.Status = presets(p.Query), newStatusView(s.status())
		var err error
		if p.scope, err = s.scope(r, p.Query); err != nil {
			return err
		}
		status, err := v.load(s, r, &p)
		if err != nil {
			return err
		}
		if status == 0 {
			status = http.StatusOK
		}
		return s.render(w, status, "page", p)
	}
}
