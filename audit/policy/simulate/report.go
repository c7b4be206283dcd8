package simulate

import (
	"cmp"
	"slices"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/policy"
)

// Report is what a policy would have recorded. Numbers are of the whole log; a day is
// what the log has on average.
type Report struct {
	Log Log `json:"log"`
	// Recorded is what the log has, Policy what the policy would have recorded, and
	// Baseline what the baseline would have, nil if there is none.
	Recorded Amount  `json:"recorded"`
	Policy   Amount  `json:"policy"`
	Baseline *Amount `json:"baseline,omitempty"`
	// LeftOut counts the events of the log that the policy would not have recorded.
	LeftOut LeftOut `json:"left_out"`

	Levels  []LevelRow  `json:"levels"`
	Stages  []StageRow  `json:"stages"`
	Rules   []RuleRow   `json:"rules"`   // the ten that cost most
	Clients []ClientRow `json:"clients"` // the ten that cost most
	// More are how many rules and clients there are beside those.
	MoreRules   int `json:"more_rules"`
	MoreClients int `json:"more_clients"`

	Lost Lost `json:"lost"`
	// Compression is how many times smaller gzip makes what the policy would have
	// recorded, measured on CompressionOf bytes of it; 0 if there was none to measure.
	Compression   float64 `json:"compression"`
	CompressionOf int64   `json:"compression_of_bytes"`
	// Notes say what is estimated and from what, what cannot be known, and what is
	// only about right.
	Notes []Note `json:"notes"`
}

// Note is one sentence about how far to trust the numbers. Name says which one.
type Note struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Log is what was read.
type Log struct {
	ReadStats
	First audit.Time `json:"first,omitzero"`
	Last  audit.Time `json:"last,omitzero"`
	Days  float64    `json:"days"` // between them
	// QuietHours are hours in between without any event: of some the log may be missing.
	QuietHours int64 `json:"quiet_hours,omitempty"`
}

// Amount is how much. Events and Bytes are exact; what is estimated comes on top.
type Amount struct {
	Events int64 `json:"events"`
	Bytes  int64 `json:"bytes"`
	// MoreEvents and MoreBytes are what the log cannot tell: bodies that were not
	// recorded, stages that were left out.
	MoreEvents Range `json:"more_events,omitzero"`
	MoreBytes  Range `json:"more_bytes,omitzero"`
	// A day has both. They are zero if the log spans no time.
	EventsPerDay Range `json:"events_per_day,omitzero"`
	BytesPerDay  Range `json:"bytes_per_day,omitzero"`
}

func (a *Amount) plus(o Amount) {
	a.Events += o.Events
	a.Bytes += o.Bytes
	a.MoreEvents = a.MoreEvents.plus(o.MoreEvents)
	a.MoreBytes = a.MoreBytes.plus(o.MoreBytes)
}

// Total is the bytes with what is estimated.
func (a *Amount) Total() Range { return exactly(a.Bytes).plus(a.MoreBytes) }

func (a *Amount) perDay(days float64) {
	if days > 0 {
		a.EventsPerDay = exactly(a.Events).plus(a.MoreEvents).times(1 / days).round()
		a.BytesPerDay = a.Total().times(1 / days).round()
	}
	a.MoreEvents, a.MoreBytes = a.MoreEvents.round(), a.MoreBytes.round()
}

// LeftOut counts events, and their bytes in the log.
type LeftOut struct {
	Events int64 `json:"events"`
	Bytes  int64 `json:"bytes"`
	// ByStage are those of requests that are recorded at another stage.
	ByStage int64 `json:"by_stage"`
}

// LevelRow is what is recorded at a level.
type LevelRow struct {
	Level policy.Level `json:"level"`
	Amount
}

// StageRow is what is recorded at a stage.
type StageRow struct {
	Stage string `json:"stage"`
	Amount
}

// RuleRow is what a rule makes to be recorded.
type RuleRow struct {
	Rule  int          `json:"rule"` // from 1; 0 is no rule: as it was recorded
	Line  int          `json:"line,omitempty"`
	Level policy.Level `json:"level"`
	Amount
}

// ClientRow is what one user makes to be recorded.
type ClientRow struct {
	User string `json:"user"` // "" was not authenticated
	// Agent is the user's program that has most bytes in the log, Agents how many
	// programs there are, at most eight.
	Agent  string `json:"agent"`
	Agents int    `json:"agents"`
	Amount
}

