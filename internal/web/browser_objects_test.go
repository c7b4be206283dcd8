package web

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/ktrail/ktrail/audit"
)

// written is an event about configmaps/story in the namespace lab. bodies are
// fields of the event, such as "requestObject".
func written(t testing.TB, second int, level, verb, user string, code int, bodies string) audit.Event {
	t.Helper()
	if bodies != "" {
		bodies = "," + bodies
	}
	return decoded(t, fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":%q,"auditID":"story-%d","stage":"ResponseComplete",`+
		`"requestURI":"/api/v1/namespaces/lab/configmaps/story","verb":%q,"user":{"username":%q},"sourceIPs":["192.0.2.7"],"userAgent":"kubectl/v1.37.2",`+
		`"objectRef":{"resource":"configmaps","namespace":"lab","name":"story","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":%d},`+
		`"requestReceivedTimestamp":"2026-11-22T19:49:%02d.000000Z","stageTimestamp":"2026-11-22T19:49:%02d.000500Z"%s}`, level, second, verb, user, code, second, second, bodies))
}

// story is an object's life with every way in which a change can be recorded.
func story(t testing.TB) []audit.Event {
	object := func(version, colour, more string) string {
		return fmt.Sprintf(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"story","namespace":"lab","uid":"u1","resourceVersion":%q,`+
			`"annotations":{"note":"<img src=x onerror=window.hurt=1>\u202e"},"managedFields":[{"manager":"kubectl","time":%q}]},`+
			`"data":{"colour":%q,"a":"1","b":"2","c":"3","d":"4","e":"5","f":"6","g":"7","h":"8","lines":"one\ntwo\n</td><script>window.hurt=1</script>\n"%s}}`, version, version, colour, more)
	}
	both := func(o string) string { return `"requestObject":` + o + `,"responseObject":` + o }
	return []audit.Event{
		written(t, 10, "RequestResponse", "create", "alice", 201, both(object("1", "red", ""))),
		written(t, 20, "RequestResponse", "update", "bob", 200, both(object("2", "green", ""))),
		written(t, 25, "Metadata", "get", "eve", 403, ""),
		written(t, 30, "RequestResponse", "update", "<b onmouseover=window.hurt=1>mallory</b>", 200, both(object("3", "blue", `,"z":"<svg onload=window.hurt=1>"`))),
		written(t, 35, "Request", "patch", "carol", 200, `"requestObject":{"data":{"colour":"black","a":null},"metadata":{"labels":{"\u003ci\u003e":"x"}}}`),
		written(t, 40, "Metadata", "update", "dave", 200, ""),
		written(t, 45, "Metadata", "delete", "bob", 200, ""),
	}
}

const storyPath = "demo%2Flab%2F%2Fconfigmaps%2Fstory"

// TestObjectsInChromium uses the Objects view as a person does.
func TestObjectsInChromium(t *testing.T) {
	events := append(sampleEvents(t), decoded(t, hostile))
	first := len(events) + 1 // ID of the story's first event
	events = append(events, story(t)...)
	ts := newTestServer(t, events)
	b := newTab(t)
	b.dark(false)
	const rows = `[...document.querySelectorAll(".tl-row:not([hidden])")].sort((a, b) => a.dataset.at - b.dataset.at)`
	const nodes = `[...document.querySelectorAll(".tree [role=treeitem]")]`

	t.Run("tree", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/objects")
		b.is(nodes + `.length > 5 && ` + rows + `.length > 10`)
		if got := eval[string](b, nodes+`[0].title`); !strings.HasPrefix(got, "demo\n1,639 requests, ") {
			t.Errorf("the first node is %q", got)
		}
		eval[bool](b, `(`+nodes+`.find((n) => n.title.startsWith("lab\n")).focus(), true)`)
		b.keys(kb.ArrowRight)
		b.is(`document.activeElement.getAttribute("aria-expanded") === "true"`)
		b.keys(kb.ArrowDown)
		b.is(`document.activeElement.title.startsWith("configmaps\n7 ")`)
		b.keys("\r")
		b.is(`location.search.includes("under=demo%2Flab%2F%2Fconfigmaps") && ` + rows + `.length === 1`)
		b.drawn()
		b.is(`document.activeElement.getAttribute("aria-selected") === "true"`)
		b.keys(kb.ArrowRight)
		b.is(`document.activeElement.getAttribute("aria-expanded") === "true"`)
		b.keys(kb.ArrowDown)
		b.is(`document.activeElement.getAttribute("aria-level") === "4"`)
		b.keys("\r")
		b.is(`location.search.includes("object=` + storyPath + `")`)
		b.drawn()
		eval[bool](b, `(history.back(), true)`)
		b.is(`!location.search.includes("object=") && document.querySelector(".history").hidden`)
		eval[bool](b, `(history.back(), true)`)
		b.is(`!location.search.includes("under=") && ` + rows + `.length > 10`)
		b.drawn()
	})

	t.Run("find in the tree", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/objects")
		b.keys("f")
		b.is(`document.activeElement.id === "tree-find"`)
		eval[bool](b, `(() => { const f = document.getElementById("tree-find"); f.value = "Story"; f.dispatchEvent(new Event("input")); return true })()`)
		b.is(rows + `.length === 1 && ` + nodes + `.some((n) => n.getAttribute("aria-level") === "4" && n.title.startsWith("story\n"))`)
		b.drawn()
	})

	t.Run("rows say what they show", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/objects?under=demo%2Flab")
		got := eval[string](b, rows+`[0].title`)
		for _, want := range []string{"configmaps/story, lab · demo", "created", "changed ×4", "deleted", "read – denied", "last 2026-11-22 19:49:45"} {
			if !strings.Contains(got, want) {
				t.Errorf("the row says %q, without %q", got, want)
			}
		}
	})

	t.Run("zoom at the cursor, drag, keyboard, back", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/objects")
		b.is(rows + `.length > 10`)
		b.place(rows + `[0]`)
		box := eval[[]float64](b, `(() => { const r = document.querySelector(".tl-marks").getBoundingClientRect(); return [r.left, r.top, r.width] })()`)
		x, y := box[0]+box[2]*0.8, box[1]+60
		eval[bool](b, fmt.Sprintf(`(document.querySelector(".tl-body").dispatchEvent(new WheelEvent("wheel", { clientX: %f, clientY: %f, deltaY: -60, ctrlKey: true, bubbles: true, cancelable: true })), true)`, x, y))
		b.is(`location.search.includes("since=") && location.search.includes("until=")`)
		b.drawn()
		const span = `(Date.parse(new URLSearchParams(location.search).get("until")) - Date.parse(new URLSearchParams(location.search).get("since")))`
		one := eval[float64](b, span)
		if one < 200_000 || one > 300_000 { // of 340 s
			t.Errorf("after a turn of the wheel %v ms are in sight", one)
		}
		since := eval[string](b, `new URLSearchParams(location.search).get("since")`)
		b.do(chromedp.DragAndDropXY(x, y, x-200, y, 5))
		b.is(`!document.querySelector(".tl-body.dragging")`)
		b.is(fmt.Sprintf(`new URLSearchParams(location.search).get("since") !== %q && Math.abs(`+span+` - %f) < 10`, since, one))
		b.drawn()
		eval[bool](b, `(document.querySelector(".tl-list").focus(), true)`)
		b.keys("+")
		b.is(span + fmt.Sprintf(` < %f`, one*0.7))
		b.drawn()
		since = eval[string](b, `new URLSearchParams(location.search).get("since")`)
		b.keys(kb.ArrowLeft)
		b.is(`new URLSearchParams(location.search).get("since") !== ` + fmt.Sprintf("%q", since))
		b.drawn()
		b.keys(kb.End)
		// The last row that is there; the next ones are asked for as it comes into sight.
		b.is(`Number(document.querySelector(".tl-row.active").getAttribute("aria-posinset")) >= 60 && Number(document.querySelector(".tl-row.active").getAttribute("aria-setsize")) > 200`)
		b.keys(kb.Home)
		b.is(`document.querySelector(".tl-row.active").getAttribute("aria-posinset") === "1" && document.querySelector(".tl-list").getAttribute("aria-activedescendant") === document.querySelector(".tl-row.active").id`)
		b.keys("]")
		b.is(`document.querySelector(".tl .sr").textContent.includes("2026-11-22")`)
		b.keys("0")
		b.is(`!location.search.includes("since=")`)
		b.drawn()
	})

	t.Run("two fingers, and what a mark is", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/objects?under=demo%2Flab")
		b.place(rows + `[0]`)
		box := eval[[]float64](b, `(() => { const r = document.querySelector(".tl-marks").getBoundingClientRect(); return [r.left, r.top, r.width] })()`)
		y := box[1] + 40
		touch := func(kind input.DispatchTouchEventType, xs ...float64) {
			points := []*input.TouchPoint{}
			for i, x := range xs {
				id := float64(i)
				points = append(points, &input.TouchPoint{X: x, Y: y, ID: &id})
			}
			b.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
				_, err := cdp.Call(ctx, target, input.DispatchTouchEvent, input.DispatchTouchEventParams{Type: kind, TouchPoints: points})
				return err
			}))
		}
		middle := box[0] + box[2]/2
		touch("touchStart", middle-50)
		touch("touchStart", middle-50, middle+50)
		for d := 60.0; d <= 100; d += 10 {
			touch("touchMove", middle-d, middle+d)
		}
		touch("touchEnd")
		b.is(`location.search.includes("since=")`)
		b.drawn()
		if span := eval[float64](b, `Date.parse(new URLSearchParams(location.search).get("until")) - Date.parse(new URLSearchParams(location.search).get("since"))`); span < 150_000 || span > 190_000 { // of 346 s
			t.Errorf("after the fingers went twice as far apart %v ms are in sight", span)
		}
		b.open(ts.URL + "/objects?under=demo%2Flab&since=2026-11-22T19:49:00&until=2026-11-22T19:50:00")
		b.place(rows + `[0]`)
		b.is(fmt.Sprintf(`document.querySelector(".tl-body").dispatchEvent(new PointerEvent("pointermove", { clientX: %f, clientY: %f, bubbles: true })) && document.querySelector(".tl-tip").innerText.includes("created")`, box[0]+box[2]*10.0/60, box[1]+12))
		b.is(`document.querySelector(".tl-tip").innerText.includes("created") && document.querySelector(".tl-tip").innerText.includes("alice created")`)
		eval[bool](b, `(document.getElementById("zone").click(), true)`) // the browser's own zone is UTC too
		b.drawn()
		eval[bool](b, `(document.getElementById("zone").click(), true)`)
		b.drawn()
	})

	t.Run("history and differences", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/objects?under=demo%2Flab")
		b.place(rows + `[0]`)
		box := eval[[]float64](b, `(() => { const r = document.querySelector(".tl-marks").getBoundingClientRect(); return [r.left, r.top, r.width] })()`)
		from := eval[float64](b, `Number(document.querySelector(".tl-row").getBoundingClientRect().right)`)
		if from > box[0]+1 {
			t.Errorf("the canvas begins at %v below the labels, which end at %v", box[0], from)
		}
		b.press(rows + `[0]`)
		b.is(`document.querySelectorAll(".revs tr[data-id]").length === 6`)
		b.drawn()
		who := eval[string](b, `[...document.querySelectorAll(".revs .by")].map((c) => c.textContent.trim()).join("|")`)
		if who != "bob|dave|carol|<b onmouseover=window.hurt=1>mallory</b>|bob|alice" {
			t.Errorf("the revisions are by %s", who)
		}
		// The newest is open: it deleted, and its audit level kept no body.
		pane := eval[string](b, `document.querySelector(".hist-pane").innerText`)
		for _, want := range []string{"delete at 2026-11-22 19:49:45", "2 changes in between were recorded without the object", "recorded this request at level Metadata", "- level: RequestResponse", `resources: ["configmaps"]`} {
			if !strings.Contains(pane, want) {
				t.Errorf("the pane lacks %q:\n%s", want, pane)
			}
		}
		if href := eval[string](b, `document.querySelector(".told a").getAttribute("href")`); href != "/actors/bob" {
			t.Errorf("bob leads to %s", href)
		}

		// Of mallory's change both objects are there.
		eval[bool](b, `(document.querySelectorAll(".revs tr[data-id]")[3].click(), true)`)
		b.is(fmt.Sprintf(`location.search.includes("diff=%d") && document.querySelector(".diff.side")`, first+3))
		b.drawn()
		diff := eval[string](b, `[...document.querySelectorAll(".diff tr")].map((r) => [...r.cells].map((c) => c.textContent).join(" ")).join("\n")`)
		for _, want := range []string{"−   colour: green", "+   colour: blue", `+   z: "<svg onload=window.hurt=1>"`, "unchanged lines", "data.colour"} {
			if !strings.Contains(diff, want) {
				t.Errorf("the difference lacks %q:\n%s", want, diff)
			}
		}
		if strings.Contains(diff, "managedFields") || strings.Contains(diff, "resourceVersion") {
			t.Errorf("noise is not folded:\n%s", diff)
		}
		if n := eval[int](b, `document.querySelectorAll(".diff mark").length`); n < 2 {
			t.Errorf("%d words are marked", n)
		}
		b.keys("n")
		b.is(`document.querySelector(".diff-sum").textContent.includes("change 1 of 2")`)
		b.keys("n")
		b.is(`document.querySelector(".diff-sum").textContent.includes("change 2 of 2")`)
		b.keys("p")
		b.is(`document.querySelector(".diff-sum").textContent.includes("change 1 of 2")`)
		eval[bool](b, `([...document.querySelectorAll(".diff-bar button")].find((x) => x.textContent === "Inline").click(), true)`)
		b.is(`document.querySelector(".diff.inline") && location.search.includes("form=inline")`)
		b.drawn()
		eval[bool](b, `([...document.querySelectorAll(".diff-bar button")].find((x) => x.textContent.includes("folded")).click(), true)`)
		b.is(`document.querySelector(".diff").textContent.includes("managedFields") && location.search.includes("noise=1")`)
		b.drawn()
		eval[bool](b, `(document.querySelector(".diff .fold button").click(), true)`)

		// Any two: the first against mallory's.
		eval[bool](b, `(document.querySelector(".revs tr:last-child input[name=rev-a]").click(), true)`)
		b.is(fmt.Sprintf(`location.search.includes("diff=%d..%d") && document.querySelector(".diff").textContent.includes("colour: red")`, first, first+3))
		b.drawn()
		b.do(chromedp.Reload())
		b.drawn()
		b.is(`document.querySelector(".diff.inline").textContent.includes("colour: red") && document.querySelector(".revs tr:last-child input[name=rev-a]").checked`)

		// Carol's patch is all that was recorded of her change.
		eval[bool](b, `(document.querySelectorAll(".revs tr[data-id]")[2].click(), true)`)
		b.is(`document.querySelector(".patch")`)
		b.drawn()
		patch := eval[string](b, `document.querySelector(".hist-pane").innerText`)
		for _, want := range []string{"only the patch", "data.colour", `"black"`, "−", "data.a", "metadata.labels.<i>", "- level: RequestResponse"} {
			if !strings.Contains(patch, want) {
				t.Errorf("the patch lacks %q:\n%s", want, patch)
			}
		}
		eval[bool](b, `(document.querySelector(".marks").open = true, true)`)
		b.is(`document.querySelectorAll(".marks tbody tr").length === 7`)
		eval[bool](b, `([...document.querySelectorAll(".marks tbody tr")].find((r) => r.textContent.includes("denied")).querySelector("button").click(), true)`)
		b.is(fmt.Sprintf(`location.search.includes("event=%d") && document.querySelector(".card").innerText.includes("eve")`, first+2))
		b.drawn()
		b.keys("\x1b")
		b.is(`document.querySelector(".history").hidden && !location.search.includes("object=")`)
		b.drawn()
	})

	t.Run("hostile text", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/objects?filter=user.contains(%22script%22)")
		b.is(rows + `.length === 1`)
		row := eval[string](b, rows+`[0].textContent`)
		if !strings.Contains(row, "⟨U+202E⟩txt.exe⟨U+0007⟩⟨U+200B⟩") {
			t.Errorf("the row is %q", row)
		}
		eval[bool](b, `(document.querySelector(".tl-list").focus(), true)`)
		b.keys("\r")
		b.is(`document.querySelector(".hist-head h2").textContent.includes("⟨U+202E⟩txt.exe") && document.querySelectorAll(".revs tr[data-id]").length === 1`)
		b.drawn()
		eval[bool](b, `(document.querySelector(".revs .as-link").click(), true)`)
		b.is(`document.querySelector(".card")`)
		b.drawn()
		if card := eval[string](b, `document.querySelector(".card").innerText`); !strings.Contains(card, `</pre><script>window.hurt=1</script>`) || !strings.Contains(card, `"><img src=x onerror=window.hurt=1>`) {
			t.Errorf("the event says:\n%s", card)
		}
		if eval[bool](b, `"hurt" in window || document.querySelector("main script, main img, main svg, [onclick], [onerror]") !== null`) {
			t.Error("text of an event became part of the page")
		}
	})
	t.Run("live", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/objects?under=demo%2Flab&object=" + storyPath)
		b.keys("l")
		b.is(`location.search.includes("live=1") && document.getElementById("live").classList.contains("ready")`)
		b.drawn()
		e := written(t, 59, "Metadata", "create", "zoe", 201, "")
		e.Time += 10e6 // behind all others
		ts.source.Append(e)
		b.is(rows + `[0].title.includes("created ×2")`)
		b.is(`[...document.querySelectorAll(".revs .by")].some((c) => c.textContent.trim() === "zoe")`)
		e.Name = "other"
		ts.source.Append(e)
		b.is(rows + `.length === 2`)
		b.drawn()
		b.keys("l")
		b.is(`!location.search.includes("live=")`)
		b.drawn()
	})
	t.Run("no barriers", func(t *testing.T) {
		b.t = t
		for _, dark := range []bool{false, true} {
			b.dark(dark)
			for _, width := range []int64{375, 1280} {
				b.do(chromedp.EmulateViewport(width, 800))
				for _, url := range []string{
					fmt.Sprintf("/objects?under=demo%%2Flab&object=%s&diff=%d", storyPath, first+3),
					fmt.Sprintf("/objects?object=%s&diff=%d&form=inline", storyPath, first+4),
					fmt.Sprintf("/objects?object=%s&event=%d", storyPath, first+2),
				} {
					b.open(ts.URL + url)
					b.is(`document.querySelector(".hist-pane .told")`)
					eval[bool](b, `(document.querySelector(".marks").open = true, true)`)
					for _, v := range b.barriers() {
						t.Errorf("%s, %d pixels, dark %t: %s", url, width, dark, v)
					}
				}
			}
		}
		b.dark(false)
		b.do(chromedp.EmulateViewport(1280, 800))
	})
	b.t = t
}

