package web

import (
	"bufio"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// TestTemplates executes every template with everything and with nothing, which
// is what type-checks them.
func TestTemplates(t *testing.T) {
	ts := newTestServer(t, nil)
	e := decoded(t, hostile)
	e.ID, e.AsUser = 7, "system:serviceaccount:a:b"
	bare := audit.Event{}
	q := pageQuery{Filter: `a == "b"`, Verb: "get", User: "u", Namespace: "n", Resource: "r", Failed: true, Writes: true, Since: "1h", Until: "now", Live: true, Event: "7", Cursor: "c"}
	fe := &query.FilterError{Text: `a == "b"`, Line: 1, Column: 1, Message: "no column a", Suggest: "as_user"}
	full := results{
		Query: q, CEL: q.Filter, Ran: "final", Rows: []row{newRow(&e, q, chosenColumns(q)), newRow(&bare, q, tableColumns())}, Next: "/?cursor=x", Cursor: "x", Warnings: query.Warnings{{Text: "<w>"}},
	}
	inFilter := results{Query: q, Error: newErrorView(fe, ts.inner.wire(fe), q)}
	other := results{Query: q, Error: newErrorView(errTimeout, ts.inner.wire(errTimeout), q)}
	trouble, good := newStatusView(troubledStatus()), newStatusView(Status{})
	for _, c := range []struct {
		name string
		data any
	}{
		{"page", page{View: eventsView(), Data: eventsData{}}},
		{"page", page{View: eventsView(), Views: views(), Shared: sharedKeys(), Query: q, Version: "v", Presets: presets(q), Data: eventsData{Results: full, Event: newEventView(&e, q)}, Status: trouble, Columns: query.Columns()}},
		{"page", page{View: eventsView(), Query: q, scope: scope{Problem: inFilter.Error}, Data: eventsData{Results: inFilter, Event: &eventView{ID: "1", Missing: "none"}}, Status: good}},
		{"page", page{View: sourcesView(), Data: newSourcesData(troubledStatus())}},
		{"page", page{View: sourcesView(), Data: newSourcesData(Status{})}},
		{"sources-now", sourcesData{statusView: good, Quarantine: QuarantineAnswer{Lines: []QuarantineLine{{Reason: "<b>bold", Text: "<script>window"}}}}},
		{"scope-update", scope{CEL: `a == "<b>bold"`, Last: 7}},
		{"scope-update", scope{Problem: inFilter.Error}},
		{"results", full},
		{"results", inFilter},
		{"results", other},
		{"results", results{}},
		{"results", results{NoEvents: true}},
		{"event", newEventView(&e, q)},
		{"event", newEventView(&bare, pageQuery{})},
		{"event", &eventView{}},
		{"around", around{Stages: []nearby{newNearby(&e, &e, q)}, Lists: []neighbours{{Title: "Same user", All: "/", Rows: []nearby{newNearby(&e, &bare, q), {}}}}}},
		{"status-update", trouble},
		{"status-update", good},
		{"row", newRow(&e, q, chosenColumns(q))},
		{"row", row{}},
	} {
		var b strings.Builder
		if err := ts.inner.pages.ExecuteTemplate(&b, c.name, c.data); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, bad := range []string{"<script>window", "<img src=x", "<svg onload", "<b>bold", "' onclick='", `href="javascript`, "ZgotmplZ"} {
			if strings.Contains(b.String(), bad) {
				t.Errorf("%s lets %q through", c.name, bad)
			}
		}
		// Attributes carry values as they are; what is shown does not.
		if shown := textOf(b.String()); strings.ContainsAny(shown, "\u202e\u200b\a") {
			t.Errorf("%s shows control characters as they are", c.name)
		}
	}
}

// textOf is what a reader sees of HTML: everything outside of tags.
func textOf(page string) string {
	var b strings.Builder
	in := false
	for _, r := range page {
		switch {
		case r == '<':
			in = true
		case r == '>':
			in = false
		case !in:
			b.WriteRune(r)
		}
	}
	return html.UnescapeString(b.String())
}

func TestPageWithoutScript(t *testing.T) {
	ts := newTestServer(t, append(sampleEvents(t), decoded(t, hostile)))
	resp, body := fetch(t, "GET", ts.URL+"/?user=kubernetes-super-admin&failed=1&filter="+url.QueryEscape(`verb != "get"`), "")
	if resp.StatusCode != 200 || strings.Count(body, `<tr class="event failed"`) == 0 || strings.Contains(body, `<tr class="event"`) {
		t.Errorf("status %d, %d failed rows", resp.StatusCode, strings.Count(body, "<tr class=\"event failed\""))
	}
	// The next page by its link, as a browser without script follows it.
	_, body = fetch(t, "GET", ts.URL+"/", "")
	_, rest, _ := strings.Cut(body, `<p class="more"><a class="button" href="`)
	link, _, ok := strings.Cut(rest, `"`)
	if !ok {
		t.Fatal("no link to the next page")
	}
	_, second := fetch(t, "GET", ts.URL+html.UnescapeString(link), "")
	if n := strings.Count(second, "<tr class=\"event"); n != pageRows || strings.Contains(body, idOf(t, second)) {
		t.Errorf("the second page has %d rows, and begins with %s", n, idOf(t, second))
	}
	if resp, body = fetch(t, "GET", ts.URL+"/?event=3803", ""); resp.StatusCode != 200 || !strings.Contains(body, `class="sentence" data-id="3803"`) {
		t.Errorf("a permalink: %d", resp.StatusCode)
	}
	if resp, body = fetch(t, "GET", ts.URL+"/?event=12345", ""); resp.StatusCode != 404 || !strings.Contains(body, "No such event") {
		t.Errorf("a permalink to nothing: %d", resp.StatusCode)
	}
	_, body = fetch(t, "GET", ts.URL+"/?filter="+url.QueryEscape(`verbb == "get"`), "")
	if !strings.Contains(body, `<pre class="caret">verbb == &#34;get&#34;`) || !strings.Contains(html.UnescapeString(body), `href="/?filter=verb+%3D%3D+%22get%22"`) {
		t.Error("a wrong filter is not shown with its place and a way out")
	}
}

func idOf(t *testing.T, page string) string {
	t.Helper()
	_, rest, _ := strings.Cut(page, `data-id="`)
	id, _, ok := strings.Cut(rest, `"`)
	if !ok {
		t.Fatal("no row")
	}
	return `data-id="` + id + `"`
}

// TestJSONSections puts the tokens together again, which must give the line.
func TestJSONSections(t *testing.T) {
	for _, raw := range []string{hostile, `{}`, `{"a":-1.5e3,"b":[true,false,null,{}],"c":{"d":"\"}:, x"},"e\"":"","f":[]}`, `{"a":{"b":[1,[2,{"c":{"d":[[],{}],"e":"x","f":1}}],"]}"],"g":{}},"h":[{"i":1,"j":2,"k":3},{"i":1}]}`} {
		sections, ok := jsonSections(raw)
		if !ok {
			t.Fatalf("%s is no object", raw)
		}
		var b strings.Builder
		var write func([]section)
		write = func(all []section) {
			for _, s := range all {
				if s.Key != "" {
					b.WriteString(s.Key + ":")
				}
				b.WriteString(s.Opener)
				if s.Kids != nil {
					write(s.Kids)
					b.WriteString(s.Closer)
				}
				for _, tok := range s.Tokens {
					b.WriteString(tok.Text)
					if (tok.Class == "s" || tok.Class == "k") != strings.HasPrefix(tok.Text, `"`) {
						t.Errorf("token %+v", tok)
					}
				}
				if s.Comma {
					b.WriteString(",")
				}
			}
		}
		b.WriteString("{")
		write(sections)
		b.WriteString("}")
		squeeze := func(s string) string { return strings.NewReplacer(" ", "", "\n", "").Replace(s) }
		if squeeze(b.String()) != squeeze(raw) {
			t.Errorf("got  %s\nwant %s", squeeze(b.String()), squeeze(raw))
		}
	}
	for _, raw := range []string{"", "[]", "not json", `{"a":`, `"x"`} {
		if _, ok := jsonSections(raw); ok {
			t.Errorf("%q is taken for an object", raw)
		}
	}
}

func FuzzJSONSections(f *testing.F) {
	f.Add(hostile)
	f.Add(`{"a":[1,2,"x"],"b":{"c":null}}`)
	f.Add(`{"a" : 1 , "a":"\u0000"}`)
	f.Fuzz(func(t *testing.T, raw string) { jsonSections(raw) })
}

// TestLiveMissesNothing: what is committed between the page's search and its
// live stream is told by the stream, also where the store was empty before.
func TestLiveMissesNothing(t *testing.T) {
	events := sampleEvents(t)
	for _, have := range []int{0, 50} {
		ts := newTestServer(t, events[:have])
		_, text := fetch(t, "GET", ts.URL+"/page/results?filter=stage+!%3D+%22%22", "")
		m := regexp.MustCompile(`data-last="(\d+)"`).FindStringSubmatch(text)
		if m == nil || m[1] != strconv.Itoa(have) {
			t.Fatalf("the table of %d events says %q", have, m)
		}
		next := events[100]
		next.ID = 0
		ts.source.Append(next) // now, and the stream opens after
		resp, err := http.Get(ts.URL + "/page/follow?filter=stage+!%3D+%22%22&after=" + m[1])
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var id string
		for scan := bufio.NewScanner(resp.Body); id == "" && scan.Scan(); {
			id, _ = strings.CutPrefix(scan.Text(), "id: ")
			if id == scan.Text() {
				id = ""
			}
		}
		if id != strconv.Itoa(have+1) {
			t.Errorf("after %d the stream begins with event %q", have, id)
		}
	}
}
