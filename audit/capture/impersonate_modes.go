package capture

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// The ways of impersonation, in the order in which the API server tries them
// (k8s.io/apiserver/pkg/endpoints/filters/impersonation, allImpersonationModes).
var modes = []mode{
	{name: "associated-node", fits: isOwnNode, associated: true},
	{name: "arbitrary-node", fits: isNode},
	{name: "serviceaccount", fits: isServiceAccount},
	{name: "user-info", fits: isOther},
	{}, // the verb impersonate, for everybody and every request
}

const (
	nodePrefix    = "system:node:"
	accountPrefix = "system:serviceaccount:"
	nodesGroup    = "system:nodes"
	nodeNameKey   = "authentication.kubernetes.io/node-name"

	authnGroup = "authentication.k8s.io"
	// manyChecks is from how many groups or extra values on a constrained mode asks for all at once first.
	manyChecks = 4
	// lastTTL is long: which mode is tried first changes no answer but where several would allow it.
	lastTTL = time.Hour
)

// mode is one way of impersonation; without a name it is the old one.
type mode struct {
	name       string
	fits       func(user, wanted *audit.UserInfo) bool
	associated bool
}

// allowed is the user as whom the request will be made, and the constraint by which.
func (m *impersonation) allowed(ctx context.Context, token string, user, wanted *audit.UserInfo, info *RequestInfo) (audit.UserInfo, string, error) {
	old := len(modes) - 1
	if m.Constrained == nil || !m.Constrained(ctx) {
		return m.try(ctx, &modes[old], token, user, wanted, info)
	}
	order := make([]int, 0, len(modes)+1)
	if i, ok := m.last.get(user.Username); ok {
		order = append(order, i)
	}
	for i := range modes {
		if len(order) == 0 || i != order[0] {
			order = append(order, i)
		}
	}
	var unknown error
	for _, i := range order {
		if modes[i].fits != nil && !modes[i].fits(user, wanted) {
			continue
		}
		as, constraint, err := m.try(ctx, &modes[i], token, user, wanted, info)
		denied := (*deniedError)(nil)
		switch {
		case err == nil && unknown == nil:
			m.last.put(user.Username, i, time.Now().Add(lastTTL))
			return as, constraint, nil
		case err == nil:
			return audit.UserInfo{}, "", unknown // allowed, but perhaps by another way
		case !errors.As(err, &denied) && unknown == nil:
			unknown = err
		}
	}
	if unknown != nil {
		return audit.UserInfo{}, "", unknown
	}
	return audit.UserInfo{}, "", &deniedError{"by no mode"}
}

// try is one mode: may the request be made in it at all, and may its user be each
// thing that is wanted?
func (m *impersonation) try(ctx context.Context, mode *mode, token string, user, wanted *audit.UserInfo, info *RequestInfo) (audit.UserInfo, string, error) {
	a := asker{m: m, mode: mode, token: token, user: *user, verb: "impersonate", group: "", version: "v1"}
	if mode.associated {
		// Which node it is does not matter: that it is the user's own is known.
		a.user.Extra = map[string][]string{"authentication.kubernetes.io/associated-node-keys": slices.Sorted(maps.Keys(user.Extra))}
	}
	if mode.name != "" {
		a.verb, a.group = "impersonate:"+mode.name, authnGroup
		on := requestAccess(a.user, mode.name, info)
		on.Token = token
		if err := m.ask(ctx, on); err != nil {
			return audit.UserInfo{}, "", err
		}
	}
	as := *wanted
	if err := a.name(ctx, &as); err != nil {
		return audit.UserInfo{}, "", err
	}
	if wanted.UID != "" {
		if err := a.may(ctx, Access{Group: authnGroup, Resource: "uids", Name: wanted.UID}); err != nil {
			return audit.UserInfo{}, "", err
		}
	}
	if err := a.groups(ctx, wanted.Groups); err != nil {
		return audit.UserInfo{}, "", err
	}
	if err := a.extra(ctx, wanted.Extra); err != nil {
		return audit.UserInfo{}, "", err
	}
	switch {
	case as.Username == anonymousUser:
		as.Groups = with(as.Groups, groupAnonymous)
	case !slices.Contains(as.Groups, groupAnonymous):
		as.Groups = with(as.Groups, groupAuthenticated)
	}
	if mode.name == "" {
		return as, "", nil
	}
	return as, a.verb, nil
}

// requestAccess asks whether the request itself may be made while impersonating.
func requestAccess(user audit.UserInfo, mode string, info *RequestInfo) Access {
	a := Access{User: user, Verb: "impersonate-on:" + mode + ":" + info.Verb}
	if !info.IsResource {
		a.Path = info.Path
		return a
	}
	a.Group, a.Version, a.Resource, a.Subresource = info.APIGroup, info.APIVersion, info.Resource, info.Subresource
	a.Namespace, a.Name = info.Namespace, info.Name
	a.FieldSelector, a.LabelSelector = info.FieldSelector, info.LabelSelector
	return a
}

