package web

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// held keeps answers back, or fails them, as a slow or broken server does.
type held struct {
	query.Questions
	lanes   func(context.Context, query.LanesQuestion) error
	objects func(context.Context, query.ObjectsQuestion) error
	day     func(context.Context, query.DayQuestion) error
}

func (h *held) Lanes(ctx context.Context, q query.LanesQuestion) (query.LanesAnswer, error) {
	if h.lanes != nil {
		if err := h.lanes(ctx, q); err != nil {
			return query.LanesAnswer{}, err
		}
	}
	return h.Questions.Lanes(ctx, q)
}

func (h *held) Objects(ctx context.Context, q query.ObjectsQuestion) (query.ObjectsAnswer, error) {
	if h.objects != nil {
		if err := h.objects(ctx, q); err != nil {
			return query.ObjectsAnswer{}, err
		}
	}
	return h.Questions.Objects(ctx, q)
}

func (h *held) Day(ctx context.Context, q query.DayQuestion) (query.DayAnswer, error) {
	if h.day != nil {
		if err := h.day(ctx, q); err != nil {
			return query.DayAnswer{}, err
		}
	}
	return h.Questions.Day(ctx, q)
}

// forget takes messages out of what the console said: a status that is meant is told there too.
func (b *tab) forget(part string) {
	b.t.Helper()
	b.listened()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = slices.DeleteFunc(b.messages, func(m string) bool { return strings.Contains(m, part) })
}

const (
	rowsInSight = `[...document.querySelectorAll(".tl-row:not([hidden])")].sort((a, b) => a.dataset.at - b.dataset.at)`
	corner      = `document.querySelector(".tl-corner").textContent`
)

