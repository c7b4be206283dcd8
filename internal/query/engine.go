package query

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ktrail/ktrail/audit"
)

// The limits of questions. Beyond them is a [*UsageError].
const (
	maxBuckets     = 2000
	defaultBuckets = 60
	maxRows        = 10_000
	defaultTop     = 10
	maxBy          = 8
	defaultChanges = 50
	maxChanges     = 1000
	defaultActor   = 20
	askAtOnce      = 4 // primitive questions that one question asks side by side
)

// Engine answers [Questions] from a [Source]. It keeps no state and may be used
// from many goroutines.
type Engine struct{ src Source }

var _ Questions = (*Engine)(nil)

// NewEngine returns an Engine over src.
func NewEngine(src Source) *Engine { return &Engine{src: src} }

// scoped checks a scope and parses its filter, with final added where it belongs.
func scoped(s Scope) (*Filter, error) { return scopedAt(s, time.Now()) }

// scopedAt is scoped with what now means in the filter.
func scopedAt(s Scope, now time.Time) (*Filter, error) {
	f, err := parsedScope(s, now)
	if err != nil {
		return nil, err
	}
	return WithFinal(f), nil
}

// parsedScope is scopedAt without final.
func parsedScope(s Scope, now time.Time) (*Filter, error) {
	if err := s.Range.validate(); err != nil {
		return nil, err
	}
	return ParseAt(s.Filter, now)
}

// limit checks a number of rows: 0 is standard, most the largest.
func limit(n, standard, most int) (int, error) {
	switch {
	case n == 0:
		return standard, nil
	case n < 0 || n > most:
		return 0, usagef("limit %d is not between 1 and %d", n, most)
	}
	return n, nil
}

// Search implements [Questions]. Next is set if there is at least one event more
// than Limit; the events of all pages together are those of one search.
func (g *Engine) Search(ctx context.Context, q SearchQuestion, yield func(*audit.Event) error) (SearchAnswer, error) {
	after, asked, err := parseCursor(q.Cursor, q.Ascending)
	if err != nil {
		return SearchAnswer{}, err
	}
	f, err := scopedAt(q.Scope, asked.Std())
	if err != nil {
		return SearchAnswer{}, err
	}
	if q.Limit < 0 {
		return SearchAnswer{}, usagef("limit %d is negative", q.Limit)
	}
	r := SearchRequest{Filter: f, Range: q.Range, Ascending: q.Ascending, After: after, NoRaw: q.NoRaw}
	if q.Limit > 0 {
		r.Limit = q.Limit + 1 // one more tells whether there is a next page
	}
	answer := SearchAnswer{Filter: f.String()}
	var last Position
	n := 0
	answer.Warnings, err = g.src.Search(ctx, r, func(e *audit.Event) error {
		if q.Limit > 0 && n == q.Limit {
			answer.Next = formatCursor(last, asked, q.Ascending)
			return nil
		}
		n++
		last = Position{Time: e.Time, ID: e.ID}
		return yield(e)
	})
	return answer, err
}

// Follow implements [Questions]: events above AfterID, or those committed from
// now on, in the order of commits, until ctx is done. An upper end of the range
// is ignored, for what comes cannot be known.
func (g *Engine) Follow(ctx context.Context, q SearchQuestion, yield func(*audit.Event) error) error {
	f, err := scoped(q.Scope)
	if err != nil {
		return err
	}
	after := q.AfterID
	switch {
	case after == FollowAll:
		after = 0
	case after < 0:
		return usagef("after_id %d is negative", after)
	case after == 0:
		b, err := g.src.Bounds(ctx)
		if err != nil {
			return err
		}
		after = b.LastID
	}
	return g.src.Follow(ctx, FollowRequest{Filter: f, AfterID: after}, func(e *audit.Event) error {
		if e.Time < q.Range.From {
			return nil
		}
		if q.NoRaw {
			e.Raw = ""
		}
		return yield(e)
	})
}

// Top implements [Questions].
func (g *Engine) Top(ctx context.Context, q TopQuestion) (TopAnswer, error) {
	f, err := scoped(q.Scope)
	if err != nil {
		return TopAnswer{}, err
	}
	if len(q.By) == 0 || len(q.By) > maxBy {
		return TopAnswer{}, usagef("top needs 1 to %d columns to count by, such as user or verb", maxBy)
	}
	for i, name := range q.By {
		c, err := LookupColumn(name)
		if err != nil {
			return TopAnswer{}, err
		}
		if !c.Filterable {
			return TopAnswer{}, usagef("%s cannot be counted by", name)
		}
		for _, before := range q.By[:i] {
			if before == name {
				return TopAnswer{}, usagef("column %s is given twice", name)
			}
		}
	}
	n, err := limit(q.Limit, defaultTop, maxRows)
	if err != nil {
		return TopAnswer{}, err
	}
	var rows, total []GroupRow
	warnings, err := g.groups(ctx,
		groupTask{GroupRequest{Filter: f, Range: q.Range, By: q.By, Limit: n, Writes: q.Writes, WritesFirst: q.WritesFirst}, &rows},
		groupTask{GroupRequest{Filter: f, Range: q.Range, CountOnly: true}, &total})
	if err != nil {
		return TopAnswer{}, err
	}
	answer := TopAnswer{Filter: f.String(), By: q.By, Rows: notNil(rows), Warnings: warnings}
	if len(total) > 0 {
		answer.Total = total[0].Count
	}
	return answer, nil
}

