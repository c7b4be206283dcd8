package flags

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/policy"
)

// Options are what Advise knows besides the flags. What is not known is zero.
type Options struct {
	// Version is the API server's.
	Version Version
	// File is what findings name as their file.
	File string
	// Policy is what --audit-policy-file holds, loaded.
	Policy *policy.Policy
	// Pod says that the API server runs in a pod, so that Mounts are all it sees
	// of its node.
	Pod    bool
	Mounts []Mount
	// ExtraVolumes says that mounts are written as kubeadm's extraVolumes.
	ExtraVolumes bool
	// Rate is the traffic.
	Rate Rate
	// FreeBytes is what the log's file system may still take, with the log that is there.
	FreeBytes int64
	// WebhookServer is the URL in the webhook's kubeconfig; WebhookInsecure its
	// insecure-skip-tls-verify.
	WebhookServer   string
	WebhookInsecure bool
	// Places are where the platform keeps the policy and the log, as flags, where
	// that is not where [Recommended] has them.
	Places []Arg
	// Allow are the names of findings that are not told and not mended.
	Allow map[string]bool
}

// Mount is what the API server's container sees of its node.
type Mount struct {
	HostPath, MountPath string
	ReadOnly            bool
	Type                string // the hostPath's: File, DirectoryOrCreate, ...
	Line                int
}

// Rate is the traffic of events that the API server records.
type Rate struct {
	// PerSecond are events a second, on average.
	PerSecond float64
	// BusiestSecond and BusiestMinute are the most events of one, 0 if only the
	// average is known.
	BusiestSecond, BusiestMinute int64
	// EventBytes is an event's size as JSON, on average; LargestEvent is the largest's.
	EventBytes, LargestEvent int64
}

// usualEvent is an event's size where it is not known: the mean of 12,000 events
// of a kubeadm control plane with bodies for writes.
const usualEvent = 2100

func (r Rate) eventBytes() int64 {
	if r.EventBytes > 0 {
		return r.EventBytes
	}
	return usualEvent
}

// Doc is the page that explains the findings of flags, one under each anchor.
const Doc = "docs/advise.md"

// Advise says what is wrong with the audit flags in args, which may hold others
// too: what the API server refuses, and what loses events, burns a core or fills
// a disk.
func Advise(args []Arg, o Options) []finding.Finding {
	a := inspect(args, o)
	finding.Sort(a.found)
	return a.found
}

// Fix returns the flags to set and to remove so that Advise finds no error and
// no warning that flags can mend. Notes are left alone.
func Fix(args []Arg, o Options) (set []Arg, unset []string) {
	before := Audit(args)
	after := args
	// A repair can uncover what it hid: a buffer's size is only looked at in batch mode.
	for range 4 {
		a := inspect(after, o)
		if len(a.set) == 0 && len(a.unset) == 0 {
			break
		}
		after = Apply(after, a.set, a.unset)
	}
	after = Audit(after)
	for _, f := range after {
		if was, ok := Last(before, f.Name); !ok || was.Value != f.Value || count(before, f.Name) > 1 {
			set = append(set, Arg{Name: f.Name, Value: f.Value})
		}
	}
	for _, f := range before {
		if _, ok := Last(after, f.Name); !ok && !slices.Contains(unset, f.Name) {
			unset = append(unset, f.Name)
		}
	}
	return set, unset
}

func count(args []Arg, name string) int {
	n := 0
	for _, a := range args {
		if a.Name == name {
			n++
		}
	}
	return n
}

// advisor collects what is found.
type advisor struct {
	o     Options
	s     Settings
	args  []Arg // those of auditing
	all   []Arg
	found []finding.Finding
	set   []Arg
	unset []string
	bad   map[string]bool // flags whose value is refused
}

func inspect(args []Arg, o Options) *advisor {
	s, _ := Read(args, o.Version)
	a := &advisor{o: o, s: s, args: Audit(args), all: args, bad: map[string]bool{}}
	a.values()
	// The rest judges the values as they will be: one that is refused says nothing.
	a.s, _ = Read(Apply(args, a.set, a.unset), o.Version)
	a.ignored()
	a.recording()
	a.modes()
	a.truncation()
	a.retention()
	a.rates()
	a.mounts()
	a.webhook()
	return a
}

// advice is one finding in the making.
type advice struct {
	name     string
	severity finding.Severity
	at       string // the flag that it is about, for its place
	message  string
	reason   string
	fix      string // in place of set, where no flag mends it
	set      []Arg
	unset    []string
}

func (a *advisor) add(f advice) {
	if a.o.Allow[f.name] {
		return
	}
	out := finding.Finding{
		Name: f.name, Severity: f.severity, File: a.o.File, Message: f.message, Reason: f.reason,
		Fix: f.fix, Doc: Doc + "#" + f.name,
	}
	if arg, ok := a.place(f.at); ok {
		out.Line, out.Column = arg.Line, arg.Column
	}
	if out.Fix == "" {
		var lines []string
		for _, arg := range f.set {
			lines = append(lines, arg.String())
		}
		if len(lines) == 0 && len(f.unset) > 0 {
			lines = append(lines, "remove --"+strings.Join(f.unset, ", --"))
		}
		out.Fix = strings.Join(lines, "\n")
	}
	a.found = append(a.found, out)
	if f.severity != finding.Note {
		a.set = append(a.set, f.set...)
		a.unset = append(a.unset, f.unset...)
	}
}

// place is the flag at which a finding is shown: its own, else that which turns
// its back end on.
func (a *advisor) place(name string) (Arg, bool) {
	if name == "" {
		return Arg{}, false
	}
	on := LogPath
	if strings.HasPrefix(name, WebhookPrefix) {
		on = WebhookConfig
	}
	if arg, ok := Last(a.args, name); ok {
		return arg, true
	}
	return Last(a.args, on)
}

// recommended is Recommended with the platform's places.
func (a *advisor) recommended() []Choice {
	choices := Recommended(a.s.Version)
	for i := range choices {
		if at, ok := Last(a.o.Places, choices[i].Name); ok {
			choices[i].Value = at.Value
		}
	}
	return choices
}

// given is whether a flag stands in the arguments.
func (a *advisor) given(name string) bool {
	_, ok := Last(a.args, name)
	return ok
}

// backends are those that are on.
func (a *advisor) backends() []backend {
	var out []backend
	if a.s.Log.On() {
		out = append(out, backend{LogPrefix, "log", a.s.Log.Backend})
	}
	if a.s.Webhook.On() {
		out = append(out, backend{WebhookPrefix, "webhook", a.s.Webhook.Backend})
	}
	return out
}

type backend struct {
	prefix, word string
	Backend
}

// bodies is whether the policy records bodies; known is whether that is known.
func (a *advisor) bodies() (bodies, known bool) {
	if a.o.Policy == nil {
		return false, false
	}
	return slices.ContainsFunc(a.o.Policy.Rules, func(r policy.Rule) bool { return r.Level >= policy.Request }), true
}

// size writes a number of bytes for people, in powers of 1,000.
func size[N int | int64 | float64](n N) string {
	f := float64(n)
	for _, u := range []struct {
		at   float64
		unit string
	}{{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if f >= u.at {
			if f/u.at >= 10 {
				return fmt.Sprintf("%.0f %s", f/u.at, u.unit)
			}
			return fmt.Sprintf("%.1f %s", f/u.at, u.unit)
		}
	}
	return fmt.Sprintf("%.0f bytes", f)
}

// number writes a whole number for people: 12,000.
func number[N int | int64 | float64](n N) string {
	s := fmt.Sprintf("%.0f", float64(n))
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