// TestObjectsLateAnswers: what is shown is what was asked for last, whatever
// order the answers come in.
func TestObjectsLateAnswers(t *testing.T) {
	release := make(chan struct{})
	var asked, searched atomic.Int32
	ts := newTestServer(t, append(sampleEvents(t), story(t)...), func(o *Options) {
		o.Questions = &held{
			Questions: o.Questions,
			lanes: func(_ context.Context, q query.LanesQuestion) error {
				if q.Depth == 2 && q.Under.Namespace == "kube-system" {
					asked.Add(1)
					<-release // also after the client went away: some answers cannot be stopped
				}
				return nil
			},
			objects: func(ctx context.Context, q query.ObjectsQuestion) error {
				if strings.Contains(q.Filter, `contains("s")`) || strings.Contains(q.Filter, `\\Qs\\E`) || strings.Contains(q.Filter, `(?i)s`) {
					searched.Add(1)
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			},
		}
	})
	b := newTab(t)
	b.open(ts.URL + "/objects")
	b.is(rowsInSight + `.length > 10`)
	node := func(name string) string {
		return `[...document.querySelectorAll(".tree [role=treeitem]")].find((n) => n.title.startsWith("` + name + `\n"))`
	}
	// When the held answer is read, or given up.
	eval[bool](b, `(() => { const ask = fetch; window.fetch = (url, how) => { const r = ask(url, how); if (String(url).includes("/lanes") && String(url).includes("kube-system")) r.then((x) => x.clone().text()).catch(() => {}).finally(() => requestAnimationFrame(() => requestAnimationFrame(() => (window.settled = true)))); return r; }; return true })()`)
	eval[bool](b, `(`+node("kube-system")+`.click(), true)`)
	b.is(`location.search.includes("kube-system") && document.querySelector(".tl[aria-busy]")`)
	eval[bool](b, `(`+node("lab")+`.click(), true)`)
	b.is(`location.search.includes("under=demo%2Flab") && ` + rowsInSight + `.length === 1`)
	close(release)
	if asked.Load() != 1 {
		t.Errorf("%d questions were held", asked.Load())
	}
	b.is(`window.settled === true`)
	b.drawn()
	if n := eval[int](b, rowsInSight+`.length`); n != 1 {
		t.Errorf("%d rows of what was asked for before are shown", n)
	}

	// A search that is typed on is no failure.
	b.keys("f")
	type1 := func(text string) {
		eval[bool](b, fmt.Sprintf(`(() => { const f = document.getElementById("tree-find"); f.value = %q; f.dispatchEvent(new Event("input")); return true })()`, text))
		b.is(fmt.Sprintf(`new URLSearchParams(location.search).get("find") === %q`, text))
	}
	type1("s")
	b.is(`document.querySelector(".tree[aria-busy]")`)
	type1("no-such-object")
	b.is(`!document.querySelector(".tree-none").hidden`)
	b.drawn()
	if said := eval[string](b, `document.querySelector(".tree-none").innerText`); said != "No object matches." {
		t.Errorf("the tree says %q", said)
	}
	if searched.Load() == 0 {
		t.Error("no search was held")
	}
}

// TestObjectsNextPageFails: rows that did not come are not left out in silence.
func TestObjectsNextPageFails(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	ts := newTestServer(t, sampleEvents(t), func(o *Options) {
		o.Questions = &held{Questions: o.Questions, lanes: func(_ context.Context, q query.LanesQuestion) error {
			if q.Cursor != "" && broken.Load() {
				return errTestUnavailable
			}
			return nil
		}}
	})
	b := newTab(t)
	b.open(ts.URL + "/objects")
	b.is(rowsInSight + `.length > 10`)
	eval[bool](b, `(document.querySelector(".tl-list").focus(), true)`)
	b.keys(kb.End)
	b.is(`document.querySelector(".objects [role=alert]")`)
	if said := eval[string](b, corner); !strings.Contains(said, "+ objects") {
		t.Errorf("the timeline has %s", said)
	}
	broken.Store(false)
	b.forget("503")
	eval[bool](b, `(document.querySelector(".objects [role=alert] button").click(), true)`)
	b.is(`Number(document.querySelector(".tl-row.active")?.getAttribute("aria-setsize") ?? 0) > 200 && !document.querySelector(".objects [role=alert]")`)
	b.drawn()
}

// TestTimelineByKeyboard steps from mark to mark, out of the range too, switches
// the zone, and zooms out as far as it goes.
func TestTimelineByKeyboard(t *testing.T) {
	ts := newTestServer(t, append(sampleEvents(t), story(t)...))
	b := newTab(t)
	b.zone("America/New_York")
	const said = `document.querySelector(".tl > .sr").textContent`
	b.open(ts.URL + "/objects?under=demo%2Flab")
	b.is(rowsInSight + `.length === 1`)
	b.drawn()
	b.open(ts.URL + "/objects?under=demo%2Flab&since=2026-11-22T19:49:05&until=2026-11-22T19:49:22")
	eval[bool](b, `(document.querySelector(".tl-list").focus(), true)`)
	for _, second := range []string{"10", "20"} {
		b.keys("]")
		b.is(said + `.startsWith("2026-11-22 19:49:` + second + `")`)
	}
	b.keys("[")
	b.is(said + `.startsWith("2026-11-22 19:49:10")`)
	b.keys("[")
	b.is(said + ` === "no earlier mark"`)

	// All of the marks are known from the wider answer: the range follows them.
	b.open(ts.URL + "/objects?under=demo%2Flab&since=2026-11-22T19:49:05&until=2026-11-22T19:49:55")
	b.is(rowsInSight + `.length === 1`)
	for range 2 {
		b.keys("+")
	}
	b.is(`location.search.includes("since=2026-11-22T19%3A49%3A2")`)
	b.drawn()
	eval[bool](b, `(document.querySelector(".tl-list").focus(), true)`)
	seen := map[string]bool{}
	for range 12 {
		b.keys("]")
		b.drawn()
		at := eval[string](b, said)
		if at == "no later mark" {
			break
		}
		if seen[at[:19]] {
			t.Errorf("%s comes twice", at)
		}
		seen[at[:19]] = true
	}
	if !seen["2026-11-22 19:49:45"] {
		t.Errorf("the last mark was not reached: %v", seen)
	}

	b.open(ts.URL + "/objects?under=demo%2Flab")
	b.is(rowsInSight + `[0].title.includes("last 2026-11-22 19:49:45")`)
	b.keys("z")
	b.is(rowsInSight + `[0].title.includes("last 2026-11-22 14:49:45")`)
	b.keys("z")
	b.is(rowsInSight + `[0].title.includes("last 2026-11-22 19:49:45")`)

	b.open(ts.URL + "/objects?under=demo%2Flab&since=1970-01-02&until=2026-12-01")
	b.keys("-")
	b.is(`new URLSearchParams(location.search).get("since") < "1970-01-02"`)
	b.drawn()
	if eval[bool](b, `document.querySelector(".problem") !== null`) {
		t.Errorf("zooming out: %s", eval[string](b, `document.querySelector(".problem").innerText`))
	}
	b.is(rowsInSight + `.length === 1`)
}

// many is an object's life of n updates, one a second.
func many(t testing.TB, n int) []audit.Event {
	t.Helper()
	var events []audit.Event
	for i := range n {
		verb, code := "update", 200
		if i == 0 {
			verb, code = "create", 201
		}
		object := fmt.Sprintf(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"story","namespace":"lab","uid":"u1"},"data":{"turn":"t%d"}}`, i)
		e := written(t, 1, "RequestResponse", verb, "alice", code, `"requestObject":`+object+`,"responseObject":`+object)
		e.AuditID = fmt.Sprintf("many-%d", i)
		e.Time += audit.Time(time.Duration(i) * time.Second / time.Microsecond)
		events = append(events, e)
	}
	return events
}

// TestHistoryFarBack: an old revision is compared with the one before it, also
// where the list does not reach back to it.
func TestHistoryFarBack(t *testing.T) {
	ts := newTestServer(t, many(t, 130))
	b := newTab(t)
	for _, id := range []int{20, 81, 82} { // not in the list; the list's last, which is revision 81
		b.open(fmt.Sprintf("%s/objects?object=%s&diff=%d", ts.URL, storyPath, id))
		b.is(`document.querySelector(".diff")`)
		b.drawn()
		pane := eval[string](b, `document.querySelector(".hist-pane").innerText`)
		if strings.Contains(pane, "No object before it") {
			t.Errorf("revision %d: the page says that nothing was before it", id)
		}
		for _, want := range []string{fmt.Sprintf("turn: t%d", id-2), fmt.Sprintf("turn: t%d", id-1)} {
			if !strings.Contains(pane, want) {
				t.Errorf("revision %d: the pane lacks %q:\n%s", id, want, pane)
			}
		}
	}
}

// TestHistoryKeepsPlace: drawing anew does not take the focus, the older
// revisions or what was unfolded from the reader.
func TestHistoryKeepsPlace(t *testing.T) {
	events := many(t, 130)
	ts := newTestServer(t, events)
	b := newTab(t)
	b.open(ts.URL + "/objects?object=" + storyPath)
	b.is(`document.querySelector(".diff")`)
	b.drawn()
	focused := func(what, is string) {
		t.Helper()
		b.drawn()
		if !eval[bool](b, is) {
			t.Errorf("%s: the focus is on %s", what, eval[string](b, `document.activeElement.outerHTML.slice(0, 200)`))
		}
	}
	press := func(find string) {
		eval[bool](b, `((`+find+`).focus(), true)`)
		b.keys("\r")
	}
	press(`[...document.querySelectorAll(".diff-bar button")].find((x) => x.textContent === "Inline")`)
	b.is(`document.querySelector(".diff.inline")`)
	focused("inline", `document.activeElement.textContent === "Inline"`)
	press(`document.querySelector(".hist-more button")`)
	b.is(`document.querySelectorAll(".revs tr[data-id]").length === 100`)
	focused("older", `document.activeElement.closest(".hist-list") !== null`)
	eval[bool](b, `(document.querySelector(".marks").open = true, true)`)
	press(`document.querySelectorAll(".revs tr[data-id] .as-link")[70]`)
	b.is(`location.search.includes("diff=60")`)
	focused("a revision", `document.activeElement.closest("tr")?.dataset.id === "60"`)

	// What comes live is added; the rest stays.
	eval[bool](b, `(document.getElementById("live").click(), true)`)
	b.is(`document.getElementById("live").classList.contains("ready")`)
	b.drawn()
	eval[bool](b, `((window.diff = document.querySelector(".diff")), document.querySelector('.revs tr[data-id="60"] .as-link').focus(), (document.querySelector(".marks").open = true), true)`)
	next := events[len(events)-1]
	next.Time += 1e6
	next.AuditID = "many-more"
	ts.source.Append(next)
	b.is(`document.querySelector('.revs tr[data-id="131"]')`)
	b.drawn()
	if n := eval[int](b, `document.querySelectorAll(".revs tr[data-id]").length`); n != 101 {
		t.Errorf("%d revisions are listed", n)
	}
	if !eval[bool](b, `window.diff.isConnected && document.querySelector(".marks").open`) {
		t.Error("the difference, or the marks, were drawn anew")
	}
	focused("live", `document.activeElement.closest("tr")?.dataset.id === "60"`)

	press(`document.querySelector(".hist-close")`)
	b.is(`document.querySelector(".history").hidden`)
	focused("closed", `document.activeElement === document.querySelector(".tl-list")`)
}

// TestNoObjectsInChromium: that there are none is said within the card, in every width.
func TestNoObjectsInChromium(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t))
	f := newFaultyServer(t, ts)
	b := newTab(t)
	b.dark(false)
	within := func(what string) {
		t.Helper()
		b.is(`!document.querySelector(".objects-state").hidden && document.querySelector(".objects-state h2")`)
		b.drawn()
		if out := eval[string](b, `(() => {
			const [box, card] = [".objects-state > *", ".tl"].map((s) => document.querySelector(s).getBoundingClientRect());
			const inside = box.top >= card.top && box.bottom <= card.bottom && box.left >= card.left && box.right <= card.right;
			return inside ? "" : JSON.stringify([box, card]);
		})()`); out != "" {
			t.Errorf("%s: sticks out: %s", what, out)
		}
		b.shot("no-objects-" + what)
	}
	for _, size := range [][2]int64{{375, 812}, {768, 1024}, {1280, 800}, {2560, 1440}} {
		b.do(chromedp.EmulateViewport(size[0], size[1]))
		f.set(nil)
		for name, query := range map[string]string{
			"filter": "?verb=nothing", "range": "?since=2020-01-01&until=2020-01-02", "wrong": "?verb=%21",
		} {
			b.open(ts.URL + "/objects" + query)
			within(fmt.Sprintf("%s-%d", name, size[0]))
		}
		f.fails("/api/v1/lanes", 504, "application/json", `{"error":{"code":"timeout","message":"the question took longer than 30s; narrow the range of time, or filter by user, resource or name"}}`)
		b.open(ts.URL + "/objects")
		within(fmt.Sprintf("slow-%d", size[0]))
	}
	b.forgive()
}

// TestFirstObjectInChromium: a store that has nothing says so, and the first event gives the ruler its times.
func TestFirstObjectInChromium(t *testing.T) {
	ts := newTestServer(t, nil)
	b := newTab(t)
	b.dark(false)
	b.open(ts.URL + "/objects?live=1")
	b.is(`document.querySelector(".objects-state").innerText.startsWith("No events yet") && document.getElementById("live").classList.contains("ready")`)
	if said := eval[string](b, `document.querySelector("[data-part=warnings]").innerText + document.querySelector(".tl-corner").innerText`); strings.Contains(said, "incomplete") || strings.Contains(said, "000 d") {
		t.Errorf("the page says %q", said)
	}
	b.shot("no-events-1280")
	first := written(t, 10, "Metadata", "update", "alice", 200, "")
	second := written(t, 20, "Metadata", "update", "alice", 200, "")
	ts.source.Append(first, second)
	b.is(rowsInSight + `.length > 0 && document.querySelector(".objects-state").hidden`)
	b.drawn()
	b.is(`/· [0-9.]+ (s|ms|min)$/.test(document.querySelector(".tl-corner").innerText)`)
}

// TestObjectsLive: new events are drawn where they belong, and only there.
func TestObjectsLive(t *testing.T) {
	events := sampleEvents(t)
	ts := newTestServer(t, events)
	b := newTab(t)
	at := func(second int, name string) audit.Event {
		e := written(t, second, "Metadata", "update", "alice", 200, "")
		e.Name = name
		return e
	}
	const none = `!document.querySelector(".objects-state").hidden`
	b.open(ts.URL + "/objects?user=alice&live=1&since=2026-11-22T19:49:20")
	b.is(none + ` && document.getElementById("live").classList.contains("ready")`)
	b.drawn()
	ts.source.Append(at(10, "before"), at(30, "within"))
	b.is(rowsInSight + `.some((r) => r.title.includes("within"))`)
	if eval[bool](b, rowsInSight+`.some((r) => r.title.includes("before"))`) {
		t.Error("an event from before the range is shown")
	}
	if eval[bool](b, none) {
		t.Errorf("the page says %q over rows", eval[string](b, `document.querySelector(".objects-state").innerText`))
	}
	b.open(ts.URL + "/objects?live=1&until=2026-11-22T19:49:00&under=demo%2Flab")
	b.is(none + ` && document.getElementById("live").classList.contains("ready")`)
	ts.source.Append(at(40, "behind"))
	last := at(41, "marker")
	last.Time = sampleTime("2026-11-22T19:48:59.000000Z")
	ts.source.Append(last)
	b.is(rowsInSight + `.some((r) => r.title.includes("marker"))`)
	if eval[bool](b, rowsInSight+`.some((r) => r.title.includes("behind"))`) {
		t.Error("an event from behind the range is shown")
	}
	// The focus stays where it was.
	eval[bool](b, `(document.querySelector(".objects .crumbs a").focus(), true)`)
	more := at(42, "one-more")
	more.Time = last.Time
	ts.source.Append(more)
	b.is(rowsInSight + `.some((r) => r.title.includes("one-more"))`)
	if !eval[bool](b, `document.activeElement.closest(".crumbs") !== null`) {
		t.Error("the focus is lost")
	}
}

// TestTreeLongLists: more is shown by keyboard, as far as it goes.
func TestTreeLongLists(t *testing.T) {
	var events []audit.Event
	for i := range 5200 {
		e := written(t, 10, "Metadata", "update", "alice", 200, "")
		e.AuditID, e.Name = fmt.Sprint("long-", i), fmt.Sprintf("Name-%04d", i)
		events = append(events, e)
	}
	ts := newTestServer(t, events)
	b := newTab(t)
	b.open(ts.URL + "/objects")
	const items = `[...document.querySelectorAll(".tree [role=treeitem]")]`
	for _, name := range []string{"lab", "configmaps"} {
		eval[bool](b, `(`+items+`.find((n) => n.title.startsWith("`+name+`\n")).focus(), true)`)
		b.keys(kb.ArrowRight)
		b.is(`document.activeElement.getAttribute("aria-expanded") === "true"`)
	}
	for _, n := range []int{1000, 5000} {
		eval[bool](b, `(document.querySelector(".tree .more").focus(), true)`)
		b.keys("\r")
		b.is(fmt.Sprintf(items+`.filter((n) => n.getAttribute("aria-level") === "4" && !n.classList.contains("more")).length === %d`, n))
		b.is(`document.activeElement.closest(".tree") !== null`)
	}
	if said := eval[string](b, `document.querySelector(".tree").innerText.split("\n").at(-1)`); !strings.Contains(said, "5,000") {
		t.Errorf("the tree ends with %q", said)
	}
	// A name with capitals is found as it is written.
	b.open(ts.URL + "/objects?find=Name-0007")
	b.is(rowsInSight + `.length === 1 && ` + items + `.some((n) => n.title.startsWith("Name-0007\n"))`)
}

// TestHostileBodies: patches and objects that no API server would have taken do
// not stop the page.
func TestHostileBodies(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 5000) + `1` + strings.Repeat(`}`, 5000)
	object := func(data string) string {
		return `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"story","namespace":"lab","uid":"u1"},"data":` + data + `}`
	}
	var wide []string
	for i := range 900 {
		wide = append(wide, fmt.Sprintf(`"k%d":%d`, i, i))
	}
	events := []audit.Event{
		written(t, 10, "RequestResponse", "create", "alice", 201, `"responseObject":`+object(`{"__proto__":{"polluted":"one"},"constructor":"two"}`)),
		written(t, 20, "RequestResponse", "update", "alice", 200, `"responseObject":`+object(`{"__proto__":{"polluted":"three"},"constructor":"two","deep":`+deep+`}`)),
		written(t, 30, "Request", "patch", "alice", 200, `"requestObject":{"spec":{"list":[{"name":{"toString":1,"valueOf":2}},{"name":"x","__proto__":{"y":1}}]}}`),
		written(t, 31, "Request", "patch", "alice", 200, `"requestObject":[{"op":"add","path":{"toString":1},"value":1},{"op":"move","from":{"toString":1},"path":"/a"}]`),
		written(t, 32, "Request", "patch", "alice", 200, `"requestObject":`+deep),
		written(t, 33, "Request", "patch", "alice", 200, `"requestObject":{"data":{`+strings.Join(wide, ",")+`}}`),
	}
	ts := newTestServer(t, events)
	b := newTab(t)
	for id, want := range map[int]string{2: "polluted: three", 3: "spec.list[x].__proto__.y", 4: "toString", 5: "deeper than", 6: "400 more"} {
		b.open(fmt.Sprintf("%s/objects?object=%s&diff=%d", ts.URL, storyPath, id))
		b.is(`document.querySelectorAll(".revs tr[data-id]").length === 6`)
		b.drawn()
		if pane := eval[string](b, `document.querySelector(".hist-pane").innerText`); !strings.Contains(pane, want) {
			t.Errorf("revision %d lacks %q:\n%.2000s", id, want, pane)
		}
		if id == 2 {
			if pane := eval[string](b, `document.querySelector(".hist-pane").innerText`); !strings.Contains(pane, "deeper than") {
				t.Errorf("the deep object is not cut:\n%.2000s", pane)
			}
		}
	}
	if eval[bool](b, `({}).polluted !== undefined`) {
		t.Error("an object changed the page's own")
	}
}

// TestBarsEnd: an object that waits for its finalizers is not there again because
// they were taken off, and one that is created again is; then it was gone before,
// though nothing but the deletion of a collection, or nothing at all, says so.
func TestBarsEnd(t *testing.T) {
	ts := newTestServer(t, nil)
	b := newTab(t)
	b.open(ts.URL + "/objects")
	script := `(async () => {
		const { Lane, spansOf } = await import(new URL("timeline-data.js", document.querySelector("script[src*='js/main.js']").src));
		const lives = (...marks) => {
			const lane = new Lane({ name: "x" });
			for (const [t, cls, count = 1, bin = t] of marks) lane.push(t, ["create", "change", "delete"].indexOf(cls) * 4, count, t, bin);
			return spansOf([{ lane, i: 0, j: lane.n }]).map((s) => (s.from > -Infinity ? s.from : "…") + "–" + (s.gone ? s.to : "…")).join(" ");
		};
		return [
			lives([1, "create"], [2, "delete"], [3, "change"]),
			lives([1, "create"], [2, "delete"], [3, "change"], [4, "delete"]),
			lives([1, "create"], [2, "delete"], [3, "create"], [4, "change"]),
			lives([1, "change"], [2, "delete"]),
			lives([1, "delete"], [5, "create"]),
			lives([1, "create"], [2, "change"], [5, "create"]),
			// Of several creations in one bin only the last has a place: the first may have begun what ends in it.
			lives([2, "delete", 1, 9], [3, "create", 2, 9]),
			lives([2, "change", 1, 9], [3, "delete", 1, 9], [4, "create", 2, 9]),
			lives([1, "change", 1, 8], [2, "delete", 1, 9], [3, "create", 2, 9]),
			lives([2, "delete", 1, 9], [3, "create", 1, 9]),
		].join(", ");
	})()`
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	if want := "1–3, 1–4, 1–2 3–…, …–2, …–1 5–…, 1–2 5–…, 2–2 3–…, 2–3 4–…, …–2 3–…, …–2 3–…"; got != want {
		t.Errorf("the lives are %s, not %s", got, want)
	}
}

// TestCollectionsEndBars: what nothing was written of since its collection was
// deleted may be gone, whoever the filter shows; what was written is not, and what
// was created again was.
func TestCollectionsEndBars(t *testing.T) {
	at := func(second int, verb, user, name string) audit.Event {
		e := written(t, second, "Metadata", verb, user, 200, "")
		e.Name, e.AuditID = name, fmt.Sprintf("%s-%s-%d", verb, name, second)
		if verb == "create" {
			e.Code = 201
		}
		return e
	}
	ts := newTestServer(t, []audit.Event{
		at(5, "deletecollection", "eve", ""), at(10, "create", "alice", "lost"), at(11, "create", "alice", "kept"), at(12, "create", "alice", "again"),
		at(30, "deletecollection", "carol", ""), at(40, "update", "alice", "kept"), at(45, "create", "alice", "again"),
		at(13, "create", "alice", "bobs"), at(20, "delete", "bob", "bobs"), at(46, "create", "alice", "bobs"),
	})
	b := newTab(t)
	b.open(ts.URL + "/objects?user=alice&since=2026-11-22T19:49:00&until=2026-11-22T19:50:00&live=1")
	row := func(name string) string {
		return `[...document.querySelectorAll(".tl-row")].find((r) => r.children[1].textContent === "` + name + `")`
	}
	said := func(name string) string { return row(name) + `.children[3].textContent` }
	b.is(said("lost") + `.endsWith("last 2026-11-22 19:49:10; may have been deleted with its collection 2026-11-22 19:49:30")`)
	b.is(said("again") + `.endsWith("last 2026-11-22 19:49:45; deleted, maybe with its collection 2026-11-22 19:49:30")`)
	b.is(said("bobs") + `.endsWith("last 2026-11-22 19:49:46; deleted, maybe with its collection 2026-11-22 19:49:30")`) // bob did, whom the filter hides
	b.is(said("kept") + `.endsWith("last 2026-11-22 19:49:40")`)

	// On the canvas: what hangs over the mark says it, and a click opens what was requested.
	over := func(name string) (place []float64) {
		place = eval[[]float64](b, `(() => { const c = document.querySelector(".tl-marks").getBoundingClientRect(), r = `+row(name)+`.getBoundingClientRect(); return [c.left + c.width / 2, r.top + r.height / 2] })()`)
		eval[bool](b, fmt.Sprintf(`(document.querySelector(".tl-body").dispatchEvent(new PointerEvent("pointermove", { clientX: %f, clientY: %f, bubbles: true })), true)`, place[0], place[1]))
		return place
	}
	over("again")
	b.is(`document.querySelector(".tl-tip").innerText.startsWith("deleted, maybe with its collection") && document.querySelector(".tl-tip").innerText.includes("/again")`)
	place := over("lost") // of the same request
	b.is(`document.querySelector(".tl-tip").innerText.startsWith("may have been deleted with its collection") && ["/lost", "carol"].every((part) => document.querySelector(".tl-tip").innerText.includes(part))`)
	b.do(chromedp.MouseClickXY(place[0], place[1]))
	b.is(`new URLSearchParams(location.search).get("event") === "5" && new URLSearchParams(location.search).get("object").endsWith("/lost")`)
	b.drawn()
	b.is(`document.querySelector('.revs tr.is-to[data-id="5"]').innerText.includes("the object may have been in it")`)

	b.open(ts.URL + "/objects?since=2026-11-22T19:49:00&until=2026-11-22T19:50:00&live=1")
	b.is(`document.getElementById("live").classList.contains("ready")`)
	b.is(said("kept") + `.endsWith("last 2026-11-22 19:49:40")`)
	ts.source.Append(at(50, "deletecollection", "carol", ""))
	b.is(said("kept") + `.endsWith("may have been deleted with its collection 2026-11-22 19:49:50")`)
	b.is(said("bobs") + `.endsWith("last 2026-11-22 19:49:46; may have been deleted with its collection 2026-11-22 19:49:50")`)
	b.is(said("again") + `.endsWith("deleted, maybe with its collection 2026-11-22 19:49:30; may have been deleted with its collection 2026-11-22 19:49:50")`)
	b.shot("collections")
}

// TestDryRunsAreNoChanges: the page finds an event's class as the server does, and
// a dry run ends no bar, begins none, and is no revision.
func TestDryRunsAreNoChanges(t *testing.T) {
	events := story(t)
	dry := []audit.Event{
		written(t, 5, "Metadata", "create", "dora", 201, ""),
		written(t, 47, "Metadata", "create", "dora", 201, ""),
		written(t, 28, "Metadata", "delete", "dora", 200, ""),
		written(t, 29, "RequestResponse", "update", "dora", 200, `"responseObject":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"story","namespace":"lab","uid":"u1"},"data":{"colour":"never"}}`),
	}
	for i := range dry {
		dry[i].URI += "?dryRun=All"
	}
	events = append(events, dry...)
	ts := newTestServer(t, events)
	b := newTab(t)
	b.open(ts.URL + "/objects?row=" + storyPath)
	const load = `const at = (name) => import(new URL(name, document.querySelector("script[src*='js/main.js']").src));`
	life, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`(async () => {`+load+`
		const { Lane, spansOf } = await at("timeline-data.js");
		const answer = await (await fetch("/api/v1/lanes")).json();
		const lane = Lane.from(answer.lanes.find((l) => l.key.name === "story"));
		return spansOf([{ lane, i: 0, j: lane.n }]).map((s) => new Date(s.from).getUTCSeconds() + "–" + new Date(s.to).getUTCSeconds()).join(", ");
	})()`, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	if life != "10–45" {
		t.Errorf("the object lived %s, not 10–45", life)
	}

	uris := []string{"/a", "/a?dryRun=All", "/a?x=y&dr%79Run=Al%6C", "/a?dryRun=All;x", "/a?x=dryRun=All", "/a&dryRun=All?", "/a?dryRun=All&x", "/a?\ndryRun=All", "/a?x&\n&dryRun=All"}
	for _, verb := range []string{"create", "update", "delete", "get", "head"} {
		for _, code := range []int32{200, 201, 403} {
			for _, uri := range uris {
				events = append(events, audit.Event{Verb: verb, Code: code, URI: uri, Final: true})
			}
		}
	}
	wire, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](`(async () => {`+load+`
		const { className, kindOfEvent } = await at("timeline-data.js");
		const { counts } = await at("objects-words.js");
		return `+string(wire)+`.map((e) => className(kindOfEvent(e)) + " " + counts(e));
	})()`, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	for i := range events {
		e := &events[i]
		if want := fmt.Sprintf("%s %v", query.ClassOf(e), e.Code < 400 && !query.DryRun().Match(e)); got[i] != want {
			t.Errorf("%s %d %q is %q on the page, %q on the server", e.Verb, e.Code, e.URI, got[i], want)
		}
	}
}

// TestTimelinePointerLost: a button that was let go outside of the window is not
// held any more.
func TestTimelinePointerLost(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t))
	b := newTab(t)
	b.open(ts.URL + "/objects")
	b.is(rowsInSight + `.length > 10`)
	b.drawn()
	eval[bool](b, `(() => {
		const body = document.querySelector(".tl-body"), r = document.querySelector(".tl-marks").getBoundingClientRect();
		const send = (type, x, buttons) => body.dispatchEvent(new PointerEvent(type, { pointerId: 7, clientX: r.left + x, clientY: r.top + 40, button: type === "pointerdown" ? 0 : -1, buttons, bubbles: true }));
		send("pointerdown", 100, 1);
		send("pointermove", 300, 0);
		return true;
	})()`)
	if eval[bool](b, `document.querySelector(".tl-body.dragging") !== null`) {
		t.Error("the timeline is dragged without a button")
	}
}

// TestHistoryIsOfOneObject: a custom resource may have the name of one of
// Kubernetes' own that is in no namespace.
func TestHistoryIsOfOneObject(t *testing.T) {
	at := func(second int, namespace string) audit.Event {
		e := written(t, second, "Metadata", "update", "alice-in-"+namespace, 200, "")
		e.APIGroup, e.Resource, e.Namespace, e.Name = "longhorn.io", "nodes", namespace, "cp1"
		return e
	}
	ts := newTestServer(t, []audit.Event{at(10, "one"), at(20, "two"), at(30, "one")})
	b := newTab(t)
	b.open(ts.URL + "/objects?object=demo%2Fone%2Flonghorn.io%2Fnodes%2Fcp1")
	b.is(`document.querySelector(".revs")`)
	b.drawn()
	if n := eval[int](b, `document.querySelectorAll(".revs tr[data-id]").length`); n != 2 {
		t.Errorf("%d revisions are of the object, not 2", n)
	}
}

// TestObjectsWaiting: while nothing is known, nothing is said to be there or not.
func TestObjectsWaiting(t *testing.T) {
	release := make(chan struct{})
	ts := newTestServer(t, sampleEvents(t), func(o *Options) {
		o.Questions = &held{Questions: o.Questions, lanes: func(ctx context.Context, _ query.LanesQuestion) error {
			select {
			case <-release:
			case <-ctx.Done():
			}
			return ctx.Err()
		}}
	})
	b := newTab(t)
	b.do(chromedp.Navigate(ts.URL + "/objects"))
	b.is(`document.querySelector(".tl[aria-busy]") && new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))`)
	if said := eval[string](b, corner); said != "" {
		t.Errorf("the timeline says %q before it knows", said)
	}
	b.is(`document.querySelector(".objects-state [role=status]")`)
	close(release)
	b.is(rowsInSight + `.length > 10 && document.querySelector(".objects-state").hidden`)
	b.drawn()
}
