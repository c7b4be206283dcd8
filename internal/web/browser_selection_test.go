package web

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// selectedIDs is a script for the IDs of the events whose boxes are ticked, of those in the document.
const selectedIDs = `[...document.querySelectorAll("tr.event")].filter((r) => r.querySelector("td.select input").checked && r.classList.contains("selected")).map((r) => Number(r.dataset.id))`

// exported fetches what a link of the export menu leads to.
func (b *tab) exported(format string) string {
	b.t.Helper()
	resp, err := http.Get(eval[string](b, fmt.Sprintf(`document.querySelector("#export-links [data-format=%s]").href`, format)))
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		b.t.Fatalf("%s: %d, %v: %.300s", format, resp.StatusCode, err, body)
	}
	return string(body)
}

// TestSelectionInChromium selects events and exports them.
func TestSelectionInChromium(t *testing.T) {
	events := append(sampleEvents(t), decoded(t, hostile))
	ts := newTestServer(t, events)
	b := newTab(t)
	b.dark(false)
	run := func(name string, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) { b.t = t; f(t) })
		b.t = t
	}
	count := func(n string) {
		b.t.Helper()
		b.is(fmt.Sprintf(`document.getElementById("selection-count").textContent === %q`, n))
	}

	run("three rows as a report, by keyboard", func(t *testing.T) {
		b.open(ts.URL + "/?filter=verb+%3D%3D+%22delete%22&since=2026-11-22")
		b.keys("jxjjxjx")
		count("3 selected")
		want := eval[[]int](b, selectedIDs)
		rows := eval[[]int](b, `[...document.querySelectorAll("tr.event")].map((r) => Number(r.dataset.id))`)
		if !slices.Equal(want, []int{rows[0], rows[2], rows[3]}) {
			t.Fatalf("%v are selected of %v", want, rows[:5])
		}
		b.keys("e")
		b.is(`document.querySelector("#export-menu:popover-open") && document.getElementById("export-what").textContent === "The 3 events that are selected."`)
		report := b.exported("html")
		var got []int
		for _, m := range regexp.MustCompile(`(?s)<tr><td class="id">(\d+)</td>.*?<td class="hash">([0-9a-f]{64})</td></tr>`).FindAllStringSubmatch(report, -1) {
			id, _ := strconv.Atoi(m[1])
			got = append(got, id)
			if m[2] != hashOf(events[id-1].Raw) {
				t.Errorf("the hash of %d is not that of its line", id)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("the report has %v, selected were %v", got, want)
		}
		for _, part := range []string{"<dd>3 of 3 chosen by hand", "<code>verb == &#34;delete&#34;</code>", "from 2026-11-22 00:00:00.000000"} {
			if !strings.Contains(report, part) {
				t.Errorf("the report lacks %q", part)
			}
		}
		if lines := strings.Count(b.exported("jsonl"), "\n"); lines != 3 {
			t.Errorf("%d JSON lines", lines)
		}
		if lines := strings.Count(b.exported("csv"), "\n"); lines != 4 {
			t.Errorf("%d lines of CSV with the header", lines)
		}
		if got := b.exported("raw"); got != events[want[0]-1].Raw+"\n"+events[want[1]-1].Raw+"\n"+events[want[2]-1].Raw+"\n" {
			t.Errorf("the log is\n%s", got)
		}
		// All of the answer is still to be had.
		eval[bool](b, `(document.getElementById("export-chosen").click(), true)`)
		b.is(`document.getElementById("export-what").textContent.startsWith("All events that match")`)
		if lines := strings.Count(b.exported("jsonl"), "\n"); lines < len(rows) || lines < 10 {
			t.Errorf("%d JSON lines, %d rows are shown", lines, len(rows))
		}
		b.keys("\x1b")
		b.is(`!document.querySelector(":popover-open")`)
		count("3 selected")
		b.keys("x")
		count("2 selected")
		b.keys("\x1b")
		count("")
		b.keys("e")
		b.is(`document.querySelector("#export-menu:popover-open") && document.getElementById("export-only").hidden && !document.querySelector("#export-links a").href.includes("ids=")`)
		b.keys("\x1b")
		b.is(`!document.querySelector(":popover-open")`)
	})

	run("ranges, by mouse", func(t *testing.T) {
		b.open(ts.URL + "/")
		row := func(i int) string { return fmt.Sprintf(`document.querySelector('tr.event[aria-rowindex="%d"]')`, i+2) }
		b.press(row(1) + `.querySelector("td.select input")`)
		count("1 selected")
		b.press(row(6)+`.querySelector("td.time a")`, chromedp.ModifierShift)
		count("6 selected")
		if eval[bool](b, `!document.getElementById("detail").hidden || getSelection().toString() !== ""`) {
			t.Error("selecting rows opens one, or selects text")
		}
		// The end of the range was taken back, and so is what is between.
		b.press(row(6) + `.querySelector("td.select")`)
		count("5 selected")
		b.press(row(4)+`.querySelector("td.select input")`, chromedp.ModifierShift)
		count("3 selected")
		if got := eval[[]int](b, selectedIDs); !slices.Equal(got, []int{len(events) - 1, len(events) - 2, len(events) - 3}) {
			t.Errorf("%v are selected of %d", got, len(events))
		}
		// An event is opened and closed, and nothing is lost.
		b.press(row(2) + `.querySelector("td.verb")`)
		b.is(`document.querySelector("#detail .sentence")`)
		b.drawn()
		b.keys("\x1b")
		b.is(`document.getElementById("detail").hidden`)
		b.drawn()
		count("3 selected")
		b.press(`document.getElementById("selection-export")`)
		b.is(`document.querySelector("#export-menu:popover-open")`)
		b.keys("\x1b")
		b.press(`document.getElementById("selection-clear")`)
		count("")
		if left := eval[[]int](b, selectedIDs); len(left) > 0 {
			t.Errorf("%v look selected", left)
		}
		// Shift and X from the cursor, where nothing was selected before.
		b.press(row(3) + `.querySelector("td.verb")`)
		b.is(`document.querySelector("#detail .sentence")`)
		b.drawn()
		b.keys("\x1bxjjX")
		count("3 selected")
	})

	run("it stays while one scrolls and follows, and goes with another question", func(t *testing.T) {
		b.open(ts.URL + `/?filter=stage+!%3D+""&live=1`)
		b.is(`document.getElementById("live").classList.contains("ready")`)
		b.keys("jx")
		count("1 selected")
		first := eval[[]int](b, selectedIDs)
		down := func(i int) {
			b.t.Helper()
			// Pages come one after the other.
			b.is(fmt.Sprintf(`(document.querySelector('tr.event[aria-rowindex="%d"]') || (scrollTo(0, scrollY + 2000), false)) && !document.querySelector("#results .more")`, i))
		}
		down(301)
		if left := eval[[]int](b, selectedIDs); len(left) > 0 {
			t.Errorf("%v are in the document still", left)
		}
		b.press(`document.querySelector('tr.event[aria-rowindex="301"] td.verb')`, chromedp.ModifierShift)
		count("300 selected")
		// More than an export takes is not selected.
		down(1400)
		b.press(`document.querySelector('tr.event[aria-rowindex="1400"] td.select input')`, chromedp.ModifierShift)
		b.is(`window.toasts.at(-1)?.startsWith("At most 1,000") && !document.querySelector('tr.event[aria-rowindex="1400"] input').checked`)
		count("300 selected")
		ts.source.Append(decoded(t, hostile))
		ts.mu.Lock()
		ts.status.Store.LastID++
		ts.mu.Unlock()
		b.is(`document.getElementById("fresh").textContent === "↑ 1 new"`)
		b.keys("t")
		b.is(fmt.Sprintf(`document.querySelector("tr.event").dataset.id === "%d" && (%s)[0] === %d`, len(events)+1, selectedIDs, first[0]))
		// Other columns, and the same question once more.
		eval[bool](b, `(document.querySelector('#columns-list li[data-column="agent"] input').click(), true)`)
		b.is(`location.search.includes("columns=") && document.querySelector("td.select + td.time")`)
		b.drawn()
		b.keys("l")
		b.drawn()
		eval[bool](b, `(document.getElementById("search").requestSubmit(), true)`)
		b.drawn()
		b.is(fmt.Sprintf(`(%s)[0] === %d`, selectedIDs, first[0]))
		count("300 selected")
		b.fill("verb", "delete")
		count("")
		if left := eval[[]int](b, selectedIDs); len(left) > 0 {
			t.Errorf("%v are selected in another answer", left)
		}
	})

	run("narrow", func(t *testing.T) {
		b.do(chromedp.EmulateViewport(375, 812))
		b.open(ts.URL + "/?verb=delete")
		b.press(`document.querySelector("tr.event td.select")`)
		b.press(`document.querySelector("tr.event:nth-child(2) td.select input")`)
		count("2 selected")
		if eval[bool](b, `!document.getElementById("detail").hidden`) {
			t.Error("selecting opens the event")
		}
		if size := eval[[]float64](b, `(() => { const r = document.querySelector("td.select").getBoundingClientRect(); return [r.width, r.height] })()`); size[0] < 40 || size[1] < 40 {
			t.Errorf("a finger has %v pixels", size)
		}
		b.shot("selection-375")
		b.press(`document.getElementById("selection-export")`)
		b.is(`document.querySelector("#export-menu:popover-open") && document.querySelector("#export-links a").href.includes("ids=")`)
		b.shot("selection-export-375")
		b.do(chromedp.EmulateViewport(1280, 800))
		b.keys("\x1b")
		b.shot("selection-1280")
	})
}
