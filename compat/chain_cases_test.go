package compat

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// call is a request, as bytes on a connection.
type call struct {
	name   string
	target string   // method and target
	header []string // besides Host and Connection
	body   string
	script script // in the place of the API
	// differs names the differences that the call shows, of those in the table.
	differs []string
}

const (
	asJSON  = "Content-Type: application/json"
	asAlice = "Authorization: Bearer alice"
	asAdmin = "Authorization: Bearer admin"
	pods    = "/api/v1/namespaces/prod/pods"
	thingOf = `{"kind":"Simple","apiVersion":"v1","metadata":`
	webPod  = thingOf + `{"name":"web","namespace":"prod"},"other":"x"}`
	managed = `"managedFields":[{"manager":"kubectl","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:other":{}}}]`
)

// protobufOptions are DeleteOptions in the API's protobuf.
func protobufOptions() string {
	grace := int64(5)
	raw, err := (&metav1.DeleteOptions{GracePeriodSeconds: &grace}).Marshal()
	if err != nil {
		panic(err)
	}
	envelope, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}, Raw: raw}).Marshal()
	if err != nil {
		panic(err)
	}
	return "k8s\x00" + string(envelope)
}

func calls() []call {
	return []call{
		// Verbs.
		{name: "get", target: "GET " + pods + "/web", header: []string{asAlice}},
		{name: "get as YAML", target: "GET " + pods + "/web", header: []string{"Accept: application/yaml"}},
		{name: "get as CBOR", target: "GET " + pods + "/web", header: []string{"Accept: application/cbor"}},
		{name: "get compressed", target: "GET " + pods + "/web", header: []string{"Accept-Encoding: gzip"}},
		{name: "get as a table", target: "GET " + pods + "/web", header: []string{"Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}},
		{name: "get as partial metadata", target: "GET " + pods + "/web", header: []string{"Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}},
		{name: "get in no format", target: "GET " + pods + "/web", header: []string{"Accept: text/csv"}},
		{name: "head", target: "HEAD " + pods + "/web"},
		{name: "list", target: "GET " + pods},
		{name: "list everywhere", target: "GET /api/v1/pods?limit=5&labelSelector=app%3Dweb"},
		{name: "list one by its name", target: "GET " + pods + "?fieldSelector=metadata.name%3Dweb"},
		{name: "list, expired", target: "GET " + pods + "?continue=abc"},
		{name: "create", target: "POST " + pods, header: []string{asJSON, asAlice}, body: webPod},
		{name: "create with a generated name", target: "POST " + pods, header: []string{asJSON}, body: thingOf + `{"generateName":"web-","namespace":"prod"},"other":"x"}`},
		{name: "create with UID and resourceVersion", target: "POST " + pods, header: []string{asJSON}, body: thingOf + `{"name":"web","namespace":"prod","uid":"u-1","resourceVersion":"5"}}`},
		{name: "create with managed fields", target: "POST " + pods, header: []string{asJSON}, body: thingOf + `{"name":"web","namespace":"prod",` + managed + `}}`},
		{name: "create from YAML", target: "POST " + pods, header: []string{"Content-Type: application/yaml"}, body: "kind: Simple\napiVersion: v1\nmetadata: {name: web, namespace: prod}\nother: \"<yes>\"\n"},
		{name: "create of another type", target: "POST " + pods, header: []string{"Content-Type: text/plain"}, body: "web"},
		{name: "create that is no JSON", target: "POST " + pods, header: []string{asJSON}, body: `{"kind":`, differs: []string{"refused body"}},
		{name: "create of another kind", target: "POST " + pods, header: []string{asJSON}, body: `{"kind":"Other","apiVersion":"v1","metadata":{"name":"web"}}`, differs: []string{"refused body"}},
		{name: "create in another namespace", target: "POST " + pods, header: []string{asJSON}, body: thingOf + `{"name":"web","namespace":"dev"}}`},
		{name: "create with unknown fields", target: "POST " + pods, header: []string{asJSON}, body: thingOf + `{"name":"web","namespace":"prod"},"color":"red"}`, differs: []string{"sent body"}},
		{name: "create in another order", target: "POST " + pods, header: []string{asJSON}, body: `{ "metadata": {"namespace":"prod", "name":"web"}, "apiVersion":"v1", "kind":"Simple" }`},
		{name: "create without kind", target: "POST " + pods, header: []string{asJSON}, body: `{"metadata":{"name":"web","namespace":"prod"}}`, differs: []string{"sent body"}},
		{name: "create without a body", target: "POST " + pods, header: []string{asJSON}},
		{name: "create for trial", target: "POST " + pods + "?dryRun=All&fieldManager=me", header: []string{asJSON}, body: webPod},
		{name: "create what is there", target: "POST " + pods, header: []string{asJSON}, body: thingOf + `{"name":"taken","namespace":"prod"}}`},
		{name: "create, a namespace", target: "POST /api/v1/namespaces", header: []string{asJSON}, body: thingOf + `{"name":"dev"}}`},
		{name: "create in a group", target: "POST /apis/apps/v1/namespaces/prod/deployments", header: []string{asJSON}, body: `{"kind":"Simple","apiVersion":"apps/v1","metadata":{"name":"web","namespace":"prod"}}`},
		{name: "update", target: "PUT " + pods + "/web", header: []string{asJSON}, body: thingOf + `{"name":"web","namespace":"prod","uid":"7d3b2a10-0000-4000-8000-000000000001","resourceVersion":"17"},"other":"y"}`},
		{name: "update that makes", target: "PUT " + pods + "/new", header: []string{asJSON}, body: thingOf + `{"name":"new","namespace":"prod"}}`},
		{name: "update, changed since", target: "PUT " + pods + "/old", header: []string{asJSON}, body: thingOf + `{"name":"old","namespace":"prod"}}`},
		{name: "update under another name", target: "PUT " + pods + "/web", header: []string{asJSON}, body: thingOf + `{"name":"db","namespace":"prod"}}`},
		{name: "patch", target: "PATCH " + pods + "/web", header: []string{"Content-Type: application/merge-patch+json"}, body: `{"other": "<z>", "metadata":{` + managed + `}}`},
		{name: "patch by operations", target: "PATCH " + pods + "/web", header: []string{"Content-Type: application/json-patch+json"}, body: `[{"op":"replace","path":"/other","value":"z"}]`},
		{name: "patch that is no JSON", target: "PATCH " + pods + "/web", header: []string{"Content-Type: application/merge-patch+json"}, body: `{"other"`, differs: []string{"refused body"}},
		{name: "apply", target: "PATCH " + pods + "/web?fieldManager=me&force=true", header: []string{"Content-Type: application/apply-patch+yaml"}, body: "apiVersion: v1\nkind: Simple\nmetadata: {name: web}\nother: z\n"},
		{name: "delete", target: "DELETE " + pods + "/web", header: []string{asAdmin}},
		{name: "delete with options", target: "DELETE " + pods + "/web", header: []string{asJSON}, body: `{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0,"propagationPolicy":"Background"}`, differs: []string{"delete options"}},
		{name: "delete with preconditions", target: "DELETE " + pods + "/web", header: []string{asJSON}, body: `{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"u-1"}}`, differs: []string{"delete options"}},
		{name: "delete with options as protobuf", target: "DELETE " + pods + "/web", header: []string{"Content-Type: application/vnd.kubernetes.protobuf"}, body: protobufOptions(), differs: []string{"protobuf request"}},
		{name: "a Status as protobuf", target: "DELETE " + pods + "/status", header: []string{"Accept: application/vnd.kubernetes.protobuf"}},
		{name: "not found as protobuf", target: "GET " + pods + "/missing", header: []string{"Accept: application/vnd.kubernetes.protobuf"}},
		{name: "metadata as protobuf", target: "GET " + pods + "/web", header: []string{"Accept: application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}, differs: []string{"protobuf answer"}},
		{name: "delete with options in the query", target: "DELETE " + pods + "/web?gracePeriodSeconds=5"},
		{name: "delete, gracefully", target: "DELETE " + pods + "/graceful"},
		{name: "delete that answers a Status", target: "DELETE " + pods + "/status"},
		{name: "delete a collection", target: "DELETE " + pods + "?labelSelector=app%3Dweb", header: []string{asJSON}, body: `{"kind":"DeleteOptions","apiVersion":"v1","orphanDependents":true}`, differs: []string{"delete options"}},
		{name: "delete a collection without a body", target: "DELETE " + pods},
		{name: "an odd method", target: "TRACE " + pods + "/web"},

		// Subresources.
		{name: "status", target: "GET " + pods + "/web/status"},
		{name: "status, updated", target: "PUT " + pods + "/web/status", header: []string{asJSON}, body: webPod},
		{name: "scale, patched", target: "PATCH /apis/apps/v1/namespaces/prod/deployments/web/scale", header: []string{"Content-Type: application/merge-patch+json"}, body: `{"other":"3"}`},
		{name: "binding", target: "POST " + pods + "/web/binding", header: []string{asJSON}, body: thingOf + `{"name":"web","namespace":"prod"},"other":"node-1"}`},
		{name: "a namespace's status", target: "GET /api/v1/namespaces/prod/status"},
		{name: "no such subresource", target: "GET " + pods + "/web/nothing"},

		// Long-running.
		{name: "watch", target: "GET " + pods + "?watch=true"},
		{name: "watch one", target: "GET " + pods + "?watch=1&fieldSelector=metadata.name%3Dweb"},
		{name: "watch by its old path", target: "GET /api/v1/watch/namespaces/prod/pods"},
		{name: "watch one by its old path", target: "GET /api/v1/watch/namespaces/prod/pods/web"},
		{name: "logs", target: "GET " + pods + "/web/log?container=app"},
		{name: "logs of nothing", target: "GET " + pods + "/missing/log"},
		{name: "exec", target: "POST " + pods + "/web/exec?command=sh&command=-c&command=id", header: []string{"Connection: Upgrade", "Upgrade: SPDY/3.1"}},
		{name: "exec by web socket", target: "GET " + pods + "/web/exec?command=id", header: []string{"Connection: Upgrade", "Upgrade: websocket"}},
		{name: "exec, refused", target: "POST " + pods + "/refuses/exec?command=id", header: []string{"Connection: Upgrade", "Upgrade: SPDY/3.1"}},
		{name: "exec in what is missing", target: "POST " + pods + "/missing/exec?command=id"},
		{name: "exec that says nothing", target: "POST " + pods + "/silent/exec"},
		{name: "attach", target: "POST " + pods + "/web/attach", header: []string{"Connection: Upgrade", "Upgrade: SPDY/3.1"}},
		{name: "portforward", target: "POST " + pods + "/web/portforward", header: []string{"Connection: Upgrade", "Upgrade: SPDY/3.1"}},
		{name: "proxy", target: "GET " + pods + "/web/proxy/a/b?c=d"},
		{name: "proxy with a body", target: "POST " + pods + "/web/proxy/a", header: []string{asJSON}, body: `{"secret":1}`},
		{name: "proxy by its old path", target: "GET /api/v1/proxy/namespaces/prod/pods/web/x"},
		{name: "profile", target: "GET /debug/pprof/trace?seconds=1"},

		// Answers that fail.
		{name: "not found", target: "GET " + pods + "/missing"},
		{name: "too many", target: "GET " + pods + "/busy"},
		{name: "broken", target: "GET " + pods + "/broken"},
		{name: "timeout", target: "GET " + pods + "/slow"},
		{name: "no such resource", target: "GET /api/v1/namespaces/prod/nothing/x"},
		{name: "no such group", target: "GET /apis/none.example.com/v1/things"},
		{name: "forbidden", target: "DELETE " + pods + "/web", header: []string{asAlice}},
		{name: "forbidden to create", target: "DELETE " + pods + "/web", header: []string{asAlice, asJSON}, body: `{"kind":"DeleteOptions","apiVersion":"v1"}`},
		{name: "panic", target: "GET /panic"},
		{name: "panic of a resource", target: "GET " + pods + "/panics"},
		{name: "panic in the answer", target: "GET /panic-late"},
		{name: "unreadable timeout", target: "GET " + pods + "?timeout=soon"},
		{name: "unreadable timeout of a watch", target: "GET " + pods + "?timeout=soon&watch=true"},
		{name: "unreadable timeout of nobody", target: "GET " + pods + "?timeout=soon", header: []string{"Authorization: Bearer wrong"}},
		{name: "timeout in the query", target: "GET " + pods + "?timeout=10s"},
		{name: "a watch of nothing", target: "GET /api/v1/watch"},

		{name: "Status for curl", target: "DELETE " + pods + "/status", header: []string{"Accept: application/json;pretty=1"}},
		{name: "Status as YAML", target: "DELETE " + pods + "/status", header: []string{"Accept: application/yaml"}},
		{name: "exec in what is missing, as CBOR", target: "POST " + pods + "/missing/exec", header: []string{"Accept: application/cbor"}},
		{name: "not found, hidden", target: "GET " + pods + "/missing", header: []string{"Accept: text/csv"}, differs: []string{"own answer"}},
		{name: "JSON of one's own", target: "GET " + pods + "/web", script: script{"header Content-Type: application/json", "code 409", `write {"kind":"Status","apiVersion":"v1","reason":"Odd"}`}, differs: []string{"own answer"}},
		{name: "no protobuf", target: "GET " + pods + "/web", header: []string{"Accept: application/vnd.kubernetes.protobuf"}, script: script{"object 1"}, differs: []string{"unencoded answer"}},
		{name: "informational", target: "GET " + pods + "/web", script: script{"code 103", "code 201"}, differs: []string{"informational"}},
		{name: "an object at length", target: "GET " + pods + "/web/log", script: script{"object 1"}, differs: []string{"long-running object"}},
		{name: "annotated before its reason", target: "GET " + pods + "/web/log", script: script{"header Content-Type: application/json", "code 503", "annotate b.example/late=1"}, differs: []string{"late annotation"}},
		{name: "a flush alone", target: "GET " + pods + "/web", script: script{"flush"}, differs: []string{"flushed"}},

		// Who asks.
		{name: "401 as YAML", target: "GET " + pods + "/web", header: []string{"Authorization: Bearer wrong", "Accept: application/yaml"}, differs: []string{"refusal"}},
		{name: "anonymous", target: "GET /api/v1/nodes"},
		{name: "401", target: "GET " + pods + "/web", header: []string{"Authorization: Bearer wrong"}},
		{name: "401 with a body", target: "POST " + pods, header: []string{"Authorization: Bearer wrong", asJSON}, body: webPod},
		{name: "401 of a watch", target: "GET " + pods + "?watch=true", header: []string{"Authorization: Bearer wrong"}},
		{name: "401 of no resource", target: "GET /healthz", header: []string{"Authorization: Bearer wrong"}},
		{name: "impersonate", target: "GET " + pods + "/web", header: []string{asAlice, "Impersonate-User: carol"}},
		{name: "impersonate a group", target: "GET " + pods + "/web", header: []string{asAlice, "Impersonate-User: carol", "Impersonate-Group: dev", "Impersonate-Extra-Scopes%2fx: <y>"}},
		{name: "impersonate, denied", target: "GET " + pods + "/web", header: []string{asAlice, "Impersonate-User: root"}},
		{name: "impersonate a group, denied", target: "GET " + pods + "/web", header: []string{asAlice, "Impersonate-User: carol", "Impersonate-Group: system:masters"}},
		{name: "impersonate by masters", target: "DELETE " + pods + "/web", header: []string{asAdmin, "Impersonate-User: system:serviceaccount:prod:deployer"}},
		{name: "impersonate anonymous", target: "GET /healthz", header: []string{asAdmin, "Impersonate-User: system:anonymous"}},
		{name: "impersonate a group of nobody", target: "GET /healthz", header: []string{asAdmin, "Impersonate-Group: dev"}},
		{name: "impersonate in a 401", target: "GET /healthz", header: []string{"Authorization: Bearer wrong", "Impersonate-User: carol"}},

		// What the request says of itself.
		{name: "Audit-ID", target: "GET /healthz", header: []string{"Audit-ID: mine"}},
		{name: "Audit-ID, hostile", target: "GET /healthz", header: []string{"Audit-ID: <script>\"\xff\u2028"}},
		{name: "Audit-ID, long", target: "GET /healthz", header: []string{"Audit-ID: " + strings.Repeat("x", 5000)}},
		{name: "Audit-ID, twice", target: "GET /healthz", header: []string{"Audit-ID: a", "Audit-ID: b"}},
		{name: "Audit-ID, empty", target: "GET /healthz", header: []string{"Audit-ID: "}},
		{name: "user agent", target: "GET /healthz", header: []string{"User-Agent: kubectl/v1.37.2 (linux/amd64) <&>"}},
		{name: "user agent of 1024", target: "GET /healthz", header: []string{"User-Agent: " + strings.Repeat("a", 1024)}},
		{name: "user agent of 1025", target: "GET /healthz", header: []string{"User-Agent: " + strings.Repeat("a", 1025)}},
		{name: "user agent cut in a letter", target: "GET /healthz", header: []string{"User-Agent: " + strings.Repeat("a", 1023) + "é and more"}},
		{name: "user agent, not UTF-8", target: "GET /healthz", header: []string{"User-Agent: \xc3\x28"}},
		{name: "forwarded", target: "GET /healthz", header: []string{"X-Forwarded-For: 10.0.0.1"}},
		{name: "forwarded by many", target: "GET /healthz", header: []string{"X-Forwarded-For: 10.0.0.1, 2001:DB8::1 ,  ::ffff:10.0.0.3, 127.0.0.1"}},
		{name: "forwarded by nonsense", target: "GET /healthz", header: []string{"X-Forwarded-For: , x, 1.2.3, 1.2.3.4:80, [::1], fe80::1%eth0, 010.0.0.08, 256.1.1.1"}},
		{name: "forwarded twice", target: "GET /healthz", header: []string{"X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: 10.0.0.2"}},
		{name: "real IP", target: "GET /healthz", header: []string{"X-Real-Ip: 10.0.0.9"}},
		{name: "real IP and forwarded", target: "GET /healthz", header: []string{"X-Real-Ip: 10.0.0.1", "X-Forwarded-For: 10.0.0.1,10.0.0.2"}},
		{name: "real IP that is none", target: "GET /healthz", header: []string{"X-Real-Ip: me"}},

		// Paths.
		{name: "no resource", target: "GET /healthz?verbose"},
		{name: "root", target: "GET /"},
		{name: "versions", target: "GET /api"},
		{name: "resources of a version", target: "GET /api/v1"},
		{name: "groups", target: "GET /apis"},
		{name: "a group", target: "GET /apis/apps"},
		{name: "resources of a group", target: "GET /apis/apps/v1"},
		{name: "version", target: "GET /version"},
		{name: "post to no resource", target: "POST /version", header: []string{asJSON}, body: `{"a":1}`},
		{name: "a method of one's own", target: "BREW /teapot"},
		{name: "says nothing", target: "GET /silent"},
		{name: "header only", target: "GET /teapot"},
		{name: "redirect", target: "GET /redirect"},
		{name: "header twice", target: "GET /early-hints"},
		{name: "escaped", target: "GET /api/v1/namespaces/prod/pods/a%2Fb%20c%C3%A9?x=%zz&y=<z>"},
		{name: "not UTF-8", target: "GET /api/v1/namespaces/%ff/pods/%c3%28"},
		{name: "double slash", target: "GET //api/v1/pods"},
		{name: "slash at the end", target: "GET " + pods + "/"},
		{name: "absolute", target: "GET http://api.example" + pods + "/web?a=b"},
		{name: "options", target: "OPTIONS *"},
	}
}
