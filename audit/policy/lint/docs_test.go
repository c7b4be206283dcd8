package lint_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/policy/lint"
)

var example = regexp.MustCompile("(?ms)^#### (\\S+)$.*?^```yaml\n# instead of\n(.*?)\n# write\n(.*?)\n```$")

// In the examples of docs/policy.md the finding is found in what not to write, and
// not in what to write.
func TestExamplesInTheDocs(t *testing.T) {
	page, err := os.ReadFile("../../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := example.FindAllStringSubmatch(string(page), -1)
	if len(examples) != len(lint.Kinds()) {
		t.Errorf("%d examples for %d findings", len(examples), len(lint.Kinds()))
	}
	for _, e := range examples {
		name := e[1]
		for i, snippet := range e[2:] {
			fs := lint.Check("docs", []byte(wholePolicy(name, snippet)), lint.Options{Minor: 35, Mode: map[bool]string{true: lint.ModeStrict}[name == "request-received-omitted"]})
			found := slices.ContainsFunc(fs, func(f finding.Finding) bool { return f.Name == name })
			if bad := i == 0; found != bad {
				t.Errorf("%s: found in the example is %v, want %v:\n%s\n%+v", name, found, bad, wholePolicy(name, snippet), fs)
			}
		}
	}
}

// wholePolicy puts a part of a policy where it belongs.
func wholePolicy(name, snippet string) string {
	const head, last = "apiVersion: audit.k8s.io/v1\nkind: Policy\n", "\n- level: Metadata\n"
	indent := func(by string) string { return by + strings.ReplaceAll(snippet, "\n", "\n"+by) }
	inGroup := []string{"resource-wildcard", "subresource-wildcard", "unknown-subresource"}
	switch {
	case strings.HasPrefix(snippet, "rules:"):
		return head + snippet + "\n"
	case strings.HasPrefix(snippet, "omitStages:"), strings.HasPrefix(snippet, "# no"):
		if strings.Contains(snippet, "rules:") {
			return head + snippet + "\n"
		}
		return head + snippet + "\nrules:" + last
	case strings.HasPrefix(snippet, "- level:"), strings.HasPrefix(snippet, "# ktrail:"):
		return head + "rules:\n" + snippet + last
	case strings.HasPrefix(snippet, "- group:"):
		return head + "rules:\n- level: None\n  resources:\n" + indent("  ") + last
	case slices.Contains(inGroup, name):
		return head + "rules:\n- level: None\n  resources:\n  - group: \"\"\n" + indent("    ") + last
	}
	return head + "rules:\n- level: None\n" + indent("  ") + last
}
