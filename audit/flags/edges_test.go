package flags_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/flags"
)

// The last value that is right and the first that is wrong.
func TestEdges(t *testing.T) {
	deep := func(readOnly bool) flags.Options {
		return flags.Options{Pod: true, Mounts: []flags.Mount{
			{HostPath: "/var/log/audit", MountPath: "/var/log/audit/"},
			{HostPath: "/var/log", MountPath: "/var/log", ReadOnly: readOnly},
			{HostPath: "/var/log/audi", MountPath: "/var/log/audi", ReadOnly: true},
			{HostPath: "/p", MountPath: "/p", ReadOnly: true},
		}}
	}
	for _, tt := range []struct {
		args string
		o    flags.Options
		name string
		want finding.Severity // "" is not found
	}{
		{args: batched + "--audit-log-batch-max-size=1", name: "busy-loop"},
		{args: batched + "--audit-log-batch-max-size=2", name: "busy-loop", want: finding.Error},
		{args: batched + "--audit-log-batch-max-size=2 --audit-log-batch-max-wait=1ms", name: "busy-loop"},
		{args: batched + "--audit-log-batch-max-size=2 --audit-log-batch-max-wait=-1s", name: "busy-loop", want: finding.Error},
		{args: hookOn + "--audit-webhook-batch-max-wait=0s", name: "busy-loop", want: finding.Error},
		{args: hookOn + "--audit-webhook-batch-max-wait=0s --audit-webhook-mode=blocking", name: "busy-loop"},

		{args: logOn + "--audit-log-maxage=29", name: "retention-cis", want: finding.Warning},
		{args: logOn + "--audit-log-maxsize=99", name: "retention-cis", want: finding.Warning},
		{args: logOn + "--audit-log-maxage=0", name: "retention-cis", want: finding.Note},
		{args: "--audit-policy-file=/p --audit-log-path=/a", name: "retention-cis", want: finding.Note},
		{args: "--audit-policy-file=/p --audit-log-path=/a", o: at(35), name: "retention-cis", want: finding.Note},
		{args: logOn + "--audit-log-maxbackup=0", name: "unbounded-disk", want: finding.Warning},
		{args: logOn + "--audit-log-maxsize=0", o: at(35), name: "no-rotation", want: finding.Warning},
		{args: "--audit-policy-file=/p --audit-log-path=/a", o: at(35), name: "no-rotation"},

		// 11 files of 100 MiB are 1,153,433,600 bytes, and 80 % of the disk may be taken.
		{args: logOn, o: flags.Options{FreeBytes: 1_441_792_001}, name: "disk-full"},
		{args: logOn, o: flags.Options{FreeBytes: 1_441_791_999}, name: "disk-full", want: finding.Warning},
		{args: logOn + "--audit-log-compress", o: flags.Options{FreeBytes: 1_441_791_999}, name: "disk-full"},
		{args: logOn, o: with(flags.Rate{PerSecond: 1, EventBytes: 444}), name: "retention-short"},
		{args: logOn, o: with(flags.Rate{PerSecond: 1, EventBytes: 446}), name: "retention-short", want: finding.Warning},

		{args: hookOn, o: with(flags.Rate{PerSecond: 4000}), name: "throttle-drops", want: finding.Note},
		{args: hookOn, o: with(flags.Rate{PerSecond: 4001}), name: "throttle-drops", want: finding.Warning},
		{args: hookOn + "--audit-webhook-batch-throttle-qps=1", name: "throttle-drops", want: finding.Note},
		{args: hookOn + "--audit-webhook-batch-throttle-qps=0.9", name: "throttle-drops", want: finding.Warning},
		{args: hookOn + "--audit-webhook-mode=blocking", o: with(flags.Rate{PerSecond: 9000}), name: "throttle-drops"},
		// A second takes 4,000 by rate, 6,000 by burst and 10,000 in the buffer.
		{args: hookOn, o: with(flags.Rate{PerSecond: 1, BusiestSecond: 20000}), name: "buffer-drops"},
		{args: hookOn, o: with(flags.Rate{PerSecond: 1, BusiestSecond: 20001}), name: "buffer-drops", want: finding.Warning},
		{args: hookOn, o: with(flags.Rate{PerSecond: 1, BusiestMinute: 256001}), name: "buffer-drops", want: finding.Warning},
		{args: hookOn, o: with(flags.Rate{LargestEvent: 102400}), name: "truncate-drops-bodies", want: finding.Note},
		{args: hookOn, o: with(flags.Rate{LargestEvent: 102401}), name: "truncate-drops-bodies", want: finding.Warning},

		// The deepest mount counts, and /var/log/audi is no directory above /var/log/audit.
		{args: logOn, o: deep(true), name: "log-mount-read-only"},
		{args: strings.Replace(logOn, "/var/log/audit/", "/var/log/", 1), o: deep(true), name: "log-mount-read-only", want: finding.Error},
		{args: strings.Replace(logOn, "/var/log/audit/", "/var/", 1), o: deep(true), name: "log-not-mounted", want: finding.Error},
		{args: logOn, o: flags.Options{}, name: "log-not-mounted"},
		{args: hookOn + "--audit-log-path=", name: "webhook-outage", want: finding.Warning},
		{args: hookOn, name: "webhook-outage", want: finding.Note},
	} {
		found := named(flags.Advise(flags.Parse(strings.Fields(tt.args)), tt.o), tt.name)
		var got finding.Severity
		if len(found) > 0 {
			got = found[0].Severity
		}
		if got != tt.want {
			t.Errorf("%s %+v: %s is %q, want %q", tt.args, tt.o, tt.name, got, tt.want)
		}
	}
}

