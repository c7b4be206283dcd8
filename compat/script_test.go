package compat

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	upstreamaudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"

	"github.com/ktrail/ktrail/audit/capture"
)

// script is what a handler does, a step a line: a word, and what it is about. It stands in the place of the
// API, for all that the API's own handlers never do.
type script []string

// scripted is next, or what the script of the moment says.
func (c *chains) scripted(next http.Handler, codecs runtime.NegotiatedSerializer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		steps := c.script.Load()
		if steps == nil || len(*steps) == 0 {
			next.ServeHTTP(w, r)
			return
		}
		c.ran.Store(true)
		for _, s := range *steps {
			if !step(s, w, r, codecs) {
				return
			}
		}
	})
}

// step does one step, and is whether another may follow.
func step(s string, w http.ResponseWriter, r *http.Request, codecs runtime.NegotiatedSerializer) bool {
	word, about, _ := strings.Cut(s, " ")
	n, _ := strconv.Atoi(about)
	switch word {
	case "read":
		_, _ = io.CopyN(io.Discard, r.Body, int64(n))
	case "header":
		k, v, _ := strings.Cut(about, ": ")
		w.Header().Add(k, v)
	case "code":
		w.WriteHeader(n)
	case "write":
		_, _ = io.WriteString(w, about)
	case "fill":
		_, _ = io.WriteString(w, filled(n))
	case "copy": // by the way of the kernel, where there is one
		_, _ = io.Copy(w, strings.NewReader(about))
	case "flush":
		w.(http.Flusher).Flush()
	case "annotate":
		k, v, _ := strings.Cut(about, "=")
		upstreamaudit.AddAuditAnnotation(r.Context(), k, v)
		capture.Annotate(r.Context(), k, v)
	case "error":
		responsewriters.ErrorNegotiated(failures[about], codecs, coreVersion, w, r)
	case "object":
		o := made(r.Context(), "web")
		o.Other = strings.Repeat(o.Other, n)
		responsewriters.WriteObjectNegotiated(codecs, negotiation.DefaultEndpointRestrictions, coreVersion, w, r, http.StatusOK, o, false)
	case "status":
		responsewriters.WriteObjectNegotiated(codecs, negotiation.DefaultEndpointRestrictions, coreVersion, w, r, n, &metav1.Status{
			Status: metav1.StatusSuccess, Message: "<so>", Code: int32(n), Details: &metav1.StatusDetails{UID: types.UID("u&1"), Causes: []metav1.StatusCause{{Field: "a.b"}}}, //nolint:gosec // three digits
		}, false)
	case "internal":
		responsewriters.InternalError(w, r, errors.New(about))
	case "panic":
		if about == "abort" {
			panic(http.ErrAbortHandler)
		}
		panic(about)
	case "hijack":
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" + about + "\n")
		_ = rw.Flush()
		return false
	default:
		panic(fmt.Sprintf("no step %q", s))
	}
	return true
}

// failures are what a handler may answer, by their names.
var failures = func() map[string]error {
	pods := schema.GroupResource{Resource: "pods"}
	kind := schema.GroupKind{Group: "apps", Kind: "Simple"}
	bare := func(s metav1.Status) error { return &apierrors.StatusError{ErrStatus: s} }
	return map[string]error{
		"notfound": apierrors.NewNotFound(pods, "<web>"), "exists": apierrors.NewAlreadyExists(pods, "web"), "conflict": apierrors.NewConflict(pods, "web", errors.New("\x00\u2028")),
		"many": apierrors.NewTooManyRequests("come back", 3), "internal": apierrors.NewInternalError(errors.New("<disk>")), "timeout": apierrors.NewTimeoutError("late", 1),
		"gone": apierrors.NewGone("it went"), "expired": apierrors.NewResourceExpired("too old"), "method": apierrors.NewMethodNotSupported(pods, "brew"),
		"forbidden": apierrors.NewForbidden(pods, "", errors.New("not you & not me")), "unauthorized": apierrors.NewUnauthorized("who?"),
		"invalid": apierrors.NewInvalid(kind, "web", nil), "large": apierrors.NewRequestEntityTooLargeError("much"), "plain": errors.New("no Status \xff at all"),
		"generic":    apierrors.NewGenericServerResponse(http.StatusServiceUnavailable, "get", pods, "web", "<html>", 7, true),
		"nothing":    bare(metav1.Status{}),
		"code only":  bare(metav1.Status{Code: 418}),
		"success":    bare(metav1.Status{Status: metav1.StatusSuccess, Code: 200}),
		"no message": bare(metav1.Status{Status: metav1.StatusFailure, Reason: "Odd", Code: 500, Details: &metav1.StatusDetails{}}),
		"metadata":   bare(metav1.Status{ListMeta: metav1.ListMeta{ResourceVersion: "5", Continue: "c"}, Status: metav1.StatusFailure, Message: strings.Repeat("long ", 1000), Code: 422}),
		"details": bare(metav1.Status{Status: metav1.StatusFailure, Code: 409, Details: &metav1.StatusDetails{
			Name: "n", Group: "g", Kind: "k", UID: "u", RetryAfterSeconds: -1, Causes: []metav1.StatusCause{{Type: "T", Message: "<m>", Field: "f"}, {}},
		}}),
	}
}()

// ownWords is whether a script answers in JSON or the like without the API server's library.
func (s script) ownWords() bool {
	for _, step := range s {
		if strings.HasPrefix(step, "header Content-Type: application/") {
			return true
		}
	}
	return false
}

// writes is what a script writes itself, and as what.
func (s script) writes() (contentType, text string) {
	var b strings.Builder
	for _, step := range s {
		switch word, about, _ := strings.Cut(step, " "); word {
		case "header":
			if kind, ok := strings.CutPrefix(about, "Content-Type: "); ok {
				contentType = kind
			}
		case "write", "copy":
			b.WriteString(about)
		case "fill":
			n, _ := strconv.Atoi(about)
			b.WriteString(filled(n))
		}
	}
	return contentType, b.String()
}

func filled(n int) string { return strings.Repeat("0123456789abcdef", n/16) }
