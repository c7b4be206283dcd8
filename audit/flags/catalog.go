package flags

import "github.com/ktrail/ktrail/audit/finding"

// Rules are the kinds of findings that Advise has, each with the worst severity
// that it comes with. docs/advise.md has a section for each.
func Rules() []finding.Rule {
	rule := func(name string, s finding.Severity, short, help string) finding.Rule {
		return finding.Rule{Name: name, Severity: s, Short: short, Help: help, Doc: Doc + "#" + name}
	}
	const e, w, n = finding.Error, finding.Warning, finding.Note
	return []finding.Rule{
		rule("unknown-flag", e, "A flag that no version has.", "Write the flag that was meant, or leave it out."),
		rule("removed-flag", e, "A flag that the version no longer has.", "Leave it out."),
		rule("too-new-flag", e, "A flag that the version does not have yet.", "Leave it out until the upgrade."),
		rule("refused-value", e, "A value that the API server refuses.", "Write a value that its rule allows."),
		rule("repeated-flag", w, "A flag that stands more than once.", "Keep the one that is meant; the last one counts."),
		rule("deprecated-flag", w, "A flag with a newer name.", "Use the newer name."),
		rule("ignored-flag", n, "A flag that does nothing as things stand.", "Leave it out, or give the flag that it depends on."),

		rule("audit-off", w, "Neither a policy nor a back end is given.", "Give a policy and a log."),
		rule("no-policy", e, "A back end without a policy: nothing is recorded.", "Give --audit-policy-file."),
		rule("no-backend", e, "A policy without a back end: nothing is recorded.", "Give --audit-log-path."),
		rule("policy-records-nothing", e, "Every rule of the policy has level None.", "Use a policy that records."),
		rule("stdout-log", w, "The log goes to standard output.", "Give a file in a mounted directory."),
		rule("relative-path", w, "A path that does not begin with a slash.", "Give an absolute path."),
		rule("legacy-format", w, "The log is text without bodies, not JSON.", "Leave --audit-log-format at json."),
		rule("old-event-version", w, "Events of a version that Kubernetes 1.24 refuses.", "Use audit.k8s.io/v1."),

		rule("busy-loop", e, "Batches without a wait: an idle API server burns a core.", "Give a batch-max-wait, such as 5s."),
		rule("batch-log", n, "The log is written from memory, later.", "Use mode blocking for a file."),
		rule("blocking-ignores-errors", n, "Mode blocking passes over failed writes.", "Watch apiserver_audit_error_total."),
		rule("strict-not-strict", w, "blocking-strict with the stage RequestReceived omitted.", "Do not omit RequestReceived in the policy."),
		rule("webhook-blocking", w, "Every request waits for the webhook.", "Use mode batch for the webhook."),

		rule("truncate-drops-bodies", w, "Large events lose their bodies.", "Raise the maximum, or record smaller objects."),
		rule("webhook-not-truncated", w, "Nothing limits what the webhook sends at once.", "Turn truncation on for the webhook."),

		rule("retention-cis", w, "Less is kept than the CIS benchmark asks for.", "Keep 30 days, 10 files of 100 MB."),
		rule("no-rotation", w, "The log is never rotated.", "Give a --audit-log-maxsize above 0."),
		rule("unbounded-disk", w, "Nothing limits the disk that rotated logs take.", "Give --audit-log-maxbackup."),
		rule("disk-use", n, "What the log takes on disk at most.", "Compress it, or keep fewer files."),
		rule("disk-full", w, "The log may take more than the disk has.", "Compress it, keep fewer files, or give it a larger disk."),
		rule("retention-short", w, "The log is full before its time.", "Keep more files, or collect the log elsewhere."),

		rule("throttle-drops", w, "The throttle lets less through than comes.", "Raise the throttle, or turn it off for the log."),
		rule("write-limit", w, "More events come than one core writes.", "Record less."),
		rule("buffer-drops", w, "Bursts overrun the buffer.", "Raise the buffer's size."),
		rule("buffer-memory", w, "What a full buffer takes of memory.", "Keep the buffer as small as the bursts allow."),

		rule("webhook-outage", w, "What becomes of events while the receiver is away.", "Keep a log beside the webhook."),
		rule("webhook-plaintext", w, "Events are sent in clear text.", "Use https."),
		rule("webhook-insecure", w, "The receiver's certificate is not checked.", "Give its certificate authority."),

		rule("log-not-mounted", e, "The log stays in the container.", "Mount its directory."),
		rule("log-file-mounted", e, "The log's file is mounted, and cannot be rotated.", "Mount its directory."),
		rule("log-mount-read-only", e, "The log's mount is read-only.", "Mount it writable."),
		rule("policy-not-mounted", e, "The API server cannot read its policy.", "Mount the policy."),
		rule("webhook-not-mounted", e, "The API server cannot read the webhook's kubeconfig.", "Mount the kubeconfig."),
		rule("made-empty", w, "A missing file is made as an empty one.", "Use type File."),
		rule("mount-writable", n, "A file that is only read is mounted writable.", "Mount it read-only."),
	}
}
