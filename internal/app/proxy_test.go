package app

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit/flags"
)

const everything = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: RequestResponse}]\n"

// keyPair writes a certificate for 127.0.0.1 and returns the pool that trusts it.
func keyPair(t *testing.T, dir, name string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	writeText(t, filepath.Join(dir, "tls.crt"), string(text))
	writeText(t, filepath.Join(dir, "tls.key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool
}

func writeText(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startProxy runs a proxy with TLS in front of api, with everything recorded.
func startProxy(t *testing.T, dir string, api http.HandlerFunc, log io.Writer) *Proxy {
	t.Helper()
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	upstream, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	writeText(t, filepath.Join(dir, "policy.yaml"), everything)
	settings, refused := flags.Read(flags.Parse([]string{
		"--audit-policy-file=" + filepath.Join(dir, "policy.yaml"), "--audit-log-path=" + filepath.Join(dir, "audit.log"), "--audit-log-mode=batch",
	}), flags.Latest)
	if len(refused) > 0 {
		t.Fatal(refused[0])
	}
	p, err := NewProxy(t.Context(), ProxyOptions{
		Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"),
		Upstream: upstream, Anonymous: true, Audit: settings, Sinks: SinkOptions{Sync: "never"}, Grace: 20 * time.Second,
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Start(t.Context())
	return p
}

func trusting(pool *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
}

func fetch(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Stop waits for a request under way, and what it left is in the log, without its secrets.
func TestProxyDrains(t *testing.T) {
	dir := t.TempDir()
	pool := keyPair(t, dir, "proxy")
	asked, answer := make(chan struct{}), make(chan struct{})
	p := startProxy(t, dir, func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-answer
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"db"},"data":{"password":"aHVudGVyMg=="}}`)
	}, io.Discard)
	got := make(chan string, 1)
	go func() { got <- fetch(t, trusting(pool), "https://"+p.Addr()+"/api/v1/namespaces/prod/secrets/db") }()
	<-asked
	stopped := make(chan error, 1)
	go func() { stopped <- p.Stop(t.Context()) }()
	<-p.stopping.Done()
	select {
	case err := <-stopped:
		t.Fatalf("stopped before the request ended: %v", err)
	default:
	}
	close(answer)
	if text := <-got; !strings.Contains(text, "aHVudGVyMg==") {
		t.Errorf("the client got %q", text)
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(log, []byte(`"stage":"ResponseComplete"`)) || !bytes.Contains(log, []byte(`"password":"redacted:string:12:hmac-`)) || bytes.Contains(log, []byte("aHVudGVyMg==")) {
		t.Errorf("the log has %s", log)
	}
}

// Certificates and policy are read anew; what cannot be read leaves the old in use, and is told.
func TestProxyReloads(t *testing.T) {
	dir := t.TempDir()
	old := keyPair(t, dir, "old")
	var log bytes.Buffer
	p := startProxy(t, dir, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, &log)
	stop := func() {
		if err := p.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}
	defer stop()
	at := "https://" + p.Addr() + "/version"
	if got := fetch(t, trusting(old), at); got != "hello" {
		t.Fatalf("answer %q", got)
	}
	ready := func() string { return fetch(t, http.DefaultClient, "http://"+p.AdminAddr()+"/readyz") }
	if got := ready(); got != "ready\n" {
		t.Errorf("readyz: %s", got)
	}

	fresh := keyPair(t, dir, "new")
	writeText(t, filepath.Join(dir, "policy.yaml"), "rules: [{level: Everything}]")
	p.parts.reload(t.Context(), false)
	if got := fetch(t, trusting(fresh), at); got != "hello" {
		t.Errorf("with the new certificate: %q", got)
	}
	if got := ready(); !strings.HasPrefix(got, "ready\n- the new audit policy is refused, the old one is in use: ") {
		t.Errorf("readyz with a bad policy: %s", got)
	}
	writeText(t, filepath.Join(dir, "policy.yaml"), everything+"# mended\n")
	p.parts.reload(t.Context(), false)
	if got := ready(); got != "ready\n" {
		t.Errorf("readyz with the policy mended: %s", got)
	}
	writeText(t, filepath.Join(dir, "tls.crt"), "nothing")
	p.parts.reload(t.Context(), false)
	if got := fetch(t, trusting(fresh), at); got != "hello" {
		t.Errorf("with a broken certificate on disk: %q", got)
	}
}

// Without TLS, or for others than loopback, a proxy does not start.
func TestProxyCheck(t *testing.T) {
	settings, _ := flags.Read(flags.Parse([]string{"--audit-policy-file=p", "--audit-log-path=l"}), flags.Latest)
	ok := ProxyOptions{Listen: "127.0.0.1:8443", Upstream: &url.URL{Scheme: "https", Host: "10.0.0.1"}, Audit: settings}
	if err := ok.Check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*ProxyOptions){
		"--upstream is needed":             func(o *ProxyOptions) { o.Upstream = nil },
		"is not https":                     func(o *ProxyOptions) { o.Upstream = &url.URL{Scheme: "http", Host: "10.0.0.1"} },
		"no address":                       func(o *ProxyOptions) { o.Upstream = &url.URL{Scheme: "ftp", Host: "10.0.0.1"} },
		"not a loopback address; off":      func(o *ProxyOptions) { o.Listen = "0.0.0.0:8443" },
		"no such port":                     func(o *ProxyOptions) { o.Listen = "127.0.0.1:http8" },
		"health and metrics have no login": func(o *ProxyOptions) { o.AdminListen = ":8444" },
		"client certificates need TLS":     func(o *ProxyOptions) { o.ClientCAFile = "ca" },
		"--proxy-client-cert-file and":     func(o *ProxyOptions) { o.ClientCAFile, o.CertFile, o.KeyFile = "ca", "c", "k" },
		"tls-private-key-file go together": func(o *ProxyOptions) { o.CertFile = "c" },
		"client-key-file go together":      func(o *ProxyOptions) { o.ProxyKeyFile = "k" },
		"--health-listen 8445: it is not":  func(o *ProxyOptions) { o.HealthListen = "8445" },
		"--requestheader-extra-headers-pr": func(o *ProxyOptions) { o.RemoteHeaders.ExtraPrefixes = []string{"x-a-", ""} },
		"has more than an address": func(o *ProxyOptions) {
			o.Upstream = &url.URL{Scheme: "https", Host: "a", User: url.UserPassword("me", "pw")}
		},
		"cannot be shown to http://": func(o *ProxyOptions) {
			o.ProxyCertFile, o.ProxyKeyFile, o.Upstream = "c", "k", &url.URL{Scheme: "http", Host: "127.0.0.1"}
		},
		"--audit-policy-file is needed":     func(o *ProxyOptions) { o.Audit.Policy = "" },
		"--audit-webhook-config-file is ne": func(o *ProxyOptions) { o.Audit.Log.Path = "" },
	} {
		o := ok
		change(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "pw@") {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}
