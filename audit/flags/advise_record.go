package flags

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/policy"
)

// recording is whether anything is recorded, and as what.
func (a *advisor) recording() {
	hasPolicy, hasBackend := a.s.Policy != "", a.s.Log.On() || a.s.Webhook.On()
	recommended := func(names ...string) (out []Arg) {
		for _, c := range a.recommended() {
			if slices.Contains(names, c.Name) {
				out = append(out, c.Arg)
			}
		}
		return out
	}
	switch {
	case !hasPolicy && !hasBackend:
		var all []Arg
		for _, c := range a.recommended() {
			if !a.given(c.Name) {
				all = append(all, c.Arg)
			}
		}
		a.add(advice{
			name: "audit-off", severity: finding.Warning,
			message: "auditing is off: no policy and no back end is given",
			reason:  "Nobody can tell afterwards who did what (CIS Kubernetes Benchmark 3.2.1 asks for an audit policy). ktrail enable sets this up and proves it.",
			set:     all,
		})
	case !hasPolicy:
		a.add(advice{
			name: "no-policy", severity: finding.Error, at: LogPath,
			message: "nothing is recorded: --" + PolicyFile + " is not given",
			reason:  "Without a policy the API server builds no back end. It starts, makes an empty log, and says so only at verbosity 2 " + optionsSource + ". ktrail policy preset show recommended prints a policy.",
			set:     recommended(PolicyFile),
		})
	case !hasBackend:
		a.add(advice{
			name: "no-backend", severity: finding.Error, at: PolicyFile,
			message: "nothing is recorded: there is a policy, but neither --" + LogPath + " nor --" + WebhookConfig,
			reason:  "The policy is loaded and no event has anywhere to go " + optionsSource + ".",
			set:     recommended(LogPath, LogMaxAge, LogMaxBackup, LogMaxSize),
		})
	}
	if p := a.o.Policy; p != nil && hasPolicy && !slices.ContainsFunc(p.Rules, func(r policy.Rule) bool { return r.Level > policy.None }) {
		a.add(advice{
			name: "policy-records-nothing", severity: finding.Error, at: PolicyFile,
			message: "nothing is recorded: every rule of the policy has level None",
			reason:  "RKE2's CIS profile writes such a policy, so that scanners are content. ktrail policy preset show recommended prints one that records.",
			fix:     "- level: Metadata",
		})
	}
	if a.s.Log.Path == "-" {
		severity, to := finding.Warning, recommended(LogPath)
		if at, _ := Last(a.o.Places, LogPath); at.Value == "-" {
			severity, to = finding.Note, nil // the platform has no better place
		}
		a.add(advice{
			name: "stdout-log", severity: severity, at: LogPath,
			message: "the log goes to standard output, among the API server's own messages",
			reason:  "The kubelet keeps 5 files of 10 MiB of a container's output (containerLogMaxSize, containerLogMaxFiles), and age, count and size flags do not apply. Events are cut into lines of 16 KiB by the runtime.",
			set:     to,
		})
	}
	for _, arg := range []Arg{{Name: LogPath, Value: a.s.Log.Path}, {Name: PolicyFile, Value: a.s.Policy}, {Name: WebhookConfig, Value: a.s.Webhook.ConfigFile}} {
		if arg.Value != "" && arg.Value != "-" && !strings.HasPrefix(arg.Value, "/") {
			a.add(advice{
				name: "relative-path", severity: finding.Warning, at: arg.Name,
				message: fmt.Sprintf("--%s=%s is relative", arg.Name, arg.Value),
				reason:  "It is taken from the API server's working directory, in its pod /, and no mount can be checked against it.",
				set:     []Arg{{Name: arg.Name, Value: path.Join("/", arg.Value)}},
			})
		}
	}
	if a.s.Log.On() && a.s.Log.Format == "legacy" {
		a.add(advice{
			name: "legacy-format", severity: finding.Warning, at: LogFormat,
			message: "the log is written as lines of text without bodies, responses and annotations",
			reason:  "The legacy format keeps a dozen fields, whatever level the policy asks for (k8s.io/apiserver pkg/audit/format.go); tools that read audit logs read JSON.",
			set:     []Arg{{Name: LogFormat, Value: "json"}},
		})
	}
	for _, b := range a.backends() {
		if b.GroupVersion != "audit.k8s.io/v1" {
			a.add(advice{
				name: "old-event-version", severity: finding.Warning, at: b.prefix + GroupVersion,
				message: "events are written as " + b.GroupVersion,
				reason:  "Kubernetes 1.24 refuses to start with it " + optionsSource + ": mend it before the upgrade.",
				set:     []Arg{{Name: b.prefix + GroupVersion, Value: "audit.k8s.io/v1"}},
			})
		}
	}
}

// modes is when events are written, and what happens to those that cannot be.
func (a *advisor) modes() {
	for _, b := range a.backends() {
		switch b.Mode {
		case Batch:
			a.batch(b)
		case BlockingStrict:
			a.strict(b)
		case Blocking:
			if b.word == "log" {
				a.add(advice{
					name: "blocking-ignores-errors", severity: finding.Note, at: b.prefix + Mode,
					message: "an event that cannot be written is lost, and its request goes on",
					reason:  "Mode blocking waits for the write and passes over its error: on a full disk the API server works on unrecorded. Watch apiserver_audit_error_total, or see blocking-strict " + optionsSource + ".",
				})
			}
		}
		if b.word == "webhook" && (b.Mode == Blocking || b.Mode == BlockingStrict) {
			a.add(advice{
				name: "webhook-blocking", severity: finding.Warning, at: b.prefix + Mode,
				message: fmt.Sprintf("every request waits for the webhook, up to %s when it does not answer", a.patience()),
				reason:  "Each event is sent by itself, up to 5 times of 30 s, and the request waits (k8s.io/apiserver pkg/util/webhook). A slow receiver slows the whole cluster; a dead one stops it.",
				set:     []Arg{{Name: b.prefix + Mode, Value: Batch}},
			})
		}
	}
}

