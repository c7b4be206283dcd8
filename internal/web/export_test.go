package web

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestExportLines(t *testing.T) {
	events := sampleEvents(t)[:200]
	odd := decoded(t, hostile)
	odd.Raw = strings.Replace(odd.Raw, "<b>bold", "\xff", 1) // no UTF-8
	ts := newTestServer(t, append(events, odd))
	resp, body := fetch(t, "GET", ts.URL+"/api/v1/export?format=raw&ascending=true", "")
	if resp.StatusCode != 200 || !strings.HasSuffix(resp.Header.Get("Content-Disposition"), `.log"`) {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	var want strings.Builder
	n := 0
	if _, err := ts.engine.Search(t.Context(), query.SearchQuestion{Ascending: true}, func(e *audit.Event) error {
		n++
		want.WriteString(e.Raw + "\n")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if body != want.String() {
		t.Error("the lines are not as they came")
	}
	resp, body = fetch(t, "GET", ts.URL+"/api/v1/export?format=jsonl&ascending=true", "")
	if got := resp.Header.Get("Content-Type"); got != typeLines {
		t.Error(got)
	}
	lines := 0
	var raw strings.Builder
	for line := range strings.Lines(body) {
		lines++
		var we wireEvent
		if err := json.Unmarshal([]byte(line), &we); err != nil {
			t.Fatal(err)
		}
		raw.WriteString(we.event().Raw + "\n")
	}
	if lines != n || raw.String() != want.String() {
		t.Errorf("%d lines, want %d", lines, n)
	}
}

func TestExportCSV(t *testing.T) {
	formula := decoded(t, strings.Replace(hostile, "<script>window.hurt=1</script>\",\"groups", `=cmd|' /C calc'!A1`+"\",\"groups", 1))
	ts := newTestServer(t, []audit.Event{formula})
	resp, body := fetch(t, "GET", ts.URL+"/api/v1/export?format=csv&columns=id,user,code,latency_us,groups,name", "")
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/csv") {
		t.Error(got)
	}
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"id", "user", "code", "latency_us", "groups", "name"},
		{"1", `'=cmd|' /C calc'!A1`, "403", "100000", "{{.}}", "\u202etxt.exe\u0007\u200b"},
	}
	if fmt.Sprint(rows) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", rows, want)
	}
	_, body = fetch(t, "GET", ts.URL+"/api/v1/export?format=csv&columns=id&columns=user,code", "")
	if !strings.HasPrefix(body, "id,user,code\n1,") {
		t.Errorf("columns in several parameters: %q", body)
	}
	if resp, body = fetch(t, "GET", ts.URL+"/api/v1/export?format=csv&columns=id,user,id", ""); resp.StatusCode != 400 || !strings.Contains(body, "column id is given twice") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	_, body = fetch(t, "GET", ts.URL+"/api/v1/export?format=csv&filter=verb+%3D%3D+%22none%22", "")
	if header := strings.Join(query.ColumnNames()[:3], ","); !strings.HasPrefix(body, header) || strings.Count(body, "\n") != 1 || strings.Contains(body, "raw") {
		t.Errorf("a table without rows: %q", body)
	}
}

