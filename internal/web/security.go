package web

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// CheckLoopback says whether a server may listen on addr (host:port). Anyone who
// reaches the port reads the whole trail, so only loopback is allowed. A name must
// resolve to loopback addresses only.
func CheckLoopback(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen on %q: not host:port; write 127.0.0.1:7433", addr)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("listen on %q: no such port: write one from 0 to 65535", addr)
	}
	refuse := func(why string) error {
		return fmt.Errorf("listen on %q: %s: whoever reaches the port can read every event, and this version has neither TLS nor login; "+
			"use 127.0.0.1:%s and reach it through an SSH tunnel", addr, why, port)
	}
	if host == "" {
		return refuse("it means every address of this machine")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if !ip.Unmap().IsLoopback() {
			return refuse(host + " is not a loopback address")
		}
		return nil
	}
	ips, err := net.LookupIP(host) // the system's resolver, as the listener will
	if err != nil {
		return fmt.Errorf("listen on %q: %s does not resolve: use 127.0.0.1:%s: %w", addr, host, port, err)
	}
	for _, ip := range ips {
		if !ip.IsLoopback() {
			return refuse(fmt.Sprintf("%s resolves to %s, which is not loopback", host, ip))
		}
	}
	return nil
}

// policy lets the page load its own files and nothing else; there is no inline
// script or style. Element styles that the chart sets from script are no style
// attributes, and allowed.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types ktrail"

func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		next.ServeHTTP(w, r)
	})
}

// checkHost refuses requests for another name. A page of another site can make
// its own name resolve to 127.0.0.1 (DNS rebinding) and would then be same-origin
// with this server; its Host header gives it away.
func (s *server) checkHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !LocalHost(r.Host) {
			s.fail(w, r, &Error{Code: CodeForbidden, Message: fmt.Sprintf("the host %q is not this server; use http://%s/", r.Host, s.ownHost())})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *server) ownHost() string {
	if s.Address == "" {
		return "127.0.0.1:7433"
	}
	return s.Address
}

// LocalHost is whether a Host header names loopback, on any port: a tunnel may
// end on another one.
func LocalHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback()
}

// refuseCrossOrigin keeps pages of other sites from sending what changes something.
func (s *server) refuseCrossOrigin(next http.Handler) http.Handler {
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, &Error{Code: CodeForbidden, Message: "a page of another site may not send this"})
	}))
	return guard.Handler(next)
}
