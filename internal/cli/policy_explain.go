package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/logfile"
	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/audit/policy/coverage"
	"github.com/ktrail/ktrail/internal/visible"
)

type policyExplainOptions struct {
	output
	file          string
	words         []string
	namespace     string
	allNamespaces bool
	as            string
	groups        []string
	uri           string
	verb          string
	subresource   string
	watch         bool
	all           bool
	part          part // of all
	events        bool
}

func (c *cmdline) policyExplainCommand() *cobra.Command {
	o := &policyExplainOptions{}
	cmd := &cobra.Command{
		Use:   "explain FILE [--] VERB RESOURCE[/NAME] | - | --uri PATH | --all [VERBS] [RESOURCES]",
		Short: "Say what an audit policy records of a request, and why",
		Long: `Say what an audit policy records of a request: the level, the stages, and why, rule
by rule. The request is written as for kubectl; of a command such as exec or apply
each request that it makes is explained. With - audit events are read from standard
input, one a line, and each is explained as the API server saw its request. --all
prints what is recorded of all verbs and resources as a matrix, or of some: verbs
(also reads and writes), then resources and paths, with commas between.

A policy looks at the original user: --as and --group say who asks, not who is
impersonated. The groups that the API server adds itself are added here too.`,
		Example: c.examples(
			`policy explain policy.yaml -- get secrets/db -n prod --as alice --group dev`,
			`policy explain policy.yaml -- exec web -n prod`,
			`policy explain policy.yaml --uri /healthz`,
			`policy explain policy.yaml - < audit.log`,
			`policy explain policy.yaml --all`,
			`policy explain policy.yaml --all -- writes,get secrets,pods/*`,
		),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.validate(cmd, args); err != nil {
				return err
			}
			return c.policyExplain(o)
		},
	}
	o.requestFlags(cmd.Flags())
	o.plainFlags(cmd, formatText, formatJSON, formatCSV)
	return cmd
}

// requestFlags are kubectl's, and may stand behind the "--" too.
func (o *policyExplainOptions) requestFlags(f *pflag.FlagSet) {
	f.StringVarP(&o.namespace, "namespace", "n", "default", "the request's `namespace`")
	f.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "a request for all namespaces")
	f.StringVar(&o.as, "as", "", "the `user` who asks")
	f.StringArrayVar(&o.groups, "group", nil, "a `group` of that user; may be given several times")
	f.StringVar(&o.uri, "uri", "", "a `path` that is no resource, such as /healthz")
	f.StringVar(&o.verb, "verb", "", "the request's `verb`, whatever the words say")
	f.StringVar(&o.subresource, "subresource", "", "the resource's `part`, such as status")
	f.BoolVarP(&o.watch, "watch", "w", false, "watch instead of list")
	f.BoolVar(&o.all, "all", false, "what is recorded of all verbs and resources, as a matrix")
}

func (o *policyExplainOptions) validate(cmd *cobra.Command, args []string) error {
	if at := cmd.ArgsLenAtDash(); at >= 0 {
		f := pflag.NewFlagSet("request", pflag.ContinueOnError)
		before := *o
		o.requestFlags(f) // which sets the defaults
		*o = before       // what stood in front of the dashes stays, unless it is said again
		f.StringVarP(&o.format, "output", "o", o.format, "")
		if err := f.Parse(args[at:]); err != nil {
			return &usageError{msg: fmt.Sprintf("%v (after --)", err), next: "leave out what does not change who asks for what, such as -l or --image"}
		}
		args = append(slices.Clone(args[:at]), f.Args()...)
	}
	if err := o.output.validate(); err != nil {
		return err
	}
	if len(args) == 0 {
		return &usageError{msg: "missing argument: the policy's file", next: "usage: " + cmd.UseLine()}
	}
	o.file, o.words = args[0], args[1:]
	o.events = slices.Equal(o.words, []string{"-"})
	if o.all && o.uri == "" {
		var err error
		if o.part, err = parsePart(o.words); err != nil {
			return err
		}
	}
	switch {
	case o.all && o.uri != "":
		return usagef("--all takes paths as words: --all -- get %s", visible.Line(o.uri))
	case o.uri != "" && len(o.words) > 0:
		return usagef("--uri and %s exclude each other", quote(strings.Join(o.words, " ")))
	case o.all:
	case o.uri == "" && len(o.words) == 0:
		return &usageError{msg: "missing argument: the request", next: "for example: " + strings.Fields(cmd.CommandPath())[0] + " policy explain " + visible.Line(o.file) + " -- get secrets/db -n prod --as alice"}
	case o.events && o.file == "-":
		return usagef("standard input can be the policy or the events, not both")
	case o.format == formatCSV && !o.all:
		return usagef("-o csv is for --all")
	case o.uri != "" && !strings.HasPrefix(o.uri, "/"):
		return usagef("--uri %s is no path: it begins with /", quote(o.uri))
	case isResourcePath(o.uri):
		return usagef("--uri %s is a resource's path: name the resource instead, such as get pods -n prod", quote(o.uri))
	}
	return nil
}

