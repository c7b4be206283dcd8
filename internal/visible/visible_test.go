package visible_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ktrail/ktrail/internal/visible"
)

// bad is what no escape or mark may leave. Cut into pieces, U+FFFD is what a
// terminal shows for a byte that is no text.
func bad(s string, lines bool) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return visible.Hostile(r) && !(lines && r == '\n') })
}

func TestShow(t *testing.T) {
	for _, tt := range []struct{ in, line, marked string }{
		{"", "", ""},
		{"alice@example.com", "alice@example.com", "alice@example.com"},
		{"日本 ünïcode é 🙂", "日本 ünïcode é 🙂", "日本 ünïcode é 🙂"},
		{"\x1b[2J\x1b[31mred", `\u001b[2J\u001b[31mred`, "⟨U+001B⟩[2J⟨U+001B⟩[31mred"},
		{"a\nb\tc\rd", `a\nb\tc\rd`, "a⟨U+000A⟩b⟨U+0009⟩c⟨U+000D⟩d"},
		{"admin\u202egnp", `admin\u202egnp`, "admin⟨U+202E⟩gnp"},
		{"\u200b\ufeff\u2066", `\u200b\ufeff\u2066`, "⟨U+200B⟩⟨U+FEFF⟩⟨U+2066⟩"},
		{"c1\u009b31m", `c1\u009b31m`, "c1⟨U+009B⟩31m"},
		{"del\x7f", `del\u007f`, "del⟨U+007F⟩"},
		{"bad\xff\xfeutf", `bad\xff\xfeutf`, "bad⟨0xFF⟩⟨0xFE⟩utf"},
		{"\ufffd\xc3", "\ufffd\\xc3", "\ufffd⟨0xC3⟩"},
		{"line\u2028sep", `line\u2028sep`, "line⟨U+2028⟩sep"},
		{"tag\U000e0041 🙂", `tag\U000e0041 🙂`, "tag⟨U+E0041⟩ 🙂"},
		{"private\ue000\U000f0000", `private\ue000\U000f0000`, "private⟨U+E000⟩⟨U+F0000⟩"},
		{"spaces\u00a0\u3000", `spaces\u00a0\u3000`, "spaces⟨U+00A0⟩⟨U+3000⟩"},
		{"blank\u3164\u115f\u034f", `blank\u3164\u115f\u034f`, "blank⟨U+3164⟩⟨U+115F⟩⟨U+034F⟩"},
		{"unassigned\uffff\U0003fffe", `unassigned\uffff\U0003fffe`, "unassigned⟨U+FFFF⟩⟨U+3FFFE⟩"},
		{`back\slash`, `back\slash`, `back\slash`},
	} {
		if got := visible.Line(tt.in); got != tt.line || bad(got, false) {
			t.Errorf("Line(%q) = %q, want %q", tt.in, got, tt.line)
		}
		if got := visible.Marked(tt.in); got != tt.marked || bad(got, false) {
			t.Errorf("Marked(%q) = %q, want %q", tt.in, got, tt.marked)
		}
	}
	if got := visible.Lines("a\r\nb\u202e\n"); got != "a\\r\nb\\u202e\n" {
		t.Errorf("Lines: %q", got)
	}
	if got := visible.MarkedLines("a\nb\u202e"); got != "a\nb⟨U+202E⟩" {
		t.Errorf("MarkedLines: %q", got)
	}
}

func TestHostileASCII(t *testing.T) {
	for r := range rune(0x80) {
		if want := r < ' ' || r == 0x7f; visible.Hostile(r) != want {
			t.Errorf("Hostile(%q) is %v", r, !want)
		}
	}
}

// FuzzShow holds that nothing hostile is left, that what is shown is shown the
// same again, and that text without it stays as it is.
func FuzzShow(f *testing.F) {
	f.Add("a\u202eb\x7f\u0085\U000e0041é🙂\xff\n\ufffd")
	f.Add("\x1b[2J two words, 日本語\xc3")
	f.Fuzz(func(t *testing.T, s string) {
		for name, form := range map[string]struct {
			show  func(string) string
			lines bool
		}{
			"Line": {visible.Line, false}, "Lines": {visible.Lines, true}, "Marked": {visible.Marked, false}, "MarkedLines": {visible.MarkedLines, true},
		} {
			got := form.show(s)
			if bad(got, form.lines) || form.show(got) != got || !bad(s, form.lines) && got != s {
				t.Errorf("%s(%q) = %q", name, s, got)
			}
			if form.lines && strings.Count(got, "\n") != strings.Count(s, "\n") {
				t.Errorf("%s(%q) = %q has other lines", name, s, got)
			}
		}
	})
}

// FuzzJSON holds that a document means what it meant.
func FuzzJSON(f *testing.F) {
	f.Add("a\u202eb\x7f\u0085\U000e0041é")
	f.Add("\x1b[2J\xff\ufffd\u00a0")
	f.Fuzz(func(t *testing.T, s string) {
		plain, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		// As it would come from others, who do not escape.
		raw := append(append([]byte{'"'}, strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(s)...), '"')
		for _, doc := range [][]byte{plain, raw} {
			safe := visible.JSON(doc)
			var a, b string
			if json.Unmarshal(doc, &a) != nil {
				continue // a bare control character
			}
			if err := json.Unmarshal(safe, &b); err != nil || a != b {
				t.Errorf("%s: %q became %q: %v", safe, a, b, err)
			}
			if bad(string(safe), true) || strings.ContainsRune(string(safe), utf8.RuneError) {
				t.Errorf("%q is not clean", safe)
			}
		}
	})
}
