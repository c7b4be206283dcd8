package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	nodeIP   = "10.99.0.1"
	nodeName = "cp1"
	manifest = "/etc/kubernetes/manifests/kube-apiserver.yaml"
	auditLog = "/var/log/kubernetes/audit/audit.log"
)

// node is a control plane of one node: etcd and kube-apiserver as kubeadm sets
// them up, run by kubelet and containerd.
type node struct {
	lab, bin, ktrail string
	version          string
	client           *http.Client
	plain            []byte // the manifest as kubeadm wrote it
}

// startNode returns when the API server is ready. change, if there is one, may
// change the API server's manifest before it is started.
func startNode(t *testing.T, change func(manifest []byte) []byte) *node {
	t.Helper()
	n := &node{lab: needs(t, labVar), bin: needs(t, "KTRAIL_E2E_BIN"), ktrail: needs(t, "KTRAIL_E2E_STATIC")}
	begun := time.Now()
	path := n.bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if err := os.Setenv("PATH", path); err != nil {
		t.Fatal(err)
	}
	n.version = strings.Fields(n.run(t, "kubelet", "--version"))[1]

	socket := filepath.Join(n.lab, "containerd.sock")
	config := write(t, n.lab, "containerd.toml", fmt.Sprintf(containerdConfig, n.lab))
	start(t, exec.Command("containerd", "-c", config), filepath.Join(n.lab, "containerd.log"))
	waitFor(t, "containerd", func() error { return exec.Command("ctr", "-a", socket, "version").Run() })
	for program, reference := range map[string]string{
		"pause": "ktrail.e2e/pause:e2e", "etcd": "ktrail.e2e/etcd:e2e", "kube-apiserver": "ktrail.e2e/kube-apiserver:" + n.version,
	} {
		archive := filepath.Join(n.lab, program+".tar")
		if err := writeImage(archive, filepath.Join(n.bin, program), reference); err != nil {
			t.Fatalf("image of %s: %v", program, err)
		}
		n.run(t, "ctr", "-a", socket, "-n", "k8s.io", "images", "import", archive)
		os.Remove(archive)
	}

	kubeadm := write(t, n.lab, "kubeadm.yaml", fmt.Sprintf(kubeadmConfig, nodeIP, socket, nodeName, n.version))
	for _, phase := range []string{"certs all", "kubeconfig all", "etcd local", "control-plane apiserver"} {
		args := append([]string{"init", "phase"}, strings.Fields(phase)...)
		n.run(t, "kubeadm", append(args, "--config", kubeadm)...)
	}
	n.plain = n.read(t, manifest)
	if change != nil {
		if err := os.WriteFile(manifest, change(n.plain), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.client = clientOf(t, "/etc/kubernetes/super-admin.conf")
	n.startKubelet(t, socket)
	waitFor(t, "the API server", n.ready)
	waitFor(t, "the administrators' role", func() error {
		_, err := n.kubectl("create", "clusterrolebinding", "kubeadm:cluster-admins", "--clusterrole=cluster-admin", "--group=kubeadm:cluster-admins")
		return err
	})
	n.run(t, "kubeadm", "init", "phase", "upload-config", "kubeadm", "--config", kubeadm, "--kubeconfig", "/etc/kubernetes/super-admin.conf")
	t.Logf("a control plane of %s is ready after %.0f s", n.version, time.Since(begun).Seconds())
	return n
}

func (n *node) startKubelet(t *testing.T, socket string) {
	resolv := write(t, n.lab, "resolv.conf", "nameserver 127.0.0.1\n")
	config := write(t, n.lab, "kubelet.yaml", fmt.Sprintf(kubeletConfig, socket, resolv, cgroup))
	start(t, exec.Command("kubelet", "--config", config, "--kubeconfig", "/etc/kubernetes/kubelet.conf", "--hostname-override", nodeName, "--node-ip", nodeIP),
		filepath.Join(n.lab, "kubelet.log"))
}

// run runs a program that has to work.
func (n *node) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (n *node) kubectl(args ...string) (string, error) {
	out, err := exec.Command("kubectl", append([]string{"--kubeconfig", "/etc/kubernetes/super-admin.conf", "--request-timeout=1m"}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (n *node) read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// ready asks the API server, not ktrail.
func (n *node) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+nodeIP+":6443/readyz", nil)
	if err != nil {
		return err
	}
	res, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return err
}

// watch measures how long the API server is away, until stop is called.
func (n *node) watch() (stop func() []time.Duration) {
	end, done := make(chan struct{}), make(chan []time.Duration)
	go func() {
		var downs []time.Duration
		var since time.Time
		for {
			select {
			case <-end:
				if !since.IsZero() {
					downs = append(downs, time.Since(since))
				}
				done <- downs
				return
			case <-time.After(50 * time.Millisecond):
			}
			switch err := n.ready(); {
			case err != nil && since.IsZero():
				since = time.Now()
			case err == nil && !since.IsZero():
				downs = append(downs, time.Since(since))
				since = time.Time{}
			}
		}
	}()
	return func() []time.Duration {
		close(end)
		return <-done
	}
}

// clientOf makes a client out of a kubeconfig with its certificates inside. Each
// request gets a connection of its own: an API server that ends keeps old ones.
func clientOf(t *testing.T, path string) *http.Client {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var k struct {
		Clusters []struct{ Cluster map[string]string }
		Users    []struct{ User map[string]string }
	}
	if err := yaml.Unmarshal(data, &k); err != nil {
		t.Fatal(err)
	}
	decode := func(s string) []byte {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil || len(b) == 0 {
			t.Fatalf("%s: %v", path, err)
		}
		return b
	}
	pair, err := tls.X509KeyPair(decode(k.Users[0].User["client-certificate-data"]), decode(k.Users[0].User["client-key-data"]))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bytes.TrimSpace(decode(k.Clusters[0].Cluster["certificate-authority-data"])))
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}, DisableKeepAlives: true,
	}}
}

const containerdConfig = `version = 3
root = "%[1]s/root"
state = "%[1]s/state"
[grpc]
  address = "%[1]s/containerd.sock"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "ktrail.e2e/pause:e2e"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    SystemdCgroup = false
`

const kubeadmInit = `apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: %q, bindPort: 6443}
nodeRegistration: {criSocket: "unix://%s", name: %q}
`

const kubeadmConfig = kubeadmInit + `---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: %s
imageRepository: ktrail.e2e
etcd: {local: {imageTag: e2e, dataDir: /var/lib/etcd}}
encryptionAlgorithm: ECDSA-P256
networking: {podSubnet: "10.244.0.0/16"}
`

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix://%s
staticPodPath: /etc/kubernetes/manifests
resolvConf: %s
cgroupRoot: /%s
evictionHard: {memory.available: "100Mi"}
localStorageCapacityIsolation: false
`
