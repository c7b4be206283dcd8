package capture

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit"
)

// The headers in which a front proxy hands a user on
// (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authenticating-proxy).
const (
	remoteUser  = "X-Remote-User"
	remoteUID   = "X-Remote-Uid"
	remoteGroup = "X-Remote-Group"
	remoteExtra = "X-Remote-Extra-"
)

// RemoteHeaders are the headers in which front proxies name their users. The zero
// value is the standard ones without a UID's, as aggregated API servers have it:
// a front proxy that does not know X-Remote-Uid lets its clients forge it.
type RemoteHeaders struct {
	// User and UID: the first with a value counts. Group: all values of all.
	User, UID, Group []string
	// ExtraPrefixes begin the names of extra fields' headers.
	ExtraPrefixes []string
}

func (h RemoteHeaders) withDefaults() RemoteHeaders {
	if len(h.User) == 0 {
		h.User = []string{remoteUser}
	}
	if len(h.Group) == 0 {
		h.Group = []string{remoteGroup}
	}
	if len(h.ExtraPrefixes) == 0 {
		h.ExtraPrefixes = []string{remoteExtra}
	}
	return h
}

// read is the user whom the headers name, ok false if they name none.
func (h RemoteHeaders) read(headers http.Header) (u audit.UserInfo, ok bool) {
	first := func(names []string) string {
		for _, n := range names {
			if v := headers.Get(n); v != "" {
				return v
			}
		}
		return ""
	}
	u.Username = first(h.User)
	if u.Username == "" {
		return audit.UserInfo{}, false
	}
	u.UID = first(h.UID)
	for _, n := range h.Group {
		for _, g := range headers.Values(n) {
			if g != "" {
				u.Groups = append(u.Groups, g)
			}
		}
	}
	for _, prefix := range h.ExtraPrefixes {
		for name, values := range headers {
			if !hasPrefixFold(name, prefix) {
				continue
			}
			if u.Extra == nil {
				u.Extra = map[string][]string{}
			}
			key := extraKey(name[len(prefix):])
			u.Extra[key] = append(u.Extra[key], values...)
		}
	}
	return u, true
}

// remove takes these headers and all X-Remote-* away, whoever sent them.
func (h RemoteHeaders) remove(headers http.Header) {
	for _, names := range [][]string{h.User, h.UID, h.Group} {
		for _, n := range names {
			headers.Del(n)
		}
	}
	for name := range headers {
		if isRemote(name) || slices.ContainsFunc(h.ExtraPrefixes, func(p string) bool { return hasPrefixFold(name, p) }) {
			delete(headers, name)
		}
	}
}

// isRemote is whether a header is one of X-Remote-*, also for servers that take _ for -.
func isRemote(name string) bool {
	const prefix = "X-Remote-"
	return len(name) >= len(prefix) && strings.EqualFold(strings.ReplaceAll(name[:len(prefix)], "_", "-"), prefix)
}

// setRemote names u in the standard headers. It refuses what would not arrive as it
// is: a server takes the space around a value away, and " system:masters" would
// become another group.
func setRemote(headers http.Header, u *audit.UserInfo) error {
	if u.Username == "" {
		return fmt.Errorf("hand on user: it has no name")
	}
	add := func(name, value string) error {
		if !arrives(value) {
			return fmt.Errorf("hand on user %q: %q cannot stand in a header", u.Username, value)
		}
		headers.Add(name, value)
		return nil
	}
	if err := add(remoteUser, u.Username); err != nil {
		return err
	}
	if u.UID != "" {
		if err := add(remoteUID, u.UID); err != nil {
			return err
		}
	}
	for _, g := range u.Groups {
		if err := add(remoteGroup, g); err != nil {
			return err
		}
	}
	for key, values := range u.Extra {
		name := remoteExtra + escapeExtraKey(key)
		for _, v := range values {
			if err := add(name, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// arrives is whether a header's value arrives as it is.
func arrives(value string) bool {
	return value == strings.Trim(value, " \t") && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// extraKey is the key of an extra field in a header's name.
func extraKey(encoded string) string {
	encoded = strings.ToLower(encoded)
	if key, err := url.PathUnescape(encoded); err == nil {
		return key
	}
	return encoded // kept, as the API server does
}

// escapeExtraKey writes a key as a header's name may hold it
// (k8s.io/client-go/transport, headerKeyEscape).
func escapeExtraKey(key string) string {
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("!#$&'*+-.^_`|~", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
