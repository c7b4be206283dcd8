// Package advise owns the judgement of an API server's audit flags as people have
// them: it reads them out of a manifest, a configuration, a command line or a
// running process, with the policy and the kubeconfig they name, and lets
// audit/flags judge them. It changes nothing.
package advise

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/internal/node/config"
)

// Input is what is judged.
type Input struct {
	// Name is what people call it: a file, "-", a process.
	Name string
	// Data is its content.
	Data []byte
	// Version is the API server's; the zero Version is what Data says.
	Version flags.Version
	// Policy is the policy's file; nil is the one in Data, if there is one.
	Policy *File
	// Webhook is the webhook's kubeconfig, nil if it is not at hand.
	Webhook *File
	Rate    flags.Rate
	// Free is what the log's file system may still take, in bytes; 0 is unknown.
	Free int64
	// Mounts replace those in Data where Data has none: those of a process.
	Mounts []config.Mount
	// Pod says that Mounts are all that a process sees.
	Pod bool
}

// File is a file that the flags name.
type File struct {
	Name string
	Data []byte
}

// Report is what is to be said of an input.
type Report struct {
	Kind     config.Kind
	Version  flags.Version // zero if it is not known
	Findings []finding.Finding
	// Flags are all audit flags as they should be; Set and Unset are what that changes.
	Flags []flags.Arg
	Set   []flags.Arg
	Unset []string
	// Block is Flags as the input has flags, ready to paste.
	Block string
}

// Rules are the kinds of findings that a report can have.
func Rules() []finding.Rule {
	return append(flags.Rules(),
		finding.Rule{
			Name: "policy-refused", Severity: finding.Error, Short: "A policy that the API server does not load.",
			Help: "Mend the policy: ktrail policy lint says more.", Doc: flags.Doc + "#policy-refused",
		},
		finding.Rule{
			Name: "webhook-refused", Severity: finding.Error, Short: "A kubeconfig of the webhook that the API server does not load.",
			Help: "Name the receiver's cluster, and a context for it.", Doc: flags.Doc + "#webhook-refused",
		},
		finding.Rule{
			Name: "misplaced", Severity: finding.Error, Short: "A part of the configuration that is not where it is read.",
			Help: "Put it where the message says.", Doc: flags.Doc + "#misplaced",
		},
	)
}

// Check judges an input. An error says why it cannot be read, in one line that
// begins with its name.
func Check(in Input) (*Report, error) {
	if len(bytes.TrimSpace(in.Data)) == 0 {
		return nil, named(in.Name, &config.RefusedError{Msg: "is empty"})
	}
	kind, err := config.Detect(in.Data)
	if err != nil {
		return nil, named(in.Name, err)
	}
	s, err := config.Read(kind, in.Data)
	if err != nil {
		return nil, named(in.Name, err)
	}
	silent := allowed(kind, in.Data)
	r := &Report{Kind: kind, Version: in.Version}
	if r.Version.IsZero() && s.Version != "" {
		// A version that cannot be read, such as an image tag "latest", is unknown.
		r.Version, _ = flags.ParseVersion(s.Version)
	}
	for _, p := range s.Problems {
		if silent["misplaced"] {
			break
		}
		r.Findings = append(r.Findings, finding.Finding{
			Name: "misplaced", Severity: finding.Error, File: in.Name, Line: p.Line, Column: p.Column, Message: p.Text,
			Reason: "What reads this configuration reads it otherwise than it looks.",
			Doc:    flags.Doc + "#misplaced",
		})
	}
	o := options(in, kind, s, r.Version)
	o.Allow = silent
	if f := policyOf(in, s); f != nil {
		var refused []finding.Finding
		o.Policy, refused = load(f)
		r.Findings = append(r.Findings, refused...)
	}
	if in.Webhook != nil {
		o.WebhookServer, o.WebhookInsecure, err = webhook(in.Webhook.Data)
		if arg, on := flags.Last(s.Args, flags.WebhookConfig); err != nil && on && arg.Value != "" && !silent["webhook-refused"] {
			r.Findings = append(r.Findings, finding.Finding{
				Name: "webhook-refused", Severity: finding.Error, File: in.Webhook.Name,
				Message: "the webhook's kubeconfig cannot be loaded: " + err.Error(),
				Reason:  "The API server does not start with a kubeconfig that names no server (k8s.io/apiserver pkg/util/webhook).",
				Fix:     "clusters:\n- name: audit\n  cluster:\n    server: https://receiver.example/audit\ncontexts:\n- name: audit\n  context:\n    cluster: audit\ncurrent-context: audit",
				Doc:     flags.Doc + "#webhook-refused",
			})
		}
	}
	r.Findings = append(r.Findings, flags.Advise(s.Args, o)...)
	finding.Sort(r.Findings)
	r.Set, r.Unset = flags.Fix(s.Args, o)
	r.Flags = flags.Apply(flags.Audit(s.Args), r.Set, r.Unset)
	if len(r.Set)+len(r.Unset) > 0 {
		r.Block = block(kind, in.Data, written(kind, s.Args, r)) + missing(s.Args, r, o)
	}
	return r, nil
}

// allow is the comment that silences a kind of finding in a file.
var allow = regexp.MustCompile(`#[ \t]*ktrail:[ \t]*allow[ \t]+([a-z-]+)[ \t]+[^ \t\r\n]`)

