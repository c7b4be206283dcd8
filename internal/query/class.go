package query

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/ktrail/ktrail/audit"
)

// Class is what a verb does to an object.
type Class string

// The classes.
const (
	ClassCreate Class = "create" // and update and patch, if they made the object: the answer is 201 then
	ClassChange Class = "change" // update, patch, and writes to subresources
	ClassDelete Class = "delete" // delete, deletecollection
	ClassRead   Class = "read"   // get, list, watch
	ClassExec   Class = "exec"   // exec, attach, portforward and proxy, whatever the verb
	ClassOther  Class = "other"  // other verbs, and reviews and dry runs, which create nothing
)

// Outcome is how a request ended.
type Outcome string

// The outcomes. A panic has code 500: the API server sets it.
const (
	OutcomeOK     Outcome = "ok"     // code below 400, or none
	OutcomeDenied Outcome = "denied" // 401, 403
	OutcomeFailed Outcome = "failed" // other 4xx
	OutcomeError  Outcome = "error"  // 5xx
)

// Case is a value of a computed column and when it applies. In a list of them
// the first that applies counts; if none does, the last.
type Case[T ~string] struct {
	Value T
	When  *Filter
}

const (
	// askingGroups hold reviews, which ask whether something may be done; they are created, but nothing is kept.
	askingGroups = `api_group in ["authentication.k8s.io", "authorization.k8s.io"]`
	writing      = `verb in ["create", "update", "patch", "delete", "deletecollection"]`
)

// Classes says how an event's class follows from its columns, for the matcher
// here and for a source that computes it itself.
var Classes = sync.OnceValue(func() []Case[Class] {
	return cases(
		ClassExec, `subresource in ["exec", "attach", "portforward", "proxy"]`,
		ClassRead, `verb in ["get", "list", "watch"]`,
		ClassOther, Class(`!(`+writing+`) || `+askingGroups+` || (`+dryRunning()+`)`),
		ClassChange, `verb in ["update", "patch"] && code != 201 || subresource != ""`,
		ClassCreate, `verb in ["create", "update", "patch"]`,
		ClassDelete, `true`)
})

// Outcomes says how an event's outcome follows from its columns. No two of the
// conditions are true of the same event, so that each can be counted alone.
var Outcomes = sync.OnceValue(func() []Case[Outcome] {
	return cases(
		OutcomeOK, `code < 400`,
		OutcomeDenied, `code in [401, 403]`,
		OutcomeFailed, `code >= 400 && code < 500 && !(code in [401, 403])`,
		OutcomeError, `code >= 500`)
})

// Writes is true of requests that write: those of the classes create, change and
// delete, of exec those with a writing verb, and dry runs: to know those each
// URI would be read.
var Writes = sync.OnceValue(func() *Filter { return fixed(writing + " && !(" + askingGroups + ")") })

// DryRun is true of requests whose URI says that nothing is to be kept. The API
// server takes no value but All, and parameters that it cannot read, such as
// dryRun=All;x, it passes over: those are no dry runs, whoever wrote them. A client
// that says it in the body alone, as kubectl delete does, is not found.
var DryRun = sync.OnceValue(func() *Filter { return fixed(dryRunning()) })

// dryRunning is the text of [DryRun]. A letter may be written as its number.
func dryRunning() string {
	spelled := func(text string) string {
		var b strings.Builder
		for _, c := range []byte(text) {
			fmt.Fprintf(&b, "(?:%c|%%(?i:%02x))", c, c)
		}
		return b.String()
	}
	// Few URIs have parameters at all, and the first question is much cheaper.
	return `uri.contains("?") && uri.matches(` + Quote(`(?s)^[^?]*\?(?:.*&)?`+spelled("dryRun")+"="+spelled("All")+`(?:&|$)`) + `)`
}

// ContainsPattern is the regular expression of texts that contain part, in any case.
func ContainsPattern(part string) string { return "(?i)" + regexp.QuoteMeta(part) }

func cases[T ~string](pairs ...T) []Case[T] {
	var out []Case[T]
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, Case[T]{Value: pairs[i], When: fixed(string(pairs[i+1]))})
	}
	return out
}

// fixed parses a filter that stands in the program.
func fixed(text string) *Filter {
	f, err := Parse(text)
	if err != nil {
		panic("query: " + err.Error())
	}
	return f
}

// ClassOf is e's class.
func ClassOf(e *audit.Event) Class { return firstOf(Classes(), e) }

// OutcomeOf is how e's request ended.
func OutcomeOf(e *audit.Event) Outcome { return firstOf(Outcomes(), e) }

func firstOf[T ~string](list []Case[T], e *audit.Event) T {
	for _, c := range list {
		if c.When.Match(e) {
			return c.Value
		}
	}
	return list[len(list)-1].Value
}
