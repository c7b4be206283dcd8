package web

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// zone sets the browser's own time zone.
func (b *tab) zone(name string) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: name})
		return err
	}))
}

// at waits for a view to be drawn.
func (b *tab) at(view string) {
	b.t.Helper()
	b.is(fmt.Sprintf(`document.body.dataset.view === %q`, view))
	b.drawn()
}

// TestViewsInChromium goes from view to view: the question goes along.
func TestViewsInChromium(t *testing.T) {
	ts := newTestServer(t, append(sampleEvents(t), decoded(t, hostile)))
	b := newTab(t)
	b.dark(false)
	b.zone("Asia/Kathmandu") // UTC+5:45

	t.Run("by keyboard", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/?filter=verb+%3D%3D+%22delete%22&namespace=search&since=2026-11-22T19:00&failed=1&event=7")
		for _, go1 := range []struct{ key, view, path string }{{"o", "objects", "/objects"}, {"a", "actors", "/actors"}, {"s", "sources", "/sources"}, {"e", "events", "/"}} {
			// Pressed at once, though the page takes two seconds to look at each.
			eval[bool](b, fmt.Sprintf(`(() => {
				const now = performance.now();
				let n = 0;
				performance.now = () => now + 2000 * n++;
				["g", %q].map((key) => new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })).forEach((e) => document.body.dispatchEvent(e));
				return delete performance.now;
			})()`, go1.key))
			b.at(go1.view)
			b.is(fmt.Sprintf(`location.pathname === %q && document.querySelector(".views [aria-current]").dataset.view === %q`, go1.path, go1.view))
			b.is(`document.getElementById("filter").value === 'verb == "delete"' && document.querySelector("[name=namespace]").value === "search" && document.querySelector("[name=failed]").checked && document.querySelector("[name=since]").value === "2026-11-22T19:00"`)
			if eval[bool](b, `location.search.includes("event=")`) {
				t.Error("the open event went along")
			}
		}
		eval[bool](b, `(history.back(), true)`)
		b.at("sources")
		eval[bool](b, `(history.forward(), true)`)
		b.at("events")
	})

	t.Run("the question changes in a view", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/sources")
		b.fill("verb", "get")
		b.is(`location.pathname === "/sources" && location.search === "?verb=get" && document.querySelector(".views [data-view=events]").search === "?verb=get"`)
		b.fill("filter", "verbb")
		b.is(`document.querySelector(".problem .caret") && document.getElementById("filter").hasAttribute("aria-invalid")`)
		eval[bool](b, `(history.back(), true)`)
		b.is(`!document.querySelector(".problem") && document.getElementById("filter").value === ""`)
		b.drawn()
	})

	t.Run("local time", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/?until=2026-11-22T19:50:00.123456Z")
		const first = `document.querySelector("td.time").innerText.trim()`
		utc := eval[string](b, first)
		b.keys("z")
		b.is(`document.getElementById("zone").textContent === "UTC+5:45" && document.querySelector("[data-zone]").textContent === "UTC+5:45"`)
		b.drawn()
		local := eval[string](b, first)
		if !strings.HasPrefix(utc, "2026-11-22 19:50:00.030") || !strings.HasPrefix(local, "2026-11-23 01:35:00.030") {
			t.Errorf("%q became %q", utc, local)
		}
		// What was typed by nobody stays to the microsecond; what is typed is local.
		b.is(`document.querySelector("[name=until]").value.startsWith("2026-11-23T01:35:00")`)
		b.fill("verb", "create")
		b.is(`new URLSearchParams(location.search).get("until") === "2026-11-22T19:50:00.123456Z"`)
		b.fill("since", "2026-11-23 01:30")
		b.is(`new URLSearchParams(location.search).get("since") === "2026-11-22T19:45:00.000Z"`)
		// It is the reader's choice, in every view and after a reload.
		b.open(ts.URL + "/sources")
		b.is(`document.querySelector(".store time").textContent.startsWith("2026-11-23 01:") && document.getElementById("zone").textContent === "UTC+5:45"`)
		b.keys("z")
		b.is(`document.querySelector(".store time").textContent.startsWith("2026-11-22 19:")`)
	})

	t.Run("sources", func(t *testing.T) {
		b.t = t
		troubled := newTestServer(t, sampleEvents(t))
		troubled.mu.Lock()
		troubled.status = troubledStatus()
		troubled.mu.Unlock()
		b.open(troubled.URL + "/sources")
		b.is(`document.querySelectorAll(".source").length === 2 && document.querySelectorAll(".source:nth-of-type(2) .arrivals .bar").length > 5`)
		b.is(`document.querySelectorAll(".arrivals .hole").length === 1 && document.querySelector(".meter .reserve")`)
		text := eval[string](b, `document.getElementById("sources").innerText`)
		for _, want := range []string{"48.0 MiB behind", "12 minutes", "/var/log/<b>/audit.log", "was deleted before it was read", "2026-11-22 03:00:00", "not JSON", `<script>⟨0xFF⟩⟨U+202E⟩`, "must stay free", "of at most 30 days"} {
			if !strings.Contains(text, want) {
				t.Errorf("the page does not say %q:\n%s", want, text)
			}
		}
		// What was before the page was opened.
		b.is(`[...document.querySelectorAll("[data-trend] small")].length === 4 && [...document.querySelectorAll("[data-trend] small")].every((s) => s.textContent === "since the server started")`)
		if n := eval[int](b, `document.querySelector("[data-trend=lag] polyline").points.numberOfItems`); n != 181 {
			t.Errorf("the line has %d points", n)
		}
		if x := eval[float64](b, `document.querySelector("[data-trend=rate] polyline").points[0].x`); x < 490 || x > 510 {
			t.Errorf("half an hour ago is at %g of 1000", x)
		}
		// What changes shows, by itself or asked for.
		troubled.mu.Lock()
		troubled.status.Sources[1].LagBytes = 0
		troubled.mu.Unlock()
		b.keys("r")
		b.is(`document.querySelectorAll(".source")[1].innerText.includes("up to date") && document.querySelector("[data-trend=lag] polyline")`)
		b.drawn()
	})

	t.Run("saved views", func(t *testing.T) {
		b.t = t
		const name = `ni"ght <b>&%ü`
		b.open(ts.URL + "/?verb=delete&live=1")
		b.keys("v")
		b.is(`document.querySelector("#views-menu:popover-open .none") && document.activeElement.id === "views-name"`)
		save := fmt.Sprintf(`(document.getElementById("views-name").value = %q, document.getElementById("views-form").requestSubmit(), true)`, name)
		eval[bool](b, save)
		b.is(fmt.Sprintf(`document.querySelector("#views-list li a").textContent === %q && document.querySelector("#views-list li a").getAttribute("href") === "/?verb=delete"`, name))
		b.is(`document.querySelector("#views-list [aria-current]")`)
		// Another one of the same name replaces it only when told to.
		b.open(ts.URL + "/objects?user=alice")
		b.keys("v")
		b.is(`document.querySelectorAll("#views-list li").length === 1`)
		eval[bool](b, save)
		b.is(`document.querySelector("#views-said button")`)
		b.heard("409") // the console tells of any answer that is an error
		eval[bool](b, `(document.querySelector("#views-said button").click(), true)`)
		b.is(`document.querySelector("#views-list li a").getAttribute("href") === "/objects?user=alice"`)
		b.open(ts.URL + "/views/ni%22ght%20%3Cb%3E&%25%C3%BC")
		b.at("objects")
		b.is(`location.search === "?user=alice" && document.querySelector("[name=user]").value === "alice"`)
		b.keys("v")
		b.is(`document.querySelectorAll("#views-list li button").length === 2`)
		eval[bool](b, `(document.querySelectorAll("#views-list li button")[1].click(), true)`)
		b.is(`document.querySelector("#views-list .none") && document.querySelector("#views-said button").textContent === "Undo"`)
		eval[bool](b, `(document.querySelector("#views-said button").click(), true)`)
		b.is(`document.querySelectorAll("#views-list li").length === 1`)
		b.keys("\x1b")
		b.is(`!document.querySelector(":popover-open")`)
	})

	t.Run("export", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/?verb=delete&since=2026-11-22T19:48&filter=namespace+%3D%3D+%22search%22")
		b.keys("e")
		b.is(`document.querySelector("#export-menu:popover-open") && document.activeElement.dataset.format === "html"`)
		for format, want := range map[string]string{"html": "<!doctype html>", "csv": "delete", "jsonl": `"verb":"delete"`, "raw": `"verb":"delete"`} {
			href := eval[string](b, fmt.Sprintf(`document.querySelector("#export-links [data-format=%s]").href`, format))
			resp, err := http.Get(href)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != 200 || !strings.Contains(strings.ToLower(string(body)), strings.ToLower(want)) {
				t.Errorf("%s: %d, %v, %.300s", href, resp.StatusCode, err, body)
			}
			if strings.Contains(string(body), `"verb":"get"`) {
				t.Errorf("%s is more than what is shown", format)
			}
		}
	})
}

// heard takes a message that is expected from the console's.
func (b *tab) heard(part string) {
	b.t.Helper()
	b.listened()
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, m := range b.messages {
		if strings.Contains(m, part) {
			b.messages = append(b.messages[:i], b.messages[i+1:]...)
			return
		}
	}
	b.t.Errorf("the console did not say %q: %q", part, b.messages)
}
