package simulate

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/ktrail/ktrail/audit/policy"
)

// ruleYAML is a rule as an item of rules:, indented by two, with a comment.
func ruleYAML(comment string, r *policy.Rule) string {
	var b strings.Builder
	b.WriteString("  # " + strings.TrimSpace(strings.Map(printable, comment)) + ".\n")
	b.WriteString("  - level: " + r.Level.String() + "\n")
	list(&b, "    ", "users", r.Users)
	list(&b, "    ", "userGroups", r.UserGroups)
	list(&b, "    ", "verbs", r.Verbs)
	if len(r.Resources) > 0 {
		b.WriteString("    resources:\n")
		for _, gr := range r.Resources {
			b.WriteString("      - group: " + quoted(gr.Group) + "\n")
			list(&b, "        ", "resources", gr.Resources)
			list(&b, "        ", "resourceNames", gr.ResourceNames)
		}
	}
	list(&b, "    ", "namespaces", r.Namespaces)
	list(&b, "    ", "nonResourceURLs", r.NonResourceURLs)
	list(&b, "    ", "omitStages", r.OmitStages.Names())
	if r.OmitManagedFields != nil {
		fmt.Fprintf(&b, "    omitManagedFields: %v\n", *r.OmitManagedFields)
	}
	return b.String()
}

func listYAML(indent, key string, values []string) string {
	var b strings.Builder
	list(&b, indent, key, values)
	return b.String()
}

// lineWidth is how wide a list may be before it gets a line for each value.
const lineWidth = 76

func list(b *strings.Builder, indent, key string, values []string) {
	if len(values) == 0 {
		return
	}
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = quoted(v)
	}
	if one := indent + key + ": [" + strings.Join(all, ", ") + "]\n"; len(one) <= lineWidth {
		b.WriteString(one)
		return
	}
	b.WriteString(indent + key + ":\n")
	for _, v := range all {
		b.WriteString(indent + "  - " + v + "\n")
	}
}

// quoted is a string as YAML: what JSON writes is YAML too.
func quoted(s string) string {
	b, _ := json.Marshal(s) // a string always has one
	return string(b)
}

// printable keeps a comment on its line, whatever is in a name.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 || r == 0xfeff {
		return ' '
	}
	return r
}
