package flags_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/internal/golden"
)

// try is a command line with what is known beside it.
type try struct {
	args string
	o    flags.Options
}

const (
	logOn   = "--audit-policy-file=/p --audit-log-path=/var/log/audit/audit.log --audit-log-maxage=30 --audit-log-maxbackup=10 --audit-log-maxsize=100 "
	hookOn  = logOn + "--audit-webhook-config-file=/w --audit-webhook-truncate-enabled=true "
	batched = logOn + "--audit-log-mode=batch "
)

func at(minor int) flags.Options {
	return flags.Options{Version: flags.Version{Major: 1, Minor: minor}}
}

func with(r flags.Rate) flags.Options { return flags.Options{Rate: r} }

func rules(rs ...policy.Rule) flags.Options { return flags.Options{Policy: &policy.Policy{Rules: rs}} }

func pod(ms ...flags.Mount) flags.Options {
	dir := flags.Mount{HostPath: "/var/log/audit", MountPath: "/var/log/audit", Type: "DirectoryOrCreate"}
	file := flags.Mount{HostPath: "/p", MountPath: "/p", ReadOnly: true, Type: "File"}
	for _, m := range ms {
		switch {
		case m.MountPath == "/p", m.MountPath == "no policy":
			file = m
		case strings.HasPrefix(m.MountPath, "/var/log"), m.MountPath == "no log":
			dir = m
		}
	}
	return flags.Options{Pod: true, Mounts: append(ms, dir, file)}
}

