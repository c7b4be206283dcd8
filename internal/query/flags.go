package query

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ktrail/ktrail/internal/nearest"
)

// Flags are the controls of the CLI and the page. Each value may be a list
// separated by commas, of which one must hold. A value may have * for any text,
// and begins with ! to mean "not this". A backslash takes the meaning from
// , * ! and itself. "*" alone means "has a value". What is empty asks nothing,
// but a list of nothing, or not nothing, is an error.
type Flags struct {
	Verb, User, As, Namespace, Resource, Name, Subresource []string
	Group, APIGroup, Code, IP, Agent, AuditID              []string
	Cluster, Source, Stage, Level, Decision                []string
	// Not are "flag=value" pairs that must not hold: "user=system:*", "verb=get,list".
	Not []string
	// Failed keeps requests with a code of 400 and more.
	Failed bool
	// Writes keeps requests that change something.
	Writes bool
}

// FlagNames are the names that [Flags].Not and error messages use, in the order of the filter.
func FlagNames() []string {
	names := make([]string, len(flagTable))
	for i := range flagTable {
		names[i] = flagTable[i].name
	}
	return names
}

// flagSpec is one flag: where its values are, and what one value becomes.
type flagSpec struct {
	name   string
	values func(*Flags) *[]string
	term   func(value) (term, error)
}

// term is one condition. A plain one, column == text, may join others in a list.
type term struct {
	cel    string
	column string // of a plain term
	text   string // of a plain term, as CEL
}

var flagTable = []flagSpec{
	{"verb", func(f *Flags) *[]string { return &f.Verb }, lowered(onText("verb"))},
	{"user", func(f *Flags) *[]string { return &f.User }, onText("user")},
	{"as", func(f *Flags) *[]string { return &f.As }, onText("as_user")},
	{"group", func(f *Flags) *[]string { return &f.Group }, onList("groups")},
	{"namespace", func(f *Flags) *[]string { return &f.Namespace }, onText("namespace")},
	{"resource", func(f *Flags) *[]string { return &f.Resource }, onResource},
	{"subresource", func(f *Flags) *[]string { return &f.Subresource }, onText("subresource")},
	{"name", func(f *Flags) *[]string { return &f.Name }, onText("name")},
	{"api-group", func(f *Flags) *[]string { return &f.APIGroup }, onAPIGroup},
	{"code", func(f *Flags) *[]string { return &f.Code }, onCode},
	{"decision", func(f *Flags) *[]string { return &f.Decision }, onDecision},
	{"ip", func(f *Flags) *[]string { return &f.IP }, onIP},
	{"agent", func(f *Flags) *[]string { return &f.Agent }, onText("agent")},
	{"audit-id", func(f *Flags) *[]string { return &f.AuditID }, onText("audit_id")},
	{"cluster", func(f *Flags) *[]string { return &f.Cluster }, onText("cluster")},
	{"source", func(f *Flags) *[]string { return &f.Source }, onText("source")},
	{"stage", func(f *Flags) *[]string { return &f.Stage }, onWord("stage", "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")},
	{"level", func(f *Flags) *[]string { return &f.Level }, onWord("level", "Metadata", "Request", "RequestResponse")},
}

// CEL is the filter that the flags mean, "" for none; a [*UsageError] says what
// is wrong with a value. No value can change the filter's structure.
func (f *Flags) CEL() (string, error) {
	var all []string
	for _, spec := range flagTable {
		cel, err := spec.cel(*spec.values(f))
		if err != nil {
			return "", err
		}
		all = append(all, cel...)
	}
	for _, pair := range f.Not {
		cel, err := notCEL(pair)
		if err != nil {
			return "", err
		}
		all = append(all, cel...)
	}
	if f.Failed {
		all = append(all, "code >= 400")
	}
	if f.Writes {
		all = append(all, writing,
			"!("+askingGroups+")")
	}
	return strings.Join(all, " && "), nil
}

// Filter is the flags' filter and the CEL text together. It is never nil.
func (f *Flags) Filter(cel string) (*Filter, error) {
	text, err := f.CEL()
	if err != nil {
		return nil, err
	}
	flags, err := Parse(text)
	if err != nil {
		return nil, err
	}
	typed, err := Parse(cel)
	if err != nil {
		return nil, err
	}
	if both := And(flags, typed); both != nil {
		return both, nil
	}
	return typed, nil
}

