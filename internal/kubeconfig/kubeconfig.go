// Package kubeconfig owns the reading of kubeconfig files: where a server is, by
// what it proves itself, and with which credentials to sign on.
//
// It reads what programs use: certificates, tokens and token files. It runs no
// program for credentials (exec) and says so.
package kubeconfig

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/yaml"
)

// Config is the current context of a kubeconfig.
type Config struct {
	Server *url.URL
	// TLS has the server's authorities and name, and the client's certificate if the
	// user has one.
	TLS *tls.Config
	// ProxyURL is the HTTP proxy on the way to the server, nil for what the environment says:
	// or for none, with Direct.
	ProxyURL *url.URL
	Direct   bool

	token              string
	tokenFile          string
	username, password string
}

type file struct {
	CurrentContext string           `json:"current-context"`
	Clusters       []named[cluster] `json:"clusters"`
	Contexts       []named[struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
	}] `json:"contexts"`
	Users []named[user] `json:"users"`
}

// named is an entry of a list, in which the value stands under its kind's name.
type named[T any] struct {
	Name    string `json:"name"`
	Cluster T      `json:"cluster"`
	Context T      `json:"context"`
	User    T      `json:"user"`
}

type cluster struct {
	Server     string `json:"server"`
	ServerName string `json:"tls-server-name"`
	Insecure   bool   `json:"insecure-skip-tls-verify"`
	CA         string `json:"certificate-authority"`
	CAData     []byte `json:"certificate-authority-data"`
	ProxyURL   string `json:"proxy-url"`
}

type user struct {
	Cert      string `json:"client-certificate"`
	CertData  []byte `json:"client-certificate-data"`
	Key       string `json:"client-key"`
	KeyData   []byte `json:"client-key-data"`
	Token     string `json:"token"`
	TokenFile string `json:"tokenFile"`
	Username  string `json:"username"`
	Password  string `json:"password"`

	Impersonate  string `json:"as"`
	Exec         any    `json:"exec"`
	AuthProvider any    `json:"auth-provider"`
}

// Read reads the current context of a file, and the files that it names: relative
// paths are beside it.
func Read(name string) (*Config, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	var f file
	if err := yaml.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", name, err)
	}
	c, err := f.current(filepath.Dir(name))
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", name, err)
	}
	return c, nil
}

func (f *file) current(dir string) (*Config, error) {
	name := f.CurrentContext
	switch {
	case name == "" && len(f.Contexts) == 1:
		name = f.Contexts[0].Name
	case name == "":
		return nil, errors.New("it has no current-context")
	}
	for i := range f.Contexts {
		if c := &f.Contexts[i]; c.Name == name {
			cl, err := find("cluster", c.Context.Cluster, f.Clusters)
			if err != nil {
				return nil, err
			}
			if c.Context.User == "" {
				return read(dir, cl.Cluster, user{})
			}
			u, err := find("user", c.Context.User, f.Users)
			if err != nil {
				return nil, err
			}
			return read(dir, cl.Cluster, u.User)
		}
	}
	return nil, fmt.Errorf("there is no context %q, which is the current one", name)
}

func find[T any](kind, name string, list []named[T]) (*named[T], error) {
	for i := range list {
		if list[i].Name == name {
			return &list[i], nil
		}
	}
	return nil, fmt.Errorf("there is no %s %q, which the current context names", kind, name)
}

