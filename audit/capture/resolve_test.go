package capture_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit/capture"
)

// shown is what a request is about in one line: verb, group/version, namespace, resource/subresource, name; ~ marks long-running.
func shown(method, target string) string {
	r := httptest.NewRequest(method, target, nil)
	var v capture.Resolver
	i, err := v.Resolve(r)
	if err != nil {
		return "error"
	}
	long := ""
	if capture.LongRunning(r, &i) {
		long = "~"
	}
	if !i.IsResource {
		return long + i.Verb
	}
	resource := i.Resource
	if i.Subresource != "" {
		resource += "/" + i.Subresource
	}
	return fmt.Sprintf("%s%s %s/%s %q %s %q", long, i.Verb, i.APIGroup, i.APIVersion, i.Namespace, resource, i.Name)
}

const resolveTable = `
GET / => get
GET /healthz => get
POST /version => post
GET /api => get
GET /api/v1 => get
GET /apis/apps/v1 => get
GET /debug/pprof/heap => ~get
PURGE /x => purge
GET /api/v1/pods => list /v1 "" pods ""
HEAD /api/v1/pods/ => list /v1 "" pods ""
GET /api/v1/pods?watch => ~watch /v1 "" pods ""
GET /api/v1/pods?watch=FALSE => list /v1 "" pods ""
GET /api/v1/pods?watch=0 => list /v1 "" pods ""
PURGE /api/v1/pods =>  /v1 "" pods ""
GET /api/v1/namespaces => list /v1 "" namespaces ""
GET /api/v1/namespaces/a => get /v1 "a" namespaces "a"
PUT /api/v1/namespaces/a/finalize => update /v1 "a" namespaces/finalize "a"
GET /api/v1/namespaces/a/pods => list /v1 "a" pods ""
GET /api/v1/namespaces/a/pods/b => get /v1 "a" pods "b"
PATCH /api/v1/nodes/n/status => patch /v1 "" nodes/status "n"
DELETE /api/v1/namespaces/a/pods => deletecollection /v1 "a" pods ""
DELETE /api/v1/namespaces/a/pods/b => delete /v1 "a" pods "b"
POST /apis/apps/v1/namespaces/a/deployments => create apps/v1 "a" deployments ""
PATCH /apis/apps/v1/namespaces/a/deployments/d/scale => patch apps/v1 "a" deployments/scale "d"
POST /api/v1/namespaces/a/pods/b/exec?command=sh => ~create /v1 "a" pods/exec "b"
GET /api/v1/namespaces/a/pods/b/log?follow=true => ~get /v1 "a" pods/log "b"
GET /api/v1/namespaces/a/services/http:s:80/proxy/x/y => ~get /v1 "a" services/proxy "http:s:80"
GET /api/v1/proxy/namespaces/a/pods/b/x => ~proxy /v1 "a" pods "b"
GET /api/v1/watch/namespaces/a/pods/b => ~watch /v1 "a" pods "b"
GET /api/v1/watch/pods?fieldSelector=metadata.name%3Db => ~watch /v1 "" pods ""
GET /api/v1/pods?fieldSelector=metadata.name%3Db => list /v1 "" pods "b"
GET /api/v1/pods?fieldSelector=metadata.name%3D%3Db,spec.nodeName!%3Dn&watch=1 => ~watch /v1 "" pods "b"
GET /api/v1/pods?fieldSelector=metadata.name!%3Db => list /v1 "" pods ""
GET /api/v1/pods?fieldSelector=metadata.name%3D.. => list /v1 "" pods ""
GET /api/v1/pods?fieldSelector=metadata.name%3Da%2Fb => list /v1 "" pods ""
GET /api/v1/pods?fieldSelector=metadata.name%3Da%5C,b => list /v1 "" pods "a,b"
GET /api/v1/pods?fieldSelector=metadata.name%3Db,metadata.name%3Da => list /v1 "" pods "a"
# What the API server cannot read has it forget the rest, but not that it is a watch.
GET /api/v1/pods?fieldSelector=metadata.name%3Db&limit=many&watch=1 => ~watch /v1 "" pods ""
GET /api/v1/pods?fieldSelector=metadata.name%3Db&labelSelector=a%20in%20(b,,c),!d,x.y/e%3E5 => list /v1 "" pods "b"
GET /api/v1/pods?fieldSelector=metadata.name%3Db&labelSelector=a%3D%3D%3Db => list /v1 "" pods ""
GET /api/v1/pods?fieldSelector=metadata.name%3Db&labelSelector=a%20of%20b => list /v1 "" pods ""
DELETE /api/v1/pods?fieldSelector=metadata.name%3Db => deletecollection /v1 "" pods ""
GET /api/v1/watch => error
GET /apis/apps/v1/proxy => error
`

func TestResolve(t *testing.T) {
	n := 0
	for line := range strings.Lines(resolveTable) {
		request, want, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " => ")
		if !ok {
			continue // a comment
		}
		n++
		method, target, _ := strings.Cut(request, " ")
		if got := shown(method, target); got != want {
			t.Errorf("%s\n got %s\nwant %s", request, got, want)
		}
	}
	if n < 40 {
		t.Errorf("%d lines of the table were read", n)
	}
}

func TestSelectorsAndPrefixes(t *testing.T) {
	var v capture.Resolver
	i, err := v.Resolve(httptest.NewRequest("GET", "/api/v1/pods?labelSelector=a%3Db&fieldSelector=x%3Dy&fieldSelector=z", nil))
	if err != nil || i.LabelSelector != "a=b" || i.FieldSelector != "x=y" || !slices.Equal(i.Parts, []string{"pods"}) || i.APIPrefix != "api" {
		t.Errorf("%+v, %v", i, err)
	}
	v = capture.Resolver{Prefixes: []string{"kcp"}, Groupless: []string{}}
	if i, err = v.Resolve(httptest.NewRequest("GET", "/kcp/g/v1/things/x", nil)); err != nil || !i.IsResource || i.APIGroup != "g" || i.Name != "x" {
		t.Errorf("%+v, %v", i, err)
	}
	if i, err = v.Resolve(httptest.NewRequest("GET", "/api/v1/pods", nil)); err != nil || i.IsResource {
		t.Errorf("%+v, %v", i, err)
	}
}

// FuzzResolve holds that no path makes the resolver panic, and what must be true of every answer.
// compat/ holds the answers themselves against the API server's.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{
		"/", "/api/v1/namespaces/a/pods/b/log", "/apis/apps/v1/watch/namespaces/a", "//api//v1//", "/api/v1/proxy/pods",
	} {
		f.Add("GET", s, "watch=1&fieldSelector=metadata.name%3Dx&labelSelector=a in (b,)")
	}
	f.Add("DELETE", "/api/v1/pods", "fieldSelector=\\,=;%zz&labelSelector=!in notin (in,")
	f.Fuzz(func(t *testing.T, method, path, query string) {
		r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}}
		var v capture.Resolver
		i, err := v.Resolve(r)
		if err != nil {
			return
		}
		if i.Path != path || i.IsResource != (i.APIVersion != "" || i.APIPrefix != "" && i.Parts != nil) && i.APIVersion != "" {
			t.Errorf("%q: %+v", path, i)
		}
		if i.IsResource && (len(i.Parts) == 0 || i.Resource != i.Parts[0]) {
			t.Errorf("%q: %+v", path, i)
		}
		if i.Verb == "get" && i.IsResource && i.Name == "" {
			t.Errorf("%q: a get of nothing: %+v", path, i)
		}
		_ = capture.LongRunning(r, &i)
	})
}
