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
