package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// receiver is `ktrail serve --webhook-listen`, killed and started again on the same data.
type receiver struct {
	bin, dir, addr, hook string
	args                 []string
	cmd                  *exec.Cmd
	kills                int
}

// newReceiver takes events by a client certificate of ca or by the token.
func newReceiver(t *testing.T, bin, dir string, ca *authority, tokens string) *receiver {
	t.Helper()
	r := &receiver{bin: bin, dir: dir, addr: freeAddr(t), hook: freeAddr(t)}
	serving := ca.server(t, "receiver")
	r.args = []string{
		"serve", "--data", filepath.Join(dir, "data"), "--listen", r.addr, "--cluster", "e2e", "--min-free", "1MB",
		"--webhook-listen", r.hook, "--webhook-tls-cert-file", serving.cert, "--webhook-tls-private-key-file", serving.key,
	}
	if tokens == "" {
		r.args = append(r.args, "--webhook-client-ca-file", ca.file)
	} else {
		r.args = append(r.args, "--webhook-token-file", write(t, dir, "webhook-tokens", tokens+"\n"))
	}
	r.start(t)
	return r
}

func (r *receiver) start(t *testing.T) {
	t.Helper()
	r.cmd = start(t, exec.Command(r.bin, r.args...), filepath.Join(r.dir, fmt.Sprintf("receiver-%d.log", r.kills)))
	waitFor(t, "the receiver", func() error { return ok("http://" + r.addr + "/readyz") })
}

// away is killed, and started again after so long.
func (r *receiver) away(t *testing.T, long time.Duration) {
	t.Helper()
	kill(t, r.cmd)
	r.kills++
	time.Sleep(long)
	r.start(t)
}