// isResourcePath is whether the API server takes a path for that of a resource.
func isResourcePath(uri string) bool {
	path, _, _ := strings.Cut(uri, "?")
	parts := strings.Split(strings.Trim(path, "/"), "/")
	return parts[0] == "api" && len(parts) >= 3 || parts[0] == "apis" && len(parts) >= 4
}

func (c *cmdline) policyExplain(o *policyExplainOptions) error {
	pol, err := c.loadPolicy(o.file)
	if err != nil {
		return err
	}
	p := c.page(&o.output)
	switch {
	case o.all:
		who := coverage.Requester{User: o.as, Namespace: o.namespace}
		if o.as != "" || len(o.groups) > 0 {
			who.Groups = o.who().Groups
		}
		m := coverage.Of(pol, who, policy.BuiltIn())
		if err := o.part.of(m); err != nil {
			return err
		}
		return errors.Join(p.printMatrix(m, len(o.part.rows) > 0), p.flush())
	case o.events:
		return errors.Join(c.explainEvents(p, pol), p.flush())
	}
	var requests []asked
	if o.uri != "" {
		a := asked{Attributes: o.who()}
		a.NonResource, a.Verb = true, "get"
		a.Path, _, _ = strings.Cut(o.uri, "?")
		if o.verb != "" {
			a.Verb = strings.ToLower(o.verb)
		}
		requests = []asked{a}
	} else if requests, err = o.requests(o.words); err != nil {
		return err
	}
	for i := range requests {
		if i > 0 && p.people() {
			if err := p.line(""); err != nil {
				return err
			}
		}
		if err := p.explain(pol, &requests[i].Attributes, requests[i].note); err != nil {
			return err
		}
	}
	return p.flush()
}

// explainEvents explains the requests of the events on standard input: lines, lists,
// or as somebody has laid them out to be read.
func (c *cmdline) explainEvents(p *page, pol *policy.Policy) error {
	var e audit.Event
	split := logfile.NewSplitter(c.In, logfile.SplitOptions{Decode: func(b []byte) error { return audit.Decode(bytes.Clone(b), &e) }})
	defer split.Close()
	for events := 0; ; events++ {
		rec, err := split.Next()
		switch {
		case errors.Is(err, io.EOF) && events > 0:
			return nil
		case errors.Is(err, io.EOF):
			return usagef("standard input has no audit event")
		case err != nil:
			return usagef("read standard input: %v", err)
		case rec.Kind != logfile.Line:
			return usagef("byte %d of standard input begins no audit event: %s", rec.Offset, rec.Reason)
		}
		if events > 0 && p.people() {
			if err := p.line(""); err != nil {
				return err
			}
		}
		a := policy.AttributesOf(&e)
		note := ""
		if e.Level != "" && p.people() {
			note = "event " + visible.Line(e.AuditID) + ", recorded at " + visible.Line(e.Level)
		}
		if err := p.explain(pol, &a, note); err != nil {
			return err
		}
	}
}

// says is what a level keeps of a request.
var levelSays = [...]string{
	policy.None:            "nothing is recorded",
	policy.Metadata:        "who, what, when and the outcome; no bodies",
	policy.Request:         "with the request's body",
	policy.RequestResponse: "with the bodies of the request and of the response",
}

