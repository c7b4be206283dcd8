package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"

	"github.com/ktrail/ktrail/audit/capture"
	"github.com/ktrail/ktrail/audit/policy"
)

// proxyFiles is what the proxy reads from files. Each can be replaced while it is in use.
type proxyFiles struct {
	policy     atomic.Pointer[policy.Evaluator]
	serving    atomic.Pointer[tls.Config] // nil without TLS
	clients    atomic.Pointer[x509.CertPool]
	fronts     atomic.Pointer[x509.CertPool]
	plain      swapped // signs on as nobody
	frontProxy swapped // signs on as a front proxy
	own        swapped // signs on as the kubeconfig says

	// Of the kubeconfig, for the upstream; guarded by the lock of parts.
	server     *url.URL
	roots      *x509.CertPool
	serverName string
}

// swapped is a RoundTripper that can be replaced between requests.
type swapped struct {
	t atomic.Pointer[transport]
}

type transport interface {
	http.RoundTripper
	CloseIdleConnections()
}

// RoundTrip implements [http.RoundTripper].
func (s *swapped) RoundTrip(r *http.Request) (*http.Response, error) {
	return (*s.t.Load()).RoundTrip(r)
}

func (s *swapped) set(t transport) {
	if old := s.t.Swap(&t); old != nil {
		(*old).CloseIdleConnections()
	}
}

// load reads all files that o names, for the first time.
func (f *proxyFiles) load(o *ProxyOptions, ps *parts) error {
	err := ps.add("audit policy", func() error { return f.loadPolicy(o.Audit.Policy) }, o.Audit.Policy)
	if o.CertFile != "" && err == nil {
		files := []string{o.CertFile, o.KeyFile}
		for _, ca := range []string{o.ClientCAFile, o.FrontProxyCAFile} {
			if ca != "" {
				files = append(files, ca)
			}
		}
		err = ps.add("TLS certificate and client authorities", func() error { return f.loadServing(o) }, files...)
	}
	var files []string
	for _, name := range []string{o.UpstreamCAFile, o.ProxyCertFile, o.ProxyKeyFile, o.Kubeconfig} {
		if name != "" {
			files = append(files, name)
		}
	}
	if err == nil {
		err = ps.add("upstream's authority and proxy client certificate", func() error { return f.loadUpstream(o) }, files...)
	}
	return err
}

func (f *proxyFiles) loadPolicy(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	p, err := policy.Load(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	f.policy.Store(policy.Compile(p))
	return nil
}

func (f *proxyFiles) loadServing(o *ProxyOptions) error {
	cert, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", o.CertFile, o.KeyFile, err)
	}
	c := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{cert},
		NextProtos:   []string{"h2", "http/1.1"},
	}
	var clients, fronts *x509.CertPool
	hint := x509.NewCertPool()
	if clients, err = readPool(o.ClientCAFile, hint); err != nil {
		return err
	}
	if fronts, err = readPool(o.FrontProxyCAFile, hint); err != nil {
		return err
	}
	if len(o.FrontProxyNames) == 0 {
		if err := overlap(o.ClientCAFile, o.FrontProxyCAFile); err != nil {
			return err
		}
	}
	if clients != nil || fronts != nil {
		// Asked for, and verified with each request: an unknown certificate is a 401 that
		// is recorded, not a broken handshake that nobody hears of.
		c.ClientAuth, c.ClientCAs = tls.RequestClientCert, hint
	}
	f.clients.Store(clients)
	f.fronts.Store(fronts)
	f.serving.Store(c)
	return nil
}

func (f *proxyFiles) loadUpstream(o *ProxyOptions) error {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.UpstreamServerName}
	if f.server != nil && f.server.Host == o.Upstream.Host {
		// The kubeconfig's authority is the upstream's too where it is the same server.
		c.RootCAs, c.ServerName = f.roots, cmp.Or(o.UpstreamServerName, f.serverName)
	}
	if o.UpstreamCAFile != "" {
		var err error
		if c.RootCAs, err = readPool(o.UpstreamCAFile, nil); err != nil {
			return err
		}
	}
	if o.ProxyCertFile != "" {
		cert, err := tls.LoadX509KeyPair(o.ProxyCertFile, o.ProxyKeyFile)
		if err != nil {
			return fmt.Errorf("%s and %s: %w", o.ProxyCertFile, o.ProxyKeyFile, err)
		}
		front := c.Clone()
		front.Certificates = []tls.Certificate{cert}
		f.frontProxy.set(capture.NewTransport(front))
	}
	f.plain.set(capture.NewTransport(c))
	return nil
}

// readPool reads authorities in PEM, and adds them to hint where there is one. No file is no pool.
func readPool(file string, hint *x509.CertPool) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: there is no certificate in it; it must be PEM", file)
	}
	if hint != nil {
		hint.AppendCertsFromPEM(text)
	}
	return pool, nil
}

// overlap refuses an authority that signs both users' certificates and front proxies'
// where any name will do: every user could then name another one, as the API server says.
func overlap(clientCAFile, frontProxyCAFile string) error {
	if clientCAFile == "" || frontProxyCAFile == "" {
		return nil
	}
	clients, err := os.ReadFile(clientCAFile)
	if err != nil {
		return err
	}
	fronts, err := os.ReadFile(frontProxyCAFile)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for b, rest := pem.Decode(clients); b != nil; b, rest = pem.Decode(rest) {
		known[string(b.Bytes)] = true
	}
	for b, rest := pem.Decode(fronts); b != nil; b, rest = pem.Decode(rest) {
		if known[string(b.Bytes)] {
			return fmt.Errorf("%s and %s have an authority in common: give --requestheader-allowed-names, or everybody with a certificate of it could name any other user", clientCAFile, frontProxyCAFile)
		}
	}
	return nil
}

// tlsConfig serves with what was read last.
func (f *proxyFiles) tlsConfig() *tls.Config {
	c := f.serving.Load().Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return f.serving.Load(), nil }
	return c
}

// reachable is whether the upstream answers at all, whatever it says.
func (f *proxyFiles) reachable(ctx context.Context, o *ProxyOptions) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, o.Upstream.JoinPath("/readyz").String(), http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", capture.ReviewAgent)
	res, err := f.plain.RoundTrip(r)
	if err != nil {
		return err
	}
	err = res.Body.Close()
	if res.StatusCode >= http.StatusInternalServerError {
		return errors.New("it answers " + res.Status)
	}
	return err
}