// cases are one bad and one good input for every kind of finding.
func cases() map[string][2]try {
	rate := flags.Rate{PerSecond: 5, EventBytes: 2000}
	return map[string][2]try{
		"unknown-flag":            {{args: logOn + "--audit-log-max-age=30"}, {args: logOn}},
		"removed-flag":            {{logOn + "--audit-dynamic-configuration=true", at(19)}, {logOn + "--audit-dynamic-configuration=false", at(18)}},
		"too-new-flag":            {{logOn + "--audit-log-compress", at(19)}, {logOn + "--audit-log-compress", at(20)}},
		"refused-value":           {{args: logOn + "--audit-log-truncate-max-batch-size=100MB"}, {args: logOn + "--audit-log-truncate-max-batch-size=104857600"}},
		"repeated-flag":           {{args: logOn + "--audit-log-maxage=60"}, {args: logOn}},
		"deprecated-flag":         {{args: hookOn + "--audit-webhook-batch-initial-backoff=5s"}, {args: hookOn + "--audit-webhook-initial-backoff=5s"}},
		"ignored-flag":            {{args: logOn + "--audit-log-batch-buffer-size=5000"}, {args: batched + "--audit-log-batch-buffer-size=5000"}},
		"audit-off":               {{args: "--etcd-servers=x"}, {args: logOn}},
		"no-policy":               {{args: "--audit-log-path=/var/log/audit/audit.log"}, {args: logOn}},
		"no-backend":              {{args: "--audit-policy-file=/p"}, {args: logOn}},
		"policy-records-nothing":  {{logOn, rules(policy.Rule{Level: policy.None})}, {logOn, rules(policy.Rule{Level: policy.None}, policy.Rule{Level: policy.Metadata})}},
		"stdout-log":              {{args: "--audit-policy-file=/p --audit-log-path=-"}, {args: logOn}},
		"relative-path":           {{args: logOn + "--audit-policy-file=policy.yaml"}, {args: logOn}},
		"legacy-format":           {{args: logOn + "--audit-log-format=legacy"}, {args: logOn + "--audit-log-format=json"}},
		"old-event-version":       {{logOn + "--audit-log-version=audit.k8s.io/v1beta1", at(23)}, {logOn + "--audit-log-version=audit.k8s.io/v1", at(23)}},
		"busy-loop":               {{args: batched + "--audit-log-batch-max-size=5"}, {args: batched + "--audit-log-batch-max-size=5 --audit-log-batch-max-wait=5s"}},
		"batch-log":               {{args: batched}, {args: logOn + "--audit-log-mode=blocking"}},
		"blocking-ignores-errors": {{args: logOn}, {logOn + "--audit-log-mode=blocking-strict", rules(policy.Rule{Level: policy.Metadata})}},
		"strict-not-strict": {
			{logOn + "--audit-log-mode=blocking-strict", rules(policy.Rule{Level: policy.Metadata, OmitStages: policy.RequestReceived, Line: 7})},
			{logOn + "--audit-log-mode=blocking-strict", rules(policy.Rule{Level: policy.Metadata}, policy.Rule{Level: policy.None, OmitStages: policy.RequestReceived})},
		},
		"webhook-blocking": {{args: hookOn + "--audit-webhook-mode=blocking"}, {args: hookOn}},
		"truncate-drops-bodies": {
			{hookOn, flags.Options{Rate: flags.Rate{LargestEvent: 3 << 20}}},
			{hookOn, rules(policy.Rule{Level: policy.Metadata})},
		},
		"webhook-not-truncated": {{hookOn + "--audit-webhook-truncate-enabled=false", rules(policy.Rule{Level: policy.Request})}, {hookOn + "--audit-webhook-truncate-enabled=false", rules(policy.Rule{Level: policy.Metadata})}},
		"retention-cis":         {{args: logOn + "--audit-log-maxbackup=3"}, {args: logOn}},
		"no-rotation":           {{logOn + "--audit-log-maxsize=0", at(36)}, {logOn, at(36)}},
		"unbounded-disk":        {{"--audit-policy-file=/p --audit-log-path=/a", at(35)}, {logOn, at(35)}},
		"disk-use":              {{args: logOn}, {"--audit-policy-file=/p --audit-log-path=-", flags.Options{}}},
		"disk-full":             {{logOn, flags.Options{FreeBytes: 1e9}}, {logOn, flags.Options{FreeBytes: 10e9}}},
		"retention-short":       {{logOn, with(rate)}, {logOn, with(flags.Rate{PerSecond: 0.1, EventBytes: 2000})}},
		"throttle-drops":        {{hookOn, with(flags.Rate{PerSecond: 5000})}, {args: hookOn + "--audit-webhook-batch-throttle-enable=false"}},
		"write-limit":           {{batched, with(flags.Rate{PerSecond: 40000})}, {batched, with(flags.Rate{PerSecond: 4000})}},
		"buffer-drops":          {{hookOn, with(flags.Rate{PerSecond: 1000, BusiestSecond: 30000, BusiestMinute: 200000})}, {hookOn, with(flags.Rate{PerSecond: 1000, BusiestSecond: 15000, BusiestMinute: 200000})}},
		"buffer-memory":         {{batched + "--audit-log-batch-buffer-size=1000000", flags.Options{}}, {args: logOn}},
		"webhook-outage":        {{args: "--audit-policy-file=/p --audit-webhook-config-file=/w --audit-webhook-truncate-enabled=true"}, {args: logOn}},
		"webhook-plaintext":     {{hookOn, flags.Options{WebhookServer: "http://siem.example:8080/audit"}}, {hookOn, flags.Options{WebhookServer: "https://siem.example/audit"}}},
		"webhook-insecure":      {{hookOn, flags.Options{WebhookServer: "https://siem.example/audit", WebhookInsecure: true}}, {hookOn, flags.Options{WebhookServer: "https://siem.example/audit"}}},
		"log-not-mounted":       {{logOn, pod(flags.Mount{MountPath: "no log"})}, {logOn, pod()}},
		"log-file-mounted":      {{logOn, pod(flags.Mount{HostPath: "/var/log/audit/audit.log", MountPath: "/var/log/audit/audit.log", Type: "FileOrCreate", Line: 31})}, {logOn, pod()}},
		"log-mount-read-only":   {{logOn, pod(flags.Mount{HostPath: "/var/log", MountPath: "/var/log", ReadOnly: true, Line: 31})}, {logOn, pod()}},
		"policy-not-mounted":    {{logOn, pod(flags.Mount{MountPath: "no policy"})}, {logOn, pod()}},
		"webhook-not-mounted":   {{hookOn, pod()}, {hookOn, pod(flags.Mount{HostPath: "/w", MountPath: "/w", ReadOnly: true})}},
		"made-empty":            {{logOn, pod(flags.Mount{HostPath: "/p", MountPath: "/p", ReadOnly: true, Type: "FileOrCreate", Line: 12})}, {logOn, pod()}},
		"mount-writable":        {{logOn, pod(flags.Mount{HostPath: "/p", MountPath: "/p", Type: "File"})}, {logOn, pod()}},
	}
}

func named(fs []finding.Finding, name string) []finding.Finding {
	return slices.DeleteFunc(slices.Clone(fs), func(f finding.Finding) bool { return f.Name != name })
}

