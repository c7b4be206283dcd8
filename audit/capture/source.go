package capture

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxUserAgent is where the API server cuts the User-Agent.
const maxUserAgent = 1024

func userAgent(r *http.Request) string {
	ua := r.UserAgent()
	if len(ua) > maxUserAgent {
		return ua[:maxUserAgent] + "...TRUNCATED"
	}
	return ua
}

// requestURI is r.URL.RequestURI(), which escapes anew and allocates, unless the
// request's own is the same.
func requestURI(r *http.Request) string {
	u := r.URL
	if u.Opaque == "" && u.RawPath == "" && u.RawQuery == "" && !u.ForceQuery && plainPath(u.Path) {
		return u.Path
	}
	if path, query, ok := strings.Cut(r.RequestURI, "?"); ok && path == u.Path && query == u.RawQuery && u.Opaque == "" && u.RawPath == "" && plainPath(path) {
		return r.RequestURI
	}
	return u.RequestURI()
}

// plainPath is whether a path is the same when it is escaped, and none that is taken for a host.
func plainPath(p string) bool {
	if p == "" || strings.HasPrefix(p, "//") {
		return false
	}
	for i := range len(p) {
		c := p[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '/' || c == '-' || c == '.' || c == '_' || c == '~' || c == ':') {
			return false
		}
	}
	return true
}

// sourceIPs are the addresses that a request came from and through: those of X-Forwarded-For
// and X-Real-Ip, which anybody may write, then the peer's, which nobody can forge
// (k8s.io/apimachinery/pkg/util/net, SourceIPs).
func sourceIPs(r *http.Request) []string {
	forwarded, realIP := r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Real-Ip")
	peer, ok := peerOf(r.RemoteAddr)
	if forwarded == "" && realIP == "" {
		if !ok {
			return nil
		}
		return []string{peer}
	}
	var list []string
	for part := range strings.SplitSeq(forwarded, ",") {
		if ip, ok := parseIP(strings.TrimSpace(part)); ok {
			list = append(list, ip)
		}
	}
	if ip, ok := parseIP(realIP); ok && !slices.Contains(list, ip) {
		list = append(list, ip)
	}
	if ok && (len(list) == 0 || list[len(list)-1] != peer) {
		list = append(list, peer)
	}
	return list
}

// peerOf is the address in host:port, or of a host alone.
func peerOf(addr string) (string, bool) {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		if ip, ok := parseIP(host); ok {
			return ip, true
		}
	}
	return parseIP(addr)
}

// parseIP is an address as net.IP writes it. Leading zeros are allowed, and decimal: Go's
// parser allowed them when the API server was written, so it still does.
func parseIP(s string) (string, bool) {
	if ip, err := netip.ParseAddr(s); err == nil {
		switch {
		case ip.Zone() != "":
			return "", false
		case ip.Is4():
			return s, true
		}
		return ip.Unmap().String(), true
	}
	short := withoutZeros(s)
	if short == s {
		return "", false
	}
	ip, err := netip.ParseAddr(short)
	if err != nil || ip.Zone() != "" {
		return "", false
	}
	return ip.Unmap().String(), true
}

// withoutZeros is an address without the zeros that lead its numbers.
func withoutZeros(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		leads := len(out) == 0 || out[len(out)-1] == '.' || out[len(out)-1] == ':'
		if more := i+1 < len(s) && s[i+1] != '.' && s[i+1] != ':'; s[i] == '0' && leads && more {
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

// newID is a random UUID (RFC 9562, version 4). It is unique, and need not be hard to
// guess: clients may choose their own. The runtime's generator makes it without asking the kernel.
func newID() string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], rand.Uint64()) //nolint:gosec // see above
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64()) //nolint:gosec // see above
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	var s [36]byte
	hex.Encode(s[:8], b[:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:], b[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}
