package node

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/internal/node/host/hosttest"
)

// The API server is reached at its own address, and held to the name and the
// authority of the kubeconfig.
func TestClientChecksTheServer(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Authorization"))
	}))
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	m := hosttest.NewMachine()
	m.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "10.0.0.1:6443" {
			return nil, fmt.Errorf("dialled %s", address)
		}
		return (&net.Dialer{}).DialContext(ctx, network, strings.TrimPrefix(server.URL, "https://"))
	}
	m.Put("/etc/kubernetes/pki/ca.crt", ca, 0o600)
	kube := func(cluster map[string]any) {
		text, err := json.Marshal(map[string]any{
			"current-context": "c",
			"contexts":        []any{map[string]any{"name": "c", "context": map[string]any{"cluster": "k", "user": "u"}}},
			"clusters":        []any{map[string]any{"name": "k", "cluster": cluster}},
			"users":           []any{map[string]any{"name": "u", "user": map[string]any{"token": "secret"}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		m.Put("/etc/kubernetes/admin.conf", text, 0o600)
	}
	for name, c := range map[string]struct {
		cluster map[string]any
		want    string // in the error, "" if it works
	}{
		"its name":                       {map[string]any{"server": "https://example.com:6443", "certificate-authority-data": base64.StdEncoding.EncodeToString(ca)}, ""},
		"its authority in a file beside": {map[string]any{"server": "https://example.com:6443", "certificate-authority": "pki/ca.crt"}, ""},
		"tls-server-name":                {map[string]any{"server": "https://lb:6443", "tls-server-name": "example.com", "certificate-authority": "/etc/kubernetes/pki/ca.crt"}, ""},
		"another name":                   {map[string]any{"server": "https://elsewhere.test:6443", "certificate-authority": "/etc/kubernetes/pki/ca.crt"}, "certificate"},
		"another authority":              {map[string]any{"server": "https://example.com:6443"}, "certificate"},
		"no URL":                         {map[string]any{"server": "::"}, "no URL"},
	} {
		t.Run(name, func(t *testing.T) {
			kube(c.cluster)
			n := New(Options{Host: m.Connect("cp1")})
			client, err := n.client(t.Context(), "/etc/kubernetes/admin.conf", []string{"10.0.0.1:6443"})
			var a answer
			if err == nil {
				a, err = client.do(t.Context(), request{method: "GET", path: "/version"})
			}
			switch {
			case c.want == "" && (err != nil || string(a.body) != "Bearer secret"):
				t.Errorf("%s, %v", a.body, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
