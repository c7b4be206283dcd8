package web

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// hostileUser is the user of the hostile event.
const hostileUser = `<script>window.hurt=1</script>`

// TestActorsInChromium uses the Actors view as a person does.
func TestActorsInChromium(t *testing.T) {
	events := append(incidentEvents(t), decoded(t, hostile))
	ts := newTestServer(t, events)
	b := newTab(t)
	b.dark(false)
	const names = `[...document.querySelectorAll("tr.actor")].map((r) => r.dataset.user)`
	const text = `document.getElementById("actors").innerText`
	const night = "since=2026-11-23T00:00"
	dana := ts.URL + actorPath(person) + "?" + night

	t.Run("list, people first", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/actors")
		b.is(names + `.length > 10`)
		kinds := eval[[]string](b, `[...document.querySelectorAll(".actors-kind h2")].map((h) => h.firstChild.textContent.trim())`)
		if got, want := strings.Join(kinds, ", "), "People, Service accounts, Control plane"; got != want {
			t.Errorf("the kinds are %s, not %s", got, want)
		}
		var requests, failed, writes int
		for i := range events {
			if e := &events[i]; e.User == person && e.Final {
				requests++
				if e.Code >= 400 {
					failed++
				}
				switch e.Verb {
				case "create", "update", "patch", "delete", "deletecollection":
					if !strings.HasSuffix(e.APIGroup, "ization.k8s.io") || e.APIGroup == "rbac.authorization.k8s.io" {
						writes++
					}
				}
			}
		}
		row := eval[[]string](b, `[...document.querySelector('tr.actor[data-user="`+person+`"]').querySelectorAll("td.n")].map((c) => c.textContent)`)
		if got, want := strings.Join(row, " "), fmt.Sprint(requests, failed, writes); got != want {
			t.Errorf("%s has %s requests, failures and writes, not %s", person, got, want)
		}
	})

	t.Run("find, sort, one kind, back", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/actors")
		b.keys("f")
		b.is(`document.activeElement.id === "actors-find"`)
		eval[bool](b, `(() => { const f = document.getElementById("actors-find"); f.value = "DANA"; f.dispatchEvent(new Event("input")); return true })()`)
		b.is(names + `.join() === "` + person + `" && location.search === "?find=DANA"`)
		b.drawn()
		b.open(ts.URL + "/actors?kind=people&sort=last")
		b.is(`document.querySelectorAll(".actors-kind").length === 1 && document.querySelector("th[aria-sort]").innerText.startsWith("Last seen")`)
		if got := eval[[]string](b, `[...document.querySelectorAll("tr.actor .when time")].map((x) => x.dateTime)`); len(got) < 3 || got[0] < got[1] || got[1] < got[2] {
			t.Errorf("the last seen are not in order: %v", got)
		}
		eval[bool](b, `(document.querySelector(".actors-note a").click(), true)`)
		b.is(`document.querySelectorAll(".actors-kind").length > 1 && !location.search.includes("kind=")`)
		b.drawn()
		eval[bool](b, `(history.back(), true)`)
		b.is(`document.querySelectorAll(".actors-kind").length === 1`)
		b.drawn()
		b.open(ts.URL + "/actors?find=nobody-has-this")
		b.is(`document.querySelector("#actors-list .empty h2").textContent === "No actor of that name"`)
	})

	t.Run("open one by keyboard, and back", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/actors?" + night + "&find=dana")
		b.is(names + `.length === 1`)
		b.keys("j")
		b.is(`document.activeElement.closest("tr").dataset.user === "` + person + `"`)
		b.keys("\r")
		b.is(`decodeURIComponent(location.pathname) === "/actors/` + person + `" && document.querySelector(".actor-head h2").innerText === "` + person + `" && document.getElementById("actors-frame").hidden`)
		b.drawn()
		b.is(`document.querySelector(".heat") && document.querySelector("tr.session") && document.querySelector("#trail-head")`)
		b.keys("u")
		b.is(`location.pathname === "/actors" && !document.getElementById("actors-frame").hidden && ` + names + `.length > 0`)
		b.drawn()
		eval[bool](b, `(history.back(), true)`)
		b.is(`document.getElementById("actors-frame").hidden && document.querySelector(".actor-head h2").innerText === "` + person + `"`)
		b.drawn()
	})

	t.Run("what is new", func(t *testing.T) {
		b.t = t
		b.open(dana)
		b.is(`document.querySelector(".news")`)
		news := eval[string](b, `document.querySelector(".news").innerText`)
		for _, want := range []string{"from 203.0.113.77", "delete deployments.apps", "get secrets", "create serviceaccounts/token"} {
			if !strings.Contains(news, want) {
				t.Errorf("new are\n%s\nwithout %s", news, want)
			}
		}
		if judged := eval[string](b, text); !strings.Contains(judged, "does not reach back 30 days before the range: this is against what it has since 2026-11-22 15:36:23") {
			t.Errorf("the page does not say how sure it is:\n%s", judged)
		}
		b.is(`document.querySelector("tr.session .tag.new") && document.querySelector(".lane .tag.new") && document.querySelector(".heat td.new")`)
		// Its first event is one click away.
		eval[bool](b, `([...document.querySelectorAll(".news tr")].find((r) => r.innerText.includes("delete deployments")).querySelector(".when a").click(), true)`)
		b.is(`document.querySelector("#detail .sentence") && document.querySelector("#detail .sentence").innerText.includes("deleted deployment checkout")`)
		b.drawn()
		b.open(ts.URL + actorPath(person))
		b.is(text + `.includes("The range has no start")`)
		b.open(ts.URL + actorPath(person) + "?since=2026-01-01")
		b.is(text + `.includes("The store holds nothing from before the range")`)
	})

	t.Run("heat map by keyboard leads to the events", func(t *testing.T) {
		b.t = t
		b.open(dana)
		b.is(`document.querySelector(".heat") && document.querySelectorAll('.heat td a[tabindex="0"]').length === 1`)
		eval[bool](b, `(document.querySelector('.heat td a[tabindex="0"]').focus(), true)`)
		first := eval[string](b, `document.activeElement.textContent`)
		b.keys(kb.ArrowDown)
		if second := eval[string](b, `document.activeElement.textContent`); second == first || !eval[bool](b, `document.activeElement.closest("#heat") !== null && document.activeElement.tabIndex === 0`) {
			t.Errorf("the arrow went from %q to %q", first, second)
		}
		label := eval[string](b, `(() => { const a = [...document.querySelectorAll(".heat td a")].find((x) => x.textContent.startsWith("delete deployments.apps: ")); a.focus(); return a.textContent })()`)
		if label != "delete deployments.apps: 1, new" {
			t.Errorf("the cell is %q", label)
		}
		b.keys("\r")
		b.is(`location.pathname === "/" && document.querySelectorAll("tr.event").length === 1 && document.querySelector("td.verb").innerText === "delete"`)
		b.drawn()
	})

	t.Run("a session leads to its events", func(t *testing.T) {
		b.t = t
		b.open(dana)
		b.is(`document.querySelector("tr.session")`)
		n := eval[string](b, `document.querySelector("tr.session td.n").innerText`)
		b.keys("j")
		b.is(`document.activeElement.closest("tr.session")`)
		b.keys("\r")
		b.is(`location.pathname === "/" && document.querySelectorAll("tr.event").length === ` + n)
		b.drawn()
	})

	t.Run("a filter that hides is told", func(t *testing.T) {
		b.t = t
		b.open(dana + "&filter=verb+%3D%3D+%22delete%22")
		b.is(`document.querySelector(".banner.note a") && document.querySelectorAll(".heat td a").length === 1`)
		eval[bool](b, `(document.querySelector(".banner.note a").click(), true)`)
		b.is(`document.querySelectorAll(".heat td a").length > 5 && !document.querySelector(".banner.note")`)
		b.drawn()
	})

	t.Run("where a service account's requests came from", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + actorPath("system:serviceaccount:shop:deployer"))
		b.is(`document.querySelector(".chain")`)
		told := eval[string](b, `document.querySelector(".chain .told").innerText`)
		for _, want := range []string{"made by pod runner-", "on node worker-1", "came from deployment runner"} {
			if !strings.Contains(told, want) {
				t.Errorf("%q is not told: %s", want, told)
			}
		}
		steps := eval[int](b, `document.querySelectorAll(".chain li").length`)
		if linked := eval[int](b, `document.querySelectorAll(".chain li a.step").length`); steps < 3 || linked == 0 {
			t.Errorf("%d of %d steps lead to their event:\n%s", linked, steps, eval[string](b, `document.querySelector(".chain").innerText`))
		}
		eval[bool](b, `([...document.querySelectorAll(".chain li a.step")].at(-1).click(), true)`)
		b.is(`location.pathname === "/" && document.querySelector("#detail .sentence").innerText.includes("runner")`)
		b.drawn()
	})

	t.Run("nobody, a wrong filter, an empty store", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/actors/nobody%2Fat%20all")
		b.is(text + `.includes("Nobody of that name made a request") && document.querySelector(".actor-head h2").innerText === "nobody/at all"`)
		b.open(ts.URL + "/actors?filter=verb+%3D%3D")
		b.is(`document.querySelector(".problem") && document.querySelector("#actors-list .empty")`)
		b.open(ts.URL + "/actors?actor=..")
		b.is(`document.querySelector(".actor-head h2").innerText === ".."`)
		empty := newTestServer(t, nil)
		empty.status.Store, empty.status.Sources = StoreState{State: "ok"}, nil
		b.open(empty.URL + "/actors")
		b.is(`document.querySelector("#actors-list .empty h2").textContent === "No events yet"`)
	})

	t.Run("a part that fails is asked again alone", func(t *testing.T) {
		b.t = t
		var broken atomic.Bool
		broken.Store(true)
		flaky := newTestServer(t, events, func(o *Options) { o.Questions = &flakyDay{o.Questions, &broken} })
		b.open(flaky.URL + actorPath(person) + "?" + night)
		b.is(`document.querySelector("#actor-day .error").innerText.includes("The store cannot answer now") && document.querySelector("#touched-head")`)
		b.fits("a failed part")
		broken.Store(false)
		eval[bool](b, `(document.querySelector("#actor-day .error a.button").click(), true)`)
		b.is(`document.querySelector(".heat") && !document.querySelector(".error")`)
		b.drawn()
	})

	t.Run("hostile text in every field", func(t *testing.T) {
		b.t = t
		b.open(ts.URL + "/actors")
		b.is(names + `.includes("` + hostileUser + `")`)
		eval[bool](b, `([...document.querySelectorAll("tr.actor")].find((r) => r.dataset.user === "`+hostileUser+`").querySelector("a").click(), true)`)
		b.is(`document.querySelector(".heat") && document.querySelector(".actor-head h2").innerText === "` + hostileUser + `"`)
		b.drawn()
		for _, want := range []string{hostileUser, "javascript:window.hurt=1", `"><img src=x onerror=window.hurt=1>`, "⟨U+202E⟩txt.exe⟨U+0007⟩⟨U+200B⟩", "' onclick='window.hurt=1"} {
			if got := eval[string](b, text); !strings.Contains(got, want) {
				t.Errorf("the page does not show %q as text:\n%s", want, got)
			}
		}
		if eval[bool](b, `"hurt" in window || document.querySelector("#actors script, #actors img, [onclick], [onerror], #actors a[href^='javascript']") !== null`) {
			t.Error("text of an event became part of the page")
		}
		b.fits("a hostile actor")
		// All of what it did is one event, wherever one asks for it.
		eval[bool](b, `(document.querySelector(".heat td a").click(), true)`)
		b.is(`location.pathname === "/" && document.querySelectorAll("tr.event").length === 1`)
		b.drawn()
	})

	t.Run("barriers, sizes", func(t *testing.T) {
		b.t = t
		for _, dark := range []bool{false, true} {
			b.dark(dark)
			for _, width := range []int64{375, 768, 1280, 2560} {
				b.do(chromedp.EmulateViewport(width, 900))
				for name, u := range map[string]string{
					"list": ts.URL + "/actors", "one": dana, "account": ts.URL + actorPath("system:serviceaccount:shop:deployer"), "hostile": ts.URL + actorPath(hostileUser),
				} {
					b.open(u)
					b.is(`document.querySelector(".heat, .actors-kind")`)
					b.fits(fmt.Sprintf("%s, %d pixels", name, width))
					if *shots != "" {
						file := fmt.Sprintf("actors-%s-%d-%t.png", name, width, dark)
						if err := os.WriteFile(filepath.Join(*shots, file), b.picture(), 0o600); err != nil {
							t.Fatal(err)
						}
					}
					if width == 375 || width == 1280 {
						for _, v := range b.barriers() {
							t.Errorf("%s, %d pixels, dark %t: %s", name, width, dark, v)
						}
					}
				}
			}
		}
		b.dark(false)
		b.do(chromedp.EmulateViewport(1280, 800))
	})
	b.t = t
	if eval[bool](b, `"hurt" in window`) {
		t.Error("a script of an event ran")
	}
}

