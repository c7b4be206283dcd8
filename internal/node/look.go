package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/node/config"
)

// Look is what is found on a node. Looking changes nothing.
type Look struct {
	Distribution *Distribution
	// Version is the API server's: its own word if it answers, otherwise what its
	// manifest says, or "".
	Version  string
	Config   []byte
	Settings *config.Settings
	// Process is the running API server, nil if there is none.
	Process *Process
	// Problems are reasons to change nothing, each with its cure. Warnings are not.
	Problems, Warnings []string

	api *apiClient // nil if there is no kubeconfig to be had
}

// Look finds out all that a plan needs.
func (n *Node) Look(ctx context.Context) (*Look, error) {
	n.progress("look", "looking at the node")
	d, err := n.distribution(ctx)
	if err != nil {
		return nil, err
	}
	l := &Look{Distribution: d, Problems: slices.Clone(d.Strays)}
	if l.Config, l.Settings, err = n.settings(ctx, d); err != nil {
		return nil, err
	}
	for _, p := range l.Settings.Problems {
		place := ""
		if p.Line > 0 {
			place = fmt.Sprintf("%s:%d: ", d.Config, p.Line)
		}
		l.Problems = append(l.Problems, place+p.Text)
	}
	l.Version = l.Settings.Version
	if err := n.lookAtProcess(ctx, l); err != nil {
		return nil, err
	}
	if err := n.lookAtAPI(ctx, l); err != nil {
		return nil, err
	}
	return l, nil
}

// lookAtProcess finds the running API server and compares it with its manifest.
func (n *Node) lookAtProcess(ctx context.Context, l *Look) error {
	p, err := n.running(ctx, l.Distribution, l.Settings.Args)
	if err != nil {
		return err
	}
	l.Process = p
	switch {
	case p == nil:
		l.Problems = append(l.Problems, "no API server is running here: ktrail changes only one that works, so that it can tell what a change did")
	case !slices.Equal(auditArgs(p.Args), auditArgs(l.Settings.Args)):
		l.Warnings = append(l.Warnings, fmt.Sprintf(
			"the running API server (pid %d) has other audit flags than %s says: %s",
			p.PID, l.Distribution.Config, argsDiff(auditArgs(p.Args), auditArgs(l.Settings.Args))))
	}
	return nil
}

// running finds the node's API server, nil if none runs. Where there are several
// (an old one that is ending, another cluster's in a container) it is the newest
// of those that listen where this one does.
func (n *Node) running(ctx context.Context, d *Distribution, args []flags.Arg) (*Process, error) {
	all, err := n.processes(ctx, d.Program)
	if err != nil {
		return nil, err
	}
	for i := range slices.Backward(all) {
		p := &all[i]
		if d.args != nil {
			if err := d.args(ctx, n, p); err != nil {
				return nil, err
			}
			return p, nil
		}
		own := true
		for _, name := range []string{"advertise-address", "secure-port", "etcd-servers"} {
			want, _ := flags.Last(args, name)
			got, _ := flags.Last(p.Args, name)
			own = own && want.Value == got.Value
		}
		if own {
			return p, nil
		}
	}
	return nil, nil
}

func argsDiff(have, want []string) string {
	var out []string
	for _, a := range have {
		if !slices.Contains(want, a) {
			out = append(out, "it has --"+a)
		}
	}
	for _, a := range want {
		if !slices.Contains(have, a) {
			out = append(out, "it lacks --"+a)
		}
	}
	return strings.Join(out, ", ")
}

// settings reads the API server's configuration: Config's text, nil if there is
// none, and what all of it says.
func (n *Node) settings(ctx context.Context, d *Distribution) ([]byte, *config.Settings, error) {
	if d.parts == nil {
		data, err := n.Host.ReadFile(ctx, d.Config)
		if err != nil {
			return nil, nil, fmt.Errorf("look at the API server's configuration: %w", err)
		}
		s, err := config.Read(d.Kind, data)
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", d.Config, err)
		}
		return data, s, nil
	}
	files, err := n.parts(ctx, d)
	if err != nil {
		return nil, nil, err
	}
	s, main, err := config.Merge(d.Kind, files)
	if err != nil {
		return nil, nil, err
	}
	return files[main].Data, s, nil
}

