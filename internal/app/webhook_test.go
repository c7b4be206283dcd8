package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/pipeline"
	"github.com/ktrail/ktrail/audit/webhook"
	"github.com/ktrail/ktrail/internal/web"
)

// authority makes certificates in files.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{dir: dir}
	a.make(t, name, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// make signs tmpl and writes NAME.crt and NAME.key.
func (a *authority) make(t *testing.T, name string, tmpl *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.n++
	tmpl.SerialNumber, tmpl.Subject = big.NewInt(a.n), pkix.Name{CommonName: name}
	tmpl.NotBefore, tmpl.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert == nil {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		a.key = key
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".crt", &pem.Block{Type: "CERTIFICATE", Bytes: der})
	a.write(t, name+".key", &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func (a *authority) write(t *testing.T, name string, b *pem.Block) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a *authority) server(t *testing.T, name string) {
	t.Helper()
	a.make(t, name, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

func (a *authority) client(t *testing.T, name string) {
	t.Helper()
	a.make(t, name, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

func someEvents(t *testing.T, from, n int) []audit.Event {
	t.Helper()
	var b audit.Batch
	for i := range n {
		line := fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%08d","stage":"ResponseComplete","requestURI":"/","verb":"get","user":{"username":"alice"},"stageTimestamp":"2026-11-22T19:44:31.%06dZ"}`, from+i, from+i)
		if err := b.Add([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	return b.Events
}

// poster makes a client that signs on as user.
func poster(t *testing.T, dir, server, user string) *webhook.Client {
	t.Helper()
	file := filepath.Join(dir, fmt.Sprintf("kubeconfig-%d", time.Now().UnixNano()))
	text := fmt.Sprintf("current-context: c\nclusters: [{name: c, cluster: {server: %q, certificate-authority: ca.crt}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {%s}}]\n", server, user)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := webhook.NewClient(webhook.ClientOptions{Kubeconfig: file, InitialBackoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return c
}

// TestWebhook: API servers post with a certificate or a token, nobody else; the webhook is a
// source; what is answered is stored when the server has stopped.
func TestWebhook(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	ca.server(t, "tls")
	clients := newAuthority(t, dir, "clients-ca")
	clients.client(t, "apiserver")
	clients.client(t, "somebody")
	other := newAuthority(t, dir, "other-ca")
	other.client(t, "other")
	file := func(name string) string { return filepath.Join(dir, name) }
	token, next := strings.Repeat("t", 24), strings.Repeat("n", 24)
	if err := os.WriteFile(file("tokens"), []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options(t)
	o.Logs, o.Cluster = nil, "prod"
	o.Webhook = WebhookOptions{
		Listen: "127.0.0.1:0", CertFile: file("tls.crt"), KeyFile: file("tls.key"), ClientCAFile: file("clients-ca.crt"), TokenFile: file("tokens"),
		ClientNames: []string{"apiserver"},
	}
	a, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	a.Start(t.Context())
	stopped := false
	defer func() {
		if !stopped {
			_ = a.Stop(t.Context())
		}
	}()
	if !strings.HasPrefix(a.WebhookURL(), "https://127.0.0.1:") {
		t.Errorf("URL %q", a.WebhookURL())
	}
	sent := 0
	try := func(user string) error {
		t.Helper()
		err := poster(t, dir, a.WebhookURL(), user).Send(t.Context(), someEvents(t, sent, 100))
		if err == nil {
			sent += 100
		}
		return err
	}
	for user, ok := range map[string]bool{
		"token: " + token: true, "client-certificate: apiserver.crt, client-key: apiserver.key": true,
		"": false, "token: " + next: false, "client-certificate: other.crt, client-key: other.key": false,
		"client-certificate: somebody.crt, client-key: somebody.key": false, "client-certificate: other.crt, client-key: other.key, token: " + token: true, "username: a, password: " + token: false,
	} {
		if err := try(user); (err == nil) != ok {
			t.Errorf("%q: %v", user, err)
		}
	}
	// A new token, once the server has looked.
	if err := os.WriteFile(file("tokens"), []byte("# new\n"+next+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.hook.parts.reload(t.Context(), true)
	if err := errors.Join(try("token: "+next), try("client-certificate: apiserver.crt, client-key: apiserver.key")); err != nil {
		t.Error(err)
	}
	if try("token: "+token) == nil {
		t.Error("the old token is still good")
	}
	// Another authority: a connection that is open does not outlive the old one.
	open := poster(t, dir, a.WebhookURL(), "client-certificate: apiserver.crt, client-key: apiserver.key")
	if err := open.Send(t.Context(), someEvents(t, sent-1, 1)); err != nil {
		t.Error(err)
	}
	renamed := newAuthority(t, dir, "clients-ca")
	a.hook.parts.reload(t.Context(), true)
	if open.Send(t.Context(), someEvents(t, sent-1, 1)) == nil {
		t.Error("a certificate of the old authority is still good")
	}
	renamed.client(t, "apiserver")
	if err := try("client-certificate: apiserver.crt, client-key: apiserver.key"); err != nil {
		t.Error(err)
	}
	// Another certificate.
	ca.server(t, "tls")
	if err := os.WriteFile(file("tokens"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.hook.parts.reload(t.Context(), true)
	if err := try("token: " + next); err != nil {
		t.Error(err)
	}
	s := a.status()
	if !s.Ready || len(s.Sources) != 1 || len(s.Reasons) != 1 || !strings.Contains(s.Reasons[0], "tokens is refused") {
		t.Fatalf("%+v", s)
	}
	src := s.Sources[0]
	if src.Name != "webhook" || src.Cluster != "prod" || src.State != "listening" || src.Events != int64(sent) || src.LastSeen == 0 || src.LastEvent != someEvents(t, sent-1, 1)[0].Time ||
		src.Rejected == 0 || src.EventsPerSecond == 0 || src.Error != "" {
		t.Errorf("%+v", src)
	}

	// Bad items: the source says so, and they are in quarantine, once.
	bad := audit.Event{Raw: `{"kind":"Event","apiVersion":"audit.k8s.io/v1","stage":5}`}
	for range 2 {
		events := append(someEvents(t, sent, 1), bad)
		losses := pipeline.Losses(poster(t, dir, a.WebhookURL(), "token: "+next).Send(t.Context(), events))
		if len(losses) != 1 || losses[0].Reason != pipeline.ReasonRefused || len(losses[0].Events) != 1 {
			t.Errorf("%v", losses)
		}
	}
	sent++
	s = a.status()
	if src := s.Sources[0]; src.Quarantined != 2 || src.Duplicates != 2 || !strings.Contains(src.Error, "1 of 2 items") {
		t.Errorf("%+v", src)
	}
	q, err := a.quarantine(t.Context(), web.QuarantineQuestion{Limit: 10})
	if err != nil || len(q.Lines) != 1 || q.Lines[0].Source != "webhook" || !strings.Contains(q.Lines[0].File, "127.0.0.1") {
		t.Errorf("%+v, %v", q, err)
	}

	// In plain text nothing is answered.
	if res, err := http.Post(strings.Replace(a.WebhookURL(), "https", "http", 1), "application/json", strings.NewReader("{}")); err == nil { //nolint:noctx // a test
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s", res.Status)
		}
	}

	stopped = true
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, err = New(t.Context(), o); err == nil {
		t.Error("it starts with tokens that it cannot use")
		_ = a.Stop(t.Context())
	}
	o.Webhook.TokenFile = ""
	if a, err = New(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if a.Events() != int64(sent) {
		t.Errorf("%d events are stored, %d were answered", a.Events(), sent)
	}
}

// TestWebhookStop: batches that are on their way when the server stops are stored or not
// answered 200.
func TestWebhookStop(t *testing.T) {
	o := options(t)
	o.Logs, o.Webhook = nil, WebhookOptions{Listen: "127.0.0.1:0"}
	a, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	a.Start(t.Context())
	url := a.WebhookURL()
	const senders = 4
	answered := make(chan int, senders)
	begun := make(chan struct{}, senders)
	for i := range senders {
		c := plainPoster(t, url)
		go func() {
			n := 0
			for ; ; n += 10 {
				if c.Send(t.Context(), someEvents(t, i*100_000+n, 10)) != nil {
					break
				}
				if n == 0 {
					begun <- struct{}{}
				}
			}
			answered <- n
		}()
	}
	for range senders {
		<-begun
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	var sum int
	for range senders {
		sum += <-answered
	}
	if a, err = New(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if n := int(a.Events()); sum == 0 || n < sum || n > sum+senders*10 {
		t.Errorf("%d events are stored, %d were answered", n, sum)
	}
}

func plainPoster(t testing.TB, server string) *webhook.Client {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("current-context: c\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: c, context: {cluster: c}}]\n", server)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := webhook.NewClient(webhook.ClientOptions{Kubeconfig: file, InitialBackoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return c
}

func TestWebhookCheck(t *testing.T) {
	for want, o := range map[string]WebhookOptions{
		"":                                 {},
		"--webhook-listen is missing":      {TokenFile: "f"},
		"go together":                      {Listen: "127.0.0.1:1", CertFile: "f"},
		"allowed-names does nothing":       {Listen: "127.0.0.1:1", ClientNames: []string{"a"}},
		"ca-file needs TLS":                {Listen: "127.0.0.1:1", ClientCAFile: "f"},
		"token-file needs TLS":             {Listen: "127.0.0.1:1", TokenFile: "f"},
		"it takes --webhook-tls-cert-file": {Listen: ":1", TokenFile: "f"},
		"it takes --webhook-client-ca-file or --webhook-token-file":                                                        {Listen: "10.0.0.1:1", CertFile: "f", KeyFile: "f"},
		"--webhook-tls-cert-file and --webhook-tls-private-key-file, and --webhook-client-ca-file or --webhook-token-file": {Listen: "[::]:1"},
		"not host:port": {Listen: "127.0.0.1"},
		"no such port":  {Listen: "127.0.0.1:99999"},
	} {
		err := o.Check()
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	for _, o := range []WebhookOptions{
		{Listen: "127.0.0.1:1"},
		{Listen: "[::1]:1", CertFile: "f", KeyFile: "f", TokenFile: "f"},
		{Listen: ":1", CertFile: "f", KeyFile: "f", TokenFile: "f"},
		{Listen: "10.0.0.1:1", CertFile: "f", KeyFile: "f", ClientCAFile: "f"},
	} {
		if err := o.Check(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
