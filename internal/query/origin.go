package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/ktrail/ktrail/audit"
)

// Origin is one pod that a service account's token was bound to, and who is
// behind it, from the pod upwards.
type Origin struct {
	Cluster   string `json:"cluster,omitempty"`
	Pod       string `json:"pod"` // "" for tokens that are bound to no pod
	Namespace string `json:"namespace"`
	Node      string `json:"node,omitempty"`
	Count     int64  `json:"count"`
	// Sentence says it all: 12 requests were made by pod P on node N, which came
	// from deployment D, last changed by alice; or changed by alice, last changed by
	// a program. Text of events in it is made safe
	// for showing; escape it all the same.
	Sentence string       `json:"sentence"`
	Steps    []OriginStep `json:"steps,omitempty"`
	// Note says where the trail ends and why.
	Note string `json:"note,omitempty"`
}

// OriginStep is "pod P was created by U", "replica set R was created by U",
// "deployment D was last changed by alice".
type OriginStep struct {
	Object ObjectKey `json:"object"`
	// Guess is whether the object is known by the name of the one before only,
	// for no body with its owner was recorded.
	Guess bool `json:"guess,omitempty"`
	// Verb, User, Time and ID are those of the event; ID 0 if the trail has none.
	Verb string     `json:"verb,omitempty"`
	User string     `json:"user,omitempty"`
	As   string     `json:"as,omitempty"` // whom User impersonated
	Time audit.Time `json:"time,omitzero"`
	ID   int64      `json:"id,omitempty"`
}

// accountPrefix begins the names of service accounts; namespace and name follow.
const accountPrefix = "system:serviceaccount:"

// The limits of following where requests came from.
const (
	maxOrigins = 5   // pods that are followed, those with most requests first
	maxOwners  = 4   // owners above a pod
	podBodies  = 8   // events of a pod that are read for its owner
	nameless   = 300 // creations without a name that are read for one pod's
	tokens     = 10  // requests for tokens that are read for one credential's
)

// origins follows a service account's pods to those who are behind them.
func (g *Engine) origins(ctx context.Context, q DayQuestion, f *Filter, used map[string]audit.Time) ([]Origin, Warnings, error) {
	namespace, account, ok := strings.Cut(strings.TrimPrefix(q.User, accountPrefix), ":")
	if !ok || namespace == "" || account == "" {
		return nil, nil, nil // a user who only has such a name
	}
	rows, warnings, err := g.src.Group(ctx, GroupRequest{Filter: f, Range: q.Range, By: []string{"cluster", "pod"}, Limit: maxOrigins + 1})
	if err != nil {
		return nil, nil, err
	}
	if len(rows) > maxOrigins {
		rows = rows[:maxOrigins]
		warnings = append(warnings, Warning{Text: fmt.Sprintf("only the %d pods with most requests are followed to where they came from; ask for a shorter time or filter by pod for others", maxOrigins)})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := make([]tracer, len(rows))
	var wait sync.WaitGroup
	slots := make(chan struct{}, askAtOnce)
	for i, r := range rows {
		t := &all[i]
		*t = tracer{g: g, ctx: ctx, cluster: r.Keys[0], namespace: namespace, account: account, first: r.First, last: r.Last, used: used, requests: f}
		t.o = Origin{Cluster: r.Keys[0], Pod: r.Keys[1], Namespace: namespace, Count: r.Count}
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if t.err = t.trace(q.Range); t.err != nil {
				cancel()
			}
		})
	}
	wait.Wait()
	out := make([]Origin, len(all))
	for i := range all {
		// The first error cancelled the others; theirs says less.
		if e := all[i].err; e != nil && (err == nil || errors.Is(err, context.Canceled)) {
			err = e
		}
		out[i] = all[i].o
		warnings = joinWarnings(warnings, all[i].warnings)
	}
	if err != nil {
		return nil, nil, err
	}
	return out, warnings, nil
}

// tracer follows one pod.
type tracer struct {
	g                           *Engine
	ctx                         context.Context //nolint:containedctx // it lives as long as one question
	cluster, namespace, account string
	first, last                 audit.Time            // of the pod's requests
	used                        map[string]audit.Time // when each credential was used first
	requests                    *Filter
	o                           Origin
	after                       string // who changed the object at the top after the last person did, if anybody
	notes                       []string
	warnings                    Warnings
	err                         error
}

