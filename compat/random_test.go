package compat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"

	cbor "k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"sigs.k8s.io/yaml"

	"github.com/ktrail/ktrail/audit/policy"
)

// trial is one random request, with the policy that it is recorded by and the handler that answers it.
type trial struct {
	seed   uint64
	policy *policy.Policy
	method string
	path   string
	query  []string
	header []string
	body   string
	chunks int // the body is sent in so many pieces, 0 for in one with its length; below 0 the last is broken
	script script
}

// call is the request that the trial makes.
func (c *trial) call() call {
	out := call{name: fmt.Sprintf("seed %d", c.seed), target: c.method + " " + c.path, header: slices.Clone(c.header), body: c.body}
	if len(c.query) > 0 {
		out.target += "?" + strings.Join(c.query, "&")
	}
	if c.chunks == 0 {
		return out
	}
	out.header = append(out.header, "Transfer-Encoding: chunked")
	n := max(c.chunks, -c.chunks)
	var b strings.Builder
	for piece := range slices.Chunk([]byte(c.body), len(c.body)/n+1) {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(piece), piece)
	}
	b.WriteString("0\r\n\r\n")
	out.body = b.String()
	if c.chunks < 0 {
		out.body = out.body[:len(out.body)-len("0\r\n\r\n")] + "no number\r\n"
	}
	return out
}

// String is all of a trial, short and to be read.
func (c *trial) String() string {
	rules, err := json.Marshal(c.policy)
	if err != nil {
		panic(err)
	}
	call := c.call()
	var b strings.Builder
	fmt.Fprintf(&b, "policy %s\n%q\n", rules, call.target)
	for _, h := range call.header {
		fmt.Fprintf(&b, "%.200q\n", h)
	}
	fmt.Fprintf(&b, "body (%d bytes) %.2000q\n", len(call.body), call.body)
	for _, s := range c.script {
		fmt.Fprintf(&b, "handler: %.200q\n", s)
	}
	return b.String()
}

// smaller are trials with one thing less each.
func (c *trial) smaller() (all []*trial) {
	add := func(change func(*trial)) {
		less := *c
		change(&less)
		all = append(all, &less)
	}
	less := func(list []string, i int) []string { return slices.Delete(slices.Clone(list), i, i+1) }
	for i := range c.header {
		add(func(t *trial) { t.header = less(t.header, i) })
	}
	for i := range c.query {
		add(func(t *trial) { t.query = less(t.query, i) })
	}
	for i := range c.script {
		if len(c.script) > 1 { // without any it is another handler
			add(func(t *trial) { t.script = less(t.script, i) })
		}
	}
	for i := range c.policy.Rules {
		add(func(t *trial) {
			p := *t.policy
			p.Rules = slices.Delete(slices.Clone(p.Rules), i, i+1)
			t.policy = &p
		})
	}
	if c.chunks != 0 {
		add(func(t *trial) { t.chunks = 0 })
	}
	if n := len(c.body); n > 0 {
		add(func(t *trial) { t.body = "" })
		add(func(t *trial) { t.body = t.body[:n/2] })
		add(func(t *trial) { t.body = t.body[:n-1] })
	}
	return all
}

