package web

import (
	"testing"
)

func TestObjectsInChromium(t *testing.T) {
	events := append(sampleEvents(t), decoded(t, hostile))
	ts := newTestServer(t, events)
	b := newTab(t)
	b.dark(false)
	b.open(ts.URL + "/objects")
	b.is(`document.querySelectorAll(".tl-row:not([hidden])").length > 5`)
	b.shot("objects-1")
	t.Log(eval[string](b, `document.querySelector(".tree").innerText.slice(0,400)`))
	eval[bool](b, `(document.querySelector(".tl-row").getBoundingClientRect(), true)`)
	b.open(ts.URL + "/objects?resource=deployments")
	b.shot("objects-2")
	t.Log(eval[string](b, `[...document.querySelectorAll(".tl-row")].map((r)=>r.getAttribute("aria-label")).join("\n")`))
}
