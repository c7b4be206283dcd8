package capture_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit/capture"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{}
	a.key, a.cert = sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}, nil)
	a.n = 1
	return a
}

func sign(t testing.TB, c *x509.Certificate, by *authority) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, c
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue makes a certificate for a user, uids being its UIDs, or for a server at 127.0.0.1.
func (a *authority) issue(t testing.TB, name string, groups []string, uids ...any) tls.Certificate {
	t.Helper()
	a.n++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(a.n), Subject: pkix.Name{CommonName: name, Organization: groups},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	for _, uid := range uids {
		c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}, Value: uid})
	}
	key, cert := sign(t, c, a)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// apiServer is an API server: it authenticates as one does, answers reviews, and keeps what it saw.
type apiServer struct {
	*httptest.Server

	mu      sync.Mutex
	seen    []*http.Request
	reviews int
	tokens  map[string]string                  // token → user
	allowed func(user, verb, what string) bool // what is resource/subresource/name
	serve   http.HandlerFunc
}

// user is whom the API server takes a request to be from.
func (s *apiServer) user(r *http.Request) string {
	if len(r.TLS.PeerCertificates) > 0 && r.TLS.PeerCertificates[0].Subject.CommonName == "front-proxy-client" {
		if u := r.Header.Get("X-Remote-User"); u != "" {
			return u
		}
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.tokens[token]
	}
	return "system:anonymous"
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Spec struct {
			Token    string
			User     string
			Resource *struct{ Verb, Resource, Subresource, Name string } `json:"resourceAttributes"`
		}
	}
	user := s.user(r)
	w.Header().Set("Audit-Id", r.Header.Get("Audit-Id"))
	w.Header().Set("Content-Type", "application/json")
	answer := func(status any) {
		_ = json.NewEncoder(w).Encode(map[string]any{"status": status})
	}
	who := func(name string) map[string]any {
		return map[string]any{"username": name, "uid": "u-" + name, "groups": []string{"dev", "system:authenticated"}}
	}
	if strings.HasSuffix(r.URL.Path, "reviews") {
		s.mu.Lock()
		s.reviews++
		s.mu.Unlock()
		_ = json.NewDecoder(r.Body).Decode(&in)
	}
	switch {
	case user == "":
		w.WriteHeader(http.StatusUnauthorized)
	case strings.HasSuffix(r.URL.Path, "reviews") && r.UserAgent() != capture.ReviewAgent:
		w.WriteHeader(http.StatusBadRequest)
	case strings.HasSuffix(r.URL.Path, "/tokenreviews"):
		s.mu.Lock()
		name := s.tokens[in.Spec.Token]
		s.mu.Unlock()
		answer(map[string]any{"authenticated": name != "", "user": who(name)})
	case strings.HasSuffix(r.URL.Path, "/selfsubjectreviews"):
		answer(map[string]any{"userInfo": who(user)})
	case strings.HasSuffix(r.URL.Path, "accessreviews"):
		if strings.HasSuffix(r.URL.Path, "/subjectaccessreviews") {
			user = in.Spec.User
		}
		what, verb := "", ""
		if a := in.Spec.Resource; a != nil {
			what, verb = strings.Join([]string{a.Resource, a.Subresource, a.Name}, "/"), a.Verb
		}
		answer(map[string]any{"allowed": s.allowed != nil && s.allowed(user, verb, what)})
	default:
		s.mu.Lock()
		s.seen = append(s.seen, r.Clone(context.WithoutCancel(r.Context())))
		s.mu.Unlock()
		s.serve(w, r)
	}
}

func (s *apiServer) last(t testing.TB) *http.Request {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == 0 {
		t.Fatal("the API server saw no request")
	}
	return s.seen[len(s.seen)-1]
}

// setup is a proxy with everything, in front of an API server.
type setup struct {
	*httptest.Server

	api             *apiServer
	sink            *memory
	clients, fronts *authority // whose certificates the proxy takes
	stop            context.CancelFunc
	auth            *capture.Authenticator
	serverCA        *x509.CertPool
}

// stand starts both. change may change what the proxy's handler has.
func stand(t testing.TB, serve http.HandlerFunc, change func(*setup, *capture.AuthOptions, *capture.ProxyOptions, *capture.Options)) *setup {
	t.Helper()
	s := &setup{sink: &memory{}, clients: newAuthority(t, "clients"), fronts: newAuthority(t, "fronts")}
	s.api = &apiServer{serve: serve, tokens: map[string]string{"t-alice": "alice", "t-proxy": "proxy"}}
	front := newAuthority(t, "the API server's request header authority")
	s.api.Server = httptest.NewUnstartedServer(s.api)
	s.api.EnableHTTP2 = true
	s.api.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: front.pool()}
	s.api.StartTLS()
	t.Cleanup(s.api.Close)
	at, err := url.Parse(s.api.URL)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.api.Certificate())
	plain := capture.NewTransport(&tls.Config{RootCAs: roots})
	signed := capture.NewTransport(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{front.issue(t, "front-proxy-client", nil)}})
	t.Cleanup(plain.CloseIdleConnections)
	t.Cleanup(signed.CloseIdleConnections)

	reviews := &capture.Reviews{Server: at, Transport: plain, FrontProxy: signed}
	ctx, cancel := context.WithCancel(t.Context())
	s.stop = cancel
	ao := capture.AuthOptions{ClientCAs: s.clients.pool, FrontProxyCAs: s.fronts.pool, FrontProxyNames: []string{"a-front"}, Token: reviews.Token, Anonymous: true}
	po := capture.ProxyOptions{Upstream: at, Transport: plain, FrontProxy: signed, Stopping: ctx}
	o := capture.Options{Policy: level(t, "RequestResponse"), Sink: s.sink}
	// The pools must stay the same: they are part of what is remembered of a certificate.
	clients, fronts := s.clients.pool(), s.fronts.pool()
	ao.ClientCAs, ao.FrontProxyCAs = func() *x509.CertPool { return clients }, func() *x509.CertPool { return fronts }
	if change != nil {
		change(s, &ao, &po, &o)
	}
	s.auth = capture.NewAuthenticator(ao)
	o.Identifier = s.auth
	proxy, err := capture.Proxy(po)
	if err != nil {
		t.Fatal(err)
	}
	known := capture.Impersonation(proxy, capture.ImpersonationOptions{Allowed: reviews.Allowed})
	h, err := capture.Handler(known, o)
	if err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	s.serverCA = x509.NewCertPool()
	s.serverCA.AddCert(s.Certificate())
	return s
}

// client is one that shows a certificate, or none.
func (s *setup) client(t testing.TB, cert *tls.Certificate) *http.Client {
	t.Helper()
	c := &tls.Config{RootCAs: s.serverCA}
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// get asks with headers, which are pairs.
func (s *setup) get(t testing.TB, c *http.Client, path string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
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
	return res, string(text)
}