func (t *tracer) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// search asks for events of the cluster, newest first, until yield says that it is enough.
func (t *tracer) search(text string, r Range, limit int, raw bool, yield func(*audit.Event) bool) error {
	f, err := Parse("cluster == " + Quote(t.cluster) + " && final && " + text)
	if err != nil {
		return err
	}
	w, err := t.g.src.Search(t.ctx, SearchRequest{Filter: f, Range: r, Limit: limit, NoRaw: !raw}, func(e *audit.Event) error {
		if yield(e) {
			return errEnough
		}
		return nil
	})
	t.warnings = joinWarnings(t.warnings, w)
	if errors.Is(err, errEnough) {
		err = nil
	}
	return err
}

// objectFilter is the filter of one object.
func objectFilter(k ObjectKey) string {
	return "resource == " + Quote(k.Resource) + " && api_group == " + Quote(k.APIGroup) +
		" && namespace == " + Quote(k.Namespace) + " && name == " + Quote(k.Name)
}

func (t *tracer) trace(r Range) error {
	defer func() {
		t.o.Sentence = t.sentence()
		t.o.Note = strings.Join(t.notes, "; ")
	}()
	if t.o.Pod == "" {
		return t.token(r)
	}
	if err := t.node(r); err != nil {
		return err
	}
	object := ObjectKey{Cluster: t.cluster, Namespace: t.namespace, Resource: "pods", Name: t.o.Pod}
	own, err := t.pod(object)
	if err != nil {
		return err
	}
	// What was changed after the pod was made did not make it.
	until := t.first + 1
	if at := t.o.Steps[0].Time; at != 0 {
		until = at + 1
	}
	for range maxOwners {
		if own.Name == "" {
			return nil
		}
		if own, err = t.owner(own, until); err != nil {
			return err
		}
	}
	return nil
}

// node reads the node from the token's extra fields.
func (t *tracer) node(r Range) error {
	f, err := Parse("cluster == " + Quote(t.cluster) + " && pod == " + Quote(t.o.Pod))
	if err != nil {
		return err
	}
	w, err := t.g.src.Search(t.ctx, SearchRequest{Filter: And(f, t.requests), Range: r, Limit: 1}, func(e *audit.Event) error {
		t.o.Node = extra(e.Raw, "authentication.kubernetes.io/node-name")
		return nil
	})
	t.warnings = joinWarnings(t.warnings, w)
	return err
}

// extra is the first value of one of the user's extra fields.
func extra(raw, name string) string {
	var e struct {
		User struct {
			Extra map[string][]string `json:"extra"`
		} `json:"user"`
	}
	if json.Unmarshal([]byte(raw), &e) != nil || len(e.User.Extra[name]) == 0 {
		return ""
	}
	return strings.Clone(e.User.Extra[name][0])
}

// link is an object's owner, as far as it is known.
type link struct {
	ObjectKey
	guess bool
}

// pod finds who created the pod, adds that step, and returns the pod's owner.
func (t *tracer) pod(k ObjectKey) (link, error) {
	var own link
	step := OriginStep{Object: k}
	var placed audit.Time // when it was given a node
	events, bodies := 0, 0
	read := func(e *audit.Event) bool {
		events++
		if b := readBodies(e); b.object != nil {
			bodies++
			own = t.controllerOf(b.object)
		}
		return own.Name != ""
	}
	// The newest before its first request: a stateful set's pods have the same name
	// again and again.
	err := t.search(objectFilter(k)+` && verb == "create" && subresource in ["", "binding"] && code < 400`, Range{To: t.first + 1}, 2, true, func(e *audit.Event) bool {
		if e.Subresource == "binding" {
			placed = max(placed, e.Time)
			return false
		}
		step.set(e)
		read(e)
		return true
	})
	if err == nil && step.ID == 0 {
		err = t.named(k, placed, func(e *audit.Event) {
			step.set(e)
			read(e)
		})
	}
	if err == nil && own.Name == "" && bodies == 0 {
		err = t.search(objectFilter(k)+` && verb in ["get", "update", "patch"] && code < 400 && subresource in ["", "status"]`, Range{To: t.last + 1}, podBodies, true, read)
	}
	if err != nil {
		return link{}, err
	}
	t.o.Steps = append(t.o.Steps, step)
	if step.ID == 0 {
		t.note("who created pod %s is not in the trail: creations of pods with generated names have no name unless their answers are recorded (level RequestResponse for pods)", shown(k.Name))
	}
	if own.Name != "" || bodies > 0 {
		return own, nil // without an owner it is nobody's
	}
	if own, err = t.guessOwner(k.Name); err != nil {
		return link{}, err
	}
	why := "the trail has no event about it"
	if events > 0 || step.ID != 0 || placed != 0 {
		why = "the policy recorded no bodies of it"
	}
	if own.Name == "" {
		t.note("what pod %s belongs to is not known: %s", shown(k.Name), why)
	} else {
		t.note("that pod %s belongs to %s is guessed from its name, for %s; record pods at level RequestResponse to be sure", shown(k.Name), nounOf(own.ObjectKey), why)
	}
	return own, nil
}

