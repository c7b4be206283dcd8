package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/ktrail/ktrail/internal/query"
)

// maxDepth is how many levels of the tree of objects a question may fix.
const maxDepth = 3

func (s *server) getFacets(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r, known("columns", "include", "exclude", "contains", "limit")...)
	q := query.FacetsQuestion{
		Scope: p.scope(), Columns: p.list("columns"), Conditions: p.conditions(),
		Contains: p.text("contains"), Limit: int(p.number("limit", 0, 0, maxJSONLimit)),
	}
	if err := p.err(); err != nil {
		return err
	}
	ctx, _, stop := s.limit(r.Context())
	defer stop()
	a, err := s.Questions.Facets(ctx, q)
	if err != nil {
		return limited(ctx, err)
	}
	return answer(w, a)
}

func (s *server) getObjects(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r, known(append(underParams(), "contains", "limit")...)...)
	q := query.ObjectsQuestion{Scope: p.scope(), Contains: p.text("contains"), Limit: int(p.number("limit", 0, 0, maxJSONLimit))}
	q.Under, q.Depth = p.under()
	if err := p.err(); err != nil {
		return err
	}
	ctx, _, stop := s.limit(r.Context())
	defer stop()
	a, err := s.Questions.Objects(ctx, q)
	if err != nil {
		return limited(ctx, err)
	}
	return answer(w, a)
}

func (s *server) getLanes(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r, known(append(underParams(), "object", "bins", "limit", "cursor")...)...)
	q := query.LanesQuestion{
		Scope: p.scope(), Objects: p.objects(), Bins: int(p.number("bins", 0, 0, maxJSONLimit)),
		Limit: int(p.number("limit", 0, 0, maxJSONLimit)), Cursor: p.text("cursor"),
	}
	q.Under, q.Depth = p.under()
	if err := p.err(); err != nil {
		return err
	}
	ctx, _, stop := s.limit(r.Context())
	defer stop()
	a, err := s.Questions.Lanes(ctx, q)
	if err != nil {
		return limited(ctx, err)
	}
	return answer(w, a)
}

// list is a parameter that may be repeated, its values separated by commas.
func (p *params) list(name string) []string {
	var out []string
	for _, v := range p.values[name] {
		out = append(out, strings.Split(v, ",")...)
	}
	return out
}

// conditions reads include=COLUMN=VALUE and exclude=COLUMN=VALUE, any number of each.
func (p *params) conditions() []query.FacetCondition {
	out, err := conditions(p.values)
	if err != nil {
		p.fail(err.Error())
	}
	return out
}

// conditions reads what was chosen in facets, a condition for each column.
func conditions(values url.Values) ([]query.FacetCondition, error) {
	var out []query.FacetCondition
	for _, name := range []string{"include", "exclude"} {
		for _, pair := range values[name] {
			column, value, ok := strings.Cut(pair, "=")
			if !ok {
				return nil, &query.UsageError{Message: fmt.Sprintf("parameter %s is %.80q; write column=value, such as user=alice", name, pair)}
			}
			at := -1
			for i := range out {
				if out[i].Column == column {
					at = i
				}
			}
			if at < 0 {
				at = len(out)
				out = append(out, query.FacetCondition{Column: column})
			}
			if c := &out[at]; name == "include" {
				c.Include = append(c.Include, value)
			} else {
				c.Exclude = append(c.Exclude, value)
			}
		}
	}
	return out, nil
}

func setConditions(v url.Values, conditions []query.FacetCondition) {
	for _, c := range conditions {
		for _, value := range c.Include {
			v.Add("include", c.Column+"="+value)
		}
		for _, value := range c.Exclude {
			v.Add("exclude", c.Column+"="+value)
		}
	}
}

// underParams are the parameters that name a node of the tree of objects.
func underParams() []string {
	return []string{"depth", "cluster", "namespace", "api_group", "resource"}
}

func (p *params) under() (query.ObjectKey, int) {
	k := query.ObjectKey{Cluster: p.text("cluster"), Namespace: p.text("namespace"), APIGroup: p.text("api_group"), Resource: p.text("resource")}
	depth := int(p.number("depth", 0, 0, maxDepth))
	for level, names := range [][]string{{"cluster"}, {"namespace"}, {"api_group", "resource"}} {
		for _, name := range names {
			if level >= depth && p.text(name) != "" {
				p.fail(fmt.Sprintf("parameter %s needs depth %d or more", name, level+1))
			}
		}
	}
	return k, depth
}

func setUnder(v url.Values, k query.ObjectKey, depth int) {
	setNumber(v, "depth", int64(depth))
	for level, pairs := range [][][2]string{{{"cluster", k.Cluster}}, {{"namespace", k.Namespace}}, {{"api_group", k.APIGroup}, {"resource", k.Resource}}} {
		for _, pair := range pairs {
			if level < depth {
				setText(v, pair[0], pair[1])
			}
		}
	}
}

// objects reads object=["cluster","namespace","api_group","resource","name"], any number of them.
func (p *params) objects() []query.ObjectKey {
	var out []query.ObjectKey
	for _, text := range p.values["object"] {
		var parts []string
		if err := json.Unmarshal([]byte(text), &parts); err != nil || len(parts) != 5 {
			p.fail(fmt.Sprintf(`parameter object is %.80q; write ["cluster","namespace","api_group","resource","name"]`, text))
			continue
		}
		out = append(out, query.ObjectKey{Cluster: parts[0], Namespace: parts[1], APIGroup: parts[2], Resource: parts[3], Name: parts[4]})
	}
	return out
}

// Facets implements [query.Questions].
func (c *Client) Facets(ctx context.Context, q query.FacetsQuestion) (query.FacetsAnswer, error) {
	v := scopeQuery(q.Scope)
	v["columns"] = q.Columns
	setConditions(v, q.Conditions)
	setText(v, "contains", q.Contains)
	setNumber(v, "limit", int64(q.Limit))
	var a query.FacetsAnswer
	err := c.get(ctx, "/api/v1/facets", v, &a)
	return a, err
}

// Objects implements [query.Questions].
func (c *Client) Objects(ctx context.Context, q query.ObjectsQuestion) (query.ObjectsAnswer, error) {
	v := scopeQuery(q.Scope)
	setUnder(v, q.Under, q.Depth)
	setText(v, "contains", q.Contains)
	setNumber(v, "limit", int64(q.Limit))
	var a query.ObjectsAnswer
	err := c.get(ctx, "/api/v1/objects", v, &a)
	return a, err
}

// Lanes implements [query.Questions].
func (c *Client) Lanes(ctx context.Context, q query.LanesQuestion) (query.LanesAnswer, error) {
	v := scopeQuery(q.Scope)
	setUnder(v, q.Under, q.Depth)
	for _, k := range q.Objects {
		text, err := json.Marshal([]string{k.Cluster, k.Namespace, k.APIGroup, k.Resource, k.Name})
		if err != nil {
			return query.LanesAnswer{}, err
		}
		v.Add("object", string(text))
	}
	setNumber(v, "bins", int64(q.Bins))
	setNumber(v, "limit", int64(q.Limit))
	setText(v, "cursor", q.Cursor)
	var a query.LanesAnswer
	err := c.get(ctx, "/api/v1/lanes", v, &a)
	return a, err
}