// stored is how often each event is in the store.
func (r *receiver) stored(t *testing.T) map[string]int {
	t.Helper()
	out, err := exec.Command(r.bin, "search", "--server", "http://"+r.addr, "--stage", "all", "--limit", "0", "-o", "json").Output()
	if err != nil {
		t.Fatalf("search: %v", err)
	}
	all := map[string]int{}
	for line := range bytes.Lines(out) {
		var e struct {
			AuditID string `json:"audit_id"`
			Stage   string `json:"stage"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		all[e.AuditID+" "+e.Stage]++
	}
	return all
}

const webhookToken = "0123456789abcdef0123456789abcdef"

// TestWebhook has a real API server post its events to a receiver that is killed
// again and again. The API server's own log, which waits for each event, says what
// there was; its program's log says what it gave up, by name.
func TestWebhook(t *testing.T) {
	for _, by := range []struct {
		name   string
		token  string
		outage time.Duration // beyond the API server's five tries
	}{
		{"token", webhookToken, 0},
		{"certificate", "", 9 * time.Second},
	} {
		t.Run(by.name, func(t *testing.T) {
			bin, ktrail, dir := needs(t, "KTRAIL_E2E_BIN"), needs(t, "KTRAIL_E2E_KTRAIL"), t.TempDir()
			ca := newAuthority(t, dir, "webhook-ca")
			r := newReceiver(t, ktrail, dir, ca, by.token)
			user := fmt.Sprintf("{token: %s}", by.token)
			if by.token == "" {
				pair := ca.client(t, "apiserver")
				user = fmt.Sprintf("{client-certificate: %s, client-key: %s}", pair.cert, pair.key)
			}
			config := write(t, dir, "webhook.conf", fmt.Sprintf(kubeconfigText, "https://"+r.hook, ca.file, user))
			api := startAPIServer(t, bin, dir, "--audit-log-maxsize", "0", "--audit-webhook-config-file", config,
				"--audit-webhook-initial-backoff", map[bool]string{true: "300ms", false: "3s"}[by.outage > 0],
				"--audit-webhook-batch-max-wait", "300ms", "--audit-webhook-batch-max-size", "50", "--audit-webhook-batch-throttle-qps", "50")

			stopLoad := load(t, api.url, api.client)
			for range 5 {
				time.Sleep(700 * time.Millisecond)
				r.away(t, 0)
			}
			if by.outage > 0 {
				r.away(t, by.outage)
			}
			time.Sleep(500 * time.Millisecond)
			requests := stopLoad()
			log := filepath.Join(dir, "apiserver.log")
			outage := givenUp(t, log)
			api.stop(t) // drains, and gives up what comes after that

			want := map[string]int{}
			for _, e := range readEvents(t, filepath.Join(dir, "audit")) {
				want[e.text("auditID")+" "+e.text("stage")]++
			}
			gone, got := givenUp(t, log), r.stored(t)
			missing := exactlyOnce(t, want, got, gone)
			t.Logf("%d requests, %d events logged; receiver killed %d times; %d stored, none twice, %d missing; the API server says that it gave up %d, %d of them before it stopped",
				requests, len(want), r.kills, len(got), missing, len(gone), len(outage))
			if (len(outage) > 0) != (by.outage > 0) {
				t.Errorf("the API server gave up %d events after an outage of %s", len(outage), by.outage)
			}
			stop(t, r.cmd)
		})
	}
}

// exactlyOnce fails for each event that is stored twice, or is not stored although
// nobody gave it up, or was never logged. It returns how many were given up.
func exactlyOnce(t *testing.T, want, got map[string]int, gone map[string]bool) (missing int) {
	t.Helper()
	if len(want) < 2000 {
		t.Errorf("%d events are too few to test with", len(want))
	}
	complaints := map[string][]string{}
	for _, id := range slices.Sorted(maps.Keys(want)) {
		switch n := got[id]; {
		case n == want[id]:
		case n == 0 && gone[id]:
			missing++
		case n == 0:
			complaints["lost, and nobody gave it up"] = append(complaints["lost, and nobody gave it up"], id)
		default:
			what := fmt.Sprintf("%d times, not %d", n, want[id])
			complaints[what] = append(complaints[what], id)
		}
	}
	for id := range got {
		if want[id] == 0 {
			complaints["stored, and not logged"] = append(complaints["stored, and not logged"], id)
		}
	}
	for what, ids := range complaints {
		t.Errorf("%d events are %s, as %s", len(ids), what, ids[0])
	}
	return missing
}

var impacted = regexp.MustCompile(`AUDIT: id="([^"]*)" stage="([^"]*)"`)

// givenUp reads which events the API server says it could not post
// (k8s.io/apiserver/pkg/audit, HandlePluginError).
func givenUp(t *testing.T, log string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	gone := map[string]bool{}
	for _, m := range impacted.FindAllSubmatch(text, -1) {
		gone[string(m[1])+" "+string(m[2])] = true
	}
	return gone
}

// enough is how many requests there are at least, however slow the machine is.
const enough = 2500

// load has four clients make, change and remove config maps until it is told to
// end, and has sent enough. What is refused or broken off is logged like all else.
func load(t *testing.T, server string, client *http.Client) (end func() int64) {
	var stop atomic.Bool
	var done sync.WaitGroup
	var n atomic.Int64
	api := &apiServer{url: server, client: client}
	for worker := range 4 {
		done.Go(func() {
			for i := 0; !stop.Load(); i++ {
				name := fmt.Sprintf("w%d-%d", worker, i)
				api.do(t, "POST", "/api/v1/namespaces/default/configmaps", fmt.Sprintf(`{"metadata":{"name":%q},"data":{"text":%q}}`, name, strings.Repeat("x", 300)))
				api.do(t, "PATCH", "/api/v1/namespaces/default/configmaps/"+name, `{"data":{"more":"1"}}`)
				api.do(t, "GET", "/api/v1/namespaces/default/configmaps/"+name, "")
				api.do(t, "DELETE", "/api/v1/namespaces/default/configmaps/"+name, "")
				n.Add(4)
			}
		})
	}
	return func() int64 {
		for n.Load() < enough && !t.Failed() {
			time.Sleep(10 * time.Millisecond)
		}
		stop.Store(true)
		done.Wait()
		return n.Load()
	}
}

// TestSpool has ktrail proxy post to a receiver that is killed, and is away for
// longer than the proxy tries: the spool on disk keeps what is not posted.
func TestSpool(t *testing.T) {
	bin, ktrail, dir := needs(t, "KTRAIL_E2E_BIN"), needs(t, "KTRAIL_E2E_KTRAIL"), t.TempDir()
	ca := newAuthority(t, dir, "webhook-ca")
	r := newReceiver(t, ktrail, dir, ca, "")
	serving, pair := ca.server(t, "apiserver"), ca.client(t, "proxy")
	api := startAPIServer(t, bin, dir, "--audit-log-maxsize", "0", "--tls-cert-file", serving.cert, "--tls-private-key-file", serving.key)
	config := write(t, dir, "webhook.conf", fmt.Sprintf(kubeconfigText, "https://"+r.hook, ca.file, fmt.Sprintf("{client-certificate: %s, client-key: %s}", pair.cert, pair.key)))
	addr, admin := freeAddr(t), freeAddr(t)
	args := []string{
		"proxy", "--listen", addr, "--admin-listen", admin, "--upstream", api.url, "--upstream-ca-file", ca.file,
		"--audit-policy-file", write(t, dir, "compared.yaml", comparedPolicy), "--audit-log-path", filepath.Join(dir, "proxied", "audit.log"), "--audit-log-maxsize", "0",
		"--audit-webhook-config-file", config, "--audit-webhook-initial-backoff", "300ms", "--audit-webhook-spool-dir", filepath.Join(dir, "spool"),
		"--audit-webhook-batch-max-wait", "300ms", "--audit-webhook-batch-max-size", "50", "--audit-webhook-batch-throttle-qps", "100",
	}
	proxy := start(t, exec.Command(ktrail, args...), filepath.Join(dir, "proxy.log"))
	waitFor(t, "the proxy", func() error { return ok("http://" + admin + "/readyz") })

	stopLoad := load(t, "http://"+addr, http.DefaultClient)
	for range 3 {
		time.Sleep(700 * time.Millisecond)
		r.away(t, 0)
	}
	kill(t, r.cmd)
	r.kills++
	time.Sleep(12 * time.Second)
	segments, err := filepath.Glob(filepath.Join(dir, "spool", "*.log"))
	if err != nil || len(segments) == 0 {
		t.Errorf("nothing waits on disk: %v", err)
	}
	r.start(t)
	requests := stopLoad()
	stop(t, proxy) // what it does not get rid of stays in the spool, for the next one
	proxy = start(t, exec.Command(ktrail, args...), filepath.Join(dir, "proxy.log"))

	want := map[string]int{}
	for _, e := range readEvents(t, filepath.Join(dir, "proxied")) {
		want[e.text("auditID")+" "+e.text("stage")]++
	}
	var got map[string]int
	waitFor(t, "all that was spooled", func() error {
		if got = r.stored(t); len(got) < len(want) {
			return fmt.Errorf("%d of %d events are stored", len(got), len(want))
		}
		return nil
	})
	exactlyOnce(t, want, got, nil)
	t.Logf("%d requests, %d events logged by the proxy and stored; receiver killed %d times, away for 12 s", requests, len(want), r.kills)
	stop(t, proxy)
	api.stop(t)
	stop(t, r.cmd)
}
