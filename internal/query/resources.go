package query

// Resource is what a resource argument means.
type Resource struct {
	Resource    string // plural
	APIGroup    string // "" if not given and not known, or core
	Version     string // only as given: deployments.v1.apps
	Name        string
	Subresource string
	Namespaced  bool // meaningful if Known
	Known       bool // one of Kubernetes' own
	GroupGiven  bool // the argument named the group
	Suggest     string
}

// ParseResource reads a resource argument as kubectl does: deploy/web,
// deployments.apps/web, deployments.v1.apps/web, pods/web/log, or "deploy" "web".
// What is unknown passes as it is (custom resources), with Suggest set if a
// known name is near. The error is a [*UsageError].
func ParseResource(args ...string) (Resource, error) { return Resource{}, nil }

// ResourceNames lists the plurals of the built-in table, for completion.
func ResourceNames() []string { return nil }
