package capture

import (
	"net/http"

	"github.com/ktrail/ktrail/audit"
)

// Identity is who makes a request.
type Identity struct {
	// User is the authenticated user. The zero value is nobody: the request was
	// refused before it had a user.
	User audit.UserInfo
	// ImpersonatedUser is as whom the request was made where that was allowed, else nil. It
	// is recorded from the stage after RequestReceived on. An Identifier leaves it nil where
	// a handler inside decides: that calls [Impersonated].
	ImpersonatedUser *audit.UserInfo
	// ImpersonationConstraint is the constraint by which it was allowed, "" if by none.
	ImpersonationConstraint string
}

// Identifier says who makes a request. An error means that the request is refused with
// a 401 by [Handler] itself, which is recorded in the one event ResponseStarted; an API
// that refuses requests on its own returns the zero Identity instead and answers the 401.
//
// The request is the one that the handler inside will see: an Identifier removes from its
// header what must not go on.
type Identifier interface {
	Identify(*http.Request) (Identity, error)
}

// IdentifierFunc is a function as an [Identifier].
type IdentifierFunc func(*http.Request) (Identity, error)

// Identify implements [Identifier].
func (f IdentifierFunc) Identify(r *http.Request) (Identity, error) { return f(r) }