func notCEL(pair string) ([]string, error) {
	if strings.TrimSpace(pair) == "" {
		return nil, nil
	}
	name, values, ok := strings.Cut(pair, "=")
	if !ok {
		return nil, usagef("--not %s is not understood; write flag=value, such as user=system:*", quoteShort(pair))
	}
	for _, spec := range flagTable {
		if spec.name != strings.TrimPrefix(strings.TrimSpace(name), "--") {
			continue
		}
		yes, no, err := spec.terms([]string{values})
		if err != nil {
			return nil, err
		}
		if len(no) > 0 {
			return nil, usagef("--not %s negates twice; leave one of them out", quoteShort(pair))
		}
		if len(yes) == 0 {
			return nil, nil
		}
		return []string{negate(yes)}, nil
	}
	err := usagef("--not %s names no flag", quoteShort(pair))
	if err.Suggest = nearest.Name(strings.ToLower(name), FlagNames()); err.Suggest != "" {
		err.Message += "; did you mean " + err.Suggest + "?"
	} else {
		err.Message += "; the flags are " + strings.Join(FlagNames(), ", ")
	}
	return nil, err
}

// cel is the conditions that values mean, to be joined by &&.
func (s *flagSpec) cel(values []string) ([]string, error) {
	yes, no, err := s.terms(values)
	if err != nil {
		return nil, err
	}
	var all []string
	if len(yes) > 0 {
		all = append(all, either(yes, true))
	}
	if len(no) > 0 {
		all = append(all, negate(no))
	}
	return all, nil
}

func (s *flagSpec) terms(values []string) (yes, no []term, err error) {
	split, err := splitValues(s.name, values)
	if err != nil {
		return nil, nil, of(s.name, err)
	}
	for _, v := range split {
		t, err := s.term(v)
		if err != nil {
			return nil, nil, of(s.name, err)
		}
		if v.not {
			no = append(no, t)
		} else {
			yes = append(yes, t)
		}
	}
	return yes, no, nil
}

// either joins terms by ||, plain ones as a list. inside asks for parentheses
// if the text would bind looser than &&.
func either(terms []term, inside bool) string {
	var parts []string
	var plain []term
	for _, t := range terms {
		if t.column != "" && (len(plain) == 0 || plain[0].column == t.column) {
			if !slices.ContainsFunc(plain, func(p term) bool { return p.text == t.text }) {
				plain = append(plain, t)
			}
		} else if !slices.Contains(parts, t.cel) {
			parts = append(parts, t.cel)
		}
	}
	switch len(plain) {
	case 0:
	case 1:
		parts = append([]string{plain[0].cel}, parts...)
	default:
		texts := make([]string, len(plain))
		for i, p := range plain {
			texts[i] = p.text
		}
		parts = append([]string{fmt.Sprintf("%s in [%s]", plain[0].column, strings.Join(texts, ", "))}, parts...)
	}
	if len(parts) == 1 {
		return parts[0]
	}
	joined := strings.Join(parts, " || ")
	if inside {
		return "(" + joined + ")"
	}
	return joined
}

func negate(terms []term) string {
	if len(terms) == 1 && terms[0].column != "" {
		return terms[0].column + " != " + terms[0].text
	}
	if s := either(terms, false); len(terms) > 1 || !call.MatchString(s) {
		return "!(" + s + ")"
	}
	return "!" + terms[0].cel
}

// call is a condition that ! may stand before as it is.
var call = regexp.MustCompile(`^[a-z_]+\.[a-zA-Z]+\("(?:[^"\\]|\\.)*"\)$`)

// value is one value of a flag, with the places of its wildcards.
type value struct {
	not   bool
	parts []string // between the wildcards; one if there is none
}

func (v value) text() string { return strings.Join(v.parts, "*") }

func (v value) exact() bool { return len(v.parts) == 1 }

