package capture

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// Transport carries a proxy's requests to its upstream: by HTTP/2 where the upstream
// speaks it, and by HTTP/1.1 what asks for an upgrade, which HTTP/2 has not.
type Transport struct {
	plain, upgrades *http.Transport
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
	t := &Transport{plain: make(c.Clone()), upgrades: make(c.Clone())}
	t.plain.ForceAttemptHTTP2 = true
	t.upgrades.Protocols = &http.Protocols{}
	t.upgrades.Protocols.SetHTTP1(true)
	return t
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Upgrade") != "" {
		return t.upgrades.RoundTrip(r)
	}
	return t.plain.RoundTrip(r)
}

// CloseIdleConnections closes the connections that no request uses. The transport may be used on.
func (t *Transport) CloseIdleConnections() {
	t.plain.CloseIdleConnections()
	t.upgrades.CloseIdleConnections()
}
