package capture_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/backend"
	"github.com/ktrail/ktrail/audit/capture"
	"github.com/ktrail/ktrail/audit/flags"
)

// BenchmarkProxy compares, by turns in one run, the latency of requests through a bare
// httputil.ReverseProxy and through the proxy that records them at Metadata into a log
// file, with a bearer token, over the same transport. The API server answers a list of
// 16 KB; it, the clients and both proxies share the cores. It prints the ratios.
//
// In the mode blocking, the default, a request waits for its events to be written: one
// system call for each.
//
//	go test ./audit/capture -run '^$' -bench 'Proxy$' -benchtime 1x
func BenchmarkProxy(b *testing.B) {
	for _, c := range []struct {
		name, mode string
		secure     bool // TLS to the proxy and HTTP/2 over TLS to the API server, as it is used
		omit       string
	}{
		{"batch, without RequestReceived", "batch", true, "omitStages: [RequestReceived]"},
		{"batch", "batch", true, ""},
		{"blocking", "blocking", true, ""},
		{"batch, without TLS", "batch", false, ""},
	} {
		sides := benchSides(b, c.mode, c.secure, c.omit)
		for _, n := range []int{1, 64, 512} {
			b.Run(fmt.Sprintf("%s/connections=%d", c.name, n), func(b *testing.B) {
				for range b.N {
					compare(b, sides, n)
				}
			})
		}
	}
}

// benchSides are a bare proxy and one that records, in front of the same server.
func benchSides(b *testing.B, mode string, secure bool, omit string) [2]*httptest.Server {
	b.Helper()
	start := func(h http.Handler, h2 bool) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.EnableHTTP2 = h2
		if secure {
			s.StartTLS()
		} else {
			s.Start()
		}
		b.Cleanup(s.Close)
		return s
	}
	body := `{"kind":"PodList","items":["` + strings.Repeat("x", 16<<10) + `"]}`
	server := start(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	}), true)
	at, err := url.Parse(server.URL)
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	if secure {
		roots.AddCert(server.Certificate())
	}
	transport := capture.NewTransport(&tls.Config{RootCAs: roots})
	b.Cleanup(transport.CloseIdleConnections)
	bare := httputil.NewSingleHostReverseProxy(at)
	bare.Transport, bare.BufferPool = transport, &pool{}

	settings, _ := flags.Read(flags.Parse([]string{
		"--audit-log-path=" + filepath.Join(b.TempDir(), "audit.log"), "--audit-log-maxbackup=1",
		"--audit-log-mode=" + mode, "--audit-log-batch-max-size=400", "--audit-log-batch-max-wait=1s",
	}), flags.Latest)
	log, err := backend.Open(b.Context(), settings, backend.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := log.Close(context.WithoutCancel(b.Context())); err != nil {
			b.Error(err)
		}
		for _, c := range log.Ledger().Counts() {
			b.Errorf("lost: %+v", c)
		}
	})
	proxy, err := capture.Proxy(capture.ProxyOptions{Upstream: at, Transport: transport})
	if err != nil {
		b.Fatal(err)
	}
	auth := capture.NewAuthenticator(capture.AuthOptions{Token: func(context.Context, string) (audit.UserInfo, error) {
		return audit.UserInfo{
			Username: "system:serviceaccount:kube-system:generic-garbage-collector", UID: "2b1e4c8e-9f0b-4b8e-8a8c-0f6b1f9f7f3d",
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
		}, nil
	}})
	ours, err := capture.Handler(capture.Impersonation(proxy, capture.ImpersonationOptions{}), capture.Options{
		Policy: rules(b, "- level: Metadata\n  "+omit+"\n"), Sink: log, Ledger: log.Ledger(), Identifier: auth,
	})
	if err != nil {
		b.Fatal(err)
	}
	return [2]*httptest.Server{start(bare, false), start(ours, false)}
}

// compare runs both sides by turns and prints p50 and p99 of each.
func compare(b *testing.B, sides [2]*httptest.Server, n int) {
	const rounds, round = 8, 400 * time.Millisecond
	var took [2][]time.Duration
	var spent [2]time.Duration
	clients := [2]*http.Client{client(sides[0], n), client(sides[1], n)}
	for r := range 2 * (rounds + 1) {
		side := (r + r/2) % 2 // bare, ours, ours, bare, ...
		before := processor(b)
		samples := load(b, clients[side], sides[side].URL, n, round)
		if r >= 2 { // the first of each warms up
			took[side] = append(took[side], samples...)
			spent[side] += processor(b) - before
		}
	}
	at := func(side int, q float64) time.Duration {
		return took[side][int(q*float64(len(took[side])-1))]
	}
	for i := range took {
		slices.Sort(took[i])
	}
	for _, q := range []float64{0.5, 0.99} {
		ratio := float64(at(1, q)) / float64(at(0, q))
		b.ReportMetric(ratio, fmt.Sprintf("p%.0f-ratio", 100*q))
		b.Logf("p%.0f: bare %v, recorded %v: %.2fx", 100*q, at(0, q).Round(time.Microsecond), at(1, q).Round(time.Microsecond), ratio)
	}
	// What neighbours on the machine take does not show here.
	cpu := func(side int) time.Duration { return spent[side] / time.Duration(len(took[side])) }
	b.ReportMetric(float64(cpu(1))/float64(cpu(0)), "cpu-ratio")
	b.Logf("processor time a request, clients and API server included: bare %v, recorded %v", cpu(0), cpu(1))
	for _, c := range clients {
		c.CloseIdleConnections()
	}
}

// processor is the time that the process has spent on processors.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func client(s *httptest.Server, n int) *http.Client {
	t := &http.Transport{MaxIdleConnsPerHost: n, DisableCompression: true}
	if s.TLS != nil {
		t.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		t.TLSClientConfig.RootCAs.AddCert(s.Certificate())
	}
	return &http.Client{Transport: t}
}

// load has n connections ask for a while, and returns what each request took.
func load(b *testing.B, c *http.Client, url string, n int, d time.Duration) []time.Duration {
	b.Helper()
	ctx := b.Context()
	end := time.Now().Add(d)
	all := make([][]time.Duration, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			buffer := make([]byte, 32<<10)
			for {
				begin := time.Now()
				if begin.After(end) {
					return
				}
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+podsPath+"?limit=500", http.NoBody)
				if err != nil {
					b.Error(err)
					return
				}
				r.Header.Set("Authorization", "Bearer "+token)
				r.Header.Set("User-Agent", "kube-controller-manager/v1.37.2 (linux/amd64) kubernetes/1a2b3c4/system:serviceaccount")
				res, err := c.Do(r)
				if err != nil {
					b.Error(err)
					return
				}
				_, err = io.CopyBuffer(io.Discard, struct{ io.Reader }{res.Body}, buffer)
				_ = res.Body.Close()
				if err != nil || res.StatusCode != http.StatusOK {
					b.Errorf("answer %s, %v", res.Status, err)
					return
				}
				all[i] = append(all[i], time.Since(begin))
			}
		})
	}
	wg.Wait()
	return slices.Concat(all...)
}

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
