package capture_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ktrail/ktrail/audit/capture"
)

// A client may name a text once in YAML and write it a hundred thousand times.
func TestYAMLBombs(t *testing.T) {
	nested := "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for i := range 8 {
		from, to := string(rune('0'+i)), string(rune('1'+i))
		nested += "a" + to + ": &a" + to + " [" + strings.TrimSuffix(strings.Repeat("*a"+from+",", 9), ",") + "]\n"
	}
	for name, body := range map[string]string{
		"text":   "metadata: {name: n}\na: &a " + strings.Repeat("x", 100_000) + "\nb: [" + strings.Repeat("*a,", 3_000) + "]\n",
		"nested": nested,
		"itself": "a: &a [*a]\n",
	} {
		t.Run(name, func(t *testing.T) {
			h, sink := around(t, answers(201, `{}`), nil)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			ask(h, "POST", pods, "application/yaml", body)
			runtime.ReadMemStats(&after)
			if made := (after.TotalAlloc - before.TotalAlloc) >> 20; made > 64 {
				t.Errorf("%d MiB of memory for a body of %d bytes", made, len(body))
			}
			ev := sink.last(t)
			if len(ev.Raw) > 4*capture.DefaultMaxBody {
				t.Errorf("a line of %d bytes for a body of %d", len(ev.Raw), len(body))
			}
			has(t, ev, capture.RequestBodyAnnotation)
		})
	}
	h, sink := around(t, answers(201, `{}`), nil)
	ask(h, "POST", pods, "application/yaml", "metadata: {name: n}\na: &a {b: c}\nd: *a\ne: {<<: *a}\n")
	has(t, sink.last(t), `"a":{"b":"c"},"d":{"b":"c"},"e":{"b":"c"}`)
}

// An API server takes no notice of a request's Content-Encoding, nor of a null where a name was.
func TestHidingTheBody(t *testing.T) {
	post := func(encoding, body string) *http.Request {
		r := httptest.NewRequest("POST", pods, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if encoding != "" {
			r.Header.Set("Content-Encoding", encoding)
		}
		return r
	}
	for name, r := range map[string]*http.Request{
		"encoding": post("gzip", `{"metadata":{"name":"evil"}}`),
		"null":     post("", `{"metadata":{"name":"evil","name":null}}`),
	} {
		t.Run(name, func(t *testing.T) {
			h, sink := around(t, answers(201, `{}`), nil)
			h.ServeHTTP(httptest.NewRecorder(), r)
			ev := sink.last(t)
			if ev.Name != "evil" {
				t.Errorf("name is %q", ev.Name)
			}
			has(t, ev, `"requestObject":{"metadata":{"name":"evil"`)
		})
	}
}

// What a handler puts into its header after WriteHeader does not count, but for trailers, even where
// the header waits.
func TestHeaderThatWaits(t *testing.T) {
	both(t, func(t *testing.T, two bool) {
		h, _, _ := strictly(t, "", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			w.Header().Set("X-Early", "1")
			w.WriteHeader(200)
			w.Header().Set("X-Early", "2")
			w.Header().Set("X-Late", "1")
			_, _ = io.WriteString(w, "answer")
			w.Header().Set("X-Sum", "7")
			w.Header().Set(http.TrailerPrefix+"X-More", "8")
		})
		s, client := serve(t, h, two)
		resp, err := client.Get(s.URL + pods)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.ReadAll(resp.Body)
		for key, want := range map[string]string{"X-Early": "1", "X-Late": "", "X-Sum": ""} {
			if got := resp.Header.Get(key); got != want {
				t.Errorf("header %s: %q, want %q", key, got, want)
			}
		}
		for key, want := range map[string]string{"X-Sum": "7", "X-More": "8"} {
			if got := resp.Trailer.Get(key); got != want {
				t.Errorf("trailer %s: %q, want %q", key, got, want)
			}
		}
	})
}

// A line is UTF-8, whatever the body: a reader of the log that refuses the line must not be a way to hide.
func TestBodyIsUTF8(t *testing.T) {
	h, sink := around(t, answers(201, "{\"b\":\"\xc3\"}"), nil)
	ask(h, "POST", pods, "application/json", "{\"metadata\":{\"name\":\"n\"},\"a\":\"\xff\xfe\"}")
	ev := sink.last(t)
	has(t, ev, "\"a\":\"\ufffd\ufffd\"", "\"b\":\"\ufffd\"")
	if !utf8.ValidString(ev.Raw) {
		t.Errorf("%q", ev.Raw)
	}
}