// TestIncidentInObjects: the deployment is gone. Its row says when, its history by
// whom, and from there one goes to what else they touched.
func TestIncidentInObjects(t *testing.T) {
	ts := newTestServer(t, incidentEvents(t))
	b := newTab(t)
	b.open(ts.URL + "/objects?resource=deployments&namespace=shop")
	c := clicks{b: b}
	c.click("what happened to it", `.tl-row[title*="deployments/checkout,"]`, `document.querySelectorAll(".revs tr[data-id]").length > 1`)
	c.click("who deleted it", `.revs tr[data-id]:has(.is-delete) .when .as-link`, `document.querySelector(".told").textContent.startsWith("dana@example.com delete")`)
	removed := eval[string](b, `document.querySelector(".diff").innerText`)
	if !strings.Contains(removed, "name: checkout") || !strings.Contains(removed, "replicas:") {
		t.Errorf("what was deleted is not shown:\n%s", removed)
	}
	c.click("what else did they touch", `.told a[href*="dana"]`, `location.pathname === "/actors/dana@example.com" || location.pathname === "/actors/dana%40example.com"`)
	c.report(3)
}

// TestTimelineFrames pans and zooms over 5,000 rows with a million marks, and
// tells how long the frames took. It asserts that marks were drawn, not how fast.
func TestTimelineFrames(t *testing.T) {
	ts := newTestServer(t, nil)
	b := newTab(t)
	b.do(chromedp.EmulateViewport(1920, 1080))
	b.open(ts.URL + "/objects")
	script := `(async () => {
		const base = new URL(document.querySelector("script[src*='js/main.js']").src);
		const { Timeline } = await import(new URL("timeline.js", base));
		const { Lane, Row } = await import(new URL("timeline-data.js", base));
		const main = document.getElementById("objects");
		const host = document.createElement("div");
		host.className = "tl";
		main.replaceChildren(host);
		const hour = 3600e3, start = Date.UTC(2026, 10, 22), rows = [];
		let seed = 1;
		const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
		for (let r = 0; r < 5000; r++) {
			const lane = new Lane({ cluster: "c", namespace: "n" + (r % 50), api_group: "apps", resource: "deployments", name: "web-" + r }, 200);
			let t = start;
			for (let m = 0; m < 200; m++) lane.push((t += random() * 240e3), random() < 0.9 ? [0, 4, 4, 12, 12, 12, 8][Math.floor(random() * 7)] : Math.floor(random() * 24), 1, r * 200 + m);
			const row = new Row("r" + r, lane.key);
			row.fine = lane;
			rows.push(row);
		}
		const tl = new Timeline(host, { range() {}, select() {}, about: async () => "", more() {} });
		tl.setRange(start, start + 7 * hour);
		tl.setRows(rows, [-Infinity, Infinity]);
		let work = [];
		const paint = tl.paint.bind(tl);
		tl.paint = () => {
			const began = performance.now();
			paint();
			work.push(performance.now() - began);
		};
		const next = () => new Promise((done) => requestAnimationFrame(done));
		await next(); await next();
		const measure = async (n, step) => {
			const between = [];
			work = [];
			let least = Infinity, before = await next();
			for (let i = 0; i < n; i++) {
				step(i);
				const now = await next();
				least = Math.min(least, tl.marks);
				between.push(now - before);
				before = now;
			}
			between.sort((a, b) => a - b); work.sort((a, b) => a - b);
			const at = (list, q) => Math.round(list[Math.floor((list.length - 1) * q)] * 10) / 10;
			return { frames: n, least, frame: [0.5, 0.95, 1].map((q) => at(between, q)), script: [0.5, 0.95, 1].map((q) => at(work, q)) };
		};
		const out = {};
		out.pan = await measure(120, (i) => tl.pan(i % 40 < 20 ? 0.01 : -0.01));
		out.zoom = await measure(60, (i) => tl.zoom(i % 40 < 20 ? 0.97 : 1 / 0.97, 300));
		out.scroll = await measure(60, () => (tl.body.scrollTop += 120));
		tl.destroy();
		return JSON.stringify({ marks: rows.length * 200, ...out });
	})()`
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Marks             int
		Pan, Zoom, Scroll struct {
			Frames, Least int
			Frame, Script []float64 // median, 95th of 100, most, in ms
		}
	}
	if err := json.Unmarshal([]byte(got), &m); err != nil {
		t.Fatal(err)
	}
	t.Logf("5,000 rows, %d marks, 1920x1080; ms at the median, the 95th percentile, the most", m.Marks)
	t.Logf("pan:    frame %v, of it script %v", m.Pan.Frame, m.Pan.Script)
	t.Logf("zoom:   frame %v, of it script %v", m.Zoom.Frame, m.Zoom.Script)
	t.Logf("scroll: frame %v, of it script %v", m.Scroll.Frame, m.Scroll.Script)
	if m.Marks != 1_000_000 || m.Pan.Least < 1000 || m.Zoom.Least < 1000 || m.Scroll.Least < 1000 {
		t.Errorf("fewer marks were drawn than are in sight: %s", got)
	}
}

