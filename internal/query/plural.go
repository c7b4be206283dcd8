package query

import "strings"

// pluralOf is the name of the resource of a kind, in small letters, as the tools
// that make custom resources write it (github.com/gobuffalo/flect, which
// controller-gen uses): policies, proxies, gateways, classes, meshes.
func pluralOf(kind string) string {
	switch {
	case kind == "", strings.HasSuffix(kind, "endpoints"):
		return kind
	case strings.HasSuffix(kind, "y") && !vowelBefore(kind):
		return strings.TrimSuffix(kind, "y") + "ies"
	}
	for _, end := range []string{"s", "x", "z", "ch", "sh"} {
		if strings.HasSuffix(kind, end) {
			return kind + "es"
		}
	}
	return kind + "s"
}

// singularOf is the kind of a resource, as far as its name tells.
func singularOf(resource string) string {
	if stem, ok := strings.CutSuffix(resource, "ies"); ok && pluralOf(stem+"y") == resource {
		return stem + "y"
	}
	for _, end := range []string{"ss", "x", "ch", "sh"} {
		if one, ok := strings.CutSuffix(resource, "es"); ok && strings.HasSuffix(one, end) {
			return one
		}
	}
	if pluralOf(resource) == resource {
		return resource
	}
	return strings.TrimSuffix(resource, "s")
}

// vowelBefore is whether a vowel stands before the last letter.
func vowelBefore(s string) bool { return len(s) > 1 && strings.IndexByte("aeiou", s[len(s)-2]) >= 0 }
