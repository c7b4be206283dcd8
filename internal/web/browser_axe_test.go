package web

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// barriers are what axe-core finds in the page as it stands: what keeps people
// who cannot see well, or use no mouse, from using it.
func (b *tab) barriers() []string {
	b.t.Helper()
	source, err := os.ReadFile(filepath.Join("..", "..", "tools", "js", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		b.t.Fatalf("%v: install it with scripts/js-deps.sh (or set KTRAIL_SKIP_BROWSER=1)", err)
	}
	if !eval[bool](b, `"axe" in window`) {
		// The debugger's way in, which the content security policy does not concern.
		eval[bool](b, string(source)+"\n;true")
	}
	const run = `axe.run(document, {
		resultTypes: ["violations"],
		runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
	}).then((r) => r.violations.flatMap((v) => v.nodes.map((n) => v.id + " (" + v.help + "): " + n.target.join(" ") + " " + n.html.slice(0, 200) + " " + n.any.map((a) => a.message).join("; "))))`
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](run, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("axe: %v", err)
	}
	return found
}

// pageState is a state of a view to look at: an address, and what to wait for
// and do there.
type pageState struct {
	name, url string
	ready     string // an expression that becomes true
	then      string // an expression to evaluate, "" for none
	after     string // an expression that becomes true then
}

// pageStates are the states of all views on a server with the sample log. A view
// has its own in browser_NAME_test.go.
func pageStates(last int) []pageState {
	states := []pageState{
		{name: "help", url: "/", then: `(document.getElementById("help").showPopover(), true)`},
		{name: "views menu", url: "/", then: `(document.getElementById("views-menu").showPopover(), true)`},
		{name: "export menu", url: "/", then: `(document.getElementById("export-menu").showPopover(), true)`},
		{name: "status", url: "/", then: `(document.getElementById("status-panel").showPopover(), true)`},
		{name: "filter-error", url: "/?filter=verb+%3D%3D+%22delete%22+%26%26+resorce+%3D%3D+%22pods%22", ready: `document.querySelector(".problem")`},
		{name: "events", url: "/", ready: `document.querySelector("#chart canvas")`},
		{name: "event", url: fmt.Sprintf("/?event=%d", last), ready: `document.querySelector("#detail .sentence")`},
		{name: "no-match", url: "/?filter=verb+%3D%3D+%22nothing%22&since=1h", ready: `document.querySelector(".empty")`},
		{name: "sources", url: "/sources"},
		{name: "objects", url: "/objects"},
		{name: "actors", url: "/actors"},
	}
	return states
}

// passingStates are those that the page comes into while it is used: something
// fails, is followed, is chosen.
func passingStates(last int) []pageState {
	// The page's next questions fail, as if the server had said so.
	const fails = `window.fetch = () => Promise.resolve(new Response('{"error":{"code":"unavailable","message":"the store is being repaired"}}', { status: 503 }))`
	return []pageState{
		{name: "answer that does not come", url: "/", then: `(` + fails + `, document.getElementById("search").requestSubmit(), true)`, after: `document.querySelector("#filter-error .error")`},
		{name: "event that does not come", url: "/", ready: `document.querySelector("#chart canvas")`, then: `(` + fails + `, document.querySelector("tr.event td.verb").click(), true)`, after: `document.querySelector("#detail .error")`},
		{name: "neighbours, JSON searched", url: fmt.Sprintf("/?event=%d", last-3), ready: `document.querySelector("#around .near")`, then: `(() => { const f = document.getElementById("json-find"); f.value = "e"; f.dispatchEvent(new Event("input")); return true })()`},
		{name: "facets that do not come", url: "/?facets=1", ready: facetsDrawn, then: `(` + fails + `, document.querySelector(".facet .facet-more").click(), true)`, after: `document.querySelector("#facets .error")`},
		{name: "facets chosen", url: "/?facets=1&include=verb%3Ddelete&exclude=code%3D403", ready: facetsDrawn},
		{name: "events selected", url: "/", then: `(document.querySelector("tr.event td.select input").click(), document.querySelector("tr.event + tr.event td.select input").click(), true)`, after: `document.getElementById("selection-count").textContent === "2 selected"`},
		{name: "export of what is selected", url: "/", then: `(document.querySelector("tr.event td.select input").click(), document.getElementById("export-menu").showPopover(), true)`, after: `document.getElementById("export-count").textContent === "1"`},
		{name: "columns menu", url: "/?columns=time,user,agent", then: `(document.getElementById("columns-menu").showPopover(), true)`},
		{name: "views that do not come", url: "/", then: `(` + fails + `, document.getElementById("views-menu").showPopover(), true)`, after: `document.querySelector("#views-list .error")`},
		{name: "live", url: "/?live=1", ready: `document.getElementById("live").classList.contains("ready")`},
		{name: "live that is lost", url: "/", then: `(window.EventSource = class { readyState = 2; constructor() { setTimeout(() => this.onerror()) } addEventListener() {} close() {} }, document.getElementById("live").click(), true)`, after: `document.getElementById("live").classList.contains("lost")`},
		{name: "live sources", url: "/sources?live=1", ready: `document.querySelector(".trend small")`},
		{name: "values under the pointer", url: "/", then: `(document.querySelector("td.verb").dispatchEvent(new PointerEvent("pointerover", { bubbles: true, pointerType: "mouse" })), true)`, after: `document.querySelector(".pair")`},
	}
}

