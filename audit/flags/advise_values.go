package flags

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/internal/nearest"
)

// where the API server's rules stand.
const (
	optionsSource = "(k8s.io/apiserver pkg/server/options/audit.go)"
	dies          = "The API server does not start. "
)

// meant are flags of the wild that no version has, and what to write instead; ""
// is to leave it out.
func meant(name string) (string, bool) {
	m := map[string]string{
		"audit-log-initial-backoff": "", // only the webhook tries again
		"audit-log-max-age":         LogMaxAge, "audit-log-max-backup": LogMaxBackup, "audit-log-max-backups": LogMaxBackup,
		"audit-log-maxbackups": LogMaxBackup, "audit-log-max-size": LogMaxSize,
		"audit-policy": PolicyFile, "audit-policy-path": PolicyFile, "audit-log-policy-file": PolicyFile,
		"audit-log-file": LogPath, "audit-log": LogPath, "audit-log-dir": "", "audit-enabled": "",
		"audit-webhook-config": WebhookConfig, "audit-webhook-kubeconfig": WebhookConfig,
	}
	to, ok := m[name]
	return to, ok
}

// values looks at each flag by itself.
func (a *advisor) values() {
	for _, r := range Validate(a.all, a.s.Version) {
		a.bad[r.Arg.Name] = true
		f, ok := Lookup(r.Arg.Name)
		switch {
		case !ok:
			a.unknown(r.Arg)
		case !f.In(a.s.Version):
			a.otherVersion(r.Arg, f)
		default:
			a.add(advice{
				name: "refused-value", severity: finding.Error, at: r.Arg.Name,
				message: r.Error(),
				reason:  dies + "Its rule: " + r.Reason + " " + optionsSource + ".",
				set:     a.repair(r.Arg, f),
			})
		}
	}
	seen := map[string]Arg{}
	for _, arg := range a.args {
		was, ok := seen[arg.Name]
		// What a platform sets by itself stands nowhere, and is there to be overridden.
		if implied := was.Line == 0 && arg.Line > 0; ok && !implied && !a.bad[arg.Name] {
			last, _ := Last(a.args, arg.Name)
			a.add(advice{
				name: "repeated-flag", severity: finding.Warning, at: arg.Name,
				message: fmt.Sprintf("--%s stands twice: %q counts, not %q", arg.Name, last.Value, was.Value),
				reason:  "The API server takes the last of several and does not say so.",
				set:     []Arg{{Name: arg.Name, Value: last.Value}},
			})
		}
		seen[arg.Name] = arg
	}
	if arg, ok := Last(a.args, oldBackoff); ok && !a.bad[oldBackoff] {
		a.add(advice{
			name: "deprecated-flag", severity: finding.Warning, at: oldBackoff,
			message: "--" + oldBackoff + " is deprecated",
			reason:  "It sets the same as --" + Backoff + " and may go in any version " + optionsSource + ".",
			set:     []Arg{{Name: Backoff, Value: arg.Value}}, unset: []string{oldBackoff},
		})
	}
}

func (a *advisor) unknown(arg Arg) {
	to, known := meant(arg.Name)
	if !known {
		var names []string
		for _, f := range Table() {
			if f.In(a.s.Version) && f.Deprecated == "" {
				names = append(names, f.Name)
			}
		}
		to = nearest.Name(arg.Name, names)
	}
	f := advice{
		name: "unknown-flag", severity: finding.Error, at: arg.Name,
		message: "there is no flag --" + arg.Name,
		reason:  dies + "No version of kube-apiserver has this flag " + optionsSource + ".",
		unset:   []string{arg.Name},
	}
	switch {
	case to != "":
		f.message += ": did you mean --" + to + "?"
		if !a.given(to) {
			f.set = []Arg{{Name: to, Value: arg.Value}}
		}
	case arg.Name == "audit-log-initial-backoff":
		f.message += ": only the webhook tries again, with --" + Backoff
	}
	a.add(f)
}

func (a *advisor) otherVersion(arg Arg, f Flag) {
	v := a.s.Version
	out := advice{severity: finding.Error, at: arg.Name, unset: []string{arg.Name}}
	if v.Before(f.Since) {
		out.name = "too-new-flag"
		out.message = fmt.Sprintf("--%s is not there yet in Kubernetes %s: it came with %s", arg.Name, v, f.Since)
	} else {
		out.name = "removed-flag"
		out.message = fmt.Sprintf("--%s is gone since Kubernetes %s", arg.Name, f.Until)
	}
	out.reason = dies + "It ends at a flag that it does not know."
	a.add(out)
}

