package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/node/config"
	"github.com/ktrail/ktrail/internal/node/host"
)

// k3s runs the API server inside its own process, RKE2 as a static pod that it
// writes anew whenever its service starts, with a hash of the policy in it
// (rancher/rke2, pkg/staticpod). Both are changed through their configuration,
// which they read at start: never through the pod's manifest.
const (
	k3sDir   = "/etc/rancher/k3s"
	k3sData  = "/var/lib/rancher/k3s/server"
	rke2Dir  = "/etc/rancher/rke2"
	rke2Data = "/var/lib/rancher/rke2/server"
)

func findRKE2(ctx context.Context, n *Node) (*Distribution, error) {
	d := &Distribution{
		Name: "rke2", Kind: config.RKE2, Config: rke2Dir + "/config.yaml", Program: apiServer, Unit: "rke2-server",
		Kubeconfigs: []string{rke2Dir + "/rke2.yaml"},
		Defaults:    config.Defaults(config.RKE2),
		args:        func(context.Context, *Node, *Process) error { return nil }, // its own command line has them
		attempts:    podAttempts, tail: podTail,
		// kubelet looks for changed manifests every 5 s, and RKE2 starts it with its service.
		settle: 30 * time.Second,
	}
	return findRancher(ctx, n, d, rke2Data)
}

func findK3s(ctx context.Context, n *Node) (*Distribution, error) {
	d := &Distribution{
		Name: "k3s", Kind: config.K3s, Config: k3sDir + "/config.yaml", Program: "k3s-server", Unit: "k3s", inUnit: true,
		Kubeconfigs: []string{k3sDir + "/k3s.yaml", k3sData + "/cred/admin.kubeconfig"},
		Defaults:    config.Defaults(config.K3s),
		args:        k3sArgs,
		settle:      settle,
	}
	d.attempts, d.tail = d.unitAttempts, d.unitTail
	return findRancher(ctx, n, d, k3sData)
}

// findRancher completes d if its server keeps its data in data.
func findRancher(ctx context.Context, n *Node, d *Distribution, data string) (*Distribution, error) {
	if there, err := n.exists(ctx, data); !there || err != nil {
		return nil, err
	}
	d.restart = d.restartUnit
	list, err := n.Host.ReadDir(ctx, d.Config+".d")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for configuration: %w", err)
	}
	d.parts = []string{d.Config}
	for _, e := range list {
		if !e.Mode.IsDir() && config.IsDropIn(e.Name) {
			d.parts = append(d.parts, path.Join(d.Config+".d", e.Name))
		}
	}
	slices.Sort(d.parts[1:])
	files, err := n.parts(ctx, d)
	if err != nil {
		return nil, err
	}
	_, main, err := config.Merge(d.Kind, files)
	if err != nil {
		return nil, err
	}
	d.Config = files[main].Name
	return d, n.unitStrays(ctx, d)
}

// parts are the files of the configuration. None of them need be there.
func (n *Node) parts(ctx context.Context, d *Distribution) ([]config.File, error) {
	var files []config.File
	for _, name := range d.parts {
		data, _, err := n.read(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
		files = append(files, config.File{Name: name, Data: data})
	}
	return files, nil
}

// unitStrays finds flags on the service's own command line: they come after those
// of the configuration.
func (n *Node) unitStrays(ctx context.Context, d *Distribution) error {
	if there, err := n.hasUnit(ctx, d.Unit); err != nil {
		return err
	} else if !there {
		d.Strays = append(d.Strays, fmt.Sprintf("there is no systemd service %s, and ktrail knows no other way to restart %s: use ktrail enable --print %s", d.Unit, d.Name, d.Name))
	}
	for _, name := range []string{"/etc/systemd/system/" + d.Unit + ".service", "/etc/systemd/system/" + d.Unit + ".service.env", "/etc/default/" + d.Unit} {
		text, _, err := n.read(ctx, name)
		if err != nil {
			return fmt.Errorf("look at the service: %w", err)
		}
		if strings.Contains(string(text), "kube-apiserver-arg") && strings.Contains(string(text), "audit-") || strings.Contains(string(text), "--"+flags.PolicyFile) {
			d.Strays = append(d.Strays, fmt.Sprintf("%s sets audit flags, which come after those of %s: move them there", name, d.Config))
		}
	}
	return nil
}

func (n *Node) hasUnit(ctx context.Context, unit string) (bool, error) {
	for _, dir := range []string{"/etc", "/usr/local/lib", "/usr/lib", "/lib"} {
		if there, err := n.exists(ctx, dir+"/systemd/system/"+unit+".service"); there || err != nil {
			return there, err
		}
	}
	return false, nil
}

// restartUnit asks systemd, and does not wait for it: the wait does, and sees more.
func (d *Distribution) restartUnit(ctx context.Context, n *Node, _ *Process) error {
	r, err := n.Host.Run(ctx, []string{"systemctl", "restart", "--no-block", d.Unit}, nil)
	if err != nil {
		return fmt.Errorf("restart %s: %w", d.Unit, err)
	}
	if r.Status != 0 {
		return fmt.Errorf("restart %s: %s", d.Unit, firstLine(string(r.Stderr)))
	}
	return nil
}

// unitAttempts counts how often systemd started the service by itself.
func (d *Distribution) unitAttempts(ctx context.Context, n *Node) (map[string]int, error) {
	r, err := n.Host.Run(ctx, []string{"systemctl", "show", "--property=NRestarts", d.Unit}, nil)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", d.Unit, err)
	}
	_, number, _ := strings.Cut(strings.TrimSpace(string(r.Stdout)), "=")
	count, err := strconv.Atoi(number)
	if err != nil { // an older systemd
		return nil, nil
	}
	return map[string]int{d.Unit: count}, nil
}

