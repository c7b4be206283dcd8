package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/node/config"
)

// kubeadm upgrade writes every manifest anew from the ClusterConfiguration in
// this ConfigMap: what is not in it is lost.
const (
	clusterPath = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
	clusterKey  = "ClusterConfiguration"
)

// configMap is kubeadm-config: its text, and the version that a change names.
type configMap struct {
	version string
	text    []byte
}

// clusterConfig reads kubeadm-config; nil if the cluster has none.
func (c *apiClient) clusterConfig(ctx context.Context) (*configMap, error) {
	a, err := c.do(ctx, request{method: "GET", path: clusterPath})
	if err != nil {
		return nil, fmt.Errorf("read kubeadm-config: %w", err)
	}
	switch a.status {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, nil
	default:
		return nil, fmt.Errorf("read kubeadm-config: the API server answers %d: %.200s", a.status, a.body)
	}
	var m struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Data map[string]string `json:"data"`
	}
	if err := json.Unmarshal(a.body, &m); err != nil {
		return nil, fmt.Errorf("read kubeadm-config: %w", err)
	}
	text, ok := m.Data[clusterKey]
	if !ok {
		return nil, nil
	}
	return &configMap{m.Metadata.ResourceVersion, []byte(text)}, nil
}

var errConflict = errors.New("it was changed meanwhile")

// setClusterConfig replaces the text, if nobody else changed the ConfigMap since.
func (c *apiClient) setClusterConfig(ctx context.Context, version string, text []byte) error {
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": version},
		"data":     map[string]string{clusterKey: string(text)},
	})
	if err != nil {
		return fmt.Errorf("encode kubeadm-config: %w", err)
	}
	a, err := c.do(ctx, request{method: "PATCH", path: clusterPath, body: body, contentType: "application/merge-patch+json"})
	switch {
	case err != nil:
		return fmt.Errorf("write kubeadm-config: %w", err)
	case a.status == http.StatusConflict:
		return fmt.Errorf("write kubeadm-config: %w", errConflict)
	case a.status != http.StatusOK:
		return fmt.Errorf("write kubeadm-config: the API server answers %d: %.200s", a.status, a.body)
	}
	return nil
}

// planCluster plans the change of kubeadm-config.
func (n *Node) planCluster(ctx context.Context, p *Plan, change config.Change) error {
	m, err := p.Look.api.clusterConfig(ctx)
	switch {
	case lost(err) || ctx.Err() != nil:
		return err
	case err != nil:
		p.problem("%v", err)
		return nil
	case m == nil:
		p.warn("this cluster has no ConfigMap kube-system/kubeadm-config: what makes the manifest anew there must be told of the change, too")
		return nil
	}
	s, err := config.Read(config.KubeadmConfig, m.text)
	if err == nil {
		change = p.clusterChange(s, change)
	}
	text := m.text
	if err == nil {
		text, err = config.Patch(config.KubeadmConfig, m.text, change)
	}
	if err != nil {
		p.warn("kubeadm-config cannot be changed, and kubeadm upgrade will lose the change: %v; make it by hand: kubectl -n kube-system edit configmap kubeadm-config", err)
		return nil
	}
	if !bytes.Equal(text, m.text) {
		p.Cluster = &Cluster{Old: m.text, New: text}
		if p.Operation == Enable {
			p.note("kubeadm-config is the cluster's: enable the other control-plane nodes too before kubeadm upgrade runs there, or their API servers will miss the policy")
		}
	}
	return nil
}

// clusterChange is what makes kubeadm-config say what the manifest will say: all
// of it, since it may lack what the manifest has already.
func (p *Plan) clusterChange(s *config.Settings, change config.Change) config.Change {
	own := p.Look.Settings
	rest := slices.DeleteFunc(slices.Clone(p.Args), func(a flags.Arg) bool { return strings.HasPrefix(a.Name, "audit-") })
	now, _ := flags.Read(p.Args, p.Look.version())
	if p.Operation == Enable {
		change.Set = nil
		for _, a := range flags.Audit(p.Args) {
			last, _ := flags.Last(p.Args, a.Name)
			if !slices.ContainsFunc(change.Set, func(b flags.Arg) bool { return b.Name == a.Name }) {
				change.Set = append(change.Set, flags.Arg{Name: a.Name, Value: last.Value})
			}
		}
		for _, name := range []string{now.Policy, now.Log.Path} {
			if m := ownMount(own, rest, name); m != nil {
				change.AddMounts = append(change.AddMounts, config.Mount{
					Name: m.Name, HostPath: m.HostPath, MountPath: m.MountPath, ReadOnly: m.ReadOnly, Type: m.Type,
				})
			}
		}
		return change
	}
	for _, a := range flags.Audit(s.Args) {
		if !slices.Contains(change.Unset, a.Name) {
			change.Unset = append(change.Unset, a.Name)
		}
	}
	// The names of the volumes in it need not be those of the manifest.
	gone := change.RemoveMounts
	change.RemoveMounts = nil
	for _, m := range own.Mounts {
		for _, have := range s.Mounts {
			if slices.Contains(gone, m.Name) && have.MountPath == m.MountPath {
				change.RemoveMounts = append(change.RemoveMounts, have.Name)
			}
		}
	}
	return change
}

// setCluster makes kubeadm-config what it is to be: from the text with hash
// from to the text to. One that was changed by somebody else is patched anew.
func (n *Node) setCluster(ctx context.Context, c *apiClient, s *State, forward bool) error {
	which, from, to := "new", s.Cluster.Old, s.Cluster.New
	if !forward {
		which, from, to = "old", s.Cluster.New, s.Cluster.Old
	}
	text, err := n.backed(ctx, s, which, clusterFile, to)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; {
		var m *configMap
		m, err = c.clusterConfig(ctx)
		if err == nil {
			switch {
			case m == nil, hash(m.text) == to:
				return nil
			case hash(m.text) != from && forward:
				return fmt.Errorf("write kubeadm-config: it was changed by somebody else meanwhile; run it again")
			case hash(m.text) != from:
				// Neither ours nor what was: whoever wrote it knows better.
				n.Log.WarnContext(ctx, "kubeadm-config was changed by somebody else and stays",
					slog.String("host", n.Name()), slog.String("backup", path.Join(s.Backup, "old", clusterFile)))
				return nil
			}
			if err = c.setClusterConfig(ctx, m.version, text); err == nil {
				return nil
			}
		}
		if lost(err) || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		if perr := n.pause(ctx, poll); perr != nil {
			return perr
		}
	}
}