var (
	trialNames = []string{
		"web", "web", "a", "missing", "taken", "old", "busy", "broken", "panics", "slow", "new", "silent", "refuses", "status", "graceful",
		"a%2Fb", "%ff", "é", "%C3%A9", "A.b", "-", "%20", "..", "watch", "proxy", "a;b", strings.Repeat("n", 300),
	}
	trialSubs    = []string{"status", "status", "binding", "log", "exec", "attach", "portforward", "proxy", "proxy/a/b", "proxy/", "scale", "nothing", "finalize", "eviction", "ephemeralcontainers"}
	trialPlain   = []string{"/", "/healthz", "/healthz/", "/version", "/silent", "/teapot", "/redirect", "/panic", "/panic-late", "/early-hints", "/debug/pprof/trace", "/api", "/api/", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/openapi/v2", "/none", "/metrics", "//", "/./healthz"}
	trialQueries = []string{
		"dryRun=All", "dryRun=all", "dryRun=", "dryRun=All&dryRun=All", "fieldManager=me", "fieldManager=" + strings.Repeat("m", 200), "fieldManager=%01", "fieldValidation=Strict", "fieldValidation=Warn", "fieldValidation=Ignore", "fieldValidation=odd",
		"force=true", "force=maybe", "propagationPolicy=Background", "propagationPolicy=Odd", "gracePeriodSeconds=5", "gracePeriodSeconds=x", "gracePeriodSeconds=-1", "orphanDependents=true", "preconditions=x",
		"timeout=10s", "timeout=soon", "timeout=0", "timeout=0s", "timeout=1h", "timeout=5", "timeout=", "timeout=%31s", "timeout=1m0.5s", "timeout=%", "timeout=30s&timeout=soon", "timeout=soon&timeout=30s",
		"command=sh&command=-c", "container=app", "stdin=true", "pretty=true", "pretty=false", "pretty", "x=%e9", "%ff=%fe", "a=<b>", "a=\"'\\`", "é=ü", "+", "a+b=c+d", "a=b=c", "?", "a?b", strings.Repeat("q", 3000) + "=1",
	}
	trialAccepts = []string{
		"application/json", "application/yaml", "application/cbor", "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json", "*/*", "text/plain", "text/html,*/*;q=0.8", "application/*", "", "nonsense", "application/json;q=0", "application/json;pretty=1",
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/yaml;as=Table;v=v1;g=meta.k8s.io",
		"application/cbor;as=Table;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", "application/json;as=Odd;v=v1;g=meta.k8s.io", "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch",
	}
	trialTypes = []string{
		"application/json", "application/json", "application/json", "application/json; charset=utf-8", "Application/JSON", "application/yaml", "application/yaml", "application/cbor", "application/cbor", "application/vnd.kubernetes.protobuf",
		"text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json;", ";", "application/", "*/*", "text/yaml", "application/merge-patch+json", "application/apply-patch+yaml",
	}
	trialPatches = []string{
		"application/merge-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml", "application/apply-patch+yaml", "application/apply-patch+cbor",
		"application/json", "application/merge-patch+json; charset=utf-8", "application/Merge-Patch+json", "", "text/plain", "application/yaml",
	}
	trialIPs = []string{"10.0.0.1", "127.0.0.1", "2001:DB8::1", "::1", "::ffff:10.0.0.3", "0:0:0:0:0:0:0:1", "x", "", " ", "1.2.3", "1.2.3.4:80", "[::1]", "fe80::1%eth0", "010.0.0.08", "256.1.1.1", "1.2.3.4.5", "::", "1::2::3", "00001::1", "\xff", "0x10.1.1.1", "::1.2.3.4", "000.000.000.000", "1e1.0.0.1", "::fFfF:1.2.3.04"}
	trialIDs = []string{"mine", "", " ", "<script>\"", "\xff\xe2\x80\xa8", strings.Repeat("i", 5000), "00000000-0000-4000-8000-000000000000", "A B", "é", strings.Repeat("é", 40)}
	trialWho = []string{"root", "", "system:anonymous", "<c>", "\xff", "a b"}
	trialVal = []string{"x", "", "<y>", "\xff", "é", "%41"}
)

// trialOf is the trial of a seed, the same each time.
func trialOf(seed uint64) *trial {
	r := random{rand.New(rand.NewPCG(seed, 77))}
	c := &trial{seed: seed, policy: r.rules()}
	c.method = r.one([]string{"GET", "GET", "GET", "POST", "POST", "PUT", "PATCH", "DELETE", "HEAD", r.one(methods)})
	r.target(c)
	r.headers(c)
	if c.method != "GET" && c.method != "HEAD" && r.IntN(6) > 0 || r.IntN(15) == 0 {
		r.send(c)
	}
	if r.IntN(4) == 0 {
		c.script = r.steps()
	}
	if parse(c.method, strings.TrimPrefix(c.call().target, c.method+" ")) == nil {
		c.path, c.query = "/api/v1/namespaces/prod/pods", nil // what a server does not read is not for its filters
	}
	return c
}

// rules are a policy that records most of what comes.
func (r random) rules() *policy.Policy {
	p := &policy.Policy{OmitManagedFields: r.IntN(3) == 0}
	if r.IntN(4) == 0 {
		p.OmitStages = policy.Stages(r.IntN(16))
	}
	level := func() policy.Level {
		return []policy.Level{policy.None, policy.Metadata, policy.Request, policy.RequestResponse, policy.RequestResponse, policy.RequestResponse}[r.IntN(6)]
	}
	for range r.IntN(4) {
		rule := policy.Rule{
			Level: level(), Users: r.list([]string{"alice", "admin", "system:anonymous", "carol", ""}, 4), UserGroups: r.list([]string{"ops", "system:masters", "system:authenticated", "dev"}, 5),
			Verbs: r.list([]string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "post", "*"}, 4),
		}
		if r.IntN(4) == 0 {
			rule.OmitStages = policy.Stages(r.IntN(16))
		}
		if r.IntN(4) == 0 {
			omit := r.IntN(2) == 0
			rule.OmitManagedFields = &omit
		}
		switch r.IntN(4) {
		case 0:
			rule.NonResourceURLs = []string{r.one([]string{"*", "/healthz*", "/api*", "/version", "/apis/*"})}
		case 1:
			rule.Namespaces = []string{r.one([]string{"", "prod", "dev"})}
		case 2:
			rule.Resources = []policy.GroupResources{{Group: r.one([]string{"", "apps", "*"}), Resources: r.list([]string{"pods", "pods/*", "*/status", "*", "deployments", "pods/log", "nodes"}, 1), ResourceNames: r.list(trialNames, 6)}}
		}
		p.Rules = append(p.Rules, rule)
	}
	if r.IntN(10) > 0 {
		p.Rules = append(p.Rules, policy.Rule{Level: level()})
	}
	return p
}

