package node

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// maxAnswer is the longest answer of the API server that is read. /metrics of a
// large cluster is the longest, with some megabytes.
const maxAnswer = 64 << 20

// apiClient talks to one node's own API server, never to another through a load
// balancer: what is asked must be answered by the process that was changed.
type apiClient struct {
	node      *Node
	addresses []string // tried in turn
	tls       *tls.Config
	token     string
	// user and groups are who the API server takes the client for.
	user   string
	groups []string
}

// kubeconfig is the little of a kubeconfig that matters here.
type kubeconfig struct {
	CurrentContext string `json:"current-context"`
	Clusters       []struct {
		Name    string `json:"name"`
		Cluster struct {
			Server     string `json:"server"`
			CA         string `json:"certificate-authority"`
			CAData     []byte `json:"certificate-authority-data"`
			ServerName string `json:"tls-server-name"`
			Insecure   bool   `json:"insecure-skip-tls-verify"`
		} `json:"cluster"`
	} `json:"clusters"`
	Contexts []kubeContext `json:"contexts"`
	Users    []struct {
		Name string `json:"name"`
		User struct {
			Cert     string `json:"client-certificate"`
			CertData []byte `json:"client-certificate-data"`
			Key      string `json:"client-key"`
			KeyData  []byte `json:"client-key-data"`
			Token    string `json:"token"`
			// TokenFile is preferred to Token, as kubectl does.
			TokenFile string `json:"tokenFile"`
		} `json:"user"`
	} `json:"users"`
}

type kubeContext struct {
	Name    string `json:"name"`
	Context struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
	} `json:"context"`
}

// client makes a client out of a kubeconfig on the node. The addresses are those
// of the node's API server; without any the kubeconfig's own is used.
func (n *Node) client(ctx context.Context, name string, addresses []string) (*apiClient, error) {
	data, err := n.Host.ReadFile(ctx, name)
	if err != nil {
		return nil, err
	}
	c, err := n.parseKubeconfig(ctx, name, data, addresses)
	if err != nil {
		if lost(err) {
			return nil, err
		}
		return nil, fmt.Errorf("read kubeconfig %s: %w", name, err)
	}
	return c, nil
}

func (n *Node) parseKubeconfig(ctx context.Context, name string, data []byte, addresses []string) (*apiClient, error) {
	var k kubeconfig
	if err := yaml.Unmarshal(data, &k); err != nil {
		return nil, errors.New("it is no kubeconfig")
	}
	ic := slices.IndexFunc(k.Contexts, func(c kubeContext) bool { return c.Name == k.CurrentContext })
	if ic < 0 {
		return nil, errors.New("it has no current context")
	}
	want := k.Contexts[ic].Context
	out := &apiClient{node: n, addresses: addresses}
	// Paths in a kubeconfig are relative to its directory.
	material := func(data []byte, file string) ([]byte, error) {
		if len(data) > 0 || file == "" {
			return data, nil
		}
		if !path.IsAbs(file) {
			file = path.Join(path.Dir(name), file)
		}
		return n.Host.ReadFile(ctx, file)
	}
	for _, c := range k.Clusters {
		if c.Name != want.Cluster {
			continue
		}
		u, err := url.Parse(c.Cluster.Server)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("server %q is no URL", c.Cluster.Server)
		}
		if len(addresses) == 0 {
			port := u.Port()
			if port == "" {
				port = "443"
			}
			out.addresses = []string{net.JoinHostPort(u.Hostname(), port)}
		}
		if u.Scheme == "http" {
			continue
		}
		ca, err := material(c.Cluster.CAData, c.Cluster.CA)
		if err != nil {
			return nil, err
		}
		// The name is the one that kubectl checks. The certificate of every control
		// plane node carries it, while the loopback address need not be in any.
		conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname(), InsecureSkipVerify: c.Cluster.Insecure}
		if c.Cluster.ServerName != "" {
			conf.ServerName = c.Cluster.ServerName
		}
		if len(ca) > 0 {
			conf.RootCAs = x509.NewCertPool()
			if !conf.RootCAs.AppendCertsFromPEM(ca) {
				return nil, errors.New("its certificate authority is no PEM certificate")
			}
		}
		out.tls = conf
	}
	if len(out.addresses) == 0 {
		return nil, fmt.Errorf("it has no cluster %q", want.Cluster)
	}
	for _, u := range k.Users {
		if u.Name != want.User {
			continue
		}
		out.token = u.User.Token
		cert, err1 := material(u.User.CertData, u.User.Cert)
		key, err2 := material(u.User.KeyData, u.User.Key)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if file := u.User.TokenFile; file != "" {
			token, err := material(nil, file)
			if err != nil {
				return nil, err
			}
			out.token = strings.TrimSpace(string(token))
		}
		if len(cert) == 0 && out.token == "" {
			return nil, fmt.Errorf("its user %q has neither a certificate nor a token; a program that makes them (exec) is not run on a control-plane node", u.Name)
		}
		if len(cert) == 0 || out.tls == nil {
			break
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("its client certificate: %w", err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			return nil, fmt.Errorf("its client certificate: %w", err)
		}
		if time.Now().After(leaf.NotAfter) {
			return nil, fmt.Errorf("its client certificate expired on %s: kubeadm certs renew %s", leaf.NotAfter.Format(time.DateOnly), path.Base(name))
		}
		out.tls.Certificates = []tls.Certificate{pair}
		// As the API server reads a client certificate.
		out.user = leaf.Subject.CommonName
		out.groups = append(slices.Clone(leaf.Subject.Organization), "system:authenticated")
	}
	return out, nil
}