// asker asks for a user's right to be something, in one mode.
type asker struct {
	m              *impersonation
	mode           *mode
	user           audit.UserInfo
	token          string
	verb           string
	group, version string // of users and groups
}

func (a *asker) may(ctx context.Context, what Access) error {
	what.User, what.Token, what.Verb, what.Version = a.user, a.token, a.verb, a.version
	return a.m.ask(ctx, what)
}

// name asks for the user's name and gives as the groups that follow from it.
func (a *asker) name(ctx context.Context, as *audit.UserInfo) error {
	what := Access{Group: a.group, Resource: "users", Name: as.Username}
	if node, ok := nodeName(as.Username); ok && a.mode.name != "" {
		what.Resource, what.Name = "nodes", node
		as.Groups = []string{nodesGroup}
		if a.mode.associated {
			what.Name = "*"
		}
	}
	if namespace, name, ok := accountName(as.Username); ok {
		what.Resource, what.Namespace, what.Name = "serviceaccounts", namespace, name
		if len(as.Groups) == 0 {
			as.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace}
		}
	}
	return a.may(ctx, what)
}

func (a *asker) groups(ctx context.Context, groups []string) error {
	if a.mode.name != "" {
		if slices.Contains(groups, "") || slices.Contains(groups, "system:masters") {
			return &deniedError{"the group is nobody's to be"}
		}
		if len(groups) >= manyChecks {
			if a.may(ctx, Access{Group: a.group, Resource: "groups", Name: "*"}) == nil {
				return nil
			}
		}
	}
	for _, g := range groups {
		if err := a.may(ctx, Access{Group: a.group, Resource: "groups", Name: g}); err != nil {
			return err
		}
	}
	return nil
}

func (a *asker) extra(ctx context.Context, extra map[string][]string) error {
	values := 0
	for key, vs := range extra {
		if a.mode.name != "" && (!isDomainPath(key) || slices.Contains(vs, "")) {
			return &deniedError{"an extra field is not well-formed"}
		}
		values += len(vs)
	}
	if a.mode.name != "" && (len(extra) >= manyChecks || values >= manyChecks) {
		if a.may(ctx, Access{Group: authnGroup, Resource: "userextras", Subresource: "*", Name: "*"}) == nil {
			return nil
		}
	}
	for _, key := range slices.Sorted(maps.Keys(extra)) {
		for _, v := range extra[key] {
			if err := a.may(ctx, Access{Group: authnGroup, Resource: "userextras", Subresource: key, Name: v}); err != nil {
				return err
			}
		}
	}
	return nil
}

func with(groups []string, group string) []string {
	if slices.Contains(groups, group) {
		return groups
	}
	return append(slices.Clip(groups), group)
}

func isOwnNode(user, wanted *audit.UserInfo) bool {
	node, ok := nodeName(wanted.Username)
	if _, _, account := accountName(user.Username); !ok || !account || !onlyName(wanted) {
		return false
	}
	own := user.Extra[nodeNameKey]
	return len(own) == 1 && own[0] == node
}

func isNode(_, wanted *audit.UserInfo) bool {
	_, ok := nodeName(wanted.Username)
	return ok && onlyName(wanted)
}

func isServiceAccount(_, wanted *audit.UserInfo) bool {
	_, _, ok := accountName(wanted.Username)
	return ok && onlyName(wanted)
}

func isOther(_, wanted *audit.UserInfo) bool {
	_, node := nodeName(wanted.Username)
	_, _, account := accountName(wanted.Username)
	return !node && !account
}

func onlyName(u *audit.UserInfo) bool {
	return u.UID == "" && len(u.Groups) == 0 && len(u.Extra) == 0
}

func nodeName(user string) (string, bool) {
	name, ok := strings.CutPrefix(user, nodePrefix)
	return name, ok && isSubdomain(name)
}

func accountName(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, accountPrefix)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && isLabel(namespace) && isSubdomain(name)
}

// isLabel is whether s is an RFC 1123 label, as names of namespaces are.
func isLabel(s string) bool { return len(s) <= 63 && isWord(s) }

// isSubdomain is whether s is an RFC 1123 subdomain, as names of nodes and service accounts are.
func isSubdomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for word := range strings.SplitSeq(s, ".") {
		if !isWord(word) {
			return false
		}
	}
	return true
}

func isWord(s string) bool {
	return s != "" && s[0] != '-' && s[len(s)-1] != '-' && only(s, "-")
}

// isDomainPath is whether a key is like example.com/project, in lower case
// (k8s.io/apimachinery/pkg/util/validation, IsDomainPrefixedPath).
func isDomainPath(key string) bool {
	domain, path, _ := strings.Cut(key, "/")
	return isSubdomain(domain) && path != "" && only(path, "/-._~%!$&'()*+,;=:")
}

// only is whether s has lower-case letters, digits and those of more, and nothing else.
func only(s, more string) bool {
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte(more, c) >= 0) {
			return false
		}
	}
	return true
}