func (r random) target(c *trial) {
	switch r.IntN(10) {
	case 0:
		c.path = r.one(trialPlain)
	case 1:
		var query string
		if c.path, query, _ = strings.Cut(randomTarget(r), "?"); query != "" {
			c.query = strings.Split(query, "&")
		}
	default:
		c.path = r.one([]string{"/api/v1", "/api/v1", "/api/v1", "/apis/apps/v1", "/apis/none.example.com/v1", "/api/v2"})
		if r.IntN(12) == 0 {
			c.path += r.one([]string{"/watch", "/proxy"})
		}
		kind := r.one([]string{"pods", "pods", "pods", "nodes", "namespaces", "deployments", "secrets"})
		if kind != "nodes" && kind != "namespaces" || r.IntN(8) == 0 {
			c.path += "/namespaces/" + r.one([]string{"prod", "prod", "prod", "dev", "%ff", "", "a%2Fb"})
		}
		c.path += "/" + kind
		if creates := c.method == "POST" || c.method == "GET" && r.IntN(2) == 0; !creates || r.IntN(5) == 0 {
			c.path += "/" + r.one(trialNames)
			if r.IntN(3) == 0 {
				c.path += "/" + r.one(trialSubs)
			}
		}
	}
	for range max(0, r.IntN(5)-2) {
		q := r.one(trialQueries)
		if r.IntN(3) == 0 {
			q = r.one(queries)
		}
		c.query = append(c.query, q)
	}
}