// TestNoBarriers has axe-core look at every view and state, light and dark,
// narrow and wide.
func TestNoBarriers(t *testing.T) {
	events := append(sampleEvents(t), decoded(t, hostile))
	good := newTestServer(t, events)
	empty := newTestServer(t, nil)
	empty.status.Store, empty.status.Sources = StoreState{State: "ok"}, nil
	troubled := newTestServer(t, events)
	troubled.status = troubledStatus()
	b := newTab(t)
	for _, dark := range []bool{false, true} {
		b.dark(dark)
		for _, width := range []int64{375, 1280} {
			b.do(chromedp.EmulateViewport(width, 800))
			look := func(server string, s pageState) {
				b.open(server + s.url)
				if s.ready != "" {
					b.is(s.ready)
				}
				if s.then != "" {
					eval[bool](b, s.then)
				}
				if s.after != "" {
					b.is(s.after)
				}
				b.shot(fmt.Sprintf("axe %s-%d-%t", s.name, width, dark))
				for _, v := range b.barriers() {
					t.Errorf("%s, %d pixels, dark %t: %s", s.name, width, dark, v)
				}
			}
			for _, s := range pageStates(len(events)) {
				look(good.URL, s)
			}
			if dark == (width == 375) {
				continue // the same markup, in the other two
			}
			for _, s := range passingStates(len(events)) {
				look(good.URL, s)
			}
			b.do(chromedp.Navigate(good.URL + "/views/none"))
			b.is(`document.querySelector(".empty.error h1")`)
			b.forgive() // the console tells of the 404
			b.shot(fmt.Sprintf("axe lost-%d-%t", width, dark))
			for _, v := range b.barriers() {
				t.Errorf("lost, %d pixels, dark %t: %s", width, dark, v)
			}
			for _, v := range views() {
				look(empty.URL, pageState{name: "empty " + v.Name, url: v.Path})
				look(troubled.URL, pageState{name: "troubled " + v.Name, url: v.Path})
			}
		}
	}
}

// TestBarriersAreFound shows that the test above would notice.
func TestBarriersAreFound(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t))
	b := newTab(t)
	b.open(ts.URL + "/")
	eval[bool](b, `(() => {
		document.querySelector("label[for=filter]").remove();
		document.getElementById("filter").placeholder = "";
		document.querySelector(".views a:last-child").style.color = "#cccccc";
		document.getElementById("help-button").removeAttribute("aria-label");
		document.getElementById("help-button").textContent = "";
		document.getElementById("help-button").title = "";
		return true;
	})()`)
	found := strings.Join(b.barriers(), "\n")
	for _, want := range []string{"label (", "color-contrast (", "button-name ("} {
		if !strings.Contains(found, want) {
			t.Errorf("axe does not notice %s:\n%s", want, found)
		}
	}
}
