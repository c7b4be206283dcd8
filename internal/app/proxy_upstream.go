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
	c, err := kubeconfig.Read(p.o.Kubeconfig)
	if err != nil {
		return nil, err
	}
	if !c.SignsOn() {
		return nil, fmt.Errorf("kubeconfig %s has no credentials: the proxy needs some of its own, with the ClusterRole system:auth-delegator, or no --kubeconfig at all", p.o.Kubeconfig)
	}
	r.Server, r.Client = c.Server, c.Client()
	p.own = r.Client
	if p.o.Upstream == nil {
		p.o.Upstream = c.Server
	}
	// Its authority is the upstream's too where it is the same server.
	if p.o.UpstreamCAFile == "" && p.o.Upstream.Host == c.Server.Host {
		p.o.upstreamRoots = c.TLS.RootCAs
		if p.o.UpstreamServerName == "" {
			p.o.UpstreamServerName = c.TLS.ServerName
		}
	}
	return r, CheckUpstream(p.o.Upstream)
}

// CheckUpstream says whether u is an address to which credentials may be sent.
func CheckUpstream(u *url.URL) error {
	switch {
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
	var asked time.Time
	answer := false
	return func(ctx context.Context) bool {
		mu.Lock()
		defer mu.Unlock()
		// Asked again now and then: API servers are upgraded.
		if time.Since(asked) < 10*time.Minute {
			return answer
		}
		v, err := p.version(ctx)
		if err != nil {
			p.o.Logger.LogAttrs(ctx, slog.LevelWarn, "the API server's version is not known: impersonation is judged by the verb impersonate alone; say --feature-gates=ConstrainedImpersonation=true if it has that",
				slog.String("error", err.Error()))
		} else {
			answer = !v.Before(constrainedSince)
		}
		asked = time.Now()
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
