package web

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

func TestKindOf(t *testing.T) {
	for user, want := range map[string]string{
		"":                                   "people",
		"alice@example.com":                  "people",
		"system:anonymous":                   "people",
		"system:admin":                       "people",
		"systemd":                            "people",
		"system:serviceaccount:shop:deploy":  "accounts",
		"system:node:worker-1":               "nodes",
		"system:bootstrap:abcdef":            "nodes",
		"system:apiserver":                   "control",
		"system:kube-controller-manager":     "control",
		"eks:node-manager":                   "control",
		"\u202esystem:serviceaccount:shop:x": "people",
	} {
		if got := kindOf(user); got != want {
			t.Errorf("%q is of %s, not %s", user, got, want)
		}
	}
}

func TestCredentialText(t *testing.T) {
	for id, want := range map[string]string{
		"":                            "no ID recorded",
		"X509SHA256=3f2a91bc0d1e2f30": "certificate 3f2a91bc",
		"JTI=4c6ba82a-b256-4260-b634": "token 4c6ba82a",
		"JTI=short":                   "JTI=short",
		"JTI=1234567é9":               "JTI=1234567é9",
		"<b>":                         "<b>",
	} {
		if got := credentialText(id); got != want {
			t.Errorf("%q is %q, not %q", id, got, want)
		}
	}
}

func TestShade(t *testing.T) {
	for _, most := range []int64{1, 2, 7, 1000, 1 << 40} {
		before := 0
		for n := int64(1); n <= most; n = n*3/2 + 1 {
			s := shade(n, most)
			if s < before || s < 1 || s > 5 {
				t.Errorf("%d of %d has shade %d after %d", n, most, s, before)
			}
			before = s
		}
	}
	if shade(1000, 1000) != 5 || shade(1, 1000) != 1 || shade(0, 1000) != 0 {
		t.Error("the least and the most look alike")
	}
}

func TestAgeText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "just now", 9 * time.Second: "just now", 10 * time.Second: "10 seconds ago", 2 * time.Minute: "2 minutes ago",
		119 * time.Minute: "119 minutes ago", 2 * time.Hour: "2 hours ago", 48 * time.Hour: "2 days ago", 3000 * 24 * time.Hour: "3,000 days ago",
	} {
		if got := ageText(d); got != want {
			t.Errorf("%s is %q, not %q", d, got, want)
		}
	}
}

// TestActorAddress: whatever a user is called has a page, and the links between
// pages and to events lead there and to nobody else.
func TestActorAddress(t *testing.T) {
	var events []audit.Event
	users := []string{"alice", ".", "..", "a/b", "a/../b", "%2e%2e", "a?b=c&d#e", `<script>"'`, "\u202e\u0000x", "zürich 𝄞", "//", "a;b", `"||user!="`, "+ +"}
	for _, u := range users {
		e := decoded(t, hostile)
		e.User = u
		events = append(events, e)
	}
	ts := newTestServer(t, events)
	get := func(path string) string {
		t.Helper()
		resp, err := http.Get(ts.URL + path) //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", path, resp.Status, err)
		}
		return string(body)
	}
	list := get("/page/actors/list")
	for _, u := range users {
		to := pageQuery{}.toActor(u).URL()
		if !strings.Contains(get(to), `id="actor-frame">`) {
			t.Errorf("%s is no page of %q", to, u)
		}
		if !strings.Contains(list, "data-user=") {
			t.Fatal(list)
		}
		p := url.Values{"actor": {u}}.Encode()
		now, day, trail, touched := get("/page/actors/now?"+p), get("/page/actors/day?"+p), get("/page/actors/trail?"+p), get("/page/actors/touched?"+p)
		if !strings.Contains(now, "Last request") || !strings.Contains(day, `class="heat"`) || !strings.Contains(trail, "<dt>Requests</dt><dd>1</dd>") || !strings.Contains(touched, "txt.exe") {
			t.Errorf("%q: the page has not its one request:\n%s\n%s", u, now, trail)
		}
		for _, part := range []string{now, day, trail, touched} {
			if strings.Contains(part, "<script") || strings.Contains(part, "<img") || strings.Contains(part, "ZgotmplZ") {
				t.Errorf("%q: hostile text in the page:\n%s", u, part)
			}
		}
	}
	resp, err := http.Get(ts.URL + "/page/actors/day") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a day of nobody: %s", resp.Status)
	}
}

// TestActorsWarnOnce: the list is the answer to two questions, which may be incomplete for the same reason.
func TestActorsWarnOnce(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t))
	ts.source.Warn = query.Warnings{{Text: "a segment is missing", Damage: true}}
	resp, err := http.Get(ts.URL + "/page/actors/list")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(body), "a segment is missing"); n != 1 {
		t.Errorf("it is said %d times", n)
	}
}
