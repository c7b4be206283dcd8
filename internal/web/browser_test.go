package web

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/ktrail/ktrail/internal/golden"
	"github.com/ktrail/ktrail/internal/query"
)

var shots = flag.String("shots", "", "a directory for pictures of every state of the page, to look at")

// tab is a tab of a real Chromium, and what its console said.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	messages []string
	last     chan struct{} // has one when lastWord came
}

// newTab opens a tab of a browser of its own. A message in its console, which
// is where violations of the content security policy go too, fails the test.
func newTab(t *testing.T) *tab {
	t.Helper()
	if os.Getenv("KTRAIL_SKIP_BROWSER") == "1" {
		t.Skip("KTRAIL_SKIP_BROWSER=1")
	}
	var browser string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Fatal("no Chromium on the PATH: apt-get install chromium (or set KTRAIL_SKIP_BROWSER=1)")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.WSURLReadTimeout(2*time.Minute)) // a machine with much else to do starts a browser slowly
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	b := &tab{t: t, last: make(chan struct{}, 1)}
	ctx, cancel := chromedp.NewContext(alloc, chromedp.WithListener(func(ev any) {
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			b.note("exception: " + e.ExceptionDetails.Text + spoken(e.ExceptionDetails.Exception))
		case *runtime.EventConsoleAPICalled:
			b.note(fmt.Sprintf("console.%s%s", e.Type, spoken(e.Args...)))
		case *log.EventEntryAdded:
			b.note(fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
		}
	}))
	t.Cleanup(func() {
		b.listened()
		_ = chromedp.Do(ctx, chromedp.Stop()) // ends what still loads; the browser goes anyway
		cancel()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, m := range b.messages {
			t.Errorf("the console says: %s", m)
		}
	})
	b.ctx = ctx
	// What toasts said, which go by themselves, maybe before one looks.
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: `window.toasts = [];
			new MutationObserver((all) => all.forEach((m) => m.addedNodes.forEach((n) => n instanceof Element && n.classList.contains("toast") && window.toasts.push(n.textContent)))).observe(document, { childList: true, subtree: true })`})
		return err
	}))
	b.do(chromedp.EmulateViewport(1280, 800))
	return b
}

func (b *tab) note(m string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if strings.Contains(m, lastWord) {
		select {
		case b.last <- struct{}{}:
		default:
		}
		return
	}
	b.messages = append(b.messages, m)
}

// spoken is how the console shows values.
func spoken(values ...*runtime.RemoteObject) string {
	var b strings.Builder
	for _, v := range values {
		if v != nil {
			fmt.Fprintf(&b, " %s%s", v.Description, v.Value)
		}
	}
	return b.String()
}

// lastWord is what a test says in the console to hear all that was said before.
const lastWord = "that was all up to here"

// listened waits until what the console has said by now has come.
func (b *tab) listened() {
	_, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`(console.debug("`+lastWord+`"), true)`))
	if err != nil {
		return // the browser is gone, as when a test failed for it
	}
	select {
	case <-b.last:
	case <-b.ctx.Done():
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// is waits until a JavaScript expression is true. How long is of no matter to a
// test that passes. One that waits in vain says what is not so.
func (b *tab) is(expression string) {
	b.t.Helper()
	script := `new Promise((done) => { const until = performance.now() + 60000; const look = () => {
		let ok = false; try { ok = Boolean(` + expression + `) } catch {}
		if (ok) done(true); else if (performance.now() > until) done(false); else setTimeout(look, 20);
	}; look() })`
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](script, chromedp.EvalAwaitPromise))
	// A click may lead to another document while the old one is asked.
	for range 3 {
		if err == nil || !strings.Contains(err.Error(), "navigated") {
			break
		}
		got, err = chromedp.Run(b.ctx, chromedp.Evaluate[bool](script, chromedp.EvalAwaitPromise))
	}
	if err != nil {
		b.t.Fatalf("wait for %s: %v", expression, err)
	}
	if !got {
		b.t.Fatalf("waited in vain for %s\n%s", expression, b.told(expression))
	}
}

func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return got
}

// open goes to a page and waits until all of it is drawn.
func (b *tab) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
	b.drawn()
}

func (b *tab) drawn() {
	b.t.Helper()
	b.is(`document.documentElement.classList.contains("js") && document.querySelectorAll("[aria-busy]").length === 0`)
}

func (b *tab) keys(k string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(k))
}

// place is where to click on an element: its middle, or a little inside a wide
// one, once it stands still there with nothing above it.
func (b *tab) place(element string) [2]float64 {
	b.t.Helper()
	eval[bool](b, `(window.placed = "", true)`)
	b.is(`(() => {
		const el = ` + element + `;
		const r = el.getBoundingClientRect();
		const at = [r.x + Math.min(r.width / 2, 20), r.y + r.height / 2], was = window.placed;
		window.placed = [...at, scrollY];
		if (el.contains(document.elementFromPoint(at[0], at[1]))) return String(was) === String(window.placed);
		el.scrollIntoView({ block: "center", inline: "nearest" }); // what is in sight may be below the table's head
		return false;
	})()`)
	at := eval[[]float64](b, `window.placed`)
	return [2]float64{at[0], at[1]}
}

