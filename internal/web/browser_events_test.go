package web

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// facetButton is a script for the button of a facet's value.
func facetButton(column, value string, not bool) string {
	which := "take"
	if not {
		which = "leave"
	}
	return fmt.Sprintf(`[...document.querySelectorAll('.facet[data-column="%s"] button.%s')].find((b) => b.dataset.value === %q)`, column, which, value)
}

const facetsDrawn = `document.querySelectorAll('.facet[data-column="agent"] .take').length > 0 && !document.querySelector("#facets [aria-busy]")`

func TestFacetsInChromium(t *testing.T) {
	ts := newTestServer(t, append(sampleEvents(t), decoded(t, hostile)))
	b := newTab(t)
	b.dark(false)
	b.open(ts.URL + "/")
	b.is(facetsDrawn)

	t.Run("counts", func(t *testing.T) {
		b.t = t
		// The counts of a column without several values an event add up to no more than the total.
		got := eval[map[string]int](b, `Object.fromEntries([...document.querySelectorAll(".facet")].map((f) => [f.dataset.column, f.querySelectorAll(".take").length]))`)
		for _, c := range []string{"user", "as_user", "verb", "resource", "namespace", "code", "source_ips", "agent"} {
			if got[c] == 0 {
				t.Errorf("the facet of %s has no values: %v", c, got)
			}
		}
	})

	t.Run("include, another, exclude, back", func(t *testing.T) {
		b.t = t
		verbs := eval[int](b, `document.querySelectorAll('.facet[data-column="verb"] .take').length`)
		eval[bool](b, `(`+facetButton("verb", "delete", false)+`.click(), true)`)
		b.is(`new URLSearchParams(location.search).get("include") === "verb=delete" && [...document.querySelectorAll("td.verb")].every((c) => c.textContent === "delete")`)
		b.drawn()
		b.is(facetsDrawn)
		// Its own column is not narrowed, the others are.
		if n := eval[int](b, `document.querySelectorAll('.facet[data-column="verb"] .take').length`); n != verbs {
			t.Errorf("the chosen column has %d values, before %d", n, verbs)
		}
		if !eval[bool](b, facetButton("verb", "delete", false)+`.getAttribute("aria-pressed") === "true"`) {
			t.Error("the chosen value does not look chosen")
		}
		eval[bool](b, `(`+facetButton("verb", "create", false)+`.click(), true)`)
		b.is(`new Set([...document.querySelectorAll("td.verb")].map((c) => c.textContent)).size === 2`)
		b.drawn()
		if chip := eval[string](b, `document.querySelector(".chip code").textContent`); chip != `verb in ["delete", "create"]` {
			t.Errorf("as CEL it is %s", chip)
		}
		b.is(facetsDrawn)
		eval[bool](b, `(`+facetButton("user", "system:apiserver", true)+`.click(), true)`)
		b.is(`location.search.includes("exclude=user") && [...document.querySelectorAll("td.user")].every((c) => c.textContent !== "system:apiserver")`)
		b.drawn()
		if ran := eval[string](b, `document.querySelector(".ran code").textContent`); !strings.Contains(ran, `user != "system:apiserver"`) || !strings.Contains(ran, `verb in ["delete", "create"]`) {
			t.Errorf("what ran is %s", ran)
		}
		// The same question in another view.
		if to := eval[string](b, `document.querySelector(".views a[data-view=objects]").getAttribute("href")`); !strings.Contains(to, "exclude=user") || !strings.Contains(to, "include=verb") {
			t.Errorf("Objects is at %s", to)
		}
		eval[bool](b, `(history.back(), true)`)
		b.is(`!location.search.includes("exclude") && document.querySelectorAll(".chip").length === 1`)
		b.drawn()
		b.do(chromedp.Reload())
		b.drawn()
		b.is(`document.querySelectorAll(".chip").length === 1`)
		eval[bool](b, `(document.querySelector(".picks .edit").click(), true)`)
		b.is(`document.getElementById("filter").value === 'verb in ["delete", "create"]' && !location.search.includes("include") && !document.querySelector(".chip")`)
		b.drawn()
	})

	t.Run("search inside", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/")
		b.is(facetsDrawn)
		eval[bool](b, `(() => { const f = document.querySelector('.facet[data-column="user"] input'); f.value = "NAMESPACE-CONTROLLER"; f.dispatchEvent(new Event("input")); return true })()`)
		b.is(`[...document.querySelectorAll('.facet[data-column="user"] .take')].map((b) => b.dataset.value).join() === "system:serviceaccount:kube-system:namespace-controller"`)
		eval[bool](b, `(() => { const f = document.querySelector('.facet[data-column="user"] input'); f.value = "no such user"; f.dispatchEvent(new Event("input")); return true })()`)
		b.is(`document.querySelector('.facet[data-column="user"] .none')?.textContent === "none contains this"`)
	})

	t.Run("keyboard", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/")
		b.is(facetsDrawn)
		b.keys("f")
		b.is(`document.activeElement.matches('.facet[data-column="user"] .take')`)
		first := eval[string](b, `document.activeElement.dataset.value`)
		b.do(chromedp.KeyEvent(kb.ArrowDown))
		b.is(fmt.Sprintf(`document.activeElement.matches(".take") && document.activeElement.dataset.value !== %q`, first))
		second := eval[string](b, `document.activeElement.dataset.value`)
		b.keys("-")
		b.is(fmt.Sprintf(`new URLSearchParams(location.search).get("exclude") === %q`, "user="+second))
		b.drawn()
		b.is(facetsDrawn)
		b.is(fmt.Sprintf(`document.activeElement.dataset.value === %q`, second))
	})

	t.Run("hostile values", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/?filter=" + url.QueryEscape(`user.contains("script")`))
		b.is(facetsDrawn)
		text := eval[string](b, `document.getElementById("facets").innerText`)
		for _, want := range []string{`<script>window.hurt=1</script>`, `"><img src=x onerror=window.hurt=1>`, `' onclick='window.hurt=1`} {
			if !strings.Contains(text, want) {
				t.Errorf("the facets do not show %q as text:\n%s", want, text)
			}
		}
		eval[bool](b, `(`+facetButton("agent", `"><img src=x onerror=window.hurt=1>`, false)+`.click(), true)`)
		b.is(`document.querySelector(".chip code")?.textContent.includes("onerror") && document.querySelectorAll("tr.event").length === 1`)
		b.drawn()
		if eval[bool](b, `"hurt" in window || document.querySelector("#facets img, .chip img, #facets script") !== null`) {
			t.Error("text of an event became part of the page")
		}
	})

	t.Run("closed, narrow, wrong", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/?facets=0")
		b.is(`document.getElementById("facets").hidden`)
		eval[bool](b, `(document.getElementById("facets-toggle").click(), true)`)
		b.is(`!document.getElementById("facets").hidden && ` + facetsDrawn + ` && !location.search.includes("facets")`)
		b.open(ts.URL + "/?include=" + url.QueryEscape("nothing=1"))
		b.is(`document.querySelector(".problem").textContent.includes("nothing")`)
		b.open(ts.URL + "/?include=" + url.QueryEscape("code=x"))
		b.is(`document.querySelector(".problem").textContent.includes("is no number")`)
		// There is a way out, and a wrong filter does not take the choice away.
		eval[bool](b, `(document.querySelector(".chip a").click(), true)`)
		b.is(`!location.search.includes("include") && !document.querySelector(".problem") && document.querySelectorAll("tr.event").length > 0`)
		b.drawn()
		b.open(ts.URL + "/?include=verb%3Ddelete")
		b.fill("filter", "verbb == 1")
		b.is(`document.querySelector(".problem") && document.querySelector(".chip code").textContent === 'verb == "delete"'`)
		b.do(chromedp.EmulateViewport(375, 812))
		b.open(ts.URL + "/")
		b.is(`document.getElementById("facets").hidden`)
		eval[bool](b, `(document.getElementById("facets-toggle").click(), true)`)
		b.is(facetsDrawn + ` && location.search.includes("facets=1")`)
		b.shot("facets-375")
		b.do(chromedp.EmulateViewport(1280, 800))
	})
	b.t = t
}

