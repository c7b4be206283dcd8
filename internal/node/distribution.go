package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/node/config"
	"github.com/ktrail/ktrail/internal/node/host"
)

// Distribution is all that differs between the ways in which a control plane is run.
type Distribution struct {
	Name string // as people write it: kubeadm
	// Kind and Config are the kind and the path of the file with the flags.
	Kind   config.Kind
	Config string
	// Temp is a directory on Config's file system where nobody reads what is
	// written; "" is Config's own.
	Temp string
	// Program is the name of the process that is the API server.
	Program string
	// Kubeconfigs are those of an administrator; the first that is there is used.
	Kubeconfigs []string
	// Watched says that a change of Config restarts the API server by itself.
	Watched bool
	// Persists says that kubeadm-config has the settings too, and wins at an upgrade.
	Persists bool
	// Mounts says that the API server sees only what is mounted.
	Mounts bool
	// Strays are files that take effect beside Config, or instead of it, with what
	// to do about each.
	Strays []string
	// Unit is the systemd service that reads Config at its start; "" if there is none.
	Unit string
	// Defaults are where policy and log go on this distribution.
	Defaults []flags.Arg

	// inUnit says that the API server runs in the service's own process, so that a
	// restart of that always replaces it.
	inUnit bool
	// parts are all files of the configuration, of which Config is one. They need
	// not be there. Nil means that Config is all.
	parts []string
	// settle is how long a rolled back API server is watched.
	settle time.Duration
	// args are the running API server's flags, where the process's own command
	// line does not have them; nil if it does.
	args func(ctx context.Context, n *Node, p *Process) error
	// restart makes the API server start again. Until it returns, p may run.
	restart func(ctx context.Context, n *Node, p *Process) error
	// kill ends an API server that does not end by itself; nil if restart sees to it.
	kill func(ctx context.Context, n *Node, p *Process) error
	// attempts counts the containers' starts, by directory; nil if that is unknown.
	attempts func(ctx context.Context, n *Node) (map[string]int, error)
	// tail is the last lines that the API server wrote.
	tail func(ctx context.Context, n *Node) ([]string, error)
}

// finders look for their distribution on a node; nil, nil means that it is not there.
func finders() []func(context.Context, *Node) (*Distribution, error) {
	return []func(context.Context, *Node) (*Distribution, error){findKubeadm, findRKE2, findK3s}
}

// NoControlPlaneError says that there is no API server here to configure.
type NoControlPlaneError struct {
	Host   string
	Looked []string // where
}

func (e *NoControlPlaneError) Error() string {
	return fmt.Sprintf("%s: no control plane here: no API server in %s", e.Host, strings.Join(e.Looked, ", "))
}

// Next says what to do.
func (e *NoControlPlaneError) Next() string {
	return "run it on a control-plane node (kubectl get nodes -l node-role.kubernetes.io/control-plane), or name them with --ssh"
}

// distribution finds out how this node's control plane is run.
func (n *Node) distribution(ctx context.Context) (*Distribution, error) {
	for _, find := range finders() {
		d, err := find(ctx, n)
		if d != nil || err != nil {
			return d, err
		}
	}
	return nil, &NoControlPlaneError{Host: n.Name(), Looked: []string{manifestsDir, rke2Data, k3sData}}
}

const (
	manifestsDir  = "/etc/kubernetes/manifests" // kubeadm's, and kubelet's default
	kubeletConfig = "/var/lib/kubelet/config.yaml"
	podLogs       = "/var/log/pods"
	apiServer     = "kube-apiserver"
	kubeadm       = "kubeadm"
)

