package capture

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/sync/singleflight"

	"github.com/ktrail/ktrail/audit"
)

const (
	// tokenTTL is how long a token's user is known without asking again
	// (DelegatingAuthenticationOptions.CacheTTL).
	tokenTTL = 10 * time.Second
	// badTokenTTL is how long a token is refused without asking again: long enough
	// that a loop of bad requests is no load for the API server, short enough that
	// nobody waits for a token that was made a moment ago.
	badTokenTTL = 2 * time.Second
	// mostTokens bounds the tokens whose user is kept (the API server's own bound).
	mostTokens = 32 << 10
)

// tokens finds the users of bearer tokens. Tokens themselves are not kept.
type tokens struct {
	ask    func(context.Context, string) (audit.UserInfo, error)
	seen   *recent[[sha256.Size]byte, tokenAnswer]
	flight singleflight.Group
}

type tokenAnswer struct {
	user audit.UserInfo
	err  error
}

func newTokens(ask func(context.Context, string) (audit.UserInfo, error)) *tokens {
	if ask == nil {
		return nil
	}
	return &tokens{ask: ask, seen: newRecent[[sha256.Size]byte, tokenAnswer](mostTokens)}
}

// user is the user of a token. Requests with the same token ask once.
func (t *tokens) user(ctx context.Context, token string) (audit.UserInfo, error) {
	key := tokenKey(token)
	if a, ok := t.seen.get(key); ok {
		return a.user, a.err
	}
	return t.find(ctx, key, token)
}

// tokenKey is the SHA-256 of a token, which is not copied for it: tokens are long, and garbage.
func tokenKey(token string) [sha256.Size]byte {
	return sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token)))
}

// find asks whose a token is.
func (t *tokens) find(ctx context.Context, key [sha256.Size]byte, token string) (audit.UserInfo, error) {
	done := t.flight.DoChan(string(key[:]), func() (any, error) {
		// The answer is everybody's: who asked first may go away.
		user, err := t.ask(context.WithoutCancel(ctx), token)
		a := tokenAnswer{user, err}
		bad := (*TokenError)(nil)
		switch {
		case err == nil:
			t.seen.put(key, a, time.Now().Add(tokenTTL))
		case errors.As(err, &bad):
			t.seen.put(key, a, time.Now().Add(badTokenTTL))
		}
		return a, nil
	})
	select {
	case r := <-done:
		a := r.Val.(tokenAnswer) //nolint:forcetypeassert // what the function above returns
		return a.user, a.err
	case <-ctx.Done():
		return audit.UserInfo{}, ctx.Err()
	}
}

// forget makes the next request with a token ask again.
func (t *tokens) forget(token string) {
	t.seen.drop(tokenKey(token))
}

// bearerToken is the token of the Authorization header as the API server reads it
// (k8s.io/apiserver/pkg/authentication/request/bearertoken), "" for none.
func bearerToken(h http.Header) string {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(h.Get("Authorization")), " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	token, _, _ := strings.Cut(rest, " ")
	return token
}

// tokenOf is the token that a request brings in either way, "" for none.
func tokenOf(r *http.Request) string {
	if t := bearerToken(r.Header); t != "" {
		return t
	}
	t, _ := socketToken(r) // a bad one was refused by whoever said who the user is
	return t
}

const (
	socketProtocol = "Sec-Websocket-Protocol"
	socketBearer   = "base64url.bearer.authorization.k8s.io."
)

// socketToken is the token that a browser, which cannot set headers, hides among
// the subprotocols of a web socket (k8s.io/apiserver/pkg/authentication/request/websocket).
func socketToken(r *http.Request) (string, error) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || !upgrades(r.Header) {
		return "", nil
	}
	token, others := "", 0
	for _, line := range r.Header[socketProtocol] {
		for p := range strings.SplitSeq(line, ",") {
			code, ok := strings.CutPrefix(strings.TrimSpace(p), socketBearer)
			if !ok {
				others++
				continue
			}
			text, err := base64.RawURLEncoding.DecodeString(code)
			switch {
			case token != "":
				return "", errors.New("read token of web socket: there are two")
			case err != nil:
				return "", errors.New("read token of web socket: it is not base64url")
			case !utf8.Valid(text):
				return "", errors.New("read token of web socket: it is not UTF-8")
			}
			token = string(text)
		}
	}
	if token != "" && others == 0 {
		return "", errors.New("read token of web socket: no other subprotocol is offered")
	}
	return token, nil
}

// dropSocketToken takes tokens out of the subprotocols.
func dropSocketToken(h http.Header) {
	lines := h[socketProtocol]
	var keep []string
	found := false
	for _, line := range lines {
		for p := range strings.SplitSeq(line, ",") {
			if p = strings.TrimSpace(p); strings.HasPrefix(p, socketBearer) {
				found = true
			} else {
				keep = append(keep, p)
			}
		}
	}
	switch {
	case !found:
	case len(keep) == 0:
		h.Del(socketProtocol)
	default:
		h.Set(socketProtocol, strings.Join(keep, ","))
	}
}
