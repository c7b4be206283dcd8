package query_test

import (
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/visible"
)

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 `""`,
		"system:admin":                     `"system:admin"`,
		`say "a\b"`:                        `"say \"a\\b\""`,
		`" || true || "`:                   `"\" || true || \""`,
		"a\nb\tc\rd":                       `"a\nb\tc\u000dd"`,
		"zürich 日本 🙂 é":                    `"zürich 日本 🙂 é"`,
		"\u202e\u200b\u00a0\u3164\x00\x7f": `"\u202e\u200b\u00a0\u3164\u0000\u007f"`,
		"\U000e0041\U0010ffff":             `"\U000e0041\U0010ffff"`,
		"\xff\ufffd":                       "\"\ufffd\ufffd\"",
	} {
		if got := query.Quote(in); got != want {
			t.Errorf("Quote(%q) = %s, want %s", in, got, want)
		}
	}
}

// TestQuoteRoundTrip has the parser read every character back.
func TestQuoteRoundTrip(t *testing.T) {
	const many = 256 // a filter has a limit
	for first := rune(0); first <= 0x10ffff; first += many {
		if first >= 0x50000 && first < 0xe0000 {
			continue // nothing is assigned there
		}
		var b strings.Builder
		for r := first; r < first+many; r++ {
			if r < 0xd800 || r > 0xdfff {
				b.WriteRune(r)
			}
		}
		readBack(t, b.String())
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"plain", `"`, `\`, "a\nb", "\u202e", "日本", "\U0001f600\U000e0041", `" || true || "`, "", "\xff\xc3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) <= 200 {
			readBack(t, s)
		}
	})
}

// readBack holds that a filter with s quoted finds s, shown without what hides,
// and nothing else.
func readBack(t *testing.T, s string) {
	t.Helper()
	cel := "user == " + query.Quote(s)
	f, err := query.Parse(cel)
	if err != nil {
		t.Fatalf("%q became %s: %v", s, cel, err)
	}
	valid := strings.Map(func(r rune) rune { return r }, s) // each byte that is no text is one U+FFFD
	if !f.Match(&audit.Event{User: valid}) || f.Match(&audit.Event{User: valid + "x"}) || strings.ContainsFunc(cel, visible.Hostile) {
		t.Errorf("%q became %s", s, cel)
	}
}
