package lint

import (
	"slices"

	"github.com/ktrail/ktrail/audit/finding"
)

// page explains every kind of finding under an anchor of its name.
const page = "docs/policy.md#"

// kinds are all findings of this package, in the order of docs/policy.md. The
// tests hold that each has a policy that it is found in, one that it is not found
// in, and its anchor.
var kinds = []finding.Rule{
	kind("invalid-yaml", finding.Error, "The text is no policy that can be read.", "The API server does not start with a policy file that it cannot read."),
	kind("invalid-policy", finding.Error, "A field has a value that it cannot have.", "The API server does not start with such a policy."),
	kind("invalid-level", finding.Error, "A rule has no level, or one that does not exist.", "The API server does not start with such a policy. Levels are None, Metadata, Request and RequestResponse."),
	kind("invalid-stage", finding.Error, "omitStages names a stage that does not exist.", "The API server does not start with such a policy. Stages are RequestReceived, ResponseStarted, ResponseComplete and Panic."),
	kind("invalid-group", finding.Error, "A group is no API group.", "The API server does not start with such a policy. A group is written without its version; the core group, of pods and secrets, is \"\"."),
	kind("invalid-url", finding.Error, "A non-resource URL is none, or stands beside resources.", "The API server does not start with such a policy. A URL begins with / and has a * at its end only; a rule is for URLs or for resources."),
	kind("group-wildcard", finding.Error, `Group "*" is new in Kubernetes 1.36.`, "Before 1.36 the API server does not start with such a policy."),

	kind("unknown-key", finding.Warning, "A key that the API server does not know.", "The API server logs one warning at its start and ignores the key. A rule that lost a condition matches more than was meant."),
	kind("duplicate-key", finding.Warning, "A key stands twice.", "The API server logs one warning at its start; the last one counts, the others are ignored."),
	kind("empty-list", finding.Warning, "An empty list matches everything.", "The API server reads an empty list as if the key were not there: the rule matches every value, not none."),
	kind("duplicate-value", finding.Warning, "A value stands twice in a list.", "The second one changes nothing; most likely another value was meant."),

	kind("wildcard-ignored", finding.Warning, "A * where it is no wildcard.", "Users, groups, verbs, namespaces and resource names are compared letter by letter. To match all of them leave the key out."),
	kind("resource-wildcard", finding.Warning, "A pattern of resources that matches nothing.", "The patterns are * (every resource and subresource), */SUB and RESOURCE/*; a * anywhere else is compared letter by letter, and */* matches nothing at all."),
	kind("subresource-wildcard", finding.Warning, "RESOURCE/* matches the resource itself too.", "The API server takes pods/* for pods and all its subresources, so the rule also decides about the pods themselves."),
	kind("group-in-users", finding.Warning, "A group among the users.", "The names in users are compared with the user's name, those in userGroups with the groups. No user has that name."),
	kind("user-in-groups", finding.Warning, "A user among the groups.", "The names in userGroups are compared with the user's groups, those in users with the name. There is no such group."),
	kind("unknown-identity", finding.Warning, "A name of Kubernetes' own that does not exist.", "Names that begin with system: are Kubernetes' own, and there is none like this: the rule does not match the requests that were meant."),
	kind("unknown-verb", finding.Warning, "A verb that no request has.", "Verbs are compared letter by letter. Those of resources are get, list, watch, create, update, patch, delete and deletecollection; those of other URLs are HTTP methods in lower case."),
	kind("mixed-verb", finding.Warning, "A verb of the other kind of request.", "Requests for resources have the verbs get, list, watch, create, update, patch, delete and deletecollection; requests for other URLs have the HTTP method in lower case. A rule with resources or namespaces sees the first kind only, one with nonResourceURLs the second."),
	kind("unknown-group", finding.Warning, "An API group that Kubernetes does not have.", "The rule does not match the requests that were meant."),
	kind("unknown-resource", finding.Warning, "A resource that its group does not have.", "Resources are compared letter by letter with what stands in the URL: the plural, in lower case."),
	kind("unknown-subresource", finding.Warning, "A subresource that its resource does not have.", "The rule does not match the requests that were meant."),
	kind("wrong-group", finding.Warning, "A resource that is in another group.", "A resource is compared together with its group, so the rule does not match the requests that were meant."),
	kind("removed-resource", finding.Warning, "A resource that was removed from Kubernetes.", "The rule matches nothing but failed requests."),
	kind("names-on-create", finding.Warning, "resourceNames together with create.", "The name is taken from the URL, and a create has none there: it is in the body. Requests that create, or delete a collection, never match a resourceNames."),
	kind("url-never-matches", finding.Warning, "A URL that no non-resource request has.", "nonResourceURLs are compared with the path of requests that are not for resources: without host and query. Paths below /api/v1 and /apis/GROUP/VERSION are resources, whatever the URL says."),
	kind("exec-verbs", finding.Warning, "exec, attach or portforward with the verb create only.", "kubectl 1.31 and later open these over WebSocket, which begins with a GET: the verb is get. With create alone the rule misses every exec of a current kubectl."),
	kind("events-in-two-groups", finding.Note, "Events of one of their two groups.", "Events are served by the core group and by events.k8s.io; the scheduler and other components write to the second. The same events through the other group are decided by another rule."),

	kind("never-matches", finding.Warning, "A rule that can match no request.", "What was meant to be decided here is decided by a later rule, or not recorded."),
	kind("shadowed", finding.Warning, "A rule that earlier rules leave nothing.", "The first rule that matches decides, and for every request that this rule would match an earlier one does."),
	kind("no-catch-all", finding.Warning, "Requests that no rule matches are not recorded.", "A request that no rule matches is not recorded at all: what nobody thought of, a new resource or a custom one, leaves no trace."),
	kind("records-nothing", finding.Warning, "The policy records nothing.", "Every rule that can match has the level None; the API server starts, and the log stays empty."),

	kind("response-started-omitted", finding.Warning, "Failed logins are hidden.", "A request that fails to authenticate (401) has the stage ResponseStarted only. Leaving that stage out hides it: attempts with wrong or expired credentials leave no trace."),
	kind("request-received-omitted", finding.Warning, "blocking-strict without RequestReceived is not strict.", "In the mode blocking-strict a request fails only if its RequestReceived event cannot be written. Without that stage requests go on while nothing is recorded."),
	kind("response-complete-omitted", finding.Warning, "The outcome of requests is not recorded.", "Only the stage ResponseComplete has the response's code and body; without it one sees that something was tried, not whether it was allowed."),
	kind("all-stages-omitted", finding.Warning, "All stages of ordinary requests are omitted.", "The stages that the policy and the rule omit add up. Without RequestReceived and ResponseComplete an ordinary request leaves no event, whatever the level."),

	kind("secret-bodies", finding.Warning, "The content of Secrets is recorded.", "From Request on the log holds what is written to a Secret, with RequestResponse also what is read: whoever reads the log, its backups or the system it is sent to has every password."),
	kind("configmap-bodies", finding.Warning, "The content of ConfigMaps is recorded.", "ConfigMaps hold passwords often enough, and large files: the log has both."),
	kind("token-review-bodies", finding.Warning, "Tokens under review are recorded.", "A TokenReview carries a bearer token in its body: from Request on the log holds tokens that whoever reads it can use."),
	kind("token-request-bodies", finding.Warning, "New service account tokens are recorded.", "The answer to serviceaccounts/token is a token: with RequestResponse the log holds tokens that whoever reads it can use."),
	kind("watch-bodies", finding.Warning, "Watches at Request or above.", "A watch has no body, and what it streams is never recorded: its events hold no more than at Metadata, though the policy promises it."),
	kind("node-heartbeats", finding.Warning, "Node heartbeats with their bodies.", "Each kubelet renews its lease every 10 seconds and its status every 5 minutes: most of the log becomes their bodies, which say nothing about people."),

	kind("bad-allow", finding.Warning, "A ktrail comment that cannot be obeyed.", "It is written `# ktrail: allow NAME reason`, at the end of the line or above the line or the rule that it is about. Without a known name and a reason it silences nothing."),
	kind("unused-allow", finding.Warning, "A ktrail comment that silences nothing.", "What it once allowed is no longer found there; the comment would hide it if it came back. Errors cannot be allowed."),
}

func kind(name string, s finding.Severity, short, help string) finding.Rule {
	return finding.Rule{Name: name, Severity: s, Short: short, Help: help, Doc: page + name}
}

// Kinds are all kinds of findings that Check knows.
func Kinds() []finding.Rule { return slices.Clone(kinds) }

func kindOf(name string) finding.Rule {
	return kinds[slices.IndexFunc(kinds, func(k finding.Rule) bool { return k.Name == name })]
}
