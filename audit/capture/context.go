package capture

import (
	"context"
	"log/slog"
	"sync"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/policy"
)

// exchange is one request while it is served: the event that grows from stage to
// stage, and what the handlers inside may ask and add. It is the context of the request.
type exchange struct {
	context.Context

	h        *handler
	info     RequestInfo
	identity Identity
	decision policy.Decision
	auditID  string
	long     bool
	head     bool // the method is HEAD

	mu     sync.Mutex
	rec    audit.Record
	object audit.ObjectRef // what rec.ObjectRef points to
	status audit.Status    // what rec.ResponseStatus points to
	over   bool            // its last event was made: annotations come too late

	in  reading // of the request's body
	out writer  // of the answer
}

type exchangeKey struct{}

// Value finds the exchange in its own context.
func (x *exchange) Value(key any) any {
	if _, ok := key.(exchangeKey); ok {
		return x
	}
	return x.Context.Value(key)
}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// Annotate adds an annotation to the events that the request of ctx is still to have. It does
// nothing if the request is not recorded or has had its last event. A key that has
// a value keeps it: the first who decides is who decided, as in the API server.
func Annotate(ctx context.Context, key, value string) {
	x := exchangeOf(ctx)
	if x == nil || x.decision.Level == policy.None {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return
	}
	if old, ok := x.rec.Annotations[key]; ok {
		if old != value {
			x.h.Log.LogAttrs(ctx, slog.LevelWarn, "annotation of an audit event was set already",
				slog.String("key", key), slog.String("audit_id", cutID(x.auditID)), slog.String("kept", old), slog.String("refused", value))
		}
		return
	}
	x.annotate(key, value)
}

// annotate sets an annotation. x.mu is held.
func (x *exchange) annotate(key, value string) {
	if x.rec.Annotations == nil {
		x.rec.Annotations = map[string]string{}
	}
	x.rec.Annotations[key] = value
}

// Impersonated records that the request of ctx is made as user, and by which constraint
// that was allowed ("" for none). It is called once it is allowed, before the handler
// that acts on it: the stages from then on have it, RequestReceived has not.
func Impersonated(ctx context.Context, user audit.UserInfo, constraint string) {
	x := exchangeOf(ctx)
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.identity.ImpersonatedUser, x.identity.ImpersonationConstraint = &user, constraint
	x.rec.ImpersonatedUser, x.rec.ImpersonationConstraint = &user, constraint
}

// AuditID is the Audit-ID of the request of ctx, "" if no Handler stands around.
// It is the client's if the client sent one: hostile text of any length.
func AuditID(ctx context.Context) string {
	if x := exchangeOf(ctx); x != nil {
		return x.auditID
	}
	return ""
}

// InfoOf is what the request of ctx is about, nil if no [Handler] stands around. It is not to be changed.
func InfoOf(ctx context.Context) *RequestInfo {
	if x := exchangeOf(ctx); x != nil {
		return &x.info
	}
	return nil
}

// IdentityOf is who makes the request of ctx, the zero Identity if no [Handler] stands around.
func IdentityOf(ctx context.Context) Identity {
	x := exchangeOf(ctx)
	if x == nil {
		return Identity{}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.identity
}

// cutID is an audit ID as it may stand in a log.
func cutID(id string) string {
	const most = 64
	if len(id) > most {
		return id[:most]
	}
	return id
}
