package web

import (
	"testing"
	"unicode"

	"github.com/chromedp/chromedp"

	"github.com/ktrail/ktrail/internal/query"
)

// TestQuotesAsTheServer holds that the page writes values in filters as the
// server does, so that one condition has one text. What is younger than the
// Unicode of one of the two may look different.
func TestQuotesAsTheServer(t *testing.T) {
	ts := newTestServer(t, nil)
	b := newTab(t)
	b.open(ts.URL + "/")
	quoted, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](`(async () => {
		const { quote } = await import(new URL("state.js", document.querySelector("script[src*='js/main.js']").src));
		return Array.from({ length: 0x110000 }, (_, n) => n >= 0xd800 && n < 0xe000 ? "" : quote(String.fromCodePoint(n)));
	})()`, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	wrong := 0
	for n, got := range quoted {
		r := rune(n)
		if got == "" || unicode.Is(unicode.Cn, r) {
			continue
		}
		if want := query.Quote(string(r)); got != want && wrong < 20 {
			t.Errorf("%U: the page writes %s, the server %s", r, got, want)
			wrong++
		}
	}
	if len(quoted) != unicode.MaxRune+1 {
		t.Errorf("%d characters were tried", len(quoted))
	}
}