// Actor implements [Questions].
func (g *Engine) Actor(ctx context.Context, q ActorQuestion) (ActorAnswer, error) {
	if q.User == "" {
		return ActorAnswer{}, usagef("name a user, such as alice@example.com")
	}
	scope, err := scoped(q.Scope)
	if err != nil {
		return ActorAnswer{}, err
	}
	n, err := limit(q.Limit, defaultActor, maxRows)
	if err != nil {
		return ActorAnswer{}, err
	}
	var filters [5]*Filter
	for i, text := range []string{"user == " + Quote(q.User), "as_user == " + Quote(q.User), `credential_id != ""`, "code >= 400", `as_user != ""`} {
		if filters[i], err = Parse(text); err != nil {
			return ActorAnswer{}, err
		}
	}
	by, of := And(filters[0], scope), And(filters[1], scope)
	a := ActorAnswer{Filter: by.String(), User: q.User}
	ask := func(f, having *Filter, rows *[]GroupRow, columns ...string) groupTask {
		return groupTask{GroupRequest{Filter: f, Having: having, Range: q.Range, By: columns, Limit: n}, rows}
	}
	var total []GroupRow
	a.Warnings, err = g.groups(ctx,
		ask(by, nil, &total),
		ask(by, nil, &a.Addresses, "source_ips"),
		ask(by, nil, &a.Agents, "agent"),
		ask(by, filters[2], &a.Credentials, "credential_id"),
		ask(by, nil, &a.Verbs, "api_group", "resource", "subresource", "verb"),
		ask(by, filters[3], &a.Failures, "code", "reason", "verb", "resource"),
		ask(by, filters[4], &a.ActedAs, "as_user"),
		ask(of, nil, &a.ImpersonatedBy, "user"))
	if err != nil {
		return ActorAnswer{}, err
	}
	if len(total) > 0 {
		t := total[0]
		a.Requests, a.Failed, a.First, a.Last = t.Count, t.Failed, t.First, t.Last
	}
	for _, rows := range []*[]GroupRow{&a.Addresses, &a.Agents, &a.Credentials, &a.Verbs, &a.Failures, &a.ActedAs, &a.ImpersonatedBy} {
		*rows = notNil(*rows)
	}
	return a, nil
}

// notNil makes an empty list encode as [].
func notNil(rows []GroupRow) []GroupRow {
	if rows == nil {
		return []GroupRow{}
	}
	return rows
}

type groupTask struct {
	request GroupRequest
	rows    *[]GroupRow
}

// groups asks a few Groups side by side, those over the same events at once. The
// first error ends them all. A warning that several give is told once.
func (g *Engine) groups(ctx context.Context, tasks ...groupTask) (Warnings, error) {
	batches := batched(tasks)
	warnings := make([]Warnings, len(batches))
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(askAtOnce)
	for i, batch := range batches {
		work.Go(func() (err error) {
			if len(batch) == 1 {
				*batch[0].rows, warnings[i], err = g.src.Group(ctx, batch[0].request)
				return err
			}
			requests := make([]GroupRequest, len(batch))
			for k, t := range batch {
				requests[k] = t.request
			}
			rows, w, err := g.src.Groups(ctx, requests)
			for k := range rows {
				*batch[k].rows = rows[k]
			}
			warnings[i] = w
			return err
		})
	}
	err := work.Wait()
	return joinWarnings(warnings...), err
}

// batched puts tasks over the same events together.
func batched(tasks []groupTask) [][]groupTask {
	var out [][]groupTask
	at := map[string]int{}
	for _, t := range tasks {
		over := fmt.Sprint(t.request.Filter.String(), "\x00", t.request.Range.From, t.request.Range.To)
		i, ok := at[over]
		if !ok {
			i = len(out)
			at[over] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], t)
	}
	return out
}

func joinWarnings(all ...Warnings) Warnings {
	var out Warnings
	seen := map[Warning]bool{}
	for _, ws := range all {
		for _, w := range ws {
			if !seen[w] {
				seen[w] = true
				out = append(out, w)
			}
		}
	}
	return out
}

// SQL implements [Questions].
func (g *Engine) SQL(ctx context.Context, sql string, yield func(SQLRow) error) (Warnings, error) {
	return g.src.SQL(ctx, sql, yield)
}
