package capture

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/policy"
)

// The headers of impersonation
// (https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/).
const (
	impersonateUser  = "Impersonate-User"
	impersonateUID   = "Impersonate-Uid"
	impersonateGroup = "Impersonate-Group"
	impersonateExtra = "Impersonate-Extra-"
)

// UnverifiedAnnotation says as whom a request asked to be made where it could not be
// found out whether that was allowed; impersonatedUser is then not recorded.
const UnverifiedAnnotation = "capture.ktrail.io/impersonation-unverified"

const (
	// accessTTL is how long an authorizer's answer holds, in both ways
	// (k8s.io/apiserver/pkg/endpoints/filters/impersonation, newImpersonationCache).
	accessTTL  = 10 * time.Second
	mostAccess = 16 << 10
)

// ImpersonationOptions are Impersonation's.
type ImpersonationOptions struct {
	// Allowed asks the authorizer of the API, as [Reviews.Allowed] does. Its answers are kept for ten seconds.
	Allowed func(context.Context, Access) (bool, error)
	// Constrained is whether the API knows constrained impersonation (on by default
	// since Kubernetes 1.36, KEP-5284), by which it is then allowed rather than by the verb
	// impersonate. nil is that it does not.
	Constrained func(context.Context) bool
	// Log is told when the authorizer cannot be asked. nil is silent.
	Log *slog.Logger
}

// Impersonation returns next with the user recorded as whom a request asks to be made,
// where the API's authorizer allows it. It stands inside of [Handler] and in front of an
// API that decides on impersonation itself: the headers go on to it as they are, and a
// request that may not impersonate is answered there.
//
// If the authorizer cannot be asked, no impersonatedUser is recorded but the
// annotation [UnverifiedAnnotation].
func Impersonation(next http.Handler, o ImpersonationOptions) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := &impersonation{
		ImpersonationOptions: o, next: next,
		answers: newRecent[[sha256.Size]byte, bool](mostAccess), last: newRecent[string, int](10_000),
	}
	return m
}

type impersonation struct {
	ImpersonationOptions
	next    http.Handler
	answers *recent[[sha256.Size]byte, bool]
	// last is the way by which a user was last allowed to impersonate: it is tried first.
	last *recent[string, int]
}

// ServeHTTP implements [http.Handler].
func (m *impersonation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if wanted, ok := wantedUser(r.Header); ok {
		m.record(r, wanted)
	}
	m.next.ServeHTTP(w, r)
}

func (m *impersonation) record(r *http.Request, wanted audit.UserInfo) {
	ctx := r.Context()
	x := exchangeOf(ctx)
	if x == nil || x.decision.Level == policy.None {
		return
	}
	user := x.identity.User
	if user.Username == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout) // of all questions together
	defer cancel()
	as, constraint, err := m.allowed(ctx, tokenOf(r), &user, &wanted, &x.info)
	denied := (*deniedError)(nil)
	switch {
	case err == nil:
		Impersonated(ctx, as, constraint)
	case errors.As(err, &denied):
	default:
		Annotate(ctx, UnverifiedAnnotation, wanted.Username)
		m.Log.LogAttrs(ctx, slog.LevelWarn, "impersonation could not be verified: the record says so and has no impersonatedUser",
			slog.String("audit_id", cutID(AuditID(ctx))), slog.String("error", err.Error()))
	}
}

// wantedUser is the user whom the headers ask for; ok is false if they ask for none
// (the API server refuses groups without a user with a 400).
func wantedUser(h http.Header) (u audit.UserInfo, ok bool) {
	u.Username = h.Get(impersonateUser)
	if u.Username == "" {
		return u, false
	}
	u.UID = h.Get(impersonateUID)
	u.Groups = h[impersonateGroup]
	for name, values := range h {
		// net/http has canonical names: no need to fold.
		if rest, ok := strings.CutPrefix(name, impersonateExtra); ok && len(values) > 0 {
			if u.Extra == nil {
				u.Extra = map[string][]string{}
			}
			key := extraKey(rest)
			u.Extra[key] = append(u.Extra[key], values...)
		}
	}
	return u, true
}

// deniedError is a request that may not impersonate.
type deniedError struct{ what string }

func (e *deniedError) Error() string { return "impersonation is not allowed: " + e.what }

// ask is nil if a is allowed, a *deniedError if not, and otherwise says why nobody knows.
func (m *impersonation) ask(ctx context.Context, a Access) error {
	text, err := json.Marshal(a.review()) // maps in the order of their keys
	if err != nil {
		return fmt.Errorf("ask for SubjectAccessReview: %w", err)
	}
	key := sha256.Sum256(text)
	allowed, ok := m.answers.get(key)
	if !ok {
		if allowed, err = m.Allowed(ctx, a); err != nil {
			return err
		}
		m.answers.put(key, allowed, time.Now().Add(accessTTL))
	}
	if !allowed {
		return &deniedError{a.Verb + " " + a.Resource}
	}
	return nil
}