// splitValues splits at commas. Empty values are left out, unless there is nothing else.
func splitValues(flag string, in []string) ([]value, error) {
	var out []value
	for _, s := range in {
		had := len(out)
		var v value
		var b strings.Builder
		begun := false
		end := func() error {
			v.parts = append(v.parts, b.String())
			if v.exact() {
				v.parts[0] = strings.TrimSpace(v.parts[0])
			}
			if v.text() != "" {
				out = append(out, v)
			} else if v.not {
				return usagef("%s %s says what is not asked for without naming it; write !x for not x, or !* for none", flag, quoteShort(s))
			}
			v, begun = value{}, false
			b.Reset()
			return nil
		}
		for i := 0; i < len(s); i++ {
			c := s[i]
			switch {
			case c == '\\' && i+1 < len(s) && strings.IndexByte(`,*!\`, s[i+1]) >= 0:
				i++
				b.WriteByte(s[i])
				begun = true
			case c == ',':
				if err := end(); err != nil {
					return nil, err
				}
			case c == '*':
				if b.Len() > 0 || len(v.parts) == 0 { // ** is *
					v.parts = append(v.parts, b.String())
				}
				b.Reset()
				begun = true
			case c == '!' && v.not && !begun:
				return nil, usagef(`%s %s negates twice; write !x for not x, or \!x for what begins with !`, flag, quoteShort(s))
			case c == '!' && !begun:
				v.not = true
			case c == ' ' && !begun:
			default:
				b.WriteByte(c)
				begun = true
			}
		}
		if err := end(); err != nil {
			return nil, err
		}
		if len(out) == had && strings.TrimSpace(s) != "" {
			return nil, usagef("%s %s names nothing; write a value, or a,b for either of two", flag, quoteShort(s))
		}
	}
	return out, nil
}

// textTerm is what a value means for a string, a column or a list's member.
func textTerm(column string, v value) term {
	if v.exact() {
		q := Quote(v.parts[0])
		return term{cel: column + " == " + q, column: column, text: q}
	}
	first, last := v.parts[0], v.parts[len(v.parts)-1]
	switch {
	case len(v.parts) == 2 && first == "" && last == "":
		return term{cel: column + ` != ""`}
	case len(v.parts) == 2 && last == "":
		return term{cel: fmt.Sprintf("%s.startsWith(%s)", column, Quote(first))}
	case len(v.parts) == 2 && first == "":
		return term{cel: fmt.Sprintf("%s.endsWith(%s)", column, Quote(last))}
	case len(v.parts) == 3 && first == "" && last == "":
		return term{cel: fmt.Sprintf("%s.contains(%s)", column, Quote(v.parts[1]))}
	}
	// (?s) lets * match a line break too.
	quoted := make([]string, len(v.parts))
	for i, p := range v.parts {
		quoted[i] = regexp.QuoteMeta(p)
	}
	return term{cel: fmt.Sprintf("%s.matches(%s)", column, Quote("(?s)^"+strings.Join(quoted, ".*")+"$"))}
}

func onText(column string) func(value) (term, error) {
	return func(v value) (term, error) { return textTerm(column, v), nil }
}

func lowered(next func(value) (term, error)) func(value) (term, error) {
	return func(v value) (term, error) {
		for i := range v.parts {
			v.parts[i] = strings.ToLower(v.parts[i])
		}
		return next(v)
	}
}

func onList(column string) func(value) (term, error) {
	return func(v value) (term, error) { return listTerm(column, v), nil }
}

func listTerm(column string, v value) term {
	if v.exact() {
		return term{cel: Quote(v.parts[0]) + " in " + column}
	}
	return term{cel: fmt.Sprintf("%s.exists(x, %s)", column, textTerm("x", v).cel)}
}

// onWord is a column of few values, whose case need not be right.
func onWord(column string, words ...string) func(value) (term, error) {
	return func(v value) (term, error) {
		if !v.exact() {
			return textTerm(column, v), nil
		}
		for _, w := range words {
			if strings.EqualFold(w, v.text()) {
				return textTerm(column, value{parts: []string{w}}), nil
			}
		}
		err := usagef("%s %s is none of %s", column, quoteShort(v.text()), strings.Join(words, ", "))
		err.Suggest = nearest.Name(v.text(), words)
		return term{}, err
	}
}

func onDecision(v value) (term, error) {
	if v.exact() {
		switch strings.ToLower(v.text()) {
		case "allow", "allowed":
			v.parts = []string{"allow"}
		case "forbid", "forbidden", "deny", "denied":
			v.parts = []string{"forbid"}
		default:
			return term{}, usagef("decision %s is neither allow nor forbid", quoteShort(v.text()))
		}
	}
	return textTerm("decision", v), nil
}

func onAPIGroup(v value) (term, error) {
	if v.exact() && v.text() == "core" {
		return term{cel: `api_group == "" && resource != ""`}.grouped(), nil
	}
	return textTerm("api_group", v), nil
}

// grouped puts a term that has an operator into parentheses.
func (t term) grouped() term {
	t.cel = "(" + t.cel + ")"
	return t
}

// onResource reads pods, deploy, deployments.apps, pods/log (as RBAC writes it) and deploy/web.
func onResource(v value) (term, error) {
	if !v.exact() {
		return textTerm("resource", v), nil
	}
	r, err := ParseResource(v.text())
	if err != nil {
		return term{}, err
	}
	if r.Subresource == "" && slices.Contains(subresources, r.Name) {
		r.Name, r.Subresource = "", r.Name
	}
	t := textTerm("resource", value{parts: []string{r.Resource}})
	for _, more := range []struct{ column, text string }{
		{"api_group", r.APIGroup}, {"api_version", r.Version}, {"name", r.Name}, {"subresource", r.Subresource},
	} {
		if more.text == "" || more.column == "api_group" && !r.GroupGiven {
			continue
		}
		t = term{cel: t.cel + " && " + more.column + " == " + Quote(more.text)}
	}
	if t.column == "" {
		return t.grouped(), nil
	}
	return t, nil
}

var (
	codeClass = regexp.MustCompile(`^([1-5])[xX][xX]$`)
	codeOne   = regexp.MustCompile(`^(>=|<=|>|<|==|=)?\s*([0-9]{1,4})$`)
	codeRange = regexp.MustCompile(`^([0-9]{1,4})-([0-9]{1,4})$`)
)

// onCode reads 403, 4xx, >=400 and 400-499.
func onCode(v value) (term, error) {
	s := v.text()
	if m := codeClass.FindStringSubmatch(s); m != nil {
		from, _ := strconv.Atoi(m[1]) // one digit
		return term{cel: fmt.Sprintf("code >= %d && code < %d", from*100, from*100+100)}.grouped(), nil
	}
	if m := codeRange.FindStringSubmatch(s); m != nil {
		return term{cel: fmt.Sprintf("code >= %s && code <= %s", number(m[1]), number(m[2]))}.grouped(), nil
	}
	if m := codeOne.FindStringSubmatch(s); m != nil {
		switch m[1] {
		case "", "=", "==":
			return term{cel: "code == " + number(m[2]), column: "code", text: number(m[2])}, nil
		}
		return term{cel: "code " + m[1] + " " + number(m[2])}.grouped(), nil
	}
	return term{}, usagef("code %s is not understood; write 403, 4xx, >=400 or 400-499", quoteShort(s))
}

// number is digits without the zeros in front.
func number(digits string) string {
	n, err := strconv.Atoi(digits)
	if err != nil {
		return "0" // cannot be: the pattern has four digits at most
	}
	return strconv.Itoa(n)
}

var octets = regexp.MustCompile(`^([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})/([0-9]{1,2})$`)

// onIP reads an address, a pattern, or an IPv4 network of whole octets.
func onIP(v value) (term, error) {
	s := v.text()
	if !v.exact() || !strings.Contains(s, "/") {
		return listTerm("source_ips", v), nil
	}
	m := octets.FindStringSubmatch(s)
	if m == nil {
		return term{}, usagef("ip %s is not understood; write an address, 10.0.* or 10.0.0.0/16", quoteShort(s))
	}
	switch m[5] {
	case "8", "16", "24":
		n := map[string]int{"8": 1, "16": 2, "24": 3}[m[5]]
		return listTerm("source_ips", value{parts: []string{strings.Join(m[1:1+n], ".") + ".", ""}}), nil
	case "32":
		return listTerm("source_ips", value{parts: []string{strings.Join(m[1:5], ".")}}), nil
	}
	return term{}, usagef("ip %s: of networks only /8, /16, /24 and /32 are understood", quoteShort(s))
}
