package compat

import (
	"bufio"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/ktrail/ktrail/audit/capture"
)

// sameInfo fails if the two read a request differently, and is whether it is one of a resource.
func sameInfo(t *testing.T, r *http.Request) bool {
	t.Helper()
	want, theirErr := infoFactory().NewRequestInfo(r)
	got, err := (&capture.Resolver{}).Resolve(r)
	if (err == nil) != (theirErr == nil) || err != nil && err.Error() != theirErr.Error() {
		t.Fatalf("%s %q: error %v, upstream %v", r.Method, r.URL, err, theirErr)
	}
	if err != nil {
		return false
	}
	read := request.RequestInfo{
		IsResourceRequest: got.IsResource, Path: got.Path, Verb: got.Verb, APIPrefix: got.APIPrefix, APIGroup: got.APIGroup, APIVersion: got.APIVersion,
		Namespace: got.Namespace, Resource: got.Resource, Subresource: got.Subresource, Name: got.Name,
		FieldSelector: got.FieldSelector, LabelSelector: got.LabelSelector,
	}
	parts := want.Parts
	want.Parts = nil
	if !slices.Equal(got.Parts, parts) || !sameText(read, *want) {
		t.Fatalf("%s %q\n    got %+v %q\nupstream %+v %q", r.Method, r.URL, read, got.Parts, *want, parts)
	}
	want.Parts = parts
	if a, b := capture.LongRunning(r, &got), isLongRunning()(r, want); a != b {
		t.Fatalf("%s %q: long-running %v, upstream %v", r.Method, r.URL, a, b)
	}
	return got.IsResource
}

func sameText(a, b request.RequestInfo) bool {
	return a.IsResourceRequest == b.IsResourceRequest && a.Path == b.Path && a.Verb == b.Verb && a.APIPrefix == b.APIPrefix &&
		a.APIGroup == b.APIGroup && a.APIVersion == b.APIVersion && a.Namespace == b.Namespace && a.Resource == b.Resource &&
		a.Subresource == b.Subresource && a.Name == b.Name && a.FieldSelector == b.FieldSelector && a.LabelSelector == b.LabelSelector
}

// parse reads a request as a server does; nil if a server refuses it.
func parse(method, target string) *http.Request {
	if strings.ContainsAny(method+target, "\r\n") {
		return nil
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: api\r\n\r\n")))
	if err != nil {
		return nil
	}
	return r
}

var (
	methods  = []string{"GET", "GET", "GET", "POST", "PUT", "PATCH", "DELETE", "DELETE", "HEAD", "OPTIONS", "get", "Post", "BREW", "CONNECT", "TRACE"}
	segments = []string{
		"api", "apis", "v1", "v1beta1", "apps", "rbac.authorization.k8s.io", "namespaces", "namespaces", "prod", "pods", "pods", "web", "status", "finalize", "log", "exec",
		"attach", "portforward", "proxy", "proxy", "watch", "watch", "scale", "", "", ".", "..", "*", "%2F", "a%2Fb", "%00", "%ff", "%20", "é", "a;b", "a:b", "debug", "pprof", "healthz", "API", "default", "deletecollection",
	}
	queries = []string{
		"watch", "watch=", "watch=true", "watch=false", "watch=0", "watch=1", "watch=True", "watch=FALSE", "watch=f", "watch=x", "watch=%74rue", "watch=true&watch=false", "watch=false&watch=1", "Watch=true",
		"fieldSelector=metadata.name%3Dweb", "fieldSelector=metadata.name=web", "fieldSelector=metadata.name%3D%3Dweb", "fieldSelector=metadata.name!=web", "fieldSelector=metadata.name%3D", "fieldSelector=metadata.name%3Da%2Fb",
		"fieldSelector=metadata.name%3Da,metadata.name%3Db", "fieldSelector=spec.nodeName%3Dn1,metadata.name%3Dweb", "fieldSelector=metadata.name%3D%5C%3D", "fieldSelector=metadata.name%3D%5Cx", "fieldSelector=,", "fieldSelector=x", "fieldSelector=",
		"fieldSelector=metadata.name%3D.", "fieldSelector=metadata.name%3D..", "fieldSelector=metadata.name%3D%25", "fieldSelector=metadata.name%3Dweb&fieldSelector=metadata.name%3Ddb",
		"labelSelector=app%3Dweb", "labelSelector=app+in+(a,b)", "labelSelector=%21x", "labelSelector=((", "labelSelector=a>1", "labelSelector=a<x", "labelSelector=", "labelSelector=a%00b", "labelSelector=-",
		"limit=5", "limit=x", "limit=-1", "resourceVersion=0", "resourceVersion=x", "timeoutSeconds=5", "timeoutSeconds=five", "timeoutSeconds=-5", "allowWatchBookmarks=true", "allowWatchBookmarks=maybe", "continue=abc",
		"resourceVersionMatch=Exact", "sendInitialEvents=true", "sendInitialEvents=x", "sendInitialEvents", "shardSelector=x", "timeout=10s", "dryRun=All", "pretty=1", "a;b", "%zz", "%zz=1", "=", "&", "name=x", "kind=x", "apiVersion=v2",
		"limit=9223372036854775808", "limit=+5", "limit=0x10", "timeoutSeconds=", "limit=", "limit", "watch=true&limit=x", "fieldSelector=metadata.name%3Dweb&limit=x", "fieldSelector=metadata.name%3Dweb&labelSelector=((",
	}
)

func randomTarget(r random) string {
	var b strings.Builder
	switch r.IntN(6) {
	case 0:
	case 1:
		b.WriteString("/api/v1")
	case 2:
		b.WriteString("/api/v1/namespaces/prod")
	case 3:
		b.WriteString("/apis/apps/v1")
	case 4:
		b.WriteString("/api/v1/" + r.one([]string{"watch", "proxy"}))
	case 5:
		b.WriteString("/apis/apps/v1/namespaces/" + r.one(segments))
	}
	for range r.IntN(6) {
		b.WriteString("/" + r.one(segments))
	}
	if b.Len() == 0 {
		b.WriteString("/")
	}
	if n := r.IntN(4); n > 0 {
		b.WriteString("?" + r.one(queries))
		for range n - 1 {
			b.WriteString(r.one([]string{"&", "&", "&", ";"}) + r.one(queries))
		}
	}
	return b.String()
}

// TestResolveRandom: what a request is about is read from method and URL as the API server reads it.
func TestResolveRandom(t *testing.T) {
	r := random{rand.New(rand.NewPCG(5, 1))}
	const requests = 100_000
	resources, read := 0, 0
	for read < requests {
		req := parse(r.one(methods), randomTarget(r))
		if req == nil {
			continue
		}
		read++
		if sameInfo(t, req) {
			resources++
		}
	}
	if resources < requests/3 || resources > requests*19/20 {
		t.Errorf("%d of %d are about resources: the test tries too little of one kind", resources, requests)
	}
	t.Logf("%d requests, %d about resources, not one difference", read, resources)
}

func FuzzResolve(f *testing.F) {
	for i, q := range queries {
		f.Add(methods[i%len(methods)], "/api/v1/namespaces/prod/pods?"+q)
	}
	for i, s := range segments {
		f.Add(methods[i%len(methods)], "/apis/apps/v1/"+s+"/namespaces/a/"+s+"/b/"+s)
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		if r := parse(method, target); r != nil {
			sameInfo(t, r)
		}
	})
}
