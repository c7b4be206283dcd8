package simulate

import (
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/policy"
)

// Options say what to simulate.
type Options struct {
	// Policy is the one to price; nil is "as it was recorded".
	Policy *policy.Policy
	// Baseline is what to compare it with; nil is what the log has.
	Baseline *policy.Policy
	// Suggest also measures what [Simulation.Suggest] needs, which takes longer.
	Suggest bool
	// Workers is how many goroutines [Simulation.Read] uses; 0 is 2.
	Workers int
}

// Simulation counts what a policy would have recorded.
type Simulation struct {
	opt    Options
	shards []*shard
	one    *shard // of Add
	log    ReadStats
	sum    *totals // once it is asked for
}

// New begins a simulation.
func New(o Options) *Simulation {
	if o.Workers <= 0 {
		o.Workers = 2
	}
	return &Simulation{opt: o}
}

// Add takes one event, with its line in Raw. It keeps nothing of e. Only one goroutine
// may call it; what Read reads counts beside it.
func (s *Simulation) Add(e *audit.Event) {
	if s.one == nil {
		s.one = s.shard()
	}
	if s.one.added%blockEvents == 0 {
		s.one.begin(int(s.one.added / blockEvents))
	}
	s.one.added++
	s.log.Bytes += int64(len(e.Raw)) + 1
	s.log.Events++
	s.one.add(e)
}

// blockEvents is how many events of Add are one block: about what Read has in one.
const blockEvents = 512

// stages are the indexes of stages in arrays.
const (
	received = iota
	started
	complete
	panicked
	stageCount
)

// stageNames are the stages in the order of the indexes; index i is policy.Stages(1) << i.
var stageNames = [stageCount]string{audit.StageRequestReceived, audit.StageResponseStarted, audit.StageResponseComplete, audit.StagePanic}

func stageOf(name string) int {
	switch name {
	case audit.StageRequestReceived:
		return received
	case audit.StageResponseStarted:
		return started
	case audit.StagePanic:
		return panicked
	}
	return complete
}

// decider is a policy in use; the nil policy takes everything as it was recorded.
type decider struct{ compiled *policy.Evaluator }

func newDecider(p *policy.Policy) decider {
	if p == nil {
		return decider{}
	}
	return decider{policy.Compile(p)}
}

func (d decider) decide(a *policy.Attributes, recorded policy.Level) policy.Decision {
	if d.compiled == nil {
		return policy.Decision{Level: recorded, Rule: -1}
	}
	return d.compiled.Decide(a)
}

// shard is what one goroutine counts.
type shard struct {
	now, was decider

	cells   table[cell]
	clients table[client]
	kinds   table[kind]
	span    spanOfTime
	added   int64
	key     []byte
	spans   []span
	sample  sample
	suggest bool
	// bodies with managedFields, and recorded bodies at all.
	managed, bodies int64
}

// Limits of the tables: an entry is below 1 KiB, but for what clients choose to call
// themselves, which is cut.
const (
	maxCells   = 32 << 10
	maxClients = 16 << 10
	maxKinds   = 2 << 10
	maxName    = 200
)

func (s *Simulation) shard() *shard {
	sh := newShard(newDecider(s.opt.Policy), newDecider(s.opt.Baseline))
	sh.suggest = s.opt.Suggest
	s.shards = append(s.shards, sh)
	return sh
}

func newShard(now, was decider) *shard {
	return &shard{
		now: now, was: was,
		cells:   table[cell]{rows: map[string]*cell{}, limit: maxCells, weight: (*cell).weight, fold: foldCell, merge: (*cell).merge},
		clients: table[client]{rows: map[string]*client{}, limit: maxClients, weight: (*client).weight, fold: foldClient, merge: (*client).merge},
		kinds:   table[kind]{rows: map[string]*kind{}, limit: maxKinds, weight: (*kind).weight, fold: foldKind, merge: (*kind).merge},
	}
}

// begin starts the next block of events.
func (s *shard) begin(block int) { s.sample.begin(block) }

func (s *shard) add(e *audit.Event) {
	a := policy.AttributesOf(e)
	level := levelOf(e.Level)
	now := s.now.decide(&a, level)
	was := now
	if s.now != s.was {
		was = s.was.decide(&a, level)
	}
	stage := stageOf(e.Stage)
	p := parts{line: e.Raw, level: level, levelAt: span{0, len(e.Level) + 2}, patch: e.Verb == "patch", managed: s.spans[:0]}
	if level >= policy.Request && stage != received || e.Truncated {
		p = partsOf(e, s.spans)
	}
	s.span.add(e.Time)

	c := s.cell(e, &a, level, now.Rule, was.Rule)
	c.seen[stage]++
	c.bytes[stage] += int64(len(e.Raw)) + 1
	failed := 0
	if e.Code >= 400 {
		failed = 1
	}
	s.measure(c, e, &p, &a, stage, failed)
	before := c.now.sum()
	c.now.count(&p, e, &a, now, stage, failed)
	if s.suggest {
		c.bodies.count(&p, now, stage)
	}
	c.was.count(&p, e, &a, was, stage, failed)
	c.lost.count(&p, e, &a, now, was, stage)

	s.client(e, c.now.sum()-before)
	if s.sample.open && len(s.sample.buf) < sampleBlock && now.Level != policy.None && now.OmitStages&(1<<stage) == 0 {
		if stage == received { // the short cut above knows no places
			p = partsOf(e, s.spans)
		}
		s.sample.buf = p.append(s.sample.buf, min(now.Level, level), now.OmitManagedFields)
	}
	if cap(p.managed) > cap(s.spans) {
		s.spans = p.managed
	}
}

