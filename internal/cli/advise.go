package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/internal/advise"
	"github.com/ktrail/ktrail/internal/node/config"
	"github.com/ktrail/ktrail/internal/node/host"
	"github.com/ktrail/ktrail/internal/visible"
)

type adviseOptions struct {
	findingOutput
	hosts      host.Options
	kubernetes string
	policy     string
	webhook    string
	logs       []string
	perSecond  float64
	eventBytes string
	free       string
	root       string // a directory in front of every path of a node, for tests

	version flags.Version
	rate    flags.Rate
	bytes   int64    // free
	subject string   // FILE, - or PID; "" is this machine, or the words
	words   []string // the API server's flags
}

func (c *cmdline) adviseCommand() *cobra.Command {
	o := &adviseOptions{}
	cmd := &cobra.Command{
		Use:   "advise [FILE|-|PID] [-- FLAG...]",
		Short: "Find what the API server's audit flags do otherwise than they look",
		Long: `Find what the audit flags of a kube-apiserver do otherwise than they look: values
that it refuses, settings that record nothing, lose events, burn a core or fill a
disk. After the findings come the flags as they should be, ready to paste.

FILE is a static pod manifest, a configuration of kubeadm, k3s, RKE2, Cluster API,
Palette, kind, Talos, kOps or minikube, or a command line; which one it is, is
found out. PID is a running kube-apiserver. Without either, the API server that
runs on this control-plane node is looked at, or with --ssh those on others.

The exit status is 1 if there are errors, with --strict also if there are
warnings, and 3 if a machine could not be looked at. A comment in FILE silences one kind of finding there:

  # ktrail: allow NAME reason`,
		Example: c.examples(
			`advise /etc/kubernetes/manifests/kube-apiserver.yaml`,
			`advise kubeadm.yaml --kubernetes 1.33 --policy policy.yaml`,
			`advise manifest.yaml --log /var/log/kubernetes/audit/audit.log`,
			`advise -- --audit-log-path=/var/log/audit.log --audit-log-mode=batch`,
			`advise --ssh root@10.0.0.1,root@10.0.0.2`,
		),
		GroupID: "policy",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.validate(c, cmd, args); err != nil {
				return err
			}
			return o.run(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.kubernetes, "kubernetes", "", "`version` of the API server, such as 1.33 (default: what FILE says, else the newest)")
	f.StringVar(&o.policy, "policy", "", "`FILE` of the audit policy: strict modes and truncation depend on it")
	f.StringVar(&o.webhook, "webhook-config", "", "`FILE` of the webhook's kubeconfig")
	f.Float64Var(&o.perSecond, "events-per-second", 0, "events that are recorded in a second, on average: a `number`")
	f.StringVar(&o.eventBytes, "event-size", "", "with --events-per-second: an event's `size`, on average (default 2.1kB)")
	f.StringSliceVar(&o.logs, "log", nil, "take rate and sizes from these audit logs, `FILE`,... (- is standard input)")
	f.StringVar(&o.free, "free", "", "`space` that the log's disk has, such as 20GB (default on a node: what is free)")
	o.hosts.AddFlags(f)
	f.StringVar(&o.root, "root", "", "a `DIR` in front of every path")
	_ = f.MarkHidden("root")
	o.flags(cmd)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var missing *pflag.NotExistError
		if errors.As(err, &missing) && strings.HasPrefix(missing.GetSpecifiedName(), "audit-") {
			return &usageError{msg: err.Error(), next: "flags of the API server go behind --: " + c.name + " advise -- --" + missing.GetSpecifiedName() + "=..."}
		}
		return flagError(cmd, err)
	})
	return cmd
}