// The numbers that a message gives.
func TestNumbers(t *testing.T) {
	for _, tt := range []struct {
		args, name, want string
		o                flags.Options
	}{
		{args: hookOn, name: "webhook-outage", want: "within 3m51s"}, // 10 + 15 + 22.5 + 33.75 s of backoff, 5 of 30 s
		{args: hookOn + "--audit-webhook-initial-backoff=0s", name: "webhook-outage", want: "within 2m30s"},
		{args: logOn, name: "retention-short", want: "holds 26 hours, not 30 days", o: with(flags.Rate{PerSecond: 6, EventBytes: 2000})},
		{args: logOn + "--audit-log-maxage=7", name: "retention-short", want: "not 7 days", o: with(flags.Rate{PerSecond: 6, EventBytes: 2000})},
		{args: batched, name: "write-limit", want: "one core writes about 57,416", o: with(flags.Rate{PerSecond: 60000, EventBytes: 1000})},
		{args: logOn + "--audit-log-maxbackup=0", name: "unbounded-disk", want: "31 GB at this rate", o: with(flags.Rate{PerSecond: 6, EventBytes: 2000})},
	} {
		found := named(flags.Advise(flags.Parse(strings.Fields(tt.args)), tt.o), tt.name)
		if len(found) == 0 || !strings.Contains(found[0].Message+found[0].Reason, tt.want) {
			t.Errorf("%s: %s: %+v, want %q", tt.args, tt.name, found, tt.want)
		}
	}
}

// Of three the last counts, not the second; and a flag that scanners look for is
// told of in versions whose default keeps files for ever.
func TestWhatCounts(t *testing.T) {
	for args, want := range map[string]string{
		logOn + "--audit-log-maxage=20 --audit-log-maxage=40":                                           `--audit-log-maxage stands twice: "40" counts, not "30"`,
		"--audit-policy-file=/p --audit-log-path=/a/b --audit-log-maxbackup=10 --audit-log-maxsize=100": "--audit-log-maxage is not given",
		"--audit-policy-file=/p --audit-log-path=/a/b --audit-log-maxbackup=10 --audit-log-maxage=30":   "--audit-log-maxsize is not given",
		logOn + "--audit-log-maxage=0": "--audit-log-maxage is 0",
	} {
		found := flags.Advise(flags.Parse(strings.Fields(args)), at(33))
		if !slices.ContainsFunc(found, func(f finding.Finding) bool { return strings.HasPrefix(f.Message, want) }) {
			t.Errorf("%s: nothing begins with %q: %+v", args, want, found)
		}
	}
}

func TestNoBetterPlaceThanStandardOutput(t *testing.T) {
	o := flags.Options{Places: []flags.Arg{{Name: flags.LogPath, Value: "-"}}}
	found := named(flags.Advise(flags.Parse([]string{"--audit-policy-file=/p", "--audit-log-path=-"}), o), "stdout-log")
	if len(found) != 1 || found[0].Severity != finding.Note || found[0].Fix != "" {
		t.Errorf("%+v", found)
	}
}
