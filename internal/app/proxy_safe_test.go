package app

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ktrail/ktrail/audit/flags"
)

// Health alone is for anybody and tells nobody why; what tells more answers to no name but this machine's.
func TestProxyHealth(t *testing.T) {
	dir := t.TempDir()
	keyPair(t, dir, "proxy")
	var asked atomic.Int64
	p := startProxy(t, dir, func(http.ResponseWriter, *http.Request) { asked.Add(1) }, io.Discard)
	defer func() {
		if err := p.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	ask := func(h http.Handler, host, path string) (int, string) {
		r := httptest.NewRequest(http.MethodGet, "http://"+host+path, http.NoBody)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	p.parts.list[0].err = errors.New("secret reasons")
	health, admin := p.healthHandler(), p.adminHandler()
	for _, test := range []struct {
		h          http.Handler
		host, path string
		code       int
		body       string
	}{
		{health, "10.1.2.3:8445", "/livez", 200, "ok\n"},
		{health, "10.1.2.3:8445", "/readyz", 200, "ready\n"},
		{health, "10.1.2.3:8445", "/metrics", 404, "404 page not found\n"},
		{admin, "evil.test", "/readyz", 403, "ask for localhost or 127.0.0.1\n"},
		{admin, "evil.test:8444", "/metrics", 403, "ask for localhost or 127.0.0.1\n"},
		{admin, "localhost:8444", "/readyz", 200, "ready\n- the new audit policy is refused, the old one is in use: secret reasons\n"},
	} {
		if code, body := ask(test.h, test.host, test.path); code != test.code || body != test.body {
			t.Errorf("%s%s: %d %q", test.host, test.path, code, body)
		}
	}
	before := asked.Load()
	for range 1000 {
		ask(health, "10.1.2.3", "/readyz")
	}
	if n := asked.Load() - before; n > 100 {
		t.Errorf("a thousand probes asked the API server %d times", n)
	}
}

// How often the API server is asked is not up to who probes.
func TestReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c reach
		asked := 0
		for range 10 {
			_ = c.get(func() error { asked++; return nil })
			time.Sleep(200 * time.Millisecond)
		}
		if asked != 2 {
			t.Errorf("asked %d times in two seconds", asked)
		}
	})
}

// Without names of front proxies, an authority that signs users too would let each of them be anybody.
func TestAuthoritiesOverlap(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	keyPair(t, a, "a")
	keyPair(t, b, "b")
	o := ProxyOptions{
		CertFile: filepath.Join(a, "tls.crt"), KeyFile: filepath.Join(a, "tls.key"),
		ClientCAFile: filepath.Join(a, "tls.crt"), FrontProxyCAFile: filepath.Join(a, "tls.crt"),
	}
	var f proxyFiles
	if err := f.loadServing(&o); err == nil || !strings.Contains(err.Error(), "--requestheader-allowed-names") {
		t.Errorf("the same authority: %v", err)
	}
	o.FrontProxyNames = []string{"front"}
	if err := f.loadServing(&o); err != nil {
		t.Error(err)
	}
	o.FrontProxyNames, o.FrontProxyCAFile = nil, filepath.Join(b, "tls.crt")
	if err := f.loadServing(&o); err != nil {
		t.Error(err)
	}
}

// What could not be read for another reason than what is in it is read when it can be.
func TestReloadTriesAgain(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	writeText(t, file, "a")
	var log strings.Builder
	ps := parts{log: slog.New(slog.NewTextHandler(&log, nil))}
	var fails error
	loads := 0
	if err := ps.add("thing", func() error { loads++; return fails }, file); err != nil {
		t.Fatal(err)
	}
	fails = errors.New("too many open files")
	writeText(t, file, "other")
	for range 3 {
		ps.reload(t.Context(), false)
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 || loads != 4 {
		t.Errorf("read %d times, told %d times", loads, n)
	}
	fails = nil
	ps.reload(t.Context(), false)
	if len(ps.refused()) > 0 {
		t.Errorf("still refused: %v", ps.refused())
	}
	ps.reload(t.Context(), false)
	if loads != 5 {
		t.Errorf("read %d times", loads)
	}
}

// A kubeconfig with new credentials is used without a restart, one for another server is refused.
func TestProxyReadsKubeconfigAgain(t *testing.T) {
	dir := t.TempDir()
	var signedOn atomic.Value
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/tokenreviews") {
			signedOn.Store(r.Header.Get("Authorization"))
			_ = json.NewEncoder(w).Encode(map[string]any{"status": map[string]any{"authenticated": true, "user": map[string]any{"username": "alice"}}})
		}
	}))
	defer api.Close()
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}))
	file := filepath.Join(dir, "kubeconfig")
	write := func(server, token string) {
		writeText(t, file, "current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n"+
			"clusters: [{name: a, cluster: {server: '"+server+"', certificate-authority-data: "+ca+"}}]\nusers: [{name: a, user: {token: "+token+"}}]\n")
	}
	write(api.URL, "first")
	writeText(t, filepath.Join(dir, "policy.yaml"), everything)
	settings, _ := flags.Read(flags.Parse([]string{"--audit-policy-file=" + filepath.Join(dir, "policy.yaml"), "--audit-log-path=" + filepath.Join(dir, "audit.log")}), flags.Latest)
	p, err := NewProxy(t.Context(), ProxyOptions{
		Listen: "127.0.0.1:0", HealthListen: "127.0.0.1:0", Kubeconfig: file, Audit: settings,
		Sinks: SinkOptions{Sync: "never"}, Grace: time.Minute, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Start(t.Context())
	defer func() {
		if err := p.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	as := func(token, want string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Addr()+"/api/v1/pods", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if got := signedOn.Load(); res.StatusCode != http.StatusOK || got != "Bearer "+want {
			t.Errorf("%s: answer %d, reviewed by %v, want %s", token, res.StatusCode, got, want)
		}
	}
	as("t1", "first")
	write(api.URL, "second")
	p.parts.reload(t.Context(), false)
	as("t2", "second")
	write("https://192.0.2.1:6443", "third")
	p.parts.reload(t.Context(), false)
	as("t3", "second")
	if got := strings.Join(p.parts.refused(), ""); !strings.Contains(got, "is for another server") {
		t.Errorf("refused: %s", got)
	}
	if got := fetch(t, http.DefaultClient, "http://"+p.HealthAddr()+"/readyz"); got != "ready\n" {
		t.Errorf("health: %q", got)
	}
}
