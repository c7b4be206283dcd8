package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/ktrail/ktrail/audit"
)

// lookBack is how many changes before a page are read to find the object that
// its oldest change is compared with.
const lookBack = 100

// maxAnswer is the most that the differences and patches of an answer take, in bytes.
const maxAnswer = 16 << 20

// errEnough ends a search from within.
var errEnough = errors.New("enough")

// History implements [Questions]. The object's own changes and the deletecollection
// requests, which have no name, are asked for at once: what they cost is reading
// the row groups that they are in, which are often the same.
func (g *Engine) History(ctx context.Context, q HistoryQuestion) (HistoryAnswer, error) {
	after, asked, err := parseCursor(q.Cursor, false)
	if err != nil {
		return HistoryAnswer{}, err
	}
	scope, err := scopedAt(q.Scope, asked.Std())
	if err != nil {
		return HistoryAnswer{}, err
	}
	about, err := historyFilter(q)
	if err != nil {
		return HistoryAnswer{}, err
	}
	n, err := limit(q.Limit, defaultChanges, maxChanges)
	if err != nil {
		return HistoryAnswer{}, err
	}
	h := history{asked: asked, diff: q.Diff, noise: q.Noise, limit: n, open: map[string]*openChange{}}
	r := SearchRequest{Filter: And(about, scope), Range: q.Range, Limit: n + 1, After: after, NoRaw: !q.Diff}
	if q.Diff {
		r.Limit += lookBack
		r.NoRawOf = func(e *audit.Event) bool { return !hasBodies(e) }
	}
	warnings, err := g.src.Search(ctx, r, h.tell)
	if err != nil && !errors.Is(err, errEnough) {
		return HistoryAnswer{}, err
	}
	h.end()
	answer := HistoryAnswer{Filter: r.Filter.String(), Changes: h.changes, Next: h.next, Warnings: warnings}
	if answer.Changes == nil {
		answer.Changes = []Change{}
	}
	if answer.Next == "" && len(h.changes) > 0 && !h.created && q.Range.From == 0 && q.Filter == "" {
		answer.Warnings = append(answer.Warnings, Warning{Text: "no creation was found: it may be older than the log, or the object was created with generateName and the event has no name"})
	}
	return answer, nil
}

// historyFilter writes the question as CEL that reads well.
func historyFilter(q HistoryQuestion) (*Filter, error) {
	if q.Resource == "" || q.Name == "" {
		return nil, usagef("history needs a resource and a name, such as deployments/web")
	}
	resource, namespace := q.Resource, q.Namespace
	if k := lookupResource(resource); k != nil {
		resource = k.plural
		if !k.namespaced && (q.APIGroup == "" || q.APIGroup == k.group) {
			namespace = "" // events about a namespace have its own name there
		}
	}
	kind := "resource == " + Quote(resource)
	if q.APIGroup != "" {
		kind += " && api_group == " + Quote(q.APIGroup)
	}
	if namespace != "" {
		kind += " && namespace == " + Quote(namespace)
	}
	object := "name == " + Quote(q.Name) + ` && (verb in ["create", "update", "patch", "delete"] || subresource in ["exec", "attach"])`
	return Parse(kind + " && (" + object + ` || verb == "deletecollection")`)
}

// history turns events, newest first, into changes.
type history struct {
	diff, noise bool
	limit       int
	changes     []Change
	last        Position   // of the page's oldest change
	asked       audit.Time // when the first page was asked
	next        string     // the cursor, once there is more than the page
	created     bool       // the object's creation is on the page
	size        int        // bytes of differences and patches so far
	// open has, for each object, the newest change whose object before is not
	// found yet. Objects of one name can be in several namespaces and groups.
	open map[string]*openChange
}

// openChange waits for the object before it.
type openChange struct {
	change  int // in changes
	object  map[string]any
	patch   json.RawMessage
	skipped int // successful changes in between that were recorded without an object
}

// tell adds e to the page; beyond the page it only looks for what was before.
func (h *history) tell(e *audit.Event) error {
	if len(h.changes) == h.limit {
		h.next = formatCursor(h.last, h.asked, false)
		if h.closed() {
			return errEnough
		}
		h.before(e)
		return nil
	}
	h.last = Position{Time: e.Time, ID: e.ID}
	h.created = h.created || creates(e) && e.Code < 400 && !DryRun().Match(e)
	h.add(e)
	return nil
}

// creates is whether nothing was before e: an apply, or an update, that makes the
// object is answered with 201.
func creates(e *audit.Event) bool {
	return e.Subresource == "" && (e.Verb == "create" || e.Code == 201 && (e.Verb == "patch" || e.Verb == "update"))
}

func (h *history) closed() bool { return len(h.open) == 0 }