func (o *adviseOptions) validate(c *cmdline, cmd *cobra.Command, args []string) error {
	if at := cmd.ArgsLenAtDash(); at >= 0 {
		args, o.words = args[:at], args[at:]
		if len(o.words) == 0 {
			return usagef("no flags behind --: write %s advise -- --audit-log-path=...", c.name)
		}
	}
	switch {
	case len(args) > 1:
		return usagef("one FILE, - or PID expected, got %d: flags of the API server go behind --", len(args))
	case len(args) == 1 && len(o.words) > 0:
		return usagef("%s and flags behind -- exclude each other", quote(args[0]))
	case len(args) == 1:
		o.subject = args[0]
	}
	if len(o.hosts.SSH) > 0 && (o.subject != "" || len(o.words) > 0) {
		return usagef("--ssh looks at the API servers that run there: name no file and no flags")
	}
	if err := o.hosts.Validate(); err != nil {
		return usagef("%s", err)
	}
	stdin := 0
	for _, name := range append([]string{o.subject, o.policy, o.webhook}, o.logs...) {
		if name == "-" {
			stdin++
		}
	}
	if stdin > 1 {
		return usagef("standard input can be one thing only")
	}
	if o.kubernetes != "" {
		v, err := flags.ParseVersion(o.kubernetes)
		if err != nil {
			return usagef("--kubernetes: %v", err)
		}
		if v.Before(flags.Oldest) {
			return usagef("--kubernetes: %s is the oldest version that can be judged", flags.Oldest)
		}
		o.version = v
	}
	set := cmd.Flags().Changed
	switch {
	case set("events-per-second") && set("log"):
		return usagef("--events-per-second and --log exclude each other: the log has a rate")
	case set("events-per-second") && !(o.perSecond > 0 && o.perSecond <= 1e6):
		return usagef("--events-per-second must be above 0 and at most 1000000")
	case set("event-size") && !set("events-per-second"):
		return usagef("--event-size goes with --events-per-second")
	}
	size, err := parseSize(o.eventBytes)
	if err != nil {
		return usagef("--event-size: %s", err)
	}
	if o.bytes, err = parseSize(o.free); err != nil {
		return usagef("--free: %s", err)
	}
	if set("event-size") && size < 1 || set("free") && o.bytes < 1 {
		return usagef("--event-size and --free must be above 0")
	}
	o.rate = flags.Rate{PerSecond: o.perSecond, EventBytes: size}
	return o.findingOutput.validate()
}

// processName is how a process's command line is named as a file.
var processName = regexp.MustCompile(`^(?:/proc/)?([0-9]{1,10})(?:/cmdline)?$`)

func (o *adviseOptions) run(ctx context.Context, c *cmdline) error {
	if err := o.measure(c); err != nil {
		return err
	}
	if len(o.hosts.SSH) == 0 {
		in, err := o.input(ctx, c)
		if err != nil {
			return err
		}
		return o.judge(c, []advise.Input{in})
	}
	return o.each(c, o.hosts.SSH, func(machine string) (advise.Input, error) {
		h, err := host.Connect(ctx, machine, &o.hosts)
		if err != nil {
			return advise.Input{}, err
		}
		defer h.Close()
		return o.remote(ctx, c, h, machine)
	})
}

// each judges the machines that can be looked at, and says which cannot.
func (o *adviseOptions) each(c *cmdline, machines []string, look func(machine string) (advise.Input, error)) error {
	var all []advise.Input
	var failed error
	for _, machine := range machines {
		in, err := look(machine)
		switch {
		case err == nil:
			all = append(all, in)
		case errors.Is(err, context.Canceled) || is[*usageError](err):
			return err
		case strings.Contains(err.Error(), machine):
			failed = errors.Join(failed, err)
		default:
			failed = errors.Join(failed, fmt.Errorf("%s: %w", machine, err))
		}
	}
	if len(all) == 0 {
		return failed
	}
	err := o.judge(c, all)
	if failed != nil && (err == nil || is[*findingsError](err)) {
		return failed // of the two it is what the others would not tell
	}
	return errors.Join(err, failed)
}