func (d *Distribution) unitTail(ctx context.Context, n *Node) ([]string, error) {
	r, err := n.journal(ctx, d.Unit, "--lines="+strconv.Itoa(tailLines))
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(r.Stdout), "\n"), "\n"), nil
}

func (n *Node) journal(ctx context.Context, unit string, args ...string) (host.Result, error) {
	r, err := n.Host.Run(ctx, append([]string{"journalctl", "--no-pager", "--output=cat", "--unit=" + unit}, args...), nil)
	if err != nil {
		return r, fmt.Errorf("read the journal of %s: %w", unit, err)
	}
	return r, nil
}

// k3sRuns is what k3s logs before it starts the API server in its own process
// (k3s-io/k3s, pkg/daemons/control/server.go).
const k3sRuns = "Running kube-apiserver "

// k3sArgs finds the running API server's flags in the journal: k3s hides its
// command line, and the API server has none of its own. Where the journal has lost
// them, a k3s that started after its configuration was written has those of it.
func k3sArgs(ctx context.Context, n *Node, p *Process) error {
	p.Args = nil
	begun, err := n.started(ctx, p)
	if err != nil {
		return fmt.Errorf("find out when k3s started: %w", err)
	}
	at := func(t time.Time) string { return "@" + strconv.FormatInt(t.Unix(), 10) }
	r, err := n.journal(ctx, "k3s", "_PID="+strconv.Itoa(p.PID), "--since="+at(begun.Add(-5*time.Second)), "--until="+at(begun.Add(10*time.Minute)))
	if err != nil {
		return err
	}
	if args, ok := k3sRunning(string(r.Stdout)); ok {
		p.Args = args
		return nil
	}
	d, err := findK3s(ctx, n)
	if err != nil || d == nil {
		return err
	}
	// Old enough to have logged it: the journal has it no more.
	age, err := n.age(ctx, begun)
	if err != nil || age < 10*time.Minute {
		return err
	}
	for _, name := range d.parts {
		if stale, err := n.stale(ctx, p, name); stale || err != nil {
			return err
		}
	}
	if _, s, err := n.settings(ctx, d); err == nil {
		p.Args = s.Args
	}
	return nil
}

// k3sRunning reads the flags out of a log, in whose lines quotes stand escaped.
func k3sRunning(log string) (args []flags.Arg, ok bool) {
	for line := range strings.Lines(log) {
		_, rest, found := strings.Cut(line, k3sRuns)
		if !found {
			continue
		}
		rest = strings.TrimSpace(rest)
		if strings.Contains(line[:strings.Index(line, k3sRuns)], `msg="`) {
			if i := strings.LastIndexByte(rest, '"'); i >= 0 {
				rest = rest[:i]
			}
			if plain, err := strconv.Unquote(`"` + rest + `"`); err == nil {
				rest = plain
			}
		}
		// A value may have a blank in it: each flag begins with two dashes.
		var words []string
		for _, w := range strings.Split(rest, " ") {
			if strings.HasPrefix(w, "--") || len(words) == 0 {
				words = append(words, w)
			} else {
				words[len(words)-1] += " " + w
			}
		}
		args, ok = flags.Parse(words), true
	}
	return args, ok
}