// measure learns from an event that was recorded with bodies what others are like.
func (s *shard) measure(c *cell, e *audit.Event, p *parts, a *policy.Attributes, stage, failed int) {
	if e.Final {
		c.finals++
		c.metadata += p.size(policy.Metadata, false)
		if e.Code == 401 || e.Code == 403 {
			c.denied++
		}
	}
	if p.level < policy.Request || stage != complete || e.Truncated || a.NonResource {
		return
	}
	if p.request.size()+p.response.size() > 0 {
		s.bodies++
		if strings.Contains(e.Raw[min(p.request.from, p.response.from):], `"managedFields"`) {
			s.managed++
		}
	}
	k := s.kind(e, failed)
	if hasRequestBody(e.Verb, e.Subresource) {
		k.request.add(p.request.size())
	}
	if p.level == policy.RequestResponse && hasResponseBody(e.Verb, e.Subresource) {
		k.response.add(p.response.size())
	}
}

// side is what one policy makes of the events of a cell.
type side struct {
	kept  [stageCount]int64
	bytes [stageCount]int64
	// requests and responses count the bodies that it wants and the log does not have,
	// of requests that succeeded and that failed.
	requests, responses [2]int64
	// whole is the bytes of recorded objects that it wants with their managedFields.
	whole int64
}

func (s *side) sum() int64 { return s.bytes[0] + s.bytes[1] + s.bytes[2] + s.bytes[3] }

func (s *side) merge(o *side) {
	for i := range s.kept {
		s.kept[i] += o.kept[i]
		s.bytes[i] += o.bytes[i]
	}
	for i := range s.requests {
		s.requests[i] += o.requests[i]
		s.responses[i] += o.responses[i]
	}
	s.whole += o.whole
}

func (s *side) count(p *parts, e *audit.Event, a *policy.Attributes, d policy.Decision, stage, failed int) {
	if d.Level == policy.None || d.OmitStages&(1<<stage) != 0 {
		return
	}
	s.kept[stage]++
	s.bytes[stage] += p.size(min(d.Level, p.level), d.OmitManagedFields)
	if stage == received || stage == started {
		return
	}
	request, response := unknown(p, e, a, d.Level)
	if request {
		s.requests[failed]++
	}
	if response {
		s.responses[failed]++
	}
	if !d.OmitManagedFields && d.Level >= policy.Request {
		if !p.patch {
			s.whole += stored(p.line, p.request)
		}
		if d.Level == policy.RequestResponse {
			s.whole += stored(p.line, p.response)
		}
	}
}

// stored is the size of a body that is an object out of the store, or a list of such:
// those have managedFields unless somebody took them away.
func stored(line string, body span) int64 {
	if strings.Contains(line[body.from:body.to], `"creationTimestamp":"`) {
		return int64(body.size())
	}
	return 0
}

// recordedBodies are the bytes of bodies that a policy keeps of a cell, and of the
// managedFields in them.
type recordedBodies struct {
	request, response               int64
	requestManaged, responseManaged int64
}

func (r *recordedBodies) merge(o *recordedBodies) {
	r.request += o.request
	r.response += o.response
	r.requestManaged += o.requestManaged
	r.responseManaged += o.responseManaged
}

func (r *recordedBodies) count(p *parts, d policy.Decision, stage int) {
	if d.Level < policy.Request || d.OmitStages&(1<<stage) != 0 {
		return
	}
	p.look()
	var managed [2]int64
	for _, m := range p.managed {
		if within(m, p.request) {
			managed[0] += int64(m.size())
		} else {
			managed[1] += int64(m.size())
		}
	}
	kept := int64(1)
	if d.OmitManagedFields {
		kept = 0
	}
	r.request += int64(p.request.size()) - (1-kept)*managed[0]
	r.requestManaged += kept * managed[0]
	if d.Level == policy.RequestResponse {
		r.response += int64(p.response.size()) - (1-kept)*managed[1]
		r.responseManaged += kept * managed[1]
	}
}

// unknown is whether an event at that level might have bodies that this line, being
// recorded at a lower level or truncated, cannot have.
func unknown(p *parts, e *audit.Event, a *policy.Attributes, level policy.Level) (request, response bool) {
	if a.NonResource {
		return false, false
	}
	// One that was truncated at the level that it would have is as it would be.
	request = level >= policy.Request && hasRequestBody(e.Verb, e.Subresource) &&
		(p.level < policy.Request || e.Truncated && level < p.level)
	response = level == policy.RequestResponse && p.level < level && hasResponseBody(e.Verb, e.Subresource)
	return request, response
}

