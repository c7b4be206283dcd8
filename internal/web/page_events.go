package web

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// pageRows is how many events a page has.
const pageRows = 100

// results is the region below the histogram: a table, or why there is none.
type results struct {
	Query    pageQuery
	CEL      string // box and controls together, for the histogram and the live stream
	Ran      string // what was run: CEL and the default
	Error    *errorView
	Rows     []row
	Next     string // address of the next page, "" if this is the last
	Cursor   string
	Last     int64 // ID: all events up to it were searched, the live stream goes on behind
	Warnings query.Warnings
	NoEvents bool // the store is empty
	Columns  []tableColumn
	Usual    bool // the columns are those that nobody chose
}

// AllTime is the address of the same question without a range.
func (r results) AllTime() string {
	q := r.Query
	q.Since, q.Until, q.Cursor = "", "", ""
	return q.URL()
}

// errorView is an error where it belongs: below the filter box or in place of the table.
type errorView struct {
	InFilter bool
	Field    string // of the form, that it is about; "" if it is about none
	Title    string
	Message  string
	Caret    string // two lines: the filter, and a caret below the column
	Suggest  string
	FixURL   string // the page with the suggestion applied
	Retry    string
}

// row is one event in the table.
type row struct {
	ID, URL           string
	Day, Clock, Exact string
	User, As          string
	// User and As in two parts, so that the first can give way where there is little room.
	Prefix, Own, AsPrefix, AsOwn string
	Write                        bool
	Resource, Name               string
	URI                          string // for requests that are not of a resource
	Failed                       bool
	Reason                       string
	Cells                        []cell
}

func newRow(e *audit.Event, q pageQuery, columns []tableColumn) row {
	r := row{
		ID: strconv.FormatInt(e.ID, 10), Exact: e.Time.String(),
		User: e.User, As: e.AsUser, Resource: e.Resource, Name: e.Name,
		Failed: e.Code >= 400, Reason: e.Reason,
	}
	q.Event, q.Cursor = r.ID, ""
	r.URL = q.URL()
	if e.Time != 0 {
		t := e.Time.Std()
		r.Day, r.Clock = t.Format("2006-01-02"), t.Format("15:04:05.000")
	}
	switch e.Verb {
	case "create", "update", "patch", "delete", "deletecollection":
		r.Write = true
	}
	r.Prefix, r.Own = splitUser(e.User)
	r.AsPrefix, r.AsOwn = splitUser(e.AsUser)
	if e.Subresource != "" {
		r.Resource += "/" + e.Subresource
	}
	if e.Resource == "" {
		r.URI = e.URI
	}
	for _, c := range columns {
		r.Cells = append(r.Cells, c.cell(e))
	}
	return r
}

// splitUser splits what all service accounts' names begin with from a name.
func splitUser(user string) (prefix, own string) {
	const accounts = "system:serviceaccount:"
	if own, ok := strings.CutPrefix(user, accounts); ok {
		return accounts, own
	}
	return "", user
}

// eventsData is what the Events view shows.
type eventsData struct {
	Results results
	Event   *eventView    // nil if none is open
	Columns []tableColumn // all there are
	Default string        // the columns shown unless others are chosen
}

func eventsView() view {
	return view{
		Name: "events", Title: "Events", Path: "/", Routes: []string{"/{$}"}, Go: "e",
		Own: eventsOwn(),
		Keys: []keyHelp{
			{[]string{"j", "k"}, "next, previous event"},
			{[]string{"Enter"}, "open it"},
			{[]string{"n", "p"}, "open the next, the previous"},
			{[]string{"Esc"}, "close it; then select none"},
			{[]string{"x"}, "select the event, for an export; also its box"},
			{[]string{"X"}, "select all from the one before to here; also Shift and a click"},
			{[]string{"s"}, "search in the open event"},
			{[]string{"f"}, "to the facets; arrows move there, - leaves out"},
			{[]string{"c"}, "columns"},
			{[]string{"b"}, "to the histogram; Shift and arrows choose a range"},
			{[]string{"t"}, "to the newest"},
		},
		load: loadEvents,
	}
}

func loadEvents(s *server, r *http.Request, p *page) (status int, err error) {
	d := eventsData{Columns: tableColumns(), Default: strings.Join(defaultColumns(), ",")}
	if d.Results, err = s.search(r, p.Query); err != nil {
		return 0, err
	}
	p.Problem = nil
	if d.Results.Error != nil && d.Results.Error.InFilter {
		p.Problem = d.Results.Error
	}
	if p.Query.Event != "" {
		if d.Event, status, err = s.eventView(r, p.Query.Event, p.Query); err != nil {
			return 0, err
		}
		p.EventOpen = true
	}
	p.Data = d
	return status, nil
}

