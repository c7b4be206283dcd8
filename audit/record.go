package audit

// Record is a whole audit.k8s.io/v1 event as an API server makes it: what a line
// holds, where [Event] has its columns. A string that is "" and a nil are left out
// of the line where the API server leaves them out.
type Record struct {
	Level   string
	AuditID string
	Stage   string

	RequestURI string
	Verb       string
	User       UserInfo
	// ImpersonatedUser is as whom the request was made, nil if as its user.
	ImpersonatedUser *UserInfo
	// ImpersonationConstraint is authenticationMetadata.impersonationConstraint.
	ImpersonationConstraint string
	SourceIPs               []string
	UserAgent               string
	// ObjectRef is nil for non-resource requests.
	ObjectRef *ObjectRef
	// ResponseStatus is nil until there is an answer.
	ResponseStatus *Status
	// RequestObject and ResponseObject are JSON, nil if the level or the stage has none.
	// White space between tokens is removed in the line, and <, > and & are escaped, as the API server does.
	RequestObject, ResponseObject []byte

	Received Time // requestReceivedTimestamp
	Time     Time // stageTimestamp

	Annotations map[string]string

	// Rule is the rule of the policy that asked for the record, from 1; 0 if unknown. It is not in the line.
	Rule int32
}

// UserInfo is who makes a request (authentication.k8s.io/v1 UserInfo).
type UserInfo struct {
	Username string
	UID      string
	Groups   []string
	Extra    map[string][]string
}

// ObjectRef is what a request is about (audit.k8s.io/v1 ObjectReference).
type ObjectRef struct {
	Resource, Namespace, Name, UID        string
	APIGroup, APIVersion, ResourceVersion string
	Subresource                           string
}

// Status is the answer to a request (meta/v1 Status without kind, apiVersion and metadata).
type Status struct {
	Status, Message, Reason string
	// Details is JSON as the answer had it, nil for none.
	Details []byte
	Code    int32
}
