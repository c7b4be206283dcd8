package capture

import "strings"

// labelSelectorOK is whether an API server can read a label selector
// (k8s.io/apimachinery/pkg/labels, Parse).
func labelSelectorOK(s string) bool { return s == "" || !strings.Contains(s, "===") }