// Lost is what the baseline, or the log, has and the policy would not have.
type Lost struct {
	// Baseline is whether it is against the baseline, not the log.
	Baseline bool `json:"against_baseline"`
	Loss
	ByUser     []LossRow `json:"by_user"`
	ByVerb     []LossRow `json:"by_verb"`
	ByResource []LossRow `json:"by_resource"`
}

// LossRow is the loss of one user, verb or resource.
type LossRow struct {
	Name string `json:"name"`
	Loss
}

// topRows is how many rows a list of the costliest has.
const topRows = 10

// totals is all shards as one, and what the report is made of.
type totals struct {
	*shard
	seen    [stageCount]int64 // events in the log
	sources [fromTypical + 1]int64
	stages  [stageCount]int64 // missing events, estimated
	whole   int64             // bytes of bodies that may have had managedFields
	verbs   map[string]*kind
}

// totals adds up. Nothing may be added afterwards.
func (s *Simulation) totals() *totals {
	if s.sum != nil {
		return s.sum
	}
	t := &totals{shard: newShard(newDecider(s.opt.Policy), newDecider(s.opt.Baseline))}
	for _, sh := range s.shards {
		sh.sample.close()
		t.cells.take(&sh.cells)
		t.clients.take(&sh.clients)
		t.kinds.take(&sh.kinds)
		t.span.merge(&sh.span)
		t.sample.from += sh.sample.from
		t.sample.to += sh.sample.to
		t.managed += sh.managed
		t.bodies += sh.bodies
	}
	for _, c := range t.cells.rows {
		for i, n := range c.seen {
			t.seen[i] += n
		}
	}
	s.shards, s.sum = nil, t
	return t
}

// Report adds up. It is asked for once, after all events.
func (s *Simulation) Report() *Report {
	t := s.totals()
	r := &Report{
		Log: Log{ReadStats: s.log, First: t.span.first, Last: t.span.last, Days: t.span.days(), QuietHours: t.span.quiet()},
	}
	if t.sample.to > 0 {
		r.Compression, r.CompressionOf = float64(t.sample.from)/float64(t.sample.to), t.sample.from
	}
	s.fill(r, t)
	for _, a := range r.amounts() {
		a.perDay(r.Log.Days)
	}
	r.Notes = t.notes(r, s.opt)
	return r
}

func (r *Report) amounts() []*Amount {
	all := []*Amount{&r.Recorded, &r.Policy}
	if r.Baseline != nil {
		all = append(all, r.Baseline)
	}
	for i := range r.Levels {
		all = append(all, &r.Levels[i].Amount)
	}
	for i := range r.Stages {
		all = append(all, &r.Stages[i].Amount)
	}
	for i := range r.Rules {
		all = append(all, &r.Rules[i].Amount)
	}
	for i := range r.Clients {
		all = append(all, &r.Clients[i].Amount)
	}
	return all
}

// decision is what a policy, nil for "as recorded", says for the requests of a cell.
func decision(p *policy.Policy, rule int32, recorded policy.Level) policy.Decision {
	switch {
	case p == nil:
		return policy.Decision{Level: recorded, Rule: -1}
	case rule < 0:
		return policy.Decision{Level: policy.None, OmitStages: p.OmitStages, OmitManagedFields: p.OmitManagedFields, Rule: -1}
	}
	r := &p.Rules[rule]
	d := policy.Decision{Level: r.Level, OmitStages: p.OmitStages | r.OmitStages, OmitManagedFields: p.OmitManagedFields, Rule: int(rule)}
	if r.OmitManagedFields != nil {
		d.OmitManagedFields = *r.OmitManagedFields
	}
	return d
}