// measure takes the rate from the logs.
func (o *adviseOptions) measure(c *cmdline) error {
	if len(o.logs) == 0 {
		return nil
	}
	var m advise.Meter
	p := c.startProgress(true)
	seen := files{}
	for _, name := range o.logs {
		if err := c.meter(&m, name, seen, p); err != nil {
			p.finish()
			return err
		}
	}
	p.finish()
	rate, err := m.Rate()
	if err != nil {
		return usagef("--log %s: %v", visible.Line(strings.Join(o.logs, ",")), err)
	}
	o.rate = rate
	c.hint("%s events: %.4g a second, %s in the busiest; %s bytes each, %s the largest",
		count(m.Events()), rate.PerSecond, count(rate.BusiestSecond), count(rate.EventBytes), count(rate.LargestEvent))
	return nil
}

// meter takes one log in, if it was not seen before. The progress has a total as long
// as the files' sizes are known.
func (c *cmdline) meter(m *advise.Meter, name string, seen files, p *progress) error {
	in := c.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return readError(name, err)
		}
		defer f.Close()
		in = f
		if info, err := f.Stat(); err == nil {
			if seen.again(info) {
				return nil
			}
			p.total.Add(regularSize(info))
		}
	}
	if err := m.Read(&readCounter{in, p}); err != nil {
		return readError(name, err)
	}
	return nil
}

// readCounter tells a progress what is read.
type readCounter struct {
	r io.Reader
	p *progress
}

func (r *readCounter) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	r.p.done.Add(int64(n))
	return n, err
}

// input finds what is to be judged.
func (o *adviseOptions) input(ctx context.Context, c *cmdline) (in advise.Input, err error) {
	h := host.Local{Root: o.root}
	var notes []string
	switch m := processName.FindStringSubmatch(o.subject); {
	case len(o.words) > 0:
		words := o.words
		if strings.HasPrefix(words[0], "-") {
			words = append([]string{"kube-apiserver"}, words...)
		}
		in.Data = []byte(strings.Join(words, "\x00") + "\x00")
	case o.subject == "":
		in, notes, err = advise.Node(ctx, h)
		if errors.Is(err, advise.ErrNoAPIServer) {
			return in, &usageError{msg: err.Error(), next: fmt.Sprintf("name a manifest or a configuration: %s advise FILE, or flags: %s advise -- FLAG...", c.name, c.name)}
		}
	case m != nil && !exists(o.subject, m[0] == m[1]):
		pid, atoi := strconv.Atoi(m[1])
		if atoi != nil || pid > math.MaxInt32 {
			return in, usagef("%s is no process ID", quote(o.subject))
		}
		if in, notes, err = advise.Process(ctx, h, pid); err != nil {
			return in, usagef("%s", visible.Line(err.Error()))
		}
	default:
		in.Name = o.subject
		if in.Data, err = c.configText(o.subject); err != nil {
			return in, err
		}
		// The manifest of this machine's own API server names files of this machine.
		if abs, err := filepath.Abs(o.subject); err == nil && o.policy == "" && o.subject != "-" && (strings.HasPrefix(abs, "/etc/kubernetes/") || strings.HasPrefix(abs, "/etc/rancher/")) {
			notes = advise.Attach(ctx, h, &in)
		}
	}
	if err != nil {
		return in, err
	}
	for _, n := range notes {
		c.hint("%s", visible.Line(n))
	}
	return in, o.complete(c, &in)
}

// exists is whether a number is the name of a file rather than of a process.
func exists(name string, number bool) bool {
	if !number {
		return false
	}
	_, err := os.Stat(name)
	return err == nil
}

func (o *adviseOptions) remote(ctx context.Context, c *cmdline, h host.Host, machine string) (advise.Input, error) {
	in, notes, err := advise.Node(ctx, h)
	if err != nil {
		return in, err
	}
	for _, n := range notes {
		c.hint("%s: %s", visible.Line(machine), visible.Line(n))
	}
	in.Name = machine + ":" + in.Name
	return in, o.complete(c, &in)
}

