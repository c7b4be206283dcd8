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
		a.to = max(a.from, extent(c.root, a.from, true))
		allows = append(allows, a)
	}
	c.found = slices.DeleteFunc(c.found, func(f finding.Finding) bool {
		silent := false
		for _, a := range allows {
			if f.Severity != finding.Error && f.Name == a.name && a.from <= f.Line && f.Line <= a.to {
				a.used, silent = true, true
			}
		}
		return silent
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

// extent is the last line of what begins in line: of a rule or another element of
// a list, or of a key's value; 0 if nothing begins there. The list of all rules
// is no such value: what stands at its key is about the policy.
func extent(n *yaml.Node, line int, top bool) int {
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, v := n.Content[i], n.Content[i+1]
			if key.Line == line && !(top && key.Value == "rules") {
				return lastLine(v)
			}
			if last := extent(v, line, false); last > 0 {
				return last
			}
		}
	}
	if n.Kind == yaml.SequenceNode {
		for _, item := range n.Content {
			if item.Line == line {
				return lastLine(item)
			}
			if last := extent(item, line, false); last > 0 {
				return last
			}
		}
	}
	return 0
}
