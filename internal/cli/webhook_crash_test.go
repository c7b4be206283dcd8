package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/webhook"
)

// hookKills is how often the receiver is killed, half between the commit and the answer's
// arrival, half at any time.
const hookKills = 16

// TestWebhookCrash kills the real program while batches are posted: each time that a batch was
// stored and its answer is on its way, and at random moments. Batches that were not answered come
// again. At the end the store holds each line once.
func TestWebhookCrash(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 3))
	dir := t.TempDir()
	lines := manyLines(t, 10_000)
	d := &mortal{t: t, dir: dir, rnd: rnd}
	d.start()
	front := httptest.NewServer(d)
	defer front.Close()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	text := fmt.Sprintf("current-context: c\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: c, context: {cluster: c}}]\n", front.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	work := make(chan []audit.Event)
	var senders sync.WaitGroup
	for range 3 {
		c, err := webhook.NewClient(webhook.ClientOptions{Kubeconfig: kubeconfig, InitialBackoff: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		senders.Go(func() {
			for batch := range work {
				for c.Send(ctx, batch) != nil && ctx.Err() == nil { // as a spool does
				}
			}
		})
	}
	const size = 100
	for i := 0; i < len(lines); i += size {
		var b audit.Batch
		for _, l := range lines[i : i+size] {
			if err := b.Add([]byte(strings.TrimSuffix(l, "\n"))); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case work <- b.Events:
		case <-ctx.Done():
			t.Fatal("not done after ten minutes")
		}
	}
	close(work)
	senders.Wait()
	answered, random := d.stop(t)
	t.Logf("killed %d times between a commit and its answer, %d times at any time", answered, random)
	if ctx.Err() != nil || answered < hookKills/2 {
		t.Fatalf("%d kills: %v", answered, ctx.Err())
	}
	holdsAll(t, filepath.Join(dir, "data"), count16(t, lines))
}

// mortal stands in front of a server that dies and is started again.
type mortal struct {
	t   *testing.T
	dir string

	mu               sync.Mutex
	rnd              *rand.Rand
	served           *served
	answered, random int // kills
	posts            int
}

// start starts the server. d.mu is held, or nobody else is there.
func (d *mortal) start() {
	s, err := startServe(d.dir, "--data", "data", "--webhook-listen", "127.0.0.1:0", "--cluster", "test")
	if err != nil {
		d.t.Error(err)
		return
	}
	d.served = s
}

// kill kills s if it still runs, and starts another.
func (d *mortal) kill(s *served, count *int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.served != s {
		return
	}
	s.kill()
	*count++
	d.start()
}

// ServeHTTP hands a post on. Every sixth answer dies with its server, and at every sixth post
// the server dies some time later.
func (d *mortal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	s := d.served
	d.posts++
	onAnswer := d.posts%6 == 0 && d.answered < hookKills/2
	sometime := d.posts%6 == 3 && d.random < hookKills/2
	delay := time.Duration(d.rnd.IntN(250)) * time.Millisecond
	d.mu.Unlock()
	if sometime {
		kill := time.AfterFunc(delay, func() { d.kill(s, &d.random) })
		defer kill.Stop()
	}
	target, err := url.Parse(s.hook)
	if err != nil {
		d.t.Error(err)
		return
	}
	lost := errors.New("the answer is lost")
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) },
		// A connection of its own: the server is another one the next time.
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: time.Minute}).DialContext},
		ModifyResponse: func(res *http.Response) error {
			if onAnswer && res.StatusCode == http.StatusOK {
				d.kill(s, &d.answered)
				return lost
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	proxy.ServeHTTP(w, r)
}

// stop ends the last server in order, and tells the kills.
func (d *mortal) stop(t *testing.T) (answered, random int) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.served.stop(t.Context(), t)
	return d.answered, d.random
}