// repair is the nearest value that is taken.
func (a *advisor) repair(arg Arg, f Flag) []Arg {
	to := func(v string) []Arg { return []Arg{{Name: f.Name, Value: v}} }
	digits := strings.TrimRight(strings.TrimSpace(arg.Value), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit := strings.TrimPrefix(strings.TrimSpace(arg.Value), digits)
	n, err := strconv.ParseInt(digits, 10, 32)
	switch {
	case f.Name == dynamic:
		return to("false")
	case f.Type == Duration && err == nil && digits == arg.Value:
		return to((time.Duration(n) * time.Second).String())
	case (f.Type == Int || f.Type == Int64) && err == nil && n > 0 && digits != arg.Value:
		return to(strconv.FormatInt(n*scale(unit, f.Unit), 10)) // 30d, 100MB
	}
	for _, c := range a.recommended() {
		if c.Name == f.Name {
			return to(c.Value)
		}
	}
	switch f.Name {
	case LogPrefix + ThrottleQPS, LogPrefix + ThrottleBurst:
		if readable(f.Type, arg.Value) == nil {
			return []Arg{{Name: LogPrefix + ThrottleEnable, Value: "false"}} // a file needs no throttle
		}
	case LogPrefix + MaxBatchSize:
		return to(strconv.FormatInt(max(10485760, a.s.Log.MaxEventSize), 10))
	case WebhookPrefix + MaxBatchSize:
		return to(strconv.FormatInt(max(10485760, a.s.Webhook.MaxEventSize), 10))
	}
	return to(f.Default(a.s.Version))
}

// scale is what a number with a unit behind it, such as 10MB, is multiplied by
// to count in a flag's own unit.
func scale(unit, own string) int64 {
	powers := map[byte]int64{'k': 1, 'm': 2, 'g': 3}
	power := int64(0)
	if unit = strings.TrimSpace(unit); unit != "" {
		power = powers[unit[0]|0x20] // in lower case
	}
	switch own {
	case "MB":
		power -= 2
	case "bytes":
	default:
		return 1
	}
	factor := int64(1)
	for range power {
		factor *= 1024
	}
	return factor
}

// ignored finds flags that do nothing as things stand.
func (a *advisor) ignored() {
	why := map[string]string{}
	for _, arg := range a.args {
		if a.bad[arg.Name] || why[arg.Name] != "" {
			continue
		}
		if reason := a.whyIgnored(arg.Name); reason != "" {
			why[arg.Name] = reason
			a.add(advice{
				name: "ignored-flag", severity: finding.Note, at: arg.Name,
				message: "--" + arg.Name + " does nothing: " + reason,
				reason:  "The API server takes it and never looks at it " + optionsSource + ".",
				unset:   []string{arg.Name},
			})
		}
	}
}

func (a *advisor) whyIgnored(name string) string {
	prefix, b, on, switchedBy := LogPrefix, a.s.Log.Backend, a.s.Log.On(), LogPath
	if strings.HasPrefix(name, WebhookPrefix) {
		prefix, b, on, switchedBy = WebhookPrefix, a.s.Webhook.Backend, a.s.Webhook.On(), WebhookConfig
	}
	rest, ok := strings.CutPrefix(name, prefix)
	switch {
	case !ok || name == switchedBy || name == oldBackoff:
	case !on:
		return "--" + switchedBy + " is not given"
	case strings.HasPrefix(rest, "batch-") && b.Mode != Batch:
		return "the mode is " + b.Mode + ", not batch"
	case rest == BatchWait && b.BatchSize == 1:
		return "a batch of one event does not wait"
	case (rest == ThrottleQPS || rest == ThrottleBurst) && !b.Throttle:
		return "throttling is off"
	case (rest == MaxEventSize || rest == MaxBatchSize) && !b.Truncate:
		return "truncation is off"
	case a.s.Log.Path == "-" && (name == LogMaxAge || name == LogMaxBackup || name == LogMaxSize || name == LogCompress):
		return "standard output is not rotated"
	}
	return ""
}
