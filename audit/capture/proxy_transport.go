package capture

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// Transport carries a proxy's requests to its upstream: by HTTP/2 where the upstream
// speaks it, and by HTTP/1.1 what asks for an upgrade, which HTTP/2 has not, and
// requests without credentials: an API server ends the connection of HTTP/2 that brings
// one (UnauthenticatedHTTP2DOSMitigation), on which all others' requests are.
type Transport struct {
	any, http1 *http.Transport
}

// NewTransport returns a transport to an upstream for which c holds; nil is Go's defaults.
func NewTransport(c *tls.Config) *Transport {
	if c == nil {
		c = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	// As the API server's clients have it (k8s.io/apimachinery/pkg/util/net, SetTransportDefaults),
	// but for the connections kept: all requests go to one host.
	make := func(c *tls.Config) *http.Transport {
		return &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:       c,
			TLSHandshakeTimeout:   10 * time.Second,
			ExpectContinueTimeout: time.Second,
			MaxIdleConnsPerHost:   1024,
			IdleConnTimeout:       90 * time.Second,
			DisableCompression:    true, // an answer goes on as it came
			// A connection that died silently is noticed.
			HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
		}
	}
	t := &Transport{any: make(c.Clone()), http1: make(c.Clone())}
	t.any.ForceAttemptHTTP2 = true
	t.http1.Protocols = &http.Protocols{}
	t.http1.Protocols.SetHTTP1(true)
	return t
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if h := r.Header; h.Get("Upgrade") != "" || h.Get("Authorization") == "" && h.Get(remoteUser) == "" {
		return t.http1.RoundTrip(r)
	}
	return t.any.RoundTrip(r)
}

// CloseIdleConnections closes the connections that no request uses. The transport may be used on.
func (t *Transport) CloseIdleConnections() {
	t.any.CloseIdleConnections()
	t.http1.CloseIdleConnections()
}
