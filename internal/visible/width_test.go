package visible_test

import (
	"strings"
	"testing"

	"github.com/ktrail/ktrail/internal/visible"
)

func TestWidth(t *testing.T) {
	for in, want := range map[string]int{
		"": 0, "abc": 3, "é": 1, "e\u0301": 1, "日本語": 6, "한글": 4, "Ａ": 2, "カ": 2, "ｶ": 1,
		"✓✗…→": 4, "✅": 2, "⚡": 2, "🙂": 2, "𝄞": 1, "𠀀": 2, "█░": 2, "ⓐ": 1,
	} {
		if got := visible.Width(in); got != want {
			t.Errorf("Width(%q) = %d, want %d", in, got, want)
		}
	}
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
		if got := visible.Cut(tt.in, tt.w); got != tt.end {
			t.Errorf("Cut(%q, %d) = %q, want %q", tt.in, tt.w, got, tt.end)
		}
		if got := visible.CutMiddle(tt.in, tt.w); got != tt.middle {
			t.Errorf("CutMiddle(%q, %d) = %q, want %q", tt.in, tt.w, got, tt.middle)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		in        string
		width, at int
		want      string
	}{
		{"alice patched deployment web in prod", 0, 10, "alice patched deployment web in prod"},
		{"alice patched deployment web in prod", 20, 5, "alice patched\n  deployment web in\n  prod"},
		{"日本語 日本語", 12, 0, "日本語\n  日本語"},
		{"one", 2, 0, "one"},
	} {
		if got := visible.Wrap(tt.in, tt.width, tt.at, "  "); got != tt.want {
			t.Errorf("Wrap(%q, %d) = %q, want %q", tt.in, tt.width, got, tt.want)
		}
	}
}

// FuzzFit holds that what is cut fits, and that what is wrapped fits but for a
// word that is too long, and loses none.
func FuzzFit(f *testing.F) {
	f.Add("system:serviceaccount:kube-system:replicaset-controller", 20)
	f.Add("日本語 e\u0301 🙂 some words and \u202e", 9)
	f.Fuzz(func(t *testing.T, s string, w int) {
		s, w = visible.Line(s), 1+int(uint(w)%200)
		for name, cut := range map[string]func(string, int) string{"Cut": visible.Cut, "CutMiddle": visible.CutMiddle} {
			if got := cut(s, w); visible.Width(got) > w || visible.Width(s) <= w && got != s {
				t.Errorf("%s(%q, %d) = %q", name, s, w, got)
			}
		}
		got := visible.Wrap(s, w, 0, " ")
		if strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(s), " ") {
			t.Errorf("Wrap(%q, %d) = %q lost something", s, w, got)
		}
		for l := range strings.Lines(got) {
			if visible.Width(strings.TrimSuffix(l, "\n")) > w && len(strings.Fields(l)) > 1 {
				t.Errorf("Wrap(%q, %d) has %q", s, w, l)
			}
		}
	})
}

func TestClip(t *testing.T) {
	for _, c := range []struct {
		in   string
		size int
		want string
	}{
		{"", 0, ""},
		{"abc", 3, "abc"},
		{"abcd", 3, "abc…"},
		{"aéb", 2, "a…"}, // é takes two bytes, and one of them is no character
		{"aéb", 3, "aé…"},
		{"\xff\xff\xff", 2, "\xff\xff…"},
		{"é", 1, "…"},
	} {
		if got := visible.Clip(c.in, c.size); got != c.want {
			t.Errorf("Clip(%q, %d) = %q, want %q", c.in, c.size, got, c.want)
		}
	}
}