func (r random) headers(c *trial) {
	add := func(odds int, name string, value func() string) {
		if r.IntN(odds) == 0 {
			c.header = append(c.header, name+": "+value())
		}
	}
	one := func(from []string) func() string { return func() string { return r.one(from) } }
	add(2, "Authorization", one([]string{"Bearer alice", "Bearer alice", "Bearer admin", "Bearer admin", "Bearer wrong", "Basic x", ""}))
	add(2, "Accept", one(trialAccepts))
	add(12, "Accept", one(trialAccepts))
	add(3, "User-Agent", func() string {
		return strings.Repeat(r.one([]string{"a", "é", "☸", "\xff", "<"}), []int{0, 1, 20, 341, 342, 511, 512, 513, 1023, 1024, 1025, 1026, 4000}[r.IntN(13)]) + r.one([]string{"", "z", "é"})
	})
	for range max(0, r.IntN(6)-3) {
		add(1, "X-Forwarded-For", func() string {
			list := []string{r.one(trialIPs)}
			for range r.IntN(4) {
				list = append(list, r.one(trialIPs))
			}
			return strings.Join(list, r.one([]string{",", ", ", " ,\t"}))
		})
	}
	add(5, "X-Real-Ip", one(trialIPs))
	add(4, "Audit-ID", one(trialIDs))
	add(20, "audit-id", one(trialIDs))
	add(5, "Impersonate-User", one(trialWho))
	add(12, "Impersonate-Group", one([]string{"dev", "system:masters", "", "qa", "system:authenticated"}))
	add(16, "Impersonate-Uid", one([]string{"7", ""}))
	add(12, "Impersonate-Extra-"+r.one([]string{"scopes", "Acme.com%2fx", "%zz", "A_b"}), one(trialVal))
	add(6, "Accept-Encoding", one([]string{"gzip", "deflate", "identity", "gzip;q=0", "br, gzip"}))
	add(40, "Content-Encoding", one([]string{"gzip", "identity", "x", ""}))
	if r.IntN(5) == 0 {
		c.header = append(c.header, "Connection: Upgrade", "Upgrade: "+r.one([]string{"SPDY/3.1", "websocket", "h2c", "x"}))
	}
	if strings.HasSuffix(c.path, "/log") { // upstream waits for ever with a log for a WebSocket that is none (k8s.io/streaming, wsstream.Reader.Copy)
		c.header = slices.DeleteFunc(c.header, func(h string) bool { return h == "Upgrade: websocket" })
	}
	add(30, "Expect", one([]string{"100-continue"}))
	add(30, "If-None-Match", one([]string{"x", "*", `"a"`}))
}

// object is an object as a tree, mostly such as the API takes.
func (r random) object(c *trial) map[string]any {
	meta := map[string]any{}
	if r.IntN(10) > 0 {
		meta["name"] = r.one([]string{"web", "web", "new", "taken", "é", "", "a/b"})
		if at := strings.Split(c.path, "/"); r.IntN(3) > 0 && len(at) > 6 {
			meta["name"], _ = url.PathUnescape(at[6])
		}
	}
	if r.IntN(3) > 0 {
		meta["namespace"] = r.one([]string{"prod", "prod", "prod", "dev", ""})
	}
	for k, values := range map[string][]any{
		"generateName": {"web-"}, "uid": {"u-1", "7d3b2a10-0000-4000-8000-000000000001", ""}, "resourceVersion": {"17", "5", "", 5},
		"labels": {map[string]any{"a": "<b>"}, map[string]any{}, nil}, "annotations": {map[string]any{"k": "v\u2028"}},
		"managedFields":     {[]any{map[string]any{"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": map[string]any{"f:other": map[string]any{}}}}, []any{}, nil},
		"deletionTimestamp": {"2026-11-23T00:00:00Z", nil, "soon"}, "odd": {1, true},
	} {
		// Each in turn: a map's order is never the same twice.
		if rand.New(rand.NewPCG(c.seed, uint64(len(k)))).IntN(6) == 0 { //nolint:gosec // the same requests each time
			meta[k] = values[int(c.seed)%len(values)] //nolint:gosec // a small number
		}
	}
	o := map[string]any{"kind": "Simple", "apiVersion": "v1", "metadata": meta}
	if strings.HasPrefix(c.path, "/apis/apps") {
		o["apiVersion"] = "apps/v1"
	}
	if r.IntN(2) == 0 {
		o["other"] = r.one([]string{"x", "<b>&", "\u2028", "", "🙂", "\x00"})
	}
	switch r.IntN(20) {
	case 0:
		delete(o, "kind")
	case 1:
		o["kind"] = r.one([]string{"Other", "Status", "DeleteOptions", "List", "SimpleList"})
	case 2:
		o["apiVersion"] = r.one([]string{"v2", "", "meta.k8s.io/v1"})
	case 3:
		o["color"] = []any{1, 1.5, -0.0, 1e300, nil, "red"}
	case 4:
		o["metadata"] = []any{nil, "x", []any{}, map[string]any{}}[r.IntN(4)]
	case 5:
		o["items"] = []any{map[string]any{"metadata": maps.Clone(meta)}}
	case 6:
		o["labels"] = map[string]any{"n": strings.Repeat("l", 1<<r.IntN(18))}
	}
	return o
}