// named looks for the pod's creation among those whose event has no name, by the
// answer's body.
func (t *tracer) named(k ObjectKey, placed audit.Time, found func(*audit.Event)) error {
	r := Range{To: t.first + 1}
	if placed != 0 { // a pod waits for its node for seconds, seldom for long
		r = Range{From: max(1, placed-audit.Time(hour)), To: placed + 1}
	}
	return t.search(`resource == "pods" && subresource == "" && api_group == "" && verb == "create" && name == "" && code < 400 && level == "RequestResponse" && namespace == `+Quote(k.Namespace),
		r, nameless, true, func(e *audit.Event) bool {
			if !strings.Contains(e.Raw, k.Name) {
				return false // cheaper than to read the body
			}
			meta, _ := readBodies(e).object["metadata"].(map[string]any)
			if meta["name"] != k.Name {
				return false
			}
			found(e)
			return true
		})
}

func (s *OriginStep) set(e *audit.Event) {
	s.Verb, s.User, s.As, s.Time, s.ID = strings.Clone(e.Verb), strings.Clone(e.User), strings.Clone(e.AsUser), e.Time, e.ID
}

// owner adds the step of an object above a pod and returns the one above it. One
// that has an owner was made by it; the one at the top is what people change.
func (t *tracer) owner(l link, until audit.Time) (link, error) {
	step := OriginStep{Object: l.ObjectKey, Guess: l.guess}
	var above link
	bodies := false
	err := t.search(objectFilter(l.ObjectKey)+` && verb in ["create", "update", "patch"] && code < 400`, Range{To: until}, podBodies, true, func(e *audit.Event) bool {
		if b := readBodies(e); b.object != nil {
			bodies = true
			if above = t.controllerOf(b.object); above.Name != "" {
				return true
			}
		}
		return false
	})
	if err != nil {
		return link{}, err
	}
	if above.Name == "" && !bodies {
		if above = guessAbove(l.ObjectKey); above.Name != "" {
			t.note("that %s belongs to %s is guessed from its name, for no body of it was recorded", nounOf(l.ObjectKey), nounOf(above.ObjectKey))
		}
	}
	text := objectFilter(l.ObjectKey) + ` && code < 400 && !(` + dryRunning() + `) && `
	find := func(which string) error {
		return t.search(text+which, Range{To: until}, 1, false, func(e *audit.Event) bool {
			step.set(e)
			return true
		})
	}
	const changes = `verb in ["create", "update", "patch"] && subresource in ["", "scale"] && `
	if above.Name != "" {
		err = find(`verb == "create" && subresource == ""`)
	} else if err = find(changes + people); err == nil && step.ID == 0 {
		// No person: then whoever it was, but for the controllers that keep books in it.
		err = find(changes + programs)
		if err == nil && step.ID != 0 {
			t.note("no person changed %s as far as the trail reaches; %s did", nounOf(l.ObjectKey), shown(step.User))
		}
	} else if err == nil {
		err = t.search(text+changes+programs, Range{From: step.Time + 1, To: until}, 1, false, func(e *audit.Event) bool {
			t.after = strings.Clone(e.User)
			return true
		})
	}
	if err != nil {
		return link{}, err
	}
	if step.ID == 0 {
		what := "change"
		if above.Name != "" {
			what = "creation"
		}
		if err := t.ends(what, l.ObjectKey); err != nil {
			return link{}, err
		}
	}
	t.o.Steps = append(t.o.Steps, step)
	return above, nil
}