// least is the shortest wait that is no busy loop: below it the batch loop wakes
// more than a thousand times a second.
const least = time.Millisecond

func (a *advisor) batch(b backend) {
	if b.BatchSize > 1 && b.BatchWait < least {
		a.add(advice{
			name: "busy-loop", severity: finding.Error, at: b.prefix + BatchSize,
			message: fmt.Sprintf("an idle API server burns a whole core: batches of %s and a wait of %s", number(b.BatchSize), b.BatchWait),
			reason:  "The batch loop's timer has always run out, so it never sleeps (k8s.io/apiserver plugin/pkg/audit/buffered). Measured with 1.37.2: 98 to 100 % of a core, against 1 % with a wait of 5s.",
			set:     []Arg{{Name: b.prefix + BatchWait, Value: "5s"}},
		})
	}
	if b.word == "log" {
		a.add(advice{
			name: "batch-log", severity: finding.Note, at: b.prefix + Mode,
			message: fmt.Sprintf("up to %s events are lost when the API server is killed", number(b.BufferSize)),
			reason:  "In batch mode events wait in memory, and are dropped when the buffer is full. The API server's own source says that batching is not useful for a file; mode blocking writes each event before its request is answered " + optionsSource + ".",
			fix:     "--" + b.prefix + Mode + "=" + Blocking,
		})
	}
}

// strict checks that blocking-strict has something to be strict about.
func (a *advisor) strict(b backend) {
	const reason = "A request fails only if its RequestReceived event cannot be written (k8s.io/apiserver pkg/endpoints/filters/audit.go). Where that stage is omitted nothing is written first, and the errors of later stages are passed over."
	if a.o.Policy == nil {
		a.add(advice{
			name: "strict-not-strict", severity: finding.Note, at: b.prefix + Mode,
			message: "blocking-strict is strict only where the policy does not omit the stage RequestReceived",
			reason:  reason,
		})
		return
	}
	where := ""
	if a.o.Policy.OmitStages&policy.RequestReceived != 0 {
		where = "the policy omits it for all rules"
	} else {
		var lines []string
		for i, r := range a.o.Policy.Rules {
			if r.Level > policy.None && r.OmitStages&policy.RequestReceived != 0 {
				lines = append(lines, fmt.Sprintf("%d (line %d)", i+1, r.Line))
			}
		}
		if len(lines) == 0 {
			return
		}
		if len(lines) > 5 {
			lines = append(lines[:5], fmt.Sprintf("and %d more", len(lines)-5))
		}
		where = "rules " + strings.Join(lines, ", ") + " omit it"
		if len(lines) == 1 {
			where = "rule " + lines[0] + " omits it"
		}
	}
	a.add(advice{
		name: "strict-not-strict", severity: finding.Warning, at: b.prefix + Mode,
		message: "blocking-strict is not strict: it needs the stage RequestReceived, and " + where,
		reason:  reason,
		fix:     "omitStages: []",
	})
}

// truncation is what becomes of large events.
func (a *advisor) truncation() {
	bodies, known := a.bodies()
	for _, b := range a.backends() {
		largest := a.o.Rate.LargestEvent
		switch {
		case b.Truncate && largest > b.MaxEventSize:
			event := powerOfTwo(largest)
			set := []Arg{{Name: b.prefix + MaxEventSize, Value: fmt.Sprint(event)}}
			if b.MaxBatchSize < event {
				set = append(set, Arg{Name: b.prefix + MaxBatchSize, Value: fmt.Sprint(event)})
			}
			a.add(advice{
				name: "truncate-drops-bodies", severity: finding.Warning, at: b.prefix + MaxEventSize,
				message: fmt.Sprintf("events above %s lose their bodies, and the log has one of %s", size(b.MaxEventSize), size(largest)),
				reason:  truncateReason,
				set:     set,
			})
		case b.Truncate && (bodies || !known):
			a.add(advice{
				name: "truncate-drops-bodies", severity: finding.Note, at: b.prefix + Truncate,
				message: fmt.Sprintf("events above %s lose their request and response bodies", size(b.MaxEventSize)),
				reason:  truncateReason,
			})
		case !b.Truncate && b.word == "webhook" && (bodies || !known):
			f := advice{
				name: "webhook-not-truncated", severity: finding.Note, at: WebhookConfig,
				message: "nothing limits what the webhook sends at once",
				reason: fmt.Sprintf("An object may have 1.5 MB (etcd), an event with both bodies twice that, a list at RequestResponse any size, and a batch has %s events. "+
					"A receiver that refuses a large body costs the whole batch, after 5 tries.", number(b.BatchSize)),
			}
			if known {
				f.severity = finding.Warning
			}
			event := max(1<<20, powerOfTwo(largest))
			f.set = []Arg{{Name: b.prefix + Truncate, Value: "true"}, {Name: b.prefix + MaxEventSize, Value: fmt.Sprint(event)}}
			if b.MaxBatchSize < event {
				f.set = append(f.set, Arg{Name: b.prefix + MaxBatchSize, Value: fmt.Sprint(event)})
			}
			a.add(f)
		}
	}
}

const truncateReason = "Both bodies go at once and the annotation audit.k8s.io/truncated is set; what is still too large, as with a very long URL, is dropped whole (k8s.io/apiserver plugin/pkg/audit/truncate)."

// powerOfTwo is the least power of two that is not below n.
func powerOfTwo(n int64) int64 {
	p := int64(1)
	for p < n && p < 1<<60 {
		p <<= 1
	}
	return p
}
