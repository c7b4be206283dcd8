package lint

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/internal/nearest"
)

// parse is the first document of a text with its places, nil if it has none.
func parse(data []byte) *yaml.Node {
	if len(data) > policy.MaxSize {
		return nil
	}
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' {
		data = bytes.ReplaceAll(data, []byte("\t"), []byte(" ")) // YAML's one objection to JSON
	}
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc); err != nil || len(doc.Content) == 0 {
		return nil
	}
	return doc.Content[0]
}

// The keys of each part of a policy.
var (
	policyKeys   = []string{"apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"}
	ruleKeys     = []string{"level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages", "omitManagedFields"}
	resourceKeys = []string{"group", "resources", "resourceNames"}
	metadataKeys = []string{
		"name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
		"deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers", "managedFields",
	}
)

// meant are keys of neighbouring APIs, RBAC's above all, and what they are called here.
var meant = map[string]string{
	"apigroups": "group", "apigroup": "group", "groups": "userGroups", "usergroup": "userGroups", "user": "users", "username": "users", "usernames": "users",
	"serviceaccounts": "users", "nonresourceurl": "nonResourceURLs", "urls": "nonResourceURLs", "paths": "nonResourceURLs", "stages": "omitStages", "omitstage": "omitStages", "names": "resourceNames",
}

// keys reports the keys that nobody reads.
func (c *checker) keys() {
	c.keysOf(c.root, "the policy", policyKeys)
	if m := value(c.root, "metadata"); m != nil {
		c.keysOf(m, "metadata", metadataKeys)
	}
	rules := value(c.root, "rules")
	if rules == nil || rules.Kind != yaml.SequenceNode {
		return
	}
	for i, rule := range rules.Content {
		where := fmt.Sprintf("rule %d", i+1)
		c.keysOf(rule, where, ruleKeys)
		c.emptyLists(rule, where, ruleKeys[1:])
		groups := value(rule, "resources")
		if groups == nil || groups.Kind != yaml.SequenceNode {
			continue
		}
		for _, g := range groups.Content {
			c.keysOf(g, "the resources of "+where, resourceKeys)
			c.emptyLists(g, where, resourceKeys[1:])
		}
	}
}

// value is what stands under a key of a mapping: the last one, as it counts.
// Aliases are looked at where their anchor stands.
func value(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := len(n.Content) - 2; i >= 0; i -= 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func (c *checker) keysOf(n *yaml.Node, where string, known []string) {
	if n.Kind != yaml.MappingNode {
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Tag == "!!merge" || key.Kind != yaml.ScalarNode {
			continue
		}
		if line, ok := first[key.Value]; ok {
			c.reportAt("duplicate-key", key.Line, key.Column, fmt.Sprintf("%s has %q twice, first in line %d", where, key.Value, line), "", "write one list with the values of both")
			continue
		}
		first[key.Value] = key.Line
		if slices.Contains(known, key.Value) {
			continue
		}
		msg := fmt.Sprintf("unknown key %q in %s", key.Value, where)
		fix := ""
		if want := nearKey(key.Value, known); want != "" {
			msg += fmt.Sprintf(": did you mean %s?", want)
			fix = want + ":"
		} else if where != "the policy" {
			fix = "take it out; known here are " + strings.Join(known, ", ")
		}
		c.reportAt("unknown-key", key.Line, key.Column, msg, "", fix)
	}
}

func nearKey(key string, known []string) string {
	lower := strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(key))
	for _, k := range known {
		if strings.ToLower(k) == lower || strings.ToLower(k) == lower+"s" {
			return k
		}
	}
	if k := meant[lower]; slices.Contains(known, k) {
		return k
	}
	return nearest.Name(key, known)
}

// emptyLists reports lists that are written and empty.
func (c *checker) emptyLists(n *yaml.Node, where string, lists []string) {
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		if !slices.Contains(lists, key.Value) || v.Tag != "!!null" && !(v.Kind == yaml.SequenceNode && len(v.Content) == 0) {
			continue
		}
		switch key.Value {
		case "omitManagedFields": // null is as good as nothing
		case "omitStages":
			c.reportAt("empty-list", key.Line, key.Column, "an empty omitStages in "+where+" omits no stage and brings none back",
				"The stages that the policy omits are omitted in every rule; a rule can only add to them.", "take it out")
		default:
			c.reportAt("empty-list", key.Line, key.Column, fmt.Sprintf("an empty %s in %s matches everything", key.Value, where), "", "take it out, or write what it was to match")
		}
	}
}
