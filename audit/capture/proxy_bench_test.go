package capture_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/capture"
)

// pool is the bare proxy's, so that both have one.
type pool struct{ p sync.Pool }

func (p *pool) Get() []byte {
	if b, ok := p.p.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}

func (p *pool) Put(b []byte) { p.p.Put(&b) }

// BenchmarkProxyAdded is what recording costs a request where nothing else does: the
// transport answers at once.
func BenchmarkProxyAdded(b *testing.B) {
	at := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	var canned cannedAnswer
	bare := httputil.NewSingleHostReverseProxy(at)
	bare.Transport, bare.BufferPool = canned, &pool{}
	proxy, err := capture.Proxy(capture.ProxyOptions{Upstream: at, Transport: canned})
	if err != nil {
		b.Fatal(err)
	}
	auth := capture.NewAuthenticator(capture.AuthOptions{Token: func(context.Context, string) (audit.UserInfo, error) {
		return audit.UserInfo{Username: "alice", Groups: []string{"system:authenticated"}}, nil
	}})
	ours, err := capture.Handler(capture.Impersonation(proxy, capture.ImpersonationOptions{}), capture.Options{
		Policy: level(b, "Metadata"), Sink: nowhere{}, Identifier: auth,
	})
	if err != nil {
		b.Fatal(err)
	}
	for name, h := range map[string]http.Handler{"bare": bare, "recorded": ours} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, podsPath+"?limit=500", http.NoBody)
				r.Header["Authorization"] = []string{"Bearer " + token}
				h.ServeHTTP(&discard{header: http.Header{}}, r)
			}
		})
	}
}

var token = strings.Repeat("t", 900)

type cannedAnswer struct{}

func (cannedAnswer) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: http.NoBody, ContentLength: 0}, nil
}

type nowhere struct{}

func (nowhere) Send(context.Context, []audit.Event) error { return nil }
func (nowhere) Close(context.Context) error               { return nil }

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Flush()                      {}