func (r random) options() map[string]any {
	o := map[string]any{"kind": "DeleteOptions", "apiVersion": r.one([]string{"v1", "v1", "meta.k8s.io/v1", "apps/v1", "v2"})}
	for _, f := range []struct {
		key   string
		value any
	}{
		{"gracePeriodSeconds", 5}, {"gracePeriodSeconds", "x"}, {"propagationPolicy", "Background"}, {"orphanDependents", true}, {"preconditions", map[string]any{"uid": "u-1"}},
		{"dryRun", []any{"All"}}, {"dryRun", []any{}}, {"odd", 1},
	} {
		if r.IntN(6) == 0 {
			o[f.key] = f.value
		}
	}
	if r.IntN(10) == 0 {
		delete(o, "kind")
	}
	return o
}

// send gives a trial a body.
func (r random) send(c *trial) {
	contentType := r.one(trialTypes)
	var tree any = r.object(c)
	switch {
	case c.method == "PATCH":
		contentType = r.one(trialPatches)
		if strings.Contains(contentType, "json-patch") || r.IntN(20) == 0 {
			tree = []any{map[string]any{"op": r.one([]string{"replace", "add", "odd"}), "path": "/other", "value": "z"}}
		}
	case c.method == "DELETE" && r.IntN(8) > 0:
		tree = r.options()
	}
	if contentType != "" || r.IntN(2) == 0 {
		c.header = append(c.header, "Content-Type: "+contentType)
	}
	c.body = r.encode(tree, contentType)
	if r.IntN(25) == 0 {
		c.body = r.broken(c.body)
	}
	if r.IntN(12) == 0 {
		c.chunks = 1 + r.IntN(4)
		if r.IntN(4) == 0 {
			c.chunks = -c.chunks
		}
	}
}

func (r random) encode(tree any, contentType string) string {
	text, err := json.Marshal(tree)
	if err != nil {
		panic(err)
	}
	switch {
	case strings.Contains(contentType, "yaml") && r.IntN(5) > 0:
		if text, err = yaml.JSONToYAML(text); err != nil {
			panic(err)
		}
	case strings.Contains(contentType, "cbor") && r.IntN(8) > 0:
		if err := json.Unmarshal(text, &tree); err != nil { // numbers as the format has them
			panic(err)
		}
		if text, err = cbor.Marshal(tree); err != nil {
			panic(err)
		}
	case strings.Contains(contentType, "protobuf") && r.IntN(3) > 0:
		return protobufOptions()
	default:
		var b bytes.Buffer
		switch r.IntN(5) {
		case 0:
			if json.Indent(&b, text, "\t", "\r\n ") == nil {
				return b.String()
			}
		case 1: // a name that says the same in other letters
			return strings.NewReplacer(`"metadata"`, `"met\u0061data"`, `"managedFields"`, `"managed\u0046ields"`, `"name"`, `"n\u0061me"`).Replace(string(text))
		}
	}
	return string(text)
}

