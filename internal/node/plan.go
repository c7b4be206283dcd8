package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/internal/node/config"
)

// The operations.
const (
	Enable  = "enable"
	Disable = "disable"
)

// Request is what is asked of enable. What it does not name stays as it is, or
// becomes what is recommended where there is nothing yet.
type Request struct {
	// Policy is the policy's text, nil if none was asked for; PolicyName says
	// where it is from.
	Policy     []byte
	PolicyName string
	// Default is the policy for a node that has none.
	Default     []byte
	DefaultName string
	// Args are --audit-* flags, asked for by name.
	Args []flags.Arg
}

// Plan is what an operation will change on a node, down to the byte.
type Plan struct {
	Operation string
	Look      *Look
	// Files are replaced in this order.
	Files []File
	Dirs  []DirChange
	// Cluster is the change of kubeadm-config, nil if there is none.
	Cluster *Cluster
	// Args are all of the API server's flags after the change.
	Args []flags.Arg
	// Policy is the path of the policy on the host, Log that of the log; "" if
	// there is none. PolicyName says where the policy is from.
	Policy, Log, PolicyName string
	// Restart says why the API server restarts though its configuration stays; "" if not.
	Restart string
	// Problems are reasons to change nothing, with the cure; Warnings are not; Notes
	// say what was chosen and left.
	Problems, Warnings, Notes []string

	policy  []byte // as it will be
	changed bool   // the policy is
}

// File is a file before and after.
type File struct {
	Path     string
	Old, New []byte
	Exists   bool
	Mode     fs.FileMode
	OldMode  fs.FileMode
	temp     string
}

// Cluster is the ClusterConfiguration in kube-system/kubeadm-config before and after.
type Cluster struct{ Old, New []byte }

// Nothing tells whether the node is already as planned.
func (p *Plan) Nothing() bool { return len(p.Files) == 0 && p.Cluster == nil && p.Restart == "" }

// Restarts tells whether the API server will be away for a while.
func (p *Plan) Restarts() bool { return len(p.Files) > 0 || p.Restart != "" }