// explain prints one decision and its reasons.
func (p *page) explain(pol *policy.Policy, a *policy.Attributes, note string) error {
	e := pol.Explain(a)
	if p.format == formatJSON {
		return p.json(explainJSON(a, note, &e))
	}
	title := sentenceOf(a)
	if note != "" {
		note = "  (" + visible.Line(note) + ")"
	}
	head := visible.Wrap(title+note, p.width, 0, "    ")
	by := ", since no rule matches"
	if e.Rule >= 0 {
		by = fmt.Sprintf(" by rule %d, line %d", e.Rule+1, pol.Rules[e.Rule].Line)
	}
	mark := levelMarks[e.Level].color
	err := errors.Join(
		p.line("%s", p.paint.lines(bold, head)),
		p.line("  level   %s%s: %s", p.paint.paint(mark, e.Level.String()), by, levelSays[e.Level]))
	if err != nil {
		return err
	}
	if e.Level != policy.None {
		kept := policy.AllStages &^ e.OmitStages
		if !longRunning(a) {
			kept &^= policy.ResponseStarted // such requests do not have it
		}
		stages := strings.Join(kept.Names(), ", ")
		if kept == 0 {
			stages = "none: all are omitted, so nothing is recorded"
		} else if e.OmitStages != 0 {
			stages += "; omitted: " + strings.Join(e.OmitStages.Names(), ", ")
		}
		if err := p.line("  stages  %s", visible.Wrap(stages, p.width, 10, "          ")); err != nil {
			return err
		}
		if e.OmitManagedFields && e.Level > policy.Metadata {
			if err := p.line("  bodies  without managedFields"); err != nil {
				return err
			}
		}
	}
	for i := range e.Steps {
		if err := p.explainStep(a, &e.Steps[i]); err != nil {
			return err
		}
	}
	return nil
}

// longRunning is whether a request has the stage ResponseStarted: one that answers
// bit by bit, and one that is refused before anybody is authenticated.
func longRunning(a *policy.Attributes) bool {
	return a.NoUser || a.Verb == "watch" || a.Verb == "proxy" ||
		slices.Contains([]string{"attach", "exec", "log", "portforward", "proxy"}, a.Subresource)
}

func (p *page) explainStep(a *policy.Attributes, s *policy.Step) error {
	front := fmt.Sprintf("  rule %-3d line %-4d ", s.Rule+1, s.Line)
	if s.Matched {
		return p.line("%s%s", front, p.paint.paint(green, "matches: "+s.Level.String()))
	}
	has := "the request has " + several(s.Has, 4)
	switch {
	case s.Field == "nonResourceURLs" && !a.NonResource:
		has = "the request is for a resource"
	case (s.Field == "resources" || s.Field == "namespaces") && a.NonResource:
		has = "the request is for a path"
	case s.Field == "users" && a.NoUser:
		has = "nobody was authenticated"
	case s.Field == "users" && a.User == "":
		has = "no user was named (--as)"
	case len(s.Has) == 0:
		has = "the request has none"
	}
	why := fmt.Sprintf("%s: wants %s; %s", s.Field, several(s.Wants, 4), has)
	return p.line("%s%s", p.paint.paint(dim, front), p.paint.lines(dim, visible.Wrap(why, p.width, len(front), strings.Repeat(" ", len(front)))))
}

// several are the first of some values, and how many more there are.
func several(values []string, most int) string {
	var shown []string
	for _, v := range values[:min(len(values), most)] {
		if v == "" {
			v = `""`
		}
		shown = append(shown, visible.Line(v))
	}
	s := strings.Join(shown, ", ")
	if more := len(values) - most; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// sentenceOf is a request in kubectl's words.
func sentenceOf(a *policy.Attributes) string {
	s := a.Verb
	if a.NonResource {
		s += " " + a.Path
	} else {
		res := a.Resource
		if a.Subresource != "" {
			res += "/" + a.Subresource
		}
		s += " " + policy.QualifiedResource(a.APIGroup, res)
		if a.Name != "" {
			s += " " + a.Name
		}
		if a.Namespace != "" {
			s += " -n " + a.Namespace
		}
	}
	switch {
	case a.NoUser:
		s += " by nobody authenticated"
	case a.User != "":
		s += " by " + a.User
	}
	if len(a.Groups) > 0 {
		s += " in " + several(a.Groups, 6)
	}
	return visible.Line(s)
}

// explained is a decision in JSON. Rules count from 1.
type explained struct {
	Request           attributesJSON `json:"request"`
	Note              string         `json:"note,omitempty"`
	Level             policy.Level   `json:"level"`
	OmitStages        policy.Stages  `json:"omitStages"`
	OmitManagedFields bool           `json:"omitManagedFields"`
	Rule              int            `json:"rule"` // 0: none matches
	Line              int            `json:"line,omitempty"`
	Steps             []policy.Step  `json:"steps"`
}

func explainJSON(a *policy.Attributes, note string, e *policy.Explanation) explained {
	x := explained{
		Request: exampleJSON(a), Note: note, Level: e.Level, OmitStages: e.OmitStages, OmitManagedFields: e.OmitManagedFields,
		Rule: e.Rule + 1, Steps: slices.Clone(e.Steps),
	}
	if !a.NonResource {
		x.Request.Path = ""
	}
	for i := range x.Steps {
		x.Steps[i].Rule++
		if x.Steps[i].Matched {
			x.Line = x.Steps[i].Line
		}
	}
	return x
}
