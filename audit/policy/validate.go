package policy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// validate is k8s.io/apiserver/pkg/apis/audit/validation, with the same texts in the
// same order, and with places.
func (w *wire) validate(doc *document) LoadErrors {
	v := validator{doc: doc}
	v.omitStages("omitStages", w.OmitStages)
	for i := range w.Rules {
		v.rule("rules["+strconv.Itoa(i)+"]", &w.Rules[i])
	}
	if len(v.errs) == 0 && len(w.Rules) == 0 {
		v.add("rules", "rules", "there are none: a policy needs at least one rule")
	}
	return v.errs
}

type validator struct {
	doc  *document
	errs LoadErrors
}

// add notes what is wrong with field; at is the path whose place is named, the
// first of it that is written.
func (v *validator) add(field, at, msg string) {
	e := &LoadError{Field: field, Msg: msg, Line: 1, Column: 1}
	for ; at != ""; at = at[:max(strings.LastIndexAny(at, ".["), 0)] {
		if line, column := v.doc.position(at); line > 0 {
			e.Line, e.Column = line, column
			break
		}
	}
	v.errs = append(v.errs, e)
}

func (v *validator) invalid(field, at string, value any, detail string) {
	text, err := json.Marshal(value)
	if s, ok := value.(string); ok || err != nil {
		text = strconv.AppendQuote(nil, s)
	}
	v.add(field, at, fmt.Sprintf("Invalid value: %s: %s", text, detail))
}

func (v *validator) rule(field string, r *wireRule) {
	if r.Level == "" {
		v.add(field+".level", field+".level", "Required value")
	} else if _, err := ParseLevel(r.Level); err != nil {
		text, _ := json.Marshal(r.Level) // a string always can be
		v.add(field+".level", field+".level", fmt.Sprintf("Unsupported value: %s: supported values: %q, %q, %q, %q", text, None, Metadata, Request, RequestResponse))
	}
	urls := field + ".nonResourceURLs"
	for i, url := range r.NonResourceURLs {
		at := urls + "[" + strconv.Itoa(i) + "]"
		if url == "*" {
			continue
		}
		if !strings.HasPrefix(url, "/") {
			v.invalid(at, at, url, "non-resource URL rules must begin with a '/' character")
		}
		if url != "" && strings.Contains(url[:len(url)-1], "*") {
			v.invalid(at, at, url, "non-resource URL wildcards '*' must be the final character of the rule")
		}
	}
	for i, gr := range r.Resources {
		// The API server leaves the index out.
		at := field + ".resources[" + strconv.Itoa(i) + "]"
		if gr.Group != "" && gr.Group != "*" {
			if detail := notSubdomain(gr.Group); detail != "" {
				v.invalid(field+".resources.group", at+".group", gr.Group, detail)
			}
		}
		if len(gr.ResourceNames) > 0 && len(gr.Resources) == 0 {
			v.invalid(field+".resources.resourceNames", at+".resourceNames", gr.ResourceNames, "using resourceNames requires at least one resource")
		}
	}
	v.omitStages(field+".omitStages", r.OmitStages)
	if len(r.NonResourceURLs) > 0 && (len(r.Resources) > 0 || len(r.Namespaces) > 0) {
		v.invalid(urls, urls, r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs")
	}
}

func (v *validator) omitStages(field string, stages []string) {
	for i, s := range stages {
		if _, err := ParseStage(s); err != nil {
			at := field + "[" + strconv.Itoa(i) + "]"
			v.invalid(at, at, s, "allowed stages are "+strings.Join(stageNames[:], ","))
		}
	}
}

const subdomainPattern = `[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*`

var subdomain = regexp.MustCompile("^" + subdomainPattern + "$")

// notSubdomain says why a name is no RFC 1123 subdomain, "" if it is one.
func notSubdomain(name string) string {
	var why []string
	if len(name) > 253 {
		why = append(why, "must be no more than 253 characters")
	}
	if !subdomain.MatchString(name) {
		why = append(why, "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"+
			" (e.g. 'example.com', regex used for validation is '"+subdomainPattern+"')")
	}
	return strings.Join(why, ",")
}