// findKubeadm finds a control plane of static pods, as kubeadm makes it.
func findKubeadm(ctx context.Context, n *Node) (*Distribution, error) {
	dir, err := n.staticPodPath(ctx)
	if err != nil {
		return nil, err
	}
	pods, err := n.apiServerPods(ctx, dir)
	if err != nil {
		return nil, err
	}
	if len(pods) == 0 {
		// One that kubelet cannot read either is better named than not found.
		there, err := n.exists(ctx, path.Join(dir, apiServer+".yaml"))
		if err != nil || !there {
			return nil, err
		}
		pods = []string{apiServer + ".yaml"}
	}
	name := pods[0]
	if slices.Contains(pods, apiServer+".yaml") {
		name = apiServer + ".yaml"
	}
	d := kubeadmPod(path.Join(dir, name))
	for _, other := range pods {
		if other != name {
			d.Strays = append(d.Strays, fmt.Sprintf(
				"kubelet reads %s too: a second static pod of the API server, and either may win; move it out of %s: mv %s /root/",
				path.Join(dir, other), dir, path.Join(dir, other)))
		}
	}
	return d, nil
}

// kubeadmPod is the control plane whose static pod has this manifest.
func kubeadmPod(manifest string) *Distribution {
	return &Distribution{
		Name: kubeadm, Kind: config.StaticPod, Config: manifest, Temp: path.Dir(path.Dir(manifest)), Program: apiServer,
		Kubeconfigs: []string{"/etc/kubernetes/super-admin.conf", "/etc/kubernetes/admin.conf"},
		Watched:     true, Persists: true, Mounts: true,
		settle: settle, restart: signal("-TERM"), kill: signal("-KILL"), attempts: podAttempts, tail: podTail,
	}
}

// staticPodPath is the directory that kubelet reads.
func (n *Node) staticPodPath(ctx context.Context) (string, error) {
	data, ok, err := n.read(ctx, kubeletConfig)
	if err != nil || !ok {
		return manifestsDir, err
	}
	var k struct {
		StaticPodPath string `json:"staticPodPath"`
	}
	// What kubelet can read it must be able to read, too; what not, is not in use.
	if yaml.Unmarshal(data, &k) == nil && path.IsAbs(k.StaticPodPath) {
		return path.Clean(k.StaticPodPath), nil
	}
	return manifestsDir, nil
}

// apiServerPods are the files in dir that kubelet would run an API server from.
// It reads every file whose name does not begin with a dot
// (pkg/kubelet/config/file.go), whatever it is called.
func (n *Node) apiServerPods(ctx context.Context, dir string) ([]string, error) {
	list, err := n.Host.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for static pods: %w", err)
	}
	var names []string
	for _, e := range list {
		if strings.HasPrefix(e.Name, ".") || e.Size > config.MaxSize {
			continue
		}
		if e.Mode&fs.ModeSymlink != 0 {
			target, err := n.Host.Stat(ctx, path.Join(dir, e.Name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("look for static pods: %w", err)
			}
			e.Mode = target.Mode
		}
		if !e.Mode.IsRegular() {
			continue
		}
		data, ok, err := n.read(ctx, path.Join(dir, e.Name))
		if err != nil {
			return nil, fmt.Errorf("look for static pods: %w", err)
		}
		if ok && isAPIServerPod(data) {
			names = append(names, e.Name)
		}
	}
	return names, nil
}

