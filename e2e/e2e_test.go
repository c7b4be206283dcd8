// Package e2e drives the built ktrail against a real etcd and kube-apiserver.
// `make e2e` builds both and sets the variables that name them.
package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const token = "e2e-token"

// TestNothingIsLost follows a real API server's log through many rotations, with
// ktrail killed and restarted in between, and compares what ktrail answers with
// every file that the API server wrote.
func TestNothingIsLost(t *testing.T) {
	bin, ktrail := needs(t, "KTRAIL_E2E_BIN"), needs(t, "KTRAIL_E2E_KTRAIL")
	dir := t.TempDir()
	api := startAPIServer(t, bin, dir)
	log := filepath.Join(dir, "audit", "audit.log")
	data := filepath.Join(dir, "data")
	addr := freeAddr(t)

	serve := func() *exec.Cmd {
		c := exec.Command(ktrail, "serve", "--data", data, "--audit-log", log, "--cluster", "e2e", "--listen", addr, "--min-free", "1MB")
		return start(t, c, filepath.Join(dir, "ktrail.log"))
	}
	server := serve()
	waitFor(t, "ktrail ready", func() error { return ok("http://" + addr + "/readyz") })

	traffic := func(round int) {
		for i := range 150 {
			name := fmt.Sprintf("r%d-%d", round, i)
			body := fmt.Sprintf(`{"metadata":{"name":%q},"data":{"text":%q}}`, name, strings.Repeat("x", 500+i*7))
			api.do(t, "POST", "/api/v1/namespaces/default/configmaps", body)
			api.do(t, "PATCH", "/api/v1/namespaces/default/configmaps/"+name, `{"data":{"more":"1"}}`)
			api.do(t, "POST", "/api/v1/namespaces/default/secrets", fmt.Sprintf(`{"metadata":{"name":%q},"stringData":{"password":"open-sesame-%s"}}`, name, name))
			api.do(t, "GET", "/api/v1/namespaces/default/secrets/"+name, "")
			api.do(t, "DELETE", "/api/v1/namespaces/default/configmaps/"+name, "")
		}
	}
	for round := range 4 {
		var work sync.WaitGroup
		work.Go(func() { traffic(round) })
		switch round {
		case 1, 2: // killed under load, and back at once
			time.Sleep(300 * time.Millisecond)
			kill(t, server)
			server = serve()
		case 3: // away while files are rotated and compressed
			kill(t, server)
			work.Wait()
			server = serve()
		}
		work.Wait()
	}
	api.stop(t)

	want := logged(t, filepath.Dir(log))
	if len(want) < 5000 {
		t.Fatalf("the API server logged %d events, too few to test with", len(want))
	}
	var got []string
	waitFor(t, fmt.Sprintf("all %d events", len(want)), func() error {
		out, err := exec.Command(ktrail, "search", "--server", "http://"+addr, "--stage", "all", "--limit", "0", "-o", "json").Output()
		if err != nil {
			return fmt.Errorf("search: %w", err)
		}
		got = got[:0]
		for line := range bytes.Lines(out) {
			var e struct {
				AuditID string `json:"audit_id"`
				Stage   string `json:"stage"`
				Time    string `json:"time"`
			}
			if err := json.Unmarshal(line, &e); err != nil {
				return err
			}
			got = append(got, key(e.AuditID, e.Stage, e.Time))
		}
		sort.Strings(got)
		if len(got) != len(want) {
			return fmt.Errorf("ktrail has %d events", len(got))
		}
		return nil
	})
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("event %d: ktrail has %s, the log %s", i, got[i], want[i])
		}
	}
	err := filepath.WalkDir(data, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(p)
		if bytes.Contains(text, []byte("open-sesame")) {
			t.Errorf("%s holds a secret's value", p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(ktrail, "search", "--server", "http://"+addr, "--stage", "all", "--resource", "secrets", "--limit", "0", "-o", "raw").Output()
	if err != nil || len(out) == 0 {
		t.Fatalf("search for secrets: %v, %d bytes", err, len(out))
	}
	if bytes.Contains(out, []byte("open-sesame")) {
		t.Error("an answer holds a secret's value")
	}
	history, err := exec.Command(ktrail, "history", "--server", "http://"+addr, "cm/r0-7", "-n", "default", "--diff").CombinedOutput()
	if err != nil || !strings.Contains(string(history), "data.more") {
		t.Errorf("history of a config map does not show the patched field: %v\n%s", err, history)
	}
	t.Logf("%d events through %d files, ktrail killed 3 times", len(want), len(logFiles(t, filepath.Dir(log))))
	stop(t, server)
}

func key(id, stage, at string) string {
	when, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return id + " " + stage + " " + at
	}
	return id + " " + stage + " " + when.UTC().Format(time.RFC3339Nano)
}

// logged reads what the API server wrote, without any code of ktrail.
func logged(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, path := range logFiles(t, dir) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var r io.Reader = f
		if strings.HasSuffix(path, ".gz") {
			if r, err = gzip.NewReader(f); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			var e struct{ AuditID, Stage, StageTimestamp string }
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			all = append(all, key(e.AuditID, e.Stage, e.StageTimestamp))
		}
		if err := lines.Err(); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		f.Close()
	}
	sort.Strings(all)
	return all
}