func TestTableInChromium(t *testing.T) {
	events := append(sampleEvents(t), decoded(t, hostile))
	ts := newTestServer(t, events)
	b := newTab(t)
	b.dark(false)
	// All stages, so that there are as many rows as events.
	const all = "/?filter=stage+%21%3D+%22%22"

	t.Run("scroll to the end, and back", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + all)
		first := eval[string](b, `document.querySelector("tr.event").dataset.id`)
		seen := eval[[]string](b, `[...document.querySelectorAll("tr.event")].map((r) => r.dataset.id)`)
		if len(seen) >= pageRows || len(seen) < 20 {
			t.Errorf("%d rows are in the document", len(seen))
		}
		// Screen by screen, keeping what was seen.
		script := `new Promise((done) => {
			const seen = new Set(); let most = 0;
			const step = () => {
				const rows = document.querySelectorAll("tr.event");
				rows.forEach((r) => seen.add(r.dataset.id));
				most = Math.max(most, rows.length);
				const end = scrollY + innerHeight >= document.documentElement.scrollHeight - 1 && document.querySelector("table").getAttribute("aria-rowcount") !== "-1";
				scrollBy(0, innerHeight * 0.6);
				end && !document.querySelector(".more") ? done([seen.size, most]) : requestAnimationFrame(() => requestAnimationFrame(step));
			}; step(); })`
		got, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]int](script, chromedp.EvalAwaitPromise))
		if err != nil {
			t.Fatal(err)
		}
		if got[0] != len(events) {
			t.Errorf("%d of %d events were seen", got[0], len(events))
		}
		if got[1] > 100 {
			t.Errorf("%d rows were in the document at once", got[1])
		}
		if n := eval[int](b, `Number(document.querySelector("table").getAttribute("aria-rowcount"))`); n != len(events)+1 {
			t.Errorf("the table says that it has %d rows", n)
		}
		// Pages that were dropped on the way come again.
		eval[bool](b, `(scrollTo(0, 0), true)`)
		b.is(fmt.Sprintf(`document.querySelector("tr.event").dataset.id === %q`, first))
		eval[bool](b, `(scrollTo(0, 15000), true)`)
		b.is(`(() => { const t = document.elementFromPoint(500, 400)?.closest("tr.event"); return t && t.dataset.id })()`)
	})

	t.Run("by keyboard beyond the first page", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + all)
		for n := 5; n <= 155; n += 5 {
			b.keys("jjjjj")
			b.is(fmt.Sprintf(`(() => { const r = document.querySelector("tr.chosen"); if (!r) return false; const box = r.getBoundingClientRect(); return Number(r.getAttribute("aria-rowindex")) === %d && box.top >= 0 && box.bottom <= innerHeight })()`, n+1))
			b.is(fmt.Sprintf(`!document.querySelector(".more") && document.querySelector("table").scrollHeight > %d`, (n+10)*28))
		}
		id := eval[string](b, `document.querySelector("tr.chosen").dataset.id`)
		b.keys("\r")
		b.is(fmt.Sprintf(`location.search.includes("event=%s") && document.querySelector("#detail .sentence")?.dataset.id === %q`, id, id))
		b.drawn()
		b.keys("n")
		b.is(fmt.Sprintf(`document.querySelector("#detail .sentence") && !location.search.includes("event=%s")`, id))
		b.drawn()
		b.keys("p")
		b.is(fmt.Sprintf(`document.querySelector("#detail .sentence")?.dataset.id === %q`, id))
		b.drawn()
		b.keys("t")
		b.is(`scrollY === 0 && document.querySelector('tr.event[aria-rowindex="2"]')`)
	})

	t.Run("columns", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/")
		b.keys("c")
		b.is(`document.querySelector("#columns-menu:popover-open")`)
		eval[bool](b, `(document.querySelector('#columns-list li[data-column="agent"] input').click(), true)`)
		b.is(`location.search.includes("columns=") && [...document.querySelectorAll("th")].at(-1).textContent === "Agent"`)
		b.drawn()
		eval[bool](b, `(document.querySelector('#columns-list li[data-column="namespace"] input').click(), true)`)
		b.is(`![...document.querySelectorAll("th")].some((h) => h.textContent === "Namespace")`)
		b.drawn()
		for range 4 {
			eval[bool](b, `(document.querySelector('#columns-list li[data-column="agent"] [data-move="-1"]').click(), true)`)
			b.drawn()
		}
		want := "time,user,agent,verb,object,code,source_ips"
		b.is(fmt.Sprintf(`new URLSearchParams(location.search).get("columns") === %q && [...document.querySelectorAll("th:not(.select)")].map((h) => h.className).join() === "time,user,other,verb,object,code,address"`, want))
		if focus := eval[string](b, `document.activeElement.getAttribute("aria-label")`); focus != "Agent earlier" {
			t.Errorf("the focus is on %q", focus)
		}
		// What is exported as CSV has them too.
		b.keys("\x1b")
		b.is(`!document.querySelector("#columns-menu:popover-open")`)
		b.keys("e")
		b.is(`decodeURIComponent(document.querySelector('#export-links [data-format=csv]').href).includes("columns=time,user,as_user,agent,verb,resource,subresource,name,code,source_ips")`)
		b.keys("\x1b")
		b.do(chromedp.Reload())
		b.drawn()
		b.is(`[...document.querySelectorAll("th:not(.select)")].map((h) => h.className).join() === "time,user,other,verb,object,code,address"`)
		eval[bool](b, `(document.getElementById("columns-reset").click(), true)`)
		b.is(`!location.search.includes("columns")`)
		b.drawn()
		// Every column there is, with what is hostile in them.
		names := make([]string, 0, 40)
		for _, c := range tableColumns() {
			names = append(names, c.Name)
		}
		b.open(ts.URL + "/?columns=" + strings.Join(names, ",") + "&filter=" + url.QueryEscape(`user.contains("script")`))
		if n := eval[int](b, `document.querySelectorAll("tr.event td:not(.select)").length`); n != len(names) {
			t.Errorf("%d cells of %d columns", n, len(names))
		}
		b.fits("all columns")
		if eval[bool](b, `"hurt" in window`) {
			t.Error("a script of an event ran")
		}
	})

	t.Run("live while further down", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + all + "&live=1")
		b.is(`document.getElementById("live").classList.contains("ready")`)
		eval[bool](b, `(scrollTo(0, 3000), true)`)
		b.is(`document.querySelector(".spacer")`)
		e := decoded(t, hostile)
		for range 3 {
			ts.source.Append(e)
			ts.mu.Lock()
			ts.status.Store.LastID++
			ts.mu.Unlock()
		}
		b.is(`document.getElementById("fresh").textContent === "↑ 3 new" && scrollY > 2000`)
		b.keys("t")
		b.is(`scrollY === 0 && document.getElementById("fresh").hidden`)
		b.is(fmt.Sprintf(`document.querySelector("tr.event").dataset.id === "%d"`, len(events)+3))
		// The counts follow.
		b.is(fmt.Sprintf(`document.querySelector("#chart-total strong").textContent.replace(",", "") === "%d"`, len(events)+3))
	})
	b.t = t
}