// people is true of users that are neither service accounts nor Kubernetes' own parts.
const people = `!user.startsWith("system:serviceaccount:") && !user.startsWith("system:node:") && !user.startsWith("system:kube-") && user != "system:apiserver"`

// programs is true of users that are not the controllers that keep books in others' objects.
const programs = `!user.startsWith("system:serviceaccount:kube-system:") && user != "system:kube-controller-manager"`

// ends notes that the trail has nothing about an object.
func (t *tracer) ends(what string, k ObjectKey) error {
	b, err := t.g.src.Bounds(t.ctx)
	if err != nil {
		return err
	}
	first, w, err := t.g.firstDated(t.ctx, b)
	if err != nil {
		return err
	}
	t.warnings = joinWarnings(t.warnings, w)
	t.note("the trail has no %s of %s before that; it begins at %s", what, nounOf(k), first.Std().Format("2006-01-02 15:04 UTC"))
	return nil
}

// token tells who asked for the tokens that are bound to no pod, by the
// credential's ID, which the API server notes when it issues one.
func (t *tracer) token(r Range) error {
	credential := ""
	none, err := Parse("cluster == " + Quote(t.cluster) + ` && pod == ""`)
	if err != nil {
		return err
	}
	w, err := t.g.src.Search(t.ctx, SearchRequest{Filter: And(none, t.requests), Range: r, Limit: 1, NoRaw: true}, func(e *audit.Event) error {
		credential = strings.Clone(e.CredentialID)
		return nil
	})
	t.warnings = joinWarnings(t.warnings, w)
	if err != nil {
		return err
	}
	if credential == "" {
		t.note("the requests' token is bound to no pod and has no ID: one that does not expire, from a secret, or impersonation")
		return nil
	}
	until, ok := t.used[credential] // a token is asked for just before it is used first
	if !ok {
		until = t.last
	}
	k := ObjectKey{Cluster: t.cluster, Namespace: t.namespace, Resource: "serviceaccounts", Name: t.account}
	step := OriginStep{Object: k}
	err = t.search(objectFilter(k)+` && subresource == "token" && verb == "create" && code < 400`, Range{To: until + 1}, tokens, true, func(e *audit.Event) bool {
		var issued struct {
			Annotations map[string]string `json:"annotations"`
		}
		if json.Unmarshal([]byte(e.Raw), &issued) != nil || issued.Annotations["authentication.kubernetes.io/issued-credential-id"] != credential {
			return false
		}
		step.set(e)
		return true
	})
	if err != nil {
		return err
	}
	if step.ID == 0 {
		t.note("the newest token is bound to no pod, and the trail does not tell who asked for it")
		return nil
	}
	t.o.Steps = append(t.o.Steps, step)
	return nil
}

// controllerOf reads an object's owner, the controller before others.
func (t *tracer) controllerOf(object map[string]any) link {
	meta, _ := object["metadata"].(map[string]any)
	owners, _ := meta["ownerReferences"].([]any)
	var best link
	guessed := "" // what is guessed of it
	for _, o := range owners {
		m, _ := o.(map[string]any)
		kind, _ := m["kind"].(string)
		name, _ := m["name"].(string)
		version, _ := m["apiVersion"].(string)
		group, _, grouped := strings.Cut(version, "/")
		if !grouped {
			group = ""
		}
		if kind == "" || name == "" || kind == "Node" {
			continue
		}
		l := link{ObjectKey: ObjectKey{Cluster: t.cluster, Namespace: t.namespace, APIGroup: group, Resource: pluralOf(strings.ToLower(kind)), Name: name}}
		// The plural of a custom resource is not in its objects; most are regular.
		note := "that objects of kind " + shown(kind) + " are " + shown(l.Resource) + " is guessed, for no event says so"
		if k := findResource(kind, group, true); k != nil {
			l.Resource, note = k.plural, ""
		}
		if best.Name == "" || m["controller"] == true {
			best, guessed = l, note
		}
	}
	if guessed != "" {
		t.note("%s", guessed)
	}
	return best
}