// Loss counts what one policy records and another does not.
type Loss struct {
	// Requests leave nothing at all any more; of them Writes change something, Denied
	// were refused with 401 or 403, and Secrets are for secrets or config maps.
	Requests int64 `json:"requests"`
	Writes   int64 `json:"writes"`
	Denied   int64 `json:"denied"`
	Secrets  int64 `json:"secrets"`
	// Outcomes are requests of which the last stage, with the status, is gone.
	Outcomes int64 `json:"outcomes"`
	// RequestBodies and ResponseBodies are those of requests that are still recorded.
	RequestBodies  int64 `json:"request_bodies"`
	ResponseBodies int64 `json:"response_bodies"`
	// Stages are the earlier events of requests that are still recorded.
	Stages int64 `json:"stages"`
}

func (l *Loss) merge(o *Loss) {
	l.Requests += o.Requests
	l.Writes += o.Writes
	l.Denied += o.Denied
	l.Secrets += o.Secrets
	l.Outcomes += o.Outcomes
	l.RequestBodies += o.RequestBodies
	l.ResponseBodies += o.ResponseBodies
	l.Stages += o.Stages
}

func (l *Loss) count(p *parts, e *audit.Event, a *policy.Attributes, now, was policy.Decision, stage int) {
	if was.Level == policy.None || was.OmitStages&(1<<stage) != 0 {
		return // nothing to lose
	}
	gone := now.Level == policy.None || now.OmitStages.Has(policy.AllStages)
	omitted := now.OmitStages&(1<<stage) != 0
	switch {
	case !e.Final:
		if omitted && !gone {
			l.Stages++
		}
	case gone, omitted && stage == started: // of a 401 there is no other stage
		l.Requests++
		if changes(a) {
			l.Writes++
		}
		if e.Code == 401 || e.Code == 403 {
			l.Denied++
		}
		if sensitive(a) {
			l.Secrets++
		}
	case omitted:
		l.Outcomes++
	default:
		request, response := unknown(p, e, a, was.Level)
		request = request || p.request.size() > 0
		response = response || p.response.size() > 0
		if was.Level >= policy.Request && now.Level < policy.Request && request {
			l.RequestBodies++
		}
		if was.Level == policy.RequestResponse && now.Level < policy.RequestResponse && response {
			l.ResponseBodies++
		}
	}
}

// changes is whether a request may change something, or is a way into a pod or node.
func changes(a *policy.Attributes) bool {
	switch a.Verb {
	case "get", "list", "watch", "head", "options", "":
		return !a.NonResource && connects(a.Subresource)
	}
	return true
}

// sensitive is whether a request is for secrets, or for what people keep them in as well.
func sensitive(a *policy.Attributes) bool {
	return !a.NonResource && a.APIGroup == "" && (a.Resource == "secrets" || a.Resource == "configmaps")
}

// spanOfTime is when there were events.
type spanOfTime struct {
	first, last audit.Time
	hours       map[int64]struct{}
	hour        int64
}

// maxHours is ten years, more than a log has and few enough to remember.
const maxHours = 10 * 366 * 24

const hour = audit.Time(3600e6)

func (s *spanOfTime) add(t audit.Time) {
	if t == 0 {
		return
	}
	if s.first == 0 || t < s.first {
		s.first = t
	}
	s.last = max(s.last, t)
	if h := int64(t / hour); h != s.hour || s.hours == nil {
		s.hour = h
		if s.hours == nil {
			s.hours = map[int64]struct{}{}
		}
		if len(s.hours) < maxHours {
			s.hours[h] = struct{}{}
		}
	}
}

func (s *spanOfTime) merge(o *spanOfTime) {
	if o.first != 0 && (s.first == 0 || o.first < s.first) {
		s.first = o.first
	}
	s.last = max(s.last, o.last)
	if s.hours == nil {
		s.hours = map[int64]struct{}{}
	}
	for h := range o.hours {
		if len(s.hours) < maxHours {
			s.hours[h] = struct{}{}
		}
	}
}

// quiet is how many whole hours between first and last have no event.
func (s *spanOfTime) quiet() int64 {
	if s.first == 0 {
		return 0
	}
	return max(0, int64(s.last/hour)-int64(s.first/hour)+1-int64(len(s.hours)))
}

// days is the time between the first and the last event. Hours without any stay in it:
// a policy that records little has such.
func (s *spanOfTime) days() float64 { return float64(s.last-s.first) / float64(24*hour) }

// short cuts what a client chose, which has no bounds, and copies it.
func short(s string) string {
	if len(s) > maxName {
		s = strings.ToValidUTF8(s[:maxName], "") + "…"
	}
	return strings.Clone(s)
}

func groupsOf(s string) []string {
	if s == "" {
		return nil
	}
	return slices.Collect(strings.SplitSeq(s, "\x00"))
}
