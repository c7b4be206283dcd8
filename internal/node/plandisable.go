package node

import (
	"context"
	"path"
	"slices"

	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/node/config"
)

// PlanDisable works out how to get back to no auditing. The log stays, and so
// does the policy: both are evidence, and neither costs anything.
func (n *Node) PlanDisable(ctx context.Context, l *Look) (*Plan, error) {
	n.progress("plan", "working out what to change")
	p := &Plan{Operation: Disable, Look: l, Problems: slices.Clone(l.Problems), Warnings: slices.Clone(l.Warnings)}
	change := config.Change{Unstamp: true}
	for _, a := range flags.Audit(l.Settings.Args) {
		if !slices.Contains(change.Unset, a.Name) {
			change.Unset = append(change.Unset, a.Name)
		}
	}
	p.Args = flags.Apply(l.Settings.Args, nil, change.Unset)
	s, _ := flags.Read(l.Settings.Args, l.version())
	for _, name := range []string{s.Policy, s.Log.Path} {
		if path.IsAbs(name) {
			if m := ownMount(l.Settings, p.Args, name); m != nil && !slices.Contains(change.RemoveMounts, m.Name) {
				change.RemoveMounts = append(change.RemoveMounts, m.Name)
			}
		}
	}
	d := l.Distribution
	p.Policy, _ = d.onHost(l.Settings.Mounts, s.Policy)
	if s.Log.On() && s.Log.Path != "-" {
		p.Log, _ = d.onHost(l.Settings.Mounts, s.Log.Path)
	}
	if p.Log != "" {
		p.note("the log stays: %s", p.Log)
	}
	if p.Policy != "" {
		p.note("the policy stays: %s", p.Policy)
	}
	return p, n.planConfig(ctx, p, change)
}

// ownMount is the mount of name, if it is there for auditing alone: it is name
// or its directory, and nothing else that the API server is told lies below it.
func ownMount(s *config.Settings, rest []flags.Arg, name string) *config.Mount {
	for i, m := range s.Mounts {
		if at := path.Clean(m.MountPath); at != path.Clean(name) && at != path.Dir(name) || shared(at) && at != path.Clean(name) {
			continue
		}
		if slices.ContainsFunc(rest, func(a flags.Arg) bool { return path.IsAbs(a.Value) && under(a.Value, m.MountPath) }) {
			continue
		}
		return &s.Mounts[i]
	}
	return nil
}
