package kubeconfig

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const config = `
current-context: here
clusters:
- {name: other, cluster: {server: "https://other.test"}}
- {name: c, cluster: {CLUSTER}}
contexts:
- {name: here, context: {cluster: c, user: u}}
users:
- {name: u, user: {USER}}
`

func TestSignOn(t *testing.T) {
	var got string
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") }))
	defer server.Close()
	dir := t.TempDir()
	write(t, dir, "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	write(t, dir, "token", "from-file\n")
	for user, want := range map[string]string{
		"token: secret":                   "Bearer secret",
		"tokenFile: token":                "Bearer from-file",
		"token: secret, tokenFile: token": "Bearer from-file", // as client-go: the file wins
		"username: jane, password: doe":   "Basic amFuZTpkb2U=",
		"":                                "",
	} {
		file := write(t, dir, "kubeconfig", strings.NewReplacer("CLUSTER", "server: "+server.URL+", certificate-authority: ca.crt", "USER", user).Replace(config))
		c, err := Read(file)
		if err != nil {
			t.Fatalf("%s: %v", user, err)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.Server.String(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Client().Do(r)
		if err != nil {
			t.Fatalf("%s: %v", user, err)
		}
		if err := res.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if got != want || c.SignsOn() != (want != "") {
			t.Errorf("%s: Authorization %q, want %q; SignsOn %v", user, got, want, c.SignsOn())
		}
	}
}

func TestRefused(t *testing.T) {
	const ok = "server: https://a.test"
	for _, test := range []struct{ cluster, user, want string }{
		{ok, "exec: {command: aws}", "exec"},
		{ok, "auth-provider: {name: gcp}", "auth-provider"},
		{ok, "as: jane", "impersonates"},
		{"server: a.test:6443", "token: x", "no address"},
		{ok + ", certificate-authority: none.crt", "token: x", "none.crt"},
		{ok + ", certificate-authority-data: aGVsbG8=", "token: x", "no certificate"},
		{ok, "client-certificate-data: aGVsbG8=", "client-certificate"},
		{ok, "token: [", "kubeconfig"},
	} {
		file := write(t, t.TempDir(), "kubeconfig", strings.NewReplacer("CLUSTER", test.cluster, "USER", test.user).Replace(config))
		if _, err := Read(file); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s, %s: %v, want %q in it", test.cluster, test.user, err, test.want)
		}
	}
	for text, want := range map[string]string{
		"{}":                 "current-context",
		"current-context: x": `context "x"`,
		"contexts: [{name: a, context: {cluster: c}}]": `cluster "c"`,
	} {
		if _, err := Read(write(t, t.TempDir(), "kubeconfig", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", text, err, want)
		}
	}
}