// request is one request to the API server.
type request struct {
	method, path string
	header       map[string]string
	body         []byte
	contentType  string
}

// answer is what the API server says.
type answer struct {
	status int
	body   []byte
}

// requestTimeout bounds one request, the connection included.
const requestTimeout = 10 * time.Second

// do sends a request on a connection of its own. The whole of it runs in the
// caller's goroutine, so that a host that fails fails here.
func (c *apiClient) do(ctx context.Context, r request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var errs []error
	for i, address := range c.addresses {
		a, err := c.once(ctx, address, r)
		if err == nil {
			if i > 0 { // the one that works first, next time
				c.addresses = append([]string{address}, slices.Delete(slices.Clone(c.addresses), i, i+1)...)
			}
			return a, nil
		}
		if lost(err) || ctx.Err() != nil {
			return answer{}, err
		}
		errs = append(errs, err)
	}
	return answer{}, errs[0]
}

func (c *apiClient) once(ctx context.Context, address string, r request) (answer, error) {
	conn, err := c.node.Host.Dial(ctx, "tcp", address)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	scheme := "http"
	if c.tls != nil {
		scheme = "https"
		secure := tls.Client(conn, c.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return answer{}, fmt.Errorf("connect to %s: %w", address, err)
		}
		conn = secure
	}
	req, err := http.NewRequestWithContext(ctx, r.method, scheme+"://"+address+r.path, bytes.NewReader(r.body))
	if err != nil {
		return answer{}, fmt.Errorf("make request: %w", err)
	}
	req.Close = true
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "ktrail")
	if len(r.body) > 0 {
		req.Header.Set("Content-Type", r.contentType)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	if err := req.Write(conn); err != nil {
		return answer{}, fmt.Errorf("ask %s: %w", address, err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return answer{}, fmt.Errorf("ask %s: %w", address, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("ask %s: %w", address, err)
	}
	return answer{status: resp.StatusCode, body: body}, nil
}

// ready tells whether the API server is ready. Only a lost node is an error.
func (c *apiClient) ready(ctx context.Context) (bool, error) {
	// The API server answers a probe at once; one that hangs is not ready.
	probe, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	a, err := c.do(probe, request{method: "GET", path: "/readyz"})
	switch {
	case lost(err):
		return false, err
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	}
	return err == nil && a.status == http.StatusOK && strings.TrimSpace(string(a.body)) == "ok", nil
}
