package advise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/node/config"
	"github.com/ktrail/ktrail/internal/node/host"
)

// Where an API server's flags are kept on a node.
const (
	manifest = "/etc/kubernetes/manifests/kube-apiserver.yaml"
	proc     = "/proc"
)

// ErrNoAPIServer is that a machine runs no API server that can be seen.
var ErrNoAPIServer = errors.New("no kube-apiserver is running here, and there is neither its manifest nor a k3s or RKE2 configuration")

// embedded are the configurations of distributions whose API server is no
// process of its own, or is started from them.
func embedded() []string {
	return []string{"/etc/rancher/rke2/config.yaml", "/etc/rancher/k3s/config.yaml"}
}

// Node finds the API server of a machine: the running process, else the files
// that it would be started from. The policy, the kubeconfig of the webhook and
// the free disk come with it as far as they can be read; notes say what could not.
func Node(ctx context.Context, h host.Host) (in Input, notes []string, err error) {
	pid, err := running(ctx, h)
	if err != nil {
		return Input{}, nil, err
	}
	if pid > 0 {
		return Process(ctx, h, pid)
	}
	for _, name := range append([]string{manifest}, embedded()...) {
		data, err := h.ReadFile(ctx, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return Input{}, nil, err
		}
		in = Input{Name: name, Data: data}
		notes = attach(ctx, h, &in, "")
		return in, append([]string{"no kube-apiserver is running: judging " + name}, notes...), nil
	}
	return Input{}, nil, ErrNoAPIServer
}

// running is the process ID of the API server, 0 if none runs.
func running(ctx context.Context, h host.Host) (int, error) {
	entries, err := h.ReadDir(ctx, proc)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name)
		if err != nil {
			continue
		}
		comm, err := h.ReadFile(ctx, path.Join(proc, e.Name, "comm"))
		switch {
		case errors.As(err, new(*host.LostError)):
			return 0, err
		case err == nil && strings.TrimSpace(string(comm)) == "kube-apiserver":
			return pid, nil
		}
	}
	return 0, nil
}

// Process takes the flags from a running process.
func Process(ctx context.Context, h host.Host, pid int) (in Input, notes []string, err error) {
	name := path.Join(proc, strconv.Itoa(pid), "cmdline")
	data, err := h.ReadFile(ctx, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Input{}, nil, fmt.Errorf("there is no process %d", pid)
	case err != nil:
		return Input{}, nil, err
	case len(data) == 0:
		return Input{}, nil, fmt.Errorf("process %d has no command line: it is the kernel's, or has ended", pid)
	}
	if kind, err := config.Detect(data); err != nil || kind != config.CommandLine {
		program, _, _ := strings.Cut(string(data), "\x00")
		return Input{}, nil, fmt.Errorf("process %d is no kube-apiserver, it is %s", pid, path.Base(strings.TrimSpace(program)))
	}
	in = Input{Name: name, Data: data}
	// The command line says neither the version nor the mounts; the manifest that
	// started the process does.
	if text, err := h.ReadFile(ctx, manifest); err == nil {
		if s, err := config.Read(config.StaticPod, text); err == nil {
			in.Mounts, in.Pod = s.Mounts, true
			in.Version, _ = flags.ParseVersion(s.Version) // unknown if it does not say
		}
	}
	return in, attach(ctx, h, &in, path.Join(proc, strconv.Itoa(pid), "root")), nil
}

// Attach reads what the flags of a file on this machine name: for a file that
// belongs to the machine, such as its manifest. Notes say what could not be read.
func Attach(ctx context.Context, h host.Host, in *Input) []string { return attach(ctx, h, in, "") }

// attach reads the policy, the kubeconfig and the free disk. root is where the
// API server's own view of files begins; "" is that files are where the mounts say.
func attach(ctx context.Context, h host.Host, in *Input, root string) (notes []string) {
	kind, err := config.Detect(in.Data)
	if err != nil {
		return nil // Check says so
	}
	s, err := config.Read(kind, in.Data)
	if err != nil {
		return nil
	}
	settings, _ := flags.Read(s.Args, in.Version)
	read := func(name, what string) *File {
		if name == "" {
			return nil
		}
		at := onHost(s.Mounts, name)
		if root != "" {
			at = path.Join(root, name)
		}
		data, err := h.ReadFile(ctx, at)
		if err != nil {
			notes = append(notes, fmt.Sprintf("the %s is not looked at: %v", what, err))
			return nil
		}
		return &File{Name: name, Data: data}
	}
	if in.Policy == nil && s.Policy == nil {
		in.Policy = read(settings.Policy, "policy")
	}
	if in.Webhook == nil {
		in.Webhook = read(settings.Webhook.ConfigFile, "webhook's kubeconfig")
	}
	if p := settings.Log.Path; in.Free == 0 && strings.HasPrefix(p, "/") {
		in.Free = free(ctx, h, path.Dir(onHost(append(s.Mounts, in.Mounts...), p)))
	}
	return notes
}

// free is the disk that a log in dir may take: what is free and what the log has
// already; 0 if it cannot be told.
func free(ctx context.Context, h host.Host, dir string) int64 {
	n, _, err := h.Free(ctx, dir)
	if err != nil {
		return 0
	}
	entries, err := h.ReadDir(ctx, dir)
	if err != nil {
		return n
	}
	for _, e := range entries {
		if strings.Contains(e.Name, "audit") {
			n += e.Size
		}
	}
	return n
}

// onHost is where a path of the API server's pod lies on the machine.
func onHost(mounts []config.Mount, name string) string {
	best := config.Mount{HostPath: "/", MountPath: "/"}
	for _, m := range mounts {
		at := path.Clean(m.MountPath)
		if (name == at || strings.HasPrefix(name, at+"/")) && len(at) >= len(best.MountPath) {
			best = m
		}
	}
	rest, err := filepath.Rel(path.Clean(best.MountPath), name)
	if err != nil {
		return name
	}
	return path.Join(best.HostPath, rest)
}
