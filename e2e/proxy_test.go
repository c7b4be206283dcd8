package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxied is an API server that believes a proxy, the proxy, and a kubectl that
// goes through it. Both write an audit log by the same policy.
type proxied struct {
	dir, bin, ktrail string
	api              *apiServer
	proxy            *exec.Cmd
	addr, admin      string
	ca               *authority
	user             certificate // of dave, who may do everything
	tokens           map[string]string
	known            map[string][]event // what the API server logged before the proxy started
}

// Without a controller manager there are no aggregated roles, and no ServiceAccounts but those that are made.
const proxiedRoles = `
{apiVersion: v1, kind: ServiceAccount, metadata: {name: ktrail-proxy, namespace: kube-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: ktrail-proxy}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:auth-delegator"}
subjects: [{kind: ServiceAccount, name: ktrail-proxy, namespace: kube-system}]
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot, namespace: default}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: config, namespace: default}
rules: [{apiGroups: [""], resources: [configmaps], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: view, namespace: default}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: robot, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: config}
subjects: [{kind: ServiceAccount, name: robot, namespace: default}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: bob, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: bob}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: impersonate-bob}
rules: [{apiGroups: [""], resources: [users], resourceNames: [bob], verbs: [impersonate]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: impersonate-bob}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: impersonate-bob}
subjects: [{kind: ServiceAccount, name: robot, namespace: default}]
`

const comparedPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: None
  nonResourceURLs: ["/livez*"]
- level: Metadata
  resources: [{group: coordination.k8s.io}]
- level: RequestResponse
  omitManagedFields: true
  resources: [{group: apps}]
- level: Request
  resources: [{group: "", resources: [serviceaccounts/token]}]
  omitStages: [RequestReceived]