// addresses are where this distribution's API server listens; none means where
// the kubeconfig says, which is the node's own in k3s and RKE2.
func (d *Distribution) addresses(args []flags.Arg) []string {
	if d.Unit != "" {
		return nil
	}
	return addresses(args)
}

// addresses are where this node's API server listens: on what it advertises, and
// on the loopback unless it is bound to one address.
func addresses(args []flags.Arg) []string {
	port := "6443"
	if a, ok := flags.Last(args, "secure-port"); ok {
		port = a.Value
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil
	}
	var out []string
	for _, name := range []string{"bind-address", "advertise-address"} {
		if a, ok := flags.Last(args, name); ok && net.ParseIP(a.Value) != nil && !net.ParseIP(a.Value).IsUnspecified() {
			out = append(out, net.JoinHostPort(a.Value, port))
		}
	}
	return append(out, net.JoinHostPort("127.0.0.1", port))
}

// connect makes a client of the first kubeconfig that is there and that the API
// server accepts.
func (n *Node) connect(ctx context.Context, d *Distribution, args []flags.Arg) (*apiClient, error) {
	var errs []error
	for _, name := range d.Kubeconfigs {
		there, err := n.exists(ctx, name)
		if err != nil {
			return nil, err
		}
		if !there {
			continue
		}
		c, err := n.client(ctx, name, d.addresses(args))
		if lost(err) {
			return nil, err
		}
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return nil, fmt.Errorf("no kubeconfig of an administrator in %s", strings.Join(d.Kubeconfigs, " or "))
}

// lookAtAPI asks the API server for its version.
func (n *Node) lookAtAPI(ctx context.Context, l *Look) error {
	c, err := n.connect(ctx, l.Distribution, l.Settings.Args)
	switch {
	case lost(err) || ctx.Err() != nil:
		return err
	case err != nil:
		l.Problems = append(l.Problems, "the API server cannot be asked whether it works: "+err.Error())
		return nil
	}
	l.api = c
	a, err := c.do(ctx, request{method: "GET", path: "/version"})
	switch {
	case lost(err) || ctx.Err() != nil:
		return err
	case err != nil:
		l.api = nil // asking it for more would say the same again
		l.Problems = append(l.Problems, "the API server does not answer: "+err.Error())
		return nil
	case a.status != http.StatusOK:
		l.Problems = append(l.Problems, fmt.Sprintf("the API server answers /version with %d: %.200s", a.status, a.body))
		return nil
	}
	var v struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(a.body, &v); err == nil && v.GitVersion != "" {
		l.Version = v.GitVersion
	}
	ok, err := c.ready(ctx)
	if err != nil {
		return err
	}
	if !ok {
		l.Problems = append(l.Problems, "the API server is not ready (/readyz): mend that first, otherwise nobody can tell what a change did")
	}
	return nil
}

// version is the minor version by which flags are judged; zero if unknown.
func (l *Look) version() flags.Version {
	v, err := flags.ParseVersion(l.Version)
	if err != nil {
		return flags.Version{}
	}
	return v
}

// onHost is where a path of the API server is on the host, and the mount that
// makes it so. It is "" where nothing is mounted there.
func (d *Distribution) onHost(mounts []config.Mount, name string) (string, *config.Mount) {
	var best *config.Mount
	for i := range mounts {
		m := &mounts[i]
		if under(name, m.MountPath) && m.HostPath != "" && (best == nil || len(m.MountPath) > len(best.MountPath)) {
			best = m
		}
	}
	if best == nil && !d.Mounts {
		return name, nil
	}
	if best == nil {
		return "", nil
	}
	rest := strings.TrimPrefix(path.Clean(name), path.Clean(best.MountPath))
	return path.Join(best.HostPath, rest), best
}

// under tells whether name is dir or in it.
func under(name, dir string) bool {
	name, dir = path.Clean(name), path.Clean(dir)
	return name == dir || dir == "/" || strings.HasPrefix(name, dir+"/")
}
