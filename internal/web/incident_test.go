package web

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/ktrail/ktrail/audit"
)

// person is who did it, in the incident's log.
const person = "dana@example.com"

// TestIncidentSample holds that the recorded incident tells what its readers
// (tests, pictures, documentation) say of it.
func TestIncidentSample(t *testing.T) {
	events := incidentEvents(t)
	// In this order, all by one person from an address that was not hers before.
	steps := []func(*audit.Event) bool{
		func(e *audit.Event) bool { return e.Verb == "list" && e.Resource == "secrets" && e.Code == 403 },
		func(e *audit.Event) bool {
			return e.Verb == "create" && e.Resource == "clusterrolebindings" && e.Code == 201 && strings.Contains(e.Raw, `"name":"cluster-admin"`)
		},
		func(e *audit.Event) bool { return e.Verb == "list" && e.Resource == "secrets" && e.Code == 200 },
		func(e *audit.Event) bool {
			return e.Verb == "get" && e.Resource == "secrets" && e.Name == "payments-key" && e.Code == 200
		},
		func(e *audit.Event) bool {
			return e.Verb == "delete" && e.Resource == "deployments" && e.Name == "checkout" && e.Code == 200
		},
		func(e *audit.Event) bool { return e.Verb == "list" && e.Resource == "secrets" && e.Code == 200 },
	}
	const night = "203.0.113.77"
	before, others := 0, map[string]bool{}
	for i := range events {
		e := &events[i]
		others[e.User] = true
		if strings.Contains(e.Raw, "hunter2") || strings.Contains(e.Raw, "not-a-key") || strings.Contains(e.Raw, `"token":"`) {
			t.Errorf("event %d has a secret", i+1)
		}
		switch {
		case e.User != person:
		case !slices.Contains(e.SourceIPs, night):
			before++
			if len(steps) < 6 {
				t.Errorf("event %d is from another address", i+1)
			}
		case len(steps) > 0 && steps[0](e):
			steps = steps[1:]
		}
	}
	if len(steps) > 0 || before < 10 || len(others) < 10 {
		t.Errorf("%d steps are missing; %d usual requests of the person; %d users", len(steps), before, len(others))
	}
	// Requests of pods say which pod it was.
	if !slices.ContainsFunc(events, func(e audit.Event) bool {
		return e.User == "system:serviceaccount:shop:deployer" && strings.HasPrefix(e.Pod, "runner-")
	}) {
		t.Error("no request tells its pod")
	}
}

// TestIncidentInThreeClicks: somebody is paged at night, because a deployment is
// gone. Who deleted it, what else did they touch, and is it still going on?
func TestIncidentInThreeClicks(t *testing.T) {
	events := incidentEvents(t)
	ts := newTestServer(t, events)
	b := newTab(t)
	b.open(ts.URL + "/?verb=delete&resource=deployments")
	c := clicks{b: b}
	c.click("who deleted it", `tr.event td.object`, `document.querySelector("#detail .sentence").textContent.startsWith("dana@example.com deleted deployment checkout")`)
	c.click("what else did they touch", `#detail .links a[href*="dana"]`, `document.body.innerText.includes("payments-key") && document.body.innerText.includes("clusterrolebindings")`)
	// It says when the last request was, and stays right: what comes shows by itself.
	c.click("is it still going on", `#live`, `document.getElementById("live").classList.contains("ready") && document.querySelector("#actor-still.quiet").innerText.startsWith("Quiet. Last request ")`)
	c.report(3)
	// It was quiet, and begins again.
	next := events[len(events)-1]
	for _, e := range events {
		if e.User == person && e.Verb == "get" && e.Resource == "secrets" {
			next = e
		}
	}
	next.Name, next.Time = "one-more", audit.TimeOf(time.Now())
	ts.source.Append(next)
	b.is(`document.getElementById("actor-live-list").innerText.includes("one-more")`)
	b.is(`/^Still going on\. Last request (just now|\d+ (second|minute)s? ago)/.test(document.querySelector("#actor-still.warn").innerText) && document.getElementById("actor-still").innerText.includes("one-more")`)
}

// clicks counts what a person does with the mouse, and how long each answer takes.
type clicks struct {
	b     *tab
	steps []string
}

// click clicks on the first element that a selector finds, and waits until the
// page is drawn and then is true.
func (c *clicks) click(what, selector, then string) {
	c.b.t.Helper()
	quoted, _ := json.Marshal(selector)
	c.b.is(fmt.Sprintf(`document.querySelector(%s)`, quoted))
	at := c.b.place(fmt.Sprintf(`document.querySelector(%s)`, quoted))
	start := time.Now()
	c.b.do(chromedp.MouseClickXY(at[0], at[1]))
	c.b.is(then)
	c.b.drawn()
	c.steps = append(c.steps, fmt.Sprintf("%s: %d ms", what, time.Since(start).Milliseconds()))
}

// report prints the clicks, and fails if there were more than most.
func (c *clicks) report(most int) {
	c.b.t.Helper()
	c.b.t.Logf("%d clicks: %s", len(c.steps), strings.Join(c.steps, "; "))
	if len(c.steps) > most {
		c.b.t.Errorf("%d clicks, more than %d", len(c.steps), most)
	}
}
