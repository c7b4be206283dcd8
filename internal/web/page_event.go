package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/visible"
)

// eventView is one event: a sentence above its formatted JSON.
type eventView struct {
	ID       string
	Missing  string // why there is none
	Time     string
	Parts    []query.Part
	Facts    []fact
	Sections []section
	Plain    string // the line, if it is no JSON object
	Size     int
	URL      string // permalink
	CloseURL string
	// UserURL and ObjectURL search for more of the same, "" if there is nothing to search for.
	UserURL, ObjectURL, RequestURL string
	// ActorURL, AsURL and TimelineURL lead to the other views, "" if there is nothing to show there.
	ActorURL, AsURL, TimelineURL string
	AroundURL                    string
	CEL, Kubectl                 string // what is copied
	Decision, DecisionReason     string
	Allowed                      bool
	Received                     string
	Latency                      string
	Spent                        []fact // where the time went, as the API server noted it
}

// fact is a column that the sentence leaves out.
type fact struct{ Label, Column, Value string }

// eventView finds an event; the status is 404 if there is none.
func (s *server) eventView(r *http.Request, id string, q pageQuery) (*eventView, int, error) {
	q.Event, q.Cursor = "", ""
	e, err := s.event(r, id)
	if err != nil {
		we := s.report(r, err)
		if we.Code == codeCanceled {
			return nil, 0, err
		}
		status := http.StatusOK
		var own *Error
		if errors.As(err, &own) {
			status = own.Code.Status()
		}
		return &eventView{ID: id, Missing: we.Message, CloseURL: q.URL()}, status, nil
	}
	return newEventView(e, q), http.StatusOK, nil
}

func newEventView(e *audit.Event, q pageQuery) *eventView {
	v := &eventView{
		ID: strconv.FormatInt(e.ID, 10), Time: e.Time.String(), Parts: query.Parts(e),
		Size: len(e.Raw), URL: pageQuery{Event: strconv.FormatInt(e.ID, 10)}.URL(), CloseURL: q.URL(),
	}
	for _, f := range []fact{
		{"Audit ID", "audit_id", e.AuditID},
		{"Stage", "stage", e.Stage},
		{"Reason", "reason", e.Reason},
		{"Message", "message", e.Message},
		{"Level", "level", e.Level},
		{"Agent", "agent", e.Agent},
		{"Pod", "pod", e.Pod},
		{"Cluster", "cluster", e.Cluster},
		{"Log", "source", e.Source},
	} {
		if f.Value != "" {
			v.Facts = append(v.Facts, f)
		}
	}
	for i := range v.Parts {
		// The sentence has a space for what cannot be seen; the page has room to say what it is.
		if p := &v.Parts[i]; p.Column != "" && p.Column != "verb" && visible.Marked(p.Value) != p.Value {
			p.Text = `"` + short(p.Value) + `"`
		}
	}
	var ok bool
	if v.Sections, ok = jsonSections(e.Raw); !ok {
		v.Plain = e.Raw
	}
	if e.User != "" {
		v.UserURL = pageQuery{Filter: celEquals("user", e.User), Since: q.Since, Until: q.Until}.URL()
	}
	if e.Resource != "" && e.Name != "" {
		v.ObjectURL = pageQuery{Filter: objectCEL(e), Writes: true, Since: q.Since, Until: q.Until}.URL()
	}
	if e.AuditID != "" {
		v.RequestURL = pageQuery{Filter: requestCEL(e)}.URL()
		v.CEL = requestCEL(e)
	}
	elsewhere := pageQuery{Since: q.Since, Until: q.Until}
	if e.User != "" {
		v.ActorURL = elsewhere.toActor(e.User).URL()
	}
	if e.AsUser != "" {
		v.AsURL = elsewhere.toActor(e.AsUser).URL()
	}
	if e.Resource != "" {
		to := elsewhere.in("/objects")
		to.Own = url.Values{"object": {objectParam(e)}}
		v.TimelineURL = to.URL()
	}
	around := q
	around.Path = "/page/event/" + v.ID + "/around"
	v.AroundURL = around.URL()
	v.Kubectl = kubectlCommand(e)
	v.Decision, v.DecisionReason, v.Allowed = e.Decision, e.DecisionReason, e.Decision == "allow"
	if e.Received != 0 {
		v.Received = e.Received.String()
		v.Latency = spanText(time.Duration(e.Time-e.Received) * time.Microsecond)
	}
	v.Spent = spent(readRecorded(e.Raw).Annotations)
	return v
}

// spent are the parts of the latency that the API server notes for slow requests.
func spent(annotations map[string]string) []fact {
	const prefix = "apiserver.latency.k8s.io/"
	var out []fact
	for name, value := range annotations {
		if part, ok := strings.CutPrefix(name, prefix); ok {
			if d, err := time.ParseDuration(value); err == nil {
				value = spanText(d)
			}
			out = append(out, fact{Label: part, Value: value})
		}
	}
	slices.SortFunc(out, func(a, b fact) int { return strings.Compare(a.Label, b.Label) })
	return out
}

func (s *server) getEventView(w http.ResponseWriter, r *http.Request) error {
	v, status, err := s.eventView(r, r.PathValue("id"), readPageQuery(r, eventsOwn()...))
	if err != nil {
		return err
	}
	return s.render(w, status, "event", v)
}