// isAPIServerPod is deliberately laxer than [config.Read]: what that refuses,
// kubelet may still run.
func isAPIServerPod(data []byte) bool {
	var pod struct {
		Kind string `json:"kind"`
		Spec struct {
			Containers []struct {
				Name    string   `json:"name"`
				Command []string `json:"command"`
			} `json:"containers"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(data, &pod); err != nil || pod.Kind != "Pod" {
		return false
	}
	for _, c := range pod.Spec.Containers {
		if c.Name == apiServer || len(c.Command) > 0 && path.Base(c.Command[0]) == apiServer {
			return true
		}
	}
	return false
}

// signal ends the API server as kubelet does; kubelet starts it again at once.
func signal(name string) func(context.Context, *Node, *Process) error {
	return func(ctx context.Context, n *Node, p *Process) error {
		r, err := n.Host.Run(ctx, []string{"kill", name, strconv.Itoa(p.PID)}, nil)
		if err != nil {
			return fmt.Errorf("end the API server: %w", err)
		}
		if r.Status != 0 { // it ended by itself, which the wait will see
			n.Log.InfoContext(ctx, "the API server had ended already",
				slog.String("host", n.Name()), slog.Int("pid", p.PID), slog.String("kill", string(r.Stderr)))
		}
		return nil
	}
}

// podDirs are the log directories of the API server's pods: one a manifest,
// since a static pod's UID is made of its manifest.
func podDirs(ctx context.Context, n *Node) ([]string, error) {
	list, err := n.Host.ReadDir(ctx, podLogs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for the API server's log: %w", err)
	}
	var dirs []string
	for _, e := range list {
		if strings.HasPrefix(e.Name, "kube-system_"+apiServer+"-") {
			dirs = append(dirs, path.Join(podLogs, e.Name, apiServer))
		}
	}
	return dirs, nil
}

// podAttempts reads the attempts off the names of the logs: kubelet writes the
// container's n-th start to n.log.
func podAttempts(ctx context.Context, n *Node) (map[string]int, error) {
	dirs, err := podDirs(ctx, n)
	if err != nil {
		return nil, err
	}
	last := map[string]int{}
	for _, dir := range dirs {
		logs, err := n.podLogs(ctx, dir)
		if err != nil {
			return nil, err
		}
		for _, l := range logs {
			last[dir] = max(last[dir], l.attempt+1)
		}
	}
	return last, nil
}

type podLog struct {
	path    string
	attempt int
	info    host.Info
}

func (n *Node) podLogs(ctx context.Context, dir string) ([]podLog, error) {
	list, err := n.Host.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for the API server's log: %w", err)
	}
	var logs []podLog
	for _, e := range list {
		number, ok := strings.CutSuffix(e.Name, ".log") // rotated ones are 0.log.20261122-235314
		if attempt, err := strconv.Atoi(number); ok && err == nil {
			logs = append(logs, podLog{path.Join(dir, e.Name), attempt, e})
		}
	}
	return logs, nil
}

// lastPodLogs are the logs that were written to, the last first.
func lastPodLogs(ctx context.Context, n *Node) ([]podLog, error) {
	dirs, err := podDirs(ctx, n)
	if err != nil {
		return nil, err
	}
	var all []podLog
	for _, dir := range dirs {
		logs, err := n.podLogs(ctx, dir)
		if err != nil {
			return nil, err
		}
		all = append(all, logs...)
	}
	slices.SortFunc(all, func(a, b podLog) int { return b.info.ModTime.Compare(a.info.ModTime) })
	return all, nil
}

// lastPodLog is the one that something was written to last, "" if there is none.
func lastPodLog(ctx context.Context, n *Node) (string, error) {
	logs, err := lastPodLogs(ctx, n)
	for _, l := range logs {
		// A container that was just started has not said anything yet.
		if l.info.Size > 0 {
			return l.path, nil
		}
	}
	return "", err
}

const tailLines = 12

// podTail is the end of the API server's container log. A container that was just
// started has said little yet: why the one before it ended stands in that one's.
func podTail(ctx context.Context, n *Node) ([]string, error) {
	logs, err := lastPodLogs(ctx, n)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, l := range logs[:min(2, len(logs))] {
		if len(lines) >= tailLines {
			break
		}
		const most = 16 << 10
		data, _, err := n.Host.ReadAt(ctx, l.path, max(0, l.info.Size-most), most)
		if err != nil {
			return nil, fmt.Errorf("read the API server's log: %w", err)
		}
		var said []string
		for line := range strings.Lines(string(data)) {
			said = append(said, criMessage(strings.TrimSuffix(line, "\n")))
		}
		lines = append(said, lines...)
	}
	return lines[max(0, len(lines)-tailLines):], nil
}

// criMessage is a line of a container's log without what the runtime puts in
// front: 2026-11-22T23:53:14.123456789Z stderr F message.
func criMessage(line string) string {
	if f := strings.SplitN(line, " ", 4); len(f) == 4 && (f[1] == "stdout" || f[1] == "stderr") {
		return f[3]
	}
	return line
}
