package web

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// told is what a failed test needs to know of the page, the most telling first:
// what the parts of an expression that is not true are, what the console said,
// and some of the text.
func (b *tab) told(expression string) string {
	var out strings.Builder
	for _, part := range conjuncts(expression) {
		side, _, compared := cutTop(part, " === ")
		script := `(() => { const value = ` + part + `; if (value) return ""; return JSON.stringify(` + side + `) ?? "undefined"; })()`
		if !compared {
			script = `(() => { const value = ` + part + `; return value ? "" : String(value); })()`
		}
		value, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](script))
		if err != nil {
			value = err.Error()
		}
		if value != "" {
			fmt.Fprintf(&out, "%s is %.500s\n", side, value)
		}
	}
	b.mu.Lock()
	for _, m := range b.messages {
		fmt.Fprintf(&out, "the console says: %.300s\n", m)
	}
	b.mu.Unlock()
	page, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`"at " + location.href + ", busy: " + ([...document.querySelectorAll("[aria-busy]")].map((e) => e.id || e.className).join() || "nothing") + "\n" + document.body.innerText.slice(0, 1200)`))
	if err != nil {
		page = err.Error()
	}
	return out.String() + "the page is " + page
}

// conjuncts are the parts of an expression that && joins.
func conjuncts(expression string) []string {
	var parts []string
	for {
		part, rest, more := cutTop(expression, " && ")
		parts = append(parts, part)
		if !more {
			return parts
		}
		expression = rest
	}
}

// cutTop cuts an expression at the first separator that stands in no brackets
// and in no string.
func cutTop(expression, separator string) (before, after string, found bool) {
	depth, quote := 0, rune(0)
	escaped := false
	for i, r := range expression {
		switch {
		case escaped:
			escaped = false
		case quote != 0:
			escaped = r == '\\'
			if r == quote {
				quote = 0
			}
		case strings.ContainsRune("\"'`", r):
			quote = r
		case strings.ContainsRune("([{", r):
			depth++
		case strings.ContainsRune(")]}", r):
			depth--
		case depth == 0 && strings.HasPrefix(expression[i:], separator):
			return expression[:i], expression[i+len(separator):], true
		}
	}
	return expression, "", false
}

// TestToldOfThePage shows that a test that waits in vain names what is not so.
func TestToldOfThePage(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t))
	b := newTab(t)
	b.open(ts.URL + "/?verb=delete")
	said := b.told(`document.querySelector("tr.event") && location.search.replace("?", " && ") === "?verb=get" && [1, 2].includes(3) && document.querySelector("#none").hidden && document.title`)
	for _, want := range []string{
		`location.search.replace("?", " && ") is " && verb=delete"` + "\n", "[1, 2].includes(3) is false\n", `document.querySelector("#none").hidden is `, "null",
		"the page is at " + ts.URL + "/?verb=delete, busy: nothing\n",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not told:\n%s", want, said)
		}
	}
	if strings.Contains(said, "document.title") || strings.Contains(said, "tr.event") {
		t.Errorf("what is so is told, too:\n%s", said)
	}
	if len(said) > 4000 {
		t.Errorf("%d bytes are told", len(said))
	}
}