// complete adds what the flags of this command say.
func (o *adviseOptions) complete(c *cmdline, in *advise.Input) error {
	if !o.version.IsZero() {
		in.Version = o.version
	}
	if o.bytes > 0 {
		in.Free = o.bytes
	}
	in.Rate = o.rate
	for _, f := range []struct {
		name string
		to   **advise.File
	}{{o.policy, &in.Policy}, {o.webhook, &in.Webhook}} {
		if f.name == "" {
			continue
		}
		data, err := c.policyText(f.name)
		if err != nil {
			return err
		}
		*f.to = &advise.File{Name: f.name, Data: data}
	}
	return nil
}

func subjectName(name string) string {
	switch name {
	case "":
		return "the command line"
	case "-":
		return "standard input"
	}
	return visible.Line(name)
}

// configText reads a configuration; "-" is standard input.
func (c *cmdline) configText(name string) ([]byte, error) {
	data, err := c.textUpTo(name, config.MaxSize)
	if err == nil && len(data) > config.MaxSize {
		return nil, usagef("%s is larger than %d KiB: that is no configuration of an API server", quote(name), config.MaxSize>>10)
	}
	return data, err
}

// judge prints what is found in all, and behind it the flags as they should be.
func (o *adviseOptions) judge(c *cmdline, all []advise.Input) error {
	var found []finding.Finding
	var reports []*advise.Report
	for _, in := range all {
		r, err := advise.Check(in)
		if err != nil {
			return usagef("%s", visible.Line(err.Error()))
		}
		found = append(found, r.Findings...)
		reports = append(reports, r)
	}
	for i, r := range reports {
		if r.Version.IsZero() && o.format == formatText {
			c.hint("no Kubernetes version in %s: judged as %s; say --kubernetes", subjectName(all[i].Name), flags.Latest)
			break
		}
	}
	if o.format == formatJSON {
		return c.adviseJSON(o, all, reports, found)
	}
	err := c.findings(&o.findingOutput, found, "ktrail advise", advise.Rules())
	if err != nil && !is[*findingsError](err) || o.format != formatText {
		return err
	}
	for i, r := range reports {
		if r.Block == "" {
			continue
		}
		where := ""
		if len(reports) > 1 {
			where = " of " + visible.Line(all[i].Name)
		}
		var text strings.Builder
		fmt.Fprintf(&text, "\nThe audit flags%s as they should be:\n\n", where)
		for line := range strings.Lines(r.Block) {
			fmt.Fprintf(&text, "%s\n", visible.Line(strings.TrimSuffix(line, "\n")))
		}
		for _, name := range r.Unset {
			fmt.Fprintf(&text, "%s\n", visible.Line("# without --"+name))
		}
		if _, err := io.WriteString(c.Out, text.String()); err != nil {
			return err
		}
	}
	return err
}

// adviseJSON prints, for each input, the findings and the flags as they should be.
func (c *cmdline) adviseJSON(o *adviseOptions, all []advise.Input, reports []*advise.Report, found []finding.Finding) error {
	type report struct {
		File       string            `json:"file,omitempty"`
		Kind       config.Kind       `json:"kind"`
		Kubernetes string            `json:"kubernetes,omitempty"`
		Findings   []finding.Finding `json:"findings"`
		Flags      []string          `json:"flags"`
		Remove     []string          `json:"remove"`
		Block      string            `json:"block,omitempty"`
	}
	out := []report{}
	for i, r := range reports {
		one := report{File: all[i].Name, Kind: r.Kind, Findings: append([]finding.Finding{}, r.Findings...), Flags: []string{}, Remove: append([]string{}, r.Unset...), Block: r.Block}
		if !r.Version.IsZero() {
			one.Kubernetes = r.Version.String()
		}
		for _, a := range r.Flags {
			one.Flags = append(one.Flags, a.String())
		}
		out = append(out, one)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		return fmt.Errorf("encode advice: %w", err)
	}
	if _, err := c.Out.Write(visible.JSON(b.Bytes())); err != nil {
		return err
	}
	return o.verdict(found)
}
