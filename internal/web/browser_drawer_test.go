package web

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestDrawerInChromium opens events and follows what leads on from them.
func TestDrawerInChromium(t *testing.T) {
	events := append(sampleEvents(t), decoded(t, hostile))
	ts := newTestServer(t, events)
	b := newTab(t)
	b.dark(false)

	t.Run("stages, neighbours, decision, timing", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + `/?verb=delete&resource=deployments`)
		eval[bool](b, `(document.querySelector("tr.event").click(), true)`)
		b.is(`document.querySelector("#around .near")`)
		b.drawn()
		if got := eval[[]string](b, `[...document.querySelectorAll("#around h2")].map((h) => h.firstChild.textContent.trim())`); strings.Join(got, ",") != "Stages of this request,Same user,Same object" {
			t.Errorf("beside it are %q", got)
		}
		text := eval[string](b, `document.querySelector(".facts").innerText`)
		for _, want := range []string{"Allowed by", "allow", "Timing", "→"} {
			if !strings.Contains(text, want) {
				t.Errorf("the facts lack %q:\n%s", want, text)
			}
		}
		// Each list is in the order of time, has the event itself, and each event once.
		bad := eval[string](b, `(() => {
			for (const list of [...document.querySelectorAll("#around .near:not(.stages)")]) {
				const times = [...list.querySelectorAll("time")].map((t) => t.dateTime);
				if (times.join() !== [...times].sort().reverse().join()) return "order " + times;
				if (list.querySelectorAll(".open").length !== 1) return "the open one";
				const urls = [...list.querySelectorAll("a")].map((a) => a.href);
				if (new Set(urls).size !== urls.length) return "twice";
			}
			return "" })()`)
		if bad != "" {
			t.Error(bad)
		}
		// To a neighbour, and back.
		id := eval[string](b, `document.querySelector("#detail .sentence").dataset.id`)
		eval[bool](b, `(document.querySelector("#around .near:not(.stages) li:not(.open) a").click(), true)`)
		b.is(fmt.Sprintf(`document.querySelector("#detail .sentence")?.dataset.id !== %q && location.search.includes("verb=delete")`, id))
		b.drawn()
		eval[bool](b, `(history.back(), true)`)
		b.is(fmt.Sprintf(`document.querySelector("#detail .sentence")?.dataset.id === %q`, id))
		b.drawn()
	})

	t.Run("links to the other views", func(t *testing.T) {
		b.t = t
		object := eval[string](b, `document.querySelector("#detail [data-k=timeline]").getAttribute("href")`)
		if !strings.HasPrefix(object, "/objects?object=demo%2F") || !strings.Contains(object, "deployments") {
			t.Errorf("the timeline is at %s", object)
		}
		actor := eval[string](b, `document.querySelector("#detail [data-k=actor]").getAttribute("href")`)
		if !strings.HasPrefix(actor, "/actors/") {
			t.Errorf("the user is at %s", actor)
		}
	})

	t.Run("copy", func(t *testing.T) {
		b.t = t
		eval[bool](b, `(() => { window.copied = []; Object.defineProperty(navigator, "clipboard", { value: { writeText: async (s) => void window.copied.push(s) } }); document.querySelectorAll("[data-copy]").forEach((x) => x.click()); return true })()`)
		b.is(`window.copied.length === 4`)
		got := strings.Join(eval[[]string](b, `window.copied`), "\n")
		for _, want := range []string{ts.URL + "/?event=", "kubectl delete deployments.apps", `audit_id == "`, `"kind":"Event"`} {
			if !strings.Contains(got, want) {
				t.Errorf("nothing copied has %q:\n%s", want, got)
			}
		}
	})

	t.Run("search in the event, folding", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + `/?verb=create&resource=deployments`)
		eval[bool](b, `(document.querySelector("tr.event").click(), true)`)
		b.is(`document.querySelector("#around .near")`)
		b.drawn()
		if n := eval[int](b, `document.querySelectorAll(".json details details").length`); n == 0 {
			t.Error("what is inside cannot be folded")
		}
		eval[bool](b, `(document.getElementById("json-fold").click(), true)`)
		b.is(`document.querySelectorAll(".json details[open]").length === 0`)
		b.keys("s")
		b.is(`document.activeElement.id === "json-find"`)
		eval[bool](b, `(() => { const f = document.getElementById("json-find"); f.value = 'CONTAINERS": ['; f.dispatchEvent(new Event("input")); return true })()`)
		b.is(`/^1 of \d+$/.test(document.getElementById("json-found").textContent) && document.querySelectorAll(".json details[open]").length > 1`)
		n := eval[int](b, `CSS.highlights.get("json-found").size`)
		if n < 1 {
			t.Errorf("%d places are marked", n)
		}
		b.do(chromedp.KeyEvent(kb.Enter))
		if n > 1 {
			b.is(`document.getElementById("json-found").textContent.startsWith("2 of")`)
		}
		eval[bool](b, `(() => { const f = document.getElementById("json-find"); f.value = "no such thing (.*"; f.dispatchEvent(new Event("input")); return true })()`)
		b.is(`document.getElementById("json-found").textContent === "none"`)
	})

	t.Run("hostile", func(t *testing.T) {
		b.t = t
		for _, width := range []int64{375, 1280} {
			b.do(chromedp.EmulateViewport(width, 812))
			b.open(fmt.Sprintf("%s/?event=%d", ts.URL, len(events)))
			b.is(`document.querySelector("#around .near")`)
			b.drawn()
			b.shot(fmt.Sprintf("drawer-hostile-%d", width))
			shown := eval[string](b, `document.getElementById("detail").innerText`)
			if strings.ContainsAny(shown, "\u202e\u200b\a") || !strings.Contains(shown, "forbid") {
				t.Errorf("the event shows\n%s", shown)
			}
			if command := eval[string](b, `document.querySelector("[data-copy^=kubectl]")?.dataset.text ?? ""`); strings.ContainsAny(command, "\u202e\u200b\a\n") {
				t.Errorf("the command is %q", command)
			}
		}
		if eval[bool](b, `"hurt" in window || document.querySelector("#detail script, #detail img, #detail svg, [onclick], [onerror]") !== null`) {
			t.Error("text of an event became part of the page")
		}
	})
	b.t = t
}

// TestEventsHaveNoBarriers has axe-core look at what the Events view opens.
func TestEventsHaveNoBarriers(t *testing.T) {
	events := append(sampleEvents(t), decoded(t, hostile))
	ts := newTestServer(t, events)
	b := newTab(t)
	for _, dark := range []bool{false, true} {
		b.dark(dark)
		for _, width := range []int64{375, 1280} {
			b.do(chromedp.EmulateViewport(width, 812))
			for _, s := range []pageState{
				{name: "facets", url: "/?facets=1&include=verb%3Ddelete&exclude=user%3Dsystem:apiserver", ready: facetsDrawn},
				{name: "columns", url: "/?columns=time,user,verb,object,namespace,code,source_ips,agent,groups,uri,latency_us", then: `(document.getElementById("columns-menu").showPopover(), true)`},
				{name: "drawer", url: fmt.Sprintf("/?event=%d", len(events)-3), ready: `document.querySelector("#around .near")`},
			} {
				b.open(ts.URL + s.url)
				if s.ready != "" {
					b.is(s.ready)
				}
				if s.then != "" {
					eval[bool](b, s.then)
				}
				b.shot(fmt.Sprintf("%s-%d-%t", s.name, width, dark))
				for _, v := range b.barriers() {
					t.Errorf("%s, %d pixels, dark %t: %s", s.name, width, dark, v)
				}
			}
		}
	}
}