// keyOf names the object. The events of a namespace have its name as their
// namespace, but for its creation.
func keyOf(e *audit.Event) string {
	if e.Resource == "namespaces" && e.APIGroup == "" {
		return e.Cluster + "\x00" + e.Name
	}
	return e.Cluster + "\x00" + e.APIGroup + "\x00" + e.Namespace + "\x00" + e.Name
}

// add appends e's change and gives it, as the object before, to the newer one.
func (h *history) add(e *audit.Event) {
	c := Change{Event: cloneEvent(e)}
	c.Event.Raw = ""
	if !h.diff {
		c.Note = quietNote(e)
		h.changes = append(h.changes, c)
		return
	}
	b := readBodies(e)
	c.Note = b.note
	h.changes = append(h.changes, c)
	h.resolve(e, b)
	switch {
	case !b.counts:
	case b.object != nil:
		if creates(e) {
			return // nothing was before
		}
		h.open[keyOf(e)] = &openChange{change: len(h.changes) - 1, object: b.object, patch: b.patch}
	case b.patch != nil:
		h.show(&h.changes[len(h.changes)-1], b.patch)
	}
}

// show adds a patch to c while the answer is not too large.
func (h *history) show(c *Change, patch json.RawMessage) {
	if h.size += len(patch); h.size <= maxAnswer {
		c.Patch = patch
	}
}

// before gives an event that is older than the page to the changes that wait.
func (h *history) before(e *audit.Event) { h.resolve(e, readBodies(e)) }

// resolve compares the newer change of the same object with b.
func (h *history) resolve(e *audit.Event, b bodies) {
	o := h.open[keyOf(e)]
	if o == nil || !b.counts {
		return
	}
	if e.Verb == "delete" && e.Subresource == "" && b.gone {
		// What came after is another object of the same name.
		h.finish(keyOf(e), o, "the object before was deleted")
		return
	}
	if b.object == nil {
		if e.Verb != "delete" {
			o.skipped++
		}
		return
	}
	delete(h.open, keyOf(e))
	c := &h.changes[o.change]
	if uid(o.object) != "" && uid(b.object) != "" && uid(o.object) != uid(b.object) {
		c.Note = joinNotes(c.Note, "another object of the same name was there before")
		return
	}
	var more int
	c.Fields, more = diffObjects(b.object, o.object, h.noise)
	for _, f := range c.Fields {
		h.size += len(f.Path) + len(f.Old) + len(f.New)
	}
	switch {
	case h.size > maxAnswer:
		c.Fields = nil
		c.Note = joinNotes(c.Note, "the difference is left out, for the answer is too large; ask for fewer changes")
	case more > 0:
		c.Note = joinNotes(c.Note, fmt.Sprintf("and %d more fields", more))
	case len(c.Fields) == 0 && h.noise:
		c.Note = joinNotes(c.Note, "no field changed")
	case len(c.Fields) == 0:
		c.Note = joinNotes(c.Note, "no field changed but managedFields, resourceVersion or generation")
	}
	if o.skipped > 0 {
		c.Note = joinNotes(c.Note, fmt.Sprintf("includes %s whose objects were not recorded", plural(o.skipped, "earlier change")))
	}
}

// end closes what still waits: nothing older is known.
func (h *history) end() {
	for key, o := range h.open {
		h.finish(key, o, "the object before was not recorded")
	}
}

func (h *history) finish(key string, o *openChange, note string) {
	c := &h.changes[o.change]
	c.Note = joinNotes(c.Note, note)
	h.show(c, o.patch)
	delete(h.open, key)
}

