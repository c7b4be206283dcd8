package web

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestSavedViews(t *testing.T) {
	ts := newTestServer(t, nil)
	const name = `<script>"x" ä?&#`
	const state = `/objects?filter=verb+%3D%3D+%22delete%22&since=2h`
	body := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	ask := func(method, path, body string, status int, says string) {
		t.Helper()
		resp, got := fetch(t, method, ts.URL+path, body, "Content-Type", typeJSON)
		if resp.StatusCode != status || !strings.Contains(got, says) {
			t.Errorf("%s %s: %d %s, want %d with %s", method, path, resp.StatusCode, got, status, says)
		}
	}
	open := func(name string) *http.Response {
		t.Helper()
		c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		resp, err := c.Get(ts.URL + "/views/" + url.PathEscape(name))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	ask("GET", "/api/v1/views", "", 200, `{"views":[]}`)
	ask("POST", "/api/v1/views", body(viewBody{name, state}), 200, `"state":"/objects`)
	ask("POST", "/api/v1/views", body(viewBody{name, "/"}), 409, "another name")
	if resp := open(name); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != state {
		t.Errorf("the view leads to %d %q", resp.StatusCode, resp.Header.Get("Location"))
	}
	ask("PUT", "/api/v1/views/"+url.PathEscape(name), `{"name":"mine"}`, 200, `"name":"mine"`)
	ask("PUT", "/api/v1/views/mine", `{"state":"/sources"}`, 200, `"state":"/sources"`)
	if resp := open("mine"); resp.Header.Get("Location") != "/sources" {
		t.Errorf("the view leads to %q", resp.Header.Get("Location"))
	}
	if resp := open(name); resp.StatusCode != 404 {
		t.Errorf("the old name leads to %d", resp.StatusCode)
	}
	for text, says := range map[string]string{
		`{"name":"a"}`:                               "none of the pages",
		`{"state":"/"}`:                              "no name",
		`{"name":"a","state":"//evil.example"}`:      "no address of this server",
		`{"name":"a","state":"javascript:alert(1)"}`: "no address of this server",
		`{"name":"a/b","state":"/"}`:                 "U+002F",
		`{"name":"a","state":"/","more":1}`:          "more",
		`{`:                                          "the body is not",
		`{"name":"` + strings.Repeat("x", 81) + `"}`: "at most 80",
		`{"name":"a","state":"/?` + strings.Repeat("x", 9000) + `"}`: "at most 8192",
	} {
		ask("POST", "/api/v1/views", text, 400, says)
	}
	ask("POST", "/api/v1/views", `{"name":"`+strings.Repeat("x", maxViewBody)+`"}`, 413, "too large")
	ask("PUT", "/api/v1/views/none", `{"name":"x"}`, 404, "no saved view")
	ask("DELETE", "/api/v1/views/mine", "", 200, `{"views":[]}`)
	ask("DELETE", "/api/v1/views/mine", "", 404, "no saved view")
}

// TestLost: a person gets a page that says what is wrong and leads on, a program JSON.
func TestLost(t *testing.T) {
	ts := newTestServer(t, nil)
	const browser = "text/html,application/xhtml+xml,*/*;q=0.8"
	for _, path := range []string{"/views/%3Cscript%3E", "/nowhere", "/objects/x"} {
		resp, body := fetch(t, "GET", ts.URL+path, "", "Accept", browser)
		if resp.StatusCode != 404 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") || !strings.Contains(body, `<a class="button" href="/">`) || strings.Contains(body, "<script>") {
			t.Errorf("%s for a person: %d %s", path, resp.StatusCode, body)
		}
		if resp, body = fetch(t, "GET", ts.URL+path, "", "Accept", "*/*"); resp.StatusCode != 404 || !strings.HasPrefix(body, `{"error":`) {
			t.Errorf("%s for a program: %d %s", path, resp.StatusCode, body)
		}
	}
	if _, body := fetch(t, "GET", ts.URL+"/views/x", "", "Accept", browser); !strings.Contains(body, "renamed or deleted") {
		t.Errorf("the page does not say what became of the view: %s", body)
	}
	if _, body := fetch(t, "GET", ts.URL+"/api/v1/views/x/y", "", "Accept", browser); !strings.HasPrefix(body, `{"error":`) {
		t.Errorf("the API answers %s", body)
	}
}

// TestWrongMethod: an address that is there says what it takes.
func TestWrongMethod(t *testing.T) {
	ts := newTestServer(t, nil)
	for _, q := range [][3]string{
		{"GET", "/api/v1/views/NAME", "PUT, DELETE"},
		{"POST", "/api/v1/views/a%2Fb", "PUT, DELETE"},
		{"PUT", "/api/v1/views", "GET, POST"},
		{"DELETE", "/", "GET"},
		{"POST", "/actors/alice", "GET"},
		{"PATCH", "/api/v1/import", "POST"},
	} {
		if resp, body := fetch(t, q[0], ts.URL+q[1], ""); resp.StatusCode != 405 || resp.Header.Get("Allow") != q[2] {
			t.Errorf("%s %s: %d, Allow %q, want %q; %s", q[0], q[1], resp.StatusCode, resp.Header.Get("Allow"), q[2], body)
		}
	}
}

// TestOtherSitesSaveNothing: a page of another site can neither save, change nor
// delete views.
func TestOtherSitesSaveNothing(t *testing.T) {
	ts := newTestServer(t, nil)
	if _, err := ts.inner.Views.Create("kept", "/"); err != nil {
		t.Fatal(err)
	}
	for _, q := range [][3]string{
		{"POST", "/api/v1/views", `{"name":"a","state":"/"}`},
		{"PUT", "/api/v1/views/kept", `{"name":"a"}`},
		{"DELETE", "/api/v1/views/kept", ""},
	} {
		for _, header := range [][2]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "http://evil.example"}} {
			resp, body := fetch(t, q[0], ts.URL+q[1], q[2], "Content-Type", typeJSON, header[0], header[1])
			if resp.StatusCode != 403 {
				t.Errorf("%s %s: %d %s", q[0], q[1], resp.StatusCode, body)
			}
		}
		if q[2] != "" { // a form sends without asking, but not this type
			resp, body := fetch(t, q[0], ts.URL+q[1], q[2], "Content-Type", "text/plain")
			if resp.StatusCode != 400 {
				t.Errorf("%s %s as a form: %d %s", q[0], q[1], resp.StatusCode, body)
			}
		}
	}
	if list := ts.inner.Views.List(); len(list) != 1 || list[0].Name != "kept" {
		t.Errorf("got %+v", list)
	}
	none := newTestServer(t, nil, func(o *Options) { o.Views, o.Quarantine = nil, nil })
	for _, path := range []string{"/api/v1/views", "/views/x", "/api/v1/quarantine"} {
		if resp, body := fetch(t, "GET", none.URL+path, ""); resp.StatusCode != 503 {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
}

func TestQuarantineIsShown(t *testing.T) {
	ts := newTestServer(t, nil)
	resp, body := fetch(t, "GET", ts.URL+"/api/v1/quarantine", "")
	var a QuarantineAnswer
	if err := json.Unmarshal([]byte(body), &a); err != nil || resp.StatusCode != 200 {
		t.Fatal(err, body)
	}
	if len(a.Lines) != 1 || a.Lines[0].Text != "<script>⟨0xFF⟩⟨U+202E⟩" || !a.Lines[0].Cut || !a.More {
		t.Errorf("got %+v", a)
	}
}
