package cli

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/ktrail/ktrail/internal/node"
	"github.com/ktrail/ktrail/internal/visible"
)

// planJSON is a plan for programs.
type planJSON struct {
	Node         string     `json:"node"`
	Operation    string     `json:"operation"`
	Distribution string     `json:"distribution"`
	Version      string     `json:"version"`
	Nothing      bool       `json:"nothing_to_do"`
	Policy       string     `json:"policy,omitempty"`
	PolicyName   string     `json:"policy_name,omitempty"`
	Log          string     `json:"log,omitempty"`
	Restart      string     `json:"restart,omitempty"`
	Files        []planFile `json:"files"`
	Problems     []string   `json:"problems"`
	Warnings     []string   `json:"warnings"`
	Notes        []string   `json:"notes"`
}

type planFile struct {
	Path string `json:"path"`
	Diff string `json:"diff"`
}

// showPlan prints a plan and tells whether that is the end of it.
func (c *cmdline) showPlan(o *change, n *node.Node, pl *node.Plan) (stop bool, err error) {
	p := c.page(&o.output)
	switch {
	case o.people():
		err = printPlan(p, n, pl)
	case o.dryRun:
		err = p.json(jsonPlan(n, pl))
	}
	if err = errors.Join(err, p.flush()); err != nil {
		return true, err
	}
	if len(pl.Problems) > 0 {
		if !o.people() && !o.dryRun {
			return true, &node.ProblemsError{Host: n.Name(), Problems: pl.Problems}
		}
		c.hint("%s: nothing was changed: mend the %s above first", visible.Line(n.Name()), map[bool]string{true: "error", false: "errors"}[len(pl.Problems) == 1])
		return true, &findingsError{}
	}
	if o.dryRun && o.people() && !pl.Nothing() {
		c.hint("%s: nothing was changed: this was --dry-run", visible.Line(n.Name()))
	}
	return o.dryRun, nil
}

func jsonPlan(n *node.Node, pl *node.Plan) planJSON {
	none := func(s []string) []string { return append([]string{}, s...) }
	j := planJSON{
		Node: n.Name(), Operation: pl.Operation, Distribution: pl.Look.Distribution.Name, Version: pl.Look.Version,
		Nothing: pl.Nothing(), Policy: pl.Policy, PolicyName: pl.PolicyName, Log: pl.Log, Restart: pl.Restart,
		Files: []planFile{}, Problems: none(pl.Problems), Warnings: none(pl.Warnings), Notes: none(pl.Notes),
	}
	for i := range pl.Files {
		j.Files = append(j.Files, planFile{pl.Files[i].Path, pl.Files[i].Diff()})
	}
	if pl.Cluster != nil {
		j.Files = append(j.Files, planFile{"configmap/kubeadm-config", pl.Cluster.Diff()})
	}
	return j
}

func printPlan(p *page, n *node.Node, pl *node.Plan) error {
	look := pl.Look
	version := look.Version
	if version == "" {
		version = "version unknown"
	}
	errs := []error{p.line("%s", p.paint.paint(bold, visible.Line(fmt.Sprintf("%s: %s, %s", n.Name(), look.Distribution.Name, version))))}
	say := func(shade color, title, text string) {
		head := fmt.Sprintf("  %-8s ", title)
		body := visible.Wrap(visible.Line(text), p.width, len(head), strings.Repeat(" ", len(head)))
		errs = append(errs, p.line("%s%s", p.paint.paint(shade, head), body))
	}
	if pl.Policy != "" && pl.Operation == node.Enable {
		say(plain, "policy", fmt.Sprintf("%s (%s)", pl.Policy, pl.PolicyName))
	}
	if pl.Log != "" && pl.Operation == node.Enable {
		say(plain, "log", pl.Log)
	}
	for _, s := range pl.Notes {
		say(dim, "note", s)
	}
	for _, s := range pl.Warnings {
		say(yellow, "warning", s)
	}
	for _, s := range pl.Problems {
		say(red, "error", s)
	}
	if pl.Restart != "" {
		say(plain, "restart", "the API server restarts: "+pl.Restart)
	}
	for _, d := range pl.Dirs {
		say(plain, "make", fmt.Sprintf("%s (mode %04o)", d.Path, d.Mode.Perm()))
	}
	for i := range pl.Files {
		errs = append(errs, p.diff(pl.Files[i].Diff()))
	}
	if pl.Cluster != nil {
		errs = append(errs, p.diff(pl.Cluster.Diff()))
	}
	return errors.Join(errs...)
}

// printReport says how an operation ended.
func printReport(p *page, r *node.Report, command string) error {
	if !p.people() {
		return p.json(r)
	}
	name := visible.Line(r.Node)
	var errs []error
	say := func(shade color, format string, args ...any) {
		errs = append(errs, p.line("%s", p.paint.paint(shade, visible.Wrap(visible.Line(fmt.Sprintf(format, args...)), p.width, 0, "  "))))
	}
	took := fmt.Sprintf("The API server was away for %s; %s took %s.", secs(r.Away), command, secs(r.Total))
	switch {
	case r.AwayUnknown && r.Away > 0:
		took = fmt.Sprintf("The API server was away for at least %s, and before this began; %s took %s.", secs(r.Away), command, secs(r.Total))
	case r.AwayUnknown:
		took = fmt.Sprintf("How long the API server was away is not known: it was changed before this began; %s took %s.", command, secs(r.Total))
	case r.Away == 0:
		took = fmt.Sprintf("The API server was not away; %s took %s.", command, secs(r.Total))
	}
	switch r.Outcome {
	case node.Unchanged:
		say(green, "%s: already as it should be; nothing was changed", name)
		return errors.Join(errs...)
	case node.RolledBack:
		say(red, "%s: rolled back: %s", name, r.Reason)
		if len(r.Tail) > 0 {
			say(plain, "The last lines of the API server's log:")
			for _, l := range r.Tail {
				errs = append(errs, p.line("  %s", visible.Line(l)))
			}
		}
		say(plain, "Everything is as it was before, and the API server is ready.")
	default:
		say(green, "%s: auditing is %s", name, r.Outcome)
	}
	if v := r.Verification; v != nil && r.Outcome == node.Enabled {
		say(plain, "%s", v.Sentence)
		for _, w := range v.Warnings {
			say(yellow, "warning: %s", w)
		}
	}
	say(plain, "%s", took)
	if r.Backup != "" {
		say(plain, "Backup: %s", path.Clean(r.Backup))
	}
	return errors.Join(errs...)
}
