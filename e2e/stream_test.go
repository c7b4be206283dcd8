package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestInsideStreams is run by [TestStreams]: what needs a kubelet goes through ktrail
// proxy, set up with kubeadm's own certificates as docs/capture.md says.
func TestInsideStreams(t *testing.T) {
	if os.Getenv(roleVar) != "inside" {
		t.Skip("run by TestStreams")
	}
	const pki, dir = "/etc/kubernetes/pki/", "/var/log/kubernetes/audit"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	policy := write(t, dir, "policy.yaml", comparedPolicy)
	n := startNode(t, func(m []byte) []byte { return audited(t, m, dir, policy) })

	// What kubeadm init does, in a phase that is not run here.
	if _, err := n.kubectl("create", "clusterrolebinding", "kubeadm:apiserver-kubelet-client", "--clusterrole=system:kubelet-api-admin", "--user=kube-apiserver-kubelet-client"); err != nil {
		t.Fatal(err)
	}

	addr, admin := nodeIP+":8443", "127.0.0.1:8444"
	proxy := start(t, n.command("proxy", "--listen", addr, "--admin-listen", admin, "--upstream", "https://"+nodeIP+":6443", "--upstream-ca-file", pki+"ca.crt",
		"--tls-cert-file", pki+"apiserver.crt", "--tls-private-key-file", pki+"apiserver.key", "--client-ca-file", pki+"ca.crt",
		"--proxy-client-cert-file", pki+"front-proxy-client.crt", "--proxy-client-key-file", pki+"front-proxy-client.key", "--redact=false",
		"--audit-policy-file", policy, "--audit-log-path", filepath.Join(n.lab, "proxied", "audit.log"), "--audit-log-maxsize", "0"),
		filepath.Join(n.lab, "proxy.log"))
	waitFor(t, "the proxy", func() error { return ok("http://" + admin + "/readyz") })
	config := write(t, n.lab, "proxied.conf", strings.ReplaceAll(string(n.read(t, "/etc/kubernetes/super-admin.conf")), nodeIP+":6443", addr))
	kubectl := func(says *regexp.Regexp, args string, env ...string) (string, error) {
		c := exec.Command("kubectl", append([]string{"--kubeconfig", config, "-n", "kube-system"}, strings.Fields(args)...)...)
		c.Env = append(os.Environ(), env...)
		return until(c, says)
	}
	etcd := "etcd-" + nodeName
	waitFor(t, "the pod of etcd", func() error {
		out, err := kubectl(nil, "get pod "+etcd+" -o jsonpath={.status.containerStatuses[0].ready}")
		if err != nil || out != "true" {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	const spdy, forwardSPDY = "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false", "KUBECTL_PORT_FORWARD_WEBSOCKETS=false"
	for _, s := range []struct {
		args          string
		env           string
		killed, fails bool
		says          string
	}{
		{"logs " + etcd + " --tail=3", "", false, false, "{"},
		{"logs -f " + etcd + " --tail=3", "", true, true, "{"},
		{"logs " + etcd + " -c none", "", false, true, "none"},
		{"exec " + etcd + " -- etcd --version", "", false, false, "etcd Version"},
		{"exec " + etcd + " -- etcd --version", spdy, false, false, "etcd Version"},
		{"exec " + etcd + " -- etcd --no-such-flag", "", false, true, "exit code"},
		{"exec " + etcd + " -- no-such-program", "", false, true, "no-such-program"},
		{"attach " + etcd, "", true, true, ""},
		{"attach " + etcd, spdy, true, true, ""},
		{"get --raw /api/v1/nodes/" + nodeName + "/proxy/healthz", "", false, false, "ok"},
		{"get --raw /api/v1/namespaces/kube-system/pods/" + etcd + ":2381/proxy/version", "", false, true, "connection refused"},
	} {
		var says *regexp.Regexp
		if s.killed {
			says = regexp.MustCompile(regexp.QuoteMeta(s.says))
		}
		out, err := kubectl(says, s.args, s.env)
		if (err != nil) != s.fails || !strings.Contains(out, s.says) {
			t.Errorf("kubectl %s %s: %v, want %q\n%s", s.args, s.env, err, s.says, out)
		}
	}
	for i, env := range []string{"", forwardSPDY} {
		forward(t, exec.Command("kubectl", "--kubeconfig", config, "-n", "kube-system", "port-forward", "pod/"+etcd, fmt.Sprintf("1238%d:2381", i)), env, fmt.Sprintf("http://127.0.0.1:1238%d/health", i))
	}

	stop(t, proxy)
	mine, theirs := byID(readEvents(t, filepath.Join(n.lab, "proxied"))), map[string][]event{}
	c := newComparison(differences)
	waitFor(t, "the API server's own events", func() error { // sessions that end, end there a little later
		theirs = byID(readEvents(t, dir))
		for id, events := range mine {
			if len(theirs[id]) != len(events) {
				return fmt.Errorf("of %s it has %q", events[0], stages(theirs[id]))
			}
		}
		return nil
	})
	sessions := map[string]int{}
	for id, events := range mine {
		c.request(theirs[id], events)
		ref, _ := events[0]["objectRef"].(map[string]any)
		if sub, _ := ref["subresource"].(string); sub != "" {
			sessions[sub]++
		}
	}
	c.report(t, false)
	t.Logf("sessions: %v", sessions)
	for _, sub := range []string{"log", "exec", "attach", "portforward", "proxy"} {
		if sessions[sub] == 0 {
			t.Errorf("no %s was recorded", sub)
		}
	}
}

// forward reads something through kubectl port-forward.
func forward(t *testing.T, c *exec.Cmd, env, url string) {
	t.Helper()
	c.Env = append(os.Environ(), env)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the forwarded port", func() error {
		res, err := http.Get(url)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err == nil && !bytes.Contains(body, []byte(`"health"`)) {
			err = fmt.Errorf("%s: %s", res.Status, body)
		}
		return err
	})
	stop(t, c)
}

// audited is kubeadm's manifest with an audit log by a policy.
func audited(t *testing.T, manifest []byte, dir, policy string) []byte {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal(manifest, &m); err != nil {
		t.Fatal(err)
	}
	spec := m["spec"].(map[string]any)
	c := spec["containers"].([]any)[0].(map[string]any)
	c["command"] = append(c["command"].([]any), "--audit-policy-file="+policy, "--audit-log-path="+dir+"/audit.log", "--audit-log-maxsize=0")
	c["volumeMounts"] = append(c["volumeMounts"].([]any), map[string]any{"name": "audit", "mountPath": dir})
	spec["volumes"] = append(spec["volumes"].([]any), map[string]any{"name": "audit", "hostPath": map[string]any{"path": dir}})
	out, err := yaml.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
