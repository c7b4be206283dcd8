// Package audit owns the audit.k8s.io event: a shallow decode over the raw line,
// stages and levels. It does no I/O.
//
// The raw line is the truth. An [Event] is a set of columns derived from it in
// one pass; everything that is not a column stays in [Event.Raw], byte for byte.
package audit

import "time"

// Time is a point in time in microseconds since 1970-01-01 UTC, the resolution
// of the API server's MicroTime. Zero means "not in the event".
type Time int64

// TimeOf converts t, dropping what is finer than a microsecond.
func TimeOf(t time.Time) Time { return Time(t.UnixMicro()) }

// Std returns t as a time.Time in UTC.
func (t Time) Std() time.Time { return time.UnixMicro(int64(t)).UTC() }

// timeLayout is RFC 3339 with exactly six decimals, as the API server writes.
const timeLayout = "2006-01-02T15:04:05.000000Z07:00"

// String formats t as the API server does: 2026-11-22T19:44:31.014243Z; "" for zero.
func (t Time) String() string {
	if t == 0 {
		return ""
	}
	return t.Std().Format(timeLayout)
}

// The stages of a request, in order. A request ends in StageResponseComplete or
// StagePanic; one refused before it was authenticated has StageResponseStarted only.
const (
	StageRequestReceived  = "RequestReceived"
	StageResponseStarted  = "ResponseStarted"
	StageResponseComplete = "ResponseComplete"
	StagePanic            = "Panic"
)

// The levels of a policy rule, from least to most recorded.
const (
	LevelNone            = "None"
	LevelMetadata        = "Metadata"
	LevelRequest         = "Request"
	LevelRequestResponse = "RequestResponse"
)

// Event is one audit event as columns. The names in the json tags are the
// column names everywhere: CLI, API, SQL, filter language, page and Parquet.
// A string that the line does not have is "", a number 0, a list nil.
//
// Strings may point into memory owned by a [Batch]: see there how long they live.
type Event struct {
	// ID is the event's position in the store: unique, ascending in the order of
	// commits, stable through compaction. 0 until it is stored.
	ID int64 `json:"id"`
	// Time is stageTimestamp.
	Time Time `json:"time"`
	// Received is requestReceivedTimestamp.
	Received Time `json:"received,omitzero"`
	// Cluster and Source say where the line was collected; they are not in it.
	Cluster string `json:"cluster,omitempty"`
	Source  string `json:"source,omitempty"`

	AuditID    string   `json:"audit_id"`
	Stage      string   `json:"stage"`
	Level      string   `json:"level"`
	Verb       string   `json:"verb"`
	User       string   `json:"user"`
	UserUID    string   `json:"user_uid,omitempty"`
	Groups     []string `json:"groups,omitempty"`
	AsUser     string   `json:"as_user,omitempty"`   // impersonatedUser.username
	AsGroups   []string `json:"as_groups,omitempty"` // impersonatedUser.groups
	SourceIPs  []string `json:"source_ips,omitempty"`
	Agent      string   `json:"agent,omitempty"` // userAgent
	URI        string   `json:"uri"`             // requestURI
	APIGroup   string   `json:"api_group,omitempty"`
	APIVersion string   `json:"api_version,omitempty"`

	Resource    string `json:"resource,omitempty"`
	Subresource string `json:"subresource,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
	ObjectUID   string `json:"object_uid,omitempty"`

	Code    int32  `json:"code,omitempty"`    // responseStatus.code
	Reason  string `json:"reason,omitempty"`  // responseStatus.reason
	Message string `json:"message,omitempty"` // responseStatus.message

	Decision       string `json:"decision,omitempty"`        // annotation authorization.k8s.io/decision
	DecisionReason string `json:"decision_reason,omitempty"` // annotation authorization.k8s.io/reason
	// LatencyUS is Time - Received in microseconds, 0 if either is missing.
	LatencyUS    int64  `json:"latency_us,omitempty"`
	CredentialID string `json:"credential_id,omitempty"` // first of user.extra["authentication.kubernetes.io/credential-id"]
	Pod          string `json:"pod,omitempty"`           // first of user.extra["authentication.kubernetes.io/pod-name"]
	Truncated    bool   `json:"truncated,omitempty"`     // annotation audit.k8s.io/truncated is "true"
	// Final is whether this is the last event that its request will have, so that
	// counting final events counts requests: stage ResponseComplete or Panic, or
	// ResponseStarted without a user (a request refused before authentication has
	// no later stage).
	Final bool `json:"final"`

	// Raw is the line as it came, without its newline.
	Raw string `json:"raw,omitempty"`
	// Version is the apiVersion's last part: v1, v1beta1 or v1alpha1. Not a column.
	Version string `json:"-"`
	// Rule is the rule of the policy that asked for the event, from 1; 0 if that is
	// not known, as in everything read from a log. Not a column.
	Rule int32 `json:"-"`
}
