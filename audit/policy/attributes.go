package policy

import (
	"net/url"
	"strings"

	"github.com/ktrail/ktrail/audit"
)

// AttributesOf are the attributes that the API server had when it decided about
// the request that e tells of. An event differs from them in three things, which
// are put right here:
//
//   - The event of a create has the name, and where the URL has no namespace also
//     the namespace, of the object in its body; the policy saw only the URL.
//   - It has the request's URI, the policy the path: unescaped, without the query.
//   - A request that was refused before anybody was authenticated has no user at all.
//
// Groups and strings are e's own: they live as long as those of e.
func AttributesOf(e *audit.Event) Attributes {
	a := Attributes{
		User: e.User, Groups: e.Groups, Verb: e.Verb,
		NoUser: e.User == "" && len(e.Groups) == 0 && e.UserUID == "",
		Path:   pathOf(e.URI),
		// A resource request always has an API version, even where its path has an empty resource.
		NonResource: e.Resource == "" && e.APIVersion == "" && e.APIGroup == "",
	}
	if a.NonResource {
		return a
	}
	a.Resource, a.APIGroup, a.Subresource = e.Resource, e.APIGroup, e.Subresource
	a.Namespace, a.Name = e.Namespace, e.Name
	if e.Verb == "create" {
		if a.Namespace != "" && !strings.Contains(a.Path, "/namespaces/") {
			a.Namespace = ""
		}
		if a.Subresource == "" && !endsIn(a.Path, a.Resource, a.Name) {
			a.Name = ""
		}
	}
	return a
}

// endsIn is whether path ends in /resource/name.
func endsIn(path, resource, name string) bool {
	path, ok := strings.CutSuffix(strings.Trim(path, "/"), "/"+name)
	return ok && strings.HasSuffix(path, "/"+resource)
}

// pathOf is the path of a request URI as net/http hands it to the API server.
func pathOf(uri string) string {
	path, _, _ := strings.Cut(uri, "?")
	if strings.IndexByte(path, '%') < 0 {
		return path
	}
	if plain, err := url.PathUnescape(path); err == nil {
		return plain
	}
	return path
}
