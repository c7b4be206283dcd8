// Package policy owns audit policies (audit.k8s.io/v1, kind Policy): it loads
// and validates them as the API server does, decides for a request what is
// recorded, and says why.
//
// The meaning is that of k8s.io/apiserver/pkg/audit/policy, to the letter; the
// tests in compat/ hold both against each other. It reads only what it is given.
package policy

// Policy is a loaded policy. It has passed validation.
type Policy struct {
	// Name is metadata.name, "" if there is none.
	Name string
	// OmitStages applies to every rule, and to requests that no rule matches.
	OmitStages Stages
	// OmitManagedFields is the default for rules that do not say.
	OmitManagedFields bool
	// Rules are tried in order; the first that matches decides.
	Rules []Rule

	doc *document // where things stand; nil for a policy that was not loaded
}

// Rule is one rule of a policy. Its fields are ANDed, the values of one field
// ORed; an empty field matches everything.
type Rule struct {
	Level             Level
	Users             []string
	UserGroups        []string
	Verbs             []string
	Resources         []GroupResources
	Namespaces        []string
	NonResourceURLs   []string
	OmitStages        Stages
	OmitManagedFields *bool // nil: the policy's

	// Line and Column say where the rule begins in what was loaded, from 1.
	Line, Column int
}

// GroupResources are resources of one API group. Group "" is the core group.
type GroupResources struct {
	Group         string   `json:"group"`
	Resources     []string `json:"resources"`
	ResourceNames []string `json:"resourceNames"`
}

// Attributes are what a policy looks at in a request.
type Attributes struct {
	User   string   // the original user, not the impersonated one
	NoUser bool     // nobody was authenticated (a 401): no rule with users or groups matches
	Groups []string // of the original user
	Verb   string   // get, list, ...; the lower-case HTTP method of non-resource requests

	// Resource tells resource requests from others; the fields after it are
	// those of a resource request.
	Resource    string
	APIGroup    string
	Subresource string
	Namespace   string // "" for cluster-scoped and all-namespaces requests
	Name        string // as in the URL: "" on create

	// Path is the URL's path; looked at for non-resource requests only.
	Path string
	// NonResource is set for requests to paths that are no API resource.
	NonResource bool
}

// Decision is what a policy makes of a request.
type Decision struct {
	Level             Level  `json:"level"`
	OmitStages        Stages `json:"omitStages"` // the policy's and the rule's
	OmitManagedFields bool   `json:"omitManagedFields"`
	// Rule is the index of the rule that matched, -1 if none did.
	Rule int `json:"rule"`
}
