package e2e

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// differences is where an event of the proxy may differ from the API server's of
// the same request. docs/capture.md has the same list for users. Bodies are
// compared as JSON, in whatever order their fields stand.
var differences = []difference{
	{regexp.MustCompile(`^(requestReceived|stage)Timestamp$`), nil, "each has its own clock"},
	{regexp.MustCompile(`^auditID$`), refused, "a request that the proxy refuses itself does not reach the API server: compared with the same one sent there directly"},
	{regexp.MustCompile(`^sourceIPs$`), behindProxy, "the API server adds the proxy's address, if it is not the client's too"},
	{regexp.MustCompile(`^annotations\.authorization\.k8s\.io/(decision|reason)$`), onlyServer, "authorization happens behind the proxy"},
	{regexp.MustCompile(`^annotations\.authentication\.kubernetes\.io/issued-credential-id$`), onlyServer, "only who issues a token knows its ID"},
	{regexp.MustCompile(`^annotations\.pod-security\.kubernetes\.io/`), onlyServer, "admission happens behind the proxy"},
	{regexp.MustCompile(`^annotations\.apiserver\.latency\.k8s\.io/`), onlyServer, "the API server's word on why a request took more than half a second" + sometimes},
	{regexp.MustCompile(`^annotations\.capture\.ktrail\.io/(request|response)-body$`), onlyProxy, "the note for a body that is not recorded"},
	{regexp.MustCompile(`^(request|response)Object$`), noted, "a body in protobuf is noted and not decoded: kubectl create TYPE and kubectl auth send such"},
	{regexp.MustCompile(`^requestObject$`), notRead, "the API server does not read what it forbids, the proxy writes what it sent before it heard of that" + sometimes},
	{regexp.MustCompile(`^requestObject\.apiVersion$`), internal, "the API server writes the options of a deletecollection with a version of its own"},
	{regexp.MustCompile(`^requestObject\.`), onlyServer, "the API server writes the object with its defaults, the proxy what was sent"},
}

// sometimes ends the reason of what does not happen in every run.
const sometimes = ", sometimes"

func onlyServer(f found) bool { return f.proxy == nil }
func onlyProxy(f found) bool  { return f.api == nil }

// refused is a request that the proxy did not let through: 401, or an unreadable timeout.
func refused(f found) bool {
	status, _ := f.p["responseStatus"].(map[string]any)
	code, _ := status["code"].(json.Number)
	return f.p.text("stage") == "ResponseStarted" && (code == "401" || code == "400")
}

func noted(f found) bool {
	notes, _ := f.p["annotations"].(map[string]any)
	note, _ := notes["capture.ktrail.io/"+strings.TrimSuffix(f.path, "Object")+"-body"].(string)
	return f.proxy == nil && strings.HasSuffix(note, "of application/vnd.kubernetes.protobuf")
}

func behindProxy(f found) bool {
	api, _ := f.api.([]any)
	proxy, _ := f.proxy.([]any)
	return len(api) == len(proxy)+1 && slices.Equal(api[:len(proxy)], proxy) && api[len(proxy)] == "127.0.0.1"
}

func notRead(f found) bool {
	status, _ := f.e["responseStatus"].(map[string]any)
	return f.api == nil && status["code"] == json.Number("403")
}

func internal(f found) bool {
	return f.api == "meta.k8s.io/__internal" && f.e.text("verb") == "deletecollection"
}
