package web

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/ktrail/ktrail/audit"
)

// TestStateInChromium: what the reader has asked, written and looked at stays,
// whatever else happens on the page.
func TestStateInChromium(t *testing.T) {
	events := append(sampleEvents(t), decoded(t, hostile))
	ts := newTestServer(t, events)
	b := newTab(t)
	b.dark(false)
	b.zone("Asia/Kathmandu") // UTC+5:45
	const all = `/?filter=stage+%21%3D+%22%22`
	run := func(name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			b.t = t
			test(t)
			b.forgive()
		})
	}

	run("closing an event keeps the question asked meanwhile", func(t *testing.T) {
		for _, press := range []string{`document.querySelector("#detail .close").click()`, `document.querySelector("#around .near li:not(.open) a").click()`} {
			b.open(ts.URL + fmt.Sprintf("/?event=%d", len(events)-3))
			b.is(`document.querySelector("#around .near li:not(.open) a")`)
			b.fill("verb", "get,list,watch,create,update,patch,delete")
			b.is(`document.querySelector("#detail .sentence") && location.search.includes("verb=")`)
			eval[bool](b, `(`+press+`, true)`)
			b.is(fmt.Sprintf(`!location.search.includes("event=%d")`, len(events)-3))
			b.drawn()
			b.is(`location.search.includes("verb=get") && document.querySelector("[name=verb]").value.startsWith("get")`)
		}
	})

	run("what is being written stays", func(t *testing.T) {
		half := `verb == "del`
		write := fmt.Sprintf(`(document.getElementById("filter").value = %q, true)`, half)
		same := fmt.Sprintf(`document.getElementById("filter").value === %q`, half)
		b.open(ts.URL + "/")
		eval[bool](b, write)
		eval[bool](b, `(document.getElementById("zone").click(), document.getElementById("zone").click(), true)`)
		if !eval[bool](b, same) {
			t.Error("the switch of the zone took it away")
		}
		// The first event of an empty answer asks anew.
		b.open(ts.URL + "/?user=half-user&live=1")
		b.is(`document.querySelector(".empty") && document.getElementById("live").classList.contains("ready")`)
		eval[bool](b, write)
		ts.source.Append(decoded(t, strings.ReplaceAll(hostile, `<script>window.hurt=1</script>","groups"`, `half-user","groups"`)))
		ts.mu.Lock()
		ts.status.Store.LastID++
		ts.mu.Unlock()
		b.is(`document.querySelectorAll("tr.event").length === 1`)
		if !eval[bool](b, same+` && location.search === "?user=half-user&live=1"`) {
			t.Errorf("what was half written was asked: %s", eval[string](b, `location.search + " " + document.getElementById("filter").value`))
		}
	})

	run("a link to a range leads to the question asked now", func(t *testing.T) {
		b.open(ts.URL + "/")
		b.fill("user", "alice")
		if href := eval[string](b, `document.querySelector('.presets a[data-since="1h"]').getAttribute("href")`); href != "/?user=alice&since=1h" {
			t.Errorf("it leads to %s", href)
		}
		if href := eval[string](b, `document.querySelector('.presets a[data-since=""]').getAttribute("href")`); href != "/?user=alice" {
			t.Errorf("all time leads to %s", href)
		}
	})

	run("a time without a zone is UTC, and shown in the reader's", func(t *testing.T) {
		b.open(ts.URL + "/?since=2026-11-22T19:40&until=2026-11-23")
		b.keys("z")
		b.is(`document.getElementById("zone").textContent === "UTC+5:45"`)
		if got := eval[string](b, `document.querySelector("[name=since]").value + " " + document.querySelector("[name=until]").value`); got != "2026-11-23T01:25:00 2026-11-23T05:45:00" {
			t.Errorf("the fields show %s", got)
		}
		b.fill("verb", "create")
		b.is(`location.search.includes("since=2026-11-22T19%3A40&until=2026-11-23")`)
		b.keys("z")
	})

	run("another question begins at its newest event", func(t *testing.T) {
		b.open(ts.URL + all)
		eval[bool](b, `(scrollTo(0, 2500), true)`)
		b.is(`document.querySelector(".spacer")`)
		eval[bool](b, `(document.getElementById("search").elements.verb.value = "get", document.getElementById("search").requestSubmit(), true)`)
		b.is(`location.search.includes("verb=get")`)
		b.drawn()
		b.is(`document.querySelector('tr.event[aria-rowindex="2"]').getBoundingClientRect().top >= 0`)
	})

	run("nothing is lost between what came live", func(t *testing.T) {
		b.open(ts.URL + all + "&live=1")
		b.is(`document.getElementById("live").classList.contains("ready")`)
		eval[bool](b, `(scrollTo(0, 2500), true)`)
		b.is(`document.querySelector(".spacer")`)
		e := decoded(t, hostile)
		before := ts.inner.Status().Store.LastID
		ts.source.Append(slices.Repeat([]audit.Event{e}, 1005)...)
		ts.mu.Lock()
		ts.status.Store.LastID += 1005
		ts.mu.Unlock()
		b.is(`document.getElementById("fresh").textContent.startsWith("↑ 1,000+")`)
		// The others may still be under way.
		b.is(fmt.Sprintf(`(document.getElementById("fresh").hidden || document.getElementById("fresh").click(), Number(document.querySelector("tr.event").dataset.id) === %d)`, before+1005))
		b.drawn()
		ids := eval[[]int64](b, `[...document.querySelectorAll("tr.event")].map((r) => Number(r.dataset.id))`)
		for i := 1; i < len(ids); i++ {
			if ids[i] != ids[i-1]-1 {
				t.Fatalf("after %d comes %d", ids[i-1], ids[i])
			}
		}
	})

	run("live shows nothing after the end of the range", func(t *testing.T) {
		b.open(ts.URL + "/?until=2026-11-22T19:50:10&live=1")
		b.is(`document.getElementById("live").classList.contains("ready")`)
		late := strings.ReplaceAll(hostile, `<script>window.hurt=1</script>","groups"`, `late-user","groups"`)
		ts.source.Append(decoded(t, late))
		ts.source.Append(decoded(t, strings.ReplaceAll(late, "19:50:10", "19:50:09")))
		ts.mu.Lock()
		ts.status.Store.LastID += 2
		ts.mu.Unlock()
		b.is(`document.querySelector("tr.event.new td.user").textContent.includes("late-user")`)
		if n := eval[int](b, `document.querySelectorAll("tr.event.new").length`); n != 1 {
			t.Errorf("%d events are shown", n)
		}
	})

	run("a tab that nobody sees streams nothing", func(t *testing.T) {
		b.open(ts.URL + all + "&live=1")
		b.is(`document.getElementById("live").classList.contains("ready")`)
		hide := func(hidden bool) {
			eval[bool](b, fmt.Sprintf(`(Object.defineProperty(document, "hidden", { value: %t, configurable: true }), document.dispatchEvent(new Event("visibilitychange")), true)`, hidden))
		}
		hide(true)
		b.is(`!document.getElementById("live").classList.contains("ready")`)
		ts.source.Append(decoded(t, hostile))
		ts.mu.Lock()
		ts.status.Store.LastID++
		last := ts.status.Store.LastID
		ts.mu.Unlock()
		hide(false)
		b.is(fmt.Sprintf(`document.querySelector("tr.event").dataset.id === "%d"`, last))
		b.is(`document.getElementById("live").classList.contains("ready")`)
	})

	run("the focus is not lost", func(t *testing.T) {
		// Closing an event leads back to its row.
		b.open(ts.URL + all)
		eval[bool](b, `(document.querySelectorAll("tr.event td.time a")[2].click(), true)`)
		b.is(`document.querySelector("#detail .close")`)
		b.drawn()
		eval[bool](b, `(document.querySelector("#detail .close").focus(), document.querySelector("#detail .close").click(), true)`)
		b.is(`document.getElementById("detail").hidden && document.activeElement === document.querySelectorAll("tr.event td.time a")[2]`)
		// A neighbour opens where the reader is.
		b.open(ts.URL + fmt.Sprintf("/?event=%d", len(events)-3))
		b.is(`document.querySelector("#around .near li:not(.open) a")`)
		eval[bool](b, `(() => { const a = document.querySelector("#around .near li:not(.open) a"); a.focus(); a.click(); return true })()`)
		b.is(fmt.Sprintf(`!location.search.includes("event=%d") && document.querySelector("#detail .sentence")`, len(events)-3))
		b.drawn()
		b.is(`document.getElementById("detail").contains(document.activeElement)`)
		// All values of a facet are there: there is no button for more.
		b.open(ts.URL + "/")
		b.is(facetsDrawn)
		eval[bool](b, `(document.querySelector('.facet[data-column="resource"] .facet-more').focus(), true)`)
		b.is(`(document.activeElement.matches(".facet-more") && document.activeElement.click(), !document.querySelector('.facet[data-column="resource"] [aria-busy]') && document.querySelector('.facet[data-column="resource"] .facet-more').hidden)`)
		b.is(`document.activeElement.matches('.facet[data-column="resource"] .take')`)
		// A deleted view leaves Undo.
		if _, err := ts.inner.Views.Create("one", "/"); err != nil {
			t.Fatal(err)
		}
		b.keys("v")
		b.is(`document.querySelectorAll("#views-list li button").length === 2`)
		eval[bool](b, `(document.querySelectorAll("#views-list li button")[1].focus(), document.querySelectorAll("#views-list li button")[1].click(), true)`)
		b.is(`document.querySelector("#views-said button") && document.activeElement === document.querySelector("#views-said button")`)
		eval[bool](b, `(document.querySelector("#views-said button").click(), true)`)
		b.is(`document.querySelectorAll("#views-list li").length === 1 && document.getElementById("views-menu").contains(document.activeElement)`)
		// What did not change on Sources is left alone.
		b.open(ts.URL + "/sources")
		eval[bool](b, `(document.querySelector(".quarantine pre").focus(), true)`)
		ts.mu.Lock()
		ts.status.Sources[0].Duplicates = 4711
		ts.mu.Unlock()
		b.keys("r")
		b.is(`document.querySelector(".source").innerText.includes("4,711")`)
		b.drawn()
		b.is(`document.activeElement.matches(".quarantine pre")`)
	})

	run("the day is told where it begins, in few pixels too", func(t *testing.T) {
		incident := newTestServer(t, incidentEvents(t))
		for _, width := range []int64{375, 1280} {
			b.do(chromedp.EmulateViewport(width, 800))
			b.open(incident.URL + "/?user=dana*&event=1")
			const told = `[...document.querySelectorAll("tr.event .day")].filter((d) => d.checkVisibility()).map((d) => d.textContent).join()`
			if days := eval[string](b, told); !strings.HasPrefix(days, "2026-11-23") || strings.Count(days, "-23") != 1 {
				t.Errorf("%d pixels: the days told are %q", width, days)
			}
			b.is(`(scrollTo(0, document.documentElement.scrollHeight), ` + told + `.includes("2026-11-22"))`)
			if days := eval[string](b, told); strings.Count(days, "-22") != 1 {
				t.Errorf("%d pixels: the days told are %q", width, days)
			}
		}
		b.do(chromedp.EmulateViewport(1280, 800))
	})

	run("a brush under way stays while it is live", func(t *testing.T) {
		b.open(ts.URL + "/?live=1")
		b.is(`document.querySelector("#chart canvas") && document.getElementById("live").classList.contains("ready")`)
		b.keys("b")
		b.do(chromedp.KeyEvent(kb.ArrowRight))
		b.is(`document.getElementById("chart-read").textContent !== ""`)
		read := eval[string](b, `document.getElementById("chart-read").textContent`)
		eval[bool](b, `(() => { const slow = setTimeout; window.setTimeout = (g, ms) => slow(g, ms > 500 ? 5 : ms); return true })()`)
		ts.source.Append(decoded(t, hostile))
		ts.mu.Lock()
		ts.status.Store.LastID++
		last := ts.status.Store.LastID
		ts.mu.Unlock()
		b.is(fmt.Sprintf(`document.querySelector("tr.event").dataset.id === "%d" && document.querySelector('.facet-values[aria-busy]') === null`, last))
		b.promised(`new Promise((done) => { const slow = requestAnimationFrame; let n = 0; const step = () => (++n > 20 ? done(true) : slow(step)); step(); })`)
		if now := eval[string](b, `document.getElementById("chart-read").textContent`); now != read {
			t.Errorf("%q became %q", read, now)
		}
	})

	run("an address of another site is no link", func(t *testing.T) {
		for _, path := range []string{`/\evil.example`, `//evil.example`, `javascript:alert(1)`} {
			_, body := fetch(t, "GET", ts.URL+"/page/scope?include=verb%3Dget&path="+url.QueryEscape(path), "")
			if strings.Contains(body, "evil.example") && !strings.Contains(body, "%5cevil") || strings.Contains(body, "javascript:") {
				t.Errorf("path %q: %s", path, body)
			}
		}
	})
	b.t = t
}
