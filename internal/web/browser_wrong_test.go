package web

import (
	"fmt"
	"net/url"
	"testing"
)

// TestWrongInputInChromium: what cannot be read is said, the field that it stands
// in is marked, no other, and nothing is searched; also without JavaScript.
func TestWrongInputInChromium(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t))
	b := newTab(t)
	b.dark(false)
	marked := func(fields string) {
		b.t.Helper()
		b.is(fmt.Sprintf(`[...document.querySelectorAll('#search [aria-invalid="true"]')].map((i) => i.name).join() === %q`, fields))
		b.is(`document.querySelectorAll("#search [aria-invalid]").length === document.querySelectorAll('#search [aria-invalid="true"][aria-describedby="filter-error"]').length`)
	}
	for _, tt := range []struct{ field, value, says string }{
		{"filter", "verb ==", "^"},
		{"filter", `vreb == "get"`, "verb"},
		{"verb", "!", "without naming it"},
		{"verb", ",", "names nothing"},
		{"user", "!!a", "negates twice"},
		{"user", "a,!", "without naming it"},
		{"namespace", " , ", "names nothing"},
		{"namespace", "!", "without naming it"},
		{"resource", "a/b/c/d", "not understood"},
		{"resource", "!!pods", "negates twice"},
		{"since", "soon", "not understood"},
		{"until", "soon", "not understood"},
		{"until", "1970-01-01T00:00:01", "not before"},
	} {
		t.Run(tt.field+" "+tt.value, func(t *testing.T) {
			b.t = t
			query := "?" + url.Values{tt.field: {tt.value}, "since": {"2026-11-22"}}.Encode()
			if tt.field == "since" {
				query = "?since=" + tt.value
			}
			for _, path := range []string{"/", "/objects", "/actors", "/sources"} {
				b.open(ts.URL + path + query)
				b.is(fmt.Sprintf(`document.querySelector("#filter-error .problem").textContent.includes(%q)`, tt.says))
				marked(tt.field)
			}
			b.open(ts.URL + "/")
			marked("")
			b.fill(tt.field, tt.value)
			if tt.says == "not before" {
				b.fill("since", "2026-11-22")
			}
			b.is(fmt.Sprintf(`document.querySelector("#filter-error .problem").textContent.includes(%q)`, tt.says))
			marked(tt.field)
			if n := eval[int](b, `document.querySelectorAll("tr.event").length`); n > 0 {
				t.Errorf("%d events are shown", n)
			}
			b.fits(tt.field)
			b.fill(tt.field, "")
			b.is(`!document.querySelector("#filter-error .problem") && document.querySelector("tr.event")`)
			marked("")
		})
	}
	b.t = t
	b.open(ts.URL + "/?verb=%21")
	b.shot("wrong-verb-1280")
	if red := eval[bool](b, `getComputedStyle(document.querySelector('.fields label:has([name="verb"])')).borderColor !== getComputedStyle(document.querySelector('.fields label:has([name="user"])')).borderColor`); !red {
		t.Error("the field that is wrong looks like the others")
	}
}