func (s *Simulation) fill(r *Report, t *totals) {
	var levels [policy.RequestResponse + 1]Amount
	var stages [stageCount]Amount
	rules := map[int32]*RuleRow{}
	more := map[string]Range{} // of clients
	moreEvents := map[string]Range{}
	users, verbs, resources := lossTable{}, lossTable{}, lossTable{}
	for _, key := range sortedKeys(t.cells.rows) {
		c := t.cells.rows[key]
		d := decision(s.opt.Policy, c.rule, c.level)
		var whole Amount
		for i, a := range t.estimate(c, &c.now, d, true) {
			stages[i].plus(a)
			whole.plus(a)
		}
		r.Policy.plus(whole)
		levels[d.Level].plus(whole)
		row := rules[c.rule]
		if row == nil {
			row = &RuleRow{Rule: int(c.rule) + 1, Level: d.Level}
			if c.rule >= 0 && s.opt.Policy != nil {
				row.Line = s.opt.Policy.Rules[c.rule].Line
			}
			rules[c.rule] = row
		}
		row.plus(whole)
		if c.folded == 0 && (whole.MoreBytes.High > 0 || whole.MoreEvents.High > 0) {
			more[c.user] = more[c.user].plus(whole.MoreBytes)
			moreEvents[c.user] = moreEvents[c.user].plus(whole.MoreEvents)
		}
		if s.opt.Baseline != nil {
			if r.Baseline == nil {
				r.Baseline = &Amount{}
			}
			for _, a := range t.estimate(c, &c.was, decision(s.opt.Baseline, c.oldRule, c.level), false) {
				r.Baseline.plus(a)
			}
		}
		for i, n := range c.seen {
			r.Recorded.Events += n
			r.Recorded.Bytes += c.bytes[i]
			r.LeftOut.Events += n - c.now.kept[i]
			if n > c.now.kept[i] {
				r.LeftOut.Bytes += c.bytes[i] * (n - c.now.kept[i]) / n // all or none
				if d.Level != policy.None {
					r.LeftOut.ByStage += n - c.now.kept[i]
				}
			}
		}
		r.Lost.merge(&c.lost)
		users.add(c.userName(), &c.lost)
		verbs.add(c.verbName(), &c.lost)
		resources.add(c.resourceName(), &c.lost)
	}
	for l := policy.Metadata; l <= policy.RequestResponse; l++ {
		r.Levels = append(r.Levels, LevelRow{l, levels[l]})
	}
	for i, a := range stages {
		r.Stages = append(r.Stages, StageRow{stageNames[i], a})
	}
	r.Lost.Baseline = s.opt.Baseline != nil
	r.Lost.ByUser, r.Lost.ByVerb, r.Lost.ByResource = users.top(), verbs.top(), resources.top()

	for _, row := range rules {
		if row.Bytes > 0 || row.MoreBytes.High > 0 {
			r.Rules = append(r.Rules, *row)
		}
	}
	slices.SortFunc(r.Rules, func(a, b RuleRow) int {
		return cmp.Or(cmp.Compare(b.Amount.Total().Middle, a.Amount.Total().Middle), a.Rule-b.Rule)
	})
	if len(r.Rules) > topRows {
		r.Rules, r.MoreRules = r.Rules[:topRows], len(r.Rules)-topRows
	}
	for _, c := range t.clients.rows {
		row := ClientRow{User: c.user, Agents: len(c.agents), Amount: Amount{
			Events: c.events, Bytes: c.bytes, MoreBytes: more[c.user], MoreEvents: moreEvents[c.user],
		}}
		best := int64(-1)
		for _, a := range c.agents {
			if a.bytes > best || a.bytes == best && a.name < row.Agent {
				row.Agent, best = a.name, a.bytes
			}
		}
		if row.Bytes > 0 || row.MoreBytes.High > 0 {
			r.Clients = append(r.Clients, row)
		}
	}
	slices.SortFunc(r.Clients, func(a, b ClientRow) int {
		return cmp.Or(cmp.Compare(b.Amount.Total().Middle, a.Amount.Total().Middle), cmp.Compare(a.User, b.User))
	})
	if len(r.Clients) > topRows {
		r.Clients, r.MoreClients = r.Clients[:topRows], len(r.Clients)-topRows
	}
}

func sortedKeys[R any](m map[string]*R) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// lossTable is the loss by one thing.
type lossTable map[string]*Loss

func (t lossTable) add(name string, l *Loss) {
	if *l == (Loss{}) {
		return
	}
	if t[name] == nil {
		t[name] = &Loss{}
	}
	t[name].merge(l)
}

func (t lossTable) top() []LossRow {
	rows := []LossRow{}
	for name, l := range t {
		rows = append(rows, LossRow{name, *l})
	}
	slices.SortFunc(rows, func(a, b LossRow) int {
		return cmp.Or(
			cmp.Compare(b.Requests+b.Outcomes, a.Requests+a.Outcomes),
			cmp.Compare(b.RequestBodies+b.ResponseBodies, a.RequestBodies+a.ResponseBodies),
			cmp.Compare(b.Stages, a.Stages), cmp.Compare(a.Name, b.Name))
	})
	return rows[:min(len(rows), topRows)]
}
