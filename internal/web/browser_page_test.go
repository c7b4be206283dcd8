package web

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestPageInChromium uses the page as a person does.
func TestPageInChromium(t *testing.T) {
	events := append(sampleEvents(t), decoded(t, hostile))
	ts := newTestServer(t, events)
	b := newTab(t)
	b.dark(false)
	const rows = `document.querySelectorAll("tr.event").length`

	b.open(ts.URL + "/")
	b.is(`document.querySelector("#chart canvas") && document.getElementById("chart-total").textContent.startsWith("1,746 requests · 172 failed")`)

	t.Run("filter by keyboard, back, forward", func(t *testing.T) {
		b.t = t
		b.keys("/")
		b.is(`document.activeElement.id === "filter"`)
		// The driver sends the slash itself too, which a keyboard does not once its
		// key press was taken.
		eval[bool](b, `(document.getElementById("filter").value = "", true)`)
		b.keys(`verb == "delete"` + "\r")
		b.is(`location.search.includes("delete") && [...document.querySelectorAll("td.verb")].every((c) => c.textContent === "delete")`)
		b.drawn()
		b.fill("user", "system:apiserver")
		b.is(`location.search.includes("user=system") && [...document.querySelectorAll("td.user")].every((c) => c.textContent === "system:apiserver")`)
		ran := eval[string](b, `document.querySelector(".ran code").textContent`)
		if !strings.Contains(ran, `user == "system:apiserver"`) || !strings.Contains(ran, `verb == "delete"`) || !strings.Contains(ran, "final") {
			t.Errorf("the controls became %s", ran)
		}
		eval[bool](b, `(history.back(), true)`)
		b.is(`document.querySelector("[name=user]").value === "" && document.getElementById("filter").value === 'verb == "delete"' && [...document.querySelectorAll("td.user")].some((c) => c.textContent !== "system:apiserver")`)
		eval[bool](b, `(history.back(), true)`)
		b.is(`document.getElementById("filter").value === "" && new Set([...document.querySelectorAll("td.verb")].map((c) => c.textContent)).size > 1`)
		eval[bool](b, `(history.forward(), true)`)
		b.is(`document.getElementById("filter").value === 'verb == "delete"' && [...document.querySelectorAll("td.verb")].every((c) => c.textContent === "delete")`)
		b.drawn()
		b.do(chromedp.Reload())
		b.drawn()
		b.is(`document.getElementById("filter").value === 'verb == "delete"' && [...document.querySelectorAll("td.verb")].every((c) => c.textContent === "delete")`)
	})

	t.Run("an error stands below the filter", func(t *testing.T) {
		b.t = t
		b.fill("filter", `verb == "delete" && resorce == "pods"`)
		caret := eval[string](b, `document.querySelector("#filter-error .caret").textContent`)
		text, below, _ := strings.Cut(caret, "\n")
		if strings.Index(text, "resorce") != strings.Index(below, "^") {
			t.Errorf("the caret stands elsewhere:\n%s", caret)
		}
		if eval[bool](b, `!document.getElementById("filter").hasAttribute("aria-invalid") || document.querySelectorAll("tr.event").length > 0 || !document.getElementById("chart-panel").hidden`) {
			t.Error("the page looks as if something had been searched")
		}
		eval[bool](b, `(document.querySelector(".fix").click(), true)`)
		b.is(`document.getElementById("filter").value === 'verb == "delete" && resource == "pods"' && !document.querySelector(".problem") && ` + rows + ` > 0`)
		b.drawn()
	})

	t.Run("open an event by keyboard", func(t *testing.T) {
		b.t = t
		b.keys("j")
		b.keys("j")
		b.is(`document.querySelectorAll("tr.event")[1].classList.contains("chosen")`)
		b.keys("k")
		b.keys("\r")
		b.is(`document.querySelector("#detail .sentence") && location.search.includes("event=")`)
		b.drawn()
		const hostileText = `document.getElementById("detail").innerText`
		for _, want := range []string{`<script>window.hurt=1</script>`, `"><img src=x onerror=window.hurt=1>`, `<svg onload=window.hurt=1>`} {
			if text := eval[string](b, hostileText); !strings.Contains(text, want) {
				t.Errorf("the event does not show %q as text:\n%s", want, text)
			}
		}
		if sentence := eval[string](b, `document.querySelector(".sentence").textContent`); !strings.HasPrefix(sentence, `<script>window.hurt=1</script> tried to delete pod "⟨U+202E⟩txt.exe⟨U+0007⟩⟨U+200B⟩" in`) {
			t.Errorf("the sentence is %q", sentence)
		}
		row := eval[string](b, `document.querySelector("tr.open").innerText`)
		if !strings.Contains(row, "⟨U+202E⟩txt.exe⟨U+0007⟩⟨U+200B⟩") || strings.ContainsAny(row, "\u202e\u200b\a") {
			t.Errorf("the row shows %q", row)
		}
		if eval[bool](b, `"hurt" in window || document.querySelector("#results script, #detail script, #detail img, #detail svg, [onclick], [onerror]") !== null`) {
			t.Error("text of an event became part of the page")
		}
		b.keys("\x1b")
		b.is(`document.getElementById("detail").hidden && !location.search.includes("event=")`)
		eval[bool](b, `(history.back(), true)`)
		b.is(`document.querySelector("#detail .sentence")`)
	})

	t.Run("a hostile name can be searched for", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + fmt.Sprintf("/?event=%d", len(events)))
		eval[bool](b, `(document.querySelector(".part[data-c=name]").click(), true)`)
		b.is(rows + ` === 1 && document.getElementById("filter").value === 'name == "\\u202etxt.exe\\u0007\\u200b"'`)
		b.drawn()
	})

	t.Run("look at all of the time", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/?user=system:apiserver&until=2026-01-01")
		b.is(`document.querySelector(".empty h2").textContent === "No request matches"`)
		eval[bool](b, `(document.querySelector(".empty a").click(), true)`)
		b.is(rows + ` > 0 && document.querySelector("[name=user]").value === "system:apiserver" && document.querySelector("[name=until]").value === ""`)
		b.drawn()
	})

	t.Run("add a cell to the filter", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/")
		eval[bool](b, `(() => { const c = document.querySelector("td.verb"); c.dispatchEvent(new PointerEvent("pointerover", { bubbles: true, pointerType: "mouse" })); c.querySelectorAll(".pair button")[1].click(); return true })()`)
		b.is(`document.getElementById("filter").value === 'verb != "delete"'`)
		b.drawn()
	})

	t.Run("zoom by brush", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/")
		b.is(`document.querySelector(".u-over")`)
		b.place(`document.querySelector(".u-over")`)
		box := eval[[]float64](b, `(() => { const r = document.querySelector(".u-over").getBoundingClientRect(); return [r.left, r.top, r.width, r.height] })()`)
		y := box[1] + box[3]/2
		b.do(chromedp.DragAndDropXY(box[0]+box[2]*0.7, y, box[0]+box[2]*0.9, y, 5))
		b.is(`location.search.includes("since=2026-11-22T19%3A4") && location.search.includes("until=")`)
		b.drawn()
		if first := eval[string](b, `document.querySelector("td.time").dataset.v`); first > "2026-11-22T19:50" || first < "2026-11-22T19:48" {
			t.Errorf("the newest event in the range is of %s", first)
		}
	})

	t.Run("live", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/?filter=user+%3D%3D+%22live-user%22")
		b.is(`document.querySelector(".empty") && !document.getElementById("rows")`)
		b.keys("l")
		b.is(`location.search.includes("live=1") && document.getElementById("live").classList.contains("ready")`)
		e := decoded(t, strings.ReplaceAll(hostile, `<script>window.hurt=1</script>","groups"`, `live-user","groups"`))
		// It is followed from the newest event there was when the table was asked
		// for, so each one shows, once.
		for n := 1; n <= 3; n++ {
			ts.source.Append(e)
			ts.mu.Lock()
			ts.status.Store.LastID++
			ts.mu.Unlock()
			b.is(fmt.Sprintf(rows+" === %d", n))
			b.drawn()
		}
		if !eval[bool](b, `performance.getEntriesByType("resource").every((r) => !r.name.includes("/page/follow") || /[?&]after=\d/.test(r.name))`) {
			t.Error("a stream was opened without saying what the page has")
		}
		b.is(`document.getElementById("live").getAttribute("aria-pressed") === "true"`)
		b.keys("l")
		b.is(`!location.search.includes("live=")`)
	})

	t.Run("values are offered, the state is kept fresh", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/")
		b.is(`(document.querySelector("[name=verb]").focus(), document.querySelector("#values-verb option[value=delete]"))`)
		eval[bool](b, `(document.activeElement.blur(), true)`)
		ts.mu.Lock()
		ts.status.Store.Events = 424242
		ts.mu.Unlock()
		eval[bool](b, `document.dispatchEvent(new Event("visibilitychange"))`)
		b.is(`document.querySelector("#status .pill-text").textContent === "424,242 events"`)
	})

	t.Run("help and states", func(t *testing.T) {
		b.t = t
		b.keys("?")
		b.is(`document.querySelector("#help:popover-open")`)
		b.keys("\x1b")
		b.is(`!document.querySelector("#help:popover-open")`)
		eval[bool](b, `(document.querySelector("#status .pill").click(), true)`)
		b.is(`document.querySelector("#status-panel:popover-open").innerText.includes("following")`)
	})
	b.t = t
	if eval[bool](b, `"hurt" in window`) {
		t.Error("a script of an event ran")
	}
}

// TestConsoleIsHeard shows that the other browser tests would notice a violation
// of the content security policy.
func TestConsoleIsHeard(t *testing.T) {
	ts := newTestServer(t, nil)
	b := newTab(t)
	b.open(ts.URL + "/")
	eval[bool](b, `(() => { const s = document.createElement("style"); s.textContent = "body{color:red}"; document.head.append(s); return true })()`)
	b.is(`getComputedStyle(document.body).color !== "rgb(255, 0, 0)"`)
	eval[bool](b, `(() => { try { document.body.insertAdjacentHTML("beforeend", "<i onclick=x>"); return false } catch { return true } })()`)
	b.listened()
	b.mu.Lock()
	heard := strings.Join(b.messages, "\n")
	b.messages = nil
	b.mu.Unlock()
	if !strings.Contains(heard, "Content Security Policy") {
		t.Errorf("the console said %q", heard)
	}
}
