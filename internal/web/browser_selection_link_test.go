package web

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestSelectionLinkInChromium: what is selected is in the address, as much as the question is.
func TestSelectionLinkInChromium(t *testing.T) {
	events := sampleEvents(t)
	ts := newTestServer(t, events)
	b := newTab(t)
	b.dark(false)
	run := func(name string, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) { b.t = t; f(t) })
		b.t = t
	}
	const deletes = `?filter=verb+%3D%3D+%22delete%22`
	count := func(n string) {
		b.t.Helper()
		b.is(fmt.Sprintf(`document.getElementById("selection-count").textContent === %q`, n))
	}
	// address waits for a selection in the address, "" for none.
	address := func(selected string) {
		b.t.Helper()
		b.is(fmt.Sprintf(`(new URLSearchParams(location.search).get("selected") ?? "") === %q && !location.search.includes("selected=&")`, selected))
	}
	back := func() {
		b.t.Helper()
		eval[bool](b, `(history.back(), true)`)
	}
	ids := func() []int {
		b.t.Helper()
		return eval[[]int](b, `[...document.querySelectorAll("tr.event")].map((r) => Number(r.dataset.id))`)
	}

	run("it goes along with its question, and away with another", func(t *testing.T) {
		b.open(ts.URL + "/" + deletes)
		entries := eval[int](b, `history.length`)
		rows := ids()
		one := fmt.Sprint(rows[0])
		b.keys("jx")
		count("1 selected")
		address(one)
		if n := eval[int](b, `history.length`); n != entries {
			t.Errorf("a selected event is %d entries of history", n-entries)
		}
		// A half-written filter is neither asked nor taken away.
		eval[bool](b, `(document.getElementById("filter").value = 'verb == "half', true)`)
		b.keys("x")
		count("")
		address("")
		b.keys("x")
		count("1 selected")
		if got := eval[string](b, `document.getElementById("filter").value`); got != `verb == "half` {
			t.Errorf("the box has %q", got)
		}
		eval[bool](b, `(document.getElementById("filter").value = 'verb == "delete"', true)`)
		// Opening an event keeps it, and what is selected then is not taken back with the event.
		b.keys("\r")
		b.is(`document.querySelector("#detail .sentence")`)
		b.drawn()
		address(one)
		b.keys("jjx")
		count("2 selected")
		two := fmt.Sprintf("%d,%d", rows[2], rows[0])
		address(two)
		back()
		b.is(`document.getElementById("detail").hidden`)
		address(two)
		count("2 selected")
		// Neither asking again, nor live, nor a column changes it.
		eval[bool](b, `(document.getElementById("search").requestSubmit(), true)`)
		b.drawn()
		b.keys("l")
		b.is(`document.getElementById("live").classList.contains("ready")`)
		b.keys("l")
		b.drawn()
		address(two)
		b.fill("verb", "delete")
		count("")
		address("")
		b.keys("jjx")
		count("1 selected")
		other := fmt.Sprint(eval[[]int](b, selectedIDs)[0])
		address(other)
		back()
		b.is(`document.querySelector("[name=verb]").value === ""`)
		address(two)
		count("2 selected")
		b.drawn()
		b.is(fmt.Sprintf(`String(%s) === "%d,%d"`, selectedIDs, rows[0], rows[2]))
		eval[bool](b, `(history.forward(), true)`)
		address(other)
		count("1 selected")
		// Neither the other views nor other ranges have it, nor what is saved.
		if links := eval[string](b, `[...document.querySelectorAll(".views a, .presets a, tr.event a")].map((a) => a.href).join(" ")`); strings.Contains(links, "selected") {
			t.Errorf("a link has what is selected: %s", links)
		}
		b.open(ts.URL + "/" + deletes + "&selected=" + one)
		count("1 selected")
		b.keys("v")
		b.is(`document.activeElement.id === "views-name"`)
		b.keys("deletes\r")
		b.is(`document.getElementById("views-said").textContent === "Saved."`)
		if views := ts.inner.Views.List(); len(views) != 1 || views[0].State != "/"+deletes {
			t.Errorf("saved is %+v", views)
		}
		b.is(`document.querySelector("#views-list a[aria-current]")`)
		b.keys("\x1b")
		// Esc leaves histogram and facets first.
		b.is(`!document.querySelector(":popover-open") && document.activeElement === document.body`)
		b.drawn()
		for _, part := range []string{"b", "f"} {
			b.keys(part)
			b.is(`document.activeElement.closest("#chart, #facets")`)
			b.keys("\x1b")
			b.is(`document.activeElement === document.body`)
			count("1 selected")
		}
		// Gone to another view and back.
		b.is(`!document.querySelector(":popover-open")`)
		eval[bool](b, `(document.querySelector('.views a[data-view="sources"]').click(), true)`)
		b.is(`location.pathname === "/sources" && !location.search.includes("selected")`)
		b.drawn()
		back()
		b.is(`location.pathname === "/"`)
		b.drawn()
		count("1 selected")
	})

	run("a link has it, also of rows that are not there yet", func(t *testing.T) {
		b.open(ts.URL + `/?filter=stage+!%3D+""&selected=1-3,17,` + fmt.Sprint(len(events)))
		count("5 selected")
		if got := eval[[]int](b, selectedIDs); !slices.Equal(got, []int{len(events)}) {
			t.Errorf("%v look selected", got)
		}
		b.keys("e")
		b.is(`document.querySelector("#export-menu:popover-open") && document.getElementById("export-what").textContent === "The 5 events that are selected."`)
		var want strings.Builder
		for _, id := range []int{len(events), 17, 3, 2, 1} {
			want.WriteString(events[id-1].Raw + "\n")
		}
		if got := b.exported("raw"); got != want.String() {
			t.Errorf("the log is\n%s\nwant\n%s", got, want.String())
		}
		b.keys("\x1b")
		b.is(`!document.querySelector(":popover-open")`)
		// The next pages are the same whatever is selected, and asked for without it.
		const pages = `performance.getEntriesByType("resource").map((e) => e.name).filter((n) => n.includes("/page/results?"))`
		eval[bool](b, `(scrollTo(0, document.documentElement.scrollHeight), true)`)
		b.is(pages + `.length > 0`)
		if asked := eval[string](b, pages+`.join(" ")`); strings.Contains(asked, "selected") {
			t.Errorf("the server is asked %s", asked)
		}
		eval[bool](b, `(scrollTo(0, 0), true)`)
		// Nothing was selected before by hand: a range begins at the cursor.
		b.keys("jjjX")
		count("6 selected")
		b.press(`document.getElementById("selection-clear")`)
		count("")
		address("")
		b.do(chromedp.Reload())
		b.drawn()
		count("")
	})

	run("what is no selection is none", func(t *testing.T) {
		long := strings.TrimSuffix(strings.Repeat("1,", 5000), ",")
		for _, bad := range []string{
			"x", "0", "17-3", "1,,2", "01", "99999999999999999999", "1-999999999", "1-500,1-501", "<img src=x onerror=alert(1)>", long,
		} {
			b.open(ts.URL + "/" + deletes + "&selected=" + url.QueryEscape(bad))
			count("Nothing is selected: what this address says of it cannot be read")
			address("")
			if got := eval[string](b, `location.search`); got != deletes {
				t.Errorf("%.30q: the address is %s", bad, got)
			}
		}
		b.shot("selection-unread-1280")
		b.keys("\x1b")
		count("")
		for given, want := range map[string]string{"": "", "3,1,2,2": "1-3", "9-9": "9", "1-999,1001": "1-999,1001", "1-500,1-500": "1-500"} {
			b.open(ts.URL + "/" + deletes + "&selected=" + given)
			address(want)
		}
	})

	run("what would be too long a link is kept on the page", func(t *testing.T) {
		var odd []string
		for id := 1; id < 2000; id += 2 {
			odd = append(odd, fmt.Sprint(id))
		}
		question := "/?filter=" + url.QueryEscape(`stage != "`+strings.Repeat("long", 500)+`"`)
		b.open(ts.URL + question + "&selected=" + strings.Join(odd, ","))
		count("1,000 selected, too scattered for a link")
		address("")
		b.keys("e")
		b.is(`document.querySelector("#export-menu:popover-open")`)
		if n := strings.Count(b.exported("raw"), "\n"); n != 1000 {
			t.Errorf("%d of 1000 are exported", n)
		}
		b.keys("\x1b")
		b.is(`!document.querySelector(":popover-open")`)
		eval[bool](b, `(document.querySelector("tr.event td.time a").click(), true)`)
		b.is(`document.querySelector("#detail .sentence")`)
		b.drawn()
		back()
		b.is(`document.getElementById("detail").hidden`)
		count("1,000 selected, too scattered for a link")
		b.do(chromedp.EmulateViewport(375, 812))
		b.shot("selection-scattered-375")
		b.do(chromedp.EmulateViewport(1280, 800))
		b.press(`document.getElementById("selection-clear")`)
		count("")
		b.keys("jx")
		count("1 selected")
		address(fmt.Sprint(eval[[]int](b, selectedIDs)[0]))
	})
}