func joinNotes(a, b string) string {
	if a == "" {
		return b
	}
	if b == "" {
		return a
	}
	return a + "; " + b
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// bodies is what an event tells of the object.
type bodies struct {
	counts bool           // the change happened, so what was before it is not what is after it
	object map[string]any // the object after the change
	patch  json.RawMessage
	gone   bool // the object was deleted at once
	note   string
}

// maxPatch is the longest patch that is shown, in bytes.
const maxPatch = 64 << 10

// quietNote is what there is to know of a change without its bodies.
func quietNote(e *audit.Event) string {
	switch {
	case !e.Final:
		return "stage " + quoteShort(e.Stage) + ": not the end of the request"
	case e.Code >= 400:
		return "failed: nothing was changed"
	case DryRun().Match(e):
		return "a dry run: nothing was changed"
	case e.Verb == "deletecollection":
		return collectionNote(e)
	case e.Subresource == "exec" || e.Subresource == "attach":
		return "a session in the container; the object did not change"
	}
	return ""
}

// readBodies reads the object, or the patch, and says why there is none.
func readBodies(e *audit.Event) bodies {
	if note := quietNote(e); note != "" {
		return bodies{note: note}
	}
	if !holdsObject(e) {
		b := bodies{}
		if e.Subresource == "scale" { // changes the object, and shows only a part of it
			b.counts = true
			b.patch = requestOf(e)
		}
		return b
	}
	b := bodies{counts: true}
	if e.Truncated {
		b.note = "the API server left the bodies out for their size"
		return b
	}
	if e.Level == audit.LevelMetadata {
		b.note = "bodies were not recorded (level Metadata)"
		return b
	}
	request, response := splitBodies(e.Raw)
	after := fullObject(response)
	if e.Verb == "delete" {
		// A graceful deletion answers with the object and its deletionTimestamp.
		meta, _ := after["metadata"].(map[string]any)
		if b.gone = meta["deletionTimestamp"] == nil; !b.gone {
			b.object = after
		}
		return b
	}
	switch {
	case after != nil:
		b.object = after
		if e.Verb == "patch" {
			b.patch = bounded(request)
		}
	case e.Verb == "patch":
		b.patch = bounded(request)
		b.note = "only the patch was recorded"
		if b.patch == nil {
			b.note = "bodies were not recorded"
		}
	default:
		if b.object = fullObject(request); b.object != nil {
			b.note = "the object is as it was sent; the answer was not recorded"
		} else {
			b.note = "bodies were not recorded"
		}
	}
	return b
}

// hasBodies reports whether readBodies reads the raw line of e.
func hasBodies(e *audit.Event) bool {
	if quietNote(e) != "" {
		return false
	}
	return e.Subresource == "scale" || holdsObject(e) && !e.Truncated && e.Level != audit.LevelMetadata
}

// holdsObject reports whether the request's answer is the object itself.
func holdsObject(e *audit.Event) bool {
	switch e.Subresource {
	case "", "status", "resize", "ephemeralcontainers", "approval", "finalize":
		return true
	}
	return false
}

func requestOf(e *audit.Event) json.RawMessage {
	request, _ := splitBodies(e.Raw)
	return bounded(request)
}

// bounded is a copy of raw, or a JSON string that says how long it is if that is too long.
func bounded(raw json.RawMessage) json.RawMessage {
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil
	case len(raw) > maxPatch:
		return json.RawMessage(fmt.Sprintf(`"... %d bytes"`, len(raw)))
	}
	return append(json.RawMessage(nil), raw...)
}

func splitBodies(raw string) (request, response json.RawMessage) {
	var b struct {
		RequestObject  json.RawMessage `json:"requestObject"`
		ResponseObject json.RawMessage `json:"responseObject"`
	}
	if json.Unmarshal([]byte(raw), &b) != nil {
		return nil, nil // the line was decoded once; what is not JSON never came here
	}
	return b.RequestObject, b.ResponseObject
}

// fullObject is raw if it is an object of the API and no Status.
func fullObject(raw json.RawMessage) map[string]any {
	if len(raw) == 0 || raw[0] != '{' {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var m map[string]any
	if d.Decode(&m) != nil {
		return nil
	}
	switch m["kind"] {
	case "Status", "DeleteOptions", "Scale", "Table", nil:
		return nil
	}
	if _, ok := m["metadata"].(map[string]any); !ok {
		return nil
	}
	return m
}

func uid(o map[string]any) string {
	m, _ := o["metadata"].(map[string]any)
	s, _ := m["uid"].(string)
	return s
}

// queryOf reads the parameters of a URI as far as they can be read.
func queryOf(uri string) url.Values {
	_, query, _ := strings.Cut(uri, "?")
	values, _ := url.ParseQuery(query) // keeps what is well formed
	return values
}

func collectionNote(e *audit.Event) string {
	note := "deleted a collection; the object may have been in it"
	q := queryOf(e.URI)
	for _, k := range []string{"labelSelector", "fieldSelector"} {
		if v := q.Get(k); v != "" {
			note += fmt.Sprintf(", if %s %s matched", k, quoteShort(v))
		}
	}
	return note
}

// cloneEvent copies e and its strings, which a Source lends for a call only.
func cloneEvent(e *audit.Event) audit.Event {
	c := *e
	c.Raw = ""
	for _, s := range []*string{
		&c.Cluster, &c.Source, &c.AuditID, &c.Stage, &c.Level, &c.Verb, &c.User, &c.UserUID, &c.AsUser, &c.Agent, &c.URI,
		&c.APIGroup, &c.APIVersion, &c.Resource, &c.Subresource, &c.Namespace, &c.Name, &c.ObjectUID, &c.Reason, &c.Message,
		&c.Decision, &c.DecisionReason, &c.CredentialID, &c.Pod, &c.Version,
	} {
		*s = strings.Clone(*s)
	}
	for _, l := range []*[]string{&c.Groups, &c.AsGroups, &c.SourceIPs} {
		if *l == nil {
			continue
		}
		out := make([]string, len(*l))
		for i, s := range *l {
			out[i] = strings.Clone(s)
		}
		*l = out
	}
	return c
}