// flakyDay cannot answer for a while.
type flakyDay struct {
	query.Questions
	broken *atomic.Bool
}

func (f *flakyDay) Day(ctx context.Context, q query.DayQuestion) (query.DayAnswer, error) {
	if f.broken.Load() {
		return query.DayAnswer{}, errTestUnavailable
	}
	return f.Questions.Day(ctx, q)
}

// TestImpersonationInChromium follows who acted as whom, both ways.
func TestImpersonationInChromium(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t))
	b := newTab(t)
	const admin, mallory = "kubernetes-super-admin", "mallory@example.com"
	b.open(ts.URL + "/actors")
	b.is(`document.querySelector('tr.actor[data-kind="impersonated"][data-user="` + mallory + `"]')`)
	b.open(ts.URL + actorPath(admin))
	b.is(`document.querySelector("#as-head")`)
	eval[bool](b, `([...document.querySelectorAll("#actor-trail a")].find((a) => a.innerText === "`+mallory+`").click(), true)`)
	b.is(`document.querySelector(".actor-head h2").innerText === "` + mallory + `" && document.querySelector("#actor-trail").innerText.includes("` + admin + `")`)
	b.drawn()
	n := eval[string](b, `[...document.querySelectorAll("#actor-trail tr")].find((r) => r.innerText.includes("`+admin+`")).querySelector("td.n a").innerText.split(" ")[0]`)
	eval[bool](b, `([...document.querySelectorAll("#actor-trail tr")].find((r) => r.innerText.includes("`+admin+`")).querySelector("td.n a").click(), true)`)
	b.is(`location.pathname === "/" && document.getElementById("chart-total")?.textContent.startsWith("` + n + ` requests")`)
	b.drawn()
}