func TestExportReport(t *testing.T) {
	events := append(sampleEvents(t)[:300], decoded(t, hostile))
	ts := newTestServer(t, events)
	resp, body := fetch(t, "GET", ts.URL+"/api/v1/export?format=html&tz=Asia%2FKolkata&from=1&filter=verb+!%3D+%22%3C%2Fcode%3E%3Cscript%3E%22", "")
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Disposition"), "attachment") {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	var hashes, sentences strings.Builder
	n := 0
	a, err := ts.engine.Search(t.Context(), query.SearchQuestion{Scope: query.Scope{Filter: `verb != "</code><script>"`}}, func(e *audit.Event) error {
		n++
		fmt.Fprintln(&hashes, hashOf(e.Raw))
		sentences.WriteString(query.Sentence(e))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(regexp.MustCompile(`class="hash">([0-9a-f]{64})</td>`).FindAllString(body, -1), "\n")
	got = regexp.MustCompile(`[^0-9a-f\n]*class="hash">|</td>`).ReplaceAllString(got, "")
	if got+"\n" != hashes.String() || n < 100 {
		t.Errorf("the hashes are not those of the %d lines", n)
	}
	for _, want := range []string{
		hashOf(hashes.String()), "by ktrail v0.1.0", "Asia/Kolkata", "&#43;05:30", "1970-01-01 05:30:00.000001", "newest first", fmt.Sprintf("<dd>%d, newest first", n),
		"verb != &#34;&lt;/code&gt;&lt;script&gt;&#34;", "&lt;script&gt;window.hurt=1&lt;/script&gt;", "Kubernetes audit trail",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the report does not have %q", want)
		}
	}
	if !strings.Contains(a.Filter, "final") || strings.Contains(body, "This report ends") {
		t.Error("the report is not whole")
	}
	// It stands alone, and runs nothing.
	for _, tag := range []string{"<script", "<img", "<link", "<svg", "http-equiv=\"refresh", "@import", "url("} {
		if strings.Contains(strings.ToLower(body), tag) {
			t.Errorf("the report has %s", tag)
		}
	}
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(body)
	if style == nil || style[1] != reportCSS {
		t.Fatal("the style is not as it was hashed")
	}
	if policy := regexp.MustCompile(`Content-Security-Policy" content="default-src &#39;none&#39;; style-src &#39;sha256-[A-Za-z0-9+/&#;]+=&#39;;`); !policy.MatchString(body) {
		t.Error("the report has no policy")
	}
}

func TestExportChosen(t *testing.T) {
	ts := newTestServer(t, sampleEvents(t)[:100])
	_, body := fetch(t, "GET", ts.URL+"/api/v1/export?format=html&ids=9,3,7,100000&filter=verb+%3D%3D+%22none%22", "")
	for _, want := range []string{">9</td>", ">7</td>", ">3</td>", "<dd>3 of 4 chosen by hand", "verb == &#34;none&#34;"} {
		if !strings.Contains(body, want) {
			t.Errorf("the report does not have %q", want)
		}
	}
	for path, says := range map[string]string{
		"ids=1,x":  "not the number",
		"ids=0":    "not the number",
		"ids=1,,2": "not the number",
		"ids=" + strings.Repeat("1,", 1000) + "1": "at most 1000",
		"columns=raw":               "no raw lines",
		"columns=usr":               "did you mean user",
		"tz=Local":                  "not a time zone",
		"tz=..%2F..%2Fetc%2Fpasswd": "not a time zone",
		"filter=usr":                "usr",
		"limit=-1":                  "not a number",
	} {
		resp, body := fetch(t, "GET", ts.URL+"/api/v1/export?format=csv&"+path, "")
		if resp.StatusCode != 400 || !strings.Contains(body, says) || resp.Header.Get("Content-Disposition") != "" {
			t.Errorf("%.40s: %d %s", path, resp.StatusCode, body)
		}
	}
	if resp, body := fetch(t, "GET", ts.URL+"/api/v1/export?format=pdf", ""); resp.StatusCode != 400 || !strings.Contains(body, "none of jsonl") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// endless gives copies of an event for ever, or until it fails.
func (e *endless) answer(q query.SearchQuestion, yield func(*audit.Event) error) (query.SearchAnswer, error) {
	for i := 1; q.Limit == 0 || i <= q.Limit; i++ {
		if i == e.fail {
			return query.SearchAnswer{}, errors.New("disk on fire")
		}
		ev := e.event
		ev.ID = int64(i)
		if err := yield(&ev); err != nil {
			return query.SearchAnswer{}, err
		}
	}
	return query.SearchAnswer{Filter: "final", Next: "more"}, nil
}

func TestReportIsBounded(t *testing.T) {
	ts := newTestServer(t, nil, func(o *Options) { o.Questions = &endless{Questions: o.Questions, event: decoded(t, hostile)} })
	_, body := fetch(t, "GET", ts.URL+"/api/v1/export?format=html", "")
	if n := strings.Count(body, "<tr><td "); n != maxReport || !strings.Contains(body, "This report ends after 5,000 events; more match.") {
		t.Errorf("%d rows", n)
	}
	// A forged line of a megabyte must not become one of the report, 5,000 times.
	long := decoded(t, strings.Replace(hostile, "<script>window.hurt=1</script>\",\"groups", strings.Repeat("u", 1<<20)+"\",\"groups", 1))
	long.AsUser, long.SourceIPs = long.User, []string{long.User}
	big := newTestServer(t, []audit.Event{long})
	if _, body := fetch(t, "GET", big.URL+"/api/v1/export?format=html", ""); len(body) > 32<<10 || strings.Count(body, "<tr><td ") != 1 {
		t.Errorf("one event makes a report of %d bytes", len(body))
	}
	_, body = fetch(t, "GET", ts.URL+"/api/v1/export?format=html&limit=2", "")
	if n := strings.Count(body, "<tr><td "); n != 2 || !strings.Contains(body, "ends after 2 events") {
		t.Errorf("%d rows", n)
	}
}

// TestExportBreaksOff: a file that is not whole must not seem to be.
func TestExportBreaksOff(t *testing.T) {
	for _, format := range []string{"jsonl", "raw", "csv", "html"} {
		for _, fail := range []int{1, 3000} {
			ts := newTestServer(t, nil, func(o *Options) {
				o.Questions = &endless{Questions: o.Questions, event: decoded(t, hostile), fail: fail}
			})
			resp, err := http.Get(ts.URL + "/api/v1/export?format=" + format)
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			switch {
			case fail == 1 || format == "html": // nothing was sent yet
				if resp.StatusCode != 500 || resp.Header.Get("Content-Disposition") != "" {
					t.Errorf("%s: %d %v", format, resp.StatusCode, resp.Header)
				}
			case err == nil:
				t.Errorf("%s: a file that broke off seems whole", format)
			}
		}
	}
}

// TestExportIsFlat: memory does not grow with what is exported.
func TestExportIsFlat(t *testing.T) {
	const events = 30_000
	ts := newTestServer(t, nil, func(o *Options) { o.Questions = &endless{Questions: o.Questions, event: decoded(t, hostile)} })
	for _, format := range []string{"jsonl", "raw", "csv"} {
		resp, err := http.Get(fmt.Sprintf("%s/api/v1/export?format=%s&limit=%d", ts.URL, format, events))
		if err != nil {
			t.Fatal(err)
		}
		var most uint64
		var total int64
		buf := make([]byte, 1<<20)
		for {
			n, err := io.ReadFull(resp.Body, buf)
			total += int64(n)
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			if err != nil {
				break
			}
		}
		resp.Body.Close()
		if total < events*400 || most > 64<<20 {
			t.Errorf("%s: %d bytes with a heap of %d", format, total, most)
		}
	}
}