func (p *Plan) problem(format string, args ...any) {
	p.Problems = append(p.Problems, fmt.Sprintf(format, args...))
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// Plan works out what enable will change.
func (n *Node) Plan(ctx context.Context, l *Look, r Request) (*Plan, error) {
	n.progress("plan", "working out what to change")
	p := &Plan{Operation: Enable, Look: l, Problems: slices.Clone(l.Problems), Warnings: slices.Clone(l.Warnings)}
	change := config.Change{Set: wanted(l, r, p)}
	p.Args = flags.Apply(l.Settings.Args, change.Set, nil)
	s, _ := flags.Read(p.Args, l.version())
	if !s.Log.On() && !s.Webhook.On() {
		p.problem("there is nowhere to record to: --audit-log-path is empty and there is no --audit-webhook-config-file")
	}
	mounts := planMounts(p, s)
	change.AddMounts = mounts
	if err := n.planPolicy(ctx, p, r, s, mounts); err != nil {
		return nil, err
	}
	if err := n.planLog(ctx, p, s, mounts); err != nil {
		return nil, err
	}
	if err := n.planWebhook(ctx, p, s); err != nil {
		return nil, err
	}
	if err := n.planStamp(ctx, p, &change); err != nil {
		return nil, err
	}
	if err := n.planConfig(ctx, p, change); err != nil {
		return nil, err
	}
	p.advise()
	p.foresee(s)
	return p, n.planRestart(ctx, p)
}

// foresee says beforehand what cannot be proven afterwards.
func (p *Plan) foresee(s flags.Settings) {
	reason := ""
	if !s.Log.On() && s.Webhook.On() {
		reason = webhookOnly
	} else if loaded, err := policy.Load(p.policy); err == nil && p.Look.api != nil {
		if pr, _ := choose(loaded, p.Look.api.user, p.Look.api.groups); pr == nil {
			reason = fmt.Sprintf(noProbe, p.Look.api.user)
		}
	}
	if reason != "" {
		p.warn("it will not be proven that events are recorded: %s", reason)
	}
}

// planStamp puts the policy's hash into the manifest where nothing else in it
// changes, though the API server must restart: ended by hand, it is kubelet's
// crash back-off that decides when it comes back. A stamp that is there stays true.
func (n *Node) planStamp(ctx context.Context, p *Plan, change *config.Change) error {
	l := p.Look
	if !l.Distribution.Watched || l.Process == nil || p.policy == nil {
		return nil
	}
	stale := p.changed
	if !stale && slices.Equal(auditArgs(l.Process.Args), auditArgs(p.Args)) {
		var err error
		if stale, err = n.stale(ctx, l.Process, p.Policy); err != nil {
			return err
		}
	}
	alone := len(change.Set) == 0 && len(change.AddMounts) == 0
	if stale && (alone || l.Settings.Stamp != "") {
		change.Stamp = hash(p.policy)[:stampLength]
		p.note("the policy's hash becomes an annotation of the manifest, so that kubelet restarts the API server at once")
	}
	return nil
}

// stampLength is how much of the hash stands in the manifest.
const stampLength = 16

// advise adds what is known of the flags beside the API server's own rules. What
// is wrong already is no reason to refuse a change: only what would become wrong.
func (p *Plan) advise() {
	o := flags.Options{Version: p.Look.version(), File: p.Look.Distribution.Config}
	if loaded, err := policy.Load(p.policy); err == nil {
		o.Policy = loaded
	}
	before := map[string]bool{}
	for _, f := range flags.Advise(p.Look.Settings.Args, o) {
		before[f.Name] = true
	}
	refused := map[string]bool{}
	for _, r := range flags.Validate(p.Args, p.Look.version()) {
		p.problem("the API server would not start: %s", r.Error())
		refused[r.Arg.Name] = true
	}
	for _, f := range flags.Advise(p.Args, o) {
		text := f.Message
		if f.Fix != "" {
			text += "; " + strings.Join(strings.Fields(f.Fix), " ")
		}
		switch {
		case slices.ContainsFunc(slices.Collect(maps.Keys(refused)), func(name string) bool { return strings.Contains(f.Message, name) }):
		case f.Severity == finding.Error && !before[f.Name]:
			p.problem("%s", text)
		case f.Severity != finding.Note:
			p.warn("%s", text)
		}
	}
}

// wanted are the flags to set: what was asked for, and what is recommended for
// a node on which auditing is not on. Where it is on, what it has stays.
func wanted(l *Look, r Request, p *Plan) []flags.Arg {
	have := l.Settings.Args
	set := slices.Clone(r.Args)
	now, _ := flags.Read(flags.Apply(have, r.Args, nil), l.version())
	on := now.Policy != "" && (now.Log.On() || now.Webhook.On())
	for _, c := range flags.Recommended(l.version()) {
		if own, ok := flags.Last(l.Distribution.Defaults, c.Name); ok {
			c.Value = own.Value
		}
		_, has := flags.Last(have, c.Name)
		_, asked := flags.Last(r.Args, c.Name)
		if asked {
			continue
		}
		current, _ := flags.Last(have, c.Name)
		switch {
		case !has && !on && !(c.Name == flags.LogPath && now.Webhook.On()):
			set = append(set, c.Arg)
			p.note("--%s=%s: %s", c.Name, c.Value, c.Reason)
		case c.Name == flags.PolicyFile || c.Name == flags.LogPath:
			// Where they are is the node's own business.
		case has && current.Value != c.Value:
			p.note("--%s=%s stays; ktrail would choose %s: %s", c.Name, current.Value, c.Value, c.Reason)
		case !has && on:
			p.note("--%s is not set; ktrail would choose %s: %s", c.Name, c.Value, c.Reason)
		}
	}
	// What is set to its present value needs no change.
	return slices.DeleteFunc(set, func(a flags.Arg) bool {
		current, has := flags.Last(have, a.Name)
		return has && current.Value == a.Value
	})
}

// planMounts are the mounts to add so that the API server sees its policy and
// the log's directory.
func planMounts(p *Plan, s flags.Settings) []config.Mount {
	d := p.Look.Distribution
	if !d.Mounts {
		return nil
	}
	var add []config.Mount
	if s.Policy != "" && path.IsAbs(s.Policy) {
		if where, _ := d.onHost(p.Look.Settings.Mounts, s.Policy); where == "" {
			m := config.Mount{Name: "audit-policy", ReadOnly: true}
			// The directory, so that an editor that replaces the file is seen. But never
			// one that has more in it than the API server may see.
			if dir := path.Dir(s.Policy); shared(dir) {
				m.HostPath, m.Type = s.Policy, "File"
			} else {
				m.HostPath, m.Type = dir, "DirectoryOrCreate"
			}
			m.MountPath = m.HostPath
			add = append(add, m)
		}
	}
	if s.Log.On() && path.IsAbs(s.Log.Path) {
		dir := path.Dir(s.Log.Path)
		where, m := d.onHost(p.Look.Settings.Mounts, s.Log.Path)
		switch {
		case where == "" && shared(dir):
			p.problem("%s is no directory to mount into the API server: give the log one of its own: --audit-log-path=%s", dir, flags.DefaultLogPath)
		case where == "":
			add = append(add, config.Mount{Name: "audit-log", HostPath: dir, MountPath: dir, Type: "DirectoryOrCreate"})
		case path.Clean(m.MountPath) == path.Clean(s.Log.Path):
			p.warn("the log's file is mounted rather than its directory: rotation renames the file and fails (EBUSY); give it another directory: --audit-log-path=%s", flags.DefaultLogPath)
		case m.ReadOnly:
			p.problem("%s is mounted read-only: the log cannot be written there; give it another directory: --audit-log-path=%s", m.MountPath, flags.DefaultLogPath)
		}
	}
	return add
}

// shared tells whether a directory has more in it than auditing.
func shared(dir string) bool {
	return slices.Contains([]string{"/", "/etc", "/etc/kubernetes", manifestsDir, "/etc/kubernetes/pki", "/var", "/var/lib", "/var/log", "/root", "/home", "/usr", "/tmp", "/run", "/opt"}, dir)
}

// planPolicy plans the policy's file.
func (n *Node) planPolicy(ctx context.Context, p *Plan, r Request, s flags.Settings, add []config.Mount) error {
	d := p.Look.Distribution
	if !path.IsAbs(s.Policy) {
		p.problem("--%s=%s must be an absolute path", flags.PolicyFile, s.Policy)
		return nil
	}
	where, _ := d.onHost(append(slices.Clone(p.Look.Settings.Mounts), add...), s.Policy)
	if where == "" {
		p.problem("nothing is mounted at %s, so the API server cannot see its policy", s.Policy)
		return nil
	}
	p.Policy = where
	old, exists, err := n.read(ctx, where)
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	text, name := r.Policy, r.PolicyName
	if text == nil {
		text, name = old, "as it is"
		if reason := unfit(old, exists); reason != "" {
			text, name = r.Default, r.DefaultName
			if exists {
				p.warn("%s %s; it is replaced by %s", where, reason, name)
			}
		}
	}
	p.policy, p.PolicyName = text, name
	loaded, err := policy.Load(text)
	if err != nil {
		p.problem("the API server would not start with this policy (%s): %v", name, err)
	} else if !records(loaded) {
		p.warn("this policy (%s) records nothing: every rule is of level None", name)
	}
	if exists && bytes.Equal(old, text) {
		return nil
	}
	p.changed = true
	f := File{Path: where, Old: old, New: text, Exists: exists, Mode: 0o600}
	if exists {
		info, err := n.Host.Stat(ctx, where)
		if err != nil {
			return fmt.Errorf("read policy: %w", err)
		}
		f.Mode, f.OldMode = info.Mode.Perm(), info.Mode.Perm()
	}
	p.Files = append(p.Files, f)
	return n.planDir(ctx, p, path.Dir(where))
}

// unfit says why a policy that is there cannot stay, "" if it can.
func unfit(text []byte, exists bool) string {
	if !exists {
		return "is missing"
	}
	loaded, err := policy.Load(text)
	switch {
	case err != nil:
		return "does not load (" + firstLine(err.Error()) + ")"
	case !records(loaded):
		return "records nothing: every rule is of level None"
	}
	return ""
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// records tells whether a policy records anything at all.
func records(p *policy.Policy) bool {
	return slices.ContainsFunc(p.Rules, func(r policy.Rule) bool { return r.Level != policy.None })
}

// planDir plans a directory if it is missing.
func (n *Node) planDir(ctx context.Context, p *Plan, dir string) error {
	there, err := n.exists(ctx, dir)
	if err != nil {
		return fmt.Errorf("look for %s: %w", dir, err)
	}
	if there || dir == "/" {
		return nil
	}
	// What is above it is made, too, and goes again with it.
	if err := n.planDir(ctx, p, path.Dir(dir)); err != nil {
		return err
	}
	if !slices.ContainsFunc(p.Dirs, func(d DirChange) bool { return d.Path == dir }) {
		p.Dirs = append(p.Dirs, DirChange{Path: dir, Mode: 0o700, Made: true})
	}
	return nil
}

// planWebhook checks that the webhook's kubeconfig is there: ktrail does not make it.
func (n *Node) planWebhook(ctx context.Context, p *Plan, s flags.Settings) error {
	if !s.Webhook.On() {
		return nil
	}
	where, _ := p.Look.Distribution.onHost(p.Look.Settings.Mounts, s.Webhook.ConfigFile)
	if where == "" {
		p.problem("nothing is mounted at %s: put the webhook's kubeconfig where the API server sees it, for example below /etc/kubernetes/pki", s.Webhook.ConfigFile)
		return nil
	}
	there, err := n.exists(ctx, where)
	if err != nil {
		return fmt.Errorf("look for the webhook's kubeconfig: %w", err)
	}
	if !there {
		p.problem("there is no %s: the API server would not start without its webhook's kubeconfig", where)
	}
	return nil
}

// planConfig plans the API server's configuration, and kubeadm's copy of it.
func (n *Node) planConfig(ctx context.Context, p *Plan, change config.Change) error {
	d := p.Look.Distribution
	data, err := config.Patch(d.Kind, p.Look.Config, change)
	if refused := (*config.RefusedError)(nil); errors.As(err, &refused) {
		p.problem("%s: %v", d.Config, refused)
		return nil
	}
	if err != nil {
		return fmt.Errorf("patch %s: %w", d.Config, err)
	}
	if !bytes.Equal(data, p.Look.Config) {
		f := File{Path: d.Config, Old: p.Look.Config, New: data, Mode: 0o600, temp: d.Temp}
		info, err := n.Host.Stat(ctx, d.Config)
		switch {
		case err == nil:
			f.Exists, f.Mode, f.OldMode = true, info.Mode.Perm(), info.Mode.Perm()
		case d.parts == nil || !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("look at %s: %w", d.Config, err)
		}
		p.Files = append(p.Files, f)
	}
	if !d.Persists || p.Look.api == nil {
		return nil
	}
	return n.planCluster(ctx, p, change)
}

// planRestart finds out whether the API server must restart though nothing that
// it reads changes: because it did not read it yet.
func (n *Node) planRestart(ctx context.Context, p *Plan) error {
	l := p.Look
	if len(p.Files) > 0 || l.Process == nil || p.Policy == "" {
		return nil
	}
	if !slices.Equal(auditArgs(l.Process.Args), auditArgs(p.Args)) {
		if !l.Distribution.Watched {
			p.Restart = "it does not have the flags of " + l.Distribution.Config + " yet"
		} else {
			p.problem("kubelet has not taken %s up yet: see journalctl -u kubelet", l.Distribution.Config)
		}
		return nil
	}
	stale, err := n.stale(ctx, l.Process, p.Policy)
	if err != nil {
		return err
	}
	if stale {
		p.Restart = "its policy was changed after it had started, and it reads it only then"
	}
	return nil
}

// stale tells whether a file was changed after the API server started.
func (n *Node) stale(ctx context.Context, proc *Process, name string) (bool, error) {
	info, err := n.Host.Stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the policy: %w", err)
	}
	begun, err := n.started(ctx, proc)
	if err != nil {
		return false, fmt.Errorf("find out when the API server started: %w", err)
	}
	// The kernel's boot time is in whole seconds, and moves when the clock is set.
	return info.ModTime.After(begun.Add(5 * time.Second)), nil
}