// TestActorsLive: is it still going on?
func TestActorsLive(t *testing.T) {
	events := incidentEvents(t)
	ts := newTestServer(t, events)
	b := newTab(t)
	append1 := func(name string) {
		var e audit.Event
		for _, was := range events {
			if was.User == person && was.Verb == "get" && was.Resource == "secrets" {
				e = was
			}
		}
		e.Name, e.Time = name, audit.TimeOf(time.Now())
		ts.source.Append(e)
		ts.mu.Lock()
		ts.status.Store.LastID++
		ts.mu.Unlock()
	}
	b.open(ts.URL + actorPath(person) + "?since=2026-11-23T00:00")
	b.is(`document.querySelector("#actor-still [data-age]") && document.getElementById("actor-live").hidden`)
	b.keys("l")
	b.is(`document.getElementById("live").classList.contains("ready") && !document.getElementById("actor-live").hidden`)
	for n := 1; n <= 3; n++ {
		append1(fmt.Sprintf("again-%d", n))
		b.is(fmt.Sprintf(`document.querySelectorAll("#actor-live-list li").length === %d && document.querySelector("#actor-still").innerText.includes("again-%d")`, n, n))
	}
	b.is(`/^Still going on\. Last request (just now|\d+ (second|minute)s? ago)/.test(document.querySelector("#actor-still.warn").innerText)`)
	for _, v := range b.barriers() {
		t.Error(v)
	}
	// Nothing is counted until it is asked for.
	before := eval[string](b, `document.querySelector("#actor-trail .figures dd").innerText`)
	b.keys("r")
	b.is(`document.querySelector("#actor-trail .figures dd").innerText !== "` + before + `" && document.querySelectorAll("#actor-live-list li").length === 0`)
	b.drawn()
	b.keys("u")
	b.is(`location.pathname === "/actors" && document.querySelector("tr.actor")`)
	b.is(`document.getElementById("live").classList.contains("ready")`)
	const count = `document.querySelector('tr.actor[data-user="` + person + `"] [data-n=count]').innerText`
	was := eval[int](b, `Number(`+count+`)`)
	append1("once-more")
	b.is(fmt.Sprintf(count+` === "%d" && document.querySelector('tr.actor.active').dataset.user === "%s"`, was+1, person))
}

// TestIncidentInActors: whom is it about, what was new about it, and is it still
// going on?
func TestIncidentInActors(t *testing.T) {
	events := incidentEvents(t)
	ts := newTestServer(t, events)
	b := newTab(t)
	b.open(ts.URL + "/actors?filter=" + url.QueryEscape(`verb == "delete" && resource == "deployments"`) + "&since=2026-11-23T00:00")
	c := clicks{b: b}
	c.click("who deleted it", `tr.actor th a`, `document.querySelector(".actor-head h2").innerText === "`+person+`" && document.querySelector(".banner.note a")`)
	c.click("what else did they touch", `.banner.note a`, `document.querySelector("#touched-head") && ["payments-key", "ops-temp", "deployments/checkout"].every((x) => document.getElementById("actor-touched").innerText.includes(x)) && document.querySelector(".news").innerText.includes("203.0.113.77")`)
	c.click("is it still going on", `#live`, `document.getElementById("live").classList.contains("ready") && !document.getElementById("actor-live").hidden && document.querySelector("#actor-still [data-age]")`)
	c.report(3)
}
