package web

import (
	"bytes"
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

const (
	trailRows = 12
	// Of the objects written most, then named most, those touched last are shown first.
	touchedRead, touchedRows = 1000, 20
	// activeFor is how long after the last request someone counts as active.
	activeFor = 5 * time.Minute
)

// actorPart is what the parts of one actor's page have in common.
type actorPart struct {
	Query    pageQuery // of this actor's page
	User     string
	Error    *errorView
	Warnings query.Warnings
	scope
}

// actorPart reads the question of a part.
func (s *server) actorPart(r *http.Request) (actorPart, error) {
	q := readPageQuery(r, actorsOwn()...)
	p := actorPart{User: q.Own.Get("actor")}
	if p.User == "" {
		return p, &query.UsageError{Message: "no actor is named"}
	}
	to := q.toActor(p.User)
	q.Path, q.Own = to.Path, to.Own
	p.Query = q
	var err error
	p.scope, err = s.scope(r, q)
	p.Error = p.Problem
	return p, err
}

func (p actorPart) question() query.Scope { return query.Scope{Filter: p.CEL, Range: p.Range} }

// own is the condition that a request is this user's.
func (p actorPart) own() string { return celEquals("user", p.User) }

// Events is the address of Events with the same question, of this user.
func (p actorPart) Events() string { return p.Query.events(p.own()) }

// Event is the address of one event among this user's.
func (p actorPart) Event(id int64) string {
	q := pageQuery{Filter: p.own(), Since: p.Query.Since, Until: p.Query.Until, Event: strconv.FormatInt(id, 10)}
	return q.URL()
}

// Actor is the address of another user's page.
func (p actorPart) Actor(user string) string { return p.Query.toActor(user).URL() }

// actorNow is the head of the page: who it is, and whether it is still going on.
type actorNow struct {
	actorPart
	Kind, KindURL string
	Prefix, Own   string
	LastTime      audit.Time // of all there is, whatever the filter and the range; 0 if there is none
	LastID        int64
	Sentence      string
	Level, Says   string // ok, warn: the colour, and the words that it never goes without
	Age           string
	All           string // what the user did without the filter, "" if there is none
	Objects       string
	Back          string
}

func (s *server) getActorNow(w http.ResponseWriter, r *http.Request) error {
	p, err := s.actorPart(r)
	if err != nil {
		return err
	}
	n := actorNow{actorPart: p}
	n.Prefix, n.Own = splitUser(p.User)
	kind := kindOf(p.User)
	for _, k := range actorKinds() {
		if k.Name == kind {
			n.Kind = k.Title
		}
	}
	list := p.Query
	list.Path, list.Own = "/actors", nil
	n.Back, n.KindURL = list.URL(), list.with("kind", kind)
	objects := p.Query.in("/objects")
	if objects.Filter, err = joined(p.Query.Filter, p.own()); err == nil {
		n.Objects = objects.URL()
	}
	if all := p.Query.toActor(p.User); p.CEL != "" {
		n.All = all.URL()
	}
	ctx, _, stop := s.limit(r.Context())
	defer stop()
	_, err = s.Questions.Search(ctx, query.SearchQuestion{
		Scope: query.Scope{Filter: p.own() + " || " + celEquals("as_user", p.User)}, Limit: 1, NoRaw: true,
	}, func(e *audit.Event) error {
		n.LastTime, n.LastID, n.Sentence = e.Time, e.ID, query.Sentence(e)
		return nil
	})
	if p.Error, err = s.partError(r, p.Query, limited(ctx, err)); err != nil {
		return err
	}
	if p.Error != nil {
		n.Error = p.Error
	}
	if n.LastTime != 0 {
		age := time.Since(n.LastTime.Std())
		n.Age = ageText(age)
		n.Level, n.Says = "quiet", "Quiet"
		if age < activeFor {
			n.Level, n.Says = "warn", "Still going on"
		}
	}
	return s.render(w, http.StatusOK, "actor-now", n)
}

// getActorsFollow streams requests as they come: of one actor, or of all.
func (s *server) getActorsFollow(w http.ResponseWriter, r *http.Request) error {
	q := readPageQuery(r, actorsOwn()...)
	sc, err := s.scope(r, q)
	if err != nil {
		return err
	}
	if sc.Problem != nil {
		return &query.UsageError{Message: sc.Problem.Message}
	}
	ask := query.SearchQuestion{Scope: query.Scope{Filter: sc.CEL}, NoRaw: true}
	user := q.Own.Get("actor")
	if user != "" {
		if ask.Filter, err = joined(ask.Filter, celEquals("user", user)+" || "+celEquals("as_user", user)); err != nil {
			return err
		}
	}
	for _, after := range []string{r.Header.Get("Last-Event-ID"), r.URL.Query().Get("after")} {
		if n, err := strconv.ParseInt(after, 10, 64); err == nil && n >= 0 {
			if ask.AfterID = n; n == 0 {
				ask.AfterID = query.FollowAll
			}
			break
		}
	}
	return s.follow(w, r, ask, func(e *audit.Event) (string, []byte, error) {
		var b bytes.Buffer
		err := s.pages.ExecuteTemplate(&b, "actor-request", struct {
			User, As, URL, Sentence string
			Time                    audit.Time
			Failed, Write           bool
		}{e.User, e.AsUser, actorPart{Query: q, User: e.User}.Event(e.ID), query.Sentence(e), e.Time, e.Code >= 400, query.Writes().Match(e)})
		return "request", b.Bytes(), err
	})
}

// actorTrail is the lists beside the day.
type actorTrail struct {
	actorPart
	Answer  query.ActorAnswer
	Failing []failureRow
	As, By  []otherRow
	From    []valueRow
	With    []valueRow
	FailURL string
}

// actorTouched is what the user's requests were about.
type actorTouched struct {
	actorPart
	Rows []touchedRow
	More string // the Objects view, where there are more than Rows, "" if there are not
}

// touchedRow is an object that the user's requests named.
type touchedRow struct {
	What, Namespace, URL string
	Events               string
	Count, Writes        int64
	Failed               int64
}

type failureRow struct {
	Code, Reason, What, URL string
	Count                   int64
	Last                    audit.Time
}

// otherRow is another user, impersonated or impersonating.
type otherRow struct {
	User, Actor, URL string
	Count, Failed    int64
}

type valueRow struct {
	Value, URL string
	Count      int64
}

func (s *server) getActorTrail(w http.ResponseWriter, r *http.Request) error {
	p, err := s.actorPart(r)
	if err != nil {
		return err
	}
	t := actorTrail{actorPart: p}
	if t.Error == nil {
		ctx, _, stop := s.limit(r.Context())
		defer stop()
		t.Answer, err = s.Questions.Actor(ctx, query.ActorQuestion{Scope: p.question(), User: p.User, Limit: trailRows})
		if t.Error, err = s.partError(r, p.Query, limited(ctx, err)); err != nil {
			return err
		}
	}
	t.fill()
	return s.render(w, http.StatusOK, "actor-trail", t)
}

// touchedBy are the columns that name an object.
func touchedBy() []string { return []string{"cluster", "namespace", "api_group", "resource", "name"} }

func (s *server) getActorTouched(w http.ResponseWriter, r *http.Request) error {
	p, err := s.actorPart(r)
	if err != nil {
		return err
	}
	t := actorTouched{actorPart: p}
	if t.Error == nil {
		ctx, _, stop := s.limit(r.Context())
		defer stop()
		scope := p.question()
		if scope.Filter, err = joined(scope.Filter, p.own()+` && name != ""`); err != nil {
			return err
		}
		a, err := s.Questions.Top(ctx, query.TopQuestion{Scope: scope, By: touchedBy(), Limit: touchedRead, WritesFirst: true})
		if t.Error, err = s.partError(r, p.Query, limited(ctx, err)); err != nil {
			return err
		}
		t.fill(a)
	}
	return s.render(w, http.StatusOK, "actor-touched", t)
}

// fill lists the objects, those that were written first.
func (t *actorTouched) fill(a query.TopAnswer) {
	slices.SortStableFunc(a.Rows, func(a, b query.GroupRow) int {
		return cmp.Or(cmp.Compare(b.Writes, a.Writes), cmp.Compare(b.Last, a.Last))
	})
	if len(a.Rows) > touchedRows {
		q := t.Query.in("/objects")
		if filter, err := joined(q.Filter, t.own()); err == nil {
			q.Filter = filter
			t.More = q.URL()
		}
		a.Rows = a.Rows[:touchedRows]
	}
	for _, r := range a.Rows {
		k := query.ObjectKey{Cluster: r.Keys[0], Namespace: r.Keys[1], APIGroup: r.Keys[2], Resource: r.Keys[3], Name: r.Keys[4]}
		q := pageQuery{Path: "/objects", Since: t.Query.Since, Until: t.Query.Until, Own: url.Values{"object": {keyParam(k)}}}
		t.Rows = append(t.Rows, touchedRow{
			What: k.Resource + "/" + k.Name, Namespace: k.Namespace, URL: q.URL(), Events: t.Query.events(t.own() + " && " + keyCEL(k)),
			Count: r.Count, Writes: r.Writes, Failed: r.Failed,
		})
	}
	t.Warnings = a.Warnings
}

func (t *actorTrail) fill() {
	own := t.own()
	t.FailURL = t.Query.events(own + " && code >= 400")
	for _, f := range t.Answer.Failures {
		code, reason, verb, resource := f.Keys[0], f.Keys[1], f.Keys[2], f.Keys[3]
		row := failureRow{Code: code, Reason: reason, Count: f.Count, Last: f.Last, What: verb + " " + cmp.Or(resource, "a URL")}
		row.URL = t.Query.events(own + " && code == " + code + " && " + celEquals("reason", reason) + " && " + celEquals("verb", verb) + " && " + celEquals("resource", resource))
		t.Failing = append(t.Failing, row)
	}
	for _, a := range t.Answer.ActedAs {
		as := a.Keys[0]
		t.As = append(t.As, otherRow{as, t.Actor(as), t.Query.events(own + " && " + celEquals("as_user", as)), a.Count, a.Failed})
	}
	for _, a := range t.Answer.ImpersonatedBy {
		by := a.Keys[0]
		t.By = append(t.By, otherRow{by, t.Actor(by), t.Query.events(celEquals("user", by) + " && " + celEquals("as_user", t.User)), a.Count, a.Failed})
	}
	for _, a := range t.Answer.Addresses {
		t.From = append(t.From, valueRow{a.Keys[0], t.Query.events(own + " && " + query.Quote(a.Keys[0]) + " in source_ips"), a.Count})
	}
	for _, a := range t.Answer.Agents {
		t.With = append(t.With, valueRow{a.Keys[0], t.Query.events(own + " && " + celEquals("agent", a.Keys[0])), a.Count})
	}
}
