package web

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// faults stands before a server: it may answer in its place.
type faults struct {
	mu   sync.Mutex
	hook func(w http.ResponseWriter, r *http.Request) bool
	seen map[string]int // requests by path
}

// newFaultyServer is a server whose answers can be replaced.
func newFaultyServer(t testing.TB, ts *testServer) *faults {
	t.Helper()
	f := &faults{seen: map[string]int{}}
	next := ts.Server.Config.Handler
	ts.Server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.seen[r.URL.Path]++
		hook := f.hook
		f.mu.Unlock()
		if hook == nil || !hook(w, r) {
			next.ServeHTTP(w, r)
		}
	})
	return f
}

// set says what answers instead; nil is the server itself.
func (f *faults) set(hook func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

func (f *faults) count(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[path]
}

// fails answers requests of paths that begin so with a status and a body.
func (f *faults) fails(prefix string, status int, kind, body string) {
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, prefix) {
			return false
		}
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return true
	})
}

// holds answers requests of a path after until is closed.
func (f *faults) holds(path string, until <-chan struct{}) {
	f.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == path {
			select {
			case <-until:
			case <-r.Context().Done():
			}
		}
		return false
	})
}

// promised waits for a promise.
func (b *tab) promised(expression string) {
	b.t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression, chromedp.EvalAwaitPromise)); err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
}

// forgive takes the console's word of answers that are errors.
func (b *tab) forgive() {
	b.t.Helper()
	b.listened()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = slices.DeleteFunc(b.messages, func(m string) bool { return strings.Contains(m, "Failed to load resource") })
}

