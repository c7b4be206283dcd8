package capture

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// RequestInfo is what a request is about, as an API server reads it from method and
// URL (k8s.io/apiserver/pkg/endpoints/request, RequestInfo).
type RequestInfo struct {
	// Resource requests are about objects of the API; the fields from APIPrefix on are theirs.
	IsResource bool
	// Path is the URL's, unescaped.
	Path string
	// Verb is get, list, watch, create, update, patch, delete, deletecollection or proxy, ""
	// for other methods; for requests that are not about a resource the method in lower case.
	Verb string

	APIPrefix, APIGroup, APIVersion        string
	Namespace, Resource, Subresource, Name string
	// Parts are the path's from the resource on: resource, name, subresource, ...
	Parts []string
	// FieldSelector and LabelSelector are as the URL has them, for list, watch and deletecollection.
	FieldSelector, LabelSelector string
}

// Resolver reads what requests are about. The zero value reads a Kubernetes API's.
type Resolver struct {
	// Prefixes are the first parts of the paths of resources; nil is api and apis.
	Prefixes []string
	// Groupless are those of Prefixes that have no API group in their path; nil is api.
	Groupless []string
}

var (
	kubePrefixes  = []string{"api", "apis"}
	kubeGroupless = []string{"api"}
)

// Resolve says what r is about. An error means that an API server answers r with a 500
// before it is recorded: a path like /api/v1/watch, which names a verb and no object.
func (v *Resolver) Resolve(r *http.Request) (RequestInfo, error) {
	var info RequestInfo
	err := v.resolve(r, &info)
	return info, err
}

func (v *Resolver) resolve(r *http.Request, info *RequestInfo) error {
	info.Path, info.Verb = r.URL.Path, lower(r.Method)
	prefixes, groupless := v.Prefixes, v.Groupless
	if prefixes == nil {
		prefixes = kubePrefixes
	}
	if groupless == nil {
		groupless = kubeGroupless
	}
	trimmed := strings.Trim(r.URL.Path, "/")
	prefix, rest, ok := strings.Cut(trimmed, "/")
	if !ok || !strings.Contains(rest, "/") || !slices.Contains(prefixes, prefix) {
		return nil // fewer than three parts, or no API
	}
	info.APIPrefix = prefix
	if !slices.Contains(groupless, prefix) {
		group, versioned, _ := strings.Cut(rest, "/")
		if !strings.Contains(versioned, "/") {
			return nil
		}
		info.APIGroup, rest = group, versioned
	}
	info.IsResource = true
	info.APIVersion, rest, _ = strings.Cut(rest, "/")
	parts := strings.Split(rest, "/")

	byPath := parts[0] == "watch" || parts[0] == "proxy"
	if byPath {
		if len(parts) < 2 {
			return fmt.Errorf("unable to determine kind and namespace from url, %v", r.URL) // the API server's words: clients see them
		}
		info.Verb, parts = parts[0], parts[1:]
	} else {
		info.Verb = verbOf(r.Method)
	}

	if parts[0] == "namespaces" && len(parts) > 1 {
		info.Namespace = parts[1]
		if len(parts) > 2 && parts[2] != "status" && parts[2] != "finalize" {
			parts = parts[2:]
		}
	}
	info.Parts, info.Resource = parts, parts[0]
	if len(parts) > 1 {
		info.Name = parts[1]
	}
	if len(parts) > 2 && info.Verb != "proxy" {
		info.Subresource = parts[2]
	}
	if info.Name == "" {
		switch info.Verb {
		case "get":
			info.Verb, info.Name = listOrWatch(r.URL.RawQuery)
		case "delete":
			info.Verb = "deletecollection"
		}
	}
	if !byPath && (info.Verb == "list" || info.Verb == "watch" || info.Verb == "deletecollection") {
		info.FieldSelector, _ = param(r.URL.RawQuery, "fieldSelector")
		info.LabelSelector, _ = param(r.URL.RawQuery, "labelSelector")
	}
	return nil
}

// LongRunning is whether an API server takes a request for a long-running one: its events
// then have the stage ResponseStarted, and no bodies are recorded
// (k8s.io/kubernetes/pkg/controlplane/apiserver/config.go).
func LongRunning(_ *http.Request, info *RequestInfo) bool {
	switch info.Verb {
	case "watch", "proxy":
		return true
	}
	if !info.IsResource {
		return strings.HasPrefix(info.Path, "/debug/pprof/")
	}
	switch info.Subresource {
	case "attach", "exec", "proxy", "log", "portforward":
		return true
	}
	return false
}

// verbOf is what a method does to an object, "" for a method that the API has not.
func verbOf(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead:
		return "get"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return ""
}

// lower is strings.ToLower, which allocates for the usual methods.
func lower(method string) string {
	switch method {
	case http.MethodGet:
		return "get"
	case http.MethodPost:
		return "post"
	case http.MethodHead:
		return "head"
	case http.MethodPut:
		return "put"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	case http.MethodOptions:
		return "options"
	}
	return strings.ToLower(method)
}

// isAPI is whether a path is one of the API's, of a resource or above.
func (v *Resolver) isAPI(path string) bool {
	prefixes := v.Prefixes
	if prefixes == nil {
		prefixes = kubePrefixes
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return slices.Contains(prefixes, first)
}