// allowed are the kinds of findings that comments of a file silence. They count
// for the whole of it: most findings are about what stands nowhere.
func allowed(kind config.Kind, data []byte) map[string]bool {
	names := map[string]bool{}
	if kind == config.CommandLine {
		return names // a process's words are no comments
	}
	for _, m := range allow.FindAllSubmatch(data, -1) {
		names[string(m[1])] = true
	}
	return names
}

func named(name string, err error) error {
	switch name {
	case "":
		name = "the command line"
	case "-":
		name = "standard input"
	}
	var refused *config.RefusedError
	if !errors.As(err, &refused) {
		return fmt.Errorf("%s: %w", name, err)
	}
	place := ""
	if refused.Line > 0 {
		place = fmt.Sprintf(":%d", refused.Line)
	}
	return fmt.Errorf("%s%s: %s", name, place, refused.Msg)
}

func options(in Input, kind config.Kind, s *config.Settings, v flags.Version) flags.Options {
	o := flags.Options{Version: v, File: in.Name, Rate: in.Rate, FreeBytes: in.Free, Places: config.Defaults(kind)}
	switch kind {
	case config.StaticPod, config.KubeadmConfig, config.ClusterAPI, config.Palette:
		o.Pod = true
		o.ExtraVolumes = kind != config.StaticPod
	}
	mounts := s.Mounts
	if kind == config.CommandLine && in.Pod {
		o.Pod, mounts = true, in.Mounts
	}
	if o.ExtraVolumes {
		// What kubeadm mounts by itself (cmd/kubeadm/app/phases/controlplane/volumes.go).
		for _, dir := range []string{"/etc/kubernetes/pki", "/etc/ssl/certs", "/etc/ca-certificates", "/etc/pki", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"} {
			o.Mounts = append(o.Mounts, flags.Mount{HostPath: dir, MountPath: dir, ReadOnly: true, Type: "DirectoryOrCreate"})
		}
	}
	for _, m := range mounts {
		o.Mounts = append(o.Mounts, flags.Mount{HostPath: m.HostPath, MountPath: m.MountPath, ReadOnly: m.ReadOnly, Type: m.Type, Line: m.Line})
	}
	return o
}

// written are the flags that belong in a file: not those that its platform sets
// by itself, which stand nowhere.
func written(kind config.Kind, args []flags.Arg, r *Report) []flags.Arg {
	if kind == config.CommandLine {
		return r.Flags
	}
	var out []flags.Arg
	for _, a := range r.Flags {
		was, there := flags.Last(args, a.Name)
		if _, set := flags.Last(r.Set, a.Name); set || !there || was.Line > 0 {
			out = append(out, a)
		}
	}
	return out
}

// missing are the mounts that the mended flags need: those that findings tell of,
// and those of files that a flag names only now.
func missing(args []flags.Arg, r *Report, o flags.Options) string {
	const volumes = "\nvolumes: # under spec\n"
	var b, inPod strings.Builder // inPod are the volumes of a static pod
	for _, f := range flags.Advise(flags.Apply(args, r.Set, r.Unset), o) {
		if !strings.HasSuffix(f.Name, "-not-mounted") && f.Name != "log-file-mounted" {
			continue
		}
		// One list of each: a second one would replace the first.
		head, mount, _ := strings.Cut(f.Fix, "\n")
		if !o.ExtraVolumes {
			mount, volume, _ := strings.Cut(mount, volumes)
			if b.Len() == 0 {
				b.WriteString("\n" + head + "\n")
			}
			b.WriteString(mount + "\n")
			inPod.WriteString(volume + "\n")
			continue
		}
		if b.Len() == 0 {
			b.WriteString("  extraVolumes:\n")
		}
		b.WriteString("  " + strings.ReplaceAll(mount, "\n", "\n  ") + "\n")
	}
	if inPod.Len() > 0 {
		b.WriteString(volumes[1:] + inPod.String())
	}
	return b.String()
}

// policyOf is the policy that counts: the one given, or the one in the configuration.
func policyOf(in Input, s *config.Settings) *File {
	switch {
	case in.Policy != nil:
		return in.Policy
	case s.Policy == nil:
		return nil
	}
	// Lines are counted in the configuration's file.
	return &File{Name: in.Name, Data: append([]byte(strings.Repeat("\n", max(0, s.PolicyLine-1))), s.Policy...)}
}

// load reads the policy; what the API server would not load are findings.
func load(f *File) (*policy.Policy, []finding.Finding) {
	p, err := policy.Load(f.Data)
	if err == nil {
		return p, nil
	}
	refused := func(line, column int, msg string) finding.Finding {
		return finding.Finding{
			Name: "policy-refused", Severity: finding.Error, File: f.Name, Line: line, Column: column, Message: msg,
			Reason: "The API server does not start with a policy that it cannot load. ktrail policy lint says more.",
			Doc:    flags.Doc + "#policy-refused",
		}
	}
	var all policy.LoadErrors
	if !errors.As(err, &all) {
		return nil, []finding.Finding{refused(0, 0, "the policy cannot be loaded: "+err.Error())}
	}
	var out []finding.Finding
	for _, e := range all {
		out = append(out, refused(e.Line, e.Column, "the policy cannot be loaded: "+e.Msg))
	}
	return nil, out
}
