package cli

import (
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/coverage"
)

// part is the rows and columns of a matrix that words ask for; empty is all of them.
type part struct {
	verbs []string
	rows  []func(*coverage.Row) bool
	words []string // what each of rows was called
}

// verbsOf are verbs that have one name; posts and puts are of non-resource URLs.
var verbsOf = map[string][]string{
	"reads":  {"get", "list", "watch"},
	"writes": {"create", "update", "patch", "delete", "deletecollection", "post", "put"},
}

// parsePart reads verbs, then resources or paths: "get,list secrets,pods/exec".
func parsePart(words []string) (part, error) {
	var p part
	known := slices.Concat(apiVerbs, []string{"post", "put", "reads", "writes"})
	isVerb := func(s string) bool { return slices.Contains(known, s) }
	for i, word := range words {
		names := strings.Split(strings.ToLower(word), ",")
		if len(p.rows) == 0 && slices.ContainsFunc(names, isVerb) || i == 0 && len(words) > 1 {
			for _, v := range names {
				switch {
				case v == "*":
					v = "reads,writes"
				case !isVerb(v):
					return part{}, unknown("verb", v, known, "verbs come first, then resources: get,list secrets,pods/exec")
				}
				for _, one := range strings.Split(v, ",") {
					if of := verbsOf[one]; of != nil {
						p.verbs = append(p.verbs, of...)
					} else {
						p.verbs = append(p.verbs, one)
					}
				}
			}
			continue
		}
		for _, name := range strings.Split(word, ",") {
			row, err := parseRow(name)
			if err != nil {
				return part{}, err
			}
			p.rows, p.words = append(p.rows, row), append(p.words, name)
		}
	}
	return p, nil
}

// parseRow reads a resource as a policy writes it (pods, pods/exec, pods/*, *) or a path.
func parseRow(word string) (func(*coverage.Row) bool, error) {
	switch {
	case word == "*":
		return func(*coverage.Row) bool { return true }, nil
	case strings.HasPrefix(word, "/"):
		return func(r *coverage.Row) bool { return r.Name == word }, nil
	}
	name, everyPart := strings.CutSuffix(word, "/*")
	about, err := parseSubject([]string{name})
	if err != nil {
		return nil, err
	}
	if about.name != "" {
		return nil, usagef("%s has a name, or no such subresource: --all is about all names; leave it out, or explain one request", quote(word))
	}
	if about.sub != "" {
		about.resource += "/" + about.sub
	}
	row := policy.QualifiedResource(about.group, about.resource)
	return func(r *coverage.Row) bool { return r.Name == row || everyPart && strings.HasPrefix(r.Name, row+"/") }, nil
}

// of leaves of a matrix what was asked for.
func (p *part) of(m *coverage.Matrix) error {
	if len(p.rows) > 0 {
		for i, row := range p.rows {
			fits := func(r coverage.Row) bool { return row(&r) }
			if !slices.ContainsFunc(m.Resources, fits) && !slices.ContainsFunc(m.Paths, fits) {
				return usagef("--all has no row %s: it has Kubernetes' own resources and the usual URLs; of others explain one request", quote(p.words[i]))
			}
		}
		other := func(r coverage.Row) bool {
			return !slices.ContainsFunc(p.rows, func(row func(*coverage.Row) bool) bool { return row(&r) })
		}
		m.Resources, m.Paths = slices.DeleteFunc(m.Resources, other), slices.DeleteFunc(m.Paths, other)
	}
	if len(p.verbs) == 0 {
		return nil
	}
	for _, rows := range []*[]coverage.Row{&m.Resources, &m.Paths} {
		for i := range *rows {
			r := &(*rows)[i]
			r.Cells = slices.DeleteFunc(r.Cells, func(c coverage.Cell) bool { return !slices.Contains(p.verbs, c.Verb) })
		}
		*rows = slices.DeleteFunc(*rows, func(r coverage.Row) bool { return len(r.Cells) == 0 })
	}
	if len(m.Resources)+len(m.Paths) == 0 {
		return usagef("no request for that has the verb %s", quote(strings.Join(p.verbs, ",")))
	}
	return nil
}