func TestChartInChromium(t *testing.T) {
	ts := newTestServer(t, append(sampleEvents(t), decoded(t, hostile)))
	b := newTab(t)
	b.dark(false)
	b.open(ts.URL + "/")
	b.is(`document.querySelector("#chart canvas")`)
	b.drawn()
	// Outcomes are told in words too, and add up.
	label := eval[string](b, `document.getElementById("chart").getAttribute("aria-label")`)
	var all, server, denied, failed int
	if _, err := fmt.Sscanf(strings.ReplaceAll(label, ",", ""), "Histogram of %d requests %d denied %d failed", &all, &denied, &failed); err != nil {
		if _, err = fmt.Sscanf(strings.ReplaceAll(label, ",", ""), "Histogram of %d requests %d server error %d denied %d failed", &all, &server, &denied, &failed); err != nil {
			t.Fatalf("%q: %v", label, err)
		}
	}
	if all != 1746 || server+denied+failed != 172 {
		t.Errorf("the outcomes do not add up: %s", label)
	}
	b.keys("b")
	b.is(`document.activeElement.id === "chart"`)
	b.do(chromedp.KeyEvent(kb.ArrowRight))
	b.is(`document.getElementById("chart-read").textContent.includes("request")`)
	eval[bool](b, `(() => { for (let i = 0; i < 4; i++) document.getElementById("chart").dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", shiftKey: true, bubbles: true })); return true })()`)
	b.is(`document.querySelector(".u-select").clientWidth > 10 && document.getElementById("chart-read").textContent.includes("–")`)
	b.keys("\r")
	b.is(`location.search.includes("since=2026-11-22T19%3A44") && location.search.includes("until=")`)
	b.drawn()
	// Times follow the switch of the zone.
	before := eval[string](b, `document.querySelector("#chart-total .span").textContent`)
	b.zone("Asia/Kathmandu")
	b.keys("z")
	b.is(fmt.Sprintf(`document.querySelector("#chart-total .span").textContent !== %q && document.querySelector("#chart-total .span").textContent.includes(" 01:")`, before))
	b.keys("z")
}
