package web

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// TestActorsLiveOfOne: what one actor does live is not shown as another's, and is
// counted once, however often the list is sorted.
func TestActorsLiveOfOne(t *testing.T) {
	events := incidentEvents(t)
	const other = "system:serviceaccount:shop:deployer"
	held1 := make(chan struct{})
	ts := newTestServer(t, events, func(o *Options) {
		o.Questions = &held{Questions: o.Questions, day: func(ctx context.Context, q query.DayQuestion) error {
			if q.User != other {
				return nil
			}
			select {
			case <-held1:
			case <-ctx.Done():
			}
			return ctx.Err()
		}}
	})
	b := newTab(t)
	by := func(user, name string) {
		e := events[len(events)-1]
		for _, was := range events {
			if was.User == person && was.Verb == "get" && was.Resource == "secrets" {
				e = was
			}
		}
		e.User, e.Name, e.AsUser, e.Time = user, name, "", audit.TimeOf(time.Now())
		ts.source.Append(e)
		ts.mu.Lock()
		ts.status.Store.LastID++
		ts.mu.Unlock()
	}
	const ready = `document.getElementById("live").classList.contains("ready")`
	b.open(ts.URL + actorPath(person) + "?live=1")
	b.is(ready)
	by(person, "seen-before")
	b.is(`document.querySelectorAll("#actor-live-list li").length === 1`)
	// On to another one, whose day takes a while.
	eval[bool](b, `(() => { const a = document.createElement("a"); a.href = "`+actorPath(other)+`?live=1"; document.getElementById("actors").append(a); a.click(); return true })()`)
	b.is(`document.querySelector(".actor-head h2").innerText.endsWith("shop:deployer") && document.querySelector("#actor-still [data-age]")`)
	by(person, "not-theirs")
	close(held1)
	b.drawn()
	b.is(ready)
	by(other, "theirs")
	b.is(`document.getElementById("actor-live-list").innerText.includes("theirs")`)
	if said := eval[string](b, `document.getElementById("actor-frame").innerText`); strings.Contains(said, "not-theirs") || strings.Contains(said, "seen-before") {
		t.Errorf("the page tells of somebody else:\n%.800s", said)
	}
	if n := eval[int](b, `document.querySelectorAll("#actor-live-list li").length`); n != 1 {
		t.Errorf("%d requests are new", n)
	}

	// In the list, each is counted once.
	b.open(ts.URL + "/actors?live=1")
	b.is(ready)
	const count = `Number(document.querySelector('tr.actor[data-user="` + person + `"] [data-n=count]').innerText.replaceAll(",", ""))`
	was := eval[int](b, count)
	by(person, "one")
	by(person, "two")
	b.is(fmt.Sprintf(`%s === %d`, count, was+2))
	eval[bool](b, `([...document.querySelectorAll(".actors-table th a")].find((a) => a.innerText === "Failed").focus(), true)`)
	b.keys("\r")
	b.is(`location.search.includes("sort=failed")`)
	b.drawn()
	if !eval[bool](b, `document.activeElement.innerText === "Failed"`) {
		t.Errorf("the focus is on %s", eval[string](b, `document.activeElement.outerHTML.slice(0, 200)`))
	}
	b.is(ready)
	by(person, "three")
	b.is(fmt.Sprintf(`%s >= %d`, count, was+3))
	if n := eval[int](b, count); n != was+3 {
		t.Errorf("%d requests are counted after 3 more than %d", n, was)
	}
}

// TestActorsTimes: all times follow the zone, and users with odd names are
// reached from everywhere.
func TestActorsTimes(t *testing.T) {
	events := append(incidentEvents(t), written(t, 10, "Metadata", "update", "..", 200, ""))
	ts := newTestServer(t, events)
	b := newTab(t)
	b.zone("America/New_York")
	b.open(ts.URL + actorPath(person) + "?since=2026-11-23T00:00")
	b.is(`document.getElementById("actor-day").innerText.includes("since 2026-11-22 15:36:23")`)
	b.keys("z")
	b.is(`document.getElementById("actor-day").innerText.includes("since 2026-11-22 10:36:23")`)
	b.keys("z")
	b.open(ts.URL + "/objects?object=" + storyPath)
	b.is(`document.querySelector(".told a")`)
	eval[bool](b, `(document.querySelector(".told a").click(), true)`)
	b.is(`document.querySelector(".actor-head h2")?.innerText === ".."`)
	b.drawn()
}