// press presses the mouse's button on an element, as a hand would.
func (b *tab) press(element string, modifiers ...chromedp.Modifier) {
	b.t.Helper()
	at := b.place(element)
	b.do(chromedp.MouseClickXY(at[0], at[1], chromedp.ButtonModifiers(modifiers...)))
}

// fill writes into a field and sends the form.
func (b *tab) fill(name, value string) {
	b.t.Helper()
	quoted, _ := json.Marshal(value)
	eval[bool](b, fmt.Sprintf(`(() => { const f = document.getElementById("search"); f.elements[%q].value = %s; f.requestSubmit(); return true })()`, name, quoted))
	b.drawn()
}

func (b *tab) dark(on bool) {
	b.t.Helper()
	value := "light"
	if on {
		value = "dark"
	}
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: value}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		return err
	}))
}

// picture is the window as PNG.
func (b *tab) picture() []byte {
	b.t.Helper()
	// Two frames, so that what was set is painted.
	_, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatal(err)
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	return png
}

// fits fails if something is wider than the window.
func (b *tab) fits(what string) {
	b.t.Helper()
	if over := eval[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
		b.t.Errorf("%s: the page is %d pixels wider than its window", what, over)
	}
}

func (b *tab) shot(name string) {
	b.t.Helper()
	b.fits(name)
	if *shots == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(*shots, name+".png"), b.picture(), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// docPictures are the pictures in docs/images, one of each view.
var docPictures = []pageState{
	{
		name: "events", url: "/?user=dana*&since=2026-11-23T01:36", ready: `document.querySelector("#chart canvas")`,
		then: `([...document.querySelectorAll("tr.event")].find((r) => r.querySelector("td.verb").textContent === "delete").querySelector("td.object").click(), true)`,
	},
	{name: "objects", url: "/objects?since=2026-11-23T01:36:30&namespace=shop&object=demo%2Fshop%2Fapps%2Fdeployments%2Fcheckout", ready: `document.querySelector(".revs") && document.querySelector(".diff")`},
	{name: "actors", url: "/actors/dana@example.com?since=2026-11-23T00:00", ready: `document.querySelector(".heat")`},
	{name: "sources", url: "/sources", ready: `document.querySelector(".arrivals .bar")`},
}

// TestScreenshots takes the pictures of the README, and looks at every state in
// every size for what does not fit.
func TestScreenshots(t *testing.T) {
	events := sampleEvents(t)
	b := newTab(t)
	b.dark(false)
	good := newTestServer(t, append(events, decoded(t, hostile)))
	incident := newTestServer(t, incidentEvents(t))

	// The pictures of the documentation tell of the incident.
	for _, p := range docPictures {
		for _, dark := range []bool{false, true} {
			b.dark(dark)
			b.open(incident.URL + p.url)
			b.is(p.ready)
			if p.then != "" {
				eval[bool](b, p.then)
			}
			b.drawn()
			name := p.name
			if dark {
				name += "-dark"
			}
			b.fits(name)
			if golden.Rewriting() { // the pictures of the documentation, which nothing compares
				if err := os.WriteFile(filepath.Join("..", "..", "docs", "images", name+".png"), b.picture(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}

	troubled := newTestServer(t, events)
	troubled.status = troubledStatus()
	troubled.source.Warn = query.Warnings{{Text: "segments/2026/11/22/000017.parquet is damaged; 412 events between 19:40 and 19:44 cannot be read", Damage: true}}
	empty := newTestServer(t, nil)
	empty.status.Store = StoreState{State: "ok"}
	empty.status.Sources = nil
	sizes := []struct{ w, h int64 }{{375, 812}, {768, 1024}, {1280, 800}, {1920, 1080}, {2560, 1440}}
	for _, dark := range []bool{false, true} {
		b.dark(dark)
		for _, size := range sizes {
			b.do(chromedp.EmulateViewport(size.w, size.h))
			suffix := fmt.Sprintf("-%d-light", size.w)
			if dark {
				suffix = fmt.Sprintf("-%d-dark", size.w)
			}
			b.open(good.URL + "/")
			b.is(`document.querySelector("#chart canvas")`)
			b.shot("home" + suffix)
			b.open(good.URL + "/?filter=verb+%3D%3D+%22delete%22&event=" + fmt.Sprint(len(events)+1))
			b.shot("hostile" + suffix)
			if size.w != 375 && size.w != 1280 {
				continue
			}
			b.open(good.URL + "/?filter=verb+%3D%3D+%22delete%22+%26%26+resorce+%3D%3D+%22pods%22")
			b.shot("filter-error" + suffix)
			b.open(good.URL + "/?filter=verb+%3D%3D+%22nothing%22&since=1h")
			b.shot("no-match" + suffix)
			b.open(empty.URL + "/")
			b.shot("empty" + suffix)
			b.open(troubled.URL + "/")
			b.shot("trouble" + suffix)
			eval[bool](b, `(document.getElementById("status-panel").showPopover(), true)`)
			b.shot("status" + suffix)
			b.open(good.URL + "/")
			eval[bool](b, `(document.getElementById("help").showPopover(), true)`)
			b.shot("help" + suffix)
		}
	}
}
