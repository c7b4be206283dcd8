package capture

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/internal/status"
)

// The users and groups that an API server makes itself.
const (
	anonymousUser      = "system:anonymous"
	groupAuthenticated = "system:authenticated"
	groupAnonymous     = "system:unauthenticated"
)

// AuthOptions are the ways in which an [Authenticator] finds a user. Each may be
// left out. Pools are asked for at every request, so that they can be replaced; nil is
// no authority.
type AuthOptions struct {
	// FrontProxyCAs sign the certificates of front proxies, whose word about their
	// users is taken; FrontProxyNames are their common names, none for any.
	FrontProxyCAs   func() *x509.CertPool
	FrontProxyNames []string
	RemoteHeaders   RemoteHeaders
	// ClientCAs sign the certificates of users.
	ClientCAs func() *x509.CertPool
	// Token finds the user of a bearer token, as [Reviews.Token] does. The answer is
	// kept for ten seconds.
	Token func(ctx context.Context, token string) (audit.UserInfo, error)
	// Anonymous lets requests without credentials in, as system:anonymous.
	Anonymous bool
}

// Authenticator identifies users by their credentials in the API server's order:
// front proxy, client certificate, bearer token, nobody.
//
// It takes away from the request every credential that it did not use, and every
// header in which users are named, so that what stands behind it cannot see
// another user than it did. A bearer token that it used stays.
type Authenticator struct {
	o       AuthOptions
	fronts  *verifier
	clients *verifier
	tokens  *tokens
}

// NewAuthenticator returns the authenticator of o.
func NewAuthenticator(o AuthOptions) *Authenticator {
	o.RemoteHeaders = o.RemoteHeaders.withDefaults()
	return &Authenticator{o: o, fronts: newVerifier(o.FrontProxyCAs), clients: newVerifier(o.ClientCAs), tokens: newTokens(o.Token)}
}

var errUnauthorized = errors.New("no credentials that are known here")

// Identify implements [Identifier].
func (a *Authenticator) Identify(r *http.Request) (Identity, error) {
	u, kept, err := a.find(r)
	a.o.RemoteHeaders.remove(r.Header)
	if kept != byBearer {
		r.Header.Del("Authorization")
	}
	if kept != bySocket {
		dropSocketToken(r.Header)
	}
	if err != nil {
		return Identity{}, err
	}
	if u.Username != anonymousUser && !slices.Contains(u.Groups, groupAuthenticated) && !slices.Contains(u.Groups, groupAnonymous) {
		u.Groups = append(slices.Clip(u.Groups), groupAuthenticated)
	}
	return Identity{User: u}, nil
}

// notIdentified is the answer to a request whose user an [Identifier] did not find. An
// API server says Unauthorized even where it could not ask; but programs take that
// for bad credentials, and give up where they should try again.
func notIdentified(err error) status.Status {
	if ask := (*AskError)(nil); errors.As(err, &ask) {
		return status.Failure(http.StatusServiceUnavailable, "ServiceUnavailable", "the credentials cannot be checked at the moment, try again")
	}
	return status.Failure(http.StatusUnauthorized, "Unauthorized", "Unauthorized")
}

// credential is the credential that stays in a request.
type credential int

const (
	byNothing credential = iota
	byBearer
	bySocket
)

// find tries one way after another. A way that fails does not keep the next from
// being tried, but nobody is anonymous who showed something that failed.
func (a *Authenticator) find(r *http.Request) (audit.UserInfo, credential, error) {
	var failed []error
	for _, way := range []func(*http.Request) (audit.UserInfo, bool, error){a.frontProxy, a.certificate} {
		u, ok, err := way(r)
		if ok {
			return u, byNothing, nil
		}
		failed = append(failed, err)
	}
	bearer := bearerToken(r.Header)
	if u, ok, err := a.token(r, bearer); ok {
		if sent := r.Header["Authorization"]; len(sent) != 1 || !isBearer(sent[0], bearer) {
			r.Header.Set("Authorization", "Bearer "+bearer) // one, even if there were two
		}
		return u, byBearer, nil
	} else if err != nil {
		failed = append(failed, err)
	}
	socket, err := socketToken(r)
	if err != nil {
		failed = append(failed, err)
	}
	if u, ok, err := a.token(r, socket); ok {
		return u, bySocket, nil
	} else if err != nil {
		failed = append(failed, err)
	}
	if err := errors.Join(failed...); err != nil {
		return audit.UserInfo{}, byNothing, err
	}
	if !a.o.Anonymous {
		return audit.UserInfo{}, byNothing, errUnauthorized
	}
	return audit.UserInfo{Username: anonymousUser, Groups: []string{groupAnonymous}}, byNothing, nil
}

// isNobody is whether u showed no credential. A certificate may have the name of
// nobody, and groups: that is somebody.
func isNobody(u *audit.UserInfo) bool {
	return u.Username == anonymousUser && u.UID == "" && len(u.Extra) == 0 && len(u.Groups) == 1 && u.Groups[0] == groupAnonymous
}

// isBearer is whether a header is how tokens are sent, to the letter.
func isBearer(header, token string) bool {
	rest, ok := strings.CutPrefix(header, "Bearer ")
	return ok && rest == token
}

func (a *Authenticator) frontProxy(r *http.Request) (audit.UserInfo, bool, error) {
	c, err := a.fronts.verify(r)
	switch {
	case err != nil:
		return audit.UserInfo{}, false, err
	case c == nil:
		return audit.UserInfo{}, false, nil
	case len(a.o.FrontProxyNames) > 0 && !slices.Contains(a.o.FrontProxyNames, c.Subject.CommonName):
		return audit.UserInfo{}, false, fmt.Errorf("take user from front proxy: %q is not among the names that are allowed", c.Subject.CommonName)
	}
	u, ok := a.o.RemoteHeaders.read(r.Header)
	return u, ok, nil
}

func (a *Authenticator) certificate(r *http.Request) (audit.UserInfo, bool, error) {
	c, err := a.clients.verify(r)
	if err != nil || c == nil {
		return audit.UserInfo{}, false, err
	}
	return certificateUser(c)
}

func (a *Authenticator) token(r *http.Request, token string) (audit.UserInfo, bool, error) {
	switch {
	case token == "":
		return audit.UserInfo{}, false, nil
	case a.tokens == nil:
		return audit.UserInfo{}, false, &TokenError{"tokens are not taken here"}
	}
	u, err := a.tokens.user(r.Context(), token)
	return u, err == nil, err
}

// Forget makes the next request with r's token ask whose it is again. The proxy
// calls it when the API server refused what the authenticator let in.
func (a *Authenticator) Forget(r *http.Request) {
	if a.tokens == nil {
		return
	}
	if t := tokenOf(r); t != "" {
		a.tokens.forget(t)
	}
}