// logFiles leaves a .gz out while the file that it is made from still exists:
// the API server removes that one when the .gz is complete.
func logFiles(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if plain, ok := strings.CutSuffix(path, ".gz"); ok {
			if _, err := os.Stat(plain); err == nil {
				continue
			}
		}
		files = append(files, path)
	}
	return files
}

type apiServer struct {
	url    string
	client *http.Client
	cmd    *exec.Cmd
}

// startAPIServer starts one with an etcd of its own. What more says goes over what
// is said here.
func startAPIServer(t *testing.T, bin, dir string, more ...string) *apiServer {
	t.Helper()
	etcdAddr, peer, addr := freeAddr(t), freeAddr(t), freeAddr(t)
	start(t, exec.Command(filepath.Join(bin, "etcd"), "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", "http://"+etcdAddr, "--advertise-client-urls", "http://"+etcdAddr,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer, "--initial-cluster", "default=http://"+peer),
		filepath.Join(dir, "etcd.log"))

	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	saKey := write(t, dir, "sa.key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
	tokens := write(t, dir, "tokens.csv", token+",alice@example.com,1,\"system:masters\"\n")
	policy := write(t, dir, "policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: RequestResponse\n")
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "audit"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := start(t, exec.Command(filepath.Join(bin, "kube-apiserver"), append([]string{
		"--etcd-servers", "http://" + etcdAddr, "--bind-address", host, "--secure-port", port, "--advertise-address", host, "--endpoint-reconciler-type", "none",
		"--cert-dir", filepath.Join(dir, "certs"), "--service-cluster-ip-range", "10.0.0.0/24",
		"--service-account-issuer", "https://e2e.example", "--service-account-signing-key-file", saKey, "--service-account-key-file", saKey,
		"--token-auth-file", tokens, "--authorization-mode", "RBAC",
		"--audit-policy-file", policy, "--audit-log-path", filepath.Join(dir, "audit", "audit.log"),
		"--audit-log-maxsize", "1", "--audit-log-maxbackup", "1000", "--audit-log-compress",
	}, more...)...),
		filepath.Join(dir, "apiserver.log"))
	api := &apiServer{url: "https://" + addr, cmd: cmd, client: &http.Client{
		Timeout:   2 * time.Minute,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, // its own certificate, made a second ago on loopback
	}}
	waitFor(t, "API server ready", func() error {
		code, body := api.try("GET", "/readyz", "")
		if code != http.StatusOK {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	waitFor(t, "namespace default", func() error {
		if code, body := api.try("GET", "/api/v1/namespaces/default", ""); code != http.StatusOK {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	return api
}

func (a *apiServer) try(method, path, body string) (int, string) {
	req, err := http.NewRequest(method, a.url+path, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	if method == "PATCH" {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	res, err := a.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(text)
}

func (a *apiServer) do(t *testing.T, method, path, body string) {
	if code, text := a.try(method, path, body); code < 200 || code > 299 {
		t.Errorf("%s %s: %d %s", method, path, code, text)
	}
}

// stop ends the API server, and with it the writing of its log; compression of
// the last rotated file may go on until the process is gone.
func (a *apiServer) stop(t *testing.T) { stop(t, a.cmd) }

func needs(t *testing.T, variable string) string {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		t.Fatalf("%s is not set: run this test with `make e2e`", variable)
	}
	return v
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs c until the test ends; its output is shown if the test fails.
func start(t *testing.T, c *exec.Cmd, log string) *exec.Cmd {
	t.Helper()
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c.Stdout, c.Stderr = f, f
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.ProcessState == nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
		if t.Failed() {
			text, _ := os.ReadFile(log)
			t.Logf("the end of %s:\n%s", filepath.Base(log), text[max(0, len(text)-3000):])
		}
	})
	return c
}

func stop(t *testing.T, c *exec.Cmd) {
	t.Helper()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // the status of a stopped server is not what is tested here
}

func kill(t *testing.T, c *exec.Cmd) {
	t.Helper()
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
}

func ok(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		return fmt.Errorf("%s: %s", res.Status, text)
	}
	return nil
}

func waitFor(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	var err error
	for time.Now().Before(deadline) {
		if err = try(); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("waiting for %s: %v", what, err)
}
