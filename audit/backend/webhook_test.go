package backend_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ktrail/ktrail/audit/backend"
)

// A real webhook that answers 503 for a while, and the client of --audit-webhook-config-file:
// with a spool everything arrives, once.
func TestRealWebhook(t *testing.T) {
	var mu sync.Mutex
	var got []string
	posts := 0
	all := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if posts++; posts <= 7 { // the five tries of the first batch, and more
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var list struct{ Items []struct{ AuditID string } }
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
			t.Error(err)
		}
		for _, item := range list.Items {
			if got = append(got, item.AuditID); len(got) == 4 {
				close(all)
			}
		}
	}))
	defer srv.Close()
	config := filepath.Join(t.TempDir(), "webhook.yaml")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: '" + srv.URL + "'}}]\nusers: [{name: u, user: {}}]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, "--audit-webhook-mode=blocking --audit-webhook-initial-backoff=1ms --audit-webhook-config-file="+config, nil, backend.Options{SpoolDir: filepath.Join(t.TempDir(), "spool")})
	send(t, b, "a", "b", "c", "d")
	<-all
	shut(t, b)
	mu.Lock()
	defer mu.Unlock()
	if slices.Sort(got); strings.Join(got, " ") != "a b c d" || counts(b) != "" {
		t.Errorf("the webhook has %s; lost: %s", got, counts(b))
	}
}
