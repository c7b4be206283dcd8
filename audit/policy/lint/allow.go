package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/internal/nearest"
)

// allow is a comment that silences one kind of finding on some lines.
type allow struct {
	name         string
	line, column int
	from, to     int
	used         bool
}

var allowPattern = regexp.MustCompile(`^#+\s*ktrail:\s*(\S*)\s*(\S*)\s*(.*)$`)

// applyAllows takes out what comments allow and reports comments that are no use.
func (c *checker) applyAllows(data []byte) {
	if c.root == nil || !strings.Contains(string(data), "ktrail:") {
		return
	}
	var allows []*allow
	ends := map[int]int{}
	extents(c.root, true, ends)
	lines := strings.Split(string(data), "\n")
	for i, line := range lines {
		at := comment(line)
		if at < 0 {
			continue
		}
		m := allowPattern.FindStringSubmatch(strings.TrimRight(line[at:], " \t\r"))
		if m == nil {
			continue
		}
		column := len([]rune(line[:at])) + 1
		if bad := badAllow(m[1], m[2], m[3]); bad != "" {
			c.reportAt("bad-allow", i+1, column, bad, "", "# ktrail: allow NAME reason")
			continue
		}
		a := &allow{name: m[2], line: i + 1, column: column, from: i + 1}
		if strings.TrimSpace(line[:at]) == "" {
			a.from = nextContent(lines, i+1)
		}
		a.to = a.from
		if strings.TrimSpace(lines[min(a.from, len(lines))-1]) == "-" {
			a.from++ // what follows the dash begins below it
		}
		a.to = max(a.from, ends[a.from])
		allows = append(allows, a)
	}
	// Of two comments about one line the later, which is the closer one, is of use.
	// So a policy of comments costs no more than its lines.
	type place struct {
		name string
		line int
	}
	begins, at := map[place]*allow{}, map[place]*allow{}
	for _, a := range allows {
		begins[place{a.name, a.from}] = a
	}
	for _, a := range allows {
		if begins[place{a.name, a.from}] != a {
			continue
		}
		for line := a.from; line <= a.to; line++ {
			at[place{a.name, line}] = a
		}
	}
	c.found = slices.DeleteFunc(c.found, func(f finding.Finding) bool {
		a := at[place{f.Name, f.Line}]
		if a == nil || f.Severity == finding.Error {
			return false
		}
		a.used = true
		return true
	})
	for _, a := range allows {
		if !a.used {
			c.reportAt("unused-allow", a.line, a.column, fmt.Sprintf("there is no %s here to allow", a.name), "", "take the comment out")
		}
	}
}

func badAllow(word, name, reason string) string {
	if word != "allow" {
		return fmt.Sprintf("%q is no word that ktrail knows in a comment: it knows allow", word)
	}
	if name == "" {
		return "the comment does not say what it allows"
	}
	var names []string
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	if !slices.Contains(names, name) {
		msg := fmt.Sprintf("there is no finding %q to allow", name)
		if near := nearest.Name(name, names); near != "" {
			msg += ": did you mean " + near + "?"
		}
		return msg
	}
	if reason == "" {
		return "the comment does not say why it allows " + name
	}
	return ""
}

// comment is where the comment of a line begins, -1 if it has none. A # inside
// quotes, or right behind a character, is none.
func comment(line string) int {
	var quote byte
	for i := range len(line) {
		switch b := line[i]; {
		case quote != 0:
			if b == quote && (quote == '\'' || line[i-1] != '\\') {
				quote = 0
			}
		case b == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return i
		case (b == '"' || b == '\'') && (i == 0 || strings.IndexByte(" \t[{,-:", line[i-1]) >= 0):
			quote = b
		}
	}
	return -1
}

// nextContent is the number of the next line that has more than a comment.
func nextContent(lines []string, from int) int {
	for i := from; i < len(lines); i++ {
		if s := strings.TrimSpace(lines[i]); s != "" && s[0] != '#' {
			return i + 1
		}
	}
	return len(lines)
}

// extents fills in, by the line in which it begins, the last line of each rule or
// other element of a list and of each key's value; of several in one line that of
// the outermost. The list of all rules is no such value: what stands at its key is
// about the policy. It returns the last line of n.
func extents(n *yaml.Node, top bool, ends map[int]int) int {
	last := n.Line + strings.Count(n.Value, "\n")
	for i, v := range n.Content {
		line := v.Line
		switch {
		case n.Kind == yaml.MappingNode && i%2 == 0:
			last = max(last, line)
			continue
		case n.Kind == yaml.MappingNode:
			line = n.Content[i-1].Line
		}
		_, taken := ends[line]
		outermost := !taken && !(top && n.Kind == yaml.MappingNode && n.Content[i-1].Value == "rules")
		if outermost {
			ends[line] = line // what stands inside comes after it
		}
		end := extents(v, false, ends)
		if outermost {
			ends[line] = end
		}
		last = max(last, end)
	}
	return last
}
