package web

import (
	"net/http"
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