// TestDiffIsRight compares random lists in the browser: a difference leads from
// the one to the other, and by no more steps than the longest common part allows.
func TestDiffIsRight(t *testing.T) {
	ts := newTestServer(t, nil)
	b := newTab(t)
	b.open(ts.URL + "/objects")
	script := `(async () => {
		const { diffLines, blocks } = await import(new URL("diff-lines.js", document.querySelector("script[src*='js/main.js']").src));
		const wrong = [];
		let same = 0;
		for (let n = 0; n < 3000; n++) {
			const some = () => Array.from({ length: Math.random() * 16 | 0 }, () => "abcd"[Math.random() * 4 | 0]);
			const [a, b] = [some(), some()];
			const steps = diffLines(a, b);
			const before = steps.filter((s) => s.kind !== "added").map((s) => a[s.a]).join("");
			const after = steps.filter((s) => s.kind !== "removed").map((s) => b[s.b]).join("");
			const kept = steps.filter((s) => s.kind === "same");
			const l = Array.from({ length: a.length + 1 }, () => new Int32Array(b.length + 1));
			for (let i = 1; i <= a.length; i++) for (let j = 1; j <= b.length; j++) l[i][j] = a[i - 1] === b[j - 1] ? l[i - 1][j - 1] + 1 : Math.max(l[i - 1][j], l[i][j - 1]);
			const blocked = blocks(steps).flatMap((x) => x.steps);
			same += kept.length;
			if (before !== a.join("") || after !== b.join("") || kept.some((s) => a[s.a] !== b[s.b]) || kept.length !== l[a.length][b.length] || blocked.length !== steps.length) wrong.push(a.join("") + " " + b.join(""));
		}
		const long = (x) => Array.from({ length: 9000 }, (_, i) => x + i);
		const far = diffLines(long("a"), long("b"));
		if (far.length !== 18000) wrong.push("two long lists without a common line: " + far.length);
		return JSON.stringify({ wrong: wrong.slice(0, 5), same });
	})()`
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got, `{"wrong":[]`) || strings.HasSuffix(got, `"same":0}`) {
		t.Errorf("differences are wrong: %s", got)
	}
}

