// Package lint owns what can be said about an audit policy before it reaches an
// API server: what the API server refuses, what it takes and reads otherwise than
// people think, and what records too much or nothing at all.
//
// It promises that a finding about what is recorded comes from deciding requests
// with the policy as a whole, never from the look of one rule: a rule that an
// earlier one keeps from its requests is not blamed for them. It never panics,
// whatever the text, and reads only what it is given.
package lint

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ktrail/ktrail/audit/finding"
	"github.com/ktrail/ktrail/audit/policy"
)

// ModeStrict is the value of --audit-log-mode and --audit-webhook-mode with which
// an event that cannot be written fails its request.
const ModeStrict = "blocking-strict"

// OldestMinor is the oldest minor version of Kubernetes that Check knows: 1.24
// removed the versions of the audit API before v1.
const OldestMinor = 24

// Options are what is known of the API server that will read the policy.
type Options struct {
	// Minor is Kubernetes' minor version, 29 for 1.29; 0 if it is not known.
	Minor int
	// Catalog lists the resources that the API server serves; nil means those of
	// Kubernetes' own, [policy.BuiltIn].
	Catalog *policy.Catalog
	// Complete says that Catalog comes from the cluster itself: a group that is
	// not in it does not exist there.
	Complete bool
	// Mode is the value of --audit-log-mode or --audit-webhook-mode, "" if it is
	// not known.
	Mode string
}

// Check says what there is to say about the policy in data, in the order of the
// text. file is how the findings name it.
func Check(file string, data []byte, o Options) []finding.Finding {
	if o.Catalog == nil {
		o.Catalog = policy.BuiltIn()
	}
	c := &checker{Options: o, file: file, root: parse(data)}
	p, err := policy.Load(data)
	c.policy = p
	if c.root != nil {
		c.keys()
	}
	if err != nil {
		c.refused(err)
	} else {
		c.eval = policy.Compile(p)
		c.check()
	}
	c.applyAllows(data)
	finding.Sort(c.found)
	return c.found
}

// checker is one run over one policy.
type checker struct {
	Options
	file   string
	root   *yaml.Node // nil if the text cannot be parsed for its places
	policy *policy.Policy
	eval   *policy.Evaluator
	asked  int      // requests that were made up so far
	dead   []string // by rule, why it can match no request; "" if it can
	found  []finding.Finding
}

func (c *checker) check() {
	c.dead = make([]string, len(c.policy.Rules))
	for i := range c.policy.Rules {
		c.identities(i)
		c.verbs(i)
		c.resources(i)
		c.urls(i)
		c.duplicates(i)
	}
	c.reach()
	c.stages()
	c.records()
}

// report adds a finding of the kind name at the value of a field such as
// rules[2].verbs[0]; if that is not written, at what it would stand in.
func (c *checker) report(name, field, message, reason, fix string) {
	line, column := 0, 0
	for at := field; at != "" && line == 0; at = at[:max(strings.LastIndexAny(at, ".["), 0)] {
		line, column = c.policy.Position(at)
	}
	c.reportAt(name, line, column, message, reason, fix)
}

func (c *checker) reportAt(name string, line, column int, message, reason, fix string) {
	k := kindOf(name)
	if reason == "" {
		reason = k.Help
	}
	c.found = append(c.found, finding.Finding{
		Name: name, Severity: k.Severity, File: c.file, Line: line, Column: column,
		Message: message, Reason: reason, Fix: fix, Doc: k.Doc,
	})
}

// as changes the severity of the finding that was reported last.
func (c *checker) as(s finding.Severity) { c.found[len(c.found)-1].Severity = s }

// refused reports why the API server does not load the policy.
func (c *checker) refused(err error) {
	var all policy.LoadErrors
	if !errors.As(err, &all) {
		all = policy.LoadErrors{{Msg: err.Error()}}
	}
	for _, e := range all {
		name, fix := refusal(e)
		msg, _, _ := strings.Cut(e.Msg, " (e.g. 'example.com', regex")
		switch m := ruleField.FindStringSubmatch(e.Field); {
		case m != nil:
			// The API server counts rules from 0, people from 1.
			n, _ := strconv.Atoi(m[1])
			msg = strings.Replace(fmt.Sprintf("rule %d: %s: %s", n+1, m[2], msg), ": : ", ": ", 1)
		case e.Field != "":
			msg = e.Field + ": " + msg
		}
		c.reportAt(name, e.Line, e.Column, msg, "", fix)
	}
}

var ruleField = regexp.MustCompile(`^rules\[(\d{1,9})\]\.?(.*)$`)

var quoted = regexp.MustCompile(`Invalid value: "([^"]*)"|Unsupported value: "([^"]*)"`)

// refusal is the kind of finding that a reason not to load is, and its cure.
func refusal(e *policy.LoadError) (name, fix string) {
	value := ""
	if m := quoted.FindStringSubmatch(e.Msg); m != nil {
		value = m[1] + m[2]
	}
	field := e.Field
	switch {
	case field == "":
		if strings.Contains(e.Msg, "character that cannot start any token") {
			return "invalid-yaml", "indent with spaces, not with tabs; put what begins with @, ` or % in quotes"
		}
		return "invalid-yaml", ""
	case strings.HasSuffix(field, ".level"):
		levels := make([]string, 0, 4)
		for _, l := range policy.Levels() {
			levels = append(levels, l.String())
		}
		return "invalid-level", prefixed("level: ", near(value, levels, "Metadata"))
	case strings.Contains(field, "omitStages["):
		return "invalid-stage", near(value, policy.AllStages.Names(), "")
	case strings.HasSuffix(field, ".group"):
		group, _, _ := strings.Cut(value, "/")
		if strings.Contains(value, "/") {
			return "invalid-group", prefixed("group: ", strings.ToLower(group)) + "   # without the version"
		}
		return "invalid-group", prefixed("group: ", strings.ToLower(value))
	case strings.Contains(field, "nonResourceURLs["):
		if strings.HasPrefix(value, "/") {
			before, _, _ := strings.Cut(value, "*")
			return "invalid-url", before + "*"
		}
		return "invalid-url", "/" + value
	case strings.HasSuffix(field, "nonResourceURLs"):
		return "invalid-url", "split it in two: one rule with nonResourceURLs, one with resources and namespaces"
	}
	switch {
	case strings.HasSuffix(e.Msg, "it must be a list"):
		fix = "put it in brackets: [...]"
	case strings.Contains(field, ".resources[") && strings.HasSuffix(e.Msg, "it must be a mapping"):
		fix = "resources:\n- group: \"\"\n  resources: [\"pods\"]"
	}
	return "invalid-policy", fix
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
