package capture_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/capture"
)

// void takes everything, as a sink that is never the bottleneck.
type void struct{}

func (void) Send(context.Context, []audit.Event) error { return nil }
func (void) Close(context.Context) error               { return nil }

// BenchmarkHandler is what recording costs a request on top of its handler, both events included.
func BenchmarkHandler(b *testing.B) {
	answer := []byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web"}}`)
	next := func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		w.Header()["Content-Type"] = []string{"application/json"}
		w.WriteHeader(200)
		_, _ = w.Write(answer)
	}
	pod := `{"kind":"Pod","metadata":{"name":"web"},"spec":{"containers":[` + strings.Repeat(`{"name":"c","image":"i:1","env":[{"name":"A","value":"b"}]},`, 30) + `{}]}}`
	for _, c := range []struct{ name, level, method, body string }{
		{"None", "None", "GET", ""},
		{"Metadata", "Metadata", "GET", ""},
		{"MetadataCreate", "Metadata", "POST", pod},
		{"RequestResponse", "RequestResponse", "POST", pod},
		{"bare", "", "GET", ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			var h http.Handler = http.HandlerFunc(next)
			if c.level != "" {
				var err error
				if h, err = capture.Handler(h, capture.Options{Policy: level(b, c.level), Sink: void{}, Identifier: alice}); err != nil {
					b.Fatal(err)
				}
			}
			r, err := http.NewRequest(c.method, "https://10.0.0.1:6443/api/v1/namespaces/prod/pods/web-5d7f8c?timeout=30s", nil)
			if err != nil {
				b.Fatal(err)
			}
			r.RequestURI = r.URL.RequestURI()
			r.RemoteAddr = "10.0.0.7:51234"
			r.Header.Set("User-Agent", "kubectl/v1.37.2 (linux/amd64) kubernetes/abcdef0")
			b.ReportAllocs()
			for b.Loop() {
				if c.body != "" {
					r.Body, r.ContentLength = io.NopCloser(strings.NewReader(c.body)), int64(len(c.body))
				}
				h.ServeHTTP(&quiet{http.Header{}}, r)
			}
		})
	}
}