func read(dir string, c cluster, u user) (*Config, error) {
	switch {
	case u.Exec != nil:
		return nil, errors.New("its user runs a program for credentials (exec), which is not supported: use a token, a token file or a client certificate")
	case u.AuthProvider != nil:
		return nil, errors.New("its user has an auth-provider, which is not supported: use a token, a token file or a client certificate")
	case u.Impersonate != "":
		return nil, errors.New("its user impersonates (as), which is not supported: give credentials of their own")
	}
	server, err := url.Parse(c.Server)
	if err != nil || server.Host == "" || server.Scheme != "https" && server.Scheme != "http" {
		return nil, fmt.Errorf("server %q is no address such as https://10.0.0.1:6443", c.Server)
	}
	out := &Config{
		Server: server, token: u.Token, username: u.Username, password: u.Password,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName, InsecureSkipVerify: c.Insecure}, //nolint:gosec // the file asks for it
	}
	if u.TokenFile != "" {
		out.tokenFile = beside(dir, u.TokenFile)
	}
	if c.ProxyURL != "" {
		if out.ProxyURL, err = url.Parse(c.ProxyURL); err != nil {
			return nil, fmt.Errorf("proxy-url: %w", err)
		}
	}
	ca, err := data(dir, c.CAData, c.CA)
	if err != nil {
		return nil, fmt.Errorf("certificate-authority: %w", err)
	}
	if ca != nil {
		out.TLS.RootCAs = x509.NewCertPool()
		if !out.TLS.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("certificate-authority: there is no certificate in it; it must be PEM")
		}
	}
	cert, err := data(dir, u.CertData, u.Cert)
	if err != nil {
		return nil, fmt.Errorf("client-certificate: %w", err)
	}
	key, err := data(dir, u.KeyData, u.Key)
	if err != nil {
		return nil, fmt.Errorf("client-key: %w", err)
	}
	if cert != nil || key != nil {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("client-certificate and client-key: %w", err)
		}
		out.TLS.Certificates = []tls.Certificate{pair}
		last := &atomic.Pointer[tls.Certificate]{}
		last.Store(&pair)
		out.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			// As the files are now: certificates are replaced before they end.
			cert, err1 := data(dir, u.CertData, u.Cert)
			key, err2 := data(dir, u.KeyData, u.Key)
			now, err3 := tls.X509KeyPair(cert, key)
			if err1 == nil && err2 == nil && err3 == nil {
				last.Store(&now)
			} // or they are being replaced, or were lost: the server will say
			return last.Load(), nil
		}
	}
	return out, nil
}

// data is what stands in the file itself, or else in the file that it names; nil for neither.
func data(dir string, inline []byte, name string) ([]byte, error) {
	if len(inline) > 0 || name == "" {
		return inline, nil
	}
	return os.ReadFile(beside(dir, name))
}

func beside(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// SignsOn is whether the file has credentials at all.
func (c *Config) SignsOn() bool {
	return c.token != "" || c.tokenFile != "" || c.username != "" || len(c.TLS.Certificates) > 0
}

// Client returns a client that signs on to the server. It follows no redirects.
func (c *Config) Client() *http.Client {
	t := &http.Transport{
		TLSClientConfig: c.TLS.Clone(), TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 25, IdleConnTimeout: 90 * time.Second, Proxy: http.ProxyFromEnvironment,
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
	switch {
	case c.ProxyURL != nil:
		t.Proxy = http.ProxyURL(c.ProxyURL)
	case c.Direct:
		t.Proxy = nil
	}
	return &http.Client{
		Transport:     &signer{Config: c, next: t},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// signer signs requests on.
type signer struct {
	*Config
	next *http.Transport

	mu   sync.Mutex
	kept string    // the token file's
	read time.Time // when
}

// RoundTrip implements [http.RoundTripper].
func (s *signer) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := s.current()
	switch {
	case err != nil:
		return nil, err
	case token != "":
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+token)
	case s.username != "":
		r = r.Clone(r.Context())
		r.SetBasicAuth(s.username, s.password)
	}
	return s.next.RoundTrip(r)
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] calls.
func (s *signer) CloseIdleConnections() { s.next.CloseIdleConnections() }

// current is the token of now: kubelet replaces those of service accounts in their files.
func (s *signer) current() (string, error) {
	if s.tokenFile == "" {
		return s.token, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept != "" && time.Since(s.read) < 10*time.Second {
		return s.kept, nil
	}
	text, err := os.ReadFile(s.tokenFile)
	token := strings.TrimSpace(string(text))
	switch {
	case err == nil && token != "":
		s.kept, s.read = token, time.Now()
		return token, nil
	case s.kept != "":
		return s.kept, nil // the file is being replaced, or was lost: the server will say
	case err != nil:
		return "", fmt.Errorf("read token: %w", err)
	}
	return "", fmt.Errorf("read token: %s is empty", s.tokenFile)
}
