package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/ktrail/ktrail/audit/capture"
	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/kubeconfig"
)

// constrainedSince is the version that has constrained impersonation on by default
// (k8s.io/apiserver/pkg/features, ConstrainedImpersonation).
var constrainedSince = flags.Version{Major: 1, Minor: 36}

const (
	versionTTL   = 10 * time.Minute // API servers are upgraded
	versionRetry = 5 * time.Second  // until then the record may be wrong
)

// reviews is how the proxy learns whose tokens are. With a kubeconfig it also
// learns where the upstream is, if nobody said.
func (p *Proxy) reviews() (*capture.Reviews, error) {
	r := &capture.Reviews{Transport: &p.files.plain}
	if p.o.ProxyCertFile != "" {
		r.FrontProxy = &p.files.frontProxy
	}
	if p.o.Kubeconfig == "" {
		r.Server = p.o.Upstream
		return r, CheckUpstream(p.o.Upstream)
	}
	if err := p.parts.add("kubeconfig", func() error { return p.files.loadKubeconfig(p.o.Kubeconfig) }, p.o.Kubeconfig); err != nil {
		return nil, err
	}
	r.Server = p.files.server
	r.Client = &http.Client{
		Transport:     &p.files.own,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	p.own = r.Client
	if p.o.Upstream == nil {
		p.o.Upstream = r.Server
	}
	return r, CheckUpstream(p.o.Upstream)
}

// loadKubeconfig reads the proxy's own credentials.
func (f *proxyFiles) loadKubeconfig(file string) error {
	c, err := kubeconfig.Read(file)
	switch {
	case err != nil:
		return err
	case !c.SignsOn():
		return fmt.Errorf("kubeconfig %s has no credentials: the proxy needs some of its own, with the ClusterRole system:auth-delegator, or no --kubeconfig at all", file)
	case f.server != nil && f.server.String() != c.Server.String():
		return fmt.Errorf("kubeconfig %s is for another server, %s: restart the proxy for that", file, c.Server.Redacted())
	}
	f.server, f.roots, f.serverName = c.Server, c.TLS.RootCAs, c.TLS.ServerName
	t, ok := c.Client().Transport.(transport)
	if !ok {
		return errors.New("use kubeconfig: its transport cannot be replaced")
	}
	f.own.set(t)
	return nil
}

// CheckUpstream says whether u is an address to which credentials may be sent.
func CheckUpstream(u *url.URL) error {
	switch {
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("upstream %s has more than an address and a path: users bring their own credentials", u.Redacted())
	case u.Scheme == "https" && u.Host != "":
		return nil
	case u.Scheme != "http" || u.Host == "":
		return fmt.Errorf("upstream %s is no address such as https://10.0.0.1:6443", u)
	case !loopbackHost(u.Hostname()):
		return fmt.Errorf("upstream %s is not https: everybody on the way could read the tokens", u)
	}
	return nil
}

// constrained is whether the upstream knows constrained impersonation: what the
// options say, or else its version, asked for at the first impersonation.
func (p *Proxy) constrained() func(context.Context) bool {
	if known := p.o.Constrained; known != nil {
		return func(context.Context) bool { return *known }
	}
	var mu sync.Mutex
	var until time.Time
	answer := false
	return func(ctx context.Context) bool {
		mu.Lock()
		defer mu.Unlock()
		if time.Now().Before(until) {
			return answer
		}
		keep := versionTTL
		v, err := p.version(ctx)
		if err != nil {
			p.o.Logger.LogAttrs(ctx, slog.LevelWarn, "the API server's version is not known: impersonation is judged by the verb impersonate alone; say --feature-gates=ConstrainedImpersonation=true if it has that",
				slog.String("error", err.Error()))
			keep = versionRetry
		} else {
			answer = !v.Before(constrainedSince)
		}
		until = time.Now().Add(keep)
		return answer
	}
}

// version asks the upstream for its version, which everybody may know.
func (p *Proxy) version(ctx context.Context) (flags.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.o.Upstream.JoinPath("/version").String(), http.NoBody)
	if err != nil {
		return flags.Version{}, err
	}
	r.Header.Set("User-Agent", capture.ReviewAgent)
	c := p.own
	if c == nil {
		c = &http.Client{Transport: &p.files.plain}
	}
	res, err := c.Do(r)
	if err != nil {
		return flags.Version{}, err
	}
	defer func() { _ = res.Body.Close() }()
	var info struct {
		GitVersion string `json:"gitVersion"`
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	switch {
	case err != nil:
		return flags.Version{}, err
	case res.StatusCode != http.StatusOK:
		return flags.Version{}, errors.New("/version answers " + res.Status)
	}
	if err := json.Unmarshal(text, &info); err != nil {
		return flags.Version{}, fmt.Errorf("read /version: %w", err)
	}
	return flags.ParseVersion(info.GitVersion)
}