// Every kind of finding has a bad input that has it, with a golden, and a good
// one that has not; and no finding is of a kind that the catalog does not have.
func TestEveryFinding(t *testing.T) {
	all := cases()
	var names []string
	severity := map[string]finding.Severity{}
	for _, r := range flags.Rules() {
		if severity[r.Name] != "" || r.Short == "" || r.Help == "" || r.Doc != flags.Doc+"#"+r.Name {
			t.Errorf("rule %s is a second one or lacks something", r.Name)
		}
		names = append(names, r.Name)
		severity[r.Name] = r.Severity
		if _, ok := all[r.Name]; !ok {
			t.Errorf("%s has no bad and good input", r.Name)
		}
	}
	if len(all) != len(names) {
		t.Errorf("%d cases for %d kinds of findings", len(all), len(names))
	}
	var told bytes.Buffer
	for _, name := range names {
		c := all[name]
		bad, good := flags.Parse(strings.Fields(c[0].args)), flags.Parse(strings.Fields(c[1].args))
		c[0].o.File, c[1].o.File = "bad", "good"
		found := flags.Advise(bad, c[0].o)
		mine := named(found, name)
		if len(mine) == 0 {
			t.Errorf("%s: the bad input has it not, but %v", name, found)
			continue
		}
		if mine[0].Severity != severity[name] {
			t.Errorf("%s: severity %s, the catalog says %s", name, mine[0].Severity, severity[name])
		}
		if again := named(flags.Advise(good, c[1].o), name); len(again) > 0 {
			t.Errorf("%s: the good input has it: %+v", name, again[0])
		}
		for _, f := range found {
			if severity[f.Name] == "" || f.Message == "" || f.Reason == "" || f.Doc != flags.Doc+"#"+f.Name || strings.Contains(f.Message, "\n") {
				t.Errorf("%s: finding %+v is unknown or lacks something", name, f)
			}
			if f.Severity == finding.Warning && f.Fix == "" || f.Severity == finding.Error && f.Fix == "" {
				t.Errorf("%s: %s has no fix", name, f.Name)
			}
		}
		set, unset := flags.Fix(bad, c[0].o)
		mended := flags.Apply(bad, set, unset)
		if left := flags.Validate(mended, c[0].o.Version); len(left) > 0 {
			t.Errorf("%s: the mended flags are refused: %v", name, left[0])
		}
		fmt.Fprintf(&told, "== %s\n", name)
		if err := finding.WriteText(&told, mine, finding.TextOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, a := range set {
			fmt.Fprintf(&told, "set %s\n", a)
		}
		for _, u := range unset {
			fmt.Fprintf(&told, "unset %s\n", u)
		}
		told.WriteByte('\n')
	}
	golden.Check(t, "testdata/findings.txt", told.Bytes())
}

// The documentation has a section for every kind of finding, and no other.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../" + flags.Doc)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for line := range strings.Lines(string(page)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "### "); ok {
			have = append(have, name)
		}
	}
	want := []string{"policy-refused", "webhook-refused", "misplaced"} // of internal/advise
	for _, r := range flags.Rules() {
		want = append(want, r.Name)
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("sections %v\nkinds    %v", have, want)
	}
}

// What Fix sets leaves no error and no warning that flags could mend: mending
// twice is mending once.
func FuzzFix(f *testing.F) {
	for _, c := range cases() {
		f.Add(c[0].args, c[0].o.Rate.PerSecond, c[0].o.FreeBytes, uint8(c[0].o.Version.Minor))
	}
	f.Fuzz(func(t *testing.T, line string, rate float64, free int64, minor uint8) {
		o := flags.Options{Version: flags.Version{Major: 1, Minor: int(minor)}, Rate: flags.Rate{PerSecond: min(max(rate, 0), 1e6)}, FreeBytes: max(free, 0)}
		args := flags.Parse(strings.Fields(line))
		set, unset := flags.Fix(args, o)
		mended := flags.Apply(args, set, unset)
		if refused := flags.Validate(mended, o.Version); len(refused) > 0 {
			t.Fatalf("%q mended to %v: %v", line, mended, refused[0])
		}
		if set, unset := flags.Fix(mended, o); len(set)+len(unset) > 0 {
			t.Fatalf("%q mended to %v, and that again: set %v, unset %v", line, mended, set, unset)
		}
	})
}

func TestAllow(t *testing.T) {
	args := flags.Parse(strings.Fields(batched + "--audit-log-batch-max-size=5"))
	o := flags.Options{Allow: map[string]bool{"busy-loop": true}}
	if found := named(flags.Advise(args, o), "busy-loop"); len(found) > 0 {
		t.Errorf("told though it is allowed: %v", found)
	}
	if set, _ := flags.Fix(args, o); len(set) > 0 {
		t.Errorf("mended though it is allowed: %v", set)
	}
}