// eventsOwn are the URL's parameters that only the Events view knows: columns are
// the table's, separated by commas; facets is whether the panel is open. The
// events that are selected are in the address too, for the script alone
// (js/selection.js): a row's link with a thousand of them would be no link.
func eventsOwn() []string { return []string{"event", "cursor", "columns", "facets"} }

func (s *server) getResults(w http.ResponseWriter, r *http.Request) error {
	res, err := s.search(r, readPageQuery(r, eventsOwn()...))
	if err != nil {
		return err
	}
	return s.render(w, http.StatusOK, "results", res)
}

// search answers the page's question. Its error is only that of a client that went away.
func (s *server) search(r *http.Request, q pageQuery) (results, error) {
	// Before the search: an event that is committed meanwhile may be told twice,
	// and the page knows it by its ID, but none is missed.
	res := results{Query: q, Last: s.Status().Store.LastID, Columns: chosenColumns(q), Usual: q.Own.Get("columns") == ""}
	bad := func(err error) (results, error) {
		we := s.report(r, err)
		if we.Code == codeCanceled {
			return res, err
		}
		res.Error = newErrorView(err, we, q)
		return res, nil
	}
	cel, _, err := q.cel()
	if err != nil {
		return bad(err)
	}
	res.CEL = cel
	span, err := query.NewRange(q.Since, q.Until, query.AskedAt(q.Cursor, time.Now()), time.UTC)
	if err != nil {
		return bad(err)
	}
	ctx, _, stop := s.limit(r.Context())
	defer stop()
	a, err := s.Questions.Search(ctx, query.SearchQuestion{
		Scope: query.Scope{Filter: cel, Range: span}, Limit: pageRows, Cursor: q.Cursor, NoRaw: true,
	}, func(e *audit.Event) error {
		res.Rows = append(res.Rows, newRow(ownEvent(e), q, res.Columns))
		return nil
	})
	if err != nil {
		return bad(limited(ctx, err))
	}
	res.Ran, res.Warnings, res.Cursor = a.Filter, a.Warnings, a.Next
	if a.Next != "" {
		next := q
		next.Cursor, next.Event = a.Next, ""
		res.Next = next.URL()
	}
	res.NoEvents = len(res.Rows) == 0 && s.Status().Store.Events == 0
	return res, nil
}

func newErrorView(err error, we wireError, q pageQuery) *errorView {
	v := &errorView{Message: we.Message, Suggest: we.Suggest}
	q.Cursor = ""
	v.Retry = q.URL()
	var fe *query.FilterError
	var usage *query.UsageError
	switch {
	case errors.As(err, &fe):
		v.Field = "filter"
		v.InFilter, v.Title, v.Message, v.Caret = true, "The filter is not right", fe.Message, fe.Caret()
		if fixed := fe.Fixed(); fixed != "" && fe.Text == q.Filter {
			q.Filter = fixed
			v.FixURL = q.URL()
		}
	case we.Code == CodeUsage:
		v.InFilter, v.Title = true, "This cannot be asked"
		if errors.As(err, &usage) {
			v.Field = usage.Flag
		}
	case we.Code == CodeTimeout:
		v.Title = "That took too long"
	case we.Code == CodeUnavailable:
		v.Title = "The store cannot answer now"
	case we.Code == CodeDamaged:
		v.Title = "Stored data is damaged"
	default:
		v.Title = "Something went wrong"
	}
	return v
}

// getFollowRows is the live stream of the page: each event as a row of the table.
func (s *server) getFollowRows(w http.ResponseWriter, r *http.Request) error {
	q := readPageQuery(r, eventsOwn()...)
	cel, _, err := q.cel()
	if err != nil {
		return err
	}
	span, err := query.NewRange(q.Since, q.Until, time.Now(), time.UTC)
	if err != nil {
		return err
	}
	ask := query.SearchQuestion{Scope: query.Scope{Filter: cel, Range: span}, NoRaw: true}
	// The last event that the stream has told, or else that the page was made with.
	for _, after := range []string{r.Header.Get("Last-Event-ID"), r.URL.Query().Get("after")} {
		if n, err := strconv.ParseInt(after, 10, 64); err == nil && n >= 0 {
			if ask.AfterID = n; n == 0 {
				ask.AfterID = query.FollowAll
			}
			break
		}
	}
	columns := chosenColumns(q)
	return s.follow(w, r, ask, func(e *audit.Event) (string, []byte, error) {
		if span.To != 0 && e.Time >= span.To {
			return "", nil, nil // committed after the range was asked for, and not in it
		}
		var b strings.Builder
		err := s.pages.ExecuteTemplate(&b, "row", newRow(e, q, columns))
		return "row", []byte(b.String()), err
	})
}
