package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// The limits of one request. The OpenAPI document repeats them.
const (
	defaultLimit = 100     // events in an answer that did not ask for a number
	maxJSONLimit = 10_000  // events in one JSON document; streams have no limit
	maxSQLBody   = 1 << 20 // bytes
	maxNameBytes = 1024    // of an import's name or cluster
)

// params reads a query string. The first thing that is wrong is kept, so that a
// handler asks err once.
type params struct {
	values url.Values
	now    time.Time
	first  error
}

// newParams refuses parameters that are not known, so that a misspelt filter
// never means "everything".
func newParams(r *http.Request, known ...string) *params {
	p := &params{now: time.Now()}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		p.fail("the query string is not well-formed: " + err.Error())
		return p
	}
	p.values = values
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch {
		case !slices.Contains(known, name):
			p.fail(fmt.Sprintf("no parameter %.40q; this path takes %s", name, strings.Join(known, ", ")))
		case slices.ContainsFunc(values[name], func(v string) bool { return !utf8.ValidString(v) }):
			p.fail(fmt.Sprintf("parameter %s is not UTF-8", name))
		case len(values[name]) > 1 && !slices.Contains(repeatable(), name):
			p.fail(fmt.Sprintf("parameter %s is given %d times", name, len(values[name])))
		}
	}
	return p
}

// repeatable are the parameters that may be given several times.
func repeatable() []string { return []string{"by", "columns", "include", "exclude", "object"} }

func (p *params) fail(message string) {
	if p.first == nil {
		p.first = &query.UsageError{Message: message}
	}
}

func (p *params) err() error { return p.first }

func (p *params) text(name string) string { return p.values.Get(name) }

func (p *params) required(name string) string {
	v := p.values.Get(name)
	if v == "" {
		p.fail("parameter " + name + " is missing")
	}
	return v
}

func (p *params) flag(name string, otherwise bool) bool {
	if !p.values.Has(name) {
		return otherwise
	}
	v := p.values.Get(name)
	if v == "" {
		return true
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		p.fail(fmt.Sprintf("parameter %s is %.40q, not true or false", name, v))
	}
	return b
}

func (p *params) number(name string, otherwise, least, most int64) int64 {
	v := p.values.Get(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < least || n > most {
		p.fail(fmt.Sprintf("parameter %s is %.40q, not a number from %d to %d", name, v, least, most))
		return otherwise
	}
	return n
}

// scopeParams is what every question takes.
var scopeParams = []string{"filter", "from", "to", "since", "until"}

// known is scopeParams and more.
func known(more ...string) []string { return append(slices.Clone(scopeParams), more...) }

// scope reads the filter and the range: from and to in microseconds since 1970,
// or since and until as people write them.
func (p *params) scope() query.Scope {
	s := query.Scope{Filter: p.text("filter")}
	const most = 1 << 53
	s.Range.From = audit.Time(p.number("from", 0, 0, most))
	s.Range.To = audit.Time(p.number("to", 0, 0, most))
	for _, pair := range [][2]string{{"from", "since"}, {"to", "until"}} {
		if p.text(pair[0]) != "" && p.text(pair[1]) != "" {
			p.fail("parameters " + pair[0] + " and " + pair[1] + " say the same thing; give one")
		}
	}
	r, err := query.NewRange(p.text("since"), p.text("until"), query.AskedAt(p.text("cursor"), p.now), time.UTC)
	if err != nil && p.first == nil {
		p.first = err
	}
	if r.From != 0 {
		s.Range.From = r.From
	}
	if r.To != 0 {
		s.Range.To = r.To
	}
	return s
}

// scopeQuery is the reverse of scope.
func scopeQuery(s query.Scope) url.Values {
	v := url.Values{}
	setText(v, "filter", s.Filter)
	setNumber(v, "from", int64(s.Range.From))
	setNumber(v, "to", int64(s.Range.To))
	return v
}

func setText(v url.Values, name, text string) {
	if text != "" {
		v.Set(name, text)
	}
}

func setNumber(v url.Values, name string, n int64) {
	if n != 0 {
		v.Set(name, strconv.FormatInt(n, 10))
	}
}

func setFlag(v url.Values, name string, is bool) {
	if is {
		v.Set(name, "true")
	}
}