// TestFaultsInChromium has the server answer late, wrongly, or not at all: the
// page says what is wrong, shows nothing that is not so, and goes on afterwards.
func TestFaultsInChromium(t *testing.T) {
	events := append(sampleEvents(t), decoded(t, hostile))
	ts := newTestServer(t, events)
	f := newFaultyServer(t, ts)
	b := newTab(t)
	b.dark(false)
	run := func(name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			b.t = t
			f.set(nil)
			test(t)
			b.forgive()
		})
	}
	const words = "the question took longer than 30s; narrow the range of time"
	const slow = `{"error":{"code":"timeout","message":"` + words + `"}}`

	run("something between answers in HTML", func(t *testing.T) {
		b.open(ts.URL + "/")
		f.fails("/page/", 502, "text/html", "<h1>Bad Gateway</h1>")
		eval[bool](b, `(() => { const f = document.getElementById("search"); f.elements.verb.value = "delete"; f.requestSubmit(); return true })()`)
		b.is(`document.querySelector("#filter-error .error p").textContent.includes("502") && !document.querySelector("#view[aria-busy]")`)
		if eval[bool](b, `document.body.innerText.includes("Bad Gateway")`) {
			t.Error("the page of something else is in ours")
		}
		f.set(nil)
		eval[bool](b, `(document.querySelector("#filter-error button").click(), true)`)
		b.is(`!document.querySelector("#filter-error .error") && [...document.querySelectorAll("td.verb")].every((c) => c.textContent === "delete")`)
		b.drawn()
	})

	run("why there are no neighbours", func(t *testing.T) {
		f.set(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/around") {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(504)
			_, _ = io.WriteString(w, slow)
			return true
		})
		b.open(ts.URL + fmt.Sprintf("/?event=%d", len(events)))
		b.is(fmt.Sprintf(`document.querySelector("#around .error").textContent.includes(%q)`, words))
	})

	run("an event that does not come can be closed", func(t *testing.T) {
		b.open(ts.URL + "/")
		f.fails("/page/event/", 500, "application/json", `{"error":{"code":"internal","message":"the disk is gone"}}`)
		eval[bool](b, `(document.querySelector("tr.event td.verb").click(), true)`)
		b.is(`document.querySelector("#detail .error").textContent.includes("the disk is gone")`)
		eval[bool](b, `(document.querySelector("#detail .close").click(), true)`)
		b.is(`document.getElementById("detail").hidden && !location.search.includes("event=")`)
	})

	run("no histogram of another question", func(t *testing.T) {
		b.open(ts.URL + "/")
		b.is(`document.querySelector("#chart canvas")`)
		f.fails("/api/v1/histogram", 504, "application/json", slow)
		b.fill("verb", "delete")
		b.is(fmt.Sprintf(`document.getElementById("chart-total").textContent.includes(%q)`, words))
		b.keys("z")
		b.keys("z")
		if text := eval[string](b, `document.getElementById("chart-panel").innerText + document.getElementById("chart").getAttribute("aria-label")`); strings.Contains(text, "1,746") || !strings.Contains(text, words) {
			t.Errorf("the histogram says %q", text)
		}
	})

	run("one question about the state at a time", func(t *testing.T) {
		b.open(ts.URL + "/")
		hold := make(chan struct{})
		defer close(hold)
		f.holds("/page/status", hold)
		before := f.count("/page/status")
		eval[bool](b, `(() => { for (let i = 0; i < 5; i++) document.dispatchEvent(new Event("visibilitychange")); return true })()`)
		for f.count("/page/status") == before { // hangs if it does not ask
			b.promised(`fetch("/livez").then((r) => r.ok)`)
		}
		b.promised(`fetch("/livez").then((r) => r.ok)`)
		if n := f.count("/page/status") - before; n != 1 {
			t.Errorf("%d requests wait for the state", n)
		}
	})

	run("values are offered after a failure", func(t *testing.T) {
		b.open(ts.URL + "/")
		f.fails("/api/v1/top", 503, "application/json", slow)
		// The window of a driven browser may not have the focus itself.
		const focus = `document.querySelector("[name=verb]").dispatchEvent(new FocusEvent("focus"))`
		b.is(focus + ` && performance.getEntriesByType("resource").some((r) => r.name.includes("/api/v1/top"))`)
		f.set(nil)
		b.is(focus + ` && document.querySelector("#values-verb option[value=delete]")`)
	})

	run("a stream that ends says why and begins again", func(t *testing.T) {
		f.fails("/page/follow", 503, "application/json", `{"error":{"code":"unavailable","message":"24 streams are open already"}}`)
		b.open(ts.URL + "/?live=1")
		b.is(`document.getElementById("live").classList.contains("lost") && document.getElementById("live").textContent.includes("lost")`)
		f.set(nil)
		b.is(`document.getElementById("live").classList.contains("ready") && !document.getElementById("live").classList.contains("lost")`)
		// What the server says before it ends a stream is shown.
		f.set(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/page/follow" {
				return false
			}
			w.Header().Set("Content-Type", typeSSE)
			_, _ = io.WriteString(w, "event: failure\ndata: {\"error\":{\"code\":\"damaged\",\"message\":\"a segment is damaged\"}}\n\n")
			return true
		})
		b.open(ts.URL + "/?live=1")
		b.is(`document.getElementById("live").title.includes("a segment is damaged")`)
	})

	run("the counts of live are asked for one by one", func(t *testing.T) {
		b.open(ts.URL + "/?live=1")
		b.is(`document.getElementById("live").classList.contains("ready")`)
		hold := make(chan struct{})
		defer close(hold)
		f.holds("/api/v1/facets", hold)
		before := f.count("/api/v1/facets")
		// The page's clock goes faster, so that nobody has to wait here.
		eval[bool](b, `(() => { const slow = setTimeout; window.setTimeout = (g, ms) => slow(g, ms > 500 ? 5 : ms); const now = Date.now; let n = 0; Date.now = () => now() + (n += 10000); return true })()`)
		e := decoded(t, hostile)
		for n := 1; n <= 5; n++ {
			ts.source.Append(e)
			b.is(fmt.Sprintf(`document.querySelector('tr.event[data-id="%d"]')`, len(events)+n))
			b.promised(`new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => fetch("/livez").then((r) => done(r.ok)))))`)
		}
		b.is(`performance.getEntriesByType("resource").some((r) => r.name.includes("/api/v1/histogram"))`)
		if n := f.count("/api/v1/facets") - before; n > 1 {
			t.Errorf("%d questions for counts wait", n)
		}
	})
	b.t = t
}