// guessOwner reads a pod's owner from its name, as controllers make them. Where
// the name may mean several, the one that the trail knows is taken.
func (t *tracer) guessOwner(pod string) (link, error) {
	l := link{ObjectKey: ObjectKey{Cluster: t.cluster, Namespace: t.namespace, APIGroup: "apps"}, guess: true}
	base, last, ok := cutLast(pod)
	if !ok {
		return link{}, nil
	}
	if _, hash, ok := cutLast(base); ok && random(last, 5, 5) && random(hash, 8, 10) {
		l.Resource, l.Name = "replicasets", base
		return l, nil
	}
	which := ""
	if _, err := strconv.ParseUint(last, 10, 31); err == nil {
		which = `resource == "statefulsets"`
	} else if random(last, 5, 5) {
		which = `resource in ["daemonsets", "jobs", "replicasets"]`
	} else {
		return link{}, nil
	}
	err := t.search(which+` && api_group in ["apps", "batch"] && namespace == `+Quote(t.namespace)+" && name == "+Quote(base), Range{To: t.last + 1}, 1, false, func(e *audit.Event) bool {
		l.Resource, l.APIGroup, l.Name = strings.Clone(e.Resource), strings.Clone(e.APIGroup), base
		return true
	})
	if l.Name == "" {
		return link{}, err
	}
	return l, err
}

// guessAbove reads the owner of a pod's owner from its name.
func guessAbove(k ObjectKey) link {
	base, last, ok := cutLast(k.Name)
	if !ok {
		return link{}
	}
	above := link{ObjectKey: k, guess: true}
	above.Name = base
	switch k.Resource {
	case "replicasets":
		if above.Resource = "deployments"; random(last, 8, 10) {
			return above
		}
	case "jobs": // a cron job's end with the minute
		if _, err := strconv.ParseUint(last, 10, 63); err == nil && len(last) >= 8 {
			above.Resource = "cronjobs"
			return above
		}
	}
	return link{}
}

func cutLast(name string) (base, last string, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 {
		return "", "", false
	}
	return name[:i], name[i+1:], true
}

// random is whether s is like what Kubernetes makes up for names: its alphabet
// has no vowels and none of 0, 1 and 3 (k8s.io/apimachinery/pkg/util/rand).
func random(s string, least, most int) bool {
	return len(s) >= least && len(s) <= most && strings.Trim(s, "bcdfghjklmnpqrstvwxz2456789") == ""
}

// nounOf is "deployment web".
func nounOf(k ObjectKey) string {
	noun := Noun(k)
	if findResource(k.Resource, k.APIGroup, true) == nil {
		noun = shown(noun) // text of an event
	}
	return noun + " " + shown(k.Name)
}

// Noun is what one object of k's kind is called: "deployment".
func Noun(k ObjectKey) string {
	if r := findResource(k.Resource, k.APIGroup, true); r != nil {
		return spaced(r.singular)
	}
	return singularOf(k.Resource)
}

// sentence tells the whole in one line.
func (t *tracer) sentence() string {
	o := &t.o
	s := "1 request was made"
	if o.Count != 1 {
		s = fmt.Sprintf("%d requests were made", o.Count)
	}
	who := func(step OriginStep) string {
		if step.As != "" {
			return shown(step.User) + " as " + shown(step.As)
		}
		return shown(step.User)
	}
	if o.Pod == "" {
		s += " with a token that is bound to no pod"
		if len(o.Steps) > 0 {
			s += ", the newest asked for by " + who(o.Steps[0])
		}
		return s
	}
	s += " by pod " + shown(o.Pod)
	if o.Node != "" {
		s += " on node " + shown(o.Node)
	}
	if len(o.Steps) == 0 {
		return s
	}
	top := o.Steps[len(o.Steps)-1]
	if len(o.Steps) == 1 {
		if top.ID != 0 {
			s += ", created by " + who(top)
		}
		return s
	}
	guess := false
	for _, step := range o.Steps {
		guess = guess || step.Guess
	}
	if s += ", which came from "; guess {
		s = strings.TrimSuffix(s, "came from ") + "by its name came from "
	}
	s += nounOf(top.Object)
	switch {
	case top.ID == 0:
	case top.Verb == "create":
		s += ", created by " + who(top)
	case t.after != "":
		s += ", changed by " + who(top)
	default:
		s += ", last changed by " + who(top)
	}
	if t.after != "" {
		s += ", last changed by " + shown(t.after)
	}
	return s
}