// TestObjectsScreenshots looks at the states of the Objects view in every size for
// what does not fit.
func TestObjectsScreenshots(t *testing.T) {
	events := append(sampleEvents(t), decoded(t, hostile))
	first := len(events) + 1
	events = append(events, story(t)...)
	ts := newTestServer(t, events)
	b := newTab(t)
	for _, dark := range []bool{false, true} {
		b.dark(dark)
		suffix := "-light"
		if dark {
			suffix = "-dark"
		}
		for _, size := range []struct{ w, h int64 }{{375, 812}, {768, 1024}, {1280, 800}, {1920, 1080}, {2560, 1440}} {
			b.do(chromedp.EmulateViewport(size.w, size.h))
			name := fmt.Sprintf("-%d%s", size.w, suffix)
			b.open(ts.URL + "/objects")
			b.shot("objects" + name)
			b.open(fmt.Sprintf("%s/objects?under=demo%%2Flab&object=%s&diff=%d", ts.URL, storyPath, first+3))
			b.is(`document.querySelector(".diff")`)
			b.shot("objects-diff" + name)
			if size.w == 375 {
				eval[bool](b, `(document.querySelector(".tree-open").click(), true)`)
				b.shot("objects-tree" + name)
			}
			if size.w == 1280 {
				b.open(ts.URL + "/objects?since=1h")
				b.shot("objects-empty" + name)
				b.open(ts.URL + "/objects?object=" + storyPath)
				b.shot("objects-policy" + name)
			}
		}
		b.do(chromedp.EmulateViewport(1280, 800))
		b.open(ts.URL + "/objects?resource=deployments&object=demo%2Fsearch%2Fapps%2Fdeployments%2Fapi")
		b.is(`document.querySelector(".revs")`)
		b.shot("objects-story" + suffix)
	}
}
