package app

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Check says what keeps a proxy from starting with o that can be told without
// opening any file.
func (o *ProxyOptions) Check() error {
	var errs []error
	say := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Upstream == nil && o.Kubeconfig == "" {
		say("--upstream is needed: the address of the API server, such as https://10.0.0.1:6443; or --kubeconfig, which has one")
	}
	if o.Upstream != nil {
		if err := CheckUpstream(o.Upstream); err != nil {
			say("--%w", err)
		}
	}
	if o.Audit.Policy == "" {
		say("--audit-policy-file is needed: without a policy nothing is recorded; ktrail policy preset prints one")
	}
	if !o.Audit.Log.On() && !o.Audit.Webhook.On() {
		say("--audit-log-path or --audit-webhook-config-file is needed: without either events go nowhere")
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		say("--tls-cert-file and --tls-private-key-file go together")
	}
	if (o.ProxyCertFile == "") != (o.ProxyKeyFile == "") {
		say("--proxy-client-cert-file and --proxy-client-key-file go together")
	}
	if o.ProxyCertFile != "" && o.Upstream != nil && o.Upstream.Scheme == "http" {
		say("--proxy-client-cert-file cannot be shown to %s: give --upstream https://...", o.Upstream.Redacted())
	}
	for _, h := range []struct {
		flag  string
		names []string
	}{
		{"username-headers", o.RemoteHeaders.User},
		{"uid-headers", o.RemoteHeaders.UID},
		{"group-headers", o.RemoteHeaders.Group},
		{"extra-headers-prefix", o.RemoteHeaders.ExtraPrefixes},
	} {
		if slices.ContainsFunc(h.names, func(n string) bool { return strings.TrimSpace(n) == "" }) {
			say("--requestheader-%s has an empty name in it", h.flag)
		}
	}
	certificates := o.ClientCAFile != "" || o.FrontProxyCAFile != ""
	switch {
	case certificates && o.CertFile == "":
		say("client certificates need TLS: give --tls-cert-file and --tls-private-key-file")
	case certificates && o.ProxyCertFile == "":
		say("users with client certificates, or from a front proxy, can be handed on to the API server by name only: give --proxy-client-cert-file and --proxy-client-key-file, " +
			"signed by the authority of its --requestheader-client-ca-file (kubeadm: front-proxy-client.crt and .key in /etc/kubernetes/pki)")
	}
	if o.CertFile == "" {
		if err := loopback(o.Listen); err != nil {
			say("--listen %s: %w; off loopback it takes --tls-cert-file and --tls-private-key-file, for tokens pass through it", o.Listen, err)
		}
	}
	if o.AdminListen != "" {
		if err := loopback(o.AdminListen); err != nil {
			say("--admin-listen %s: %w; health and metrics have no login; for the probes of a kubelet there is --health-listen", o.AdminListen, err)
		}
	}
	if o.HealthListen != "" {
		if _, port, err := net.SplitHostPort(o.HealthListen); err != nil {
			say("--health-listen %s: it is not host:port, as :8445 is", o.HealthListen)
		} else if _, err := net.LookupPort("tcp", port); err != nil {
			say("--health-listen %s: there is no such port", o.HealthListen)
		}
	}
	return errors.Join(errs...)
}

// loopback is nil if addr, host:port, can be reached from this machine only.
func loopback(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("it is not host:port, as 127.0.0.1:8443 is")
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return errors.New("there is no such port")
	}
	if !loopbackHost(host) {
		return errors.New("it is not a loopback address")
	}
	return nil
}

func loopbackHost(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	ips, err := net.LookupIP(host) // the system's resolver, as whoever listens or dials will
	if err != nil {
		return false
	}
	for _, ip := range ips {
		if !ip.IsLoopback() {
			return false
		}
	}
	return len(ips) > 0
}
