package cli

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"alice@example.com":  "alice@example.com",
		"日本 é 🙂":             "日本 é 🙂",
		"\x1b[2J\x1b[31mred": `\u001b[2J\u001b[31mred`,
		"a\nb\tc\rd":         `a\nb\tc\rd`,
		"admin\u202egnp":     `admin\u202egnp`,
		"zero\u200bwidth":    `zero\u200bwidth`,
		"c1\u009b31m":        `c1\u009b31m`,
		"del\x7f":            `del\u007f`,
		"bad\xff\xfeutf":     `bad\xff\xfeutf`,
		"line\u2028sep":      `line\u2028sep`,
		"tag\U000e0041":      `tag\U000e0041`,
	} {
		got := clean(in)
		if got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
		if strings.IndexFunc(got, hostile) >= 0 {
			t.Errorf("clean(%q) = %q is not clean", in, got)
		}
	}
}

func FuzzCleanJSON(f *testing.F) {
	f.Add("a\u202eb\x7f\u0085\U000e0041é")
	f.Add("\x1b[2J\xff")
	f.Fuzz(func(t *testing.T, s string) {
		plain, err := json.Marshal(s)
		if err != nil {
			t.Skip()
		}
		safe := cleanJSON(plain)
		var a, b string
		if err := json.Unmarshal(plain, &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(safe, &b); err != nil {
			t.Fatalf("%s: %v", safe, err)
		}
		if a != b {
			t.Errorf("%q became %q", a, b)
		}
		if strings.IndexFunc(string(safe), hostile) >= 0 {
			t.Errorf("%q is not clean", safe)
		}
	})
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		in          string
		w           int
		end, middle string
	}{
		{"deployments", 20, "deployments", "deployments"},
		{"deployments", 11, "deployments", "deployments"},
		{"deployments", 7, "deploy…", "dep…nts"},
		{"system:serviceaccount:kube-system:replicaset-controller", 20, "system:serviceaccou…", "system:ser…ontroller"},
		{"日本語日本語", 6, "日本…", "日…語"},
		{"abc", 1, "…", "…"},
		{"abc", 0, "", ""},
	} {
		if got := cut(tt.in, tt.w); got != tt.end {
			t.Errorf("cut(%q, %d) = %q, want %q", tt.in, tt.w, got, tt.end)
		}
		if got := cutMiddle(tt.in, tt.w); got != tt.middle || textWidth(got) > tt.w {
			t.Errorf("cutMiddle(%q, %d) = %q, want %q", tt.in, tt.w, got, tt.middle)
		}
	}
}
