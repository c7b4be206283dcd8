package flags

// Type is how the API server reads a flag's value.
type Type string

// The types, named as in kube-apiserver --help.
const (
	String   Type = "string"
	Int      Type = "int"
	Int64    Type = "int64"
	Float32  Type = "float32"
	Bool     Type = "bool"
	Duration Type = "duration"
)

// The names of the flags. Those of a back end are its prefix and a rest that
// both share: LogPrefix + Mode.
const (
	PolicyFile    = "audit-policy-file"
	LogPath       = "audit-log-path"
	LogMaxAge     = "audit-log-maxage"
	LogMaxBackup  = "audit-log-maxbackup"
	LogMaxSize    = "audit-log-maxsize"
	LogFormat     = "audit-log-format"
	LogCompress   = "audit-log-compress"
	WebhookConfig = "audit-webhook-config-file"
	Backoff       = "audit-webhook-initial-backoff"
	oldBackoff    = "audit-webhook-batch-initial-backoff"
	dynamic       = "audit-dynamic-configuration"

	LogPrefix     = "audit-log-"
	WebhookPrefix = "audit-webhook-"

	GroupVersion   = "version"
	Mode           = "mode"
	BufferSize     = "batch-buffer-size"
	BatchSize      = "batch-max-size"
	BatchWait      = "batch-max-wait"
	ThrottleEnable = "batch-throttle-enable"
	ThrottleQPS    = "batch-throttle-qps"
	ThrottleBurst  = "batch-throttle-burst"
	Truncate       = "truncate-enabled"
	MaxEventSize   = "truncate-max-event-size"
	MaxBatchSize   = "truncate-max-batch-size"
)

// Flag is one flag of the API server.
type Flag struct {
	Name string
	Type Type
	// Unit is what a number counts: days, files, MB (of 1024 x 1024 bytes), events, ...
	Unit string
	// Help says what it does, in a line.
	Help string
	// Rule is when the API server refuses a value, "" if it takes every one of the type.
	Rule string
	// Since and Until are the versions that have the flag, the second exclusive;
	// zero is all.
	Since, Until Version
	// Deprecated names the flag to use instead.
	Deprecated string

	value   string // the default
	changed Version
	later   string // the default since changed
}

// Default is the flag's value in version v where it is not given.
func (f Flag) Default(v Version) string {
	if !f.changed.IsZero() && !v.known().Before(f.changed) {
		return f.later
	}
	return f.value
}

// In is whether version v has the flag.
func (f Flag) In(v Version) bool {
	v = v.known()
	return !v.Before(f.Since) && (f.Until.IsZero() || v.Before(f.Until))
}

// Table returns every flag of the versions from Oldest to Latest.
func Table() []Flag {
	const notNegative = "must not be negative"
	t := []Flag{
		{Name: PolicyFile, Type: String, Help: "file of the audit policy; without it nothing is recorded", Rule: "must load and have a rule"},
		{Name: LogPath, Type: String, Help: "file of the log, - for standard output; without it there is no log"},
		{Name: LogMaxAge, Type: Int, Unit: "days", Help: "age at which rotated files are removed, 0 for never", Rule: notNegative, value: "0", changed: keepsLess, later: "366"},
		{Name: LogMaxBackup, Type: Int, Unit: "files", Help: "rotated files to keep, 0 for all", Rule: notNegative, value: "0", changed: keepsLess, later: "100"},
		{Name: LogMaxSize, Type: Int, Unit: "MB", Help: "size at which the log is rotated; 0 is never since 1.36 and 100 before", Rule: notNegative, value: "0", changed: keepsLess, later: "100"},
		{Name: LogFormat, Type: String, Help: "json, or legacy: a line of text without bodies", Rule: "must be json or legacy", value: "json"},
		{Name: LogCompress, Type: Bool, Help: "compress rotated files with gzip", Since: hasCompress, value: "false"},
	}
	t = append(t, backendFlags(LogPrefix, "blocking", "1", "0s", "false", "0", "0")...)
	t = append(t,
		Flag{Name: WebhookConfig, Type: String, Help: "kubeconfig of the webhook; without it there is none"},
		Flag{Name: Backoff, Type: Duration, Help: "wait before the second try of a batch", value: "10s"},
		Flag{Name: oldBackoff, Type: Duration, Help: "the old name of --" + Backoff, Deprecated: Backoff, value: "10s"},
	)
	t = append(t, backendFlags(WebhookPrefix, "batch", "400", "30s", "true", "10", "15")...)
	return append(t, Flag{Name: dynamic, Type: Bool, Help: "audit sinks as API objects (alpha)", Rule: "needs the feature gate DynamicAuditing", Until: noDynamic, value: "false"})
}

// backendFlags are what both back ends have.
func backendFlags(prefix, mode, size, wait, throttle, qps, burst string) []Flag {
	const positive = "must be above 0 in batch mode"
	const throttled = "must be above 0 in batch mode with throttling"
	return []Flag{
		{Name: prefix + GroupVersion, Type: String, Help: "version of the events", Rule: "must be audit.k8s.io/v1 since 1.24", value: "audit.k8s.io/v1"},
		{Name: prefix + Mode, Type: String, Help: "when events are written: batch, blocking or blocking-strict", Rule: "must be batch, blocking or blocking-strict", value: mode},
		{Name: prefix + BufferSize, Type: Int, Unit: "events", Help: "events that wait; more are dropped (batch mode)", Rule: positive, value: "10000"},
		{Name: prefix + BatchSize, Type: Int, Unit: "events", Help: "events written at once (batch mode)", Rule: positive, value: size},
		{Name: prefix + BatchWait, Type: Duration, Help: "longest wait for a batch to fill (batch mode); 0 with a size above 1 burns a core", value: wait},
		{Name: prefix + ThrottleEnable, Type: Bool, Help: "limit the batches a second (batch mode)", value: throttle},
		{Name: prefix + ThrottleQPS, Type: Float32, Unit: "batches a second", Help: "batches a second, on average (batch mode)", Rule: throttled, value: qps},
		{Name: prefix + ThrottleBurst, Type: Int, Unit: "batches", Help: "batches at once after a pause (batch mode)", Rule: throttled, value: burst},
		{Name: prefix + Truncate, Type: Bool, Help: "take the bodies from events that are too large, and drop what is still too large", value: "false"},
		{Name: prefix + MaxBatchSize, Type: Int64, Unit: "bytes", Help: "size at which a batch is split", Rule: "must not be below " + prefix + MaxEventSize, value: "10485760"},
		{Name: prefix + MaxEventSize, Type: Int64, Unit: "bytes", Help: "size above which an event loses its bodies", Rule: "must be above 0, even without truncation", value: "102400"},
	}
}

// Lookup finds a flag of any version by its normalized name.
func Lookup(name string) (Flag, bool) {
	f, ok := byName()[name]
	return f, ok
}

// byName is the table as a map.
func byName() map[string]Flag {
	m := map[string]Flag{}
	for _, f := range Table() {
		m[f.Name] = f
	}
	return m
}
