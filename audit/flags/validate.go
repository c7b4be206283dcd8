package flags

import (
	"fmt"
	"strings"
)

// Validate says why an API server of version v would not start with args: exactly
// its own rules (AuditOptions.Validate and pflag's), without the files that the
// flags name. Flags that do not concern auditing are passed over.
func Validate(args []Arg, v Version) []*Refusal {
	s, refusals := Read(args, v)
	c := checker{args: args, version: s.Version, refusals: refusals}
	if s.Log.On() {
		c.backend(LogPrefix, s.Log.Backend)
		if s.Log.Format != "json" && s.Log.Format != "legacy" {
			c.refuse(LogFormat, "must be json or legacy")
		}
		c.notNegative(LogMaxAge, s.Log.MaxAge)
		c.notNegative(LogMaxBackup, s.Log.MaxFiles)
		c.notNegative(LogMaxSize, s.Log.MaxSize)
	}
	if s.Webhook.On() {
		c.backend(WebhookPrefix, s.Webhook.Backend)
	}
	if a, ok := Last(args, dynamic); ok && s.Version.Before(noDynamic) && a.Value == "true" && !gated(args) {
		c.refuse(dynamic, "needs --feature-gates=DynamicAuditing=true")
	}
	return c.refusals
}

// gated is whether the alpha feature behind --audit-dynamic-configuration is on.
func gated(args []Arg) bool {
	for _, a := range args {
		if Normalize(a.Name) == "feature-gates" && strings.Contains(","+a.Value+",", ",DynamicAuditing=true,") {
			return true
		}
	}
	return false
}

type checker struct {
	args     []Arg
	version  Version
	refusals []*Refusal
}

// refuse refuses a flag's value. What could not be read is refused already.
func (c *checker) refuse(name, reason string) {
	a, ok := Last(c.args, name)
	if !ok {
		f, _ := Lookup(name)
		a = Arg{Value: f.Default(c.version)}
	}
	a.Name = name
	c.refusals = append(c.refusals, &Refusal{Arg: a, Reason: reason})
}

func (c *checker) notNegative(name string, n int) {
	if n < 0 {
		c.refuse(name, "must not be negative")
	}
}

func (c *checker) backend(prefix string, b Backend) {
	c.batch(prefix, b)
	switch {
	case b.MaxEventSize <= 0:
		c.refuse(prefix+MaxEventSize, "must be above 0, even where truncation is off")
	case b.MaxBatchSize < b.MaxEventSize:
		c.refuse(prefix+MaxBatchSize, fmt.Sprintf("must not be below --%s (%d), even where truncation is off", prefix+MaxEventSize, b.MaxEventSize))
	}
	old := b.GroupVersion == "audit.k8s.io/v1alpha1" || b.GroupVersion == "audit.k8s.io/v1beta1"
	if b.GroupVersion != "audit.k8s.io/v1" && !(old && c.version.Before(onlyV1)) {
		c.refuse(prefix+GroupVersion, "must be audit.k8s.io/v1")
	}
}

// batch looks at the flags of batching, which the API server does in batch mode only.
func (c *checker) batch(prefix string, b Backend) {
	switch {
	case b.Mode == Blocking, b.Mode == BlockingStrict:
	case b.Mode != Batch:
		c.refuse(prefix+Mode, "must be batch, blocking or blocking-strict")
	case b.BufferSize <= 0:
		c.refuse(prefix+BufferSize, "must be above 0 in batch mode")
	case b.BatchSize <= 0:
		c.refuse(prefix+BatchSize, "must be above 0 in batch mode")
	case b.Throttle && b.QPS <= 0:
		c.refuse(prefix+ThrottleQPS, "must be above 0 where throttling is on")
	case b.Throttle && b.Burst <= 0:
		c.refuse(prefix+ThrottleBurst, "must be above 0 where throttling is on")
	}
}