// broken is a body that something is wrong with.
func (r random) broken(body string) string {
	switch r.IntN(12) {
	case 0:
		return body[:r.IntN(len(body)+1)]
	case 1:
		return body + r.one([]string{"x", "{}", "\x00", " \n", "}", "\n---\n"})
	case 2:
		at := r.IntN(len(body) + 1)
		return body[:at] + r.one([]string{"\xff", "\"", "\\", "{", "\x00", ",", "é"}) + body[at:]
	case 3:
		return strings.Repeat("[", 20_000)
	case 4:
		return strings.Replace(body, "{", `{"kind":"Simple","kind":null,"metadata":null,"metadata":{"name":"twice","name":"again"},`, 1)
	case 5:
		return strings.Replace(body, "{", `{"Metadata":{"Name":"upper"},"KIND":"x",`, 1)
	case 6:
		if r.IntN(8) == 0 {
			return strings.Replace(body, "{", `{"other":"`+strings.Repeat("x", 3<<20)+`",`, 1)
		}
	case 7:
		return strings.Replace(body, "{", `{"deep":`+strings.Repeat(`{"a":`, 200)+"1"+strings.Repeat("}", 200)+",", 1)
	case 8:
		return strings.Replace(body, "{", `{"big":123456789012345678901234567890,"e":1E+2,"z":-0,`, 1)
	}
	return r.one([]string{"null", "[]", "{}", `""`, "1", "true", " ", "{\"a\"}", "---\n", "\xef\xbb\xbf{}", "&a [*a]", "k8s\x00", "nul", "NaN", "<xml/>", "\xd9\xd9\xf7\xa0"})
}

// steps are what a handler may do, mostly what it may do once.
func (r random) steps() (s script) {
	add := func(odds int, step ...string) {
		if r.IntN(odds) == 0 {
			s = append(s, step...)
		}
	}
	if r.IntN(3) == 0 {
		s = append(s, "read "+r.one([]string{"0", "10", "100000000"}))
	}
	add(4, "annotate a.example/k=<v>", "annotate a.example/k=second")
	add(5, "header X-Odd: \xff", "header X-Odd: two")
	add(20, "header Audit-ID: theirs")
	add(12, "code "+r.one([]string{"100", "102", "103"}))
	switch r.IntN(7) {
	case 0:
		s = append(s, "error "+r.one(slices.Sorted(maps.Keys(failures))))
	case 1:
		s = append(s, "object "+r.one([]string{"1", "100", "20000"}))
	case 2:
		s = append(s, "status "+strconv.Itoa([]int{200, 201, 202, 207, 400, 404}[r.IntN(6)]))
	case 3:
		s = append(s, "internal <it> & I")
	case 4:
		s = append(s, "hijack hello")
	default:
		add(2, "header Content-Type: "+r.one([]string{"text/plain", "text/html", "", "application/octet-stream", "application/json", "application/json", "application/yaml", "application/cbor", "application/vnd.kubernetes.protobuf"}))
		if !s.ownWords() { // what is written beyond it does not go out
			add(5, "header Content-Length: "+r.one([]string{"0", "5", "17", "100"}))
		}
		add(8, "header Content-Encoding: "+r.one([]string{"gzip", "identity"}))
		add(2, "code "+r.one([]string{"200", "201", "204", "304", "301", "400", "401", "403", "404", "409", "429", "500", "503", "599", "999"}))
		add(6, "flush")
		for range r.IntN(4) {
			s = append(s, r.one([]string{
				"write 12345", "write ", "write {\"kind\":\"Status\"", "write ,\"apiVersion\":\"v1\",\"status\":\"Failure\",\"reason\":\"R\",\"code\":418}", "write {\"kind\":\"Pod\",\"metadata\":{\"managedFields\":[]}}",
				"copy 0123456789", "fill 100", "fill 5000", "fill 200000", "flush",
			}))
		}
		add(10, "code 500")
	}
	add(9, "panic "+r.one([]string{"abort", "<ball>", "\x00\xff"}))
	add(10, "annotate b.example/late=1")
	if len(s) == 0 {
		s = script{"code 200"}
	}
	return s
}
