package web

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestServerBackInChromium: what was asked while the server was away is answered
// when it is back, and the page says meanwhile how it is.
func TestServerBackInChromium(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t))
	f := newFaultyServer(t, ts)
	b := newTab(t)
	b.dark(false)
	b.open(ts.URL + "/?live=1")
	b.is(`document.getElementById("live").classList.contains("ready")`)
	f.set(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }) // the connection ends
	eval[bool](b, `(document.getElementById("search").elements.verb.value = "delete", document.getElementById("search").requestSubmit(), true)`)
	b.is(`document.querySelector("#filter-error .gone")`)
	b.is(`document.querySelector("#status .pill").textContent === "not reachable, trouble"`)
	f.set(nil)
	b.is(`!document.querySelector(".gone") && document.getElementById("live").classList.contains("ready")`)
	b.is(`[...document.querySelectorAll("td.verb")].every((c) => c.textContent === "delete") && document.querySelector("tr.event")`)
	b.is(`document.querySelector("#status .pill").textContent.endsWith("all well")`)
	b.forgive()
}

// TestAskedAgainInChromium: parts that nobody answered come when somebody does,
// and what is being written meanwhile is neither asked nor lost.
func TestAskedAgainInChromium(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t))
	f := newFaultyServer(t, ts)
	b := newTab(t)
	b.dark(false)
	away := func(paths ...string) {
		f.set(func(_ http.ResponseWriter, r *http.Request) bool {
			if slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(r.URL.Path, p) }) {
				panic(http.ErrAbortHandler)
			}
			return false
		})
	}
	run := func(name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			b.t = t
			f.set(nil)
			test(t)
			b.forgive()
		})
	}

	run("the histogram and the facets", func(t *testing.T) {
		b.open(ts.URL + "/")
		away("/api/v1/", "/page/status")
		b.fill("verb", "delete")
		b.is(`document.querySelector("#chart-total .gone button") && document.querySelector("#facets .gone button")`)
		f.set(nil)
		b.is(`!document.querySelector(".gone") && document.querySelector("#chart canvas") && document.querySelector("#facets .count")`)
	})

	for path, parts := range map[string]string{"/objects": "/api/v1/", "/actors": "/page/actors/", "/actors/system:apiserver": "/page/actors/"} {
		run(path, func(t *testing.T) {
			b.open(ts.URL + path)
			away(parts, "/page/status")
			b.fill("verb", "get")
			b.is(`document.querySelector("#view .gone button")`)
			eval[bool](b, `(document.getElementById("filter").value = 'verb == "half', true)`)
			entries, at := eval[int](b, `history.length`), eval[string](b, `location.href`)
			f.set(nil)
			b.is(`!document.querySelector(".gone")`)
			b.drawn()
			if n := eval[int](b, `history.length`); n != entries {
				t.Errorf("asking again made %d entries of history", n-entries)
			}
			if now := eval[string](b, `location.href`); now != at {
				t.Errorf("asking again led from %s to %s", at, now)
			}
			if got := eval[string](b, `document.getElementById("filter").value`); got != `verb == "half` {
				t.Errorf("the box has %q", got)
			}
		})
	}

	run("each source once, also live", func(t *testing.T) {
		ts.mu.Lock()
		ts.status.Sources = troubledStatus().Sources
		ts.mu.Unlock()
		b.open(ts.URL + "/sources?live=1")
		away("/api/v1/histogram", "/page/status")
		b.is(`document.querySelectorAll(".arrivals .gone button").length === 2`)
		f.set(nil)
		b.is(`!document.querySelector(".gone") && document.querySelectorAll(".arrivals figcaption").length === 2`)
	})

	run("later and later", func(t *testing.T) {
		b.open(ts.URL + "/")
		f.set(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/page/results" {
				return false
			}
			// An answer that breaks off; where none begins, Chromium itself asks once more.
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("<p>"))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		b.fill("verb", "delete")
		b.is(`document.querySelector("#results .gone button")`)
		asked := f.count("/page/results")
		told := f.count("/page/status")
		for f.count("/page/status") < told+16 {
			n := f.count("/page/status")
			for f.count("/page/status") == n {
				eval[bool](b, `(document.dispatchEvent(new Event("visibilitychange")), true)`) // so that the page looks how the server is
				b.drawn()
			}
		}
		told, asked = f.count("/page/status")-told, f.count("/page/results")-asked
		if asked < 1 || 1<<asked > told+2 {
			t.Errorf("what is never answered was asked %d times again while the server answered %d times", asked, told)
		}
		f.set(nil)
		eval[bool](b, `(document.querySelector("#results .gone button").click(), true)`)
		b.is(`document.querySelector("tr.event") && !document.querySelector(".gone")`)
	})
}

// TestChartOfMomentsInChromium: no two times on the axis are the same where bars are shorter than a second.
func TestChartOfMomentsInChromium(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t))
	b := newTab(t)
	b.dark(false)
	for _, until := range []string{"19:49:49", "19:49:47.300", "19:49:47.310", "19:49:47.030"} {
		b.open(ts.URL + "/?since=2026-11-22T19:49:47&until=2026-11-22T" + until)
		b.is(`document.querySelector("#chart canvas")`)
		eval[bool](b, `(() => {
			const on = CanvasRenderingContext2D.prototype, { clearRect, fillText } = on;
			window.drawn = [];
			on.clearRect = function (...rest) { window.drawn = []; window.cut = []; return clearRect.apply(this, rest); };
			on.fillText = function (text, x, ...rest) {
				window.drawn.push(text);
				const at = this.getTransform().e + x, half = this.measureText(text).width / 2;
				if (this.textAlign === "center" && (at < half || at + half > this.canvas.width)) window.cut.push(text);
				return fillText.call(this, text, x, ...rest);
			};
			return true;
		})()`)
		b.keys("z")
		b.is(`window.drawn.filter((s) => s.includes(":")).length > 1`)
		if labels := eval[[]string](b, `window.drawn.filter((s) => s.includes(":")).map((s) => s.slice(-12))`); !distinct(labels) {
			t.Errorf("until %s: the axis says %q", until, labels)
		}
		if cut := eval[[]string](b, `window.cut`); len(cut) > 0 {
			t.Errorf("until %s: the canvas ends in %q", until, cut)
		}
		b.shot("chart-moments-" + until)
		b.keys("z")
	}
}

func distinct(list []string) bool {
	seen := map[string]bool{}
	for _, s := range list {
		if seen[s] {
			return false
		}
		seen[s] = true
	}
	return true
}