- level: RequestResponse
`

// startProxied has an API server, its roles and a proxy ready. With more the proxy is told more.
func startProxied(t *testing.T) *proxied {
	t.Helper()
	p := &proxied{dir: t.TempDir(), bin: needs(t, "KTRAIL_E2E_BIN"), ktrail: needs(t, "KTRAIL_E2E_KTRAIL"), tokens: map[string]string{}}
	p.ca = newAuthority(t, p.dir, "users-ca")
	front := newAuthority(t, p.dir, "front-ca")
	serving := p.ca.server(t, "apiserver")
	p.user = p.ca.client(t, "dave@example.com", "developers", "system:masters")
	policy := write(t, p.dir, "compared.yaml", comparedPolicy)
	p.api = startAPIServer(t, p.bin, p.dir, "--audit-policy-file", policy, "--audit-log-maxsize", "0",
		"--audit-log-truncate-enabled", "--tls-cert-file", serving.cert, "--tls-private-key-file", serving.key, "--client-ca-file", p.ca.file,
		"--requestheader-client-ca-file", front.file, "--requestheader-allowed-names", "ktrail-proxy",
		"--requestheader-username-headers", "X-Remote-User", "--requestheader-uid-headers", "X-Remote-Uid",
		"--requestheader-group-headers", "X-Remote-Group", "--requestheader-extra-headers-prefix", "X-Remote-Extra-")

	// The proxy's own credentials may ask who users are, and nothing else.
	p.config(t, "direct", p.api.url)
	p.must(t, "direct", "dave", proxiedRoles, "create", "-f", "-")
	p.tokens["robot"] = strings.TrimSpace(p.must(t, "direct", "dave", "", "create", "token", "robot"))
	p.tokens["proxy"] = strings.TrimSpace(p.must(t, "direct", "dave", "", "create", "token", "ktrail-proxy", "-n", "kube-system"))
	p.tokens["alice"], p.tokens["wrong"] = token, "this.is.nobodys"
	p.config(t, "direct", p.api.url)

	p.known = byID(readEvents(t, filepath.Join(p.dir, "audit")))
	pair := p.ca.server(t, "proxy")
	own := front.client(t, "ktrail-proxy")
	p.addr, p.admin = freeAddr(t), freeAddr(t)
	p.proxy = start(t, exec.Command(p.ktrail, "proxy", "--listen", p.addr, "--admin-listen", p.admin, "--upstream", p.api.url, "--upstream-ca-file", p.ca.file,
		"--tls-cert-file", pair.cert, "--tls-private-key-file", pair.key, "--client-ca-file", p.ca.file,
		"--proxy-client-cert-file", own.cert, "--proxy-client-key-file", own.key,
		"--kubeconfig", p.kubeconfig("direct", "proxy"), "--redact=false",
		"--audit-policy-file", policy, "--audit-log-path", filepath.Join(p.dir, "proxied", "audit.log"), "--audit-log-maxsize", "0", "--audit-log-truncate-enabled"),
		filepath.Join(p.dir, "proxy.log"))
	waitFor(t, "the proxy", func() error { return ok("http://" + p.admin + "/readyz") })
	p.config(t, "proxied", "https://"+p.addr)
	return p
}

// config writes a kubeconfig for each user that is known.
func (p *proxied) config(t *testing.T, way, server string) {
	t.Helper()
	users := map[string]string{"dave": fmt.Sprintf("{client-certificate: %s, client-key: %s}", p.user.cert, p.user.key), "nobody": "{}"}
	for name, token := range p.tokens {
		users[name] = fmt.Sprintf("{token: %s}", token)
	}
	for name, user := range users {
		write(t, p.dir, way+"-"+name+".conf", fmt.Sprintf(kubeconfigText, server, p.ca.file, user))
	}
}

const kubeconfigText = `apiVersion: v1
kind: Config
current-context: e2e
contexts: [{name: e2e, context: {cluster: e2e, user: e2e}}]
clusters: [{name: e2e, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: e2e, user: %s}]
`

func (p *proxied) kubeconfig(way, user string) string {
	return filepath.Join(p.dir, way+"-"+user+".conf")
}

// kubectl returns what it printed on both streams.
func (p *proxied) kubectl(way, user, stdin string, args ...string) (string, error) {
	return p.kubectlUntil(nil, way, user, stdin, args...)
}

func (p *proxied) kubectlUntil(says *regexp.Regexp, way, user, stdin string, args ...string) (string, error) {
	c := exec.Command(filepath.Join(p.bin, "kubectl"), args...)
	c.Env = append(os.Environ(), "HOME="+p.dir, "KUBECONFIG="+p.kubeconfig(way, user), "KUBECACHEDIR="+filepath.Join(p.dir, "cache-"+way+"-"+user))
	c.Stdin = strings.NewReader(stdin)
	return until(c, says)
}

// until runs a command and returns what it printed on both streams. If says is not nil it is
// killed two seconds after it said so, which is to the server a client that is gone. What says
// nothing of it, or does not end, is killed after two minutes.
func until(c *exec.Cmd, says *regexp.Regexp) (string, error) {
	out := &heard{says: says, said: make(chan struct{})}
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		return "", err
	}
	_, _ = out.Write(nil) // that it is there may be all that is waited for
	ended := make(chan struct{})
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		select {
		case <-ended:
			return
		case <-out.said:
		case <-time.After(2 * time.Minute):
		}
		select {
		case <-ended:
		case <-time.After(2 * time.Second):
		}
		_ = c.Process.Kill()
	}()
	err := c.Wait()
	close(ended)
	<-killed
	return out.text.String(), err
}

// heard is what a program has printed, and closes said when that is what is waited for.
type heard struct {
	says *regexp.Regexp
	said chan struct{}
	mu   sync.Mutex
	text bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text.Write(p)
	if h.says != nil && h.says.Match(h.text.Bytes()) {
		close(h.said)
		h.says = nil
	}
	return len(p), nil
}

func (p *proxied) must(t *testing.T, way, user, stdin string, args ...string) string {
	t.Helper()
	out, err := p.kubectl(way, user, stdin, args...)
	if err != nil {
		t.Fatalf("kubectl %s, %s as %s: %v\n%s", strings.Join(args, " "), way, user, err, out)
	}
	return out
}

// send is for what kubectl does not do. It returns the Audit-ID of the answer.
func (p *proxied) send(t *testing.T, server, user, method, path, contentType, body string, headers ...string) (int, string) {
	t.Helper()
	pool := x509.NewCertPool()
	text, err := os.ReadFile(p.ca.file)
	if err != nil {
		t.Fatal(err)
	}
	pool.AppendCertsFromPEM(text)
	config := &tls.Config{RootCAs: pool}
	r, err := http.NewRequest(method, server+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if user == "dave" {
		pair, err := tls.LoadX509KeyPair(p.user.cert, p.user.key)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	} else if user != "nobody" {
		r.Header.Set("Authorization", "Bearer "+p.tokens[user])
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	// The proxy comes from another address.
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, DialContext: from.DialContext}
	res, err := (&http.Client{Transport: transport, Timeout: 2 * time.Minute}).Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return res.StatusCode, res.Header.Get("Audit-Id")
}

// TestProxy sends what kubectl sends through ktrail proxy to a real API server, and
// compares the proxy's audit log with the API server's own, event by event.
func TestProxy(t *testing.T) {
	p := startProxied(t)
	begun := time.Now()
	for _, s := range kubectlSteps {
		want := regexp.MustCompile(s.says)
		var says *regexp.Regexp
		if strings.Contains(s.args, "--watch") {
			says = want
		}
		out, err := p.kubectlUntil(says, "proxied", s.user, s.stdin, strings.Fields(s.args)...)
		if (err != nil) != s.fails || !want.MatchString(out) {
			t.Errorf("kubectl %s as %s: %v, want %q\n%.1000s", s.args, s.user, err, s.says, out)
		}
	}
	p.raw(t)
	t.Logf("%d kubectl commands in %.0f s", len(kubectlSteps), time.Since(begun).Seconds())

	before := p.known
	stop(t, p.proxy)
	p.api.stop(t)
	mine, theirs := byID(readEvents(t, filepath.Join(p.dir, "proxied"))), byID(readEvents(t, filepath.Join(p.dir, "audit")))
	c := newComparison(differences)
	alone := map[string][][]event{} // what has no counterpart of the same ID, by what was asked
	for id, events := range mine {
		if served, ok := theirs[id]; ok {
			c.request(served, events)
		} else if e := events[0]; e.text("verb") == "lose" {
			t.Logf("the proxy reports: %v", e["responseStatus"])
		} else {
			alone[asked(e)] = append(alone[asked(e)], events)
		}
	}
	asks := 0
	for id, events := range theirs {
		e := events[0]
		user, _ := e["user"].(map[string]any)
		switch {
		case before[id] != nil || mine[id] != nil || user["username"] == "system:apiserver":
		case len(alone[asked(e)]) > 0: // the same request, sent to the API server
			c.request(events, alone[asked(e)][0])
			alone[asked(e)] = alone[asked(e)][1:]
		case e.text("userAgent") == "ktrail-proxy":
			asks++
		default:
			t.Errorf("the proxy does not have %s", e)
		}
	}
	for _, events := range alone {
		for _, e := range events {
			t.Errorf("the API server does not have %s", e[0])
		}
	}
	c.report(t, true)
	t.Logf("%d requests of the proxy's own", asks)
}

// asked is what a request that was refused has in common with its twin.
func asked(e event) string { return e.text("requestURI") + " " + e.text("userAgent") }

// raw sends what kubectl does not.
func (p *proxied) raw(t *testing.T) {
	proxy := "https://" + p.addr
	const configMaps = "/api/v1/namespaces/default/configmaps"
	for _, r := range []struct {
		user, method, path, kind, body string
		want                           int
		headers                        []string
	}{
		{"alice", "POST", configMaps, "application/yaml", "metadata:\n  name: in-yaml\ndata:\n  a: b\n", 201, nil},
		{"alice", "POST", configMaps, "application/json", `{"metadata":{"generateName":"made-"}}`, 201, nil},
		{"alice", "POST", configMaps, "application/json", `{"metadata":`, 400, nil},
		{"alice", "GET", configMaps + "?limit=2", "", "", 200, []string{"Accept", "application/vnd.kubernetes.protobuf"}},
		{"alice", "GET", configMaps + "?limit=2", "", "", 200, []string{"Accept", "application/yaml"}},
		{"alice", "GET", configMaps + "/in-yaml", "", "", 200, []string{"Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}},
		{"alice", "GET", configMaps + "?fieldSelector=metadata.name%3Din-yaml", "", "", 200, nil},
		{"alice", "GET", configMaps + "?watch=1&timeoutSeconds=1", "", "", 200, nil},
		{"alice", "GET", configMaps + "?watch=1&timeoutSeconds=1&resourceVersion=1", "", "", 200, nil},
		{"alice", "GET", configMaps + "?watch=1&timeoutSeconds=nonsense", "", "", 400, nil},
		{"alice", "GET", configMaps + "?timeout=nonsense", "", "", 400, nil},
		{"alice", "GET", "/apis/example.com/v1/nothing", "", "", 404, nil},
		{"alice", "GET", "/nowhere", "", "", 404, nil},
		{"alice", "PUT", configMaps + "/in-yaml?dryRun=All", "application/json", `{"metadata":{"name":"in-yaml"},"data":{"a":"c"}}`, 200, nil},
		{"alice", "PUT", configMaps + "/in-yaml", "application/json", `{"metadata":{"name":"another"}}`, 400, nil},
		{"alice", "PATCH", configMaps + "/in-yaml", "text/plain", "x", 415, nil},
		{"dave", "DELETE", configMaps + "?labelSelector=no%3Dsuch", "application/json", `{"kind":"DeleteOptions","apiVersion":"v1"}`, 200, nil},
		{"dave", "GET", "/api/v1/namespaces/default/services/https:kubernetes:443/proxy/version", "", "", 503, nil},
		{"dave", "GET", "/api/v1/pods", "", "", 200, []string{"User-Agent", strings.Repeat("long", 400)}},
		{"dave", "GET", "/api/v1/pods", "", "", 200, []string{"X-Forwarded-For", "192.0.2.7, 192.0.2.8", "X-Remote-User", "mallory", "X-Remote-Group", "system:masters"}},
		{"robot", "GET", "/api/v1/pods", "", "", 403, []string{"X-Remote-User", "mallory", "X-Remote-Group", "system:masters"}},
		{"nobody", "GET", "/version", "", "", 200, nil},
		{"nobody", "GET", "/api/v1/secrets", "", "", 403, nil},
		{"robot", "GET", configMaps, "", "", 400, []string{"Impersonate-Group", "system:masters"}},
		{"dave", "GET", configMaps, "", "", 200, []string{"Impersonate-User", "carol", "Impersonate-Group", "system:masters", "Impersonate-Extra-Scopes", "a%2Fb"}},
		{"dave", "OPTIONS", configMaps, "", "", 405, nil},
		{"wrong", "GET", configMaps, "", "", 401, nil},
		{"wrong", "GET", "/version", "", "", 401, nil},
		{"alice", "HEAD", "/healthz", "", "", 200, nil},
	} {
		servers := []string{proxy}
		if strings.HasSuffix(r.path, "?timeout=nonsense") || r.want == 401 {
			servers = append(servers, p.api.url) // the proxy does not let it through
		}
		for _, server := range servers {
			if got, id := p.send(t, server, r.user, r.method, r.path, r.kind, r.body, r.headers...); got != r.want {
				t.Errorf("%s %s as %s: %d, want %d (%s)", r.method, r.path, r.user, got, r.want, id)
			}
		}
	}
	if out, err := p.kubectl("direct", "wrong", "", "get", "configmaps"); err == nil {
		t.Errorf("a wrong token is taken: %s", out)
	}
}
