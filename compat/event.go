package compat

import (
	"encoding/json"

	authnv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"

	"github.com/ktrail/ktrail/audit"
)

// ToEvent is r in the API server's types, as its filters would have made it.
func ToEvent(r *audit.Record) *auditinternal.Event {
	user := func(u *audit.UserInfo) authnv1.UserInfo {
		out := authnv1.UserInfo{Username: u.Username, UID: u.UID, Groups: u.Groups}
		for k, v := range u.Extra {
			if out.Extra == nil {
				out.Extra = map[string]authnv1.ExtraValue{}
			}
			out.Extra[k] = v
		}
		return out
	}
	body := func(b []byte) *runtime.Unknown {
		if len(b) == 0 {
			return nil
		}
		return &runtime.Unknown{Raw: b, ContentType: runtime.ContentTypeJSON}
	}
	e := &auditinternal.Event{
		Level: auditinternal.Level(r.Level), AuditID: types.UID(r.AuditID), Stage: auditinternal.Stage(r.Stage), RequestURI: r.RequestURI, Verb: r.Verb,
		User: user(&r.User), SourceIPs: r.SourceIPs, UserAgent: r.UserAgent, RequestObject: body(r.RequestObject), ResponseObject: body(r.ResponseObject),
		RequestReceivedTimestamp: metav1.NewMicroTime(r.Received.Std()), StageTimestamp: metav1.NewMicroTime(r.Time.Std()), Annotations: r.Annotations,
	}
	if r.ImpersonatedUser != nil {
		u := user(r.ImpersonatedUser)
		e.ImpersonatedUser = &u
	}
	if r.ImpersonationConstraint != "" {
		e.AuthenticationMetadata = &auditinternal.AuthenticationMetadata{ImpersonationConstraint: r.ImpersonationConstraint}
	}
	if o := r.ObjectRef; o != nil {
		e.ObjectRef = &auditinternal.ObjectReference{
			Resource: o.Resource, Namespace: o.Namespace, Name: o.Name, UID: types.UID(o.UID), APIGroup: o.APIGroup,
			APIVersion: o.APIVersion, ResourceVersion: o.ResourceVersion, Subresource: o.Subresource,
		}
	}
	if s := r.ResponseStatus; s != nil {
		e.ResponseStatus = &metav1.Status{Status: s.Status, Message: s.Message, Reason: metav1.StatusReason(s.Reason), Code: s.Code}
		if len(s.Details) > 0 {
			e.ResponseStatus.Details = &metav1.StatusDetails{}
			if err := json.Unmarshal(s.Details, e.ResponseStatus.Details); err != nil {
				panic(err) // they are made by who calls
			}
		}
	}
	return e
}
